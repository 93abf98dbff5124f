package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"coffer/internal/container"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// runFlags are the flags of `coffer run`.
type runFlags struct {
	newContainer
	detach      bool
	keep        bool
	noSubreaper bool
}

func newRun(g *globals) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run [flags] ID",
		Short: "Make a container from a bundle and run its program",
		Long: `Make a container named ID from a bundle, run its program, and remove the
container when it ends. Standard input and output, the terminal and the exit
status pass through; 128+n says that signal n ended the program. With --detach,
return when it runs.`,
		Example: `  coffer run --bundle ./web web1
  coffer --isolation process run --detach --pid-file web1.pid web1`,
		Args:              exactly(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := c.Flags()
	f.newContainer.flags(fl)
	fl.BoolVarP(&f.detach, "detach", "d", false, "return when the program runs")
	fl.BoolVar(&f.keep, "keep", false, "do not remove the container when its program has ended")
	fl.BoolVar(&f.noSubreaper, "no-subreaper", false, "do not reap orphans of the container")
	c.MarkFlagDirname("bundle")
	return g.storeVerb(c, exitVerb, func(s *container.Store, args []string) error {
		request, err := g.request(&f.newContainer, args[0])
		if err != nil {
			return err
		}
		if f.detach {
			return runDetached(s, request, &f)
		}
		return runForeground(s, request, &f)
	})
}

func runDetached(s *container.Store, r *container.CreateRequest, f *runFlags) error {
	if err := detachedStreams(&r.Streams, r.Spec.Process.Terminal, f.consoleSocket); err != nil {
		return err
	}
	if _, err := s.Create(r); err != nil {
		return err
	}
	return startOrDelete(s, r)
}

// startOrDelete starts a container, and removes it if that fails: there is none
// then, as after a create that fails.
func startOrDelete(s *container.Store, r *container.CreateRequest) error {
	if err := s.Start(r.ID); err != nil {
		return unmake(s, r, err)
	}
	return nil
}

// unmake removes a container that was made in vain, with its PID file, and returns why that
// was, with what could not be removed.
func unmake(s *container.Store, r *container.CreateRequest, cause error) error {
	if err := s.Delete(r.ID, true); err != nil {
		cause = fmt.Errorf("%w; and the container could not be removed: %w", cause, err)
	}
	if r.PIDFile != "" {
		if err := os.Remove(r.PIDFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			cause = fmt.Errorf("%w; and the PID file could not be removed: %w", cause, err)
		}
	}
	return cause
}

func runForeground(s *container.Store, r *container.CreateRequest, f *runFlags) error {
	if f.consoleSocket != "" {
		return errConsoleSocket
	}
	front, err := newForeground(r.Spec.Process.Terminal)
	if err != nil {
		return err
	}
	defer front.close()
	if err := front.streams(&r.Streams); err != nil {
		return err
	}
	if !f.noSubreaper {
		// A container without a PID namespace of its own leaves its orphans to
		// the next subreaper.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			slog.Debug(fmt.Sprintf("becoming a subreaper: %v", err))
		}
	}
	init, err := s.Create(r)
	if err != nil {
		return err
	}
	if err := front.connect(); err != nil {
		return unmake(s, r, err)
	}
	if err := startOrDelete(s, r); err != nil {
		return err
	}
	code, err := front.wait(init.PID, !f.noSubreaper, func(sig unix.Signal) error { return s.Kill(r.ID, sig, false) })
	if err != nil {
		return err
	}
	if !f.keep {
		if err := s.Delete(r.ID, true); err != nil {
			return err
		}
	}
	return exited(code)
}
