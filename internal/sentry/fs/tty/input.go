package tty

import (
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Input takes what the master end writes. It returns how many bytes there was
// room for, and the signals to send to the foreground process group.
func (d *Discipline) Input(p []byte) (n int, sig Signals) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n < len(p) && d.hasRoom() {
		sig |= d.receive(p[n])
		n++
	}
	if n > 0 && d.inputReady(1) {
		if d.timer != nil {
			d.rearm()
		}
		d.Slave.Notify(waiter.Readable)
	}
	return n, sig
}

// hasRoom reports whether another byte of input can be taken: if there is
// room for it, or if it may still edit or end the only line there is.
func (d *Discipline) hasRoom() bool {
	return d.in.room() > 1 || d.term.lflag(unix.ICANON) && d.in.line == d.in.tail
}

// receive handles one byte, in the order in which Linux's n_tty does.
func (d *Discipline) receive(c byte) Signals {
	t := &d.term
	if t.iflag(unix.ISTRIP) {
		c &= 0x7f
	}
	if t.iflag(unix.IUCLC) && t.lflag(unix.IEXTEN) && isUpper(c) {
		c += 'a' - 'A'
	}
	if t.lflag(unix.EXTPROC) {
		d.put(c, plain)
		return 0
	}
	if d.literal {
		d.literal = false
		d.receivePlain(c)
		return 0
	}
	if t.iflag(unix.IXON) {
		if t.is(c, unix.VSTART) {
			d.start()
			return 0
		}
		if t.is(c, unix.VSTOP) {
			d.stop()
			return 0
		}
	}
	if t.lflag(unix.ISIG) {
		if sig := d.signalOf(c); sig != 0 {
			return d.receiveSignal(c, sig)
		}
	}
	if d.stopped && t.iflag(unix.IXON) && t.iflag(unix.IXANY) {
		d.start()
	}
	switch {
	case c == '\r' && t.iflag(unix.IGNCR):
		return 0
	case c == '\r' && t.iflag(unix.ICRNL):
		c = '\n'
		if !t.lflag(unix.ICANON) {
			// Return moves the cursor even where a newline shows as ^J.
			if t.lflag(unix.ECHO) {
				d.endErasure()
				d.echoRaw(c)
			}
			d.put(c, plain)
			return 0
		}
	case c == '\n' && t.iflag(unix.INLCR):
		c = '\r'
	}
	if !t.lflag(unix.ICANON) || !d.receiveEditing(c) {
		d.receivePlain(c)
	}
	return 0
}

func (d *Discipline) signalOf(c byte) Signals {
	switch {
	case d.term.is(c, unix.VINTR):
		return SigInt
	case d.term.is(c, unix.VQUIT):
		return SigQuit
	case d.term.is(c, unix.VSUSP):
		return SigTstp
	}
	return 0
}

// receiveSignal handles a character that makes a signal: both queues are
// flushed unless NOFLSH is set, and stopped output goes on.
func (d *Discipline) receiveSignal(c byte, sig Signals) Signals {
	if !d.term.lflag(unix.NOFLSH) {
		d.flushInput()
		d.flushOutput()
	}
	if d.term.iflag(unix.IXON) {
		d.start()
	}
	if d.term.lflag(unix.ECHO) {
		d.echo(c)
	}
	return sig
}

// receiveEditing handles a character that canonical mode gives a meaning; it
// reports whether c was one.
func (d *Discipline) receiveEditing(c byte) bool {
	t := &d.term
	extended := t.lflag(unix.IEXTEN)
	echo := t.lflag(unix.ECHO)
	switch {
	case t.is(c, unix.VERASE):
		d.erase(eraseCharacter)
	case t.is(c, unix.VKILL):
		d.kill()
	case extended && t.is(c, unix.VWERASE):
		d.erase(eraseWord)
	case extended && t.is(c, unix.VLNEXT):
		d.literal = true
		if echo {
			d.endErasure()
			if t.lflag(unix.ECHOCTL) {
				d.echoRaw('^')
				d.echoRaw('\b')
			}
		}
	case extended && echo && t.is(c, unix.VREPRINT):
		d.endErasure()
		d.echo(c)
		d.echoRaw('\n')
		for i := d.in.line; i < d.in.head; i++ {
			d.echo(d.in.at(i))
		}
	case c == '\n':
		if echo || t.lflag(unix.ECHONL) {
			d.echoRaw('\n')
		}
		d.in.put(c, endOfLine)
	case t.is(c, unix.VEOF):
		d.in.put(disabled, endOfFile)
	case t.is(c, unix.VEOL) || extended && t.is(c, unix.VEOL2):
		if echo {
			d.startColumn()
			d.echo(c)
		}
		d.in.put(c, endOfLine)
	default:
		return false
	}
	return true
}

// receivePlain echoes and queues a byte without a meaning.
func (d *Discipline) receivePlain(c byte) {
	if d.term.lflag(unix.ECHO) {
		d.endErasure()
		d.startColumn()
		d.echo(c)
	}
	// PARMRK marks a genuine 0xff by doubling it.
	if c == 0xff && d.term.iflag(unix.PARMRK) {
		d.put(c, plain)
	}
	d.put(c, plain)
}

// put queues a byte of a line, or drops it, with a bell if so set, when the
// line is full.
func (d *Discipline) put(c byte, m mark) {
	if d.in.room() <= 0 {
		if d.term.iflag(unix.IMAXBEL) {
			d.echoRaw('\a')
		}
		return
	}
	d.in.put(c, m)
}

// inputReady reports whether a read for at least least bytes can return.
func (d *Discipline) inputReady(least int) bool {
	if d.term.lflag(unix.ICANON) && !d.term.lflag(unix.EXTPROC) {
		return d.in.line != d.in.tail
	}
	return d.in.len() >= least
}
