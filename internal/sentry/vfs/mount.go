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

	// nameless says that the objects in the mount have no paths.
	nameless bool

	refs atomic.Int64
	// writers counts what holds the mount writable: descriptions open for
	// writing. It is -1 while the mount is being made read-only.
	writers atomic.Int64

	// children finds the mounts on top of this one by their mount point. The
	// map is replaced, not changed, so that the path walk needs no lock.
	children atomic.Pointer[map[*Dentry]*Mount]

	// Guarded by mountMu.
	ns    *MountNamespace // nil while and once detached
	point Path            // where it is attached; invalid for a root
	// floating says that the mount is the root of a tree that was never
	// attached: it goes with the descriptor that holds it (fsmount(2)).
	floating bool
	propagation
	// locked says that the mount cannot be taken off by itself, since it was
	// copied from a more privileged namespace together with what it covers;
	// lockedFlags are flags that must stay as they are for the same reason.
	locked      bool
	lockedFlags uint64
	// expiring says that umount2(2) with MNT_EXPIRE has been here once.
	expiring bool
}

// mountMu guards the shape of all mount trees. There is one for all
// namespaces because a mount's place is looked at without knowing whose it is,
// and because mounts propagate from one to another.
var mountMu mountLock

// mountLock is a lock under which, while it is held for writing, mounts change.
type mountLock struct{ sync.RWMutex }

// Lock locks for writing.
func (l *mountLock) Lock() {
	l.RWMutex.Lock()
	BeginChange()
}

// Unlock undoes Lock.
func (l *mountLock) Unlock() {
	EndChange()
	l.RWMutex.Unlock()
}

// allMounts counts the mounts of all namespaces, to bound them: a tree that is
// shared with itself doubles with each change.
var allMounts atomic.Int64

const maxAllMounts = 100000

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

var lastMount atomic.Int64

// newMount returns a mount with one reference, that of being attached. root
// is a directory of fs, or nil for all of it.
// ENOSPC if there are too many.
func newMount(fs FileSystem, root *Dentry, flags uint64, source string) (*Mount, error) {
	if allMounts.Add(1) > maxAllMounts {
		allMounts.Add(-1)
		return nil, unix.ENOSPC
	}
	s, err := superOf(fs)
	if err != nil {
		allMounts.Add(-1)
		return nil, err
	}
	if root == nil {
		root = s.root
	}
	root.IncRef()
	m := &Mount{id: int(lastMount.Add(1)), super: s, root: root, source: source}
	if s.readOnly {
		flags |= unix.MS_RDONLY
	}
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
func (m *Mount) ReadOnly() bool { return m.super.readOnly || m.Flags()&unix.MS_RDONLY != 0 }

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
// something holds it writable; EPERM for flags that are locked. mountMu is
// held.
func (m *Mount) remount(flags uint64) error {
	if flags&lockedAtime == 0 {
		flags |= m.Flags() & lockedAtime
	}
	changed := mountFlags(flags) ^ m.Flags()
	if held := m.lockedFlags &^ lockedAtime; held&^flags != 0 || m.lockedFlags&lockedAtime != 0 && changed&lockedAtime != 0 {
		return unix.EPERM
	}
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
		allMounts.Add(-1)
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

// hang makes c what is mounted on d in m, replacing nothing. mountMu is held
// for writing.
func (m *Mount) hang(d *Dentry, c *Mount) {
	m.setChild(d, c)
	d.mounted.Add(1)
	if mountedAt[d] == nil {
		mountedAt[d] = map[*Mount]struct{}{}
	}
	mountedAt[d][c] = struct{}{}
}

// unhang undoes hang.
func (m *Mount) unhang(d *Dentry, c *Mount) {
	m.setChild(d, nil)
	d.mounted.Add(-1)
	if delete(mountedAt[d], c); len(mountedAt[d]) == 0 {
		delete(mountedAt, d)
	}
}

// mountedAt finds the mounts on a directory in all namespaces. mountMu guards
// it.
var mountedAt = map[*Dentry]map[*Mount]struct{}{}

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
