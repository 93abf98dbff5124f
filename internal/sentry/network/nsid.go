package network

import (
	"sync"
	"weak"

	"golang.org/x/sys/unix"
)

// nsids are the numbers by which a namespace knows others (ip-netns(8), list-id).
type nsids struct {
	mu   sync.Mutex
	ids  map[weak.Pointer[Namespace]]int32
	last int32
}

// maxNSIDs bounds them.
const maxNSIDs = 4096

// ID returns the number by which n knows another namespace; -1 if it has none, and make is not set.
func (n *Namespace) ID(other *Namespace, make bool) int32 {
	n.nsids.mu.Lock()
	defer n.nsids.mu.Unlock()
	if id, ok := n.nsids.ids[weak.Make(other)]; ok {
		return id
	}
	if !make {
		return -1
	}
	for {
		if id := n.nsids.last; n.byID(id) == nil {
			if n.enterID(other, id) != nil {
				return -1
			}
			return id
		}
		n.nsids.last++
	}
}

// SetID gives another namespace a number, or with -1 the next one. EEXIST if it or the number is
// taken.
func (n *Namespace) SetID(other *Namespace, id int32) error {
	if id < 0 {
		if n.ID(other, false) >= 0 {
			return unix.EEXIST
		}
		n.ID(other, true)
		return nil
	}
	n.nsids.mu.Lock()
	defer n.nsids.mu.Unlock()
	if _, ok := n.nsids.ids[weak.Make(other)]; ok || n.byID(id) != nil {
		return unix.EEXIST
	}
	return n.enterID(other, id)
}

// enterID notes a number. n.nsids.mu is held, here and below.
func (n *Namespace) enterID(other *Namespace, id int32) error {
	if n.nsids.ids == nil {
		n.nsids.ids = map[weak.Pointer[Namespace]]int32{}
	}
	if len(n.nsids.ids) >= maxNSIDs {
		return unix.ENOSPC
	}
	n.nsids.ids[weak.Make(other)] = id
	return nil
}

func (n *Namespace) byID(id int32) *Namespace {
	for p, i := range n.nsids.ids {
		if i != id {
			continue
		}
		if other := p.Value(); other != nil {
			return other
		}
		delete(n.nsids.ids, p)
	}
	return nil
}

// ByID returns the namespace of a number, or nil. IDs are all numbers.
func (n *Namespace) ByID(id int32) *Namespace {
	n.nsids.mu.Lock()
	defer n.nsids.mu.Unlock()
	return n.byID(id)
}

func (n *Namespace) IDs() []int32 {
	n.nsids.mu.Lock()
	defer n.nsids.mu.Unlock()
	var out []int32
	for p, id := range n.nsids.ids {
		if p.Value() != nil {
			out = append(out, id)
		}
	}
	return out
}
