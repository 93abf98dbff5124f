package tty

import (
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// maxExpansion is the most that one byte of output becomes: a tab of eight
// spaces.
const maxExpansion = 8

// Output takes what a program writes to the slave end. It returns how many
// bytes it took: fewer than there are if the master does not read, or output
// is stopped.
func (d *Discipline) Output(p []byte) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return 0
	}
	n := 0
	if !d.term.oflag(unix.OPOST) {
		n = min(len(p), max(0, outputSize-d.out.n))
		if n > 0 {
			d.out.put(p[:n])
		}
	} else {
		n = d.process(p)
	}
	if n > 0 {
		d.Master.Notify(waiter.Readable)
	}
	return n
}

// process post-processes p while there is room.
func (d *Discipline) process(p []byte) int {
	n := 0
	for n < len(p) && outputSize-d.out.n >= maxExpansion {
		// Most output is runs of bytes that stay as they are.
		room := min(len(p)-n, outputSize-d.out.n)
		run := d.plainRun(p[n : n+room])
		if run > 0 {
			d.out.put(p[n : n+run])
			d.column += run
			n += run
			continue
		}
		d.outputByte(p[n], &d.out)
		n++
	}
	return n
}

// plainRun is the length of the longest beginning of p that only moves the
// cursor by a column for each byte.
func (d *Discipline) plainRun(p []byte) int {
	if d.term.Oflag&unix.OLCUC != 0 {
		return 0
	}
	for i, c := range p {
		if c < 0x20 || c >= 0x7f {
			return i
		}
	}
	return len(p)
}

// outputByte post-processes one byte into to (OPOST in termios(3)).
func (d *Discipline) outputByte(c byte, to *ring) {
	t := &d.term
	switch c {
	case '\n':
		if t.oflag(unix.ONLRET) {
			d.column = 0
		}
		if t.oflag(unix.ONLCR) {
			d.column, d.lineColumn = 0, 0
			to.putByte('\r')
			break
		}
		d.lineColumn = d.column
	case '\r':
		if t.oflag(unix.ONOCR) && d.column == 0 {
			return
		}
		if t.oflag(unix.OCRNL) {
			c = '\n'
			if t.oflag(unix.ONLRET) {
				d.column, d.lineColumn = 0, 0
			}
			break
		}
		d.column, d.lineColumn = 0, 0
	case '\t':
		spaces := 8 - d.column&7
		d.column += spaces
		if t.Oflag&unix.TABDLY == unix.XTABS {
			to.put([]byte("        ")[:spaces])
			return
		}
	case '\b':
		d.column = max(0, d.column-1)
	default:
		if isControl(c) {
			break
		}
		if t.oflag(unix.OLCUC) && isLower(c) {
			c -= 'a' - 'A'
		}
		if !t.continues(c) {
			d.column++
		}
	}
	to.putByte(c)
}

// startColumn notes where on the screen the line begins that is being typed.
func (d *Discipline) startColumn() {
	if d.in.head == d.in.line {
		d.lineColumn = d.column
	}
}

// echo shows a byte of input, a control character as ^X with ECHOCTL.
func (d *Discipline) echo(c byte) {
	if d.term.lflag(unix.ECHOCTL) && isControl(c) && c != '\t' {
		d.echoVerbatim([]byte{'^', c ^ 0x40})
		d.column += 2
		return
	}
	d.echoRaw(c)
}

// echoRaw shows a byte, post-processed as output is.
func (d *Discipline) echoRaw(c byte) {
	to := d.echoTarget(maxExpansion)
	if to == nil {
		return
	}
	if d.term.oflag(unix.OPOST) {
		d.outputByte(c, to)
	} else {
		to.putByte(c)
	}
	d.Master.Notify(waiter.Readable)
}

func (d *Discipline) echoVerbatim(b []byte) {
	if to := d.echoTarget(len(b)); to != nil {
		to.put(b)
		d.Master.Notify(waiter.Readable)
	}
}

// echoTarget is where an echo of at most n bytes goes, or nil if there are
// too many that nobody read.
func (d *Discipline) echoTarget(n int) *ring {
	if d.stopped {
		if d.held.n+n > echoSize {
			return nil
		}
		return &d.held
	}
	if d.out.n+n > outputSize+echoSize {
		return nil
	}
	return &d.out
}

// echoOut shows echoes that were held while output was stopped.
func (d *Discipline) echoOut(b []byte) {
	if d.out.n+len(b) <= outputSize+echoSize {
		d.out.put(b)
		d.Master.Notify(waiter.Readable)
	}
}
