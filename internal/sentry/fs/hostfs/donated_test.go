package hostfs

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func pipe(t testing.TB) (r, w int) {
	t.Helper()
	var p [2]int
	must(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	return p[0], p[1]
}

func socketpair(t testing.TB) (a, b int) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	return p[0], p[1]
}

func donate(t testing.TB, fd int) *vfs.FileDescription {
	t.Helper()
	d, err := NewFD(fd, "")
	must(t, err)
	return d
}

// Streams never wait in the sentry, tell when they are ready, and keep the
// host's description blocking for others.
func TestDonatedStreams(t *testing.T) {
	for name, make := range map[string]func(testing.TB) (int, int){"pipe": pipe, "socket": socketpair} {
		for _, guarded := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s guarded=%v", name, guarded), func(t *testing.T) {
				r, w := make(t)
				rd, wr := donate(t, r), donate(t, w)
				rd.Inode.(*donatedInode).donor.blocking.Store(guarded)
				wr.Inode.(*donatedInode).donor.blocking.Store(guarded)
				defer rd.DecRef()
				testDonatedStream(t, rd, wr)
				if fl, _ := unix.FcntlInt(uintptr(r), unix.F_GETFL, 0); fl&unix.O_NONBLOCK != 0 {
					t.Error("the host's description became non-blocking")
				}
			})
		}
	}
}

func testDonatedStream(t *testing.T, rd, wr *vfs.FileDescription) {
	buf := make([]byte, 1<<16)
	if _, err := rd.Read(root, buf); err != unix.EAGAIN {
		t.Fatalf("read of nothing: %v", err)
	}
	if m := rd.Readiness(waiter.In | waiter.Out); m&waiter.In != 0 {
		t.Errorf("ready to read nothing: %#x", m)
	}
	ch := waiter.NewChannel()
	e := waiter.Entry{Mask: waiter.In | waiter.Hup, Listener: ch}
	rd.Register(&e)
	defer rd.Unregister(&e)
	drain(ch) // a socket is writable at once, which tells nothing here
	if n, err := wr.Write(root, []byte("hello")); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	expect(t, ch)
	if m := rd.Readiness(waiter.In); m != waiter.In {
		t.Errorf("readiness %#x", m)
	}
	if n, err := rd.Read(root, buf); string(buf[:n]) != "hello" || err != nil {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	// Fill it.
	total := 0
	for {
		n, err := wr.Write(root, buf)
		total += n
		if err == unix.EAGAIN {
			break
		}
		must(t, err)
	}
	if wr.Readiness(waiter.Out) != 0 {
		t.Error("a full stream is ready for more")
	}
	we := waiter.Entry{Mask: waiter.Out, Listener: waiter.NewChannel()}
	wr.Register(&we)
	for total > 0 {
		n, err := rd.Read(root, buf)
		must(t, err)
		total -= n
	}
	expect(t, we.Listener.(waiter.Channel))
	wr.Unregister(&we)
	drain(ch)
	wr.DecRef()
	expect(t, ch)
	if n, err := rd.Read(root, buf); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

func drain(ch waiter.Channel) {
	for {
		select {
		case <-ch:
		case <-time.After(10 * time.Millisecond):
			return
		}
	}
}

// expect waits for a notification; the time-out only ends a failed test.
func expect(t *testing.T, ch waiter.Channel) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(2 * time.Minute):
		t.Fatal("no notification")
	}
}

func TestDonatedBrokenPipe(t *testing.T) {
	r, w := pipe(t)
	unix.Close(r)
	wr := donate(t, w)
	defer wr.DecRef()
	if _, err := wr.Write(root, []byte("x")); err != unix.EPIPE {
		t.Error(err)
	}
	if m := wr.Readiness(waiter.Out); m&waiter.Err == 0 {
		t.Errorf("readiness %#x", m)
	}
}

// A regular file's offset is its host description's, at every moment: others
// who share that read and write in turn with the guest.
func TestDonatedFile(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	must(t, err)
	defer f.Close()
	f.WriteString("0123456789")
	f.Seek(2, 0)
	fd, err := unix.Dup(int(f.Fd()))
	must(t, err)
	d := donate(t, fd)
	if !SameDescription(fd, int(f.Fd())) {
		t.Error("kcmp says that a dup is another description")
	}
	buf := make([]byte, 3)
	if n, err := d.Read(root, buf); n != 3 || string(buf) != "234" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if n, err := d.Pread(root, buf, 9); n != 1 || err != nil {
		t.Error(n, err)
	}
	if n, err := d.Write(root, []byte("x")); n != 1 || err != nil {
		t.Error(n, err)
	}
	if off, _ := f.Seek(0, 1); off != 6 || d.Offset() != 6 {
		t.Errorf("after a read and a write the offsets are %d and %d", off, d.Offset())
	}
	f.Seek(8, 0)
	if n, err := d.Read(root, buf); n != 2 || string(buf[:2]) != "89" || err != nil {
		t.Errorf("after the host's lseek: %q, %v", buf[:n], err)
	}
	if off, err := d.Seek(nil, -4, unix.SEEK_CUR); off != 6 || err != nil {
		t.Error(off, err)
	}
	again, err := d.Inode.Open(root, unix.O_WRONLY)
	must(t, err)
	again.Release()
	d.DecRef()
	if off, _ := f.Seek(0, 1); off != 6 {
		t.Errorf("the host's offset is %d", off)
	}
}

