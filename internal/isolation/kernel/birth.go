package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"coffer/internal/hostcgroup"
	"coffer/internal/isolation/script"

	"golang.org/x/sys/unix"
)

// birth is how a sentry is started. A script does it rather than os/exec: what it
// drops from the bounding set before Go's runtime has threads costs nothing, and
// the child need not be given a copy of this process's memory.
type birth struct {
	attr     *syscall.SysProcAttr // of boot.Sandbox.Namespaces
	bounding []uint
	env      []string
	// log is its standard error; nil for none.
	log *os.File
	// files become descriptors 3 and up.
	files []*os.File
	// terminal is the descriptor in it of its controlling terminal; 0 if it has none.
	terminal int
	// mortal says that it ends with the thread that gives birth to it.
	mortal bool
}

// child is a process that has been started and not been waited for.
type child struct {
	pid int
	// mu keeps kill from the number once it is free for others.
	mu     sync.Mutex
	reaped bool
}

// start starts the sentry in the cgroup that entrance leads to, if it is not nil.
func (b *birth) start(entrance *hostcgroup.Entrance) (*child, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("creating a socket for a new process: %w", err)
	}
	keeper, gate := fds[0], fds[1]
	defer unix.Close(keeper)
	closeGate := sync.OnceFunc(func() { unix.Close(gate) })
	defer closeGate()

	log := b.log
	if log == nil {
		log = null
	}
	list := []int{int(null.Fd()), int(null.Fd()), int(log.Fd())}
	for _, f := range b.files {
		list = append(list, int(f.Fd()))
	}
	clone := script.CloneArgs{Flags: unix.CLONE_VM | uint64(b.attr.Cloneflags), ExitSignal: uint64(unix.SIGCHLD)}
	const otherSteps = 16
	steps := otherSteps + len(list) + unix.CAP_LAST_CAP + 1 + len(b.attr.AmbientCaps)
	if entrance != nil {
		steps += len(entrance.V1)
	}
	s, err := script.New(steps)
	if err != nil {
		return nil, fmt.Errorf("preparing a new process: %w", err)
	}
	defer s.Free()

	s.Call("closing a descriptor", unix.SYS_CLOSE, uintptr(keeper))
	if entrance != nil {
		zero := s.Bytes([]byte("0"))
		for _, f := range entrance.V1 {
			s.Call("entering the cgroup "+f.Name(), unix.SYS_WRITE, f.Fd(), zero, 1)
		}
		if entrance.V2 != nil {
			clone.Flags |= unix.CLONE_INTO_CGROUP
			clone.Cgroup = uint64(entrance.V2.Fd())
		}
	}
	if b.mortal {
		// Before the gate, which stays closed if the parent is gone already.
		s.Call("having it end with coffer", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	}
	s.PassGate(gate)
	s.Call("creating a session", unix.SYS_SETSID)
	b.dropCapabilities(s)
	s.Call("going to /", unix.SYS_CHDIR, s.Text("/"))
	duplicates, err := s.Arrange(list)
	defer func() {
		for _, fd := range duplicates {
			unix.Close(fd)
		}
	}()
	if err != nil {
		return nil, err
	}
	if b.terminal != 0 {
		s.Call("making the terminal the controlling one", unix.SYS_IOCTL, uintptr(b.terminal), unix.TIOCSCTTY, 0)
	}
	s.GiveBackFileLimit()
	s.UnblockSignals()
	s.Call("executing /proc/self/exe", unix.SYS_EXECVE, s.Text("/proc/self/exe"), s.Texts([]string{"coffer", "sentry"}), s.Texts(b.env))

	// Descriptors that are being opened right now must not leak into the child.
	syscall.ForkLock.Lock()
	pid, err := s.Start(&clone)
	syscall.ForkLock.Unlock()
	closeGate()
	if err != nil {
		return nil, err
	}
	c := &child{pid: pid}
	err = script.KeepGate(keeper, func() error { return writeIDMaps(pid, b.attr) })
	if err == nil {
		err = s.Err()
	}
	if err != nil {
		c.kill()
		c.wait()
		return nil, err
	}
	return c, nil
}

// dropCapabilities adds the steps that leave the child no capabilities but the
// ambient ones, which it keeps when it executes, and those of the bounding set,
// which root gets then: under no_new_privs only if it had them before. It has all
// in its user namespace so far.
func (b *birth) dropCapabilities(s *script.Script) {
	var inheritable, bounding uint64
	for _, c := range b.attr.AmbientCaps {
		inheritable |= 1 << c
	}
	for _, c := range b.bounding {
		bounding |= 1 << c
	}
	permitted := inheritable | bounding
	// struct __user_cap_header_struct and two of __user_cap_data_struct: effective,
	// permitted and inheritable, 32 bits of each (capget(2)).
	low := func(set uint64) uint64 { return set & (1<<32 - 1) }
	header := s.Words([]uint64{unix.LINUX_CAPABILITY_VERSION_3})
	data := s.Words([]uint64{low(permitted) | permitted<<32, low(inheritable) | permitted>>32<<32, permitted>>32 | inheritable>>32<<32})
	s.Call("giving up capabilities", unix.SYS_CAPSET, header, data)
	for _, c := range b.attr.AmbientCaps {
		s.Call("keeping a capability", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0)
	}
	// Only now: what becomes inheritable must be in the bounding set.
	for c := uint(0); c <= unix.CAP_LAST_CAP; c++ {
		if bounding>>c&1 == 0 {
			// The host may not have it. The sentry looks whether any is left.
			s.Call("dropping a capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c)).Want = script.WantAnything
		}
	}
}

// writeIDMaps gives the child's user namespace its IDs.
func writeIDMaps(pid int, a *syscall.SysProcAttr) error {
	setgroups := "deny"
	if a.GidMappingsEnableSetgroups {
		setgroups = "allow"
	}
	for _, f := range []struct{ name, text string }{
		{"uid_map", idMap(a.UidMappings)}, {"setgroups", setgroups}, {"gid_map", idMap(a.GidMappings)},
	} {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, f.name), []byte(f.text), 0); err != nil {
			return fmt.Errorf("giving the sentry's user namespace its IDs: %w", err)
		}
	}
	return nil
}

// idMap is the text of a map (user_namespaces(7)), which is written at once.
func idMap(ids []syscall.SysProcIDMap) string {
	var b strings.Builder
	for _, m := range ids {
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return b.String()
}

// wait waits for the child's end.
func (c *child) wait() (unix.WaitStatus, error) {
	for {
		err := unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return 0, fmt.Errorf("waiting for the sentry: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var status unix.WaitStatus
	_, err := unix.Wait4(c.pid, &status, 0, nil)
	c.reaped = true
	return status, err
}

// kill ends the child, if it has not been waited for.
func (c *child) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		unix.Kill(c.pid, unix.SIGKILL)
	}
}
