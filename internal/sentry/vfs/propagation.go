package vfs

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// propagation is how changes on a mount reach others (mount_namespaces(7),
// "Propagation types"). mountMu guards it.
type propagation struct {
	// peers is the group in which changes on any member reach all, or nil.
	peers *peerGroup
	// master is the group whose changes reach this mount, or nil.
	master *peerGroup
	// unbindable mounts cannot be copied by MS_BIND.
	unbindable bool
}

// peerGroup is a set of mounts that share changes. It has members for as long
// as a mount refers to it.
type peerGroup struct {
	id      int
	members map[*Mount]struct{}
	// slaves are the mounts whose master this is.
	slaves map[*Mount]struct{}
}

var lastPeerGroup atomic.Int64

// share makes m a member of a group of its own, unless it has one.
func (m *Mount) share() {
	if m.peers == nil {
		(&peerGroup{id: int(lastPeerGroup.Add(1)), members: map[*Mount]struct{}{}, slaves: map[*Mount]struct{}{}}).add(m)
	}
}

func (g *peerGroup) add(m *Mount) {
	m.peers = g
	g.members[m] = struct{}{}
}

// follow makes m a slave of g, or of nobody.
func (m *Mount) follow(g *peerGroup) {
	if m.master != nil {
		delete(m.master.slaves, m)
	}
	if m.master = g; g != nil {
		g.slaves[m] = struct{}{}
	}
}

// unshare takes m out of its group, and has it follow the group if others are
// left in it. The slaves of a group that is empty follow its master.
func (m *Mount) unshare() {
	g := m.peers
	if g == nil {
		return
	}
	m.peers = nil
	if delete(g.members, m); len(g.members) > 0 {
		m.follow(g)
		return
	}
	for s := range g.slaves {
		s.follow(m.master)
	}
}

// isolate ends all propagation to and from m.
func (m *Mount) isolate() {
	m.unshare()
	m.follow(nil)
	m.unbindable = false
}

// setPropagation changes m's type to that of one MS_* flag.
func (m *Mount) setPropagation(kind uint64) {
	if kind == unix.MS_SHARED {
		m.unbindable = false
		m.share()
		return
	}
	m.unshare()
	m.unbindable = kind == unix.MS_UNBINDABLE
	if kind != unix.MS_SLAVE {
		m.follow(nil)
	}
}

// SetPropagation changes the type of the mount whose root p is, and with
// MS_REC of those on it. flags hold one of MS_SHARED, MS_SLAVE, MS_PRIVATE and
// MS_UNBINDABLE.
func (ns *MountNamespace) SetPropagation(p Path, flags uint64) error {
	mountMu.Lock()
	defer mountMu.Unlock()
	if p.Dentry != p.Mount.root || p.Mount.ns != ns {
		return unix.EINVAL
	}
	kind := flags &^ unix.MS_REC
	if flags&unix.MS_REC == 0 {
		p.Mount.setPropagation(kind)
	} else {
		p.Mount.each(func(m *Mount) { m.setPropagation(kind) })
	}
	ns.changes.Add(1)
	return nil
}

// copied is a tree that is to be attached at a place: what a change of a mount
// makes of another one that shares it.
type copied struct {
	tree *Mount
	at   Path
}

// spread copies the tree m, which is to be attached at the mount point d of the
// mount at, for all mounts to which changes of at propagate. The mounts of m
// become shared. On error nothing is left. mountMu is held.
func spread(m *Mount, at *Mount, d *Dentry) ([]copied, error) {
	if at.peers == nil {
		return nil, nil
	}
	m.each(func(x *Mount) { x.share() })
	s := spreading{d: d, seen: map[*peerGroup]bool{}}
	if err := s.group(at.peers, at, m); err != nil {
		for _, c := range s.out {
			c.tree.dismantle().release()
		}
		return nil, err
	}
	return s.out, nil
}

type spreading struct {
	d    *Dentry
	seen map[*peerGroup]bool
	out  []copied
}

// group copies tree for the members of g but skip, and for g's slaves.
func (s *spreading) group(g *peerGroup, skip, tree *Mount) error {
	s.seen[g] = true
	for x := range g.members {
		if x != skip && s.shows(x) {
			if _, err := s.copy(x, tree, copyOptions{all: true, unbindable: true}); err != nil {
				return err
			}
		}
	}
	for x := range g.slaves {
		switch {
		case x.peers == nil:
			if s.shows(x) {
				if _, err := s.copy(x, tree, copyOptions{all: true, unbindable: true, toSlave: true}); err != nil {
					return err
				}
			}
		case !s.seen[x.peers]:
			// The first of a group of slaves that shows the place gets a slave,
			// shared in turn, of which the others get peers.
			first, t := (*Mount)(nil), tree
			for y := range x.peers.members {
				if s.shows(y) {
					first = y
					break
				}
			}
			if first != nil {
				c, err := s.copy(first, tree, copyOptions{all: true, unbindable: true, toSlave: true})
				if err != nil {
					return err
				}
				c.each(func(y *Mount) { y.share() })
				t = c
			}
			if err := s.group(x.peers, first, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// shows reports whether the mount point can be seen in x.
func (s *spreading) shows(x *Mount) bool {
	if x.ns == nil || x.root.super != s.d.super {
		return false
	}
	s.d.super.mu.RLock()
	defer s.d.super.mu.RUnlock()
	return s.d.within(x.root)
}

func (s *spreading) copy(x, tree *Mount, how copyOptions) (*Mount, error) {
	c, err := copyTree(tree, tree.root, how)
	if err != nil {
		return nil, err
	}
	p := Path{x, s.d}
	p.IncRef()
	s.out = append(s.out, copied{c, p})
	return c, nil
}

// receivers are the mounts to which changes of m propagate, without m.
func (m *Mount) receivers() (out []*Mount) {
	seen := map[*peerGroup]bool{}
	var visit func(g *peerGroup)
	visit = func(g *peerGroup) {
		if g == nil || seen[g] {
			return
		}
		seen[g] = true
		for x := range g.members {
			if x != m {
				out = append(out, x)
			}
		}
		for x := range g.slaves {
			if x.peers == nil {
				out = append(out, x)
			}
			visit(x.peers)
		}
	}
	visit(m.peers)
	return out
}
