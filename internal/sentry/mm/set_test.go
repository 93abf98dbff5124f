package mm

import (
	"math/rand"
	"slices"
	"testing"
)

// TestHoles compares the search for room with a scan of all holes.
func TestHoles(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for range 300 {
		var s vmaSet
		var all []*vma
		for at := uint64(stackGuard + PageSize); len(all) < 40; {
			at += uint64(rnd.Intn(6)) * PageSize
			v := &vma{start: at, end: at + uint64(1+rnd.Intn(4))*PageSize}
			if rnd.Intn(10) == 0 {
				v.flags = flagGrowsDown
			}
			all = append(all, v)
			at = v.end
		}
		for _, i := range rnd.Perm(len(all)) {
			s.insert(all[i])
		}
		for range 5 {
			i := rnd.Intn(len(all))
			s.remove(all[i])
			all = slices.Delete(all, i, i+1)
		}
		top := all[len(all)-1].end + 5*PageSize
		lo, hi := uint64(rnd.Intn(20))*PageSize, top-uint64(rnd.Intn(20))*PageSize
		size := uint64(1+rnd.Intn(8)) * PageSize
		align := uint64(PageSize) << rnd.Intn(3)
		var fits []uint64
		for a := lo &^ (align - 1); a+size <= hi; a += align {
			// Only the guard gap of the next mapping counts, as on Linux.
			free := true
			for i := len(all) - 1; i >= 0 && all[i].end > a; i-- {
				free = all[i].guardStart() >= a+size
			}
			if free != s.free(a, a+size) {
				t.Fatalf("free(%#x) is not %v", a, free)
			}
			free = free && a >= lo
			if free {
				fits = append(fits, a)
			}
		}
		high, okHigh := s.highestHole(lo, hi, size, align)
		low, okLow := s.lowestHole(lo, hi, size, align)
		if okHigh != (len(fits) > 0) || okLow != okHigh {
			t.Fatalf("found %v and %v, want %v", okHigh, okLow, len(fits) > 0)
		}
		if okHigh && (high != fits[len(fits)-1] || low != fits[0]) {
			t.Fatalf("found %#x and %#x, want %#x and %#x", high, low, fits[len(fits)-1], fits[0])
		}
	}
}

// depth is the longest way down.
func (v *vma) depth() int {
	if v == nil {
		return 0
	}
	return 1 + max(v.left.depth(), v.right.depth())
}

func TestDepth(t *testing.T) {
	s := bigSet(100_000)
	// The expected depth of a random treap of this size is about 40.
	if d := s.root.depth(); d > 80 {
		t.Errorf("100,000 mappings are %d deep", d)
	}
}

// bigSet holds n mappings of one page with a hole of one page between.
func bigSet(n int) *vmaSet {
	s := new(vmaSet)
	for i := range uint64(n) {
		s.insert(&vma{start: 2 * i * PageSize, end: (2*i + 1) * PageSize})
	}
	return s
}

func BenchmarkFind100k(b *testing.B) {
	s := bigSet(100_000)
	i := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % 100_000
		if s.find(2*i*PageSize+5) == nil {
			b.Fatal("lost a mapping")
		}
	}
}

func BenchmarkHole100k(b *testing.B) {
	s := bigSet(100_000)
	for b.Loop() {
		if _, ok := s.highestHole(0, 150_000*PageSize, 2*PageSize, PageSize); ok {
			b.Fatal("found a hole that is not there")
		}
	}
}

// TestRemovedLeadsNowhere: a mapping that was taken out does not keep others in memory, which
// may be gone since, while its own stays with those that a fork copied together.
func TestRemovedLeadsNowhere(t *testing.T) {
	var s vmaSet
	var all []*vma
	for i := range uint64(100) {
		all = append(all, &vma{start: i * PageSize, end: (i + 1) * PageSize})
		s.insert(all[i])
	}
	for _, v := range all[:99] {
		s.remove(v)
		if v.left != nil || v.right != nil {
			t.Fatalf("the mapping at %#x leads to others", v.start)
		}
	}
}
