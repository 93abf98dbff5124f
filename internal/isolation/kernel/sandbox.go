// Package kernel starts, talks to and stops a sentry: the wall that is a
// kernel of our own in user space.
//
// There are two ways to use it. Start runs one program in a sandbox that ends with
// whoever started it. New is the wall of a container runtime, whose commands come
// and go: there the sentry outlives its starter and is asked over a socket in its
// first container's directory, and whatever is not its first process has an
// attendant on the host, which can be waited for and signalled.
//
// It must not know how the sentry works inside; it hands over descriptors and
// a description, and speaks boot.Message, or boot.Request and boot.Reply, on a
// socket. What comes from a sentry may come from a guest that has taken it over.
package kernel

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"coffer/internal/handover"
	"coffer/internal/isolation"
	"coffer/internal/scm"
	"coffer/internal/sentry/boot"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// The sentry's first descriptors. Donated ones follow.
const (
	fdDescription = 3
	fdControl     = 4
	fdDonated     = 5
)

// Config is what to run. Its files are donated to the sentry; the caller
// still closes them.
type Config struct {
	// Sandbox is the description; its descriptor fields are filled in here.
	Sandbox boot.Sandbox
	Root    *os.File
	Mounts  []*os.File // in the order of Sandbox.Mounts
	Stdio   [3]*os.File
	// Console, if not nil, is the sentry's end of the terminal's stream; then
	// Stdio is not used.
	Console *os.File
	Trace   *os.File
	// Network are the files of Sandbox.Network, whose descriptors are places among them.
	Network []*os.File
	// Log takes what the sentry has to say about itself.
	Log *os.File
}

// Sandbox is a running sentry.
type Sandbox struct {
	birth   birth
	child   *child
	control *os.File
	enc     *json.Encoder
	encMu   sync.Mutex
	events  *bufio.Reader
	cgroup  *cgroup
	closing []*os.File
	exited  chan struct{}
	// status is how the sentry ended, once exited is closed; waitErr is set if that
	// could not be learned.
	status  unix.WaitStatus
	waitErr error
	counts  platform.Counts
}

// Start starts a sentry and its first program. On success the caller must
// call Wait. It fails with an isolation.ProgramError if the program is not there
// or cannot be executed.
func Start(c Config) (*Sandbox, error) {
	if err := liftLimits(); err != nil {
		return nil, err
	}
	if err := closeOnExec(); err != nil {
		return nil, err
	}
	desc := c.Sandbox
	files := []*os.File{}
	donate := func(f *os.File) int {
		files = append(files, f)
		return fdDonated + len(files) - 1
	}
	desc.Root = donate(c.Root)
	if len(c.Mounts) != len(desc.Mounts) {
		return nil, fmt.Errorf("%d mounts are described, %d are given", len(desc.Mounts), len(c.Mounts))
	}
	for i, f := range c.Mounts {
		desc.Mounts[i].FD = donate(f)
	}
	desc.Console = -1
	if c.Console != nil {
		desc.Console = donate(c.Console)
	} else {
		for i, f := range c.Stdio {
			if err := checkStream(f, i); err != nil {
				return nil, err
			}
			desc.Stdio[i] = donate(f)
		}
	}
	if c.Trace != nil {
		desc.Trace.FD = donate(c.Trace)
	}
	if desc.Network != nil {
		var err error
		if desc.Network, err = donateNetwork(desc.Network, c.Network, donate); err != nil {
			return nil, err
		}
	}

	var group *cgroup
	if desc.Memory > 0 {
		var err error
		if group, err = newCgroup(desc.Memory); err != nil {
			return nil, err
		}
	}
	s, err := newSandbox(&desc, files, c.Log)
	if err != nil {
		group.remove()
		return nil, err
	}
	s.cgroup = group
	s.birth.mortal = true
	if err := s.spawn(); err != nil {
		s.control.Close()
		s.cgroup.remove()
		return nil, err
	}
	if err := s.cgroup.add(s.child.pid); err != nil {
		s.kill()
		return nil, err
	}
	// The sentry waits for this before it runs anything, so that all of it
	// is inside the cgroup.
	if err := s.send(boot.Message{Op: "start"}); err != nil {
		s.kill()
		return nil, fmt.Errorf("the sentry ended before it was told to start: %w", err)
	}
	return s, s.awaitStart()
}

// donateNetwork donates the files of a network, whose descriptors are places among
// them, and returns it with what they become.
func donateNetwork(n *network.Config, files []*os.File, donate func(*os.File) int) (*network.Config, error) {
	donated := *n
	donated.Interfaces = slices.Clone(n.Interfaces)
	if q := &donated.Questions; *q != 0 {
		if *q < 0 || *q >= len(files) {
			return nil, fmt.Errorf("the network has file %d of the %d that are given for its questions", *q, len(files))
		}
		*q = donate(files[*q])
	}
	for i := range donated.Interfaces {
		places := []*int{&donated.Interfaces[i].FD}
		if c := &donated.Interfaces[i].Capture; *c != 0 {
			places = append(places, c)
		}
		for _, p := range places {
			if *p < 0 || *p >= len(files) {
				return nil, fmt.Errorf("the network interface %s has file %d of the %d that are given", n.Interfaces[i].Name, *p, len(files))
			}
			*p = donate(files[*p])
		}
	}
	return &donated, nil
}

