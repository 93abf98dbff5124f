package mm_test

import (
	"testing"

	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

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
