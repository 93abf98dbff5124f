package kernel

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestPIDTable(t *testing.T) {
	var table pidTable
	want := map[int32]*pid{}
	random := rand.New(rand.NewPCG(1, 2))
	check := func(from int32) {
		t.Helper()
		var got []*pid
		table.after(from, func(p *pid) bool {
			got = append(got, p)
			return true
		})
		var numbers []int32
		for _, n := range slices.Sorted(maps.Keys(want)) {
			if n > from {
				numbers = append(numbers, n)
			}
		}
		if !slices.EqualFunc(got, numbers, func(p *pid, n int32) bool { return p == want[n] }) {
			t.Fatalf("after %d there are %d, want %d", from, len(got), len(numbers))
		}
	}
	for range 2000 {
		// Mostly neighbours, and the ends of leaves and branches.
		n := []int32{random.Int32N(300), 1<<leafBits - random.Int32N(3), 1<<(leafBits+branchBits) - random.Int32N(3),
			PIDMax - 1 - random.Int32N(3), random.Int32N(PIDMax)}[random.IntN(5)]
		if p := table.get(n); p != want[n] {
			t.Fatalf("%d is %v, want %v", n, p, want[n])
		} else if p == nil {
			want[n] = new(pid)
			table.add(n, want[n])
		} else {
			delete(want, n)
			table.remove(n)
		}
		if table.count != len(want) {
			t.Fatalf("there are %d, want %d", table.count, len(want))
		}
		check(n)
	}
	check(0)
	check(PIDMax - 1)
	for _, n := range []int32{-1, PIDMax, math.MaxInt32, math.MinInt32} {
		if table.get(n) != nil {
			t.Errorf("something goes by %d", n)
		}
	}
	visited := 0
	table.after(0, func(*pid) bool { visited++; return false })
	if visited != 1 {
		t.Errorf("visited %d after the end was asked for", visited)
	}
	for n := range want {
		table.remove(n)
	}
	for i, b := range table.branches {
		if b != nil {
			t.Errorf("branch %d is left of an empty table", i)
		}
	}
}
