package epoll

import (
	"encoding/binary"
	"sync"
	"testing"

	"coffer/internal/sentry/fs/eventfd"
	"coffer/internal/sentry/fs/pipefs"
	"coffer/internal/sentry/quota"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

func newSet(t testing.TB) (*vfs.FileDescription, *Set) {
	d := New(new(quota.Count))
	s := d.File.(*Set)
	t.Cleanup(func() {
		d.DecRef()
		s.readyMu.Lock()
		defer s.readyMu.Unlock()
		if s.nready != 0 || len(s.items) != 0 {
			t.Errorf("a released set holds %d ready of %d items", s.nready, len(s.items))
		}
	})
	return d, s
}

func collect(s *Set) []Event {
	out := make([]Event, 16)
	return out[:s.Collect(out)]
}

var one = binary.LittleEndian.AppendUint64(nil, 1)

func TestTriggers(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags uint32
		// what the first, the second (nothing done between) and the third
		// (after another write) collection find
		first, second, third int
	}{
		{"level", 0, 1, 1, 1},
		{"edge", unix.EPOLLET, 1, 0, 1},
		{"oneshot", unix.EPOLLONESHOT, 1, 0, 0},
		{"exclusive", unix.EPOLLEXCLUSIVE, 1, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			self, s := newSet(t)
			e := eventfd.New(0, 0)
			defer e.DecRef()
			if err := s.Control(self, unix.EPOLL_CTL_ADD, 3, e, unix.EPOLLIN|c.flags, 42); err != nil {
				t.Fatal(err)
			}
			if n := len(collect(s)); n != 0 {
				t.Errorf("%d events before any", n)
			}
			e.Write(nil, one)
			got := collect(s)
			if len(got) != c.first || got[0] != (Event{unix.EPOLLIN, 42}) {
				t.Errorf("first: %v", got)
			}
			if got := collect(s); len(got) != c.second {
				t.Errorf("second: %v", got)
			}
			e.Write(nil, one)
			if got := collect(s); len(got) != c.third {
				t.Errorf("third: %v", got)
			}
			if c.flags == unix.EPOLLONESHOT {
				if err := s.Control(self, unix.EPOLL_CTL_MOD, 3, e, unix.EPOLLIN, 43); err != nil {
					t.Fatal(err)
				}
				if got := collect(s); len(got) != 1 || got[0].Data != 43 {
					t.Errorf("armed again: %v", got)
				}
			}
			e.Read(nil, make([]byte, 8))
			if got := collect(s); len(got) != 0 {
				t.Errorf("after reading: %v", got)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	self, s := newSet(t)
	e := eventfd.New(0, 0)
	defer e.DecRef()
	other := New(new(quota.Count))
	defer other.DecRef()
	for _, c := range []struct {
		name   string
		op     int32
		d      *vfs.FileDescription
		events uint32
		want   error
	}{
		{"mod of what is not there", unix.EPOLL_CTL_MOD, e, unix.EPOLLIN, unix.ENOENT},
		{"del of what is not there", unix.EPOLL_CTL_DEL, e, 0, unix.ENOENT},
		{"itself", unix.EPOLL_CTL_ADD, self, unix.EPOLLIN, unix.EINVAL},
		{"bad operation", 9, e, 0, unix.EINVAL},
		{"exclusive set", unix.EPOLL_CTL_ADD, other, unix.EPOLLEXCLUSIVE, unix.EINVAL},
		{"exclusive one-shot", unix.EPOLL_CTL_ADD, e, unix.EPOLLEXCLUSIVE | unix.EPOLLONESHOT, unix.EINVAL},
		{"add", unix.EPOLL_CTL_ADD, e, unix.EPOLLEXCLUSIVE, nil},
		{"add again", unix.EPOLL_CTL_ADD, e, unix.EPOLLIN, unix.EEXIST},
		{"mod of an exclusive one", unix.EPOLL_CTL_MOD, e, unix.EPOLLIN, unix.EINVAL},
		{"del", unix.EPOLL_CTL_DEL, e, 0, nil},
		{"del again", unix.EPOLL_CTL_DEL, e, 0, unix.ENOENT},
	} {
		if err := s.Control(self, c.op, 3, c.d, c.events, 0); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestNesting(t *testing.T) {
	var d []*vfs.FileDescription
	for range 7 {
		x, _ := newSet(t)
		d = append(d, x)
	}
	add := func(outer, inner int) error {
		return d[outer].File.(*Set).Control(d[outer], unix.EPOLL_CTL_ADD, int32(inner), d[inner], unix.EPOLLIN, uint64(inner))
	}
	for i := range 4 {
		if err := add(i, i+1); err != nil {
			t.Fatalf("set %d in set %d: %v", i+1, i, err)
		}
	}
	if err := add(4, 0); err != unix.ELOOP {
		t.Errorf("circle: %v", err)
	}
	if err := add(4, 5); err != unix.ELOOP {
		t.Errorf("a chain of six: %v", err)
	}
	e := eventfd.New(1, 0)
	defer e.DecRef()
	ch := waiter.NewChannel()
	w := waiter.Entry{Mask: waiter.In, Listener: ch}
	d[0].Register(&w)
	defer d[0].Unregister(&w)
	if err := d[4].File.(*Set).Control(d[4], unix.EPOLL_CTL_ADD, 9, e, unix.EPOLLIN, 9); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ch:
	default:
		t.Error("the outermost set was not woken")
	}
	if got := collect(d[0].File.(*Set)); len(got) != 1 || got[0].Data != 1 {
		t.Errorf("outermost: %v", got)
	}
	e.Read(nil, make([]byte, 8))
	if got := collect(d[0].File.(*Set)); len(got) != 0 {
		t.Errorf("outermost, after the read: %v", got)
	}
}

func TestClosedDescriptionLeaves(t *testing.T) {
	self, s := newSet(t)
	for range 3 {
		r, w := pipefs.New(nil, 0)
		if err := s.Control(self, unix.EPOLL_CTL_ADD, 3, r, unix.EPOLLIN, 0); err != nil {
			t.Fatal(err)
		}
		w.DecRef()
		if got := collect(s); len(got) != 1 || got[0].Events != unix.EPOLLHUP {
			t.Errorf("writer gone: %v", got)
		}
		r.DecRef()
		if got := collect(s); len(got) != 0 || len(s.items) != 0 {
			t.Errorf("a closed description is still there: %v", got)
		}
	}
	attached.Lock()
	defer attached.Unlock()
	if len(attached.by) != 0 {
		t.Errorf("%d descriptions remembered", len(attached.by))
	}
}

// TestConcurrent changes, closes and collects at once; the race detector and
// a lock-up are what it looks for.
func TestConcurrent(t *testing.T) {
	self, s := newSet(t)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					collect(s)
					s.Readiness(waiter.In)
				}
			}
		})
	}
	var changers sync.WaitGroup
	for i := range 3 {
		changers.Go(func() {
			for n := range 2000 {
				e := eventfd.New(0, 0)
				s.Control(self, unix.EPOLL_CTL_ADD, int32(i), e, unix.EPOLLIN|unix.EPOLLET, 0)
				e.Write(nil, one)
				switch n % 3 {
				case 0:
					s.Control(self, unix.EPOLL_CTL_DEL, int32(i), e, 0, 0)
				case 1:
					s.Control(self, unix.EPOLL_CTL_MOD, int32(i), e, unix.EPOLLOUT, 0)
				}
				e.DecRef()
			}
		})
	}
	changers.Wait()
	close(stop)
	wg.Wait()
}

