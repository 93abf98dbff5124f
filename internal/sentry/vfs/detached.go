package vfs

import (
	"golang.org/x/sys/unix"
)

// detachedTree is the file of a descriptor that holds a tree of mounts which is
// attached nowhere, as open_tree(2) and fsmount(2) return. If nobody attaches
// the tree it goes with the descriptor.
type detachedTree struct {
	pathFile
	root *Mount
}

// Release implements File.
func (f detachedTree) Release() {
	mountMu.Lock()
	if !f.root.floating {
		mountMu.Unlock()
		return
	}
	gone := f.root.dismantle()
	mountMu.Unlock()
	gone.release()
}

// hold returns a description, opened with O_PATH, of the new tree m.
func (m *Mount) hold() *FileDescription {
	mountMu.Lock()
	m.floating = true
	mountMu.Unlock()
	p := Path{m, m.root}
	p.IncRef()
	return NewDescription(detachedTree{root: m}, p.Inode(), p, unix.O_PATH)
}

// CopyTree copies what p leads to, with all the mounts on it or none, into a
// tree of its own: open_tree(2) with OPEN_TREE_CLONE.
func (ns *MountNamespace) CopyTree(p Path, all bool) (*FileDescription, error) {
	m, err := ns.bindable(p, all)
	if err != nil {
		return nil, err
	}
	return m.hold(), nil
}

// Detached mounts fs in a tree of its own, for fsmount(2). flags are MS_*.
func (ns *MountNamespace) Detached(fs FileSystem, flags uint64, source string) (*FileDescription, error) {
	m, err := newMount(fs, nil, flags, source)
	if err != nil {
		return nil, err
	}
	m.super.own(ns.owner)
	return m.hold(), nil
}

// MoveMount puts the mount whose root from is on at, as move_mount(2): it may
// be attached in ns, or be the root of a tree that is attached nowhere.
func (ns *MountNamespace) MoveMount(from, at Path) error {
	mountMu.RLock()
	floating := from.Mount.floating
	mountMu.RUnlock()
	if !floating {
		return ns.Move(from, at)
	}
	if from.Dentry != from.Mount.root {
		return unix.EINVAL
	}
	at.IncRef()
	at = at.top()
	mountMu.Lock()
	m := from.Mount
	var err error
	switch {
	case !m.floating: // another task was faster
		err = unix.EINVAL
	case at.Mount.peers != nil && m.anyUnbindable():
		err = unix.EINVAL
	default:
		err = ns.mayAttach(m, at)
	}
	if err == nil {
		err = ns.attachAndSpread(m, at)
	}
	mountMu.Unlock()
	if err != nil {
		at.DecRef()
	}
	return err
}

// Attributes are a change of mount_setattr(2).
type Attributes struct {
	// Set and Clear are MS_* flags. What is in neither stays.
	Set, Clear uint64
	// Propagation is an MS_* flag, or 0 to leave the type.
	Propagation uint64
}

// SetAttributes changes the mount whose root p is, and with all those on it:
// all of them or none. EPERM for locked flags, EBUSY for a mount that is to
// become read-only and is being written to.
func (ns *MountNamespace) SetAttributes(p Path, a Attributes, all bool) error {
	mountMu.Lock()
	defer mountMu.Unlock()
	if p.Dentry != p.Mount.root || p.Mount.ns != ns && !p.Mount.floats() {
		return unix.EINVAL
	}
	list := []*Mount{p.Mount}
	if all {
		list = nil
		p.Mount.each(func(m *Mount) { list = append(list, m) })
	}
	before := make([]uint64, len(list))
	for i, m := range list {
		before[i] = m.Flags()
		// With no flag of access times remount keeps those that there are.
		if err := m.remount(before[i]&^a.Clear | a.Set); err != nil {
			for j, done := range list[:i] {
				done.flags.Store(before[j])
			}
			return err
		}
	}
	if a.Propagation != 0 {
		for _, m := range list {
			m.setPropagation(a.Propagation)
		}
	}
	ns.changes.Add(1)
	return nil
}

// Unused gives up a file system that was made and will not be mounted, unless
// it is the only instance of its type and mounted elsewhere.
func Unused(fs FileSystem) {
	if s, err := superOf(fs); err == nil {
		s.unmounted()
	}
}
