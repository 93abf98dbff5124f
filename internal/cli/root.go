// Package cli is the command line: one file per command. A command turns
// flags into one call of a lower floor and prints what comes back.
package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"coffer/internal/gateway"
	"coffer/internal/isolation/kernel"
	"coffer/internal/isolation/process"
	"coffer/internal/sentry/boot"
	"coffer/internal/sysmon"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes, as Docker's: what coffer itself could not do, what could not be
// executed, what was not found. A program's own status is passed on, and
// 128+n says that signal n ended it.
const (
	exitUsage         = 125
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128
)

// exitError carries an exit code out of a command. An empty message prints
// nothing: the program has said all there is.
type exitError struct {
	code    int
	message string
}

func (e *exitError) Error() string { return e.message }

// sysmonSlack is how much later than asked for the host may wake Go's sysmon. Commands
// mostly wait for a sandbox to start or to end; where many do at once, as they take their
// time, sysmon's looks were a fifteenth of what they took from the processors.
const sysmonSlack = time.Millisecond

// Main runs the command line and returns the exit code.
func Main(args []string) int {
	// The roles in which the binary executes itself come first: they are on
	// the way of every start and need no command tree.
	if len(args) > 0 {
		switch args[0] {
		case "sentry":
			return boot.Main()
		case gateway.Role:
			return gateway.Main()
		case kernel.AttendantRole:
			return kernel.Attend(args[1:])
		case kernel.FollowerRole:
			return kernel.Follow(args[1:])
		case process.Role:
			return process.InitMain(args[1:])
		case keeperRole:
			if len(args) == 3 {
				return keep(args[1], args[2])
			}
		case "cgroup-keeper":
			if len(args) == 2 {
				if err := kernel.KeepCgroup(args[1]); err != nil {
					fmt.Fprintln(os.Stderr, "coffer:", err)
					return exitUsage
				}
				return 0
			}
		}
	}
	sysmon.Calm(sysmonSlack)
	slog.SetDefault(slog.New(plain{slog.LevelInfo}))
	room := len(args) > 0 && args[0] == roomRole
	if room {
		args = args[1:]
	}
	root := newTree(room, args)
	err := root.Execute()
	if err == nil {
		return 0
	}
	code := exitUsage
	var ee *exitError
	if errors.As(err, &ee) {
		code = ee.code
	}
	if msg := err.Error(); msg != "" {
		fmt.Fprintln(os.Stderr, "coffer:", legible(msg))
	}
	return code
}

// newTree makes as much of the tree of commands as args, which it is to run, need: one
// command where they name one, since to make all with their flags is a tenth of what
// a program of this size takes until it runs.
func newTree(room bool, args []string) *cobra.Command {
	root := newRoot(room, func(name string) bool { return slices.Contains(args, name) })
	root.SetArgs(args)
	if c, _, err := root.Find(args); !asked(args) && err == nil && c.HasParent() && c.Name() != "help" {
		root.CompletionOptions.DisableDefaultCmd = true
		return root
	}
	root = newRoot(room, func(string) bool { return true })
	root.SetArgs(args)
	completesShells(root)
	if asked(args) {
		answer(root)
	}
	return root
}

// newRoot makes the root of the tree and those of the commands that are wanted. room
// says that this process is in a room for `coffer do` to run a container in.
func newRoot(room bool, wanted func(name string) bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "coffer",
		Short: "Run programs behind a wall of your choice",
		Long: `Coffer runs programs that you don't trust. Each sandbox has a Linux kernel of
its own, in user space: it answers the program's system calls itself, so that
the host's kernel never sees them. As an OCI runtime, in the place of runc, it
makes containers behind that wall or behind the host's own kernel.`,
		Example: `  coffer do -- ls -l /          a program in a sandbox
  coffer do -- bash             an interactive shell
  coffer check                  what this host can run
  coffer run --bundle web web1  a container from an OCI bundle`,
		Version:       Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	g := new(globals)
	g.flags(root.Flags())
	usageOfGlobals(root)
	completeGlobals(root)
	root.AddGroup(&cobra.Group{ID: sandboxes, Title: "Sandboxes:"}, &cobra.Group{ID: containers, Title: "Containers of the OCI runtime specification:"})
	for _, c := range []struct {
		name, group string
		make        func(*globals) *cobra.Command
	}{
		{"do", sandboxes, func(g *globals) *cobra.Command { return newDo(g, room) }},
		{"network", sandboxes, func(*globals) *cobra.Command { return newNetwork() }},
		{"check", sandboxes, func(*globals) *cobra.Command { return newCheck() }},
		{"create", containers, newCreate},
		{"start", containers, newStart},
		{"run", containers, newRun},
		{"exec", containers, newExec},
		{"state", containers, newState},
		{"list", containers, newList},
		{"ps", containers, newPs},
		{"kill", containers, newKill},
		{"pause", containers, newPause},
		{"resume", containers, newResume},
		{"update", containers, newUpdate},
		{"events", containers, newEvents},
		{"delete", containers, newDelete},
		{"spec", containers, newSpec},
		{"features", containers, newFeatures},
		{"version", "", func(*globals) *cobra.Command { return newVersion() }},
	} {
		if wanted(c.name) {
			made := c.make(g)
			made.GroupID = c.group
			root.AddCommand(made)
		}
	}
	onlySubcommands(root)
	root.SuggestionsMinimumDistance = 2
	root.SetHelpCommand(newHelp())
	root.InitDefaultHelpCmd()
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &exitError{exitUsage, flagError(c, err)}
	})
	return root
}

// flagError says what is wrong with a flag. Of values it says so in words: pflag's are
// those of package strconv.
func flagError(c *cobra.Command, err error) string {
	text := err.Error()
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		what := ""
		switch bad.GetFlag().Value.Type() {
		case "bool":
			what = "true or false"
		case "int":
			what = "a whole number"
		case "uintSlice":
			what = "a number from 0 on, or several between commas"
		case "duration":
			what = "a number with its unit, such as 500ms or 10s"
		}
		if what != "" {
			text = fmt.Sprintf("--%s %q is not possible: it is %s", bad.GetFlag().Name, bad.GetValue(), what)
		}
	}
	return fmt.Sprintf("%s (see '%s --help')", text, c.CommandPath())
}
