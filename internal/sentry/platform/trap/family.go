package trap

import (
	"sync"

	"coffer/internal/sentry/platform/stub"
)

// family is what the address spaces that stem from one by forks know of each
// other's calls. A process that forks for all that it does, such as a shell, hardly
// makes the calls of its children, and each child makes them once, then ends or executes
// another program: alone, none would ever have such a site rewritten. So the children's
// traps add up here, and who forks rewrites in its own code what has become hot: the
// next children get it so.
//
// A child may be hostile to its parent, and may have other code at an address by now. So
// what is told here is hearsay (rewrite.Site.Hearsay), as it is in images.
type family struct {
	mu sync.Mutex
	// traps are how often sites trapped, as far as that counts.
	traps map[uint64]int
	// hot are the calls that did so often enough, in the order in which they came to it.
	hot []hotCall
}

// hotCall is a system call instruction, and what was in RAX when it trapped.
type hotCall struct{ addr, rax uint64 }

func newFamily() *family { return &family{traps: make(map[uint64]int)} }

// trapped counts a call that trapped.
func (f *family) trapped(addr, rax uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.traps[addr]
	if n >= rewriteAfter || n == 0 && len(f.traps) >= countMax {
		return
	}
	f.traps[addr] = n + 1
	if n+1 == rewriteAfter {
		f.hot = append(f.hot, hotCall{addr, rax})
	}
}

// since returns the hot calls but the first n.
func (f *family) since(n int) []hotCall {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hot[n:]
}

// learn rewrites what has become hot in the family since the last time.
func (s *space) learn(t *stub.Thread) {
	s.mu.Lock()
	generation, off, hot := s.generation, s.off, s.family.since(s.learned)
	s.learned += len(hot)
	s.mu.Unlock()
	if off {
		return
	}
	for _, c := range hot {
		if s.displaced(c.addr) == c.addr {
			s.rewrite(t, c, generation, true, false)
		}
	}
}
