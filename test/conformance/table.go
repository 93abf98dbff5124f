package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

// column is what came of one runtime.
type column struct {
	name, version string
	outcomes      map[string]outcome
	// known has the reasons of programs that are known to fail.
	known map[string]failure
}

// passed counts the programs that pass.
func (c *column) passed() int {
	n := 0
	for _, o := range c.outcomes {
		if o.Passed {
			n++
		}
	}
	return n
}

// news are the programs whose outcome is not the known one.
func (c *column) news(programs []string) []string {
	var list []string
	for _, p := range programs {
		o := c.outcomes[p]
		if c.known[p].sometimes {
			continue
		}
		switch f, failing := c.known[p]; {
		case !o.Passed && !failing:
			list = append(list, fmt.Sprintf("%s: %s fails, and is not known to: %s", c.name, p, o.Complaint))
		case o.Passed && failing:
			list = append(list, fmt.Sprintf("%s: %s passes, and was known to fail (%s): take it off the list", c.name, p, f.reason))
		}
	}
	return list
}

// table is what came of all.
type table struct {
	programs []string
	columns  []column
}

// print writes the table for a terminal, and under it what is new.
func (t *table) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "program")
	for _, c := range t.columns {
		fmt.Fprint(tw, "\t", c.name)
	}
	fmt.Fprintln(tw)
	for _, p := range t.programs {
		fmt.Fprint(tw, p)
		for _, c := range t.columns {
			fmt.Fprint(tw, "\t", word(c.outcomes[p].Passed))
		}
		fmt.Fprintln(tw)
	}
	fmt.Fprintf(tw, "%d programs pass", len(t.programs))
	for _, c := range t.columns {
		fmt.Fprint(tw, "\t", c.passed())
	}
	fmt.Fprintln(tw)
	tw.Flush()
	for _, c := range t.columns {
		for _, line := range c.news(t.programs) {
			fmt.Fprintln(w, line)
		}
	}
}

// verdict is an error if anything has come out otherwise than it is known to.
func (t *table) verdict() error {
	n := 0
	for _, c := range t.columns {
		n += len(c.news(t.programs))
	}
	if n > 0 {
		return fmt.Errorf("%d outcomes are not the known ones: see above", n)
	}
	return nil
}

// The marks in the page between which the table stands.
const (
	beginTable = "<!-- table: written by make conformance -->\n"
	endTable   = "<!-- end of table -->\n"
)

// update puts the table into a page, with the reasons of known failures.
func (t *table) update(path string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(page), beginTable)
	_, after, foundEnd := strings.Cut(rest, endTable)
	if !found || !foundEnd {
		return errors.New(path + " has no place for the table: it needs the two comments that begin and end it")
	}
	var b bytes.Buffer
	b.WriteString(before + beginTable)
	t.markdown(&b)
	b.WriteString(endTable + after)
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// markdown writes the table for a page.
func (t *table) markdown(w io.Writer) {
	fmt.Fprint(w, "\n| program |")
	for _, c := range t.columns {
		fmt.Fprintf(w, " %s |", c.name)
	}
	fmt.Fprint(w, "\n|---|", strings.Repeat("---|", len(t.columns)), "\n")
	fmt.Fprintf(w, "| **of %d pass** |", len(t.programs))
	for _, c := range t.columns {
		fmt.Fprintf(w, " **%d** |", c.passed())
	}
	for _, p := range t.programs {
		fmt.Fprintf(w, "\n| %s |", p)
		for _, c := range t.columns {
			mark := "passes"
			if !c.outcomes[p].Passed {
				mark = "**fails**"
			}
			fmt.Fprintf(w, " %s |", mark)
		}
	}
	fmt.Fprintln(w)
	for _, c := range t.columns {
		fmt.Fprintf(w, "\n%s is `%s`.", c.name, c.version)
		if len(c.known) == 0 {
			fmt.Fprintln(w)
			continue
		}
		fmt.Fprint(w, " What fails, and why:\n\n")
		for _, p := range t.programs {
			f, ok := c.known[p]
			switch {
			case f.sometimes:
				fmt.Fprintf(w, "- `%s`, by chance: %s\n", p, f.reason)
			case ok:
				fmt.Fprintf(w, "- `%s`: %s\n", p, f.reason)
			}
		}
	}
	fmt.Fprintln(w)
}
