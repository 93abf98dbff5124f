package kernel

import (
	"slices"
	"sync/atomic"
	"unsafe"

	"coffer/internal/bpf"
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// seccompState is what seccomp(2) has made of a task. It does not change: a
// change makes another.
type seccompState struct {
	mode   int32          // unix.SECCOMP_MODE_STRICT or _FILTER
	filter *seccompFilter // the newest one, with mode FILTER
}

// seccompFilter is one filter, and the link to those installed before it.
// Tasks share it; only users changes.
type seccompFilter struct {
	prog *bpf.Program
	prev *seccompFilter
	// depth is how many filters there are with this one, and cost how long
	// they are together, as Linux counts it.
	depth, cost int
	// allowed are the calls that this filter and all before it allow whatever
	// the arguments, by number: most calls of most programs.
	allowed [(seccompCached + 63) / 64]uint64
	// listener is asked about calls with SECCOMP_RET_USER_NOTIF, or nil.
	listener *SeccompListener
	// users counts the tasks whose newest filter this is, and the filters
	// that came after it.
	users atomic.Int64
}

const (
	// seccompCached is up to which number a filter remembers what it allows.
	seccompCached = 512
	// seccompMaxCost is the limit on cost, and seccompOverhead what each
	// filter counts beside its instructions (MAX_INSNS_PER_PATH).
	seccompMaxCost  = 32768
	seccompOverhead = 4
	// sysSeccomp is SYS_SECCOMP, the si_code of a filter's SIGSYS.
	sysSeccomp = 1
)

// seccompStrict are the only calls of strict mode.
var seccompStrict = [...]uint64{unix.SYS_READ, unix.SYS_WRITE, unix.SYS_EXIT, unix.SYS_RT_SIGRETURN}

// newSeccompFilter puts a program before the filters that there are.
func newSeccompFilter(p *bpf.Program, prev *seccompFilter, l *SeccompListener) *seccompFilter {
	f := &seccompFilter{prog: p, prev: prev, depth: 1, cost: p.Len(), listener: l}
	f.users.Store(1)
	if prev != nil {
		f.depth = prev.depth + 1
		f.cost += prev.cost + seccompOverhead
	}
	for nr := range seccompCached {
		if prev != nil && !prev.allows(uint64(nr)) {
			continue
		}
		if v, ok := p.Constant(int32(nr), unix.AUDIT_ARCH_X86_64); ok && v == unix.SECCOMP_RET_ALLOW {
			f.allowed[nr/64] |= 1 << (nr % 64)
		}
	}
	return f
}

// allows reports whether the filters allow a call without being run.
func (f *seccompFilter) allows(nr uint64) bool {
	return nr < seccompCached && f.allowed[nr/64]>>(nr%64)&1 != 0
}

// verdict runs all filters. The one that is strictest wins, the newest among
// those that say the same.
func (f *seccompFilter) verdict(d *bpf.Data) (verdict uint32, match *seccompFilter) {
	verdict = unix.SECCOMP_RET_ALLOW
	for ; f != nil; f = f.prev {
		v := f.prog.Run(d)
		if int32(v&unix.SECCOMP_RET_ACTION_FULL) < int32(verdict&unix.SECCOMP_RET_ACTION_FULL) {
			verdict, match = v, f
		}
	}
	return verdict, match
}

// release drops one user, and where it was the last tells the listener that
// no more calls will come.
func (f *seccompFilter) release() {
	for ; f != nil && f.users.Add(-1) == 0; f = f.prev {
		shmem.Buffers.Uncharge(f.size())
		if f.listener != nil {
			f.listener.orphaned()
		}
	}
}

// has reports whether old is f or one of those before it, or none.
func (f *seccompFilter) has(old *seccompFilter) bool {
	for ; f != nil; f = f.prev {
		if f == old {
			return true
		}
	}
	return old == nil
}

// SeccompMode returns the mode (SECCOMP_MODE_DISABLED, _STRICT or _FILTER)
// and how many filters the task has.
func (t *Task) SeccompMode() (mode int32, filters int) {
	s := t.seccomp.Load()
	if s == nil {
		return unix.SECCOMP_MODE_DISABLED, 0
	}
	if s.filter != nil {
		filters = s.filter.depth
	}
	return s.mode, filters
}

// SetSeccompStrict lets the task only read, write, end and return from signal
// handlers from now on. EINVAL if it has filters.
func (t *Task) SetSeccompStrict() error {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	if s := t.seccomp.Load(); s != nil && s.mode != unix.SECCOMP_MODE_STRICT {
		return unix.EINVAL
	}
	vfs.BeginChange() // see KeepNoLink
	t.seccomp.Store(&seccompState{mode: unix.SECCOMP_MODE_STRICT})
	vfs.EndChange()
	return nil
}

// AttachSeccomp adds a filter to the task, and with sync to all threads of its
// process. l, if not nil, is asked about calls with SECCOMP_RET_USER_NOTIF.
// failed is the number of a thread that has other filters than the task has,
// with which sync can do nothing. ENOMEM if all filters together are too long or
// no memory is left for them, EBUSY if there is a listener already, EINVAL in strict mode.
func (t *Task) AttachSeccomp(p *bpf.Program, sync bool, l *SeccompListener) (failed int32, err error) {
	for {
		var present *seccompFilter
		if s := t.seccomp.Load(); s != nil {
			present = s.filter
		}
		f := newSeccompFilter(p, present, l)
		switch {
		case f.cost > seccompMaxCost:
			return 0, unix.ENOMEM
		case l != nil && present.listens():
			return 0, unix.EBUSY
		}
		if !shmem.Buffers.Charge(f.size()) {
			return 0, unix.ENOMEM
		}
		if failed, err = t.attachSeccomp(f, sync); failed != 0 || err != nil {
			shmem.Buffers.Uncharge(f.size())
		}
		// Another thread may have synchronized meanwhile.
		if err != unix.EAGAIN {
			return failed, err
		}
	}
}

// size is how much memory the filter takes, in bytes; it counts to what the
// sentry may keep for the sandbox.
func (f *seccompFilter) size() int64 {
	return int64(unsafe.Sizeof(*f)) + int64(f.prog.Len())*int64(unsafe.Sizeof(unix.SockFilter{}))
}

// attachSeccomp is AttachSeccomp for a filter that was made. EAGAIN if the
// task has not the filters any more that come before it.
func (t *Task) attachSeccomp(f *seccompFilter, sync bool) (failed int32, err error) {
	g := t.group
	g.mu.Lock()
	defer g.mu.Unlock()
	s := t.seccomp.Load()
	switch {
	case s != nil && s.mode != unix.SECCOMP_MODE_FILTER:
		return 0, unix.EINVAL
	case s == nil && f.prev != nil, s != nil && s.filter != f.prev:
		return 0, unix.EAGAIN
	}
	if sync {
		for _, o := range g.threads {
			if s := o.seccomp.Load(); o != t && s != nil && (s.mode != unix.SECCOMP_MODE_FILTER || !f.has(s.filter)) {
				return o.TID(), nil
			}
		}
	}
	if f.listener != nil {
		f.listener.filter.Store(f)
	}
	vfs.BeginChange() // see KeepNoLink
	defer vfs.EndChange()
	state := &seccompState{mode: unix.SECCOMP_MODE_FILTER, filter: f}
	t.seccomp.Store(state)
	if sync {
		for _, o := range g.threads {
			if o != t {
				o.synchronizeLocked(state, t.Credentials().NoNewPrivs)
			}
		}
	}
	return 0, nil
}

// listens reports whether one of the filters has a listener.
func (f *seccompFilter) listens() bool {
	for ; f != nil; f = f.prev {
		if f.listener != nil {
			return true
		}
	}
	return false
}

// synchronizeLocked gives a thread the filters of another. group.mu is held.
func (t *Task) synchronizeLocked(state *seccompState, noNewPrivs bool) {
	old := t.seccomp.Load()
	state.filter.users.Add(1)
	t.seccomp.Store(state)
	if old != nil {
		old.filter.release()
	}
	if noNewPrivs {
		t.setNoNewPrivsLocked()
	}
}

// setNoNewPrivsLocked sets no_new_privs for a thread that may be another's.
// group.mu is held.
func (t *Task) setNoNewPrivsLocked() {
	if c := t.Credentials(); !c.NoNewPrivs {
		c = c.Clone()
		c.NoNewPrivs = true
		t.creds.Store(c)
	}
}

// inheritSeccompLocked gives a new task the state of the one that made it.
// group.mu is held, and still when the new one is among the threads, so that
// none escapes AttachSeccomp.
func (t *Task) inheritSeccompLocked(c *Task) {
	s := t.seccomp.Load()
	if s == nil {
		return
	}
	if s.filter != nil {
		s.filter.users.Add(1)
	}
	c.seccomp.Store(s)
	if t.Credentials().NoNewPrivs {
		c.setNoNewPrivsLocked()
	}
}

// releaseSeccompLocked is called once, at the task's end. group.mu is held.
// What the state was still shows in /proc.
func (t *Task) releaseSeccompLocked() {
	if s := t.seccomp.Load(); s != nil {
		s.filter.release()
	}
}

// Filtered reports whether FilterCall must be asked about the task's calls.
func (t *Task) Filtered() bool { return t.seccomp.Load() != nil }

// FilterCall has seccomp(2) decide about a system call that the task is about
// to make; a tracer may change it. answered says that it is not to be made:
// its result is v or err, or the task is about to end.
func (t *Task) FilterCall(nr *uint64, args *Args) (v uintptr, answered bool, err error) {
	s := t.seccomp.Load()
	if s.mode == unix.SECCOMP_MODE_STRICT {
		if !slices.Contains(seccompStrict[:], *nr) {
			t.exitBySignal(int32(unix.SIGKILL))
			answered = true
		}
		return 0, answered, nil
	}
	for traced := false; !s.filter.allows(*nr); traced = true {
		r := t.ctx.Regs()
		d := bpf.Data{Number: int32(*nr), Arch: unix.AUDIT_ARCH_X86_64, InstructionPointer: r.Rip, Args: *args}
		verdict, match := s.filter.verdict(&d)
		if verdict&unix.SECCOMP_RET_ACTION_FULL != unix.SECCOMP_RET_TRACE || !t.ptraceOption(unix.PTRACE_O_TRACESECCOMP) {
			return t.obey(verdict, match, d)
		}
		if traced {
			break
		}
		t.ptraceEvent(unix.PTRACE_EVENT_SECCOMP, uint64(verdict&unix.SECCOMP_RET_DATA))
		if r = t.ctx.Regs(); t.mustDie() || int32(r.Orig_rax) == -1 {
			return uintptr(r.Rax), true, nil
		}
		// What the tracer has made of the call must not escape the filters.
		*nr, *args = uint64(uint32(r.Orig_rax)), callArgs(r)
	}
	return 0, false, nil
}

// obey does with a call what a filter says. Its results are as FilterCall's.
func (t *Task) obey(verdict uint32, match *seccompFilter, d bpf.Data) (v uintptr, answered bool, err error) {
	data := verdict & unix.SECCOMP_RET_DATA
	switch verdict & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG:
		// There is no log.
		return 0, false, nil
	case unix.SECCOMP_RET_ERRNO:
		v, err = rawResult(-int64(min(data, maxErrno)))
	case unix.SECCOMP_RET_TRAP:
		// A handler finds the registers as they were before the call.
		v = uintptr(t.ctx.Regs().Orig_rax)
		t.ForceSignal(seccompSignal(&d, data))
	case unix.SECCOMP_RET_TRACE:
		// No tracer asked for it.
		err = unix.ENOSYS
	case unix.SECCOMP_RET_USER_NOTIF:
		if match.listener == nil {
			return 0, true, unix.ENOSYS
		}
		return match.listener.ask(t, d)
	case unix.SECCOMP_RET_KILL_THREAD:
		if len(t.group.Tasks()) > 1 {
			t.exitBySignal(int32(unix.SIGSYS))
			break
		}
		fallthrough
	default:
		t.group.end(Signaled(int32(unix.SIGSYS), t.dumpCore(seccompSignal(&d, data))))
	}
	return v, true, err
}

// maxErrno is the highest value that a system call returns as an error.
const maxErrno = 4095

// rawResult is a result of -errno as system calls return it. What would ask
// the kernel to make the call again is passed on as the number that it is.
func rawResult(v int64) (uintptr, error) {
	if v < 0 && v > -int64(abi.ERESTARTSYS) {
		return 0, unix.Errno(-v)
	}
	return uintptr(v), nil
}

// seccompSignal makes the siginfo of SECCOMP_RET_TRAP (seccomp(2)).
func seccompSignal(d *bpf.Data, data uint32) *abi.Siginfo {
	info := &abi.Siginfo{Signo: int32(unix.SIGSYS), Code: sysSeccomp, Errno: int32(data)}
	info.SetCall(d.InstructionPointer, d.Number, d.Arch)
	return info
}
