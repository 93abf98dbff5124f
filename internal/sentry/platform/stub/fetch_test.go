package stub

import (
	"testing"

	"coffer/internal/sentry/platform"
)

// TestFetchedHostile has a stub claim to have brought what it can't have.
func TestFetchedHostile(t *testing.T) {
	th := &Thread{proc: &Process{stubs: &Stubs{limits: platform.Limits{Max: 1 << 47}}}, page: new(page)}
	for _, tt := range []struct {
		name string
		n    uint32
		at   uint64
		addr uint64
		len  int
		ok   bool
	}{
		{"as it should be", 8, 0x1000, 0x1000, 8, true},
		{"nothing", 0, 0x1000, 0x1000, 1, false},
		{"all there can be", platform.FetchMax, 0x1000, 0x1000, platform.FetchMax, true},
		{"more than there can be", platform.FetchMax + 1, 0x1000, 0x1000, 1, false},
		{"far more", 1<<32 - 1, 0x1000, 0x2000, 1, false},
		{"across the end of all addresses", 16, ^uint64(7), ^uint64(7), 16, false},
		{"the sentry's addresses", 8, 1 << 47, 1 << 47, 8, false},
		{"into them", 8, 1<<47 - 4, 1<<47 - 4, 8, false},
	} {
		th.forgetFetched()
		th.page.fetched, th.page.fetchedAt = tt.n, tt.at
		th.takeFetched()
		if ok := th.copyFetched(tt.addr, make([]byte, tt.len)); ok != tt.ok {
			t.Errorf("%s: %v", tt.name, ok)
		}
	}
}
