package tty

import (
	"sync"
	"time"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	// inputSize is N_TTY_BUF_SIZE: how much unread input a terminal holds,
	// one byte of which is kept for the end of a line.
	inputSize = 4096
	// outputSize bounds what programs wrote and the master has not read.
	outputSize = 64 << 10
	// echoSize is what echoes may take beyond outputSize; more is dropped.
	echoSize = 4096
)

// Signals is a set of signals that input asks for.
type Signals uint8

// The signals of INTR, QUIT and SUSP.
const (
	SigInt Signals = 1 << iota
	SigQuit
	SigTstp
)

// Each calls f with the signals of the set.
func (s Signals) Each(f func(unix.Signal)) {
	for i, sig := range [...]unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP} {
		if s>>i&1 != 0 {
			f(sig)
		}
	}
}

// Discipline is one pseudoterminal's line discipline with its buffers.
type Discipline struct {
	mu   sync.Mutex
	term Termios
	size Winsize

	in inputQueue
	// literal says that LNEXT takes the next byte as it is.
	literal bool
	// erasing says that an ECHOPRT erasure is being shown.
	erasing bool

	out ring
	// held are echoes that wait for output to be started again.
	held ring
	// column is the cursor's, lineColumn where the present line began.
	column, lineColumn int
	// stopped is by STOP or by TCXONC; byIoctl says the latter, which START
	// does not undo.
	stopped, byIoctl bool

	// packet is TIOCPKT's mode; status holds the events to report there.
	packet bool
	status uint8

	// timer counts VTIME; expired says that it ran out.
	timer   *time.Timer
	expired bool

	// slaveGone says that the slave's last description was closed, hungUp
	// that the master's was.
	slaveGone, hungUp bool

	// Slave and Master are notified of their side's readiness.
	Slave, Master waiter.Queue
}

// New returns the discipline of a new pseudoterminal.
func New() *Discipline { return &Discipline{term: DefaultTermios} }

// Termios returns the modes.
func (d *Discipline) Termios() Termios {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.term
}

// SetTermios changes the modes; with flush, unread input is dropped first.
// update gets the present modes and changes them.
func (d *Discipline) SetTermios(flush bool, update func(*Termios)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if flush {
		d.flushInput()
	}
	old := d.term
	update(&d.term)
	d.term.normalize()
	if (old.Lflag^d.term.Lflag)&unix.ICANON != 0 {
		d.in.setCanonical(d.term.lflag(unix.ICANON))
		d.erasing, d.literal = false, false
	}
	// Turning flow control off must not leave output stopped for good.
	if old.iflag(unix.IXON) && !d.term.iflag(unix.IXON) && !d.byIoctl {
		d.start()
	}
	if d.packet {
		d.reportModes(&old)
	}
	d.Slave.Notify(d.slaveReadiness(waiter.Readable | waiter.Writable))
	d.Master.Notify(waiter.Writable)
}

// Size returns the window's size.
func (d *Discipline) Size() Winsize {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size
}

// SetSize sets the window's size and reports whether that changed it.
func (d *Discipline) SetSize(w Winsize) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	changed := d.size != w
	d.size = w
	return changed
}

// flushInput drops what the slave has not read.
func (d *Discipline) flushInput() {
	d.in.clear()
	d.erasing, d.literal = false, false
	d.report(unix.TIOCPKT_FLUSHREAD)
	d.Master.Notify(waiter.Writable)
}

// flushOutput drops what has not reached the master: as on Linux, where the
// master end has a queue of its own, the first bytes are there already.
func (d *Discipline) flushOutput() {
	d.out.truncate(inputSize)
	d.held.clear()
	d.report(unix.TIOCPKT_FLUSHWRITE)
	d.Slave.Notify(waiter.Writable)
}

// Flush is tcflush(3) at the slave.
func (d *Discipline) Flush(input, output bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if input {
		d.flushInput()
	}
	if output {
		d.flushOutput()
	}
}

// Flow suspends or resumes output as tcflow(3)'s TCOOFF and TCOON.
func (d *Discipline) Flow(stop bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if stop {
		if !d.byIoctl {
			d.byIoctl = true
			d.stop()
		}
		return
	}
	if d.byIoctl {
		d.byIoctl = false
		d.start()
	}
}

// SendFlowByte gives the master the STOP or START character (TCIOFF, TCION).
func (d *Discipline) SendFlowByte(stop bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.term.CC[unix.VSTART]
	if stop {
		c = d.term.CC[unix.VSTOP]
	}
	if c != disabled && d.out.n < outputSize+echoSize {
		d.out.putByte(c)
		d.Master.Notify(waiter.Readable)
	}
}

func (d *Discipline) stop() {
	if d.stopped {
		return
	}
	d.stopped = true
	d.unreport(unix.TIOCPKT_START)
	d.report(unix.TIOCPKT_STOP)
}

func (d *Discipline) start() {
	if !d.stopped || d.byIoctl {
		return
	}
	d.stopped = false
	d.unreport(unix.TIOCPKT_STOP)
	d.report(unix.TIOCPKT_START)
	if d.held.n > 0 {
		b := make([]byte, d.held.n)
		d.held.take(b)
		d.echoOut(b)
	}
	d.Slave.Notify(waiter.Writable)
}
