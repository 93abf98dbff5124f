package tty

import (
	"time"

	"coffer/internal/sentry/crash"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// ReadSlave reads input as a program does from its terminal. EAGAIN if there
// is nothing to return yet; wait says that the reader is going to wait then,
// so that VMIN and VTIME count.
func (d *Discipline) ReadSlave(p []byte, wait bool) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hungUp {
		return 0, nil
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := d.readSlave(p, wait)
	if err == nil {
		d.disarm()
		if d.hasRoom() {
			d.Master.Notify(waiter.Writable)
		}
	}
	return n, err
}

func (d *Discipline) readSlave(p []byte, wait bool) (int, error) {
	if d.term.lflag(unix.ICANON) && !d.term.lflag(unix.EXTPROC) {
		if d.in.line == d.in.tail {
			return 0, unix.EAGAIN
		}
		return d.in.takeLine(p), nil
	}
	vmin, vtime := int(d.term.CC[unix.VMIN]), d.term.CC[unix.VTIME]
	have := d.in.len()
	switch {
	case have > 0 && (!wait || d.expired || have >= min(vmin, len(p))):
		return d.in.take(p), nil
	case have == 0 && vmin == 0 && (vtime == 0 || d.expired):
		return 0, nil
	case wait && vtime > 0 && (have > 0 || vmin == 0) && d.timer == nil:
		d.arm(time.Duration(vtime) * 100 * time.Millisecond)
	}
	return 0, unix.EAGAIN
}

// arm starts VTIME's timer, which lets the waiting reader return with what
// there is.
func (d *Discipline) arm(after time.Duration) {
	var timer *time.Timer
	timer = time.AfterFunc(after, crash.Guard(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timer == timer {
			d.timer, d.expired = nil, true
			d.Slave.Notify(waiter.Readable)
		}
	}))
	d.timer = timer
}

// rearm starts VTIME anew when a byte came, if it is the time between bytes.
func (d *Discipline) rearm() {
	if d.term.CC[unix.VMIN] == 0 {
		return
	}
	d.disarm()
	if vtime := d.term.CC[unix.VTIME]; vtime > 0 {
		d.arm(time.Duration(vtime) * 100 * time.Millisecond)
	}
}

func (d *Discipline) disarm() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.expired = false
}

// ReadMaster reads what programs wrote and what was echoed. EAGAIN if there
// is nothing, EIO if there is nothing and nobody has the slave end open.
func (d *Discipline) ReadMaster(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if d.packet && d.status != 0 {
		p[0], d.status = d.status, 0
		return 1, nil
	}
	if d.out.n == 0 {
		if d.slaveGone {
			return 0, unix.EIO
		}
		return 0, unix.EAGAIN
	}
	header := 0
	if d.packet {
		p[0] = unix.TIOCPKT_DATA
		header = 1
	}
	full := d.out.n >= outputSize-maxExpansion
	n := d.out.take(p[header:])
	if full && !d.stopped {
		d.Slave.Notify(waiter.Writable)
	}
	return header + n, nil
}

// Queued returns how many bytes a read at the slave, and at the master, would
// find (FIONREAD).
func (d *Discipline) Queued() (slave, master int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.term.lflag(unix.ICANON) && !d.term.lflag(unix.EXTPROC) {
		return d.in.countLines(), d.out.n
	}
	return d.in.len(), d.out.n
}
