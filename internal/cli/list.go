package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"coffer/internal/container"

	"github.com/spf13/cobra"
)

func newList(g *globals) *cobra.Command {
	var format string
	var quiet bool
	c := &cobra.Command{
		Use:               "list [flags]",
		Short:             "List the containers",
		Long:              "List the containers, and say of those whose state cannot be read what is wrong.",
		Example:           "  coffer list\n  coffer list --quiet\n  coffer list --format json",
		Args:              exactly(0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().StringVarP(&format, "format", "f", "table", "table or json")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "show the IDs alone")
	completeFormat(c)
	return g.verb(c, exitVerb, func([]string) error {
		if err := checkFormat(format); err != nil {
			return err
		}
		s, err := g.store()
		if err != nil {
			return err
		}
		states, broken, err := s.List()
		if err != nil {
			return err
		}
		for _, b := range broken {
			slog.Warn(b.Error())
		}
		out := c.OutOrStdout()
		switch {
		case quiet:
			for _, s := range states {
				if _, err := fmt.Fprintln(out, s.ID); err != nil {
					return err
				}
			}
			return nil
		case format == "json":
			if states == nil {
				states = []*container.State{} // [] rather than null
			}
			return json.NewEncoder(out).Encode(states)
		}
		return printStates(out, states)
	})
}

func printStates(w io.Writer, states []*container.State) error {
	tw := tabwriter.NewWriter(w, 12, 1, 3, ' ', 0)
	fmt.Fprintln(tw, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\tISOLATION")
	for _, s := range states {
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", s.ID, s.PID, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner, s.Isolation)
	}
	return tw.Flush()
}

// checkFormat checks the --format of list and ps.
func checkFormat(format string) error {
	if format != "table" && format != "json" {
		return fmt.Errorf("invalid format option: --format %q is not known, it is table or json", format)
	}
	return nil
}

func completeFormat(c *cobra.Command) {
	c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}
