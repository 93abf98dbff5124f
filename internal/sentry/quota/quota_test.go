package quota

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
)

func TestCount(t *testing.T) {
	var c Count
	if c.Take(0) {
		t.Error("one of none was taken")
	}
	for i := range 3 {
		if !c.Take(3) {
			t.Errorf("number %d of 3 was refused", i)
		}
	}
	if c.Take(3) || c.Used() != 3 {
		t.Errorf("%d of 3 are taken", c.Used())
	}
	if c.Take(2) || c.Used() != 3 {
		t.Errorf("%d are taken after the limit has sunk", c.Used())
	}
	if c.Add(-2) != 1 || !c.Take(2) || c.Take(2) {
		t.Errorf("%d of 2 are taken", c.Used())
	}
	if c.TakeMany(2, 3) || !c.TakeMany(2, 4) || c.Used() != 4 || c.TakeMany(-1, 10) || c.TakeMany(math.MaxInt64, ^uint64(0)) {
		t.Errorf("taking several: %d are taken", c.Used())
	}
	if !c.Take(^uint64(0)) {
		t.Error("no limit is a limit")
	}
}

// TestCountTogether has many take at once: never more than the limit.
func TestCountTogether(t *testing.T) {
	var c Count
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if c.Take(500) {
					got.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got.Load() != 500 || c.Used() != 500 {
		t.Errorf("%d were given out and %d are in use of 500", got.Load(), c.Used())
	}
}
