package cli

import (
	"coffer/internal/container"

	"github.com/spf13/cobra"
)

func newStart(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:               "start ID",
		Short:             "Run the program of a container that was made",
		Long:              "Let the program of a container run that 'coffer create' made.",
		Example:           "  coffer start web1",
		Args:              exactly(1),
		ValidArgsFunction: g.completeID,
	}
	return g.storeVerb(c, exitVerb, func(s *container.Store, args []string) error {
		return s.Start(args[0])
	})
}
