package cli

import (
	"coffer/internal/container"

	"github.com/spf13/cobra"
)

func newDelete(g *globals) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "delete [flags] ID",
		Short: "Remove a container that has stopped",
		Long: `Remove all there is of a container that has stopped, or was never started: its
cgroup and its state. The bundle stays. With --force, end it first if it runs,
and be content if there is no such container.`,
		Example:           "  coffer delete web1\n  coffer delete --force web1",
		Args:              exactly(1),
		ValidArgsFunction: g.completeID,
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "end the container with SIGKILL if it still runs")
	return g.storeVerb(c, exitVerb, func(s *container.Store, args []string) error {
		return s.Delete(args[0], force)
	})
}
