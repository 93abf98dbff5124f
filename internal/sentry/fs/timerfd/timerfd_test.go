package timerfd

import (
	"encoding/binary"
	"math"
	"testing"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func TestExpirations(t *testing.T) {
	d := New(unix.CLOCK_MONOTONIC, 0)
	defer d.DecRef()
	f := d.File.(*File)
	b := make([]byte, 8)
	if _, err := d.Read(nil, b); err != unix.EAGAIN {
		t.Errorf("not armed: %v", err)
	}
	// An absolute time in the past: a known number of intervals has passed.
	now := f.now()
	const interval = int64(1e12)
	f.Set(unix.TFD_TIMER_ABSTIME, Setting{max(now-3*interval, 1), interval})
	want := (f.now()-f.next)/interval + 1
	if m := d.Readiness(waiter.In | waiter.Out); m != waiter.In {
		t.Errorf("expired: readiness %#x", m)
	}
	if n, err := d.Read(nil, b); n != 8 || err != nil || int64(binary.LittleEndian.Uint64(b)) != want {
		t.Errorf("read %d %v %x, want a count of %d", n, err, b, want)
	}
	if _, err := d.Read(nil, b); err != unix.EAGAIN {
		t.Errorf("read again: %v", err)
	}
	if s := f.Get(); s.Interval != interval || s.Value <= 0 || s.Value > interval {
		t.Errorf("Get: %+v", s)
	}
	if old := f.Set(0, Setting{}); old.Interval != interval {
		t.Errorf("old setting: %+v", old)
	}
	if s := f.Get(); s != (Setting{}) {
		t.Errorf("disarmed: %+v", s)
	}
}

func TestWakes(t *testing.T) {
	for _, clock := range []int32{unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME, unix.CLOCK_BOOTTIME_ALARM} {
		d := New(clock, 0)
		f := d.File.(*File)
		ch := waiter.NewChannel()
		e := waiter.Entry{Mask: waiter.In, Listener: ch}
		d.Register(&e)
		b := make([]byte, 8)
		f.Set(0, Setting{Value: 1e6, Interval: 1e6})
		for range 3 {
			for {
				if _, err := d.Read(nil, b); err == nil {
					break
				}
				<-ch
			}
		}
		d.Unregister(&e)
		d.DecRef()
	}
}

func TestFarFuture(t *testing.T) {
	d := New(unix.CLOCK_REALTIME, 0)
	defer d.DecRef()
	d.File.(*File).Set(0, Setting{Value: math.MaxInt64})
	if m := d.Readiness(waiter.In); m != 0 {
		t.Error("a timer of 292 years has expired")
	}
}
