package inet

import (
	"bytes"
	"testing"

	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
)

// memory is a guest's memory that ends behind b. during runs while it is copied.
type memory struct {
	b      []byte
	during func()
}

func (m *memory) CopyIn(p []byte) (int, error)  { return m.move(p, p, m.b) }
func (m *memory) CopyOut(p []byte) (int, error) { return m.move(p, m.b, p) }

func (m *memory) Fill(n int, fill func(p []byte) int) bool {
	if n > len(m.b) {
		return false
	}
	m.b = m.b[fill(m.b[:n]):]
	return true
}

func (m *memory) move(p, to, from []byte) (int, error) {
	if m.during != nil {
		m.during()
		m.during = nil
	}
	n := copy(to, from)
	if m.b = m.b[n:]; n < len(p) {
		return n, unix.EFAULT
	}
	return n, nil
}

// TestDirectWhileItEnds has the connection end, in each way, while bytes are copied to it:
// they have not been sent, and what Send says is told.
func TestDirectWhileItEnds(t *testing.T) {
	nothingHeld(t)
	p := make([]byte, 100<<10)
	for name, end := range map[string]func(x, y *Socket){
		"the other end is closed": func(_, y *Socket) { y.Release() },
		"nothing is to be sent":   func(x, _ *Socket) { x.Shutdown(unix.SHUT_WR) },
		"it is reset":             func(_, y *Socket) { y.depart(y.ep.Load(), true); y.Release() },
	} {
		t.Run(name, func(t *testing.T) {
			x, y := newNet().pair(t, true)
			n, ok, err := x.SendFrom(&memory{b: p, during: func() { end(x, y) }}, len(p), 0)
			if n != 0 || ok || err != nil {
				t.Errorf("%d bytes, %t, %v: it is sent to nobody", n, ok, err)
			}
			if x.Release(); name == "nothing is to be sent" {
				y.Release()
			}
		})
	}
}

// TestDirectWhileGivenUp has a socket give up its connection while it receives.
func TestDirectWhileGivenUp(t *testing.T) {
	nothingHeld(t)
	x, y := newNet().pair(t, true)
	sent := bytes.Repeat([]byte("0123456789"), 10000)
	if _, err := (stream{x}).Write(sent); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(sent))
	n, ok, err := y.RecvTo(&memory{b: got, during: func() { y.depart(y.ep.Load(), true) }}, len(got), 0)
	if !ok || err != nil || n == 0 || !bytes.Equal(got[:n], sent[:n]) {
		t.Errorf("%d bytes, %t, %v", n, ok, err)
	}
	y.Release()
	x.Release()
}

// TestDirectFaults has memory end in the midst of a copy: what was copied is moved, and no
// byte is lost.
func TestDirectFaults(t *testing.T) {
	nothingHeld(t)
	x, y := newNet().pair(t, true)
	sent := bytes.Repeat([]byte("0123456789"), 10000)
	n, ok, err := x.SendFrom(&memory{b: sent}, len(sent)+1000, 0)
	if n != len(sent) || !ok || err != unix.EFAULT {
		t.Errorf("%d of %d bytes are sent, %t, %v", n, len(sent), ok, err)
	}
	if n, ok, err = x.SendFrom(&memory{}, 5000, 0); n != 0 || !ok || err != unix.EFAULT {
		t.Errorf("%d bytes are sent of none, %t, %v", n, ok, err)
	}
	got := make([]byte, len(sent))
	n, ok, err = y.RecvTo(&memory{b: got[:30001]}, len(got), 0)
	if n != 30001 || !ok || err != unix.EFAULT {
		t.Errorf("%d bytes have come, %t, %v", n, ok, err)
	}
	n, ok, err = y.RecvTo(&memory{b: got[30001:]}, len(got), 0)
	if n != len(sent)-30001 || !ok || err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes have come then, %t, %v", n, ok, err)
	}
	if n, ok, err = y.RecvTo(&memory{}, len(got), 0); n != 0 || !ok || err != unix.EAGAIN {
		t.Errorf("%d bytes of none have come, %t, %v", n, ok, err)
	}
	x.Release()
	if n, ok, err = y.RecvTo(&memory{}, len(got), 0); n != 0 || !ok || err != nil {
		t.Errorf("%d bytes at the end, %t, %v", n, ok, err)
	}
	y.Release()
}

// fill sends p by x until there is no room, and returns how many bytes that were.
func fill(t *testing.T, x *Socket, p []byte) (total int) {
	t.Helper()
	for {
		n, ok, err := x.SendFrom(&memory{b: p}, len(p), 0)
		if total += n; err == unix.EAGAIN && ok && n == 0 {
			return total
		}
		if !ok || err != nil {
			t.Fatalf("%d bytes, %t, %v", n, ok, err)
		}
	}
}

// TestDirectRoom fills a flow until there is no room, and checks when there is some again.
func TestDirectRoom(t *testing.T) {
	nothingHeld(t)
	x, y := newNet().pair(t, true)
	p := make([]byte, directMax)
	total := fill(t, x, p)
	if total != 2*nearBuffer {
		t.Errorf("there was room for %d bytes, not %d", total, 2*nearBuffer)
	}
	if n, ok, err := y.RecvTo(&memory{b: p}, len(p), 0); n != total || !ok || err != nil {
		t.Errorf("%d bytes have come, %t, %v", n, ok, err)
	}
	if n, ok, err := x.SendFrom(&memory{b: p}, 1, 0); n != 1 || !ok || err != nil {
		t.Errorf("%d bytes are sent then, %t, %v", n, ok, err)
	}
	x.Release()
	y.Release()
}

// TestDirectUrgent checks that urgent bytes are left to who knows them.
func TestDirectUrgent(t *testing.T) {
	nothingHeld(t)
	x, y := newNet().pair(t, true)
	if _, ok, _ := x.SendFrom(&memory{b: make([]byte, 5000)}, 5000, unix.MSG_OOB); ok {
		t.Error("an urgent byte was sent like others")
	}
	if _, err := x.Send(root, []byte("ab!"), &socket.Message{Flags: unix.MSG_OOB}); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 5000)
	if n, ok, err := y.RecvTo(&memory{b: p}, len(p), 0); n != 0 || ok || err != nil {
		t.Errorf("%d bytes were received past the mark, %t, %v", n, ok, err)
	}
	if n, err := y.Recv(p, &socket.Message{}); n != 2 || err != nil {
		t.Errorf("%d bytes come before the mark, %v", n, err)
	}
	x.Release()
	y.Release()
}

// TestDirectScarce fills a flow while there is little memory for all of them.
func TestDirectScarce(t *testing.T) {
	nothingHeld(t)
	x, y := newNet().pair(t, true)
	shmem.Buffers.SetLimit(2*shmem.Buffers.Used() + 4*scarceBuffer)
	defer shmem.Buffers.SetLimit(0)
	total := fill(t, x, make([]byte, directPiece))
	if total < 2*scarceBuffer || total >= 2*nearBuffer {
		t.Errorf("there was room for %d bytes", total)
	}
	x.Release()
	y.Release()
}
