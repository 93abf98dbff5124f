package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coffer/internal/hostnet"
	"coffer/internal/isolation"
	"coffer/internal/isolation/kernel"
	"coffer/internal/namedfile"
	"coffer/internal/sentry/boot"
	"coffer/internal/sentry/platform"
	"coffer/internal/textpages"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// doFlags are the flags of `coffer do`.
type doFlags struct {
	intercept   string
	binds       []string
	rootfs      string
	cwd         string
	env         []string
	user        string
	hostname    string
	memory      string
	trace       string
	traceFilter string
	stats       bool
	net         networkFlags
}

func newDo(g *globals, room bool) *cobra.Command {
	var f doFlags
	c := &cobra.Command{
		Use:   "do [flags] -- CMD [ARG...]",
		Short: "Run a command in a sandbox on this host's files",
		Long: `Run CMD on a kernel of its own. It sees this host's root file system, read-only
beneath a writable layer in memory: what it changes is gone when it ends. Its
process tree, /proc, /dev, /sys and /tmp are its own, and so is its network.
The working directory, the environment, standard input and output, the terminal
and the exit status pass through; 128+n says that signal n ended CMD. With
--isolation process the host's own kernel runs it, in namespaces.`,
		Example: `  coffer do -- make test
  coffer do --bind .:/src:rw --cwd /src -- make
  coffer do --memory 512M -- python3 untrusted.py
  coffer do --trace --trace-filter @file -- ls
  coffer do --network user --publish 8080:80 -- ./server
  coffer do --rootfs ./alpine --user nobody -- sh
  coffer do --isolation process -- make test`,
		ValidArgsFunction: completeProgram,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &exitError{exitUsage, "no command is given: coffer do [flags] -- CMD [ARG...]"}
			}
			if args[0] == "" {
				return &exitError{exitNotFound, "the command is an empty word"}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			// An empty value is an unset shell variable as a rule. It must not
			// quietly stand for a weaker default.
			for _, name := range append([]string{"isolation", "rootfs", "cwd", "user", "memory", "trace", "trace-filter"}, networkNames...) {
				if fl := c.Flags().Lookup(name); fl.Changed && fl.Value.String() == "" {
					return &exitError{exitUsage, fmt.Sprintf("--%s has an empty value: give one, or leave the flag out", name)}
				}
			}
			var err error
			if g.config, err = readConfig(configPath); err != nil {
				return &exitError{exitUsage, err.Error()}
			}
			level, err := g.chooseIsolation(&specs.Spec{}, os.Args[0])
			if err != nil {
				return &exitError{exitUsage, err.Error()}
			}
			if level != isolation.LevelProcess {
				return runDo(f, g, args)
			}
			for _, name := range []string{"intercept", "trace", "trace-filter", "stats"} {
				if c.Flags().Changed(name) {
					return &exitError{exitUsage, fmt.Sprintf("--%s is for isolation kernel: with isolation %s the host's kernel answers system calls itself", name, level)}
				}
			}
			if !room {
				return &exitError{exitUsage, enterRoom().Error()}
			}
			return f.runProcess(g, args)
		},
	}
	fl := c.Flags()
	fl.SetInterspersed(false) // CMD's own flags are CMD's
	fl.StringVar(&g.isolation, "isolation", "", "the wall around the command: kernel, or process for namespaces on the host's kernel (default kernel, see docs/oci.md)")
	fl.StringVar(&f.intercept, "intercept", "trap", "how system calls are intercepted: trap or ptrace")
	fl.StringArrayVar(&f.binds, "bind", nil, "show a host file or directory in the sandbox: HOST[:GUEST][:ro|rw] (ro by default, \\: for a colon in a path; repeatable)")
	fl.StringVar(&f.rootfs, "rootfs", "/", "the directory to use as root file system")
	fl.StringVar(&f.cwd, "cwd", "", "the working directory in the sandbox (default: the present one, or / with --rootfs)")
	fl.StringArrayVar(&f.env, "env", nil, "set a variable, NAME=VALUE, or pass NAME on (repeatable)")
	fl.StringVar(&f.user, "user", "", "run as USER[:GROUP], names or numbers; a number that /etc/passwd lacks has group 0 (default: the present user)")
	fl.StringVar(&f.hostname, "hostname", "coffer", "the sandbox's host name")
	fl.StringVar(&f.memory, "memory", "", "limit the sandbox's memory, for example 512M or 2G")
	fl.StringVar(&f.trace, "trace", "", "write each system call to standard error, or with --trace=FILE to a file (JSON lines if it ends in .json or .jsonl)")
	fl.Lookup("trace").NoOptDefVal = "-"
	fl.StringVar(&f.traceFilter, "trace-filter", "", "trace only these: calls and groups such as openat,@file,!read,error")
	fl.BoolVar(&f.stats, "stats", false, "tell at the end on standard error how many system calls there were, and how many of them took the slow way, a signal")
	f.net.flags(fl)
	f.net.complete(c)
	completeGlobals(c)
	c.MarkFlagDirname("rootfs")
	c.MarkFlagDirname("cwd")
	return c
}

