package tty

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// modes is the default with bits of the four mode words set and cleared.
func modes(change func(*Termios)) func(*Termios) {
	return func(t *Termios) {
		*t = DefaultTermios
		if change != nil {
			change(t)
		}
	}
}

func newWith(change func(*Termios)) *Discipline {
	d := New()
	d.SetTermios(false, modes(change))
	return d
}

// drain reads everything that the slave can read now, each read's result
// separately.
func drain(d *Discipline) []string {
	var out []string
	for {
		var b [8192]byte
		n, err := d.ReadSlave(b[:], false)
		if err != nil || n == 0 && len(out) > 0 && out[len(out)-1] == "" {
			return out
		}
		out = append(out, string(b[:n]))
		if n == 0 && !d.term.lflag(unix.ICANON) {
			return out
		}
	}
}

func screen(d *Discipline) string {
	var all []byte
	for {
		var b [8192]byte
		n, err := d.ReadMaster(b[:])
		if err != nil {
			return string(all)
		}
		all = append(all, b[:n]...)
	}
}

func TestInput(t *testing.T) {
	clear := func(field func(*Termios) *uint32, bits uint32) func(*Termios) {
		return func(m *Termios) { *field(m) &^= bits }
	}
	set := func(field func(*Termios) *uint32, bits uint32) func(*Termios) {
		return func(m *Termios) { *field(m) |= bits }
	}
	l := func(m *Termios) *uint32 { return &m.Lflag }
	i := func(m *Termios) *uint32 { return &m.Iflag }
	cc := func(n int, c byte) func(*Termios) { return func(m *Termios) { m.CC[n] = c } }
	all := func(fs ...func(*Termios)) func(*Termios) {
		return func(m *Termios) {
			for _, f := range fs {
				f(m)
			}
		}
	}
	tests := []struct {
		name   string
		modes  func(*Termios)
		input  string
		reads  []string
		echo   string
		signal Signals
	}{
		{"incomplete line", nil, "abc", nil, "abc", 0},
		{"line", nil, "abc\n", []string{"abc\n"}, "abc\r\n", 0},
		{"return", nil, "abc\r", []string{"abc\n"}, "abc\r\n", 0},
		{"return ignored", set(i, unix.IGNCR), "a\rb\n", []string{"ab\n"}, "ab\r\n", 0},
		{"return kept", clear(i, unix.ICRNL), "a\rb\n", []string{"a\rb\n"}, "a^Mb\r\n", 0},
		{"newline to return", all(clear(i, unix.ICRNL), set(i, unix.INLCR)), "a\nb", nil, "a^Mb", 0},
		{"two lines", nil, "a\nb\n", []string{"a\n", "b\n"}, "a\r\nb\r\n", 0},
		{"end of file", nil, "\x04", []string{""}, "", 0},
		{"end of file pushes", nil, "ab\x04", []string{"ab"}, "ab", 0},
		{"end of file disabled", cc(unix.VEOF, 0), "a\x04b\n", []string{"a\x04b\n"}, "a^Db\r\n", 0},
		{"end of line character", cc(unix.VEOL, ';'), "a;b", []string{"a;"}, "a;b", 0},
		{"end of line 2", cc(unix.VEOL2, ';'), "a;", []string{"a;"}, "a;", 0},
		{"NUL is no disabled character", nil, "a\x00b\n", []string{"a\x00b\n"}, "a^@b\r\n", 0},
		{"erase", nil, "ab\x7fc\n", []string{"ac\n"}, "ab\b \bc\r\n", 0},
		{"erase nothing", nil, "\x7fa\n", []string{"a\n"}, "a\r\n", 0},
		{"erase stops at line", nil, "a\n\x7f\x7fb\n", []string{"a\n", "b\n"}, "a\r\nb\r\n", 0},
		{"erase control", nil, "\x01\x7f\n", []string{"\n"}, "^A\b \b\b \b\r\n", 0},
		{"erase without ECHOE", clear(l, unix.ECHOE), "ab\x7f\n", []string{"a\n"}, "ab^?\r\n", 0},
		{"erase tab", nil, "ab\t\x7fc\n", []string{"abc\n"}, "ab\t\b\b\b\b\b\bc\r\n", 0},
		{"erase UTF-8", set(i, unix.IUTF8), "aé\x7fb\n", []string{"ab\n"}, "aé\b \bb\r\n", 0},
		{"erase byte of UTF-8", nil, "é\x7f\n", []string{"\xc3\n"}, "é\b \b\r\n", 0},
		{"erase printing", set(l, unix.ECHOPRT), "ab\x7f\x7fc\n", []string{"c\n"}, "ab\\ba/c\r\n", 0},
		{"word erase", nil, "one two  \x17x\n", []string{"one x\n"}, "one two  " + strings.Repeat("\b \b", 5) + "x\r\n", 0},
		{"word erase without IEXTEN", clear(l, unix.IEXTEN), "a\x17\n", []string{"a\x17\n"}, "a^W\r\n", 0},
		{"kill", nil, "abc\x15d\n", []string{"d\n"}, "abc" + strings.Repeat("\b \b", 3) + "d\r\n", 0},
		{"kill with ECHOK only", clear(l, unix.ECHOKE), "abc\x15d\n", []string{"d\n"}, "abc^U\r\nd\r\n", 0},
		{"kill without echo", clear(l, unix.ECHO), "abc\x15d\n", []string{"d\n"}, "", 0},
		{"literal", nil, "a\x16\x03b\n", []string{"a\x03b\n"}, "a^\b^Cb\r\n", 0},
		{"literal newline does not end the line", nil, "a\x16\nb", nil, "a^\b^Jb", 0},
		{"reprint", nil, "ab\x12c\n", []string{"abc\n"}, "ab^R\r\nabc\r\n", 0},
		{"no echo", clear(l, unix.ECHO), "ab\n", []string{"ab\n"}, "", 0},
		{"echo of newline only", all(clear(l, unix.ECHO), set(l, unix.ECHONL)), "ab\n", []string{"ab\n"}, "\r\n", 0},
		{"no ECHOCTL", clear(l, unix.ECHOCTL), "\x01\n", []string{"\x01\n"}, "\x01\r\n", 0},
		{"interrupt flushes", nil, "ab\n\x03c\n", []string{"c\n"}, "ab\r\n^Cc\r\n", SigInt},
		{"interrupt without flush", set(l, unix.NOFLSH), "ab\n\x03c\n", []string{"ab\n", "c\n"}, "ab\r\n^Cc\r\n", SigInt},
		{"quit", nil, "\x1c", nil, "^\\", SigQuit},
		{"suspend", nil, "\x1a", nil, "^Z", SigTstp},
		{"all signals", nil, "\x03\x1c\x1a", nil, "^C^\\^Z", SigInt | SigQuit | SigTstp},
		{"no signals", clear(l, unix.ISIG), "\x03\n", []string{"\x03\n"}, "^C\r\n", 0},
		{"strip", set(i, unix.ISTRIP), "\xe1\n", []string{"a\n"}, "a\r\n", 0},
		{"lower case", set(i, unix.IUCLC), "AbC\n", []string{"abc\n"}, "abc\r\n", 0},
		{"stop holds echo, start shows it", nil, "a\x13b\x11c\n", []string{"abc\n"}, "abc\r\n", 0},
		{"stop holds", nil, "a\x13b\n", []string{"ab\n"}, "a", 0},
		{"any starts", set(i, unix.IXANY), "a\x13b\n", []string{"ab\n"}, "ab\r\n", 0},
		{"no flow control", clear(i, unix.IXON), "\x13\n", []string{"\x13\n"}, "^S\r\n", 0},
		{"PARMRK doubles", set(i, unix.PARMRK), "\xff\n", []string{"\xff\xff\n"}, "\xff\r\n", 0},
		{"raw", clear(l, unix.ICANON|unix.ECHO), "a\x7f\x04\n", []string{"a\x7f\x04\n"}, "", 0},
		{"raw echo of newline", clear(l, unix.ICANON), "a\nb\r", []string{"a\nb\n"}, "a^Jb\r\n", 0},
		{"raw echo", clear(l, unix.ICANON), "a\x7f", []string{"a\x7f"}, "a^?", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newWith(tt.modes)
			n, sig := d.Input([]byte(tt.input))
			if n != len(tt.input) || sig != tt.signal {
				t.Errorf("Input = %d, signals %b; want %d, %b", n, sig, len(tt.input), tt.signal)
			}
			if got := screen(d); got != tt.echo {
				t.Errorf("echo %q, want %q", got, tt.echo)
			}
			if got := drain(d); strings.Join(got, "|") != strings.Join(tt.reads, "|") || len(got) != len(tt.reads) {
				t.Errorf("reads %q, want %q", got, tt.reads)
			}
		})
	}
}

