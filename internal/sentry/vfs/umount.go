package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Unmount takes the mount whose root p is, or the last one mounted on that, off
// the tree; flags are those of umount2(2). The caller drops p afterwards, as
// ever; its reference does not make the mount busy.
func (ns *MountNamespace) Unmount(p Path, flags uint32) error {
	// What "." and descriptors lead to may have been mounted over meanwhile.
	given := p.Mount
	p.IncRef()
	p = p.top()
	defer p.DecRef()
	if flags&unix.MNT_FORCE != 0 && p.IsMountRoot() {
		if a, ok := p.Mount.super.fs.(Aborter); ok {
			a.Abort()
		}
	}
	mountMu.Lock()
	m := p.Mount
	if m.ns != ns || p.Dentry != m.root || !m.point.Valid() || m.locked {
		mountMu.Unlock()
		return unix.EINVAL
	}
	// One reference is that of being attached, one is p's, and one the caller's
	// if nothing is mounted over it.
	own := int64(2)
	if given == m {
		own++
	}
	busy := m.refs.Load() > own
	if flags&unix.MNT_EXPIRE != 0 {
		first := !m.expiring
		m.expiring = true
		if busy || first {
			mountMu.Unlock()
			if busy {
				return unix.EBUSY
			}
			return unix.EAGAIN
		}
	}
	if flags&unix.MNT_DETACH == 0 && (busy || m.busyElsewhere()) {
		mountMu.Unlock()
		return unix.EBUSY
	}
	gone := m.unmountAll()
	mountMu.Unlock()
	gone.release()
	return nil
}

// busyElsewhere reports whether a mount that would go with m, since it came by
// propagation, is in use. Those with mounts on them stay anyway.
func (m *Mount) busyElsewhere() bool {
	for _, c := range m.counterparts() {
		if t := c.children.Load(); (t == nil || len(*t) == 0) && c.refs.Load() > 1 {
			return true
		}
	}
	return false
}

// counterparts are the mounts at the same place of the mounts to which changes
// of m's parent propagate.
func (m *Mount) counterparts() (out []*Mount) {
	if !m.point.Valid() {
		return nil
	}
	for _, x := range m.point.Mount.receivers() {
		if t := x.children.Load(); t != nil && (*t)[m.point.Dentry] != nil {
			out = append(out, (*t)[m.point.Dentry])
		}
	}
	return out
}

// unmountAll takes m and what is on it off, and with each mount its
// counterparts, unless something that stays is mounted on these or they must
// not be taken off by themselves. mountMu is held.
func (m *Mount) unmountAll() dismantled {
	var tree []*Mount
	m.each(func(x *Mount) { tree = append(tree, x) })
	going := map[*Mount]bool{}
	for _, x := range tree {
		going[x] = true
	}
	// Counterparts of what is on top come first, so that those below are seen
	// to be free.
	var gone dismantled
	for _, x := range slices.Backward(tree) {
		for _, c := range x.counterparts() {
			if !going[c] && !c.locked && c.coveredBy(going) {
				going[c] = true
				gone.mounts = append(gone.mounts, c)
			}
		}
	}
	slices.Reverse(tree)
	gone.mounts = append(gone.mounts, tree...)
	for _, x := range gone.mounts {
		gone.take(x)
	}
	return gone
}

// coveredBy reports whether all mounts on m are in the set.
func (m *Mount) coveredBy(set map[*Mount]bool) bool {
	if t := m.children.Load(); t != nil {
		for _, c := range *t {
			if !set[c] {
				return false
			}
		}
	}
	return true
}

// detachAll takes off what other namespaces have mounted on d, a directory
// that is removed.
func (d *Dentry) detachAll() {
	if d.mounted.Load() == 0 {
		return
	}
	mountMu.Lock()
	var gone []dismantled
	for len(mountedAt[d]) > 0 {
		for m := range mountedAt[d] {
			gone = append(gone, m.dismantle())
			break
		}
	}
	mountMu.Unlock()
	for _, g := range gone {
		g.release()
	}
}

// isMountPoint reports whether something is mounted on d in ns.
func (ns *MountNamespace) isMountPoint(d *Dentry) bool {
	if d.mounted.Load() == 0 {
		return false
	}
	mountMu.RLock()
	defer mountMu.RUnlock()
	for m := range mountedAt[d] {
		if m.ns == ns {
			return true
		}
	}
	return false
}
