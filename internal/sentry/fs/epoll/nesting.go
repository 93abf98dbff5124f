package epoll

import (
	"sync"

	"golang.org/x/sys/unix"
)

// maxNesting is how many sets a chain of sets in sets may have (epoll_ctl(2),
// ELOOP; EP_MAX_NESTS counts the links).
const maxNesting = 5

// nestMu guards who is in whom, so that two concurrent additions cannot
// close a circle together.
var nestMu sync.Mutex

// nest records that inner is about to be added to s. ELOOP if s could then
// be reached from itself, or the chain were too long.
func nest(s, inner *Set) error {
	nestMu.Lock()
	defer nestMu.Unlock()
	above := depth(s, (*Set).outerSets, nil)
	below := depth(inner, (*Set).innerSets, s)
	if above < 0 || below < 0 || above+below > maxNesting {
		return unix.ELOOP
	}
	if s.inner == nil {
		s.inner = map[*Set]int{}
	}
	if inner.outer == nil {
		inner.outer = map[*Set]int{}
	}
	s.inner[inner]++
	inner.outer[s]++
	return nil
}

func unnest(s, inner *Set) {
	nestMu.Lock()
	defer nestMu.Unlock()
	less(s.inner, inner)
	less(inner.outer, s)
}

func less(m map[*Set]int, k *Set) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

func (s *Set) innerSets() map[*Set]int { return s.inner }
func (s *Set) outerSets() map[*Set]int { return s.outer }

// depth is the number of sets on the longest chain that begins with s, or -1
// if the chain meets avoid. Chains are never longer than maxNesting, but many
// paths may lead to one set: each set's depth is worked out once.
func depth(s *Set, next func(*Set) map[*Set]int, avoid *Set) int {
	seen := map[*Set]int{}
	var walk func(*Set) int
	walk = func(s *Set) int {
		if s == avoid {
			return -1
		}
		if d, ok := seen[s]; ok {
			return d
		}
		most := 0
		for n := range next(s) {
			d := walk(n)
			if d < 0 {
				return -1
			}
			most = max(most, d)
		}
		seen[s] = most + 1
		return most + 1
	}
	return walk(s)
}
