package egress

import (
	"net/netip"
	"time"
)

const (
	// minTTL is how long an answer holds at least: a program needs some time from the
	// answer to its last attempt to connect, and many keep an answer a few
	// seconds whatever its TTL.
	minTTL = 10 * time.Second
	// maxTTL bounds how long whoever answers for a name can have an address reachable
	// that he no longer has.
	maxTTL = 24 * time.Hour
	// lateData is for how long after that a flow's first bytes may come: the flow was
	// permitted while the answer held.
	lateData = 3 * time.Minute
	// maxAnswers bounds the pairs of an address and a name, maxNames the names of one
	// address: that of a content network may have many.
	maxAnswers = 16384
	maxNames   = 1024
)

// nameTable has the names that addresses stand for, because our resolver said so.
type nameTable struct {
	byAddr  map[netip.Addr][]answer
	answers int
	// firstEnd is not later than the first time at which an answer no longer holds.
	firstEnd time.Time
}

type answer struct {
	name  string
	until time.Time
	// forever is for what was configured.
	forever bool
}

func (a answer) holds(now time.Time) bool { return a.forever || now.Before(a.until) }

// add takes an answer into the table. false is a full table.
func (t *nameTable) add(addr netip.Addr, name string, ttl time.Duration, forever bool, now time.Time) bool {
	until := now.Add(min(max(ttl, minTTL), maxTTL))
	known := t.byAddr[addr]
	for i := range known {
		if known[i].name == name {
			known[i].forever = known[i].forever || forever
			if until.After(known[i].until) {
				known[i].until = until
			}
			return true
		}
	}
	full := func() bool { return t.answers >= maxAnswers || len(t.byAddr[addr]) >= maxNames }
	for _, late := range []time.Duration{lateData, 0} {
		if full() {
			t.sweep(now, late)
		}
	}
	if full() {
		return false
	}
	if t.byAddr == nil {
		t.byAddr = map[netip.Addr][]answer{}
	}
	if t.answers == 0 || until.Before(t.firstEnd) {
		t.firstEnd = until
	}
	t.byAddr[addr] = append(t.byAddr[addr], answer{name, until, forever})
	t.answers++
	return true
}

// sweep forgets what has not held for some time.
func (t *nameTable) sweep(now time.Time, late time.Duration) {
	if now.Before(t.firstEnd.Add(late)) {
		return
	}
	t.firstEnd = now.Add(maxTTL)
	for addr, known := range t.byAddr {
		kept := known[:0]
		for _, a := range known {
			if !a.forever && !now.Before(a.until.Add(late)) {
				t.answers--
				continue
			}
			if !a.forever && a.until.Before(t.firstEnd) {
				t.firstEnd = a.until
			}
			kept = append(kept, a)
		}
		clear(known[len(kept):])
		if len(kept) == 0 {
			delete(t.byAddr, addr)
		} else {
			t.byAddr[addr] = kept
		}
	}
}
