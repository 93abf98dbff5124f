package mm_test

import (
	"math/rand"
	"testing"

	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/mm/mmtest"

	"golang.org/x/sys/unix"
)

// TestAgainstPageMap makes random changes and compares the books and the fake
// host with a naive map of pages.
func TestAgainstPageMap(t *testing.T) {
	const base, pages = 0x10000000, 64
	for seed := int64(1); seed <= 20; seed++ {
		rnd := rand.New(rand.NewSource(seed))
		m, ctx := newMM(nil)
		model := map[uint64]int32{}
		for step := range 300 {
			start := uint64(rnd.Intn(pages))
			n := uint64(1 + rnd.Intn(pages/4))
			addr := base + start*page
			prot := []int32{none, r, rw, rx}[rnd.Intn(4)]
			switch rnd.Intn(5) {
			case 0, 1:
				mustMap(t, m, ctx, addr, n*page, prot, fixed)
				for i := range n {
					model[start+i] = prot
				}
			case 2:
				if err := m.MUnmap(ctx, addr, n*page); err != nil {
					t.Fatal(err)
				}
				for i := range n {
					delete(model, start+i)
				}
			case 3:
				err := m.MProtect(ctx, addr, n*page, prot)
				for i := range n {
					if _, ok := model[start+i]; !ok {
						if err != unix.ENOMEM {
							t.Fatalf("seed %d step %d: mprotect over a hole: %v", seed, step, err)
						}
						break
					}
					model[start+i] = prot
				}
			case 4:
				to := uint64(rnd.Intn(pages))
				size := uint64(1 + rnd.Intn(8))
				if start < to+size && to < start+size {
					continue
				}
				_, err := m.MRemap(ctx, mm.MRemapArgs{Addr: addr, Length: size * page, NewLength: size * page,
					Flags: unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED, NewAddr: base + to*page})
				if err == unix.EFAULT {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				for i := range size {
					p, ok := model[start+i]
					if !ok {
						t.Fatalf("seed %d step %d: a hole was moved", seed, step)
					}
					delete(model, start+i)
					model[to+i] = p
				}
			}
			ctx.Flush()
			compare(t, m, ctx, model, base)
			if t.Failed() {
				t.Fatalf("seed %d step %d", seed, step)
			}
		}
	}
}

// compare checks books, host and model against each other.
func compare(t *testing.T, m *mm.MemoryManager, ctx *mmtest.Context, model map[uint64]int32, base uint64) {
	t.Helper()
	books := map[uint64]int32{}
	var end uint64
	var last mm.Region
	for _, r := range m.Regions() {
		if r.Start < end || r.Start >= r.End {
			t.Errorf("%#x-%#x is out of order", r.Start, r.End)
		}
		if r.Start == end && !r.Special && r.Prot == last.Prot && r.NoReserve == last.NoReserve {
			t.Errorf("%#x-%#x was not merged with its neighbour", r.Start, r.End)
		}
		end, last = r.End, r
		for a := r.Start; !r.Special && a < r.End; a += page {
			books[(a-base)/page] = r.Prot
		}
	}
	if len(books) != len(model) || len(ctx.Space.Pages) != len(model) {
		t.Errorf("%d pages in the books, %d on the host, %d in the model", len(books), len(ctx.Space.Pages), len(model))
	}
	size := uint64(0)
	for n, prot := range model {
		size += page
		if p, ok := books[n]; !ok || p != prot {
			t.Errorf("page %d is %d (%v) in the books, want %d", n, p, ok, prot)
		}
		if p := ctx.Space.Pages[base/page+n]; p == nil || p.Prot != prot {
			t.Errorf("page %d is %+v on the host, want prot %d", n, p != nil, prot)
		}
	}
	vdso := mmtest.Limits.VDSOEnd - mmtest.Limits.VVAR
	if got := m.Totals().Size; got != size+vdso {
		t.Errorf("VmSize is %d, want %d", got, size+vdso)
	}
}
