package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"coffer/internal/container"
	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"
	"coffer/internal/sentry/boot"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes of the commands of an OCI runtime, which are runc's and not
// Docker's: engines look for them.
const (
	exitVerb = 1
	// exitExec is for a program that exec could not start: the program's own
	// codes are those from 0 to 254 then.
	exitExec = 255
)

// globals are the flags that all commands of an OCI runtime have. They may
// stand before the command's name, as with runc, or after it.
type globals struct {
	root          string
	log           string
	logFormat     string
	debug         bool
	systemdCgroup bool
	rootless      string
	isolation     string
	intercept     string

	config config
	// logged is set if errors are logged elsewhere than as plain text on
	// standard error.
	logged logTarget
}

// flags defines the flags in a set.
func (g *globals) flags(fl *pflag.FlagSet) {
	fl.StringVar(&g.root, "root", "", "directory of the containers' state (default /run/coffer, $XDG_RUNTIME_DIR/coffer for others than root)")
	fl.StringVar(&g.log, "log", "", "append warnings and errors to this file")
	fl.StringVar(&g.logFormat, "log-format", "text", "format of the log: text or json")
	fl.BoolVar(&g.debug, "debug", false, "log more, to find out what went wrong")
	fl.BoolVar(&g.systemdCgroup, "systemd-cgroup", false, "let systemd make cgroups: linux.cgroupsPath is slice:prefix:name then")
	fl.StringVar(&g.rootless, "rootless", "auto", "do without cgroups that may not be made: true, false, or auto")
	fl.StringVar(&g.isolation, "isolation", "", "the wall around a new container: process or kernel (default kernel, see docs/oci.md)")
	fl.StringVar(&g.intercept, "intercept", "", "how isolation kernel intercepts system calls: trap or ptrace")
}

// completeGlobals completes the words that the flags of a command take.
func completeGlobals(c *cobra.Command) {
	levels := []string{}
	for _, l := range isolation.Levels {
		levels = append(levels, string(l))
	}
	for _, f := range []struct {
		flag  string
		words []string
	}{{"isolation", levels}, {"intercept", boot.Platforms()}, {"log-format", []string{"text", "json"}}, {"rootless", []string{"auto", "true", "false"}}} {
		c.RegisterFlagCompletionFunc(f.flag, cobra.FixedCompletions(f.words, cobra.ShellCompDirectiveNoFileComp))
	}
	if c.Flags().Lookup("root") != nil {
		c.MarkFlagDirname("root")
	}
}

// storeVerb is verb for what is done with containers.
func (g *globals) storeVerb(c *cobra.Command, failure int, run func(s *container.Store, args []string) error) *cobra.Command {
	return g.verb(c, failure, func(args []string) error {
		s, err := g.store()
		if err != nil {
			return err
		}
		return run(s, args)
	})
}

// verb makes c a command of the OCI runtime: it has the global flags, and its
// errors go to the log. failure is its exit code when it could not do its work.
func (g *globals) verb(c *cobra.Command, failure int, run func(args []string) error) *cobra.Command {
	global := pflag.NewFlagSet("", pflag.ContinueOnError)
	g.flags(global)
	global.VisitAll(func(f *pflag.Flag) {
		f.Hidden = true // the help of coffer itself shows them
		if c.Flags().Lookup(f.Name) == nil {
			c.Flags().AddFlag(f)
		}
	})
	completeGlobals(c)
	// Arguments are counted when the log is there, so that it has the error.
	arguments := c.Args
	c.Args = cobra.ArbitraryArgs
	c.DisableFlagsInUseLine = true
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &exitError{failure, flagError(c, err)}
	})
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := g.setUp(); err != nil {
			return &exitError{failure, err.Error()}
		}
		if err := arguments(c, args); err != nil {
			return g.logged.report(&exitError{failure, err.Error()})
		}
		err := run(args)
		var ee *exitError
		if err != nil && !errors.As(err, &ee) {
			ee = &exitError{failure, err.Error()}
		}
		if ee == nil {
			return nil
		}
		return g.logged.report(ee)
	}
	return c
}

// setUp opens the log and reads the configuration file, before a verb runs.
func (g *globals) setUp() (err error) {
	if g.logged, err = openLog(g.log, g.logFormat, g.debug); err != nil {
		return err
	}
	switch g.rootless {
	case "true", "false", "auto":
	default:
		return fmt.Errorf("--rootless %q is not known: it is true, false or auto", g.rootless)
	}
	// Also for a command that makes no container, and so has no use for them: a
	// mistake in writing is to be told while somebody looks.
	if g.isolation != "" {
		if _, err := parseLevel(g.isolation); err != nil {
			return fmt.Errorf("--isolation: %w", err)
		}
	}
	if err := checkIntercept(g.intercept); err != nil {
		return fmt.Errorf("--intercept %w", err)
	}
	g.config, err = readConfig(configPath)
	return err
}

// store opens the store of containers.
func (g *globals) store() (*container.Store, error) {
	root, err := g.rootDirectory()
	if err != nil {
		return nil, err
	}
	slog.Debug("containers are kept in " + root)
	return container.NewStore(root, container.DefaultWalls), nil
}

func (g *globals) rootDirectory() (string, error) {
	root := g.root
	switch {
	case root != "":
	case g.config.Root != "":
		root = g.config.Root
	case isRootless() && os.Getenv("XDG_RUNTIME_DIR") != "":
		root = filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "coffer")
	case os.Geteuid() != 0:
		return "", errors.New("containers of others than root are kept in $XDG_RUNTIME_DIR/coffer, and XDG_RUNTIME_DIR is not set: set it to a directory of your own, or name one with --root")
	default:
		root = "/run/coffer"
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("--root %s: %w", root, err)
	}
	return abs, nil
}

// cgroupOptions say how a new container's cgroup is made.
func (g *globals) cgroupOptions() hostcgroup.Options {
	return hostcgroup.Options{
		Systemd:  g.systemdCgroup,
		Rootless: g.rootless == "true" || g.rootless == "auto" && isRootless(),
	}
}

// isRootless reports whether coffer has no privileges over the host: it is not
// root, or only the root of a user namespace.
func isRootless() bool {
	return os.Geteuid() != 0 || hostcgroup.InUserNamespace()
}

// exactly demands a number of arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%q requires exactly %d argument(s), and %d are given: %s", c.Name(), n, len(args), c.UseLine())
		}
		return nil
	}
}

// atLeast demands that there be at least so many arguments.
func atLeast(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < n {
			return fmt.Errorf("%q requires a minimum of %d argument(s), and %d are given: %s", c.Name(), n, len(args), c.UseLine())
		}
		return nil
	}
}

// between demands a number of arguments from min to max.
func between(min, max int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < min || len(args) > max {
			return fmt.Errorf("%q requires %d to %d argument(s), and %d are given: %s", c.Name(), min, max, len(args), c.UseLine())
		}
		return nil
	}
}

// completeID completes the ID of a container, the first argument.
func (g *globals) completeID(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if g.setUp() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, err := g.store()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ids, _ := s.IDs()
	return ids, cobra.ShellCompDirectiveNoFileComp
}
