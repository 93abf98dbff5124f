package cli

import (
	"fmt"
	"strings"

	"coffer/internal/container"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newKill(g *globals) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "kill [flags] ID [SIGNAL]",
		Short: "Send a signal to a container",
		Long: `Send a signal to the first process of a container, SIGTERM if none is given. A
signal is a name, with SIG or without, or a number.`,
		Example:           "  coffer kill web1 KILL\n  coffer kill --all web1 SIGUSR1",
		Args:              between(1, 2),
		ValidArgsFunction: g.completeKill,
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "send it to all processes of the container")
	killed := g.verb(c, exitVerb, func(args []string) error {
		name := "TERM"
		if len(args) > 1 {
			name = args[1]
		}
		sig, err := container.ParseSignal(name)
		if err != nil {
			return err
		}
		s, err := g.store()
		if err != nil {
			return err
		}
		return s.Kill(args[0], sig, all)
	})
	wrong := killed.FlagErrorFunc()
	killed.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if strings.Contains(err.Error(), "unknown shorthand flag") { // as of kill(1)
			err = fmt.Errorf("%w: a signal follows the ID, without a hyphen, as in 'coffer kill web1 KILL'", err)
		}
		return wrong(c, err)
	})
	return killed
}

// completeKill completes the ID of a container, and then a signal's name.
func (g *globals) completeKill(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return g.completeID(c, args, word)
	}
	var names []string
	for n := unix.SIGHUP; n <= unix.SIGSYS; n++ {
		name := unix.SignalName(n)
		if !strings.HasPrefix(strings.ToUpper(word), "SIG") {
			name = strings.TrimPrefix(name, "SIG")
		}
		names = append(names, name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
