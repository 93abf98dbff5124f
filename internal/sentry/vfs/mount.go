package vfs

import (
	"maps"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Mount is one file system, or a part of one, attached to the tree.
//
// A mount is counted: one reference while it is attached, one for each mount
// on top of it, and one for every Path. It ends with the last.
type Mount struct {
	id     int
	super  *super
	root   *Dentry // what of the file system is visible
	source string
	flags  atomic.Uint64

	refs atomic.Int64
	// writers counts what holds the mount writable: descriptions open for
	// writing. It is -1 while the mount is being made read-only.
	writers atomic.Int64

	// children finds the mounts on top of this one by their mount point. The
	// map is replaced, not changed, so that the path walk needs no lock.
	children atomic.Pointer[map[*Dentry]*Mount]

	// Guarded by mountMu.
	ns    *MountNamespace // nil once detached
	point Path            // where it is attached; invalid for a root
}

// mountMu guards the shape of all mount trees. There is one for all
// namespaces because a mount's place is looked at without knowing whose it is.
var mountMu sync.RWMutex

// settable are the flags that a mount may have; the rest of mount(2)'s flags
// say what to do rather than how a mount is.
const settable = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC |
	unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME | unix.MS_NOSYMFOLLOW

// mountFlags returns the flags of a mount that is asked for with flags:
// MS_RELATIME is the default.
func mountFlags(flags uint64) uint64 {
	switch {
	case flags&unix.MS_STRICTATIME != 0:
		flags &^= unix.MS_RELATIME | unix.MS_NOATIME
	case flags&unix.MS_NOATIME != 0:
		flags &^= unix.MS_RELATIME
	default:
		flags |= unix.MS_RELATIME
	}
	return flags & settable
}

// MountNamespace is a tree of mounts (mount_namespaces(7)).
type MountNamespace struct {
	// root is guarded by mountMu; pivot_root(2) changes it.
	root *Mount
	// count is how many mounts there are, to bound them. Guarded by mountMu.
	count int
}

// maxMounts is how many mounts a namespace may have (fs.mount-max is 100,000
// on Linux; the mounts of a sandbox are few).
const maxMounts = 10000

var lastMount atomic.Int64

// NewMountNamespace returns a namespace whose root is fs, or nil if fs has no
// usable root.
func NewMountNamespace(fs FileSystem, flags uint64) *MountNamespace {
	m, err := newMount(fs, nil, flags, fs.Name())
	if err != nil {
		return nil
	}
	ns := &MountNamespace{root: m, count: 1}
	m.ns = ns
	return ns
}

// newMount returns a mount with one reference, that of being attached. root
// is a directory of fs, or nil for all of it.
func newMount(fs FileSystem, root *Dentry, flags uint64, source string) (*Mount, error) {
	s, err := superOf(fs)
	if err != nil {
		return nil, err
	}
	if root == nil {
		root = s.root
	}
	root.IncRef()
	m := &Mount{id: int(lastMount.Add(1)), super: s, root: root, source: source}
	m.flags.Store(mountFlags(flags))
	m.refs.Store(1)
	return m, nil
}

// ID numbers the mount, as in /proc/PID/fdinfo.
func (m *Mount) ID() int { return m.id }

// Flags are the mount's MS_* flags.
func (m *Mount) Flags() uint64 { return m.flags.Load() }

// FileSystem is the file system that is mounted.
func (m *Mount) FileSystem() FileSystem { return m.super.fs }

// ReadOnly reports whether nothing may be changed through the mount.
func (m *Mount) ReadOnly() bool { return m.Flags()&unix.MS_RDONLY != 0 }

// NoExec reports whether nothing may be executed from the mount.
func (m *Mount) NoExec() bool { return m.Flags()&unix.MS_NOEXEC != 0 }

// NoSUID reports whether set-user-ID bits have no effect on the mount.
func (m *Mount) NoSUID() bool { return m.Flags()&unix.MS_NOSUID != 0 }

// startWrite counts a writer in, or says EROFS. endWrite undoes it.
func (m *Mount) startWrite() error {
	if m.ReadOnly() {
		return unix.EROFS
	}
	for {
		n := m.writers.Load()
		if n < 0 {
			return unix.EROFS
		}
		if m.writers.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (m *Mount) endWrite() { m.writers.Add(-1) }

// remount changes the flags. EBUSY if the mount is to become read-only and
// something holds it writable.
func (m *Mount) remount(flags uint64) error {
	if flags&unix.MS_RDONLY == 0 || m.ReadOnly() {
		m.flags.Store(mountFlags(flags))
		return nil
	}
	if !m.writers.CompareAndSwap(0, -1) {
		return unix.EBUSY
	}
	m.flags.Store(mountFlags(flags))
	m.writers.Store(0)
	return nil
}

func (m *Mount) incRef() { m.refs.Add(1) }

// tryIncRef takes a reference unless the mount has ended.
func (m *Mount) tryIncRef() bool {
	for {
		n := m.refs.Load()
		if n <= 0 {
			return false
		}
		if m.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (m *Mount) decRef() {
	n := m.refs.Add(-1)
	if n < 0 {
		panic("vfs: mount released twice")
	}
	if n == 0 {
		m.root.DecRef()
		m.super.unmounted()
	}
}

// mountAt returns the mount on top of d in m with a reference, or nil.
func (m *Mount) mountAt(d *Dentry) *Mount {
	for d.mounted.Load() > 0 {
		t := m.children.Load()
		if t == nil {
			return nil
		}
		c := (*t)[d]
		if c == nil {
			return nil
		}
		if c.tryIncRef() {
			return c
		}
	}
	return nil
}

// setChild replaces the map of children. mountMu is held for writing.
func (m *Mount) setChild(d *Dentry, c *Mount) {
	var t map[*Dentry]*Mount
	if old := m.children.Load(); old != nil {
		t = maps.Clone(*old)
	} else {
		t = map[*Dentry]*Mount{}
	}
	if c == nil {
		delete(t, d)
	} else {
		t[d] = c
	}
	m.children.Store(&t)
}

// attach puts m on top of at. It takes over at's references and the
// namespace's claim to m. mountMu is held for writing.
func (ns *MountNamespace) attach(m *Mount, at Path) {
	m.point = at
	at.Mount.setChild(at.Dentry, m)
	at.Dentry.mounted.Add(1)
	ns.adopt(m)
}

// adopt makes m and what is on it part of ns. mountMu is held.
func (ns *MountNamespace) adopt(m *Mount) {
	m.each(func(x *Mount) {
		if x.ns == nil {
			x.ns = ns
			ns.count++
		}
	})
}

// detach takes m off its place and returns the place, whose references are
// the caller's. m remains counted as attached. mountMu is held for writing.
func (m *Mount) detach() Path {
	at := m.point
	at.Dentry.mounted.Add(-1)
	at.Mount.setChild(at.Dentry, nil)
	m.point = Path{}
	return at
}

// each calls f for m and all mounts above it, lower ones first. mountMu is
// held.
func (m *Mount) each(f func(*Mount)) {
	f(m)
	if t := m.children.Load(); t != nil {
		for _, c := range *t {
			c.each(f)
		}
	}
}

// Root is the namespace's root, with a reference taken: what is mounted last
// on its root directory.
func (ns *MountNamespace) Root() Path {
	mountMu.RLock()
	defer mountMu.RUnlock()
	p := Path{ns.root, ns.root.root}
	p.IncRef()
	return p
}

// top follows the mounts on top of p. It takes over p's references and
// returns those of the result.
func (p Path) top() Path {
	for {
		c := p.Mount.mountAt(p.Dentry)
		if c == nil {
			return p
		}
		n := Path{c, c.root}
		n.Dentry.IncRef()
		p.DecRef()
		p = n
	}
}
