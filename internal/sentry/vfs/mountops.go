package vfs

import (
	"golang.org/x/sys/unix"
)

// Mount puts fs on the place that at leads to. flags are MS_*; source is what
// /proc/mounts shows. It takes no references of the caller's.
func (ns *MountNamespace) Mount(fs FileSystem, at Path, flags uint64, source string) error {
	m, err := newMount(fs, nil, flags, source)
	if err != nil {
		return err
	}
	m.super.own(ns.owner)
	return ns.place(m, at)
}

// Visible reports whether an instance of a file system type is mounted in ns
// with nothing of it covered but empty directories, and no more flags locked
// than flags have: only then may one of the type be mounted who is not
// privileged outside of ns (user_namespaces(7), "Mounting").
func (ns *MountNamespace) Visible(typeName string, flags uint64) bool {
	mountMu.RLock()
	defer mountMu.RUnlock()
	found := false
	ns.root.each(func(m *Mount) {
		if m.super.fs.Name() == typeName && m.root == m.super.root && m.lockedFlags&unix.MS_RDONLY&^flags == 0 && m.uncovered() {
			found = true
		}
	})
	return found
}

// uncovered reports whether nothing but empty directories is hidden by what is
// on m for good. mountMu is held.
func (m *Mount) uncovered() bool {
	if t := m.children.Load(); t != nil {
		for d, c := range *t {
			if e, ok := d.inode.(MountPoint); c.locked && (!ok || !e.AlwaysEmpty()) {
				return false
			}
		}
	}
	return true
}

// MountPoint is implemented by directories that exist to be mounted on.
type MountPoint interface {
	// AlwaysEmpty reports that there is never anything in it.
	AlwaysEmpty() bool
}

// place attaches a new mount, with what is on it, or gives it up.
func (ns *MountNamespace) place(m *Mount, at Path) error {
	at.IncRef()
	at = at.top()
	mountMu.Lock()
	err := ns.mayAttach(m, at)
	if err == nil {
		err = ns.attachAndSpread(m, at)
	}
	mountMu.Unlock()
	if err != nil {
		at.DecRef()
		dropTree(m)
	}
	return err
}

// attachAndSpread attaches m, and copies of it wherever changes of at's mount
// propagate. It takes over at's references unless it fails. mountMu is held.
func (ns *MountNamespace) attachAndSpread(m *Mount, at Path) error {
	copies, err := spread(m, at.Mount, at.Dentry)
	if err != nil {
		return err
	}
	n := m.size()
	for _, c := range copies {
		if c.at.Mount.ns.count+n > MaxMounts {
			for _, c := range copies {
				c.at.DecRef()
				c.tree.dismantle().release()
			}
			return unix.ENOSPC
		}
	}
	ns.attach(m, at)
	for _, c := range copies {
		to := c.at.Mount.ns
		if to.owner != ns.owner {
			c.tree.lockTree()
			c.tree.locked = false
		}
		// What is there already goes on top: it was mounted where the copy
		// now is the floor.
		if above := (*Mount)(nil); c.at.Mount.mountedOn(c.at.Dentry) {
			above = (*c.at.Mount.children.Load())[c.at.Dentry]
			old := above.detach()
			to.attach(c.tree, c.at)
			floor := c.tree.ceiling()
			floor.IncRef()
			to.attach(above, floor)
			old.DecRef()
			continue
		}
		to.attach(c.tree, c.at)
	}
	return nil
}

// ceiling is the root of what is mounted last on m's root directory. mountMu
// is held; the path is not counted.
func (m *Mount) ceiling() Path {
	for m.mountedOn(m.root) {
		m = (*m.children.Load())[m.root]
	}
	return Path{m, m.root}
}

// size is how many mounts the tree m has. mountMu is held.
func (m *Mount) size() (n int) {
	m.each(func(*Mount) { n++ })
	return n
}

// mayAttach checks that m can go on top of at. mountMu is held.
func (ns *MountNamespace) mayAttach(m *Mount, at Path) error {
	switch {
	case at.Mount.ns != ns:
		return unix.EINVAL
	case ns.count+m.size() > MaxMounts:
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
		gone.take(gone.mounts[i])
	}
	return gone
}

// take takes one mount, on which there is nothing any more, off.
func (g *dismantled) take(x *Mount) {
	if x.point.Valid() {
		g.points = append(g.points, x.detach())
	}
	if x.ns != nil {
		x.ns.count--
		x.ns.changes.Add(1)
		x.ns = nil
	}
	x.floating = false
	x.isolate()
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
	m, err := ns.bindable(from, flags&unix.MS_REC != 0)
	if err != nil {
		return err
	}
	return ns.place(m, at)
}

// bindable copies what from leads to, for Bind.
func (ns *MountNamespace) bindable(from Path, all bool) (*Mount, error) {
	if from.Dentry.kind == unix.S_IFLNK || from.Mount.nameless && !from.bindsInto(ns) {
		return nil, unix.EINVAL
	}
	mountMu.Lock()
	defer mountMu.Unlock()
	m := from.Mount
	switch {
	case m.unbindable:
		return nil, unix.EINVAL
	case m.ns != ns && !m.floats() && !m.nameless:
		return nil, unix.EINVAL
	case !all && m.hidesUnder(from.Dentry):
		return nil, unix.EINVAL
	}
	c, err := copyTree(m, from.Dentry, copyOptions{all: all})
	if err == nil {
		// It covers nothing that was there.
		c.locked = false
	}
	return c, err
}