// runDo runs one command and returns its exit code as an exitError.
func runDo(f doFlags, g *globals, args []string) error {
	if err := boot.CheckHost(); err != nil {
		return &exitError{exitUsage, err.Error()}
	}
	cfg, err := f.config(args)
	if err != nil {
		return refused(err)
	}
	defer closeAll(cfg)
	attached, err := f.attach(g, hostnet.ModeUser, hostnet.Frames)
	if err != nil {
		return refused(err)
	}
	defer detach(attached)
	cfg.Sandbox.Network, cfg.Network = attached.Network, attached.Files
	cfg.Sandbox.NetworkOpenToAll = !attached.Host
	for path, data := range namesOf(attached) {
		cfg.Sandbox.Written = append(cfg.Sandbox.Written, boot.WrittenFile{Path: path, Data: data})
	}
	var tty *terminal
	if onTerminal() {
		if tty, err = newTerminal(); err != nil {
			return &exitError{exitUsage, err.Error()}
		}
		defer tty.close()
		cfg.Console = tty.theirs
		cfg.Sandbox.Rows, cfg.Sandbox.Cols = tty.size()
	}
	// From before the start, so that none of them ends coffer and leaves its
	// program without a master.
	sigs := catchSignals()
	box, err := kernel.Start(cfg)
	if err != nil {
		return programFailed(err)
	}
	if tty != nil {
		if err := tty.relay(); err != nil {
			box.Signal(int(unix.SIGKILL))
			box.Wait()
			return refused(err)
		}
	}
	textpages.ReleaseLater()
	go func() {
		for sig := range sigs {
			if sig == unix.SIGWINCH && tty != nil {
				box.Resize(tty.size())
			} else {
				box.Signal(int(sig.(unix.Signal)))
			}
		}
	}()
	status, err := box.Wait()
	if tty != nil {
		tty.drain()
	}
	if err != nil {
		return &exitError{exitUsage, err.Error()}
	}
	if f.stats {
		fmt.Fprintln(os.Stderr, "coffer: "+describeCounts(box.Counts()))
	}
	switch {
	case status.Signaled():
		return &exitError{exitSignal + int(status.Signal()), ""}
	case status.ExitStatus() != 0:
		return &exitError{status.ExitStatus(), ""}
	}
	return nil
}

// attach makes the sandbox's network. mode is the one if nobody has chosen.
func (f *doFlags) attach(g *globals, mode hostnet.Mode, wall hostnet.Wall) (*hostnet.Attachment, error) {
	o, err := f.net.options(&g.config.Network, mode)
	if err != nil {
		return nil, err
	}
	o.Container = f.hostname
	a, err := g.config.Network.networks().Attach(o, wall)
	if err != nil && f.net.network == "" && g.config.Network.Default != "" {
		err = fmt.Errorf("%w (network.default in %s chooses this network)", err, configPath)
	}
	return a, err
}

// detach removes a network, and tells of what is left.
func detach(a *hostnet.Attachment) {
	if err := a.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "coffer: removing the sandbox's network:", legible(err.Error()))
	}
}

// nameFiles are the files by which a sandbox's programs find names.
var nameFiles = []string{"/etc/resolv.conf", "/etc/hosts"}

// namesOf is what they say.
func namesOf(a *hostnet.Attachment) map[string][]byte {
	files := map[string][]byte{nameFiles[0]: a.Resolv, nameFiles[1]: a.Hosts}
	maps.DeleteFunc(files, func(_ string, data []byte) bool { return data == nil })
	return files
}

// describeCounts says how many system calls there were.
func describeCounts(c platform.Counts) string {
	if c.Calls == 0 {
		return "system calls are not counted here: only --intercept trap has a quick and a slow way"
	}
	return fmt.Sprintf("%d system calls, %d of them (%.1f %%) by a signal", c.Calls, c.Trapped, 100*float64(c.Trapped)/float64(c.Calls))
}

// refused is the end of a run that could not begin.
func refused(err error) error {
	if errors.Is(err, unix.EMFILE) {
		err = fmt.Errorf("%w: raise the limit on open files (ulimit -n)", err)
	}
	return &exitError{exitUsage, err.Error()}
}

// programFailed gives an error in running a program the exit code that `coffer do`
// promises.
func programFailed(err error) error {
	var ee *exitError
	var pe *isolation.ProgramError
	switch {
	case err == nil || errors.As(err, &ee):
		return err
	case errors.As(err, &pe):
		return &exitError{pe.Code, err.Error()}
	}
	return refused(err)
}

