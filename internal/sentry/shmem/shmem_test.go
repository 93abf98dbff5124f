package shmem

import (
	"math"
	"sync"
	"testing"
)

func TestAccount(t *testing.T) {
	var a Account
	if !a.Charge(math.MaxInt64) || a.Charge(1) {
		t.Error("an account without limit is full, or overflows")
	}
	a.Uncharge(math.MaxInt64)
	if a.Charge(-1) {
		t.Error("a negative number of bytes is taken")
	}
	a.SetLimit(100)
	for _, c := range []struct {
		take int64
		ok   bool
		used int64
	}{
		{100, true, 100}, {1, false, 100}, {-100, true, 0}, {101, false, 0}, {math.MaxInt64, false, 0},
		{60, true, 60}, {41, false, 60}, {40, true, 100},
	} {
		ok := true
		if c.take < 0 {
			a.Uncharge(-c.take)
		} else {
			ok = a.Charge(c.take)
		}
		if ok != c.ok || a.Used() != c.used || a.Room() != 100-c.used {
			t.Errorf("taking %d: %t, %d used, %d left; want %t, %d", c.take, ok, a.Used(), a.Room(), c.ok, c.used)
		}
	}
	a.Uncharge(-50) // the host gave it
	if a.Used() != 150 || a.Room() != 0 || a.Charge(1) {
		t.Errorf("beyond the limit: %d used, %d left", a.Used(), a.Room())
	}
	a.Uncharge(51)
	if !a.Charge(1) {
		t.Error("what was given back cannot be taken")
	}
}

// TestTogether has many take at once: never more than there is.
func TestTogether(t *testing.T) {
	var a Account
	a.SetLimit(1000)
	var wg sync.WaitGroup
	got := make([]int64, 8)
	for i := range got {
		wg.Go(func() {
			for range 1000 {
				if a.Charge(3) {
					got[i] += 3
				}
			}
		})
	}
	wg.Wait()
	var sum int64
	for _, n := range got {
		sum += n
	}
	if sum != 999 || a.Used() != 999 {
		t.Errorf("%d taken, %d counted, want 999", sum, a.Used())
	}
}

func TestShare(t *testing.T) {
	for memory, want := range map[uint64]int64{0: 0, 32 << 20: 24 << 20, 1 << 40: 3 << 38, math.MaxUint64: math.MaxInt64} {
		if got := Share(memory); got != want {
			t.Errorf("of %d bytes: %d, want %d", memory, got, want)
		}
	}
}

func BenchmarkCharge(b *testing.B) {
	var a Account
	a.SetLimit(1 << 40)
	for b.Loop() {
		a.Charge(4096)
		a.Uncharge(4096)
	}
}
