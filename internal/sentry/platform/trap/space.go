package trap

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/platform/stub"
	"coffer/internal/sentry/platform/trap/rewrite"

	"golang.org/x/sys/unix"
)

const (
	// rewriteAfter is how often a site must trap before it is rewritten: what
	// that costs is as much as some ten traps.
	rewriteAfter = 6
	// insistAfter times that, other threads are stopped for it.
	insistAfter = 4
	// countMax bounds the sites that are counted, and attemptsMax the traps
	// after which a site is left alone.
	countMax    = 1 << 14
	attemptsMax = 1 << 12
	// arenaSize is the size of a range for trampolines, and arenasMax how many
	// there may be.
	arenaSize = 64 << 10
	arenasMax = 64
)

// space is the rewritten code of one address space.
//
// Lock order: space.mu comes before family.mu and stub's locks. The owner of the address
// space calls Unpatch with its own locks held, so it is not called (Mapping,
// Reserve) with mu held; generation tells whether it has changed something
// meanwhile.
type space struct {
	proc *stub.Process
	sums *counts // of the platform
	// table is read without mu.
	table atomic.Pointer[table]

	mu         sync.Mutex
	generation uint64
	// off says that nothing is to be rewritten: the guest uses the GS base or
	// single-steps.
	off bool
	// counts are how often sites trapped here, family how often they did in all that
	// forked from each other, and learned how many of the family's hot calls were seen to.
	counts  map[uint64]int
	family  *family
	learned int
	// texts are the mappings of code whose files may have images.
	texts []mappedText
}

// mappedText is where a text is mapped.
type mappedText struct {
	*text
	addr uint64
}

// table finds trampolines and rewritten code. It is not changed once it is
// published.
type table struct{ arenas []arena }

// arena is a range of trampolines with the sites that lead there.
type arena struct {
	start, size uint64
	// bias is what sites' addresses lack.
	bias uint64
	// sites are in the trampolines' order, byAddr in that of their code.
	sites, byAddr []*site
	// dead are those whose code is rewritten no more.
	dead map[*site]bool
	// image is what the arena is of, if it is not the space's own.
	image *image
}

// free is where the arena's next trampoline goes; false if there is no room.
func (a *arena) free() (uint64, bool) {
	at := uint64(len(a.sites)) * rewrite.Size
	return a.start + at, a.image == nil && at < a.size
}

// sorted returns sites by the addresses of their code.
func sorted(sites []*site) []*site {
	return slices.SortedFunc(slices.Values(sites), func(a, b *site) int { return cmp.Compare(a.Addr, b.Addr) })
}

// site is a rewritten system call or CPUID.
type site struct {
	*rewrite.Patch
	call uint64 // the instruction's address
}

// place is a site of an address space.
type place struct {
	*site
	arena int // the index of its arena
	bias  uint64
}

// origin is rewrite.Patch.Origin.
func (p *place) origin(addr uint64) uint64 { return p.Origin(addr-p.bias) + p.bias }

// live reports whether the code still is rewritten.
func (s *space) live(p *place) bool {
	t := s.table.Load()
	return t != nil && p.arena < len(t.arenas) && !t.arenas[p.arena].dead[p.site]
}

// original makes of b, which was read at addr, what the guest's code is.
func (s *space) original(addr uint64, b []byte) {
	t := s.table.Load()
	if t == nil {
		return
	}
	for i := range t.arenas {
		a := &t.arenas[i]
		at := addr - a.bias
		// A site is shorter than a trampoline; so none that begins earlier ends
		// behind addr.
		first, _ := slices.BinarySearchFunc(a.byAddr, at-min(at, rewrite.Size), func(st *site, to uint64) int { return cmp.Compare(st.Addr, to) })
		for _, st := range a.byAddr[first:] {
			if st.Addr >= at+uint64(len(b)) {
				break
			}
			if a.dead[st] {
				continue
			}
			if st.Addr >= at {
				copy(b[st.Addr-at:], st.Old)
			} else if skip := at - st.Addr; skip < uint64(len(st.Old)) {
				copy(b, st.Old[skip:])
			}
		}
	}
}

func newSpace(p *stub.Process, sums *counts, f *family) *space {
	s := &space{proc: p, sums: sums, counts: make(map[uint64]int), family: f}
	p.OnReset, p.OnRead = s.reset, s.original
	return s
}

