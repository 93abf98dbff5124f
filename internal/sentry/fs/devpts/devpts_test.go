package devpts

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"testing"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/tty"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// program is a Caller with a little memory, at address base.
type program struct {
	cred *auth.Credentials
	mem  [256]byte
}

const base = 0x10000

func (p *program) Credentials() *auth.Credentials { return p.cred }
func (p *program) Umask() uint32                  { return 0 }
func (p *program) FSLimit() uint64                { return ^uint64(0) }

func (p *program) CopyIn(addr uint64, dst []byte) (int, error) {
	return p.copy(addr, len(dst), func(m []byte) { copy(dst, m) })
}

func (p *program) CopyOut(addr uint64, src []byte) (int, error) {
	return p.copy(addr, len(src), func(m []byte) { copy(m, src) })
}

func (p *program) copy(addr uint64, n int, f func([]byte)) (int, error) {
	if addr < base || addr-base > uint64(len(p.mem)-n) {
		return 0, unix.EFAULT
	}
	f(p.mem[addr-base:][:n])
	return n, nil
}

func (p *program) putInt(v uint32) { binary.LittleEndian.PutUint32(p.mem[:], v) }
func (p *program) int() uint32     { return binary.LittleEndian.Uint32(p.mem[:]) }

func newProgram() *program { return &program{cred: auth.New(0, 0, nil)} }

func newFS() *FS { return New(kernel.New(kernel.Config{})) }

