package mm_test

import (
	"testing"

	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

func TestResident(t *testing.T) {
	m, ctx := newMM(nil)
	a := mustMap(t, m, ctx, 0x10000000, 3*page, rw, fixed)
	mustMap(t, m, ctx, a+3*page, page, none, fixed)
	if err := ctx.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := ctx.CopyOut(a+page, []byte{1}); err != nil {
		t.Fatal(err)
	}
	var vec [8]byte
	check := func(what, want string) {
		t.Helper()
		n, err := m.Resident(ctx, a, vec[:])
		if got := string(vec[:n]); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", what, got, err, want)
		}
	}
	check("touched", "\x00\x01\x00\x00")
	if err := m.MLock(a+2*page, 2*page, false, true); err != nil {
		t.Fatal(err)
	}
	check("locked", "\x00\x01\x01\x00")
	if err := m.MLock(a+2*page, page, true, true); err != nil {
		t.Fatal(err)
	}
	check("locked on fault", "\x00\x01\x00\x00")
	for _, hole := range []uint64{a - page, a + 4*page, mm.TaskSize} {
		if n, err := m.Resident(ctx, hole, vec[:1]); n != 0 || err != unix.ENOMEM {
			t.Errorf("%#x: %d, %v", hole, n, err)
		}
	}
	// A platform that cannot tell: all that is mapped counts.
	n, err := m.Resident(struct{ platform.Context }{ctx}, a, vec[:3])
	if got := string(vec[:n]); err != nil || got != "\x01\x01\x01" {
		t.Errorf("without the platform's word: %q, %v", got, err)
	}
}