// reset forgets everything, since all code is about to be unmapped.
func (s *space) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.off = false
	s.table.Store(nil)
	clear(s.counts)
	s.family, s.learned = newFamily(), 0
	s.texts = nil
}

// fork copies s for a forked process. The caller holds mu.
func (s *space) fork(p *stub.Process) *space {
	n := newSpace(p, s.sums, s.family)
	n.off, n.learned = s.off, s.learned
	n.texts = slices.Clone(s.texts)
	n.table.Store(s.table.Load())
	return n
}

// trampoline returns the site whose trampoline holds addr.
func (s *space) trampoline(addr uint64) (place, bool) {
	t := s.table.Load()
	if t == nil {
		return place{}, false
	}
	for i := range t.arenas {
		a := &t.arenas[i]
		if off := addr - a.start; off < a.size {
			if n := off / rewrite.Size; n < uint64(len(a.sites)) {
				return place{a.sites[n], i, a.bias}, true
			}
		}
	}
	return place{}, false
}

// displaced returns where the code is now that was at addr.
func (s *space) displaced(addr uint64) uint64 {
	t := s.table.Load()
	if t == nil {
		return addr
	}
	for i := range t.arenas {
		a := &t.arenas[i]
		at := addr - a.bias
		n, found := slices.BinarySearchFunc(a.byAddr, at, func(st *site, to uint64) int { return cmp.Compare(st.Addr, to) })
		if !found {
			n--
		}
		if n < 0 || at >= a.byAddr[n].end() || a.dead[a.byAddr[n]] {
			continue
		}
		st := a.byAddr[n]
		if at == st.call {
			return st.Call + a.bias
		}
		for _, b := range st.Inside {
			if b.Original == at {
				return b.Displaced + a.bias
			}
		}
	}
	return addr
}

// trapped counts a system call at addr that trapped, with rax in that
// register, and may rewrite it.
func (s *space) trapped(t *stub.Thread, addr, rax uint64) {
	s.mu.Lock()
	n := s.counts[addr] + 1
	if n <= attemptsMax && (n > 1 || len(s.counts) < countMax) {
		s.counts[addr] = n
	}
	s.family.trapped(addr, rax)
	generation, off := s.generation, s.off
	var in mappedText
	for _, t := range s.texts {
		if addr-t.addr < t.size {
			in = t
		}
	}
	s.mu.Unlock()
	if in.text != nil {
		in.learn(addr-in.addr, rax)
	}
	// After the first attempt, which may have failed only because another
	// thread ran, each takes twice as many traps.
	if tries := n / rewriteAfter; off || n > attemptsMax || n%rewriteAfter != 0 || tries&(tries-1) != 0 {
		return
	} else {
		s.rewrite(t, hotCall{addr, rax}, generation, false, tries >= insistAfter)
	}
}