// Bindable is implemented by inodes that can be bound although they have no
// path: namespaces. BindsInto says whether it may be in ns: a mount namespace
// must not hold itself, nor one that holds it.
type Bindable interface{ BindsInto(ns *MountNamespace) bool }

func (p Path) bindsInto(ns *MountNamespace) bool {
	b, ok := p.Inode().(Bindable)
	return ok && b.BindsInto(ns)
}

// floats reports whether m is of a tree that open_tree(2) or fsmount(2) made
// and nobody has attached. mountMu is held.
func (m *Mount) floats() bool {
	for m.point.Valid() {
		m = m.point.Mount
	}
	return m.floating
}

// hidesUnder reports whether something on d, or below it, may not be uncovered
// by a copy without what is mounted there. mountMu is held.
func (m *Mount) hidesUnder(d *Dentry) bool {
	if t := m.children.Load(); t != nil {
		for at, c := range *t {
			if c.locked && at.under(d) {
				return true
			}
		}
	}
	return false
}

// under is within, with the lock taken.
func (d *Dentry) under(top *Dentry) bool {
	d.super.mu.RLock()
	defer d.super.mu.RUnlock()
	return d.within(top)
}

// lockTree keeps the mounts of a tree from being taken off one by one, and
// their flags from being lifted. mountMu is held.
func (m *Mount) lockTree() {
	m.each(func(x *Mount) {
		x.locked = true
		x.lockedFlags |= x.Flags()&(unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC) | lockedAtime
	})
}

// lockedAtime in Mount.lockedFlags says that the flags about access times must
// stay as they are.
const lockedAtime = unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME

// copyOptions say how a tree is copied.
type copyOptions struct {
	// all copies the mounts on top of what is shown, unbindable also those that
	// MS_BIND leaves out.
	all, unbindable bool
	// toSlave makes the copies of shared mounts slaves rather than peers.
	toSlave bool
	// copies, if not nil, gets the copy of each mount.
	copies map[*Mount]*Mount
}

// copyTree copies a mount, showing root of it. The copy is not attached.
// EPERM if what must not be uncovered would be. mountMu is held.
func copyTree(m *Mount, root *Dentry, how copyOptions) (*Mount, error) {
	c, err := newMount(m.super.fs, root, m.Flags(), m.source)
	if err != nil {
		return nil, err
	}
	c.locked, c.lockedFlags = m.locked, m.lockedFlags
	c.unbindable = m.unbindable && how.unbindable
	switch {
	case m.peers != nil && how.toSlave:
		c.follow(m.peers)
	default:
		if m.peers != nil {
			m.peers.add(c)
		}
		c.follow(m.master)
	}
	if how.copies != nil {
		how.copies[m] = c
	}
	t := m.children.Load()
	if !how.all || t == nil {
		return c, nil
	}
	children := make(map[*Dentry]*Mount, len(*t))
	for d, child := range *t {
		if !d.under(root) {
			continue
		}
		if child.unbindable && !how.unbindable {
			if child.locked {
				err = unix.EPERM
				break
			}
			continue
		}
		var cc *Mount
		if cc, err = copyTree(child, child.root, how); err != nil {
			break
		}
		cc.point = Path{c, d}
		cc.point.IncRef()
		children[d] = cc
	}
	// The map is stored once, since each change of it copies it.
	c.children.Store(&children)
	for d, cc := range children {
		d.mounted.Add(1)
		if mountedAt[d] == nil {
			mountedAt[d] = map[*Mount]struct{}{}
		}
		mountedAt[d][cc] = struct{}{}
	}
	if err != nil {
		// What is released here may not take mountMu, and does not.
		c.dismantle().release()
		return nil, err
	}
	return c, nil
}

// Remount changes the flags of the mount whose root p is (MS_REMOUNT with
// MS_BIND). EPERM for flags that a more privileged namespace has set.
func (ns *MountNamespace) Remount(p Path, flags uint64) error {
	mountMu.Lock()
	defer mountMu.Unlock()
	if p.Dentry != p.Mount.root || p.Mount.ns != ns {
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
	var old Path
	err := ns.mayMove(m, at)
	if err == nil {
		old = m.detach()
		if err = ns.attachAndSpread(m, at); err != nil {
			m.point = old
			old.Mount.hang(old.Dentry, m)
		}
	}
	mountMu.Unlock()
	if err != nil {
		at.DecRef()
		return err
	}
	old.DecRef()
	return nil
}

// mayMove checks that the attached mount m can go to at. mountMu is held.
func (ns *MountNamespace) mayMove(m *Mount, at Path) error {
	switch {
	case m.ns != ns || at.Mount.ns != ns || !m.point.Valid() || m.locked || m.point.Mount.peers != nil:
		return unix.EINVAL
	case m.root.isDir() != at.IsDir():
		return unix.ENOTDIR
	case at.Mount.peers != nil && m.anyUnbindable():
		return unix.EINVAL
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
}

func (m *Mount) anyUnbindable() (any bool) {
	m.each(func(x *Mount) { any = any || x.unbindable })
	return any
}
