package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"coffer/internal/isolation"

	"github.com/spf13/cobra"
)

func newPs(g *globals) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "ps [flags] ID [PS-OPTION...]",
		Short: "Show the processes of a container",
		Long: `Show the processes of a container. Of a container with isolation process these
are lines of the host's ps(1), which is given the options, or -ef; of one with
isolation kernel they are what its own kernel knows, and there are no options.
As JSON they are numbers: the host's, or those that the container's kernel
gave.`,
		Example:           "  coffer ps web1\n  coffer ps web1 -o pid,rss,args\n  coffer ps --format json web1",
		Args:              atLeast(1),
		ValidArgsFunction: g.completeID,
	}
	c.Flags().SetInterspersed(false) // what follows the ID is ps's
	c.Flags().StringVarP(&format, "format", "f", "table", "table or json")
	completeFormat(c)
	return g.verb(c, exitVerb, func(args []string) error {
		if err := checkFormat(format); err != nil {
			return err
		}
		s, err := g.store()
		if err != nil {
			return err
		}
		level, list, err := s.Processes(args[0])
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		switch {
		case format == "json":
			pids := []int{}
			for _, p := range list {
				pids = append(pids, p.PID)
			}
			return json.NewEncoder(out).Encode(pids)
		case level == isolation.LevelProcess:
			return hostPs(out, list, args[1:])
		case len(args) > 1:
			return fmt.Errorf("isolation %s takes no options of ps(1): its processes are not the host's", level)
		}
		return printProcesses(out, list)
	})
}

// hostPs shows those lines of the host's ps that are of the container, and the
// first one.
func hostPs(w io.Writer, list []isolation.Process, options []string) error {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	cmd := exec.Command("ps", options...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("the host has no ps(1) (%w): install procps, or use --format json", err)
	}
	if err != nil {
		return fmt.Errorf("ps %s: %w: %s", strings.Join(options, " "), err, strings.TrimSpace(stderr.String()))
	}
	lines := strings.Split(strings.TrimRight(string(output), "\n"), "\n")
	column := slices.Index(strings.Fields(lines[0]), "PID")
	if column < 0 {
		return fmt.Errorf("ps %s shows no column PID, by which the container's processes are told from others: add it", strings.Join(options, " "))
	}
	fmt.Fprintln(w, lines[0])
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) <= column {
			continue
		}
		pid, err := strconv.Atoi(f[column])
		if err == nil && slices.ContainsFunc(list, func(p isolation.Process) bool { return p.PID == pid }) {
			if _, err := fmt.Fprintln(w, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// printProcesses shows processes that the host's ps does not know.
func printProcesses(w io.Writer, list []isolation.Process) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "UID\tPID\tPPID\tTHREADS\tTIME\tCMD")
	for _, p := range list {
		t := time.Duration(p.CPU).Round(10 * time.Millisecond)
		fmt.Fprintf(tw, "%d\t%d\t%d\t%d\t%v\t%s\n", p.UID, p.PID, p.PPID, p.Threads, t, p.Command)
	}
	return tw.Flush()
}
