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
