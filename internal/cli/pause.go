package cli

import (
	"coffer/internal/container"

	"github.com/spf13/cobra"
)

func newPause(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:               "pause ID",
		Short:             "Freeze all processes of a container",
		Long:              "Freeze all processes of a container, until 'coffer resume ID'.",
		Example:           "  coffer pause web1",
		Args:              exactly(1),
		ValidArgsFunction: g.completeID,
	}
	return g.storeVerb(c, exitVerb, func(s *container.Store, args []string) error {
		return s.Pause(args[0])
	})
}

func newResume(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:               "resume ID",
		Short:             "Let a paused container go on",
		Example:           "  coffer resume web1",
		Args:              exactly(1),
		ValidArgsFunction: g.completeID,
	}
	return g.storeVerb(c, exitVerb, func(s *container.Store, args []string) error {
		return s.Resume(args[0])
	})
}
