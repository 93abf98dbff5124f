package tty

import (
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// SetPacket sets packet mode (TIOCPKT in ioctl_tty(2)), in which the master
// is told of changes of state.
func (d *Discipline) SetPacket(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if on && !d.packet {
		d.status = 0
	}
	d.packet = on
}

// Packet reports whether packet mode is on.
func (d *Discipline) Packet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.packet
}

// report adds an event for the master to read; unreport takes one back that
// its opposite outdates.
func (d *Discipline) report(event uint8) {
	if d.packet {
		d.status |= event
		d.Master.Notify(waiter.Readable | waiter.Pri)
	}
}

func (d *Discipline) unreport(event uint8) { d.status &^= event }

// reportModes tells the master of changes that matter to a program such as
// rlogin: whether ^S and ^Q control the flow, and EXTPROC.
func (d *Discipline) reportModes(old *Termios) {
	flow := func(t *Termios) bool {
		return t.iflag(unix.IXON) && t.CC[unix.VSTOP] == 'S'-'@' && t.CC[unix.VSTART] == 'Q'-'@'
	}
	was, is := flow(old), flow(&d.term)
	if is && !was {
		d.unreport(unix.TIOCPKT_NOSTOP)
		d.report(unix.TIOCPKT_DOSTOP)
	}
	if was && !is {
		d.unreport(unix.TIOCPKT_DOSTOP)
		d.report(unix.TIOCPKT_NOSTOP)
	}
	if (old.Lflag^d.term.Lflag)&unix.EXTPROC != 0 || d.term.lflag(unix.EXTPROC) && *old != d.term {
		d.report(unix.TIOCPKT_IOCTL)
	}
}
