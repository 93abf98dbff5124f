package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"coffer/internal/container"
	"coffer/internal/namedfile"
	"coffer/internal/oci"
	"coffer/internal/oci/linuxname"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// execFlags are the flags of `coffer exec`.
type execFlags struct {
	cwd            string
	env            []string
	tty            bool
	user           string
	additionalGIDs []uint
	process        string
	detach         bool
	pidFile        string
	processLabel   string
	apparmor       string
	noNewPrivs     bool
	capabilities   []string
	preserveFDs    int
	ignorePaused   bool
	cgroup         string
	consoleSocket  string
	// given tells flags that were given from those that were left out.
	given func(flag string) bool
}

func newExec(g *globals) *cobra.Command {
	var f execFlags
	c := &cobra.Command{
		Use:   "exec [flags] ID CMD [ARG...]",
		Short: "Run another program in a container",
		Long: `Run CMD in a container that is created or running. It gets the environment, the
user and the restrictions of the container's own program, but for what flags
change, or all of these from a file (--process).`,
		Example: `  coffer exec web1 ls -l /
  coffer exec --tty --user 1000:1000 --env DEBUG=1 web1 sh
  coffer exec --detach --pid-file job.pid --process process.json web1`,
		Args:              atLeast(1),
		ValidArgsFunction: g.completeID,
	}
	fl := c.Flags()
	fl.SetInterspersed(false) // CMD's own flags are CMD's
	fl.StringVar(&f.cwd, "cwd", "", "the working directory in the container")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "set a variable, NAME=VALUE (repeatable)")
	fl.BoolVarP(&f.tty, "tty", "t", false, "give the program a terminal")
	fl.StringVarP(&f.user, "user", "u", "", "run as UID[:GID], numbers")
	fl.UintSliceVarP(&f.additionalGIDs, "additional-gids", "g", nil, "more groups, numbers (repeatable)")
	fl.StringVarP(&f.process, "process", "p", "", "read all of the process from this JSON file, as process in a config.json")
	fl.BoolVarP(&f.detach, "detach", "d", false, "return when the program runs")
	fl.StringVar(&f.pidFile, "pid-file", "", "write the number of the process to this file")
	fl.StringVar(&f.processLabel, "process-label", "", "the SELinux label of the process")
	fl.StringVar(&f.apparmor, "apparmor", "", "the AppArmor profile of the process")
	fl.BoolVar(&f.noNewPrivs, "no-new-privs", false, "let the program gain no privileges by execve(2)")
	fl.StringArrayVarP(&f.capabilities, "cap", "c", nil, "add a capability, such as CAP_NET_ADMIN (repeatable)")
	fl.IntVar(&f.preserveFDs, "preserve-fds", 0, "pass on so many descriptors after standard error (and those of $LISTEN_FDS)")
	fl.BoolVar(&f.ignorePaused, "ignore-paused", false, "start the program also in a paused container, where it runs once that is resumed")
	fl.StringVar(&f.cgroup, "cgroup", "", "a cgroup below the container's own that exists; on cgroup v1 perhaps CONTROLLER[,...]:PATH")
	fl.StringVar(&f.consoleSocket, "console-socket", "", "path of a unix socket that is sent the master of the program's terminal")
	c.RegisterFlagCompletionFunc("cap", completeCapability)
	f.given = fl.Changed
	return g.storeVerb(c, exitExec, func(s *container.Store, args []string) error {
		return f.run(s, args[0], args[1:])
	})
}

func (f *execFlags) run(s *container.Store, id string, args []string) error {
	process, err := f.describe(s, id, args)
	if err != nil {
		return err
	}
	r := &container.ExecRequest{IgnorePaused: f.ignorePaused, PIDFile: f.pidFile}
	r.Process, r.Cgroup = process, f.cgroup
	if r.Extra, err = passOn(f.preserveFDs, process); err != nil {
		return err
	}
	if f.detach {
		if err := detachedStreams(&r.Streams, process.Terminal, f.consoleSocket); err != nil {
			return err
		}
		_, err := s.Exec(id, r)
		return err
	}
	if f.consoleSocket != "" {
		return errConsoleSocket
	}
	return execForeground(s, id, r)
}

