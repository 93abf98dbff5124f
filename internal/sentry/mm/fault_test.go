package mm_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestStackGrowth(t *testing.T) {
	const top = 0x40000000
	m, ctx := newMM(limits{unix.RLIMIT_STACK: 8 << 20})
	mustMap(t, m, ctx, top-page, page, rw, fixed|unix.MAP_GROWSDOWN)
	ctx.Flush()
	if m.HandleFault(ctx, top-9<<20, unix.PROT_WRITE) {
		t.Error("grown beyond RLIMIT_STACK")
	}
	if m.HandleFault(ctx, top-2*page, unix.PROT_EXEC) {
		t.Error("grown for an access that the stack does not allow")
	}
	if !m.HandleFault(ctx, top-100*page, unix.PROT_WRITE) {
		t.Fatal("not grown")
	}
	if n, err := ctx.CopyOut(top-100*page, make([]byte, 100*page)); err != nil {
		t.Errorf("after growing: %d, %v", n, err)
	}
	if !m.HandleFault(ctx, top-50*page, unix.PROT_WRITE) {
		t.Error("a fault that another thread resolved was not made again")
	}
	if m.HandleFault(ctx, top+page, unix.PROT_WRITE) {
		t.Error("a fault above the stack was handled")
	}
}

func TestStackGuard(t *testing.T) {
	const top = 0x40000000
	m, ctx := newMM(limits{unix.RLIMIT_STACK: 8 << 20})
	mustMap(t, m, ctx, top-page, page, rw, fixed|unix.MAP_GROWSDOWN)
	// Nothing is placed in the gap by a hint, but MAP_FIXED may.
	if got := mustMap(t, m, ctx, top-4*page, page, rw, anon); got == top-4*page {
		t.Error("a hint was placed in the guard gap")
	}
	mustMap(t, m, ctx, top-300*page, page, rw, fixed)
	if m.HandleFault(ctx, top-50*page, unix.PROT_WRITE) {
		t.Error("grown into the guard gap of a neighbour")
	}
	if !m.HandleFault(ctx, top-40*page, unix.PROT_WRITE) {
		t.Error("not grown up to the guard gap")
	}
}

func TestCheckRange(t *testing.T) {
	const base = 0x10000000
	m, ctx := newMM(limits{unix.RLIMIT_STACK: 1 << 20})
	mustMap(t, m, ctx, base, page, rw, fixed)
	mustMap(t, m, ctx, base+page, page, r, fixed)
	mustMap(t, m, ctx, base+10<<20, page, rw, fixed|unix.MAP_GROWSDOWN)
	for _, c := range []struct {
		name    string
		addr, n uint64
		write   bool
		want    error
	}{
		{"both for reading", base, 2 * page, false, nil},
		{"both for writing", base, page + 1, true, unix.EFAULT},
		{"one for writing", base, page, true, nil},
		{"past the end", base + page, page + 1, false, unix.EFAULT},
		{"nothing of nothing", 0, 0, true, nil},
		{"wraps", base, ^uint64(0), false, unix.EFAULT},
		{"below the stack", base + 10<<20 - 4*page, 5 * page, true, nil},
		{"within the gap", base + 10<<20 - 4*page, page, true, nil},
		{"too far below", base + 8<<20, page, true, unix.EFAULT},
	} {
		if err := m.CheckRange(c.addr, c.n, c.write); err != c.want {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}
