package cli

import "github.com/spf13/cobra"

func newStart(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:               "start ID",
		Short:             "Run the program of a container that was made",
		Long:              "Let the program of a container run that 'coffer create' made.",
		Example:           "  coffer start web1",
		Args:              exactly(1),
		ValidArgsFunction: g.completeID,
	}
	return g.verb(c, exitVerb, func(args []string) error {
		s, err := g.store()
		if err != nil {
			return err
		}
		return s.Start(args[0])
	})
}
