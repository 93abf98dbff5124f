package eventfd

import (
	"encoding/binary"
	"testing"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func TestCounter(t *testing.T) {
	d := New(0, 0)
	defer d.DecRef()
	b := make([]byte, 8)
	if _, err := d.Read(nil, b); err != unix.EAGAIN {
		t.Errorf("read of 0: %v", err)
	}
	if m := d.Readiness(waiter.In | waiter.Out); m != waiter.Out {
		t.Errorf("readiness at 0: %#x", m)
	}
	for _, v := range []uint64{3, most - 3} {
		if n, err := d.Write(nil, u64(v)); n != 8 || err != nil {
			t.Fatal(n, err)
		}
	}
	if m := d.Readiness(waiter.In | waiter.Out); m != waiter.In {
		t.Errorf("readiness at the top: %#x", m)
	}
	for _, c := range []struct {
		p    []byte
		want error
	}{{u64(1), unix.EAGAIN}, {u64(1<<64 - 1), unix.EINVAL}, {make([]byte, 7), unix.EINVAL}} {
		if _, err := d.Write(nil, c.p); err != c.want {
			t.Errorf("write %x: %v, want %v", c.p, err, c.want)
		}
	}
	if n, err := d.Read(nil, b); n != 8 || err != nil || binary.LittleEndian.Uint64(b) != most {
		t.Errorf("read: %d %v %x", n, err, b)
	}
}

func TestSemaphore(t *testing.T) {
	d := New(2, unix.EFD_SEMAPHORE)
	defer d.DecRef()
	b := make([]byte, 8)
	for range 2 {
		if _, err := d.Read(nil, b); err != nil || binary.LittleEndian.Uint64(b) != 1 {
			t.Errorf("read: %v %x", err, b)
		}
	}
	if _, err := d.Read(nil, b); err != unix.EAGAIN {
		t.Errorf("third read: %v", err)
	}
}
