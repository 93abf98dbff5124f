package mm_test

import (
	"testing"

	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

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
