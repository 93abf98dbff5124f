package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"coffer/internal/hostcgroup"
	"coffer/internal/nofile"

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
	first, err := p.script.start(&p.clone)
	syscall.ForkLock.Unlock()
	unix.Close(gate)
	if err != nil {
		return 0, explainClone(err, p.clone.flags)
	}
	gateErr := s.keepGate(keeper, first)
	pid = first
	var ws unix.WaitStatus
	if p.fork != nil {
		ws = waitFor(first)
		pid = max(int(p.fork.result), 0) // not forked, or failed to
	}
	err = p.script.err()
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

// keepGate waits until the child has executed init or failed. If it comes to
// its gate, that is opened once all is done for which it waits.
func (s *spawning) keepGate(keeper, child int) error {
	var b [1]byte
	for {
		n, err := unix.Read(keeper, b[:])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return nil
		}
		err = s.gate(child)
		if err == nil {
			err = hideMemory()
		}
		if err != nil {
			// The child takes the end of its keeper for a failure.
			unix.Shutdown(keeper, unix.SHUT_RDWR)
			unix.Read(keeper, b[:])
			return err
		}
		if _, err := unix.Write(keeper, b[:]); err != nil && err != unix.EPIPE {
			return fmt.Errorf("letting a new process go on: %w", err)
		}
	}
}

// plan is a spawning as a script.
type plan struct {
	*spawning
	keeper, gateFD int
	script         *script
	clone          cloneArgs
	fork           *step // nil if one process is enough
	high           []int // duplicates that were made for the child
}

func (p *plan) release() {
	if p.script != nil {
		p.script.free()
	}
	for _, fd := range p.high {
		unix.Close(fd)
	}
}

// joinedFlags returns the kinds of namespaces that are joined.
func (p *plan) joinedFlags() int {
	flags := p.targetFlags
	for _, j := range p.join {
		flags |= j.flag
	}
	return flags
}

