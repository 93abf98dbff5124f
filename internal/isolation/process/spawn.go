package process

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"coffer/internal/hostcgroup"
	"coffer/internal/isolation/script"

	"golang.org/x/sys/unix"
)

// spawnMutex lets one child be made at a time: it may change what the whole
// process is like.
var spawnMutex sync.Mutex

// spawning is a child that is to become coffer in the role "init", in
// namespaces of its own and of others.
type spawning struct {
	fresh int // CLONE_NEW* of the namespaces to create
	join  []joined
	// target is a pidfd of a process, and targetFlags the namespaces of it that
	// are joined.
	target      *os.File
	targetFlags int
	// root, if not nil, is the directory to chroot(2) to: for a target whose
	// mount namespace is the caller's own.
	root *os.File
	// entrance is how the child comes into its cgroup; nil if it has none or is
	// added to it at the gate.
	entrance *hostcgroup.Entrance
	// gate is called with the child's number while it waits: with its new
	// namespaces, but not yet using them. nil if there is nothing to do.
	gate func(pid int) error
	// gateFirst puts the gate before everything else.
	gateFirst bool

	stdio [3]*os.File
	// extra become descriptors 3 and up; the channel follows.
	extra   []*os.File
	channel channel
	binary  *os.File
}

// initEnv is the environment of init, not of its program. One processor is
// enough for it, its heap never gets large enough to be collected, and then
// nothing has to be preempted either.
var initEnv = []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1", "GOTRACEBACK=single"}

// initSlack is how much later than asked for the host may wake init's threads, in
// nanoseconds. Go's runtime has one, sysmon, that looks every 20 µs whether there is
// something to do, from before any code of ours runs, which took a tenth of the
// processors' time that a container takes from its creation to its end. What it finds
// can wait: goroutines that are ready while another one is in a host call.
const initSlack = 1_000_000

// channelBase is the channel's descriptor in init if the program inherits none
// but the standard streams.
const channelBase = 3

// start makes the child and returns its number when it has executed init. It
// is a child of the calling process.
func (s *spawning) start() (pid int, err error) {
	spawnMutex.Lock()
	defer spawnMutex.Unlock()
	restore, err := rememberDumpable()
	if err != nil {
		return 0, err
	}
	defer restore()
	// But for a rootless caller only once it has written to files in the
	// child's /proc, which would be root's.
	if s.gate == nil || os.Geteuid() == 0 {
		if err := hideMemory(); err != nil {
			return 0, err
		}
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("creating a socket for a new process: %w", err)
	}
	keeper, gate := fds[0], fds[1]
	defer unix.Close(keeper)

	p := plan{spawning: s, keeper: keeper, gateFD: gate}
	if err := p.write(); err != nil {
		unix.Close(gate)
		p.release()
		return 0, err
	}
	defer p.release()
	// Descriptors that are being opened right now must not leak into the child.
	syscall.ForkLock.Lock()
	first, err := p.script.Start(&p.clone)
	syscall.ForkLock.Unlock()
	unix.Close(gate)
	if err != nil {
		return 0, explainClone(err, p.clone.Flags)
	}
	gateErr := script.KeepGate(keeper, func() error {
		if err := s.gate(first); err != nil {
			return err
		}
		return hideMemory()
	})
	pid = first
	var ws unix.WaitStatus
	if p.fork != nil {
		ws = waitFor(first)
		pid = max(int(p.fork.Result), 0) // not forked, or failed to
	}
	err = p.script.Err()
	switch {
	case gateErr != nil:
		err = gateErr
	case err != nil:
		err = explainStep(err)
	case pid == 0:
		err = fmt.Errorf("a new process was ended before it could enter the container's namespaces: %w", endError(ws))
	default:
		return pid, nil
	}
	if pid > 0 {
		waitFor(pid)
	}
	return 0, err
}

// waitFor reaps a child that is known to end.
func waitFor(pid int) (ws unix.WaitStatus) {
	ignoreEINTR(func() error {
		_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
		return err
	})
	return ws
}

// hideMemory keeps other processes from this one's memory, whoever they are:
// members of namespaces that are joined could otherwise look into it through
// the child, which shares it and is visible there.
func hideMemory() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("protecting coffer's memory: %w", err)
	}
	return nil
}

// rememberDumpable returns a function that undoes hideMemory, and what a child
// that shares the memory does to it by becoming another user.
func rememberDumpable() (restore func(), err error) {
	before, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("asking whether coffer's memory is protected: %w", err)
	}
	return func() { unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(before), 0, 0, 0) }, nil
}

func explainClone(err error, flags uint64) error {
	const what = "creating the container's first process"
	switch {
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%s: %w: this host has no clone3(2) (Linux 5.7 or later does), or a seccomp filter around coffer hides it", what, err)
	case errors.Is(err, unix.EPERM) && flags&unix.CLONE_NEWUSER != 0:
		return fmt.Errorf("%s: %w: allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0) or run as root; a container must be let create them too, and in a chroot nobody may", what, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w: to create namespaces takes CAP_SYS_ADMIN: run as root, or with a user namespace (linux.namespaces)", what, err)
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%s: %w: raise the limit on processes (ulimit -u, or pids.max of coffer's own cgroup and of linux.resources.pids)", what, err)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%s: %w: the host's limit on namespaces is reached: raise the sysctls user.max_*_namespaces", what, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%s: %w: the host's kernel lacks a kind of namespace that linux.namespaces asks for", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// explainStep adds what to do about a step's failure.
func explainStep(err error) error {
	var e *script.StepError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Errno {
	case unix.EPERM:
		return fmt.Errorf("%w: it takes CAP_SYS_ADMIN in the user namespace that owns the namespace", err)
	case unix.ENOMEM:
		return fmt.Errorf("%w: the PID namespace's first process may have ended, and then nothing can be started in it", err)
	case unix.EAGAIN, unix.ENOSPC:
		return explainClone(err, 0)
	}
	return err
}
