package vfs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Event is one thing that happened to a watched inode, for inotify(7).
type Event struct {
	// Mask is one unix.IN_* event, with IN_ISDIR where it applies.
	Mask uint32
	// Cookie is the same for the two halves of a rename.
	Cookie uint32
	// Name is the entry's name if the event is a directory watch's.
	Name string
	// Unlinked says that the object has no name left (IN_EXCL_UNLINK).
	Unlinked bool
}

// Notifier is told of events on the inodes that it watches. HandleEvent must
// not block, nor call into vfs.
type Notifier interface{ HandleEvent(Event) }

// watches holds who watches what, by Identity. count lets the common case,
// that nobody watches anything, cost one load.
var watches = struct {
	count atomic.Int64
	sync.RWMutex
	by map[any][]Notifier
}{by: map[any][]Notifier{}}

// Watch adds n to the watchers of an inode. The caller keeps a Path to the
// inode as long as it watches.
func Watch(ino Inode, n Notifier) {
	watches.Lock()
	defer watches.Unlock()
	k := Identity(ino)
	watches.by[k] = append(watches.by[k][:len(watches.by[k]):len(watches.by[k])], n)
	watches.count.Add(1)
}

// Unwatch undoes Watch; it is harmless if n does not watch ino.
func Unwatch(ino Inode, n Notifier) {
	watches.Lock()
	defer watches.Unlock()
	k := Identity(ino)
	old := watches.by[k]
	for i, w := range old {
		if w != n {
			continue
		}
		rest := make([]Notifier, 0, len(old)-1)
		rest = append(append(rest, old[:i]...), old[i+1:]...)
		if len(rest) == 0 {
			delete(watches.by, k)
		} else {
			watches.by[k] = rest
		}
		watches.count.Add(-1)
		return
	}
}

// watched reports whether anybody watches anything.
func watched() bool { return watches.count.Load() != 0 }

// notify tells an inode's watchers.
func notify(ino Inode, e Event) {
	if ino == nil || !watched() {
		return
	}
	watches.RLock()
	list := watches.by[Identity(ino)]
	watches.RUnlock()
	for _, n := range list {
		n.HandleEvent(e)
	}
}

// notify tells the watchers of the object at p, and those of its directory.
func (p Path) notify(mask uint32) {
	if p.Dentry == nil || p.Mount == namelessMount() {
		return
	}
	d := p.Dentry
	if d.isDir() {
		mask |= unix.IN_ISDIR
	}
	d.super.mu.RLock()
	dir, name, dead := d.parent, d.name, d.dead.Load()
	d.super.mu.RUnlock()
	if dir != nil && !dead {
		notify(dir.inode, Event{Mask: mask, Name: name})
	}
	notify(d.inode, Event{Mask: mask, Unlinked: dead})
}

// notifyClose tells that the description is closed for good.
func (d *FileDescription) notifyClose() {
	switch {
	case d.Flags()&unix.O_PATH != 0:
	case d.CanWrite():
		d.Path.notify(unix.IN_CLOSE_WRITE)
	default:
		d.Path.notify(unix.IN_CLOSE_NOWRITE)
	}
}
