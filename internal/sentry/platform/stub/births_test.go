package stub

import (
	"runtime"
	"testing"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// TestBirthsNear has forks begin late at times, and counts those that are near then.
func TestBirthsNear(t *testing.T) {
	var b births
	count := func() (n int) {
		for b.near() {
			n++
		}
		return n
	}
	want := func(when string, n int) {
		t.Helper()
		if got := count(); got != n {
			t.Errorf("%s %d forks are near, not %d", when, got, n)
		}
	}
	want("at first", 0)
	b.late()
	want("after a late one", birthsNear)
	b.late()
	want("after another one", 2*birthsNear)
	for range 20 {
		count()
		b.late()
	}
	b.late() // it changes nothing while they are near
	want("after many", birthsNearMax)
	for range 4 * birthsNearMax {
		want("as none is late", 0)
	}
	b.late()
	want("after a late one again", birthsNear)
}

// TestForkNear forks near the parent, and looks where parent and child may run.
func TestForkNear(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("there is one processor only")
	}
	s := newStubs(t)
	may := func(th *Thread) (set unix.CPUSet) {
		if err := unix.SchedGetaffinity(th.TID(), &set); err != nil {
			t.Fatal(err)
		}
		return set
	}
	th := newGuest(t, s, []byte{0x0f, 0x05}) // syscall
	defer th.Release()
	th.regs.Rip = guestCode
	all := may(th)
	s.births.late()
	child, err := th.Fork()
	if err != nil {
		t.Fatal(err)
	}
	defer child.Release()
	if n := may(th); n != all {
		t.Errorf("the parent may run on %d processors afterwards", n.Count())
	}
	if n := may(child); n.Count() != 1 {
		t.Errorf("the child begins on %d processors", n.Count())
	}
	if ev, there := switchTo(child); !there || ev.Kind != platform.EventSyscall {
		t.Fatalf("the child is there: %v, %+v", there, ev)
	}
	if n := may(child); n != all {
		t.Errorf("the child may run on %d processors then", n.Count())
	}
}

// TestLateBirth has a forked thread begin late, and another one in time.
func TestLateBirth(t *testing.T) {
	for _, late := range []bool{false, true} {
		s := newStubs(t)
		if s.spin.late == 0 {
			t.Skip("there is one processor only")
		}
		th := newGuest(t, s, []byte{0x0f, 0x05})
		defer th.Release()
		th.regs.Rip = guestCode
		child, err := th.Fork()
		if err != nil {
			t.Fatal(err)
		}
		defer child.Release()
		child.forked = 1 << 62
		if late {
			child.forked = 1
		}
		if _, there := switchTo(child); !there {
			t.Fatal("the child is gone")
		}
		if near := s.births.near(); near != late {
			t.Errorf("after a birth that is late, %v, the next is near: %v", late, near)
		}
	}
}
