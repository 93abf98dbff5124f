package mm_test

import (
	"math/rand"
	"testing"

	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/trap"

	"golang.org/x/sys/unix"
)

// hostMM returns an address space of a real stub.
func hostMM(t *testing.T, l limits) (*mm.MemoryManager, platform.Context, platform.Platform) {
	t.Helper()
	p, err := trap.New()
	if err != nil {
		t.Skip("no trap platform here:", err)
	}
	t.Cleanup(p.Close)
	as, ctx, err := p.NewAddressSpace()
	if err != nil {
		t.Fatal(err)
	}
	return mm.New(as, p.Limits(), l, false), ctx, p
}

// TestOnHost makes random changes to a real stub, and probes every page.
func TestOnHost(t *testing.T) {
	const base, pages = 0x10000000, 32
	m, ctx, _ := hostMM(t, nil)
	rnd := rand.New(rand.NewSource(1))
	model := map[uint64]int32{}
	for step := range 150 {
		start, n := uint64(rnd.Intn(pages)), uint64(1+rnd.Intn(8))
		addr := base + start*page
		prot := []int32{none, r, rw, rx}[rnd.Intn(4)]
		switch rnd.Intn(4) {
		case 0:
			mustMap(t, m, ctx, addr, n*page, prot, fixed)
			for i := range n {
				model[start+i] = prot
			}
		case 1:
			if err := m.MUnmap(ctx, addr, n*page); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				delete(model, start+i)
			}
		case 2:
			m.MProtect(ctx, addr, n*page, prot)
			for i := range n {
				if _, ok := model[start+i]; !ok {
					break
				}
				model[start+i] = prot
			}
		case 3:
			to := uint64(rnd.Intn(pages))
			if start < to+n && to < start+n {
				continue
			}
			_, err := m.MRemap(ctx, mm.MRemapArgs{Addr: addr, Length: n * page, NewLength: n * page,
				Flags: unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED, NewAddr: base + to*page})
			if err != nil {
				continue // several mappings, in the books or on the host
			}
			for i := range n {
				model[to+i] = model[start+i]
				delete(model, start+i)
			}
		}
		if err := ctx.Flush(); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		for i := range uint64(pages + 8) {
			prot, mapped := model[i]
			var b [1]byte
			_, err := ctx.CopyIn(base+i*page, b[:])
			if readable := mapped && prot&r != 0; readable != (err == nil) {
				t.Fatalf("step %d: reading page %d of prot %d (%v): %v", step, i, prot, mapped, err)
			}
			_, err = ctx.CopyOut(base+i*page, b[:])
			if writable := prot&unix.PROT_WRITE != 0; writable != (err == nil) {
				t.Fatalf("step %d: writing page %d of prot %d (%v): %v", step, i, prot, mapped, err)
			}
		}
	}
	m.DecRef()
	ctx.Release()
}

func TestForkOnHost(t *testing.T) {
	const private, shared, dont, wipe = 0x10000000, 0x10100000, 0x10200000, 0x10300000
	m, ctx, _ := hostMM(t, nil)
	for _, a := range []uint64{private, dont, wipe} {
		mustMap(t, m, ctx, a, page, rw, fixed)
	}
	mustMap(t, m, ctx, shared, page, rw, uint32(unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_FIXED))
	for addr, advice := range map[uint64]int32{dont: unix.MADV_DONTFORK, wipe: unix.MADV_WIPEONFORK} {
		if err := m.Madvise(ctx, addr, page, advice); err != nil {
			t.Fatal(err)
		}
	}
	if err := ctx.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, a := range []uint64{private, shared, dont, wipe} {
		if _, err := ctx.CopyOut(a, []byte("parent")); err != nil {
			t.Fatal(err)
		}
	}
	c, childCtx, err := m.Fork(ctx, limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []uint64{private, shared} {
		if _, err := ctx.CopyOut(a, []byte("later!")); err != nil {
			t.Fatal(err)
		}
	}
	for addr, want := range map[uint64]string{private: "parent", shared: "later!", wipe: "\x00\x00\x00\x00\x00\x00"} {
		got := make([]byte, 6)
		if _, err := childCtx.CopyIn(addr, got); err != nil || string(got) != want {
			t.Errorf("at %#x the child has %q, %v; want %q", addr, got, err, want)
		}
	}
	if _, err := childCtx.CopyIn(dont, make([]byte, 1)); err != unix.EFAULT {
		t.Errorf("what was not to be forked: %v", err)
	}
	c.DecRef()
	childCtx.Release()
	m.DecRef()
	ctx.Release()
}

func TestExecInPlaceOnHost(t *testing.T) {
	const addr = 0x10000000
	m, ctx, p := hostMM(t, nil)
	mustMap(t, m, ctx, addr, page, rw, fixed)
	far := mustMap(t, m, ctx, 0, page, rw, anon)
	if err := ctx.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := ctx.CopyOut(addr, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	fresh, newCtx, reused, err := mm.Exec(p, m, ctx, limits{}, false)
	if err != nil || !reused || newCtx != ctx {
		t.Fatalf("reused %v, %v", reused, err)
	}
	mustMap(t, fresh, ctx, addr, page, rw, fixed)
	if err := ctx.Flush(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if _, err := ctx.CopyIn(addr, got); err != nil || string(got) != "\x00\x00\x00\x00\x00\x00" {
		t.Errorf("the new program finds %q, %v", got, err)
	}
	if _, err := ctx.CopyIn(far, got); err != unix.EFAULT {
		t.Errorf("the old program's mapping is still there: %v", err)
	}
	if n, err := m.ReadRemote(addr, got); err != unix.EFAULT {
		t.Errorf("the old books still read: %d, %v", n, err)
	}
	fresh.Retire()
	m, ctx = fresh, newCtx
	if fresh, newCtx, reused, err = mm.Exec(p, m, ctx, limits{}, false); err != nil || reused || newCtx == ctx {
		t.Fatalf("after Retire: reused %v, %v", reused, err)
	}
	ctx.Release()
	ctx = newCtx
	mustMap(t, fresh, ctx, addr, page, rw, fixed)
	if err := ctx.Flush(); err != nil {
		t.Fatal(err)
	}
	// Shared with a parent in vfork(2), it must not be emptied.
	fresh.IncRef()
	other, otherCtx, reused, err := mm.Exec(p, fresh, ctx, limits{}, false)
	if err != nil || reused {
		t.Fatalf("reused %v, %v", reused, err)
	}
	if _, err := ctx.CopyIn(addr, got); err != nil {
		t.Errorf("the parent's memory: %v", err)
	}
	other.DecRef()
	otherCtx.Release()
	fresh.DecRef()
	ctx.Release()
}
