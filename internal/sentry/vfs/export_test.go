package vfs

// CachedDentries is how many dentries of fs are in the cache.
func CachedDentries(fs FileSystem) int {
	supers.Lock()
	s := supers.of[fs]
	supers.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.count
}

// HoldNames keeps names in the directory at p from being changed until release is called.
func HoldNames(p Path) (release func()) {
	p.Dentry.ops.RLock()
	return p.Dentry.ops.RUnlock
}

// Supers is the set of file systems that are in use.
func Supers() map[FileSystem]bool {
	namelessMount() // is always there
	supers.Lock()
	defer supers.Unlock()
	m := map[FileSystem]bool{}
	for fs := range supers.of {
		m[fs] = true
	}
	return m
}

// MountCount is how many mounts ns counts, and how many it has.
func MountCount(ns *MountNamespace) (counted, there int) {
	mountMu.RLock()
	defer mountMu.RUnlock()
	ns.root.each(func(*Mount) { there++ })
	return ns.count, there
}

// LimitRecordLocks sets how many record locks there may be on one inode, and on
// all beyond those that there are, until the test ends.
func LimitRecordLocks(t interface{ Cleanup(func()) }, one, all int) {
	locks.Lock()
	defer locks.Unlock()
	oldOne, oldAll := maxRecordLocks, maxAllRecordLocks
	t.Cleanup(func() { maxRecordLocks, maxAllRecordLocks = oldOne, oldAll })
	maxRecordLocks, maxAllRecordLocks = one, locks.records+all
}
