package inotify

import (
	"encoding/binary"
	"strings"
	"testing"

	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/quota"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func place(t *testing.T) vfs.Path {
	p, err := vfs.Nameless(anon.New("test:", unix.S_IFDIR|0700, anon.AnonDev, nil))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func instance(t *testing.T) *Instance {
	d, err := New(unix.IN_NONBLOCK, new(quota.Count), new(quota.Count))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.DecRef)
	return d.File.(*Instance)
}

// next reads one record.
func next(t *testing.T, in *Instance) record {
	t.Helper()
	size := headerSize
	in.mu.Lock()
	if len(in.events) > 0 {
		size = in.events[0].size()
	}
	in.mu.Unlock()
	p := make([]byte, size)
	n, err := in.Read(nil, p, 0)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if int(le.Uint32(p[12:])) != n-headerSize {
		t.Errorf("a name of %d bytes in a record of %d", le.Uint32(p[12:]), n)
	}
	return record{int32(le.Uint32(p)), le.Uint32(p[4:]), le.Uint32(p[8:]), strings.TrimRight(string(p[headerSize:n]), "\x00")}
}

func TestEvents(t *testing.T) {
	in := instance(t)
	p := place(t)
	p.IncRef()
	wd, err := in.Add(p, unix.IN_CREATE|unix.IN_MOVED_FROM)
	if err != nil || wd != 1 {
		t.Fatal(wd, err)
	}
	w := in.byWD[wd]
	w.HandleEvent(vfs.Event{Mask: unix.IN_DELETE, Name: "not asked for"})
	w.HandleEvent(vfs.Event{Mask: unix.IN_CREATE | unix.IN_ISDIR, Name: "dir"})
	w.HandleEvent(vfs.Event{Mask: unix.IN_CREATE | unix.IN_ISDIR, Name: "dir"})
	w.HandleEvent(vfs.Event{Mask: unix.IN_MOVED_FROM, Cookie: 9, Name: strings.Repeat("n", 16)})
	if _, err := in.Read(nil, make([]byte, 31), 0); err != unix.EINVAL {
		t.Errorf("too short a buffer: %v", err)
	}
	for _, want := range []record{
		{wd, unix.IN_CREATE | unix.IN_ISDIR, 0, "dir"},
		{wd, unix.IN_MOVED_FROM, 9, strings.Repeat("n", 16)},
	} {
		if got := next(t, in); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if _, err := in.Read(nil, make([]byte, 100), 0); err != unix.EAGAIN {
		t.Errorf("empty: %v", err)
	}

	p.IncRef()
	if _, err := in.Add(p, unix.IN_ACCESS|unix.IN_MASK_CREATE); err != unix.EEXIST {
		t.Errorf("IN_MASK_CREATE: %v", err)
	}
	p.IncRef()
	if again, err := in.Add(p, unix.IN_ACCESS|unix.IN_MASK_ADD); again != wd || err != nil || w.mask != unix.IN_CREATE|unix.IN_MOVED_FROM|unix.IN_ACCESS {
		t.Errorf("IN_MASK_ADD: %d %v %#x", again, err, w.mask)
	}
	if again, err := in.Add(p, unix.IN_DELETE_SELF); again != wd || err != nil || w.mask != unix.IN_DELETE_SELF {
		t.Errorf("replaced: %d %v %#x", again, err, w.mask)
	}
	w.HandleEvent(vfs.Event{Mask: unix.IN_DELETE_SELF})
	if got := next(t, in); got.mask != unix.IN_DELETE_SELF {
		t.Errorf("got %+v", got)
	}
	if got := next(t, in); got.mask != unix.IN_IGNORED || got.wd != wd {
		t.Errorf("got %+v", got)
	}
	if err := in.Remove(wd); err != unix.EINVAL {
		t.Errorf("removed twice: %v", err)
	}
}

func TestOneshotAndUnlinked(t *testing.T) {
	in := instance(t)
	wd, _ := in.Add(place(t), unix.IN_MODIFY|unix.IN_ONESHOT|unix.IN_EXCL_UNLINK)
	w := in.byWD[wd]
	w.HandleEvent(vfs.Event{Mask: unix.IN_MODIFY, Name: "gone", Unlinked: true})
	w.HandleEvent(vfs.Event{Mask: unix.IN_MODIFY, Name: "there"})
	w.HandleEvent(vfs.Event{Mask: unix.IN_MODIFY, Name: "late"})
	if got := next(t, in); got.name != "there" {
		t.Errorf("got %+v", got)
	}
	if got := next(t, in); got.mask != unix.IN_IGNORED {
		t.Errorf("got %+v", got)
	}
	if len(in.events) != 0 || len(in.byWD) != 0 {
		t.Error("a one-shot watch lives on")
	}
}

func TestOverflow(t *testing.T) {
	in := instance(t)
	wd, _ := in.Add(place(t), unix.IN_ALL_EVENTS)
	w := in.byWD[wd]
	for i := range MaxQueued + 100 {
		w.HandleEvent(vfs.Event{Mask: unix.IN_MODIFY, Cookie: uint32(i)})
	}
	if n := len(in.events); n != MaxQueued+1 || in.events[n-1] != (record{wd: -1, mask: unix.IN_Q_OVERFLOW}) {
		t.Errorf("%d records, the last %+v", n, in.events[n-1])
	}
}

// TestLimits checks what a user's instances and watches are counted as.
func TestLimits(t *testing.T) {
	var instances, watches quota.Count
	instances.Add(MaxInstances - 1)
	watches.Add(MaxWatches - 2)
	d, err := New(0, &instances, &watches)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(0, &instances, &watches); err != unix.EMFILE {
		t.Errorf("one instance more: %v", err)
	}
	in := d.File.(*Instance)
	wd, err := in.Add(place(t), unix.IN_OPEN)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Add(place(t), unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Add(place(t), unix.IN_OPEN); err != unix.ENOSPC {
		t.Errorf("one watch more: %v", err)
	}
	if err := in.Remove(wd); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Add(place(t), unix.IN_OPEN); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
	d.DecRef()
	if instances.Used() != MaxInstances-1 || watches.Used() != MaxWatches-2 {
		t.Errorf("at the end %d instances and %d watches are counted", instances.Used(), watches.Used())
	}
}