func execForeground(s *container.Store, id string, r *container.ExecRequest) error {
	front, err := newForeground(r.Process.Terminal)
	if err != nil {
		return err
	}
	defer front.close()
	if err := front.streams(&r.Streams); err != nil {
		return err
	}
	pid, err := s.Exec(id, r)
	if err != nil {
		return err
	}
	if err := front.connect(); err != nil {
		pid.Signal(unix.SIGKILL)
		return err
	}
	code, err := front.wait(pid.PID, false, pid.Signal)
	if err != nil {
		return err
	}
	return exited(code)
}

// describe says which process is to be run.
func (f *execFlags) describe(s *container.Store, id string, args []string) (*specs.Process, error) {
	c, err := s.Find(id)
	if err != nil {
		return nil, err
	}
	if f.process != "" {
		if len(args) > 0 {
			return nil, fmt.Errorf("%q is given beside --process, which says what to run", args[0])
		}
		return readProcess(f.process)
	}
	if len(args) == 0 {
		return nil, errors.New("no command is given: coffer exec [flags] ID CMD [ARG...] (process args cannot be empty)")
	}
	spec, err := c.Spec()
	if err != nil {
		return nil, err
	}
	return f.change(spec.Process, args)
}

// change makes of the container's own process the one that is to be run.
func (f *execFlags) change(own *specs.Process, args []string) (*specs.Process, error) {
	process := *own
	process.Args, process.Terminal, process.ConsoleSize = args, f.tty, nil
	process.Env = slices.Concat(process.Env, f.env)
	if f.cwd != "" {
		process.Cwd = f.cwd
	}
	if f.given("process-label") {
		process.SelinuxLabel = f.processLabel
	}
	if f.given("apparmor") {
		process.ApparmorProfile = f.apparmor
	}
	if f.given("no-new-privs") {
		process.NoNewPrivileges = f.noNewPrivs
	}
	if _, unknown := linuxname.CapabilitySet(f.capabilities); len(unknown) > 0 {
		return nil, fmt.Errorf("--cap %s is no capability: it is a name as in capabilities(7), such as CAP_NET_ADMIN", unknown[0])
	}
	process.Capabilities = withCapabilities(process.Capabilities, f.capabilities)
	if err := f.setUser(&process.User); err != nil {
		return nil, err
	}
	return &process, oci.CheckProcess(&process, "exec")
}

// maxProcess bounds a process's description, in bytes.
const maxProcess = 1 << 20

// readProcess reads the file that --process names.
func readProcess(path string) (*specs.Process, error) {
	f, err := namedfile.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("--process %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxProcess+1))
	if err != nil {
		return nil, fmt.Errorf("--process %s: %w", path, namedfile.Explain(err, false))
	}
	if len(data) > maxProcess {
		return nil, fmt.Errorf("--process %s is larger than %d KiB, which no process is", path, maxProcess>>10)
	}
	process := new(specs.Process)
	if err := oci.DecodeJSON(data, process, path); err != nil {
		return nil, err
	}
	return process, oci.CheckProcess(process, path)
}

// withCapabilities adds capabilities to those of a process, which stay as they
// are.
func withCapabilities(c *specs.LinuxCapabilities, add []string) *specs.LinuxCapabilities {
	if len(add) == 0 {
		return c
	}
	sum := &specs.LinuxCapabilities{}
	if c != nil {
		*sum = *c
	}
	for _, set := range []*[]string{&sum.Bounding, &sum.Effective, &sum.Permitted} {
		*set = slices.Concat(*set, add)
	}
	return sum
}

// setUser changes whom the process runs as.
func (f *execFlags) setUser(u *specs.User) error {
	if f.user != "" {
		user, group, hasGroup := strings.Cut(f.user, ":")
		uid, err := parseID(user)
		if err != nil {
			return fmt.Errorf("--user %s: %w", f.user, err)
		}
		u.UID = uid
		if hasGroup {
			if u.GID, err = parseID(group); err != nil {
				return fmt.Errorf("--user %s: %w", f.user, err)
			}
		}
	}
	u.AdditionalGids = slices.Clone(u.AdditionalGids)
	for _, g := range f.additionalGIDs {
		id, err := parseID(strconv.FormatUint(uint64(g), 10))
		if err != nil {
			return fmt.Errorf("--additional-gids: %w", err)
		}
		u.AdditionalGids = append(u.AdditionalGids, id)
	}
	return nil
}

// parseID reads the number of a user or group.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, fmt.Errorf("%q is not the number of a user or group: names are not known here, and the largest number is %d", s, uint32(1<<32-2))
	}
	return uint32(n), nil
}