// newSandbox prepares the start of a sentry with a description and files, whose
// places in the list the description's descriptors are, from fdDonated on.
func newSandbox(desc *boot.Sandbox, files []*os.File, log *os.File) (*Sandbox, error) {
	payload, err := handover.Encode(desc)
	if err != nil {
		return nil, err
	}
	descFile, err := sealed("sandbox", payload)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := scm.Pair("control")
	if err != nil {
		descFile.Close()
		return nil, err
	}
	s := &Sandbox{
		control: ours, enc: json.NewEncoder(ours), events: bufio.NewReaderSize(ours, lineMax), exited: make(chan struct{}),
		closing: []*os.File{descFile, theirs},
	}
	// A sentry that does not listen must not keep coffer from listening to its user.
	patience := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(int(ours.Fd()), unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience); err != nil {
		ours.Close()
		s.closeGiven()
		return nil, fmt.Errorf("preparing the control socket: %w", err)
	}
	s.birth = birth{env: []string{"GOTRACEBACK=system"}, log: log, files: append([]*os.File{descFile, theirs}, files...)}
	s.birth.attr, s.birth.bounding = desc.Namespaces()
	return s, nil
}

// closeGiven closes what the sentry has been given and nobody else uses; its
// end would not be seen if its side of the control socket stayed open here.
func (s *Sandbox) closeGiven() {
	for _, f := range s.closing {
		f.Close()
	}
	s.closing = nil
}

// endPatience is how long a sentry may take to end once its program has.
const endPatience = 10 * time.Second

// closeOnExec keeps descriptors that coffer itself was started with from the
// sentry: it gets those that are donated, and no other.
func closeOnExec() error {
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keeping inherited descriptors from the sentry (Linux 5.11 or later can): %w", err)
	}
	return nil
}

// spawn runs the command from a thread that lives as long as the process:
// the kernel sends the parent-death signal when the *thread* that forked ends.
func (s *Sandbox) spawn() error {
	defer s.closeGiven()
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		var err error
		if s.child, err = s.birth.start(nil); err != nil {
			started <- explainSpawn(err)
			return
		}
		started <- nil
		s.status, s.waitErr = s.child.wait()
		close(s.exited)
	}()
	return <-started
}

func explainSpawn(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("the host refuses to create the sentry's namespaces (%w): allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0) or run as root; a container must be let create them too, and in a chroot nobody may", err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("starting the sentry: %w: it takes a mounted /proc, and /dev/null", err)
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("starting the sentry: %w: raise the limit on processes (ulimit -u, or the cgroup's pids.max)", err)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("the host's limit on namespaces is reached (%w): raise the sysctls user.max_user_namespaces and user.max_pid_namespaces", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the host's kernel lacks a namespace that the sentry needs (%w): user, pid, mount, network, ipc and uts namespaces must be compiled in", err)
	}
	return boot.Advise(fmt.Errorf("starting the sentry: %w", err))
}

func (s *Sandbox) send(m boot.Message) error {
	s.encMu.Lock()
	defer s.encMu.Unlock()
	return s.enc.Encode(m)
}

// Signal sends a signal to the first program.
func (s *Sandbox) Signal(sig int) error { return s.send(boot.Message{Op: "signal", Signal: sig}) }

// Resize tells the console's new size.
func (s *Sandbox) Resize(rows, cols uint16) error {
	return s.send(boot.Message{Op: "resize", Rows: rows, Cols: cols})
}

// Counts are the system calls of all the sandbox's programs, once Wait has
// returned; none if the platform does not count.
func (s *Sandbox) Counts() platform.Counts { return s.counts }

// Wait waits for the first program's end and returns its wait status. Nothing
// of the sandbox is left when it returns.
func (s *Sandbox) Wait() (unix.WaitStatus, error) {
	m, err := s.next()
	s.control.Close() // the sentry ends when its control socket does
	s.reap()
	s.cgroup.remove()
	switch {
	case err == nil && m.Op == "exit":
		s.counts = platform.Counts{Calls: m.Calls, Trapped: m.Trapped}
		return ended(m.Status)
	case err == nil && m.Op == "error":
		return 0, errors.New(m.Error)
	case err == nil:
		return 0, fmt.Errorf("the sentry sent %q where it should tell how its program ended", m.Op)
	case s.cgroup.oomKilled():
		return 0, fmt.Errorf("the sandbox used up its memory limit and the host ended it: raise --memory")
	}
	if !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("the sentry broke off (%v): %w", s.end(), err)
	}
	return 0, fmt.Errorf("the sentry ended before its program did: %v%s", s.end(), s.blame())
}

// crashed is the exit code of a Go program that has failed.
const crashed = 2

// end says how the sentry ended, which it has.
func (s *Sandbox) end() error {
	switch {
	case s.waitErr != nil:
		return s.waitErr
	case s.status.Signaled():
		return fmt.Errorf("signal: %v", s.status.Signal())
	}
	return fmt.Errorf("exit status %d", s.status.ExitStatus())
}

// blame says whose fault it is that the sentry ended, if that is known.
func (s *Sandbox) blame() string {
	if s.waitErr == nil && s.status.Exited() && s.status.ExitStatus() == crashed {
		return "; this is a bug in Coffer: please report it with what it says above"
	}
	return ""
}

// reap waits for the sentry's end, but not for long: it has nothing to do any
// more.
func (s *Sandbox) reap() {
	t := time.AfterFunc(endPatience, func() { s.child.kill() })
	defer t.Stop()
	<-s.exited
}

func (s *Sandbox) kill() {
	s.child.kill()
	<-s.exited
	s.control.Close()
	s.cgroup.remove()
}

// sealed returns an unchangeable file in memory that holds data.
func sealed(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("creating a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	if err := isolation.Seal(fd); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
