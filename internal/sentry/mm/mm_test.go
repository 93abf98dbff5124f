package mm_test

import (
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

func TestAnchorMappings(t *testing.T) {
	m, ctx := newMM(nil)
	shown, sums := string(m.Maps(nil)), m.Totals()
	want, err := m.FindRoom(page, page)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.AnchorMappings(ctx); err != nil {
		t.Fatal(err)
	}
	if err := ctx.Flush(); err != nil {
		t.Fatal(err)
	}
	if p := ctx.Space.Pages[want/page]; p == nil || p.Prot != 0 {
		t.Errorf("at %#x there is %+v", want, p)
	}
	if got := string(m.Maps(nil)); got != shown || m.Totals() != sums {
		t.Errorf("it shows: %+v\n%s", m.Totals(), got)
	}
	if err := m.MUnmap(ctx, want-page, 3*page); err != nil {
		t.Fatal(err)
	}
	ctx.Flush()
	if ctx.Space.Pages[want/page] == nil {
		t.Error("munmap(2) took it away")
	}
	if _, err := m.MMap(ctx, mm.MMapArgs{Addr: want, Length: page, Flags: anon | unix.MAP_FIXED_NOREPLACE}); err != unix.EEXIST {
		t.Errorf("beside it: %v", err)
	}
	// Who names the place has it, as have children.
	c, childCtx, err := m.Fork(ctx, limits{})
	if err != nil {
		t.Fatal(err)
	}
	mustMap(t, m, ctx, want-page, 2*page, rw, fixed)
	at := mustMap(t, c, childCtx, want-8*page, 2*page, rw, fixed)
	if _, err := c.MRemap(childCtx, mm.MRemapArgs{Addr: at, Length: 2 * page, NewLength: 2 * page,
		Flags: unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED, NewAddr: want - page}); err != nil {
		t.Error(err)
	}
	for _, m := range []*mm.MemoryManager{m, c} {
		if got := ranges(m, want-page); got != "0-2rw-" {
			t.Errorf("mapped are %s", got)
		}
	}
	// It goes with the address space.
	m, ctx = newMM(nil)
	if err := m.AnchorMappings(ctx); err != nil {
		t.Fatal(err)
	}
	m.DecRef()
	if _, err := m.MMap(ctx, mm.MMapArgs{Addr: want, Length: page, Flags: fixed}); err != unix.ENOMEM {
		t.Errorf("mmap(2) afterwards: %v", err)
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
