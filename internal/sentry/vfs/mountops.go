package vfs

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"
)

// Mount puts fs on the place that at leads to. flags are MS_*; source is what
// /proc/mounts shows. It takes no references of the caller's.
func (ns *MountNamespace) Mount(fs FileSystem, at Path, flags uint64, source string) error {
	m, err := newMount(fs, nil, flags, source)
	if err != nil {
		return err
	}
	return ns.place(m, at)
}

// place attaches a new mount, with what is on it, or gives it up.
func (ns *MountNamespace) place(m *Mount, at Path) error {
	at.IncRef()
	at = at.top()
	mountMu.Lock()
	err := ns.mayAttach(m, at)
	if err == nil {
		ns.attach(m, at)
	}
	mountMu.Unlock()
	if err != nil {
		at.DecRef()
		dropTree(m)
	}
	return err
}

// mayAttach checks that m can go on top of at. mountMu is held.
func (ns *MountNamespace) mayAttach(m *Mount, at Path) error {
	n := 0
	m.each(func(*Mount) { n++ })
	switch {
	case at.Mount.ns != ns:
		return unix.EINVAL
	case ns.count+n > maxMounts:
		return unix.ENOSPC
	case at.Dentry.dead.Load():
		return unix.ENOENT
	case m.root.isDir() != at.IsDir():
		return unix.ENOTDIR
	case at.Mount.mountedOn(at.Dentry):
		// Another mount was faster.
		return unix.EBUSY
	}
	return nil
}

// mountedOn reports whether something is mounted on d. mountMu is held.
func (m *Mount) mountedOn(d *Dentry) bool {
	t := m.children.Load()
	return t != nil && (*t)[d] != nil
}

// dropTree gives up a tree of mounts that is not attached anywhere.
func dropTree(m *Mount) {
	mountMu.Lock()
	gone := m.dismantle()
	mountMu.Unlock()
	gone.release()
}

// dismantled is what is to be released once mountMu is given up.
type dismantled struct {
	mounts []*Mount
	points []Path
}

// dismantle takes m and everything on it off the tree. mountMu is held.
func (m *Mount) dismantle() dismantled {
	var gone dismantled
	m.each(func(x *Mount) { gone.mounts = append(gone.mounts, x) })
	for i := len(gone.mounts) - 1; i >= 0; i-- {
		x := gone.mounts[i]
		if x.point.Valid() {
			gone.points = append(gone.points, x.detach())
		}
		if x.ns != nil {
			x.ns.count--
			x.ns = nil
		}
	}
	return gone
}

func (g dismantled) release() {
	for _, p := range g.points {
		p.DecRef()
	}
	for _, m := range g.mounts {
		m.decRef()
	}
}

// Bind makes what from leads to appear at at: MS_BIND, with MS_REC the mounts
// on it too. The flags of the mount are those of from's.
func (ns *MountNamespace) Bind(from, at Path, flags uint64) error {
	if from.Dentry.kind == unix.S_IFLNK || from.Mount == namelessMount() {
		return unix.EINVAL
	}
	mountMu.Lock()
	if from.Mount.ns != ns {
		mountMu.Unlock()
		return unix.EINVAL
	}
	m, err := copyTree(from.Mount, from.Dentry, flags&unix.MS_REC != 0)
	mountMu.Unlock()
	if err != nil {
		return err
	}
	return ns.place(m, at)
}

// copyTree copies a mount, showing root of it, and if asked to the mounts on
// top of what is shown. The copy is not attached. mountMu is held.
func copyTree(m *Mount, root *Dentry, all bool) (*Mount, error) {
	c, err := newMount(m.super.fs, root, m.Flags(), m.source)
	if err != nil || !all {
		return c, err
	}
	t := m.children.Load()
	if t == nil {
		return c, nil
	}
	for d, child := range *t {
		d.super.mu.RLock()
		shown := d.within(root)
		d.super.mu.RUnlock()
		if !shown {
			continue
		}
		cc, err := copyTree(child, child.root, true)
		if err != nil {
			gone := c.dismantle()
			// What is released here may not take mountMu, and does not.
			gone.release()
			return nil, err
		}
		p := Path{c, d}
		p.IncRef()
		cc.point = p
		c.setChild(d, cc)
		d.mounted.Add(1)
	}
	return c, nil
}

// Remount changes the flags of the mount whose root p is (MS_REMOUNT with
// MS_BIND; there are no options of whole file systems to change).
func (ns *MountNamespace) Remount(p Path, flags uint64) error {
	if p.Dentry != p.Mount.root {
		return unix.EINVAL
	}
	return p.Mount.remount(flags)
}

// Move takes the mount whose root from is to another place (MS_MOVE).
func (ns *MountNamespace) Move(from, at Path) error {
	if from.Dentry != from.Mount.root {
		return unix.EINVAL
	}
	at.IncRef()
	at = at.top()
	mountMu.Lock()
	m := from.Mount
	err := func() error {
		if m.ns != ns || at.Mount.ns != ns || !m.point.Valid() {
			return unix.EINVAL
		}
		if m.root.isDir() != at.IsDir() {
			return unix.ENOTDIR
		}
		for x := at.Mount; x != nil; x = x.point.Mount {
			if x == m {
				return unix.ELOOP
			}
		}
		if at.Dentry.dead.Load() {
			return unix.ENOENT
		}
		if at.Mount.mountedOn(at.Dentry) {
			return unix.EBUSY
		}
		return nil
	}()
	var old Path
	if err == nil {
		old = m.detach()
		ns.attach(m, at)
	}
	mountMu.Unlock()
	if err != nil {
		at.DecRef()
		return err
	}
	old.DecRef()
	return nil
}

