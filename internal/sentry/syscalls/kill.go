package syscalls

import (
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func killRows() []Row {
	return []Row{
		full(unix.SYS_KILL, "kill", sysKill, P("pid", Dec), P("sig", Signal)),
		full(unix.SYS_TKILL, "tkill", sysTkill, P("tid", Dec), P("sig", Signal)),
		full(unix.SYS_TGKILL, "tgkill", sysTgkill, P("tgid", Dec), P("tid", Dec), P("sig", Signal)),
		full(unix.SYS_RT_SIGQUEUEINFO, "rt_sigqueueinfo", sysRtSigqueueinfo, P("tgid", Dec), P("sig", Signal), P("info", Siginfo)),
		full(unix.SYS_RT_TGSIGQUEUEINFO, "rt_tgsigqueueinfo", sysRtTgsigqueueinfo,
			P("tgid", Dec), P("tid", Dec), P("sig", Signal), P("info", Siginfo)),
		full(unix.SYS_PIDFD_OPEN, "pidfd_open", sysPidfdOpen, P("pid", Dec), PF("flags", Flags, pidfdFlags)).returns(FD),
		full(unix.SYS_PIDFD_SEND_SIGNAL, "pidfd_send_signal", sysPidfdSendSignal,
			P("pidfd", FD), P("sig", Signal), P("info", Siginfo), PF("flags", Flags, pidfdSignalFlags)),
		full(unix.SYS_PIDFD_GETFD, "pidfd_getfd", sysPidfdGetfd, P("pidfd", FD), P("targetfd", Dec), P("flags", Hex)).returns(FD),
	}
}

// checkSignal accepts a signal number, or 0 for a mere check.
func checkSignal(sig int32) error {
	if sig != 0 && !kernel.ValidSignal(sig) {
		return unix.EINVAL
	}
	return nil
}

func sysKill(t *kernel.Task, a kernel.Args) (uintptr, error) {
	pid, sig := a.Int(0), a.Int(1)
	if err := checkSignal(sig); err != nil {
		return 0, err
	}
	info := t.UserSignal(sig, abi.SI_USER)
	switch {
	case pid > 0:
		return 0, killGroup(t, findGroup(t, pid), info)
	case pid == 0:
		return 0, t.SendToGroup(t.ThreadGroup().ProcessGroup(), info)
	case pid == -1:
		return 0, t.SendToAll(info)
	case pid == -1<<31:
		return 0, unix.ESRCH
	}
	return 0, t.SendToGroup(t.PIDs().ProcessGroup(-pid), info)
}

// findGroup returns the process that pid means to kill(2): a thread's number
// stands for its process.
func findGroup(t *kernel.Task, pid int32) *kernel.ThreadGroup {
	if g := t.PIDs().ThreadGroup(pid); g != nil {
		return g
	}
	if o := t.PIDs().Task(pid); o != nil {
		return o.ThreadGroup()
	}
	return nil
}

// killGroup checks permission and sends; nothing is sent if the signal is 0.
func killGroup(t *kernel.Task, g *kernel.ThreadGroup, info *abi.Siginfo) error {
	if g == nil {
		return unix.ESRCH
	}
	if err := t.MaySignal(g, info.Signo); err != nil {
		return err
	}
	if info.Signo == 0 {
		return nil
	}
	return t.Send(g, nil, info)
}

func sysTkill(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Int(0) <= 0 {
		return 0, unix.EINVAL
	}
	return 0, killThread(t, 0, a.Int(0), t.UserSignal(a.Int(1), abi.SI_TKILL))
}

func sysTgkill(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Int(0) <= 0 || a.Int(1) <= 0 {
		return 0, unix.EINVAL
	}
	return 0, killThread(t, a.Int(0), a.Int(1), t.UserSignal(a.Int(2), abi.SI_TKILL))
}

// killThread sends to one thread; tgid is its process's number, or 0 for any.
func killThread(t *kernel.Task, tgid, tid int32, info *abi.Siginfo) error {
	if err := checkSignal(info.Signo); err != nil {
		return err
	}
	o := t.PIDs().Task(tid)
	if o == nil || tgid != 0 && o.ThreadGroup().IDIn(t.PIDs()) != tgid {
		return unix.ESRCH
	}
	return sendThread(t, o, info)
}

// sendThread is killThread for a thread that has been found.
func sendThread(t, o *kernel.Task, info *abi.Siginfo) error {
	if err := t.MaySignal(o.ThreadGroup(), info.Signo); err != nil {
		return err
	}
	if info.Signo == 0 {
		return nil
	}
	return t.Send(o.ThreadGroup(), o, info)
}

// copyInSiginfo reads the siginfo that a task sends along. The kernel's own
// codes may be sent to oneself only.
func copyInSiginfo(t *kernel.Task, addr uint64, sig int32, self bool) (*abi.Siginfo, error) {
	var b [abi.SiginfoSize]byte
	if _, err := t.CopyIn(addr, b[:]); err != nil {
		return nil, err
	}
	info := abi.ParseSiginfo(&b)
	info.Signo = sig
	if (info.Code >= 0 || info.Code == abi.SI_TKILL) && !self {
		return nil, unix.EPERM
	}
	return &info, nil
}

func sysRtSigqueueinfo(t *kernel.Task, a kernel.Args) (uintptr, error) {
	pid, sig := a.Int(0), a.Int(1)
	info, err := copyInSiginfo(t, a[2], sig, pid == t.PID())
	if err != nil {
		return 0, err
	}
	if err := checkSignal(sig); err != nil {
		return 0, err
	}
	return 0, killGroup(t, findGroup(t, pid), info)
}

func sysRtTgsigqueueinfo(t *kernel.Task, a kernel.Args) (uintptr, error) {
	tgid, tid, sig := a.Int(0), a.Int(1), a.Int(2)
	info, err := copyInSiginfo(t, a[3], sig, tid == t.TID())
	if err != nil {
		return 0, err
	}
	if tgid <= 0 || tid <= 0 {
		return 0, unix.EINVAL
	}
	return 0, killThread(t, tgid, tid, info)
}

func sysPidfdOpen(t *kernel.Task, a kernel.Args) (uintptr, error) {
	pid, flags := a.Int(0), a.Uint(1)
	if flags&^uint32(unix.PIDFD_NONBLOCK) != 0 || pid <= 0 {
		return 0, unix.EINVAL
	}
	fd, err := t.OpenPIDFD(pid, flags)
	return uintptr(fd), err
}

// pidfdGroup returns the process behind a pidfd: EBADF for another file.
func pidfdGroup(t *kernel.Task, fd int32) (*kernel.ThreadGroup, error) {
	d, err := t.File(fd)
	if err != nil {
		return nil, err
	}
	defer d.DecRef()
	g := kernel.PIDFDGroup(d)
	if g == nil {
		return nil, unix.EBADF
	}
	return g, nil
}

// signalTarget is pidfdGroup, for an open /proc/PID too.
func signalTarget(t *kernel.Task, fd int32) (*kernel.ThreadGroup, error) {
	d, err := t.File(fd)
	if err != nil {
		return nil, err
	}
	defer d.DecRef()
	if p, ok := d.Inode.(kernel.ProcessDirectory); ok && d.Flags()&unix.O_PATH == 0 {
		if g := p.Process(); g != nil {
			return g, nil
		}
	}
	return pidfdGroup(t, fd)
}

// pidfdFlags are those of pidfd_open(2).
var pidfdFlags = &FlagSet{Names: []FlagName{{unix.PIDFD_NONBLOCK, "PIDFD_NONBLOCK"}, {unix.O_EXCL, "PIDFD_THREAD"}}}

var pidfdSignalFlags = &FlagSet{Names: []FlagName{
	{pidfdSignalThread, "PIDFD_SIGNAL_THREAD"}, {pidfdSignalThreadGroup, "PIDFD_SIGNAL_THREAD_GROUP"},
	{pidfdSignalProcessGrp, "PIDFD_SIGNAL_PROCESS_GROUP"},
}}

// Flags of pidfd_send_signal(2).
const (
	pidfdSignalThread      = 1
	pidfdSignalThreadGroup = 2
	pidfdSignalProcessGrp  = 4
)

func sysPidfdSendSignal(t *kernel.Task, a kernel.Args) (uintptr, error) {
	sig, flags := a.Int(1), a.Uint(3)
	const known = pidfdSignalThread | pidfdSignalThreadGroup | pidfdSignalProcessGrp
	if flags&^uint32(known) != 0 || flags&(flags-1) != 0 {
		return 0, unix.EINVAL
	}
	g, err := signalTarget(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	if err := checkSignal(sig); err != nil {
		return 0, err
	}
	info := t.UserSignal(sig, abi.SI_USER)
	if a[2] != 0 {
		var b [abi.SiginfoSize]byte
		if _, err := t.CopyIn(a[2], b[:]); err != nil {
			return 0, err
		}
		if abi.ParseSiginfo(&b).Signo != sig {
			return 0, unix.EINVAL
		}
		if info, err = copyInSiginfo(t, a[2], sig, g == t.ThreadGroup()); err != nil {
			return 0, err
		}
	}
	if g.Reaped() {
		return 0, unix.ESRCH
	}
	switch flags {
	case pidfdSignalProcessGrp:
		return 0, t.SendToGroup(g.ProcessGroup(), info)
	case pidfdSignalThread:
		return 0, sendThread(t, g.Leader(), info)
	}
	return 0, killGroup(t, g, info)
}

func sysPidfdGetfd(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Uint(2) != 0 {
		return 0, unix.EINVAL
	}
	g, err := pidfdGroup(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	o := g.Representative()
	if o == nil {
		return 0, unix.ESRCH
	}
	if err := t.MayTrace(o); err != nil {
		return 0, err
	}
	_, fds, _ := o.Resources()
	if fds == nil {
		return 0, unix.ESRCH
	}
	d := fds.Get(a.Int(1))
	if d == nil {
		return 0, unix.EBADF
	}
	defer d.DecRef()
	fd, err := t.FDs().Install(d, 0, t.Limit(unix.RLIMIT_NOFILE), true)
	return uintptr(fd), err
}
