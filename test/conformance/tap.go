package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// result is what one program of the suite had to say about a runtime.
type result struct {
	// passed and skipped count test points; failed has the descriptions of
	// those that did not pass.
	passed, skipped int
	failed          []string
	// broken says why the report as a whole counts for nothing; empty if it
	// is complete.
	broken string
}

// ok reports whether the program found nothing to complain of.
func (r *result) ok() bool { return r.broken == "" && len(r.failed) == 0 }

// complaint is the first thing that was wrong.
func (r *result) complaint() string {
	switch {
	case len(r.failed) == 1 && r.broken == "":
		return r.failed[0]
	case len(r.failed) > 0 && r.broken == "":
		return fmt.Sprintf("%s (and %d more)", r.failed[0], len(r.failed)-1)
	case len(r.failed) > 0:
		return r.broken + ", after: " + r.failed[0]
	}
	return r.broken
}

// parseTAP reads a report in the Test Anything Protocol, version 13
// (testanything.org), as the suite's programs use it: some report no points at
// all, and say by an error in a diagnostic that something is wrong, or by their
// exit code. Other diagnostics don't count: there are whole reports of the
// program inside the container among them.
func parseTAP(in io.Reader) (*result, error) {
	r := &result{}
	points, planned := 0, -1
	inDiagnostic := false
	complaint := ""
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "  ---":
			inDiagnostic = true
		case line == "  ...":
			inDiagnostic = false
		case inDiagnostic:
			if text, found := strings.CutPrefix(strings.TrimSpace(line), `"error": `); found && points == 0 {
				complaint = unquoted(text)
			}
		case strings.HasPrefix(line, "ok "), line == "ok":
			points++
			if hasDirective(line, "SKIP") {
				r.skipped++
			} else {
				r.passed++
			}
		case strings.HasPrefix(line, "not ok"):
			points++
			// A point that is still to be done is expected to fail.
			if hasDirective(line, "TODO") {
				r.skipped++
			} else {
				r.failed = append(r.failed, description(line))
			}
		case strings.HasPrefix(line, "Bail out!"):
			r.broken = "it bailed out:" + strings.TrimPrefix(line, "Bail out!")
		case strings.HasPrefix(line, "1.."):
			count, _, _ := strings.Cut(line[len("1.."):], " ")
			if n, err := strconv.Atoi(count); err == nil {
				planned = n
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case r.broken != "":
	case points == 0:
		r.broken = complaint
	case planned < 0:
		r.broken = "its report has no plan: it ended early"
	case points < planned:
		r.broken = fmt.Sprintf("it tested %d of %d points", points, planned)
	}
	return r, nil
}

// unquoted is the first line of a string in JSON.
func unquoted(s string) string {
	if text, err := strconv.Unquote(strings.TrimSuffix(s, ",")); err == nil {
		s = text
	}
	first, _, _ := strings.Cut(s, "\n")
	return first
}

// hasDirective reports whether a test line carries the directive.
func hasDirective(line, directive string) bool {
	_, s, found := strings.Cut(line, "#")
	s = strings.TrimSpace(s)
	return found && len(s) >= len(directive) && strings.EqualFold(s[:len(directive)], directive)
}

// description is the text of a "not ok" line, without its number.
func description(line string) string {
	text := strings.TrimSpace(strings.TrimPrefix(line, "not ok"))
	text = strings.TrimLeft(text, "0123456789")
	text = strings.TrimPrefix(strings.TrimSpace(text), "- ")
	if text == "" {
		return "a test without a name"
	}
	return text
}