// TestNoLostEvent has a writer and a reader hand one count to and fro.
func TestNoLostEvent(t *testing.T) {
	self, s := newSet(t)
	e := eventfd.New(0, 0)
	defer e.DecRef()
	s.Control(self, unix.EPOLL_CTL_ADD, 1, e, unix.EPOLLIN|unix.EPOLLET, 0)
	ch := waiter.NewChannel()
	w := waiter.Entry{Mask: waiter.In, Listener: ch}
	s.Register(&w)
	defer s.Unregister(&w)
	done := make(chan struct{})
	go func() {
		for range 20000 {
			e.Write(nil, one)
			<-done
		}
	}()
	out, buf := make([]Event, 1), make([]byte, 8)
	for range 20000 {
		for s.Collect(out) == 0 {
			<-ch
		}
		e.Read(nil, buf)
		done <- struct{}{}
	}
}

func BenchmarkWriteWaitRead(b *testing.B) {
	self, s := newSet(b)
	e := eventfd.New(0, 0)
	defer e.DecRef()
	s.Control(self, unix.EPOLL_CTL_ADD, 1, e, unix.EPOLLIN, 0)
	out, buf := make([]Event, 8), make([]byte, 8)
	b.ReportAllocs()
	for b.Loop() {
		e.Write(nil, one)
		if s.Collect(out) != 1 {
			b.Fatal("no event")
		}
		e.Read(nil, buf)
	}
}

// TestLimit checks that what a user has in sets is counted, until it is taken
// out, closed, or its set is.
func TestLimit(t *testing.T) {
	var watches quota.Count
	watches.Add(MaxWatches - 2)
	self := New(&watches)
	s := self.File.(*Set)
	add := func(d *vfs.FileDescription) error { return s.Control(self, unix.EPOLL_CTL_ADD, 3, d, unix.EPOLLIN, 0) }
	a, b, c := eventfd.New(0, 0), eventfd.New(0, 0), eventfd.New(0, 0)
	defer a.DecRef()
	defer c.DecRef()
	for _, d := range []*vfs.FileDescription{a, b} {
		if err := add(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(a); err != unix.EEXIST {
		t.Errorf("the same again: %v", err)
	}
	if err := add(c); err != unix.ENOSPC {
		t.Errorf("one more: %v", err)
	}
	b.DecRef()
	if err := add(c); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
	if err := s.Control(self, unix.EPOLL_CTL_DEL, 3, a, 0, 0); err != nil || watches.Used() != MaxWatches-1 {
		t.Errorf("%v, %d are counted", err, watches.Used())
	}
	self.DecRef()
	if watches.Used() != MaxWatches-2 {
		t.Errorf("at the end %d are counted", watches.Used())
	}
}