func (p *plan) write() error {
	kept := 4 + len(p.extra)
	var tasks []*os.File
	if p.entrance != nil {
		tasks = p.entrance.V1
	}
	s, err := newScript(32 + 2*len(p.join) + len(tasks) + 2*kept)
	if err != nil {
		return fmt.Errorf("preparing a new process: %w", err)
	}
	p.script = s
	old := p.joinedFlags()

	// Memory is shared with the child, which saves copying page tables, except
	// where Linux wants a process that shares it with none: to join a time
	// namespace, and to be in a new one from the start (before Linux 6.1).
	share := uint64(unix.CLONE_VM)
	if (p.fresh|old)&unix.CLONE_NEWTIME != 0 {
		share = 0
	}
	// Namespaces that are created together come with the process, if their
	// owner is the caller's user namespace or a new one among them. PID and
	// time namespaces that exist take effect in children only.
	once := old&(unix.CLONE_NEWUSER|unix.CLONE_NEWPID|unix.CLONE_NEWTIME) == 0 &&
		p.fresh&unix.CLONE_NEWTIME == 0 &&
		(p.fresh&unix.CLONE_NEWUSER == 0 || old == 0)
	// A cgroup namespace has its root where its creator is then, which must be
	// the container's cgroup.
	p.clone = cloneArgs{flags: share}
	if p.entrance != nil && p.entrance.V2 != nil {
		p.clone.flags |= unix.CLONE_INTO_CGROUP
		p.clone.cgroup = uint64(p.entrance.V2.Fd())
	}
	if once {
		p.clone.flags |= uint64(p.fresh &^ unix.CLONE_NEWCGROUP)
		p.clone.exitSignal = uint64(unix.SIGCHLD)
	}

	s.call("closing a descriptor", unix.SYS_CLOSE, uintptr(p.keeper))
	if p.gateFirst {
		p.passGate()
	}
	zero := s.bytes([]byte("0"))
	for _, f := range tasks {
		s.call("entering the cgroup "+f.Name(), unix.SYS_WRITE, f.Fd(), zero, 1)
	}
	if once {
		p.passGateLate()
		p.becomeRoot()
		p.joinTarget()
		p.joinEach()
	} else {
		p.joinTarget()
		p.joinAll()
		if p.fresh&unix.CLONE_NEWUSER != 0 {
			s.call("creating a user namespace", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
		}
		if p.fresh&unix.CLONE_NEWTIME != 0 {
			s.call("creating a time namespace", unix.SYS_UNSHARE, unix.CLONE_NEWTIME)
		}
		p.passGateLate()
		p.becomeRoot()
	}
	if p.fresh&unix.CLONE_NEWCGROUP != 0 {
		s.call("creating a cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	}
	if !once {
		rest := p.fresh &^ (unix.CLONE_NEWUSER | unix.CLONE_NEWTIME | unix.CLONE_NEWCGROUP)
		// The second process is the caller's child as the first one is. Its
		// signal to the caller is that of the first one, none, until it executes.
		a := &cloneArgs{flags: share | unix.CLONE_PARENT | uint64(rest)}
		p.fork = s.call("creating a process in the namespaces", unix.SYS_CLONE3, s.cloneArgs(a), unsafe.Sizeof(*a))
	}
	if err := p.execute(); err != nil {
		return err
	}
	if p.fork != nil {
		end := s.call("ending", unix.SYS_EXIT_GROUP, 0)
		p.fork.forker = end.address()
	}
	return nil
}

// passGateLate is passGate where the namespaces are there, unless that was first.
func (p *plan) passGateLate() {
	if !p.gateFirst {
		p.passGate()
	}
}

// passGate has the child wait until the gate's keeper has done its part.
func (p *plan) passGate() {
	if p.gate == nil {
		return
	}
	s := p.script
	b := make([]byte, 1)
	s.call("coming to the gate", unix.SYS_WRITE, uintptr(p.gateFD), s.bytes(b), 1)
	open := s.call("waiting for the calling process", unix.SYS_READ, uintptr(p.gateFD), s.bytes(b), 1)
	open.want, open.value = wantValue, 1
}

// becomeRoot has the child become root of its user namespace, if that is not
// the caller's. It has all capabilities there, but would lose them when it
// executes.
func (p *plan) becomeRoot() {
	if (p.fresh|p.joinedFlags())&unix.CLONE_NEWUSER == 0 {
		return
	}
	p.script.call("becoming group 0 of the user namespace (linux.gidMappings must map it)", unix.SYS_SETRESGID, 0, 0, 0)
	p.script.call("becoming user 0 of the user namespace (linux.uidMappings must map it)", unix.SYS_SETRESUID, 0, 0, 0)
}

// joinTarget joins the namespaces of one process, all at once.
func (p *plan) joinTarget() {
	if p.target == nil {
		return
	}
	if p.targetFlags != 0 {
		p.script.call("joining the container's namespaces", unix.SYS_SETNS, p.target.Fd(), uintptr(p.targetFlags))
	}
	if p.root != nil {
		p.script.call("entering the container's root", unix.SYS_FCHDIR, p.root.Fd())
		p.script.call("making the container's root the process's", unix.SYS_CHROOT, p.script.text("."))
	}
}

// joinAll joins namespaces of different origins. Those that the user namespace
// to join does not own are open to the caller's privileges only, which end when
// it is joined; those that it does own are open to both, or, to a rootless
// caller, only afterwards. So each is tried before, and if need be after it.
func (p *plan) joinAll() {
	if p.joinedFlags()&unix.CLONE_NEWUSER == 0 || p.target != nil {
		p.joinEach()
		return
	}
	before := make(map[int]*step)
	for _, j := range p.join {
		if j.flag != unix.CLONE_NEWUSER {
			st := p.joinOne(j)
			st.want = wantAnything
			before[j.flag] = st
		}
	}
	for _, j := range p.join {
		if j.flag == unix.CLONE_NEWUSER {
			p.joinOne(j)
		}
	}
	for _, j := range p.join {
		if j.flag != unix.CLONE_NEWUSER {
			p.joinOne(j).unlessDone = before[j.flag].resultAddress()
		}
	}
}

func (p *plan) joinEach() {
	for _, j := range p.join {
		p.joinOne(j)
	}
}

func (p *plan) joinOne(j joined) *step {
	return p.script.call(j.what, unix.SYS_SETNS, j.file.Fd(), uintptr(j.flag))
}

// execute arranges the descriptors and executes init.
func (p *plan) execute() error {
	s := p.script
	list := []int{int(p.stdio[0].Fd()), int(p.stdio[1].Fd()), int(p.stdio[2].Fd())}
	for _, f := range p.extra {
		list = append(list, int(f.Fd()))
	}
	list = append(list, p.channel.fd)
	binary := int(p.binary.Fd())
	above := len(list)
	// What lies where something else is to go is moved out of the way.
	for i, fd := range append(list, binary) {
		if fd >= above {
			continue
		}
		high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, above)
		if err != nil {
			return fmt.Errorf("duplicating a descriptor: %w", err)
		}
		p.high = append(p.high, high)
		if i < len(list) {
			list[i] = high
		} else {
			binary = high
		}
	}
	for i, fd := range list {
		s.call("arranging descriptors", unix.SYS_DUP3, uintptr(fd), uintptr(i), 0)
	}
	s.call("closing the other descriptors (Linux 5.11 or later can)", unix.SYS_CLOSE_RANGE, uintptr(above), ^uintptr(0)>>32, unix.CLOSE_RANGE_CLOEXEC)
	limit := []uint64{nofile.Original.Soft, nofile.Original.Hard}
	s.keep = append(s.keep, limit)
	s.call("giving back the limit on open files", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, addressOf(limit), 0).want = wantAnything
	s.call("unblocking signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, s.bytes(make([]byte, 8)), 0, 8)
	channelFD := strconv.Itoa(len(list) - 1)
	s.call("executing coffer's init", unix.SYS_EXECVEAT, uintptr(binary), s.text(""),
		s.texts([]string{"coffer", Role, channelFD}), s.texts(initEnv), unix.AT_EMPTY_PATH)
	return nil
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
	var e *stepError
	if !errors.As(err, &e) {
		return err
	}
	switch e.errno {
	case unix.EPERM:
		return fmt.Errorf("%w: it takes CAP_SYS_ADMIN in the user namespace that owns the namespace", err)
	case unix.ENOMEM:
		return fmt.Errorf("%w: the PID namespace's first process may have ended, and then nothing can be started in it", err)
	case unix.EAGAIN, unix.ENOSPC:
		return explainClone(err, 0)
	}
	return err
}
