package stub

import (
	"runtime"
	"slices"
	"testing"
)

// moves has t move so many bytes in its turns.
func (t *Thread) moves(sizes []int) {
	for _, n := range sizes {
		t.bulk.moved = n
		t.bulk.turn()
	}
}

// TestBulk: a thread that moves much at each call, and others at work, does not spin: both its
// sides go to one processor, until it waits for something else.
func TestBulk(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("there is one processor only")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, c := range []struct {
		name  string
		sizes []int
		want  bool
	}{
		{"no turn", nil, false},
		{"one of 128 KiB", []int{128 << 10}, false},
		{"several of 128 KiB, each after one of nothing", slices.Repeat([]int{0, 128 << 10}, 3), true},
		{"many of 32 KiB", slices.Repeat([]int{32 << 10}, 20), true},
		{"many of 4 KiB", slices.Repeat([]int{4 << 10}, 1000), false},
		{"many of 1 MiB", slices.Repeat([]int{1 << 20}, 1000), false},
		{"of 128 KiB, then of 1 KiB", append(slices.Repeat([]int{128 << 10}, 100), slices.Repeat([]int{1 << 10}, 20)...), false},
	} {
		s, threads := atWork(2)
		th := threads[0]
		th.page.stubCPU = cpu()
		th.page.sentryCPU = th.page.stubCPU + 1
		th.moves(c.sizes)
		th.takeFloor()
		full, _ := th.budget(&th.patience)
		th.beforeSleep()
		if full == c.want || th.placement.pinned != c.want {
			t.Errorf("%s: in bulk %v, want %v: spins %v, together %v", c.name, th.inBulk(), c.want, full, th.placement.pinned)
		}
		for range shortsToPart {
			th.afterSleep(1)
		}
		if th.placement.pinned != c.want {
			t.Errorf("%s: together %v after short answers", c.name, th.placement.pinned)
		}
		s.working.Store(1)
		th.takeFloor()
		if full, _ := th.budget(&th.patience); !full || th.inBulk() {
			t.Errorf("%s: alone it spins %v", c.name, full)
		}
		s.working.Store(2)
		th.Rest()
		if th.inBulk() || th.placement.pinned {
			t.Errorf("%s: in bulk %v, together %v after another wait", c.name, th.inBulk(), th.placement.pinned)
		}
	}
}

// TestBulkCounts: all ways to copy count.
func TestBulkCounts(t *testing.T) {
	s := newStubs(t)
	th, err := s.NewThread()
	if err != nil {
		t.Fatal(err)
	}
	defer th.Release()
	room(t, th, 1<<20)
	b := make([]byte, 64<<10)
	want := func(how string, n int) {
		t.Helper()
		if th.bulk.moved != n {
			t.Errorf("%s: %d bytes, want %d", how, th.bulk.moved, n)
		}
		th.bulk.moved = 0
	}
	if _, err := th.CopyIn(guestData, b); err != nil {
		t.Fatal(err)
	}
	want("in", len(b))
	if _, err := th.CopyOut(guestData, b); err != nil {
		t.Fatal(err)
	}
	want("out", len(b))
	// What is more than the window takes goes by the host.
	for _, n := range []int{1 << 10, len(b)} {
		if err := th.CopyOutLate(guestData, b[:n]); err != nil {
			t.Fatal(err)
		}
		want("out late", n)
	}
	if !th.FillLate(guestData, 1<<10, func(p []byte) int { return len(p) }) {
		t.Fatal("there is no room to fill")
	}
	want("filled", 1<<10)
	th.Settle()
	// What the stub says it has brought counts once.
	th.arrived = th.batch.Load()
	th.page.brought, th.page.broughtAt = 8<<10, guestData
	th.takeFetched()
	want("brought", 8<<10)
	if _, err := th.CopyIn(guestData, b[:8<<10]); err != nil {
		t.Fatal(err)
	}
	want("read where it was brought", 0)
}
