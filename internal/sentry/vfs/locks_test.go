package vfs_test

import (
	"math"
	"testing"

	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func openFile(w *world, path string) *vfs.FileDescription {
	w.Helper()
	d, err := w.ns.OpenAt(root, w.at, path, vfs.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o600})
	w.must(err)
	return d
}

func TestRecordLocks(t *testing.T) {
	w := newWorld(t)
	d := openFile(w, "/f")
	a, b := vfs.NewFDTable(), vfs.NewFDTable()
	l := vfs.LocksOf(d)
	defer l.Release()
	const end = math.MaxInt64
	for i, s := range []struct {
		owner      *vfs.FDTable
		typ        int16
		start, end int64
		want       string
	}{
		{a, unix.F_WRLCK, 0, 9, "ok"},
		{b, unix.F_WRLCK, 9, 9, "EAGAIN"},
		{b, unix.F_RDLCK, 5, end, "EAGAIN"},
		{b, unix.F_WRLCK, 10, 19, "ok"},
		{a, unix.F_UNLCK, 3, 5, "ok"}, // leaves 0-2 and 6-9
		{b, unix.F_WRLCK, 3, 5, "ok"},
		{b, unix.F_WRLCK, 2, 5, "EAGAIN"},
		{a, unix.F_RDLCK, 6, 9, "ok"}, // converts
		{b, unix.F_RDLCK, 7, 7, "ok"},
		{a, unix.F_WRLCK, 7, 8, "EAGAIN"},
		{a, unix.F_WRLCK, 20, end, "ok"},
		{b, unix.F_RDLCK, end, end, "EAGAIN"},
		{a, unix.F_UNLCK, 0, end, "ok"},
		{b, unix.F_WRLCK, 0, end, "ok"},
	} {
		err := l.Set(d, &vfs.RecordRequest{Lock: vfs.RecordLock{Type: s.typ, Start: s.start, End: s.end}, Owner: s.owner})
		if got := errno(err); got != s.want {
			t.Fatalf("step %d: %s, want %s", i, got, s.want)
		}
	}
	if n := len(vfs.AllLocks()); n != 1 {
		t.Errorf("b's locks are %d, want one that covers all", n)
	}
	got := l.Get(&vfs.RecordRequest{Lock: vfs.RecordLock{Type: unix.F_RDLCK, Start: 4, End: 4}, Owner: a})
	if got.Type != unix.F_WRLCK || got.Start != 0 || got.End != end {
		t.Errorf("GETLK: %+v", got)
	}
	w.must(b.Close(root, d))
}

// TestCloseDropsRecordLocks: any close of the file by the process does, even
// of another descriptor; the lock's waiters hear of it.
func TestCloseDropsRecordLocks(t *testing.T) {
	w := newWorld(t)
	table := vfs.NewFDTable()
	d1, d2 := openFile(w, "/f"), openFile(w, "/f")
	fd1, err := table.Install(d1, 0, 10, false)
	w.must(err)
	fd2, err := table.Install(d2, 0, 10, false)
	w.must(err)
	d1.DecRef()
	d2.DecRef()
	l := vfs.LocksOf(d1)
	ch := waiter.NewChannel()
	e := waiter.Entry{Mask: waiter.In, Listener: ch}
	lock := vfs.RecordLock{Type: unix.F_WRLCK, End: math.MaxInt64}
	w.must(l.Set(d1, &vfs.RecordRequest{Lock: lock, Owner: table}))
	l.Register(&e)
	w.must(table.Close(root, table.Remove(fd2)))
	select {
	case <-ch:
	default:
		t.Error("no event")
	}
	l.Unregister(&e)
	if n := len(vfs.AllLocks()); n != 0 {
		t.Errorf("%d locks left", n)
	}
	// The description's own go with it.
	w.must(l.Set(d1, &vfs.RecordRequest{Lock: lock, Owner: d1}))
	w.must(l.Flock(d1, unix.LOCK_EX))
	l.Release()
	if n := len(vfs.AllLocks()); n != 2 {
		t.Errorf("%d locks, want 2", n)
	}
	w.must(table.Close(root, table.Remove(fd1)))
	if n := len(vfs.AllLocks()); n != 0 {
		t.Errorf("%d locks left", n)
	}
}

