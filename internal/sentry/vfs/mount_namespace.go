package vfs

import (
	"sync/atomic"

	"coffer/internal/sentry/auth"
)

// MountNamespace is a tree of mounts (mount_namespaces(7)). It is counted by
// what refers to it; with the last reference all mounts are taken off.
type MountNamespace struct {
	id uint64
	// owner is the user namespace in which capabilities over the mounts count.
	owner *auth.UserNamespace
	refs  atomic.Int64

	// root is guarded by mountMu; pivot_root(2) changes it.
	root *Mount
	// count is how many mounts there are, to bound them. Guarded by mountMu.
	count int
	// changes counts changes of the tree, for who polls /proc/PID/mounts.
	changes atomic.Uint64
}

// MaxMounts is how many mounts a namespace may have (/proc/sys/fs/mount-max;
// 100,000 on Linux, but the mounts of a sandbox are few).
const MaxMounts = 10000

// initialMountNS numbers the first namespace, as other first ones are.
const initialMountNS = 4026531841

// NewMountNamespace returns the first namespace of a sandbox, with one reference,
// whose root is fs; nil if fs has no usable root.
func NewMountNamespace(fs FileSystem, flags uint64) *MountNamespace {
	return NewMountNamespaceFor(auth.Initial, initialMountNS, fs, flags)
}

// NewMountNamespaceFor is NewMountNamespace for a namespace that is owner's and
// numbered id. fs itself stays the initial user namespace's: what it holds was
// there before.
func NewMountNamespaceFor(owner *auth.UserNamespace, id uint64, fs FileSystem, flags uint64) *MountNamespace {
	m, err := newMount(fs, nil, flags, fs.Name())
	if err != nil {
		return nil
	}
	m.super.own(auth.Initial)
	ns := &MountNamespace{id: id, owner: owner, root: m, count: 1}
	ns.refs.Store(1)
	m.ns = ns
	return ns
}

// ID numbers the namespace: nsfs's inode number.
func (ns *MountNamespace) ID() uint64 { return ns.id }

// Owner is the user namespace in which capabilities over the mounts count.
func (ns *MountNamespace) Owner() *auth.UserNamespace { return ns.owner }

// IncRef takes a reference.
func (ns *MountNamespace) IncRef() { ns.refs.Add(1) }

// TryIncRef takes a reference unless the last one is gone.
func (ns *MountNamespace) TryIncRef() bool {
	for {
		n := ns.refs.Load()
		if n <= 0 {
			return false
		}
		if ns.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// DecRef drops a reference; the last one takes all mounts off.
func (ns *MountNamespace) DecRef() {
	if ns.refs.Add(-1) == 0 {
		dropTree(ns.root)
	}
}

// Root is the namespace's root, with a reference taken.
func (ns *MountNamespace) Root() Path {
	mountMu.RLock()
	defer mountMu.RUnlock()
	p := Path{ns.root, ns.root.root}
	p.IncRef()
	return p
}

// Top is the directory that a process that enters the namespace finds as its
// root, with a reference taken: what is mounted last on the root directory.
func (ns *MountNamespace) Top() Path { return ns.Root().top() }

// Holds reports whether p lies in a mount of the namespace.
func (ns *MountNamespace) Holds(p Path) bool {
	mountMu.RLock()
	defer mountMu.RUnlock()
	return p.Valid() && p.Mount.ns == ns
}

// MaySetID reports whether set-user-ID and set-group-ID bits of a program at p
// count for c, who is in ns: the mount is one of ns's, allows them, and is not
// that of a user namespace which c is not in.
func (ns *MountNamespace) MaySetID(c *auth.Credentials, p Path) bool {
	o := p.Mount.super.owner.Load()
	return !p.Mount.NoSUID() && ns.Holds(p) && (o == nil || c.UserNS.Within(o))
}

// Clone copies the namespace with all its mounts, for unshare(2), as number id
// and owner's. The paths in moved, which may lie in it, are replaced by the
// same places of the copy, with their references. Between different user
// namespaces the copy's mounts become slaves of those that are shared, and
// cannot be taken off one by one. ENOSPC if there are too many mounts.
func (ns *MountNamespace) Clone(id uint64, owner *auth.UserNamespace, moved ...*Path) (*MountNamespace, error) {
	mountMu.Lock()
	how := copyOptions{all: true, unbindable: true, toSlave: owner != ns.owner, copies: map[*Mount]*Mount{}}
	m, err := copyTree(ns.root, ns.root.root, how)
	if err != nil {
		mountMu.Unlock()
		return nil, err
	}
	if owner != ns.owner {
		m.lockTree()
	}
	n := &MountNamespace{id: id, owner: owner, root: m}
	n.refs.Store(1)
	n.adopt(m)
	var old []*Mount
	for _, p := range moved {
		if c := how.copies[p.Mount]; c != nil {
			old = append(old, p.Mount)
			c.incRef()
			p.Mount = c
		}
	}
	mountMu.Unlock()
	for _, m := range old {
		m.decRef()
	}
	return n, nil
}

// adopt makes m and what is on it part of ns. mountMu is held.
func (ns *MountNamespace) adopt(m *Mount) {
	m.floating = false
	m.each(func(x *Mount) {
		if x.ns == nil {
			x.ns = ns
			ns.count++
		}
	})
	ns.changes.Add(1)
}

// attach puts m on top of at. It takes over at's references and the
// namespace's claim to m. mountMu is held for writing.
func (ns *MountNamespace) attach(m *Mount, at Path) {
	m.point = at
	at.Mount.hang(at.Dentry, m)
	ns.adopt(m)
}

// detach takes m off its place and returns the place, whose references are
// the caller's. m remains counted as attached. mountMu is held for writing.
func (m *Mount) detach() Path {
	at := m.point
	at.Mount.unhang(at.Dentry, m)
	m.point = Path{}
	if m.ns != nil {
		m.ns.changes.Add(1)
	}
	return at
}