// rewrite rewrites a site if that is possible. With hearsay it was not seen to trap
// here; with insist other threads are made to leave guest code for it.
func (s *space) rewrite(t *stub.Thread, c hotCall, generation uint64, hearsay, insist bool) {
	addr := c.addr
	entry := s.proc.Stubs().Entry()
	if entry == 0 {
		return
	}
	m, ok := s.proc.Mapping(addr)
	if !ok || !m.Private || m.Prot != unix.PROT_READ|unix.PROT_EXEC || addr+2 > m.End {
		return
	}
	start := max(m.Start, addr-min(addr, rewrite.Before))
	code := make([]byte, min(m.End, addr+rewrite.After)-start)
	n, _ := s.proc.CopyInRaw(start, code)
	code = code[:n]

	at, index, ok := s.room(t, addr, generation)
	if !ok {
		return
	}
	p, ok := rewrite.Plan(rewrite.Site{
		Code: code, Base: start, Addr: addr, RAX: c.rax, Trampoline: at, Entry: entry, Hearsay: hearsay,
	})
	if !ok || !onePage(p) {
		if hearsay {
			return
		}
		s.mu.Lock()
		s.counts[addr] = attemptsMax + 1
		s.mu.Unlock()
		return
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	tab := s.table.Load()
	if s.generation != generation || s.off || tab == nil || index >= len(tab.arenas) {
		return
	}
	if free, ok := tab.arenas[index].free(); !ok || free != at {
		return
	}
	word, whole := p.Word(code, start)
	if thaw, ok := t.Freeze(insist && !whole); ok {
		defer thaw()
		whole = false
	} else if !whole {
		return
	}
	if t.PokeCode(at, p.Trampoline) != nil {
		return
	}
	st := &site{Patch: p, call: addr}
	next := &table{arenas: slices.Clone(tab.arenas)}
	a := &next.arenas[index]
	a.sites = append(a.sites[:len(a.sites):len(a.sites)], st)
	a.byAddr = sorted(a.sites)
	s.table.Store(next)
	var err error
	if whole {
		err = t.PokeWord(p.Addr&^7, word)
	} else {
		err = t.PokeCode(p.Addr, p.New)
	}
	if err != nil {
		s.bury([]place{{site: st, arena: index}})
	}
}

// bury notes that the code of sites is not rewritten any more: of all at once, since each
// table is a copy. mu is held.
func (s *space) bury(sites []place) {
	next := &table{arenas: slices.Clone(s.table.Load().arenas)}
	copied := make([]bool, len(next.arenas))
	for _, st := range sites {
		a := &next.arenas[st.arena]
		if !copied[st.arena] {
			copied[st.arena] = true
			if a.dead = maps.Clone(a.dead); a.dead == nil {
				a.dead = make(map[*site]bool)
			}
		}
		a.dead[st.site] = true
	}
	s.table.Store(next)
}

// room finds where a trampoline for addr can be, and in which arena. It makes
// one if need be.
func (s *space) room(t *stub.Thread, addr, generation uint64) (at uint64, index int, ok bool) {
	var arenas []arena
	if tab := s.table.Load(); tab != nil {
		arenas = tab.arenas
	}
	for i := range arenas {
		a := &arenas[i]
		const near = 1<<31 - 1<<20
		if at, ok := a.free(); ok && addr-a.start+near < 2*near {
			return at, i, true
		}
	}
	if len(arenas) >= arenasMax {
		return 0, 0, false
	}
	start, ok := s.proc.Reserve(addr, arenaSize)
	if !ok {
		return 0, 0, false
	}
	// What was queued before must not unmap it afterwards.
	t.Settle()
	if t.MapCode(start, arenaSize) != nil {
		return 0, 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation != generation {
		return 0, 0, false
	}
	return start, s.addArena(arena{start: start, size: arenaSize}), true
}

// addArena returns the index of a new arena. mu is held.
func (s *space) addArena(a arena) int {
	next := &table{}
	if tab := s.table.Load(); tab != nil {
		next.arenas = slices.Clone(tab.arenas)
	}
	next.arenas = append(next.arenas, a)
	s.table.Store(next)
	return len(next.arenas) - 1
}

// unpatch restores the code that meets [addr, addr+length).
func (s *space) unpatch(t *stub.Thread, addr, length uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.learned += len(s.family.since(s.learned)) // of what was here until now
	for a := range s.counts {
		if a-addr < length {
			delete(s.counts, a)
		}
	}
	s.restore(t, addr, length)
	s.texts = slices.DeleteFunc(s.texts, func(m mappedText) bool { return m.addr-min(m.addr, addr) < length && addr < m.addr+m.size })
}

// restore restores code. mu is held.
func (s *space) restore(t *stub.Thread, addr, length uint64) {
	tab := s.table.Load()
	if tab == nil {
		return
	}
	var restored []place
	for i := range tab.arenas {
		a := &tab.arenas[i]
		for _, st := range a.sites {
			at := st.Addr + a.bias
			if a.dead[st] || at+uint64(len(st.Old)) <= addr || at-min(addr, at) >= length {
				continue
			}
			restored = append(restored, place{st, i, a.bias})
		}
	}
	if len(restored) == 0 {
		return
	}
	if slices.ContainsFunc(restored, func(p place) bool { return tab.arenas[p.arena].image != nil }) {
		t.Settle() // it may not be mapped yet
	}
	// Until all is restored the table says what the code was, to who reads it.
	for _, p := range restored {
		t.PokeCode(p.Addr+p.bias, p.Old)
	}
	s.bury(restored)
}

// disable restores all code and rewrites none any more.
func (s *space) disable(t *stub.Thread) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.off {
		s.off = true
		s.restore(t, 0, ^uint64(0))
	}
}
