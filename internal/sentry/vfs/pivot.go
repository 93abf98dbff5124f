package vfs

import "golang.org/x/sys/unix"

// PivotRoot puts newRoot, a mount's root, in the place of root, the root
// directory of the caller and of its mount, and moves the latter to putOld, as
// pivot_root(2). Moving the tasks' root directories is the caller's work.
func (ns *MountNamespace) PivotRoot(root, newRoot, putOld Path) error {
	putOld.IncRef()
	putOld = putOld.top()
	mountMu.Lock()
	if err := ns.mayPivot(root, newRoot, putOld); err != nil {
		mountMu.Unlock()
		putOld.DecRef()
		return err
	}
	m, was := newRoot.Mount, root.Mount
	left := m.detach()
	if was.locked {
		m.locked, was.locked = true, false
	}
	if was.point.Valid() {
		at := was.detach()
		ns.attach(m, at)
	} else {
		ns.root = m
	}
	ns.attach(was, putOld)
	mountMu.Unlock()
	left.DecRef()
	return nil
}

// mayPivot makes the checks of pivot_root(2) in Linux's order.
func (ns *MountNamespace) mayPivot(root, newRoot, putOld Path) error {
	m := newRoot.Mount
	shared := func(x *Mount) bool { return x != nil && x.peers != nil }
	switch {
	case shared(putOld.Mount), shared(m.point.Mount), shared(root.Mount.point.Mount):
		return unix.EINVAL
	case m.ns != ns || root.Mount.ns != ns || putOld.Mount.ns != ns || m.locked:
		return unix.EINVAL
	case newRoot.Dentry.dead.Load(), putOld.Dentry.dead.Load():
		return unix.ENOENT
	case m == root.Mount || putOld.Mount == root.Mount:
		return unix.EBUSY
	case root.Dentry != root.Mount.root || newRoot.Dentry != m.root || !m.point.Valid():
		return unix.EINVAL
	case !newRoot.IsDir() || !putOld.IsDir():
		return unix.ENOTDIR
	case !putOld.reachable(newRoot) || !newRoot.reachable(root):
		return unix.EINVAL
	case putOld.Mount.mountedOn(putOld.Dentry):
		return unix.EBUSY
	}
	return nil
}

// reachable reports whether p lies beneath top, as one walks. mountMu is held.
func (p Path) reachable(top Path) bool {
	for p.Mount != top.Mount {
		if !p.Mount.point.Valid() {
			return false
		}
		p = p.Mount.point
	}
	return p.Dentry.under(top.Dentry)
}
