package tty

import (
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// MasterClosed hangs the terminal up: programs find the end of the file, and
// cannot write any more.
func (d *Discipline) MasterClosed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hungUp = true
	d.disarm()
	d.in.clear()
	d.Slave.Notify(waiter.All)
	d.Master.Notify(waiter.All)
}

// HungUp reports whether the master end is closed.
func (d *Discipline) HungUp() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hungUp
}

// SetSlaveOpen tells whether anyone has the slave end open. Before the first
// open the master waits; after the last close it reads EIO. What was typed
// waits for the next who opens it.
func (d *Discipline) SetSlaveOpen(open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slaveGone = !open
	if !open {
		d.Master.Notify(waiter.Hup | waiter.Readable)
	}
}

// HungUpReadiness is what poll(2) tells of a terminal that was hung up.
const HungUpReadiness = waiter.Readable | waiter.Writable | waiter.Err | waiter.Hup | waiter.RdHup

// SlaveReadiness is what poll(2) tells of the slave end.
func (d *Discipline) SlaveReadiness(mask waiter.Mask) waiter.Mask {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.slaveReadiness(mask)
}

func (d *Discipline) slaveReadiness(mask waiter.Mask) waiter.Mask {
	if d.hungUp {
		return mask & HungUpReadiness
	}
	var m waiter.Mask
	least := 1
	if d.term.CC[unix.VTIME] == 0 {
		least = max(1, int(d.term.CC[unix.VMIN]))
	}
	if d.inputReady(least) || d.expired {
		m |= waiter.Readable
	}
	if !d.stopped && outputSize-d.out.n >= maxExpansion {
		m |= waiter.Writable
	}
	return m & mask
}

// MasterReadiness is what poll(2) tells of the master end.
func (d *Discipline) MasterReadiness(mask waiter.Mask) waiter.Mask {
	d.mu.Lock()
	defer d.mu.Unlock()
	var m waiter.Mask
	if d.out.n > 0 {
		m |= waiter.Readable
	}
	if d.packet && d.status != 0 {
		m |= waiter.Readable | waiter.Pri
	}
	if d.slaveGone {
		m |= waiter.Hup
	}
	if d.hasRoom() {
		m |= waiter.Writable
	}
	return m & mask
}

// StopsBackgroundOutput reports whether TOSTOP is set.
func (d *Discipline) StopsBackgroundOutput() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.term.lflag(unix.TOSTOP)
}
