package stub

import "coffer/internal/sentry/platform"

// part is what a stub brought of one of platform.Fetch.Also. The assembly knows its fields.
type part struct {
	at     uint64
	length uint32
	_      uint32
	bytes  [platform.FetchMax]byte
}

// takeParts notes which parts the stub claims to have brought.
func (t *Thread) takeParts() {
	t.parts = 0
	n := t.page.parts
	if n > platform.AlsoMax {
		return
	}
	for i := range n {
		p := &t.page.also[i]
		length := p.length
		if length > platform.FetchMax {
			return
		}
		t.also[i] = fetched{p.at, 0, length, t.arrived}
		t.parts++
	}
}

// findPart returns the part that has n bytes at addr, and its bytes, or nil.
func (t *Thread) findPart(addr uint64, n int) (*fetched, *[platform.FetchMax]byte) {
	for i := range t.also[:t.parts] {
		if f := &t.also[i]; f.has(addr, n) {
			return f, &t.page.also[i].bytes
		}
	}
	return nil, nil
}

// CameAlong implements platform.Context.
func (t *Thread) CameAlong(addr uint64, n int) bool {
	f, _ := t.findFetched(addr, n)
	return f != nil
}
