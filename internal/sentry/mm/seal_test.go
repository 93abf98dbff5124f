package mm_test

import (
	"testing"

	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

func TestMSeal(t *testing.T) {
	m, ctx := newMM(nil)
	base := mustMap(t, m, ctx, 0x10000, 4*page, r, fixed)
	for _, tt := range []struct {
		name         string
		addr, length uint64
		want         error
	}{
		{"unaligned", base + 1, page, unix.EINVAL},
		{"overflow", base, ^uint64(0), unix.EINVAL},
		{"hole", base + 3*page, 2 * page, unix.ENOMEM},
		{"nothing", base, 0, nil},
		{"two pages", base + page, 2 * page, nil},
		{"again", base + page, page, nil},
	} {
		if err := m.MSeal(tt.addr, tt.length); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	refused := map[string]func() error{
		"munmap":   func() error { return m.MUnmap(ctx, base, 4*page) },
		"mprotect": func() error { return m.MProtect(ctx, base+page, page, rw) },
		"mremap": func() error {
			_, err := m.MRemap(ctx, mm.MRemapArgs{Addr: base + page, Length: page, NewLength: 2 * page, Flags: unix.MREMAP_MAYMOVE})
			return err
		},
		"mremap onto it": func() error {
			_, err := m.MRemap(ctx, mm.MRemapArgs{Addr: base, Length: page, NewLength: page,
				Flags: unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED, NewAddr: base + 2*page})
			return err
		},
		"mmap over it": func() error {
			_, err := m.MMap(ctx, mm.MMapArgs{Addr: base, Length: 2 * page, Prot: r, Flags: fixed})
			return err
		},
		"MADV_DONTNEED": func() error { return m.Madvise(ctx, base+page, page, unix.MADV_DONTNEED) },
	}
	for name, f := range refused {
		if err := f(); err != unix.EPERM {
			t.Errorf("%s: %v, want EPERM", name, err)
		}
	}
	if err := m.Madvise(ctx, base+page, page, unix.MADV_WILLNEED); err != nil {
		t.Errorf("harmless advice: %v", err)
	}
	if err := m.MUnmap(ctx, base+3*page, page); err != nil {
		t.Errorf("what lies beside it: %v", err)
	}
}
