package stub

import (
	"encoding/binary"
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

// TestPartsHostile has a stub claim to have brought parts that it can't have.
func TestPartsHostile(t *testing.T) {
	th := &Thread{proc: &Process{stubs: &Stubs{limits: platform.Limits{Max: 1 << 47}}}, page: new(page)}
	for _, tt := range []struct {
		name  string
		parts uint32
		n     uint32
		at    uint64
		addr  uint64
		len   int
		ok    bool
	}{
		{"as it should be", 1, 8, 0x1000, 0x1000, 8, true},
		{"the last", platform.AlsoMax, 8, 0x1000, 0x1000 * platform.AlsoMax, 8, true},
		{"none", 0, 8, 0x1000, 0x1000, 8, false},
		{"all there can be", 1, platform.FetchMax, 0x1000, 0x1000, platform.FetchMax, true},
		{"longer than can be", 1, platform.FetchMax + 1, 0x1000, 0x1000, 1, false},
		{"more than can be", platform.AlsoMax + 1, 8, 0x1000, 0x1000, 8, false},
		{"far more", 1<<32 - 1, 1<<32 - 1, 0x1000, 0x2000, 1, false},
		{"the sentry's addresses", 1, 8, 1 << 47, 1 << 47, 8, false},
		{"across the end of all addresses", 1, 16, ^uint64(7), ^uint64(7), 16, false},
	} {
		th.forgetFetched()
		th.page.parts = tt.parts
		for i := range th.page.also {
			th.page.also[i].length, th.page.also[i].at = tt.n, uint64(i+1)*tt.at
		}
		th.takeFetched()
		if ok := th.copyFetched(tt.addr, make([]byte, tt.len)); ok != tt.ok {
			t.Errorf("%s: %v", tt.name, ok)
		}
	}
}

// TestBroughtHostile has a stub claim to have brought buffers that it can't have.
func TestBroughtHostile(t *testing.T) {
	th := &Thread{proc: &Process{stubs: &Stubs{limits: platform.Limits{Max: 1 << 47}}}, page: new(page)}
	th.win.bytes = make([]byte, 4096)
	const at = 0x1000
	for _, tt := range []struct {
		name    string
		fetched uint32
		brought uint32
		lengths []uint64
		addr    uint64
		want    int
	}{
		{"as it should be", 32, 300, []uint64{100, 200}, at, 100},
		{"less than the array says", 32, 150, []uint64{100, 200}, 2 * at, 50},
		{"more than the array says", 32, 4096, []uint64{100, 200}, 2 * at, 200},
		{"more than the window has", 32, 4097, []uint64{4097}, at, 0},
		{"a length that is none", 16, 4096, []uint64{1<<64 - 1}, at, 4096},
		{"without an array", 0, 300, nil, at, 0},
		{"more than the array that came", 16, 300, []uint64{100, 200}, 2 * at, 0},
		{"the longest array", 128, 4096, []uint64{1, 1, 1, 1, 1, 1, 1, 1}, 8 * at, 1},
		{"the sentry's addresses", 16, 4096, []uint64{4096}, 1 << 47, 0},
	} {
		th.forgetFetched()
		th.bringing.vain = 0
		for i, n := range tt.lengths {
			binary.LittleEndian.PutUint64(th.page.fetch[i*sizeIovec:], uint64(i+1)*at)
			binary.LittleEndian.PutUint64(th.page.fetch[i*sizeIovec+8:], n)
		}
		if tt.addr >= 1<<47 {
			binary.LittleEndian.PutUint64(th.page.fetch[:], tt.addr)
		}
		th.page.fetched, th.page.brought, th.page.broughtAt = tt.fetched, tt.brought, 0
		th.takeFetched()
		if n := th.copyBrought(tt.addr, make([]byte, 4096)); n != tt.want {
			t.Errorf("%s: %d bytes, want %d", tt.name, n, tt.want)
		}
	}
}