func TestDonatedNull(t *testing.T) {
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	d := donate(t, fd)
	defer d.DecRef()
	if n, err := d.Write(root, []byte("abc")); n != 3 || err != nil {
		t.Error(n, err)
	}
	if n, err := d.Read(root, make([]byte, 3)); n != 0 || err != nil {
		t.Error(n, err)
	}
	// It cannot be polled by epoll, but whoever waits must not wait forever.
	ch := waiter.NewChannel()
	e := waiter.Entry{Mask: waiter.In, Listener: ch}
	d.Register(&e)
	expect(t, ch)
	d.Unregister(&e)
	if name := d.Inode.(vfs.LinkNamer).LinkName(); name != "/dev/null" {
		t.Error(name)
	}
	if _, err := d.File.Ioctl(root, unix.TCGETS, 0); err != unix.ENOTTY {
		t.Error(err)
	}
}

// memory is a Caller whose memory is one buffer at address 0.
type memory struct {
	vfs.Caller
	b []byte
}

func (m memory) CopyIn(addr uint64, dst []byte) (int, error) {
	if addr > uint64(len(m.b)) || copy(dst, m.b[addr:]) < len(dst) {
		return 0, unix.EFAULT
	}
	return len(dst), nil
}

func (m memory) CopyOut(addr uint64, src []byte) (int, error) {
	if addr > uint64(len(m.b)) || copy(m.b[addr:], src) < len(src) {
		return 0, unix.EFAULT
	}
	return len(src), nil
}

func TestDonatedTerminal(t *testing.T) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no terminal to be had: ", err)
	}
	defer unix.Close(master)
	must(t, unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	must(t, err)
	slave, err := unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	must(t, err)
	d := donate(t, slave)
	defer d.DecRef()
	buf := make([]byte, 100)
	if _, err := d.Read(root, buf); err != unix.EAGAIN {
		t.Fatalf("read of nothing: %v", err)
	}
	unix.Write(master, []byte("line\n"))
	if n, err := d.Read(root, buf); string(buf[:n]) != "line\n" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if n, err := d.Write(root, []byte("out")); n != 3 || err != nil {
		t.Error(n, err)
	}
	shown := ""
	for !strings.HasSuffix(shown, "out") { // the echo comes first
		n, err := unix.Read(master, buf)
		must(t, err)
		shown += string(buf[:n])
	}
	must(t, unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}))
	m := memory{root, make([]byte, 64)}
	if _, err := d.File.Ioctl(m, unix.TIOCGWINSZ, 8); err != nil || m.b[8] != 24 || m.b[10] != 80 {
		t.Error(m.b[8:16], err)
	}
	for _, cmd := range []uint32{unix.TIOCSTI, unix.TIOCGPGRP, unix.TIOCSCTTY, 0xdeadbeef} {
		if _, err := d.File.Ioctl(m, cmd, 0); err != unix.ENOTTY {
			t.Errorf("ioctl %#x: %v", cmd, err)
		}
	}
	if _, err := d.File.Ioctl(m, unix.TCSETS, 60); err != unix.EFAULT {
		t.Error(err)
	}
}

// FuzzTTYIoctl: whatever is asked, nothing but a listed request reaches the
// host, and nothing panics.
func FuzzTTYIoctl(f *testing.F) {
	for cmd := range ttyCalls {
		f.Add(cmd, uint64(0), []byte("0123456789012345678901234567890123456789012345"))
	}
	r, _ := pipe(f)
	d := donate(f, r)
	f.Fuzz(func(t *testing.T, cmd uint32, arg uint64, mem []byte) {
		d.File.Ioctl(memory{root, mem}, cmd, arg)
	})
}

func BenchmarkDonatedPipe(b *testing.B) {
	r, w := pipe(b)
	rd, wr := donate(b, r), donate(b, w)
	buf := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wr.Write(root, buf); err != nil {
			b.Fatal(err)
		}
		if _, err := rd.Read(root, buf); err != nil {
			b.Fatal(err)
		}
	}
}
