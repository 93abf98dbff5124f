package signalfd

import (
	"encoding/binary"
	"testing"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

type task struct {
	vfs.Caller
	pending []abi.Siginfo
}

func (t *task) TakeSignal(set abi.SignalSet) (abi.Siginfo, bool) {
	for i, s := range t.pending {
		if set.Has(s.Signo) {
			t.pending = append(t.pending[:i:i], t.pending[i+1:]...)
			return s, true
		}
	}
	return abi.Siginfo{}, false
}

func (t *task) PendingSignals() (set abi.SignalSet) {
	for _, s := range t.pending {
		set.Add(s.Signo)
	}
	return set
}

func TestRead(t *testing.T) {
	child := abi.Siginfo{Signo: int32(unix.SIGCHLD), Code: 1}
	child.SetPID(42)
	child.SetStatus(3)
	queued := abi.Siginfo{Signo: int32(unix.SIGUSR1), Code: -1}
	queued.SetPID(7)
	queued.SetValue(0x1122334455667788)
	src := &task{pending: []abi.Siginfo{{Signo: int32(unix.SIGUSR2)}, child, queued}}
	d := New(abi.SetOf(unix.SIGCHLD, unix.SIGUSR1, unix.SIGKILL), src, new(waiter.Queue), 0)
	defer d.DecRef()
	if m := d.Readiness(waiter.In); m != waiter.In {
		t.Errorf("readiness %#x", m)
	}
	if _, err := d.Read(src, make([]byte, infoSize-1)); err != unix.EINVAL {
		t.Errorf("short buffer: %v", err)
	}
	b := make([]byte, 3*infoSize+5)
	n, err := d.Read(src, b)
	if n != 2*infoSize || err != nil {
		t.Fatal(n, err)
	}
	le := binary.LittleEndian
	if le.Uint32(b) != uint32(unix.SIGCHLD) || le.Uint32(b[12:]) != 42 || le.Uint32(b[40:]) != 3 {
		t.Errorf("SIGCHLD: %x", b[:infoSize])
	}
	if c := b[infoSize:]; le.Uint32(c[12:]) != 7 || le.Uint64(c[48:]) != 0x1122334455667788 || le.Uint32(c[44:]) != 0x55667788 {
		t.Errorf("queued: %x", c[:infoSize])
	}
	if _, err := d.Read(src, b); err != unix.EAGAIN {
		t.Errorf("nothing left: %v", err)
	}
	d.File.(*File).SetMask(abi.SetOf(unix.SIGUSR2))
	if m := d.Readiness(waiter.In); m != waiter.In {
		t.Error("after a change of mask: not readable")
	}
}