// Unmount takes the mount whose root p is off the tree; flags are those of
// umount2(2). The caller drops p afterwards, as ever; its reference does not
// make the mount busy.
func (ns *MountNamespace) Unmount(p Path, flags uint32) error {
	if flags&unix.MNT_EXPIRE != 0 {
		return unix.EAGAIN // nothing is ever expired at the first call
	}
	if flags&unix.MNT_FORCE != 0 && p.IsMountRoot() {
		if a, ok := p.Mount.super.fs.(Aborter); ok {
			a.Abort()
		}
	}
	mountMu.Lock()
	m := p.Mount
	if m.ns != ns || p.Dentry != m.root || !m.point.Valid() {
		mountMu.Unlock()
		return unix.EINVAL
	}
	// One reference is that of being attached, one is the caller's.
	if flags&unix.MNT_DETACH == 0 && m.refs.Load() > 2 {
		mountMu.Unlock()
		return unix.EBUSY
	}
	gone := m.dismantle()
	mountMu.Unlock()
	gone.release()
	return nil
}

// PivotRoot makes newRoot, a mount's root, the root of the namespace and
// moves the old root mount to putOld, as pivot_root(2). Moving the tasks'
// root directories is the caller's work.
func (ns *MountNamespace) PivotRoot(root, newRoot, putOld Path) error {
	putOld.IncRef()
	putOld = putOld.top()
	mountMu.Lock()
	m := newRoot.Mount
	err := func() error {
		switch {
		case m.ns != ns || putOld.Mount.ns != ns || root.Mount.ns != ns:
			return unix.EINVAL
		case m == root.Mount || putOld.Mount == root.Mount:
			return unix.EBUSY
		case newRoot.Dentry != m.root || root.Dentry != root.Mount.root || !m.point.Valid():
			return unix.EINVAL
		case root.Mount != ns.root:
			return unix.EINVAL // only the namespace's own root is pivoted
		case !newRoot.IsDir() || !putOld.IsDir():
			return unix.ENOTDIR
		}
		for x := putOld.Mount; ; x = x.point.Mount {
			if x == m {
				return nil
			}
			if x == nil {
				return unix.EINVAL // putOld is not beneath newRoot
			}
		}
	}()
	if err != nil {
		mountMu.Unlock()
		putOld.DecRef()
		return err
	}
	old := m.detach()
	ns.root = m
	ns.attach(root.Mount, putOld)
	mountMu.Unlock()
	old.DecRef()
	return nil
}

// Clone copies the namespace, with all its mounts, for unshare(2).
func (ns *MountNamespace) Clone() *MountNamespace {
	mountMu.Lock()
	defer mountMu.Unlock()
	m, err := copyTree(ns.root, ns.root.root, true)
	if err != nil {
		return nil
	}
	n := &MountNamespace{root: m}
	n.adopt(m)
	return n
}

// Release takes all mounts off, when the namespace's last user is gone.
func (ns *MountNamespace) Release() { dropTree(ns.root) }

// MountInfo describes a mount for /proc/PID/mountinfo.
type MountInfo struct {
	ID, ParentID       int
	DevMajor, DevMinor uint32
	// Root is the path within the file system that is mounted, Point where.
	Root, Point string
	// Flags are the mount's MS_* flags.
	Flags   uint64
	Type    string
	Source  string
	Options string // of the file system, beside "rw" or "ro"
}

// OptionShower is implemented by a FileSystem that has options to show in
// /proc/mounts, comma-separated.
type OptionShower interface{ ShowOptions() string }

// Mounts lists the mounts that can be reached from root, lower ones first.
func (ns *MountNamespace) Mounts(root Path) []MountInfo {
	mountMu.RLock()
	var mounts []*Mount
	ns.root.each(func(m *Mount) { mounts = append(mounts, m) })
	slices.SortFunc(mounts, func(a, b *Mount) int { return cmp.Compare(a.id, b.id) })
	out := make([]MountInfo, 0, len(mounts))
	for _, m := range mounts {
		i := MountInfo{ID: m.id, ParentID: m.id, Flags: m.Flags(), Type: m.super.fs.Name(), Source: m.source}
		if m.point.Valid() {
			i.ParentID = m.point.Mount.id
		}
		at := Path{m, m.root}
		ok := at == root
		i.Point = "/"
		if !ok {
			i.Point, ok = nameUnder(root, at)
		}
		if !ok {
			continue
		}
		i.Root = m.root.nameInSuper()
		out = append(out, i)
		mounts[len(out)-1] = m
	}
	mountMu.RUnlock()
	for i, m := range mounts[:len(out)] {
		if a, err := m.root.inode.Attr(); err == nil {
			out[i].DevMajor, out[i].DevMinor = a.DevMajor, a.DevMinor
		}
		if s, ok := m.super.fs.(OptionShower); ok {
			out[i].Options = s.ShowOptions()
		}
	}
	return out
}
