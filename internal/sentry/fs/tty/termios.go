package tty

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// NumCC is the number of control characters in the kernel's termios.
const NumCC = 19

// Sizes of what the termios ioctls copy, in bytes: struct termios and
// termios2 of asm-generic/termbits.h, and System V's struct termio.
const (
	TermiosSize  = 36
	Termios2Size = 44
	TermioSize   = 18
)

// numTermioCC is NCC, the control characters in struct termio.
const numTermioCC = 8

// disabled is the control character that matches nothing (_POSIX_VDISABLE).
const disabled = 0

// Termios is struct termios2: modes, control characters and speeds in baud.
type Termios struct {
	Iflag, Oflag, Cflag, Lflag uint32
	Line                       uint8
	CC                         [NumCC]uint8
	Ispeed, Ospeed             uint32
}

// DefaultTermios are the modes of a new pseudoterminal: those of Linux's
// tty_std_termios at 38400 baud.
var DefaultTermios = Termios{
	Iflag: unix.ICRNL | unix.IXON,
	Oflag: unix.OPOST | unix.ONLCR,
	Cflag: unix.B38400 | unix.CS8 | unix.CREAD,
	Lflag: unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK |
		unix.ECHOCTL | unix.ECHOKE | unix.IEXTEN,
	CC: [NumCC]uint8{
		unix.VINTR: 'C' - '@', unix.VQUIT: '\\' - '@', unix.VERASE: 0x7f, unix.VKILL: 'U' - '@',
		unix.VEOF: 'D' - '@', unix.VTIME: 0, unix.VMIN: 1, unix.VSTART: 'Q' - '@',
		unix.VSTOP: 'S' - '@', unix.VSUSP: 'Z' - '@', unix.VREPRINT: 'R' - '@',
		unix.VDISCARD: 'O' - '@', unix.VWERASE: 'W' - '@', unix.VLNEXT: 'V' - '@',
	},
	Ispeed: 38400, Ospeed: 38400,
}

// RawTermios are the modes in which nothing is interpreted (cfmakeraw(3)).
var RawTermios = func() Termios {
	t := DefaultTermios
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	return t
}()

// bothways are the character size and such that the kernel forces for a
// pseudoterminal (pty_set_termios): eight bits, no parity, receiver on.
func (t *Termios) normalize() {
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD
	if baud, ok := baudOf(t.Cflag & unix.CBAUD); ok {
		t.Ospeed = baud
	}
	t.Ispeed = t.Ospeed
}

// baudOf returns the speed that a CBAUD code names; ok is false for BOTHER,
// with which the speed is in Ospeed.
func baudOf(code uint32) (baud uint32, ok bool) {
	low := [...]uint32{0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400}
	high := [...]uint32{57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000,
		1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000}
	switch {
	case code < uint32(len(low)):
		return low[code], true
	case code > unix.CBAUDEX && code-unix.CBAUDEX-1 < uint32(len(high)):
		return high[code-unix.CBAUDEX-1], true
	}
	return 0, false
}

// Put writes t as struct termios (TermiosSize bytes) or, if b is long enough,
// as struct termios2.
func (t *Termios) Put(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b, t.Iflag)
	le.PutUint32(b[4:], t.Oflag)
	le.PutUint32(b[8:], t.Cflag)
	le.PutUint32(b[12:], t.Lflag)
	b[16] = t.Line
	copy(b[17:TermiosSize], t.CC[:])
	if len(b) >= Termios2Size {
		le.PutUint32(b[36:], t.Ispeed)
		le.PutUint32(b[40:], t.Ospeed)
	}
}

// Get reads what Put writes. Without the speeds of termios2 they follow from
// Cflag, or stay as they are.
func (t *Termios) Get(b []byte) {
	le := binary.LittleEndian
	t.Iflag = le.Uint32(b)
	t.Oflag = le.Uint32(b[4:])
	t.Cflag = le.Uint32(b[8:])
	t.Lflag = le.Uint32(b[12:])
	t.Line = b[16]
	copy(t.CC[:], b[17:TermiosSize])
	if len(b) >= Termios2Size {
		t.Ispeed = le.Uint32(b[36:])
		t.Ospeed = le.Uint32(b[40:])
	}
}

// PutTermio writes t as struct termio (TermioSize bytes): the low halves of
// the modes and the first control characters.
func (t *Termios) PutTermio(b []byte) {
	le := binary.LittleEndian
	le.PutUint16(b, uint16(t.Iflag))
	le.PutUint16(b[2:], uint16(t.Oflag))
	le.PutUint16(b[4:], uint16(t.Cflag))
	le.PutUint16(b[6:], uint16(t.Lflag))
	b[8] = t.Line
	copy(b[9:9+numTermioCC], t.CC[:])
	b[17] = 0
}

// GetTermio changes what struct termio can say and leaves the rest.
func (t *Termios) GetTermio(b []byte) {
	le := binary.LittleEndian
	low := func(old uint32, i int) uint32 { return old&^0xffff | uint32(le.Uint16(b[i:])) }
	t.Iflag, t.Oflag, t.Cflag, t.Lflag = low(t.Iflag, 0), low(t.Oflag, 2), low(t.Cflag, 4), low(t.Lflag, 6)
	t.Line = b[8]
	copy(t.CC[:numTermioCC], b[9:9+numTermioCC])
}

// is reports whether c is control character number i, which is not disabled.
func (t *Termios) is(c byte, i int) bool { return c == t.CC[i] && c != disabled }

func (t *Termios) iflag(f uint32) bool { return t.Iflag&f != 0 }
func (t *Termios) oflag(f uint32) bool { return t.Oflag&f != 0 }
func (t *Termios) lflag(f uint32) bool { return t.Lflag&f != 0 }

// continues reports whether c is not the first byte of a character in UTF-8.
func (t *Termios) continues(c byte) bool { return t.iflag(unix.IUTF8) && c&0xc0 == 0x80 }

// Winsize is struct winsize.
type Winsize struct{ Rows, Cols, XPixel, YPixel uint16 }

// WinsizeSize is the size of struct winsize in bytes.
const WinsizeSize = 8

// Put writes w as struct winsize.
func (w Winsize) Put(b []byte) {
	for i, v := range [...]uint16{w.Rows, w.Cols, w.XPixel, w.YPixel} {
		binary.LittleEndian.PutUint16(b[2*i:], v)
	}
}

// WinsizeOf reads struct winsize.
func WinsizeOf(b []byte) Winsize {
	u := binary.LittleEndian.Uint16
	return Winsize{u(b), u(b[2:]), u(b[4:]), u(b[6:])}
}
