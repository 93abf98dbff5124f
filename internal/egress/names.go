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
	// maxAnswers bounds the pairs of an address and a name, maxNames the names of one address.
	maxAnswers = 8192
	maxNames   = 64
)

// nameTable has the names that addresses stand for, because our resolver said so.
type nameTable struct {
	byAddr  map[netip.Addr][]answer
	answers int
	// sweepAt is when an answer can be forgotten at the earliest.
	sweepAt time.Time
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
	if t.answers >= maxAnswers || len(known) >= maxNames {
		t.sweep(now)
		known = t.byAddr[addr]
		if t.answers >= maxAnswers || len(known) >= maxNames {
			return false
		}
	}
	if t.byAddr == nil {
		t.byAddr = map[netip.Addr][]answer{}
	}
	if t.answers == 0 || until.Add(lateData).Before(t.sweepAt) {
		t.sweepAt = until.Add(lateData)
	}
	t.byAddr[addr] = append(known, answer{name, until, forever})
	t.answers++
	return true
}

// sweep forgets what has held once, and no longer counts for anything.
func (t *nameTable) sweep(now time.Time) {
	if now.Before(t.sweepAt) {
		return
	}
	t.sweepAt = now.Add(maxTTL)
	for addr, known := range t.byAddr {
		kept := known[:0]
		for _, a := range known {
			forgotten := a.until.Add(lateData)
			if !a.forever && !now.Before(forgotten) {
				t.answers--
				continue
			}
			if !a.forever && forgotten.Before(t.sweepAt) {
				t.sweepAt = forgotten
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
