package mm_test

import (
	"maps"
	"math/rand"
	"sync"
	"testing"

	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/mm/mmtest"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// forked is a process of a test's: its books, its host and what should be mapped.
type forked struct {
	m     *mm.MemoryManager
	ctx   *mmtest.Context
	model map[uint64]int32
}

// TestForksAgainstPageMap makes random changes in processes that fork and end, and compares
// the books of all after each.
func TestForksAgainstPageMap(t *testing.T) {
	const base, pages = 0x10000000, 48
	for seed := int64(1); seed <= 20; seed++ {
		rnd := rand.New(rand.NewSource(seed))
		m, ctx := newMM(nil)
		all := []*forked{{m, ctx, map[uint64]int32{}}}
		for step := range 200 {
			at := rnd.Intn(len(all))
			p := all[at]
			start, n := uint64(rnd.Intn(pages)), uint64(1+rnd.Intn(pages/4))
			addr, prot := base+start*page, []int32{none, r, rw}[rnd.Intn(3)]
			switch rnd.Intn(6) {
			case 0, 1:
				mustMap(t, p.m, p.ctx, addr, n*page, prot, fixed)
				for i := range n {
					p.model[start+i] = prot
				}
			case 2:
				if err := p.m.MUnmap(p.ctx, addr, n*page); err != nil {
					t.Fatal(err)
				}
				for i := range n {
					delete(p.model, start+i)
				}
			case 3:
				if p.m.MProtect(p.ctx, addr, page, prot) == nil {
					p.model[start] = prot
				}
			case 4:
				if len(all) == 6 {
					continue
				}
				m, c, err := p.m.Fork(p.ctx, limits{})
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, &forked{m, c.(*mmtest.Context), maps.Clone(p.model)})
			case 5:
				if len(all) > 1 {
					p.m.DecRef()
					all = append(all[:at], all[at+1:]...)
				}
			}
			for _, p := range all {
				p.ctx.Flush()
				compare(t, p.m, p.ctx, p.model, base)
			}
			if t.Failed() {
				t.Fatalf("seed %d step %d", seed, step)
			}
		}
	}
}

// TestForksAtOnce has processes that were forked from each other change and end at the same
// time.
func TestForksAtOnce(t *testing.T) {
	const base, children = 0x10000000, 4
	m, ctx := newMM(nil)
	file := &countedFile{}
	f := vfs.NewDescription(file, nil, vfs.Path{}, unix.O_RDONLY)
	for i := range uint64(100) {
		mustMap(t, m, ctx, base+2*i*page, page, rw, fixed)
	}
	if _, err := m.MMap(ctx, mm.MMapArgs{Addr: base + 400*page, Length: page, Prot: r,
		Flags: unix.MAP_PRIVATE | unix.MAP_FIXED, File: f}); err != nil {
		t.Fatal(err)
	}
	ctx.Flush()
	for range 50 {
		var wg sync.WaitGroup
		for i := range uint64(children) {
			c, forked, err := m.Fork(ctx, limits{})
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				defer c.DecRef()
				if i%2 == 0 {
					return
				}
				if err := c.MUnmap(forked, base+2*i*page, page); err != nil {
					t.Error(err)
				}
				if n := len(regions(c)); n != 100 {
					t.Errorf("a child has %d mappings", n)
				}
			})
		}
		if err := m.MProtect(ctx, base, page, r); err != nil {
			t.Error(err)
		}
		if err := m.MProtect(ctx, base, page, rw); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if n := len(regions(m)); n != 101 {
			t.Fatalf("the parent has %d mappings", n)
		}
	}
	f.DecRef()
	if file.released != 0 {
		t.Error("a mapped file was released")
	}
	m.DecRef()
	if n := file.released; n != 1 {
		t.Errorf("the file was released %d times", n)
	}
}

// countedFile is a file that can be mapped and counts its releases.
type countedFile struct {
	textFile
	released int
}

func (f *countedFile) Release() { f.released++ }

// regions are the guest's own mappings.
func regions(m *mm.MemoryManager) (own []mm.Region) {
	all := m.Regions()
	defer mm.ReleaseRegions(all)
	for _, r := range all {
		if !r.Special {
			own = append(own, r)
		}
	}
	return own
}

// TestForkCopiesNothing: a child that ends costs no copy of what is mapped.
func TestForkCopiesNothing(t *testing.T) {
	forks := func(mapped int) float64 {
		m, ctx := newMM(nil)
		for i := range mapped {
			mustMap(t, m, ctx, 0x10000000+2*uint64(i)*page, page, rw, fixed)
		}
		ctx.Flush()
		clear(ctx.Space.Pages)
		return testing.AllocsPerRun(20, func() {
			c, _, err := m.Fork(ctx, limits{})
			if err != nil {
				t.Fatal(err)
			}
			c.DecRef()
		})
	}
	if few, many := forks(1), forks(5000); many != few {
		t.Errorf("%v allocations with 5000 mappings, %v with one", many, few)
	}
}

func BenchmarkFork(b *testing.B) {
	m, ctx := newMM(nil)
	ctx.Space.Discard = true
	for i := range uint64(10000) {
		m.MMap(ctx, mm.MMapArgs{Addr: 0x10000000 + 2*i*page, Length: page, Prot: rw, Flags: fixed})
	}
	b.ReportAllocs()
	for b.Loop() {
		c, _, err := m.Fork(ctx, limits{})
		if err != nil {
			b.Fatal(err)
		}
		c.DecRef()
	}
}
