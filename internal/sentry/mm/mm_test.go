package mm_test

import (
	"math/rand"
	"strings"
	"testing"

	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/mm/mmtest"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

const page = mm.PageSize

// limits is a Limiter; what is not in it is unlimited.
type limits map[int]uint64

func (l limits) Limit(resource int) uint64 {
	if v, ok := l[resource]; ok {
		return v
	}
	return ^uint64(0)
}

// newMM returns an empty address space without randomness.
func newMM(l limits) (*mm.MemoryManager, *mmtest.Context) {
	s := mmtest.NewSpace()
	return mm.New(s, mmtest.Limits, l, true), s.NewContext()
}

const (
	none  = 0
	r     = int32(unix.PROT_READ)
	rw    = int32(unix.PROT_READ | unix.PROT_WRITE)
	rx    = int32(unix.PROT_READ | unix.PROT_EXEC)
	anon  = uint32(unix.MAP_PRIVATE | unix.MAP_ANONYMOUS)
	fixed = anon | unix.MAP_FIXED
)

// mustMap maps anonymous memory.
func mustMap(t *testing.T, m *mm.MemoryManager, ctx platform.Context, addr, length uint64, prot int32, flags uint32) uint64 {
	t.Helper()
	got, err := m.MMap(ctx, mm.MMapArgs{Addr: addr, Length: length, Prot: prot, Flags: flags})
	if err != nil {
		t.Fatalf("mmap(%#x, %#x, %#x): %v", addr, length, flags, err)
	}
	return got
}

// ranges renders what is mapped below the vDSO, relative to base, in pages.
func ranges(m *mm.MemoryManager, base uint64) string {
	var out []string
	rs := m.Regions()
	defer mm.ReleaseRegions(rs)
	for _, r := range rs {
		if r.Special {
			continue
		}
		p := []byte("---")
		for i, b := range []int32{1, 2, 4} {
			if r.Prot&b != 0 {
				p[i] = "rwx"[i]
			}
		}
		out = append(out, itoa((r.Start-base)/page)+"-"+itoa((r.End-base)/page)+string(p))
	}
	return strings.Join(out, " ")
}

func itoa(n uint64) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func TestMMapErrors(t *testing.T) {
	const base = 0x10000000
	for _, c := range []struct {
		name string
		args mm.MMapArgs
		want error
	}{
		{"zero length", mm.MMapArgs{Flags: anon}, unix.EINVAL},
		{"no type", mm.MMapArgs{Length: page, Flags: unix.MAP_ANONYMOUS}, unix.EINVAL},
		{"droppable", mm.MMapArgs{Length: page, Flags: 8 | unix.MAP_ANONYMOUS}, unix.EINVAL},
		{"unaligned fixed", mm.MMapArgs{Addr: base + 1, Length: page, Flags: fixed}, unix.EINVAL},
		{"below the minimum", mm.MMapArgs{Addr: 0, Length: page, Flags: fixed}, unix.EPERM},
		{"above the end", mm.MMapArgs{Addr: 1 << 47, Length: page, Flags: fixed}, unix.ENOMEM},
		{"over the vDSO", mm.MMapArgs{Addr: mmtest.Limits.VDSO, Length: page, Flags: fixed}, unix.ENOMEM},
		{"length wraps", mm.MMapArgs{Length: ^uint64(0), Flags: anon}, unix.ENOMEM},
		{"huge length", mm.MMapArgs{Length: 1 << 48, Flags: anon}, unix.ENOMEM},
		{"more than the host has", mm.MMapArgs{Length: 1 << 45, Prot: rw, Flags: anon}, unix.ENOMEM},
		{"huge pages", mm.MMapArgs{Length: page, Flags: anon | unix.MAP_HUGETLB}, unix.ENOMEM},
		{"huge pages of no such size", mm.MMapArgs{Length: page, Flags: anon | unix.MAP_HUGETLB | 5<<26}, unix.EINVAL},
		{"shared growsdown", mm.MMapArgs{Length: page, Flags: unix.MAP_SHARED | unix.MAP_ANONYMOUS | unix.MAP_GROWSDOWN}, unix.EINVAL},
		{"noreplace on a mapping", mm.MMapArgs{Addr: base, Length: page, Flags: anon | unix.MAP_FIXED_NOREPLACE}, unix.EEXIST},
	} {
		m, ctx := newMM(nil)
		mustMap(t, m, ctx, base, page, r, fixed)
		before := ranges(m, 0)
		if _, err := m.MMap(ctx, c.args); err != c.want {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if after := ranges(m, 0); after != before {
			t.Errorf("%s: changed %s to %s", c.name, before, after)
		}
	}
}

func TestReservationWithoutMemory(t *testing.T) {
	m, ctx := newMM(nil)
	for _, a := range []mm.MMapArgs{
		{Length: 1 << 43, Flags: anon},
		{Length: 1 << 43, Prot: rw, Flags: anon | unix.MAP_NORESERVE},
	} {
		if _, err := m.MMap(discard(ctx), a); err != nil {
			t.Errorf("mmap of 8 TiB with prot %d: %v", a.Prot, err)
		}
	}
}

// discard makes ctx forget operations, for sizes that the fake cannot hold.
func discard(ctx *mmtest.Context) *mmtest.Context {
	ctx.Space.Discard = true
	return ctx
}

func TestPlacement(t *testing.T) {
	m, ctx := newMM(nil)
	a := mustMap(t, m, ctx, 0, 2*page, rw, anon)
	b := mustMap(t, m, ctx, 0, page, r, anon)
	if b != a-page {
		t.Errorf("the second mapping is at %#x, want directly below %#x", b, a)
	}
	if got := mustMap(t, m, ctx, 0x20000123, page, rw, anon); got != 0x20001000 {
		t.Errorf("hint 0x20000123 gave %#x", got)
	}
	if got := mustMap(t, m, ctx, a, page, rw, anon); got >= a {
		t.Errorf("a taken hint gave %#x", got)
	}
	if got := mustMap(t, m, ctx, 0, page, rw, anon|unix.MAP_32BIT); got < 1<<30 || got >= 1<<31 {
		t.Errorf("MAP_32BIT gave %#x", got)
	}
	if err := m.MUnmap(ctx, b, page); err != nil {
		t.Fatal(err)
	}
	if got := mustMap(t, m, ctx, 0, page, none, anon); got != b {
		t.Errorf("a hole of the right size at %#x was not used: %#x", b, got)
	}
}

func TestMerging(t *testing.T) {
	const base = 0x10000000
	m, ctx := newMM(nil)
	mustMap(t, m, ctx, base, 2*page, rw, fixed)
	mustMap(t, m, ctx, base+4*page, 2*page, rw, fixed)
	mustMap(t, m, ctx, base+2*page, 2*page, rw, fixed)
	if got := ranges(m, base); got != "0-6rw-" {
		t.Errorf("three neighbours: %s", got)
	}
	if err := m.MProtect(ctx, base+page, page, r); err != nil {
		t.Fatal(err)
	}
	if got := ranges(m, base); got != "0-1rw- 1-2r-- 2-6rw-" {
		t.Errorf("after mprotect: %s", got)
	}
	if err := m.MProtect(ctx, base+page, page, rw); err != nil {
		t.Fatal(err)
	}
	if got := ranges(m, base); got != "0-6rw-" {
		t.Errorf("after mprotect back: %s", got)
	}
	if err := m.MUnmap(ctx, base+3*page, page); err != nil {
		t.Fatal(err)
	}
	if got := ranges(m, base); got != "0-3rw- 4-6rw-" {
		t.Errorf("after munmap: %s", got)
	}
}

func TestMProtect(t *testing.T) {
	const base = 0x10000000
	for _, c := range []struct {
		name        string
		addr, n     uint64
		prot        int32
		want        error
		wantRegions string
	}{
		{"whole", base, 2 * page, r, nil, "0-2r-- 4-6rw-"},
		{"unaligned", base + 1, page, r, unix.EINVAL, "0-2rw- 4-6rw-"},
		{"nothing", base, 0, r, nil, "0-2rw- 4-6rw-"},
		{"into a hole", base, 6 * page, r, unix.ENOMEM, "0-2r-- 4-6rw-"},
		{"starts in a hole", base + 2*page, 4 * page, r, unix.ENOMEM, "0-2rw- 4-6rw-"},
		{"unknown bit", base, page, 0x40, unix.EINVAL, "0-2rw- 4-6rw-"},
		{"both directions", base, page, unix.PROT_GROWSDOWN | unix.PROT_GROWSUP, unix.EINVAL, "0-2rw- 4-6rw-"},
		{"growsdown of no stack", base, page, r | unix.PROT_GROWSDOWN, unix.EINVAL, "0-2rw- 4-6rw-"},
		{"wraps", base, ^uint64(0) - 5000, r, unix.ENOMEM, "0-2rw- 4-6rw-"},
	} {
		m, ctx := newMM(nil)
		mustMap(t, m, ctx, base, 2*page, rw, fixed)
		mustMap(t, m, ctx, base+4*page, 2*page, rw, fixed)
		if err := m.MProtect(ctx, c.addr, c.n, c.prot); err != c.want {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if got := ranges(m, base); got != c.wantRegions {
			t.Errorf("%s: %s, want %s", c.name, got, c.wantRegions)
		}
	}
}

func TestLimits(t *testing.T) {
	m, ctx := newMM(limits{unix.RLIMIT_AS: 64 * page, unix.RLIMIT_DATA: 16 * page, unix.RLIMIT_MEMLOCK: 4 * page})
	base := m.Totals().Size
	if _, err := m.MMap(ctx, mm.MMapArgs{Length: 64*page - base + page, Prot: r, Flags: anon}); err != unix.ENOMEM {
		t.Errorf("beyond RLIMIT_AS: %v", err)
	}
	if _, err := m.MMap(ctx, mm.MMapArgs{Length: 17 * page, Prot: rw, Flags: anon}); err != unix.ENOMEM {
		t.Errorf("beyond RLIMIT_DATA: %v", err)
	}
	a := mustMap(t, m, ctx, 0, 17*page, r, anon)
	if err := m.MProtect(ctx, a, 17*page, rw); err != unix.ENOMEM {
		t.Errorf("mprotect beyond RLIMIT_DATA: %v", err)
	}
	if err := m.MLock(a, 5*page, false, false); err != unix.ENOMEM {
		t.Errorf("mlock beyond RLIMIT_MEMLOCK: %v", err)
	}
	if err := m.MLock(a, 4*page, false, false); err != nil {
		t.Errorf("mlock: %v", err)
	}
	if err := m.MLock(a, 4*page, false, false); err != nil {
		t.Errorf("mlock of what is locked: %v", err)
	}
	if _, err := m.MMap(ctx, mm.MMapArgs{Length: page, Prot: r, Flags: anon | unix.MAP_LOCKED}); err != unix.EAGAIN {
		t.Errorf("MAP_LOCKED beyond RLIMIT_MEMLOCK: %v", err)
	}
	if err := m.Madvise(ctx, a, page, unix.MADV_DONTNEED); err != unix.EINVAL {
		t.Errorf("MADV_DONTNEED of locked memory: %v", err)
	}
	if got := m.Totals().Locked; got != 4*page {
		t.Errorf("%d bytes are locked", got)
	}
	if err := m.MUnlock(a, 4*page); err != nil || m.Totals().Locked != 0 {
		t.Errorf("munlock: %v, %d bytes left", err, m.Totals().Locked)
	}
}

func TestMapCountLimit(t *testing.T) {
	m, ctx := newMM(nil)
	discard(ctx)
	const base = 0x10000000
	n := uint64(0)
	for {
		_, err := m.MMap(ctx, mm.MMapArgs{Addr: base + 2*n*page, Length: page, Prot: r, Flags: fixed})
		if err == unix.ENOMEM {
			break
		}
		if err != nil || n > 2*mm.MaxMaps {
			t.Fatal(n, err)
		}
		n++
	}
	if got := len(m.Regions()); got != mm.MaxMaps {
		t.Errorf("%d mappings, want %d", got, mm.MaxMaps)
	}
	if err := m.MUnmap(ctx, base, page); err != nil {
		t.Errorf("munmap at the limit: %v", err)
	}
}

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

func TestMRemap(t *testing.T) {
	const base = 0x10000000
	args := func(addr, old, new uint64, flags uint32, to uint64) mm.MRemapArgs {
		return mm.MRemapArgs{Addr: addr, Length: old * page, NewLength: new * page, Flags: flags, NewAddr: to}
	}
	const may, fix, keep = unix.MREMAP_MAYMOVE, unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED, unix.MREMAP_MAYMOVE | unix.MREMAP_DONTUNMAP
	for _, c := range []struct {
		name string
		args mm.MRemapArgs
		err  error
		want string
	}{
		{"same", args(base, 4, 4, 0, 0), nil, "0-4rw- 5-6r--"},
		{"shrink", args(base, 4, 2, 0, 0), nil, "0-2rw- 5-6r--"},
		{"grow by the hole", args(base, 4, 5, 0, 0), nil, "0-5rw- 5-6r--"},
		{"no room", args(base, 4, 6, 0, 0), unix.ENOMEM, "0-4rw- 5-6r--"},
		{"fixed", args(base, 4, 6, fix, base+10*page), nil, "5-6r-- 10-16rw-"},
		{"fixed over another", args(base, 1, 1, fix, base+5*page), nil, "1-4rw- 5-6rw-"},
		{"fixed and smaller", args(base, 4, 2, fix, base+10*page), nil, "5-6r-- 10-12rw-"},
		{"overlap", args(base, 4, 4, fix, base+page), unix.EINVAL, "0-4rw- 5-6r--"},
		{"fixed without maymove", args(base, 4, 4, unix.MREMAP_FIXED, base+10*page), unix.EINVAL, "0-4rw- 5-6r--"},
		{"nothing there", args(base+4*page, 1, 2, may, 0), unix.EFAULT, "0-4rw- 5-6r--"},
		{"two mappings", args(base, 6, 8, may, 0), unix.EFAULT, "0-4rw- 5-6r--"},
		{"to nothing", args(base, 4, 0, may, 0), unix.EINVAL, "0-4rw- 5-6r--"},
		{"private copy", args(base, 0, 4, may, 0), unix.EINVAL, "0-4rw- 5-6r--"},
		{"keep with another size", args(base, 4, 5, keep, 0), unix.EINVAL, "0-4rw- 5-6r--"},
		{"keep", args(base, 4, 4, keep|fix, base+10*page), nil, "0-4rw- 5-6r-- 10-14rw-"},
	} {
		m, ctx := newMM(nil)
		mustMap(t, m, ctx, base, 4*page, rw, fixed)
		mustMap(t, m, ctx, base+5*page, page, r, fixed)
		ctx.Flush()
		if _, err := m.MRemap(ctx, c.args); err != c.err {
			t.Errorf("%s: got %v, want %v", c.name, err, c.err)
		}
		if got := ranges(m, base); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestMRemapRefusedByHost(t *testing.T) {
	const base = 0x10000000
	m, ctx := newMM(nil)
	mustMap(t, m, ctx, base, page, rw, fixed)
	ctx.Flush()
	ctx.Space.Fail = func(op platform.Op) error { return unix.ENOMEM }
	if _, err := m.MRemap(ctx, mm.MRemapArgs{Addr: base, Length: page, NewLength: 2 * page}); err != unix.ENOMEM {
		t.Errorf("got %v", err)
	}
	if got := ranges(m, base); got != "0-1rw-" {
		t.Errorf("the books say %s", got)
	}
}

func TestOpFailed(t *testing.T) {
	const base = 0x10000000
	m, ctx := newMM(nil)
	mustMap(t, m, ctx, base, page, rw, fixed)
	ctx.Flush()
	ctx.Space.Fail = func(op platform.Op) error {
		if op.Kind == platform.OpMmap {
			return unix.ENOMEM
		}
		return nil
	}
	mustMap(t, m, ctx, base+page, page, rw, fixed)
	err := ctx.Flush()
	if err == nil {
		t.Fatal("the fake did not fail")
	}
	if errno := m.OpFailed(ctx, err); errno != unix.ENOMEM {
		t.Errorf("the call's result is %v", errno)
	}
	if got := ranges(m, base); got != "0-1rw-" {
		t.Errorf("the books say %s", got)
	}
}

func TestBrk(t *testing.T) {
	m, ctx := newMM(limits{unix.RLIMIT_DATA: 1 << 20})
	m.SetBrk(0x600123, 0)
	start := m.Brk(ctx, 0, false)
	if start != 0x601000 {
		t.Fatalf("the heap starts at %#x", start)
	}
	if got := m.Brk(ctx, start+5000, false); got != start+5000 {
		t.Errorf("growing: %#x", got)
	}
	if got := ranges(m, start); got != "0-2rw-" {
		t.Errorf("the heap is %s", got)
	}
	if got := m.Brk(ctx, start+2<<20, false); got != start+5000 {
		t.Errorf("beyond RLIMIT_DATA: %#x", got)
	}
	mustMap(t, m, ctx, start+4*page, page, r, fixed)
	if got := m.Brk(ctx, start+4*page, false); got != start+5000 {
		t.Errorf("up to a neighbour: %#x", got)
	}
	if got := m.Brk(ctx, start+3*page, false); got != start+3*page {
		t.Errorf("up to a page before a neighbour: %#x", got)
	}
	if got := m.Brk(ctx, start, false); got != start || ranges(m, start) != "4-5r--" {
		t.Errorf("shrinking: %#x, %s", got, ranges(m, start))
	}
}

func TestMadvise(t *testing.T) {
	const base = 0x10000000
	for _, c := range []struct {
		name   string
		n      uint64
		advice int32
		want   error
	}{
		{"DONTNEED", 2, unix.MADV_DONTNEED, nil},
		{"FREE", 2, unix.MADV_FREE, nil},
		{"over a hole", 4, unix.MADV_DONTNEED, unix.ENOMEM},
		{"REMOVE of private memory", 1, unix.MADV_REMOVE, unix.EINVAL},
		{"HWPOISON", 1, unix.MADV_HWPOISON, unix.EINVAL},
		{"KSM", 1, unix.MADV_MERGEABLE, unix.EINVAL},
		{"unknown", 1, 12345, unix.EINVAL},
	} {
		m, ctx := newMM(nil)
		mustMap(t, m, ctx, base, 2*page, rw, fixed)
		mustMap(t, m, ctx, base+3*page, page, rw, fixed)
		if err := m.Madvise(ctx, base, c.n*page, c.advice); err != c.want {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestFork(t *testing.T) {
	const base = 0x10000000
	m, ctx := newMM(nil)
	mustMap(t, m, ctx, base, 4*page, rw, fixed)
	mustMap(t, m, ctx, base+8*page, page, rw, uint32(unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_FIXED))
	if err := m.Madvise(ctx, base+page, page, unix.MADV_DONTFORK); err != nil {
		t.Fatal(err)
	}
	c, _, err := m.Fork(ctx, limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got := ranges(c, base); got != "0-1rw- 2-4rw- 8-9rw-" {
		t.Errorf("the child has %s", got)
	}
	k1, _ := m.SharedKey(base + 8*page + 4)
	k2, _ := c.SharedKey(base + 8*page + 4)
	if k1 != k2 {
		t.Error("the same shared word has two keys")
	}
	k1, _ = m.SharedKey(base)
	k2, _ = c.SharedKey(base)
	if k1 == k2 {
		t.Error("private words of two processes have one key")
	}
	if _, err := c.SharedKey(base + page); err != unix.EFAULT {
		t.Errorf("the key of a hole: %v", err)
	}
	m.DecRef()
	c.DecRef()
	if n, err := c.ReadRemote(base, make([]byte, 8)); n != 0 || err != unix.EFAULT {
		t.Errorf("reading what is gone: %d, %v", n, err)
	}
}

func TestReserve(t *testing.T) {
	const base = 0x10000000
	m, ctx := newMM(nil)
	mustMap(t, m, ctx, base, page, rx, fixed)
	at, ok := m.Reserve(base, 2*page)
	if !ok || at != base-2*page {
		t.Fatalf("reserved %#x, %v", at, ok)
	}
	if got := ranges(m, base); got != "0-1r-x" {
		t.Errorf("the reserved range shows: %s", got)
	}
	if _, err := m.MMap(ctx, mm.MMapArgs{Addr: at, Length: page, Prot: r, Flags: fixed}); err != unix.ENOMEM {
		t.Errorf("MAP_FIXED over a reserved range: %v", err)
	}
	ctx.Flush()
	ctx.Space.Ops = nil
	if err := m.MUnmap(ctx, base-8*page, 16*page); err != nil {
		t.Fatal(err)
	}
	ctx.Flush()
	for _, op := range ctx.Space.Ops {
		if op.Addr < at+2*page && op.Addr+op.Length > at {
			t.Errorf("the host was told %+v", op)
		}
	}
	if len(ctx.Space.Unpatched) == 0 {
		t.Error("executable memory was unmapped without Unpatch")
	}
	m.Unreserve(at, 2*page)
	mustMap(t, m, ctx, at, page, r, fixed)
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

func BenchmarkMMapMUnmap(b *testing.B) {
	m, ctx := newMM(nil)
	ctx.Space.Discard = true
	for range 100 {
		m.MMap(ctx, mm.MMapArgs{Length: page, Prot: rw, Flags: anon})
		m.MMap(ctx, mm.MMapArgs{Length: page, Prot: r, Flags: anon})
	}
	b.ReportAllocs()
	for b.Loop() {
		a, err := m.MMap(ctx, mm.MMapArgs{Length: 4 * page, Prot: rw, Flags: anon | unix.MAP_NORESERVE})
		if err != nil {
			b.Fatal(err)
		}
		m.MUnmap(ctx, a, 4*page)
	}
}
