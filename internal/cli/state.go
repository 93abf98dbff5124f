package cli

import (
	"encoding/json"
	"io"

	"coffer/internal/container"

	"github.com/spf13/cobra"
)

func newState(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "state ID",
		Short: "Show the state of a container as JSON",
		Long: `Show the state of a container as JSON: whether it is created, running, paused
or stopped, its first process, and its isolation.`,
		Example:           "  coffer state web1",
		Args:              exactly(1),
		ValidArgsFunction: g.completeID,
	}
	return g.storeVerb(c, exitVerb, func(s *container.Store, args []string) error {
		state, err := s.State(args[0])
		if err != nil {
			return err
		}
		return printJSON(c.OutOrStdout(), state)
	})
}

// printJSON writes a value as JSON for people.
func printJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}
