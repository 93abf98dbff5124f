package epoll

import (
	"sync"

	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Control is epoll_ctl(2): op is unix.EPOLL_CTL_*, d the description behind
// fd, which the caller holds a reference to, self the set's own description.
func (s *Set) Control(self *vfs.FileDescription, op int32, fd int32, d *vfs.FileDescription, events uint32, data uint64) error {
	if !pollable(d) {
		return unix.EPERM
	}
	if d == self {
		return unix.EINVAL
	}
	if events&unix.EPOLLEXCLUSIVE != 0 && op != unix.EPOLL_CTL_DEL {
		_, nested := d.File.(*Set)
		if op == unix.EPOLL_CTL_MOD || nested || events&^exclusiveOK != 0 {
			return unix.EINVAL
		}
	}
	k := key{fd, d}
	switch op {
	case unix.EPOLL_CTL_ADD:
		return s.add(k, events, data)
	case unix.EPOLL_CTL_MOD:
		return s.modify(k, events, data)
	case unix.EPOLL_CTL_DEL:
		return s.remove(k)
	}
	return unix.EINVAL
}

// pollable reports whether a description has readiness at all: regular files
// and directories, and /dev/null, zero and full, are always ready, and
// epoll(7) refuses them. A File with a method Pollable is an exception.
func pollable(d *vfs.FileDescription) bool {
	if _, ok := d.File.(interface{ Pollable() }); ok || d.Inode == nil {
		return true
	}
	a, err := d.Inode.Attr()
	if err != nil {
		return true
	}
	switch a.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return false
	case unix.S_IFCHR:
		memory := a.RdevMajor == 1 && (a.RdevMinor == 3 || a.RdevMinor == 5 || a.RdevMinor == 7)
		return !memory
	}
	return true
}

func (s *Set) add(k key, events uint32, data uint64) error {
	inner, nested := k.desc.File.(*Set)
	if nested {
		if err := nest(s, inner); err != nil {
			return err
		}
	}
	err := s.insert(k, events, data)
	if err != nil && nested {
		unnest(s, inner)
	}
	return err
}

func (s *Set) insert(k key, events uint32, data uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return unix.EBADF
	}
	if s.items[k] != nil {
		return unix.EEXIST
	}
	if !s.watches.Take(MaxWatches) {
		return unix.ENOSPC
	}
	it := &item{key: k, set: s, flags: events, data: data}
	it.want.Store(wanted(events))
	// The mask is narrowed by want, which a later MOD can change without
	// registering anew.
	it.entry = waiter.Entry{Mask: waiter.All, Listener: it}
	s.items[k] = it
	attach(it)
	k.desc.Register(&it.entry)
	s.wakeIfReady(it)
	return nil
}

func (s *Set) modify(k key, events uint32, data uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[k]
	if it == nil {
		return unix.ENOENT
	}
	if it.flags&unix.EPOLLEXCLUSIVE != 0 {
		return unix.EINVAL
	}
	it.flags, it.data = events, data
	it.want.Store(wanted(events))
	s.wakeIfReady(it)
	return nil
}

func (s *Set) remove(k key) error {
	s.mu.Lock()
	it := s.items[k]
	if it != nil {
		s.drop(it)
	}
	s.mu.Unlock()
	if it == nil {
		return unix.ENOENT
	}
	detach(it)
	if inner, ok := k.desc.File.(*Set); ok {
		unnest(s, inner)
	}
	return nil
}

// drop takes an item out of the set; s.mu is held.
func (s *Set) drop(it *item) {
	it.desc.Unregister(&it.entry)
	it.want.Store(0)
	delete(s.items, it.key)
	s.watches.Add(-1)
	s.readyMu.Lock()
	defer s.readyMu.Unlock()
	if it.queued {
		s.unlink(it)
	}
}

// wanted is the events to look out for under an interest.
func wanted(events uint32) uint32 {
	return events&^inputFlags | uint32(waiter.Always)
}

// wakeIfReady queues an item whose description is ready already; s.mu is held.
func (s *Set) wakeIfReady(it *item) {
	want := it.want.Load()
	if uint32(it.desc.Readiness(waiter.Mask(want)))&want != 0 {
		s.push(it)
		s.queue.Notify(waiter.Readable)
	}
}

// Release implements vfs.File.
func (s *Set) Release() {
	s.mu.Lock()
	s.closed = true
	gone := make([]*item, 0, len(s.items))
	for _, it := range s.items {
		gone = append(gone, it)
		s.drop(it)
	}
	s.mu.Unlock()
	for _, it := range gone {
		detach(it)
		if inner, ok := it.desc.File.(*Set); ok {
			unnest(s, inner)
		}
	}
}

// attached holds the items of every description that is in a set. An entry
// lives as long as its description, so that each carries one release hook
// however often it is added and removed.
var attached = struct {
	sync.Mutex
	by map[*vfs.FileDescription]map[*item]struct{}
}{by: map[*vfs.FileDescription]map[*item]struct{}{}}

func attach(it *item) {
	attached.Lock()
	defer attached.Unlock()
	items, hooked := attached.by[it.desc]
	if !hooked {
		items = map[*item]struct{}{}
		attached.by[it.desc] = items
		it.desc.OnRelease(forget)
	}
	items[it] = struct{}{}
}

func detach(it *item) {
	attached.Lock()
	defer attached.Unlock()
	delete(attached.by[it.desc], it)
}

// forget removes a description that nobody has open any more from all sets.
func forget(d *vfs.FileDescription) {
	attached.Lock()
	items := attached.by[d]
	delete(attached.by, d)
	attached.Unlock()
	for it := range items {
		s := it.set
		s.mu.Lock()
		there := s.items[it.key] == it
		if there {
			s.drop(it)
		}
		s.mu.Unlock()
		if inner, ok := d.File.(*Set); ok && there {
			unnest(s, inner)
		}
	}
}
