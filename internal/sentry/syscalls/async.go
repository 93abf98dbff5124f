package syscalls

import (
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// setAsync makes O_ASYNC of a description what its flags say, for files that have it:
// terminals, pipes and sockets. Others keep the flag only, as on Linux.
func setAsync(t *kernel.Task, d *vfs.FileDescription, fd int32) {
	on := d.Flags()&unix.O_ASYNC != 0
	if _, ok := d.File.(socket.Socket); !ok && on {
		a, err := d.Attr(t)
		if kind := a.Mode & unix.S_IFMT; err != nil || kind != unix.S_IFIFO && kind != unix.S_IFCHR {
			return
		}
	}
	d.SetAsync(on, fd)
}

// ownerTeller returns what sends signals to the owner that o names now, as far as the caller
// may send them signals. ESRCH if there is no such process.
func ownerTeller(t *kernel.Task, o *vfs.AsyncOwner) (func(*vfs.AsyncOwner, unix.Signal, int32, waiter.Mask), error) {
	if o.PID == 0 {
		return nil, nil
	}
	// instead, if it is not nil, is sent to who has too many pending.
	var send func(info, instead *abi.Siginfo)
	switch ns := t.PIDs(); o.Type {
	case ownerGroup:
		pg := ns.ProcessGroup(o.PID)
		if pg == nil {
			return nil, unix.ESRCH
		}
		send = func(info, instead *abi.Siginfo) { pg.SignalFor(t, info, instead) }
	default:
		to := ns.Task(o.PID)
		if to == nil {
			return nil, unix.ESRCH
		}
		g := to.ThreadGroup()
		one := g.Signal
		if o.Type == ownerThread {
			one = to.Signal
		}
		send = func(info, instead *abi.Siginfo) {
			if t.MaySignal(g, info.Signo) == nil && one(info) != nil && instead != nil {
				_ = one(instead)
			}
		}
	}
	return func(o *vfs.AsyncOwner, signal unix.Signal, fd int32, events waiter.Mask) {
		if signal != unix.SIGIO || o.Signal == 0 {
			send(kernel.KernelSignal(signal), nil)
			return
		}
		for _, b := range asyncBands {
			if events&b.event == 0 {
				continue
			}
			info := &abi.Siginfo{Signo: o.Signal, Code: b.code}
			info.SetBand(b.band)
			info.SetFD(fd)
			send(info, kernel.KernelSignal(unix.SIGIO))
		}
	}, nil
}

// asyncBands are what si_code and si_band of a signal for O_ASYNC tell (fcntl(2), F_SETSIG);
// 0x200 and 0x80 are POLLWRBAND and POLLRDBAND.
var asyncBands = [...]struct {
	event waiter.Mask
	code  int32
	band  int64
}{
	{waiter.In, abi.POLL_IN, int64(waiter.Readable)},
	{waiter.Out, abi.POLL_OUT, int64(waiter.Writable) | 0x200},
	{waiter.Err, abi.POLL_ERR, unix.POLLERR},
	{waiter.Pri, abi.POLL_PRI, unix.POLLPRI | 0x80},
	{waiter.Hup, abi.POLL_HUP, unix.POLLHUP | unix.POLLERR},
}