// config opens what the flags name.
func (f doFlags) config(args []string) (cfg kernel.Config, err error) {
	defer func() {
		if err != nil {
			closeAll(cfg)
		}
	}()
	box := &cfg.Sandbox
	if !slices.Contains(boot.Platforms(), f.intercept) {
		return cfg, fmt.Errorf("--intercept %q is not known: it is one of %s", f.intercept, strings.Join(boot.Platforms(), ", "))
	}
	box.Intercept = f.intercept
	if err := checkHostname(f.hostname); err != nil {
		return cfg, err
	}
	box.Hostname, box.Args = f.hostname, args
	box.Advice = boot.Advice{
		Cwd:      "give another one with --cwd, or show it with --bind",
		Mount:    "name another place in the sandbox with --bind",
		Emulator: "show the host's with --bind",
	}
	if box.Memory, err = parseMemory(f.memory); err != nil {
		return cfg, err
	}
	root, err := filepath.Abs(f.rootfs)
	if err != nil {
		return cfg, err
	}
	if cfg.Root, err = openTree(root); err != nil {
		return cfg, fmt.Errorf("--rootfs %s: %w", f.rootfs, err)
	}
	if st, err := cfg.Root.Stat(); err == nil && !st.IsDir() {
		return cfg, fmt.Errorf("--rootfs %s is not a directory", f.rootfs)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, root, unix.R_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return cfg, fmt.Errorf("--rootfs %s cannot be read by this user (%w): change its mode, or run coffer as its owner or as root", f.rootfs, err)
	}
	if err := f.directory(root, &cfg); err != nil {
		return cfg, err
	}
	changes := f.env
	if wd, err := os.Getwd(); err != nil || wd != box.Cwd {
		// The shell's PWD would be wrong, and programs believe it.
		changes = append([]string{"PWD=" + box.Cwd}, changes...)
	}
	if box.Env, err = environment(os.Environ(), changes); err != nil {
		return cfg, err
	}
	for _, b := range f.binds {
		m, file, err := openBind(b)
		if err != nil {
			return cfg, err
		}
		box.Mounts, cfg.Mounts = append(box.Mounts, m), append(cfg.Mounts, file)
	}
	if box.UID, box.GID, box.Groups, err = resolveUser(f.user, root); err != nil {
		return cfg, err
	}
	box.Umask = umask()
	for i, std := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if cfg.Stdio[i], err = duplicate(std); err != nil {
			return cfg, err
		}
	}
	cfg.Log = os.Stderr
	return cfg, f.openTrace(&cfg)
}

// hidden are the directories that the sandbox has its own of.
var hidden = []string{"/proc", "/sys", "/dev", "/tmp"}

// directory sets the working directory. If the present one lies where the
// sandbox has a file system of its own (/tmp), it is shown there too, with
// changes kept in memory as everywhere.
func (f doFlags) directory(root string, cfg *kernel.Config) error {
	box := &cfg.Sandbox
	if f.cwd != "" {
		if !filepath.IsAbs(f.cwd) {
			return fmt.Errorf("--cwd %s is not an absolute path: it is a directory in the sandbox", f.cwd)
		}
		box.Cwd, box.UserCwd = filepath.Clean(f.cwd), true
		return nil
	}
	if root != "/" {
		box.Cwd = "/"
		return nil
	}
	wd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("the working directory cannot be found (%w): give another one with --cwd", err)
	}
	box.Cwd = wd
	for _, h := range hidden {
		if strings.HasPrefix(wd, h+"/") {
			if h != "/tmp" {
				return fmt.Errorf("the working directory %s lies in %s, of which the sandbox has its own: give another one with --cwd", wd, h)
			}
			file, err := openTree(wd)
			if err != nil {
				return fmt.Errorf("the working directory: %w", err)
			}
			box.Mounts = append(box.Mounts, boot.Mount{Path: wd, Overlay: true})
			cfg.Mounts = append(cfg.Mounts, file)
		}
	}
	return nil
}

func (f doFlags) openTrace(cfg *kernel.Config) (err error) {
	if f.trace == "" {
		if f.traceFilter != "" {
			return errors.New("--trace-filter needs --trace")
		}
		return nil
	}
	if err := boot.CheckTraceFilter(f.traceFilter); err != nil {
		return fmt.Errorf("--trace-filter: %w", err)
	}
	t := &boot.Trace{Filter: f.traceFilter}
	if f.trace == "-" {
		cfg.Trace, err = duplicate(os.Stderr)
	} else {
		t.JSON = strings.HasSuffix(f.trace, ".json") || strings.HasSuffix(f.trace, ".jsonl")
		cfg.Trace, err = namedfile.Open(f.trace, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o644)
	}
	if err != nil {
		return fmt.Errorf("--trace %w", err)
	}
	cfg.Sandbox.Trace = t
	return nil
}

func closeAll(cfg kernel.Config) {
	for _, f := range append(append(cfg.Stdio[:], cfg.Mounts...), cfg.Root, cfg.Trace) {
		if f != nil {
			f.Close()
		}
	}
}
