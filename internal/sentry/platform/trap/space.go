package trap

import (
	"cmp"
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
// Lock order: space.mu comes before stub's locks. The owner of the address
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
	off    bool
	counts map[uint64]int
	// resume maps addresses in rewritten code to where they are now.
	resume map[uint64]uint64
}

// table finds trampolines and rewritten code. It is not changed once it is
// published, but for its arenas' growth.
type table struct {
	arenas []arena
	// rewritten are all sites by address, also those that live no more.
	rewritten []*site
}

// index makes t.rewritten.
func (t *table) index() {
	t.rewritten = nil
	for _, a := range t.arenas {
		t.rewritten = append(t.rewritten, a.sites...)
	}
	slices.SortFunc(t.rewritten, func(a, b *site) int { return cmp.Compare(a.Addr, b.Addr) })
}

// original makes of b, which was read at addr, what the guest's code is.
func (s *space) original(addr uint64, b []byte) {
	t := s.table.Load()
	if t == nil {
		return
	}
	// A site is shorter than a trampoline; so none that begins earlier ends
	// behind addr.
	first, _ := slices.BinarySearchFunc(t.rewritten, addr-min(addr, rewrite.Size), func(st *site, a uint64) int { return cmp.Compare(st.Addr, a) })
	for _, st := range t.rewritten[first:] {
		if st.Addr >= addr+uint64(len(b)) {
			return
		}
		if !st.live.Load() {
			continue
		}
		if st.Addr >= addr {
			copy(b[st.Addr-addr:], st.Old)
		} else if skip := addr - st.Addr; skip < uint64(len(st.Old)) {
			copy(b, st.Old[skip:])
		}
	}
}

type arena struct {
	start uint64
	sites []*site
}

// free is where the arena's next trampoline goes.
func (a *arena) free() uint64 { return a.start + uint64(len(a.sites))*rewrite.Size }

// site is a rewritten system call.
type site struct {
	*rewrite.Patch
	call uint64 // the instruction's address
	// live says that the code still is rewritten.
	live atomic.Bool
}

func newSpace(p *stub.Process, sums *counts) *space {
	s := &space{proc: p, sums: sums, counts: make(map[uint64]int), resume: make(map[uint64]uint64)}
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
	clear(s.resume)
}

// fork copies s for a forked process. The caller holds mu.
func (s *space) fork(p *stub.Process) *space {
	n := newSpace(p, s.sums)
	n.off = s.off
	for k, v := range s.resume {
		n.resume[k] = v
	}
	for k, v := range s.counts {
		n.counts[k] = v
	}
	if t := s.table.Load(); t != nil {
		c := &table{}
		for _, a := range t.arenas {
			d := arena{start: a.start}
			for _, old := range a.sites {
				fresh := &site{Patch: old.Patch, call: old.call}
				fresh.live.Store(old.live.Load())
				d.sites = append(d.sites, fresh)
			}
			c.arenas = append(c.arenas, d)
		}
		c.index()
		n.table.Store(c)
	}
	return n
}

// trampoline returns the site whose trampoline holds addr, or nil.
func (s *space) trampoline(addr uint64) *site {
	t := s.table.Load()
	if t == nil {
		return nil
	}
	for i := range t.arenas {
		a := &t.arenas[i]
		if off := addr - a.start; off < arenaSize {
			if n := off / rewrite.Size; n < uint64(len(a.sites)) {
				return a.sites[n]
			}
		}
	}
	return nil
}

// displaced returns where the code is now that was at addr.
func (s *space) displaced(addr uint64) uint64 {
	if s.table.Load() == nil {
		return addr
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if to, ok := s.resume[addr]; ok {
		return to
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
	generation, off := s.generation, s.off
	s.mu.Unlock()
	// After the first attempt, which may have failed only because another
	// thread ran, each takes twice as many traps.
	if tries := n / rewriteAfter; off || n > attemptsMax || n%rewriteAfter != 0 || tries&(tries-1) != 0 {
		return
	} else {
		s.rewrite(t, addr, rax, generation, tries >= insistAfter)
	}
}

// rewrite rewrites a site if that is possible. With insist other threads are
// made to leave guest code for it.
func (s *space) rewrite(t *stub.Thread, addr, rax, generation uint64, insist bool) {
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
		Code: code, Base: start, Addr: addr, RAX: rax, Trampoline: at, Entry: entry,
	})
	if !ok || p.Addr/stub.PageSize != (p.Addr+uint64(len(p.Old))-1)/stub.PageSize {
		s.mu.Lock()
		s.counts[addr] = attemptsMax + 1
		s.mu.Unlock()
		return
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	tab := s.table.Load()
	if s.generation != generation || s.off || tab == nil || index >= len(tab.arenas) ||
		tab.arenas[index].free() != at {
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
	st.live.Store(true)
	next := &table{arenas: append([]arena(nil), tab.arenas...)}
	a := &next.arenas[index]
	a.sites = append(a.sites, st)
	next.index()
	s.table.Store(next)
	var err error
	if whole {
		err = t.PokeWord(p.Addr&^7, word)
	} else {
		err = t.PokeCode(p.Addr, p.New)
	}
	if err != nil {
		st.live.Store(false)
		return
	}
	s.resume[addr] = p.Call
	for _, b := range p.Inside {
		s.resume[b.Original] = b.Displaced
	}
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
		if uint64(len(a.sites)) < arenaSize/rewrite.Size && addr-a.start+near < 2*near {
			return a.free(), i, true
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
	next := &table{}
	if tab := s.table.Load(); tab != nil {
		*next = table{append(next.arenas, tab.arenas...), tab.rewritten}
	}
	next.arenas = append(next.arenas, arena{start: start})
	s.table.Store(next)
	return start, len(next.arenas) - 1, true
}

// unpatch restores the code that meets [addr, addr+length).
func (s *space) unpatch(t *stub.Thread, addr, length uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	for a := range s.counts {
		if a-addr < length {
			delete(s.counts, a)
		}
	}
	s.restore(t, addr, length)
}

// restore restores code. mu is held.
func (s *space) restore(t *stub.Thread, addr, length uint64) {
	tab := s.table.Load()
	if tab == nil {
		return
	}
	for i := range tab.arenas {
		for _, st := range tab.arenas[i].sites {
			if !st.live.Load() || st.Addr+uint64(len(st.Old)) <= addr || st.Addr-min(addr, st.Addr) >= length {
				continue
			}
			st.live.Store(false)
			delete(s.resume, st.call)
			for _, b := range st.Inside {
				delete(s.resume, b.Original)
			}
			t.PokeCode(st.Addr, st.Old)
		}
	}
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