func TestDeadlock(t *testing.T) {
	w := newWorld(t)
	d := openFile(w, "/f")
	defer d.DecRef()
	l := vfs.LocksOf(d)
	defer l.Release()
	tables := []*vfs.FDTable{vfs.NewFDTable(), vfs.NewFDTable(), vfs.NewFDTable()}
	request := func(i, byte int, wait bool) *vfs.RecordRequest {
		return &vfs.RecordRequest{
			Lock:  vfs.RecordLock{Type: unix.F_WRLCK, Start: int64(byte), End: int64(byte)},
			Owner: tables[i], Wait: wait,
		}
	}
	for i := range tables {
		w.must(l.Set(d, request(i, i, false)))
	}
	waits := []*vfs.RecordRequest{request(0, 1, true), request(1, 2, true)}
	for _, r := range waits {
		if err := l.Set(d, r); err != unix.EAGAIN {
			t.Fatalf("first waits: %v", err)
		}
	}
	if err := l.Set(d, request(2, 0, true)); err != unix.EDEADLK {
		t.Errorf("closing the circle: %v", err)
	}
	l.Done(waits[0])
	last := request(2, 0, true)
	if err := l.Set(d, last); err != unix.EAGAIN {
		t.Errorf("after one gave up: %v", err)
	}
	l.Done(last)
	l.Done(waits[1])
	for _, tb := range tables {
		l.Set(d, &vfs.RecordRequest{Lock: vfs.RecordLock{Type: unix.F_UNLCK, End: math.MaxInt64}, Owner: tb})
	}
}

func TestFlock(t *testing.T) {
	w := newWorld(t)
	a, b := openFile(w, "/f"), openFile(w, "/f")
	l := vfs.LocksOf(a)
	defer l.Release()
	for i, s := range []struct {
		d    *vfs.FileDescription
		how  int
		want string
	}{
		{a, unix.LOCK_SH, "ok"}, {b, unix.LOCK_SH, "ok"}, {b, unix.LOCK_EX, "EAGAIN"},
		// b's shared lock was given up for the exclusive one.
		{a, unix.LOCK_EX, "ok"}, {a, unix.LOCK_EX, "ok"}, {b, unix.LOCK_SH, "EAGAIN"},
		{a, unix.LOCK_UN, "ok"}, {b, unix.LOCK_EX, "ok"}, {b, unix.LOCK_UN, "ok"}, {b, unix.LOCK_UN, "ok"},
	} {
		if got := errno(l.Flock(s.d, s.how)); got != s.want {
			t.Fatalf("step %d: %s, want %s", i, got, s.want)
		}
	}
	a.DecRef()
	b.DecRef()
}

// TestRecordLockLimits checks that there is an end to locks, also to those that
// come from giving up the middle of others.
func TestRecordLockLimits(t *testing.T) {
	w := newWorld(t)
	f, g := openFile(w, "/f"), openFile(w, "/g")
	owner := vfs.NewFDTable()
	onF, onG := vfs.LocksOf(f), vfs.LocksOf(g)
	defer onF.Release()
	defer onG.Release()
	vfs.LimitRecordLocks(t, 3, 4)
	const end = math.MaxInt64
	for i, s := range []struct {
		on         *vfs.Locks
		typ        int16
		start, end int64
		want       string
	}{
		{onF, unix.F_WRLCK, 0, end, "ok"},
		{onF, unix.F_UNLCK, 10, 10, "ok"},
		{onF, unix.F_UNLCK, 20, 20, "ok"}, // three on f
		{onF, unix.F_UNLCK, 30, 30, "ENOLCK"},
		{onF, unix.F_RDLCK, 30, 30, "ENOLCK"},
		{onF, unix.F_UNLCK, 21, 30, "ok"}, // only shorter
		{onG, unix.F_WRLCK, 0, 9, "ok"},   // four on both
		{onG, unix.F_WRLCK, 20, 29, "ENOLCK"},
		{onG, unix.F_UNLCK, 5, 5, "ENOLCK"},
		{onF, unix.F_UNLCK, 0, end, "ok"},
		{onG, unix.F_UNLCK, 5, 5, "ok"},
		{onG, unix.F_UNLCK, 0, end, "ok"},
	} {
		d := f
		if s.on == onG {
			d = g
		}
		err := s.on.Set(d, &vfs.RecordRequest{Lock: vfs.RecordLock{Type: s.typ, Start: s.start, End: s.end}, Owner: owner})
		if got := errno(err); got != s.want {
			t.Errorf("step %d: %s, want %s", i, got, s.want)
		}
	}
	w.must(owner.Close(root, f))
	w.must(owner.Close(root, g))
}