// pair opens both ends of a new terminal.
func pair(t testing.TB, fs *FS, p *program) (*master, *slave) {
	t.Helper()
	m, err := fs.openMaster(p)
	if err != nil {
		t.Fatal(err)
	}
	term := m.(*master).terminal
	if _, err := term.Open(p, unix.O_RDWR); err != unix.EIO {
		t.Errorf("open while locked: %v", err)
	}
	p.putInt(0)
	if _, err := m.Ioctl(p, unix.TIOCSPTLCK, base); err != nil {
		t.Fatal(err)
	}
	s, err := term.Open(p, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	return m.(*master), s.(*slave)
}

func names(t *testing.T, fs *FS) (list []string) {
	t.Helper()
	f, _ := fs.Root().Open(nil, 0)
	if err := f.Readdir(nil, 0, func(e vfs.DirEntry) bool { list = append(list, e.Name); return true }); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestPair(t *testing.T) {
	fs, p := newFS(), newProgram()
	m, s := pair(t, fs, p)
	m2, _ := pair(t, fs, p)
	if _, err := m2.Ioctl(p, unix.TIOCGPTN, base); err != nil || p.int() != 1 {
		t.Errorf("TIOCGPTN %d, %v", p.int(), err)
	}
	if got := names(t, fs); !slices.Equal(got, []string{".", "..", "ptmx", "0", "1"}) {
		t.Errorf("listed %q", got)
	}
	ino, err := fs.Root().Lookup("0")
	if err != nil || ino != vfs.Inode(m.terminal) || !fs.Revalidate(nil, "0", ino) || fs.Revalidate(nil, "1", ino) {
		t.Errorf("lookup %v, %v", ino, err)
	}
	a, _ := ino.Attr()
	if a.Mode != unix.S_IFCHR|0o620 || a.RdevMajor != 136 || a.RdevMinor != 0 || a.GID != ttyGroup {
		t.Errorf("attributes %+v", a)
	}

	var b [64]byte
	if _, err := s.Read(p, b[:], 0); err != unix.EAGAIN {
		t.Errorf("read of nothing: %v", err)
	}
	m.Write(p, []byte("ls\r"), 0, 0)
	if n, err := s.Read(p, b[:], 0); err != nil || string(b[:n]) != "ls\n" {
		t.Errorf("slave read %q, %v", b[:n], err)
	}
	s.Write(p, []byte("file\n"), 0, 0)
	if n, err := m.Read(p, b[:], 0); err != nil || string(b[:n]) != "ls\r\nfile\r\n" {
		t.Errorf("master read %q, %v", b[:n], err)
	}

	s.Release()
	if _, err := m.Read(p, b[:], 0); err != unix.EIO {
		t.Errorf("master read without slave: %v", err)
	}
	if m.Readiness(waiter.All)&waiter.Hup == 0 {
		t.Error("no POLLHUP at the master")
	}
	f, err := m.terminal.Open(p, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	m.Release()
	if n, err := f.Read(p, b[:], 0); n != 0 || err != nil {
		t.Errorf("slave read after hang-up: %d, %v", n, err)
	}
	if _, _, err := f.Write(p, b[:], 0, 0); err != unix.EIO {
		t.Errorf("slave write after hang-up: %v", err)
	}
	if _, err := f.Ioctl(p, unix.TCGETS, base); err != unix.EIO {
		t.Errorf("ioctl after hang-up: %v", err)
	}
	if f.Readiness(waiter.All)&(waiter.Hup|waiter.In) != waiter.Hup|waiter.In {
		t.Errorf("readiness after hang-up: %#x", f.Readiness(waiter.All))
	}
	if _, err := fs.Root().Lookup("0"); err != unix.ENOENT || fs.Revalidate(nil, "0", ino) {
		t.Errorf("lookup after hang-up: %v", err)
	}
}

func TestIoctls(t *testing.T) {
	fs, p := newFS(), newProgram()
	m, s := pair(t, fs, p)
	do := func(f vfs.File, cmd uint32, arg uint64, want error) {
		t.Helper()
		if _, err := f.Ioctl(p, cmd, arg); err != want {
			t.Errorf("ioctl %#x: %v, want %v", cmd, err, want)
		}
	}

	do(s, unix.TCGETS, base, nil)
	var got tty.Termios
	got.Get(p.mem[:tty.TermiosSize])
	if got.Lflag != tty.DefaultTermios.Lflag || got.CC != tty.DefaultTermios.CC {
		t.Errorf("TCGETS %+v", got)
	}
	got.Lflag &^= unix.ECHO
	got.Put(p.mem[:tty.TermiosSize])
	do(m, unix.TCSETS, base, nil) // both ends have the same modes
	do(s, tcgets2, base, nil)
	got.Get(p.mem[:tty.Termios2Size])
	if got.Lflag&unix.ECHO != 0 || got.Ospeed != 38400 {
		t.Errorf("after TCSETS: %+v", got)
	}
	do(s, unix.TCGETA, base, nil)
	do(s, unix.TCSETAF, base, nil)
	for _, cmd := range []uint32{unix.TCGETS, unix.TCSETS, tcsets2, unix.TIOCGWINSZ, unix.TIOCSWINSZ, unix.TIOCINQ} {
		do(s, cmd, 8, unix.EFAULT)
		do(m, cmd, ^uint64(0), unix.EFAULT)
	}

	tty.Winsize{Rows: 24, Cols: 80}.Put(p.mem[:])
	do(m, unix.TIOCSWINSZ, base, nil)
	clear(p.mem[:])
	do(s, unix.TIOCGWINSZ, base, nil)
	if w := tty.WinsizeOf(p.mem[:]); w.Rows != 24 || w.Cols != 80 {
		t.Errorf("size %+v", w)
	}

	m.Write(p, []byte("abc\nde"), 0, 0)
	do(s, unix.TIOCINQ, base, nil)
	if p.int() != 4 {
		t.Errorf("FIONREAD %d", p.int())
	}
	do(s, unix.TCFLSH, unix.TCIFLUSH, nil)
	do(s, unix.TIOCINQ, base, nil)
	if p.int() != 0 {
		t.Errorf("FIONREAD %d after flush", p.int())
	}
	s.Write(p, []byte("12345"), 0, 0)
	do(m, unix.TIOCINQ, base, nil)
	if p.int() != 5 {
		t.Errorf("FIONREAD of the master %d", p.int())
	}
	do(s, unix.TCFLSH, 3, unix.EINVAL)
	do(s, unix.TCXONC, 4, unix.EINVAL)
	do(s, unix.TCXONC, unix.TCOOFF, nil)
	if _, _, err := s.Write(p, []byte("x"), 0, 0); err != unix.EAGAIN {
		t.Errorf("write while stopped: %v", err)
	}
	do(s, unix.TCXONC, unix.TCOON, nil)

	do(s, unix.TIOCEXCL, 0, nil)
	user := &program{cred: auth.New(1, 1, nil)}
	if _, err := s.terminal.Open(user, unix.O_RDWR); err != unix.EBUSY {
		t.Errorf("open of an exclusive terminal: %v", err)
	}
	if _, err := s.Ioctl(user, unix.TIOCSTI, base); err != unix.EIO {
		t.Errorf("TIOCSTI by a user: %v", err)
	}
	do(s, unix.TIOCGPTN, base, unix.ENOTTY)
	do(s, unix.TIOCGPGRP, base, unix.ENOTTY)
	do(s, unix.TIOCSPGRP, base, unix.ENOTTY)
	do(m, unix.TIOCGPGRP, base, nil)
	do(m, unix.TIOCSIG, uint64(unix.SIGKILL), unix.EINVAL)
	do(s, 0xdeadbeef, base, unix.ENOTTY)

	// Hanging up ends what is open and lets others begin anew.
	do(s, unix.TIOCVHANGUP, 0, nil)
	do(s, unix.TCGETS, base, unix.EIO)
	if n, err := s.Read(p, make([]byte, 1), 0); n != 0 || err != nil {
		t.Errorf("read after vhangup: %d, %v", n, err)
	}
	again, err := s.terminal.Open(p, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	do(again, unix.TCGETS, base, nil)
}

func newTask(t *testing.T, k *kernel.Kernel, c kernel.ProcessConfig) *kernel.Task {
	t.Helper()
	c.Credentials, c.FDs = auth.New(0, 0, nil), vfs.NewFDTable()
	task, err := k.CreateProcess(c)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// pending reports whether a signal is pending for the task's process.
func pending(t *kernel.Task, sig unix.Signal) bool {
	return t.PendingSignals().Has(int32(sig))
}

func TestControllingTerminal(t *testing.T) {
	k := kernel.New(kernel.Config{})
	fs := New(k)
	shell := newTask(t, k, kernel.ProcessConfig{})
	shell.SetSignalMask(^abi.SignalSet(0))
	m, s := pair(t, fs, newProgram())
	if _, err := vfs.OpenDevice(shell, unix.S_IFCHR, 5, 0, unix.O_RDWR); err != unix.ENXIO {
		t.Errorf("/dev/tty without a terminal: %v", err)
	}
	if _, err := m.terminal.Open(shell, unix.O_RDWR|unix.O_NOCTTY); err != nil || shell.TTY() != nil {
		t.Errorf("O_NOCTTY: terminal %v, %v", shell.TTY(), err)
	}
	f, err := vfs.OpenDevice(shell, unix.S_IFCHR, 136, 0, unix.O_RDWR)
	if err != nil || shell.TTY() != kernel.TTY(m.terminal) {
		t.Fatalf("open by number: terminal %v, %v", shell.TTY(), err)
	}
	if tty, err := vfs.OpenDevice(shell, unix.S_IFCHR, 5, 0, unix.O_RDWR); err != nil || tty.(*slave).terminal != m.terminal {
		t.Errorf("/dev/tty: %v", err)
	}
	m.Write(newProgram(), []byte{3}, 0, 0)
	if !pending(shell, unix.SIGINT) {
		t.Error("^C made no SIGINT")
	}
	m.terminal.setSize(tty.Winsize{Rows: 1, Cols: 2})
	if !pending(shell, unix.SIGWINCH) {
		t.Error("no SIGWINCH")
	}

	// Another session's leader cannot have it, and is not signalled.
	other := newTask(t, k, kernel.ProcessConfig{})
	if _, err := m.terminal.Open(other, unix.O_RDWR); err != nil || other.TTY() != nil {
		t.Errorf("terminal of another session: %v, %v", other.TTY(), err)
	}
	if pending(other, unix.SIGINT) {
		t.Error("SIGINT to another session")
	}
	m.Release()
	if !pending(shell, unix.SIGHUP) || shell.TTY() != nil {
		t.Errorf("hang-up: terminal %v", shell.TTY())
	}
	if n, err := f.Read(shell, make([]byte, 1), 0); n != 0 || err != nil {
		t.Errorf("read after hang-up: %d, %v", n, err)
	}
	s.Release()
}

func TestConsole(t *testing.T) {
	k := kernel.New(kernel.Config{})
	fs := New(k)
	c, err := fs.NewConsole(24, 80)
	if err != nil {
		t.Fatal(err)
	}
	init := newTask(t, k, kernel.ProcessConfig{TTY: c.TTY()})
	init.SetSignalMask(^abi.SignalSet(0))
	d := c.Open()
	if init.TTY() != c.TTY() {
		t.Error("the console is not the controlling terminal")
	}
	if f, err := vfs.OpenDevice(init, unix.S_IFCHR, 5, 1, unix.O_RDWR); err != nil {
		t.Errorf("/dev/console: %v", err)
	} else {
		f.Release()
	}
	if n, err := c.Write([]byte("hello\r")); n != 6 || err != nil {
		t.Errorf("write %d, %v", n, err)
	}
	var b [64]byte
	if n, err := d.Read(init, b[:]); err != nil || string(b[:n]) != "hello\n" {
		t.Errorf("program read %q, %v", b[:n], err)
	}
	done := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(c)
		done <- all
	}()
	d.Write(init, []byte("bye\n"))
	c.SetSize(30, 90)
	if !pending(init, unix.SIGWINCH) {
		t.Error("no SIGWINCH")
	}
	// The reader ends when the last program has closed the terminal.
	d.DecRef()
	if got := <-done; !bytes.Equal(got, []byte("hello\r\nbye\r\n")) {
		t.Errorf("screen %q", got)
	}
	c.Close()
	c.Close()
	if !pending(init, unix.SIGHUP) {
		t.Error("no SIGHUP")
	}
	if _, err := c.Read(b[:]); err != io.EOF {
		t.Errorf("read after close: %v", err)
	}
}

func TestTooManyTerminals(t *testing.T) {
	fs, p := newFS(), newProgram()
	var last vfs.File
	for range Max {
		f, err := fs.openMaster(p)
		if err != nil {
			t.Fatal(err)
		}
		last = f
	}
	if _, err := fs.openMaster(p); err != unix.ENOSPC {
		t.Errorf("one more: %v", err)
	}
	last.Release()
	if _, err := fs.openMaster(p); err != nil {
		t.Errorf("after a release: %v", err)
	}
}

// FuzzIoctl checks that no ioctl at either end does harm.
func FuzzIoctl(f *testing.F) {
	for _, cmd := range []uint32{unix.TCGETS, unix.TCSETS, tcgets2, tcsetsf2, unix.TCGETA, unix.TCSETA, unix.TIOCGWINSZ,
		unix.TIOCSWINSZ, unix.TIOCSPGRP, unix.TIOCSCTTY, unix.TIOCGSID, unix.TIOCPKT, unix.TIOCSTI, unix.TCFLSH,
		unix.TCXONC, unix.TIOCGPTPEER, unix.TIOCSPTLCK, unix.TIOCSETD, unix.TIOCSIG, unix.TIOCVHANGUP} {
		f.Add(cmd, uint64(base), []byte{1, 2, 3, 255}, []byte("x\x03\n"))
		f.Add(cmd, uint64(1), []byte{}, []byte{})
	}
	f.Fuzz(func(t *testing.T, cmd uint32, arg uint64, mem, data []byte) {
		fs, p := newFS(), newProgram()
		m, s := pair(t, fs, p)
		copy(p.mem[:], mem)
		var b [32]byte
		for range 2 {
			for _, end := range []vfs.File{m, s} {
				end.Ioctl(p, cmd, arg)
				end.Write(p, data, 0, 0)
			}
			for _, end := range []vfs.File{m, s} {
				end.Read(p, b[:], 0)
				end.Readiness(waiter.All)
			}
		}
		s.Release()
		m.Release()
	})
}
