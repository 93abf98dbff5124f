package stub

import (
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// idle is the inflow where nothing comes.
func idle() bool { return false }

// TestInflow: while much comes from the host a thread that takes much has both its sides go to one
// processor, though no other is at work, and who reads leaves that.
func TestInflow(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("there is one processor only")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, c := range []struct {
		name             string
		size             int
		much             bool
		solo             uint32
		together, leaves bool
	}{
		{"much for a thread that takes much", 128 << 10, true, soloOff, true, true},
		{"much in solo", 128 << 10, true, soloOn, true, false},
		{"much for others", 1 << 10, true, soloOff, false, false},
		{"little", 128 << 10, false, soloOff, false, false},
	} {
		s, threads := atWork(1)
		s.inflow.inBulk = func() bool { return c.much }
		s.solo.state = c.solo // without a holder
		th := threads[0]
		th.page.stubCPU = cpu()
		th.page.sentryCPU = th.page.stubCPU + 1
		th.moves(slices.Repeat([]int{c.size}, 20))
		th.takeFloor()
		full, _ := th.budget(&th.patience)
		th.beforeSleep()
		if full == c.together || th.placement.pinned != c.together {
			t.Errorf("%s: want together %v: spins %v, together %v", c.name, c.together, full, th.placement.pinned)
		}
		at := th.stubCPU()
		th.Rest()
		// The test's thread is the reader's now.
		free, bound := everywhere(), unix.CPUSet{}
		bound.Set(int(at))
		if err := unix.SchedSetaffinity(0, &bound); err != nil {
			t.Fatal(err)
		}
		s.stepAside()
		if n, _ := processors(t, at); (n > 1) != c.leaves {
			t.Errorf("%s: who reads may run on %d processors, want to have left %v", c.name, n, c.leaves)
		}
		unix.SchedSetaffinity(0, &free)
	}
}