func TestOutput(t *testing.T) {
	o := func(set, clear uint32) func(*Termios) {
		return func(m *Termios) { m.Oflag = m.Oflag&^clear | set }
	}
	tests := []struct {
		name      string
		modes     func(*Termios)
		out, want string
	}{
		{"newline", nil, "a\nb", "a\r\nb"},
		{"plain", o(0, unix.ONLCR), "a\nb", "a\nb"},
		{"no processing", o(0, unix.OPOST), "a\nb\t", "a\nb\t"},
		{"tabs kept", nil, "a\tb", "a\tb"},
		{"tabs expanded", o(unix.XTABS, 0), "a\tb\n\tc", "a       b\r\n        c"},
		{"tab after control", o(unix.XTABS, 0), "\x01\b\tc", "\x01\b        c"},
		{"return to newline", o(unix.OCRNL, 0), "a\rb", "a\nb"},
		{"no return at column 0", o(unix.ONOCR, 0), "\ra\r", "a\r"},
		{"upper case", o(unix.OLCUC, 0), "aBz{", "ABZ{"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newWith(tt.modes)
			if n := d.Output([]byte(tt.out)); n != len(tt.out) {
				t.Errorf("Output = %d", n)
			}
			if got := screen(d); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLineLongerThanQueue(t *testing.T) {
	d := newWith(func(m *Termios) { m.Lflag &^= unix.ECHO })
	in := append(bytes.Repeat([]byte{'x'}, 10000), '\n')
	if n, _ := d.Input(in); n != len(in) {
		t.Fatalf("Input = %d: a line without end must be taken", n)
	}
	if n, _ := d.Input([]byte("y\n")); n != 0 {
		t.Errorf("Input = %d: nothing more fits while a line waits", n)
	}
	got := drain(d)
	if len(got) != 1 || len(got[0]) != inputSize || !strings.HasSuffix(got[0], "x\n") {
		t.Errorf("read %d lines, first of %d bytes", len(got), len(got[0]))
	}
	if n, _ := d.Input([]byte("y\n")); n != 2 {
		t.Errorf("Input = %d after reading", n)
	}
}

func TestShortReads(t *testing.T) {
	d := newWith(nil)
	d.Input([]byte("hello\x04\nx\n"))
	var b [5]byte
	for _, want := range []string{"hello", "\n", "x\n"} {
		if n, err := d.ReadSlave(b[:], true); err != nil || string(b[:n]) != want {
			t.Errorf("read %q, %v; want %q", b[:n], err, want)
		}
	}
	d.Input([]byte("abcdefg\n"))
	for _, want := range []string{"abcde", "fg\n"} {
		if n, err := d.ReadSlave(b[:], true); err != nil || string(b[:n]) != want {
			t.Errorf("read %q, %v; want %q", b[:n], err, want)
		}
	}
}

func TestOutputFull(t *testing.T) {
	d := newWith(nil)
	chunk := bytes.Repeat([]byte("0123456789abcde\n"), 64)
	total := 0
	for {
		n := d.Output(chunk)
		total += n
		if n < len(chunk) {
			break
		}
	}
	if d.Output(chunk) != 0 || d.SlaveReadiness(4) != 0 {
		t.Error("a full queue takes output")
	}
	d.Input(bytes.Repeat([]byte("echo "), 2000))
	if d.out.n > outputSize+echoSize {
		t.Errorf("echo grew the queue to %d", d.out.n)
	}
	var b [4096]byte
	for range 2 { // once for what the echoes took beyond the size
		d.ReadMaster(b[:])
	}
	if d.Output(chunk) == 0 {
		t.Error("reading made no room")
	}
	if total > outputSize {
		t.Errorf("took %d bytes", total)
	}
}

func TestMinAndTime(t *testing.T) {
	raw := func(vmin, vtime byte) *Discipline {
		return newWith(func(m *Termios) { *m = RawTermios; m.CC[unix.VMIN], m.CC[unix.VTIME] = vmin, vtime })
	}
	var b [16]byte

	d := raw(0, 0)
	if n, err := d.ReadSlave(b[:], true); n != 0 || err != nil {
		t.Errorf("MIN 0 TIME 0: %d, %v", n, err)
	}
	d = raw(3, 0)
	d.Input([]byte("ab"))
	if _, err := d.ReadSlave(b[:], true); err != unix.EAGAIN {
		t.Errorf("MIN 3 with 2: %v", err)
	}
	if d.SlaveReadiness(1) != 0 {
		t.Error("MIN 3 with 2 is readable")
	}
	if n, err := d.ReadSlave(b[:2], true); n != 2 || err != nil {
		t.Errorf("MIN 3 with 2, read of 2: %d, %v", n, err)
	}
	d.Input([]byte("abc"))
	if n, _ := d.ReadSlave(b[:], true); n != 3 {
		t.Errorf("MIN 3 with 3: %d", n)
	}
	d.Input([]byte("a"))
	if n, _ := d.ReadSlave(b[:], false); n != 1 {
		t.Errorf("MIN 3 with 1, not waiting: %d", n)
	}

	// TIME lets a waiting read return: the timer's end is announced.
	for _, tt := range []struct {
		vmin byte
		in   string
	}{{0, ""}, {3, "a"}} {
		d = raw(tt.vmin, 1)
		d.Input([]byte(tt.in))
		ch := make(chan struct{}, 1)
		e := entryFor(ch)
		d.Slave.Register(e)
		if _, err := d.ReadSlave(b[:], true); err != unix.EAGAIN {
			t.Errorf("TIME 1: %v at once", err)
		}
		<-ch
		if n, err := d.ReadSlave(b[:], true); n != len(tt.in) || err != nil {
			t.Errorf("TIME 1 MIN %d: %d, %v after it", tt.vmin, n, err)
		}
		d.Slave.Unregister(e)
	}
}

func TestModeChangeKeepsInput(t *testing.T) {
	d := newWith(nil)
	d.Input([]byte("abc"))
	d.SetTermios(false, func(m *Termios) { m.Lflag &^= unix.ICANON })
	if got := drain(d); len(got) != 1 || got[0] != "abc" {
		t.Errorf("to raw: %q", got)
	}
	d.Input([]byte("def"))
	d.SetTermios(false, func(m *Termios) { m.Lflag |= unix.ICANON })
	if got := drain(d); len(got) != 1 || got[0] != "def" {
		t.Errorf("to canonical: %q", got)
	}
	d.Input([]byte("ghi\n"))
	d.SetTermios(true, func(*Termios) {})
	if got := drain(d); len(got) != 0 {
		t.Errorf("after flush: %q", got)
	}
}

func TestPacketMode(t *testing.T) {
	d := newWith(nil)
	d.SetPacket(true)
	d.Output([]byte("x"))
	d.Flow(true)
	d.Flow(false)
	var b [16]byte
	for _, want := range []string{string(rune(unix.TIOCPKT_START)), "\x00x"} {
		if n, err := d.ReadMaster(b[:]); err != nil || string(b[:n]) != want {
			t.Errorf("read %q, %v; want %q", b[:n], err, want)
		}
	}
	d.SetTermios(true, func(m *Termios) { m.Iflag &^= unix.IXON })
	if n, _ := d.ReadMaster(b[:]); n != 1 || b[0] != unix.TIOCPKT_FLUSHREAD|unix.TIOCPKT_NOSTOP {
		t.Errorf("status %#x", b[0])
	}
}

func TestHangUp(t *testing.T) {
	d := newWith(nil)
	d.SetSlaveOpen(true)
	d.Output([]byte("bye"))
	d.SetSlaveOpen(false)
	if got := screen(d); got != "bye" {
		t.Errorf("master read %q", got)
	}
	if _, err := d.ReadMaster(make([]byte, 1)); err != unix.EIO {
		t.Errorf("master read: %v", err)
	}
	d.SetSlaveOpen(true)
	if _, err := d.ReadMaster(make([]byte, 1)); err != unix.EAGAIN {
		t.Errorf("master read after new open: %v", err)
	}
	d.MasterClosed()
	if n, err := d.ReadSlave(make([]byte, 1), true); n != 0 || err != nil {
		t.Errorf("slave read: %d, %v", n, err)
	}
}

func TestTermiosRoundTrip(t *testing.T) {
	want := DefaultTermios
	want.CC[unix.VEOL2] = 7
	var b [Termios2Size]byte
	want.Put(b[:])
	var got Termios
	got.Get(b[:])
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = want
	want.PutTermio(b[:])
	got.GetTermio(b[:TermioSize])
	if got != want {
		t.Errorf("termio: got %+v, want %+v", got, want)
	}
}
