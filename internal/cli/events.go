package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os/signal"
	"time"

	"coffer/internal/container"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newEvents(g *globals) *cobra.Command {
	var interval time.Duration
	var stats bool
	c := &cobra.Command{
		Use:   "events [flags] ID",
		Short: "Show what a container uses, and when it runs out of memory",
		Long: `Show what a container uses of CPU, memory and other resources as lines of JSON,
at intervals until it stops, and when it has run out of memory.`,
		Example:           "  coffer events --interval 10s web1\n  coffer events --stats web1",
		SuggestFor:        []string{"stats"},
		Args:              exactly(1),
		ValidArgsFunction: g.completeID,
	}
	c.Flags().DurationVar(&interval, "interval", 5*time.Second, "time between two measurements")
	c.Flags().BoolVar(&stats, "stats", false, "show one measurement, and end")
	return g.verb(c, exitVerb, func(args []string) error {
		if interval <= 0 {
			return errors.New("duration interval must be greater than 0: check --interval")
		}
		s, err := g.store()
		if err != nil {
			return err
		}
		enc := json.NewEncoder(c.OutOrStdout())
		show := func(e container.Event) error { return enc.Encode(e) }
		if stats {
			return s.Stats(args[0], show)
		}
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
		defer stop()
		return s.Events(ctx, args[0], interval, show)
	})
}
