// Package inotify is inotify(7): what happened to files and directories, as
// records that are read.
//
// It must not know paths beyond holding them, nor tasks.
//
// Lock order: vfs's locks, Instance.mu, its waiter queue. Events come in
// under vfs's locks; so nothing is called into vfs with mu held, and what an
// event ends is cleared up by the next call from outside.
package inotify

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/quota"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	// MaxInstances, MaxWatches and MaxQueued are /proc/sys/fs/inotify's
	// max_user_instances, max_user_watches and max_queued_events.
	MaxInstances = 128
	MaxWatches   = 65536
	MaxQueued    = 16384

	headerSize = 16 // struct inotify_event without its name
	// onWatch are the flags of a watch that are not events.
	onWatch = unix.IN_ONESHOT | unix.IN_EXCL_UNLINK
	// always are events that nobody has to ask for.
	always = unix.IN_IGNORED | unix.IN_UNMOUNT | unix.IN_Q_OVERFLOW
)

// Instance is one inotify file.
type Instance struct {
	anon.File
	queue waiter.Queue
	// instances and watches are what the user has who made it.
	instances, watches *quota.Count

	mu     sync.Mutex
	events []record
	byWD   map[int32]*watch
	byID   map[any]*watch
	lastWD int32
	// ended are watches that an event removed, whose paths are still held.
	ended []*watch
}

type record struct {
	wd           int32
	mask, cookie uint32
	name         string
}

// watch is one inode that is watched.
type watch struct {
	in   *Instance
	wd   int32
	path vfs.Path
	id   any
	mask uint32 // guarded by in.mu
}

// New returns a description of an instance without watches. flags may hold
// IN_NONBLOCK. instances and watches count what its user has; EMFILE beyond
// MaxInstances.
func New(flags uint32, instances, watches *quota.Count) (*vfs.FileDescription, error) {
	if !instances.Take(MaxInstances) {
		return nil, unix.EMFILE
	}
	in := &Instance{instances: instances, watches: watches, byWD: map[int32]*watch{}, byID: map[any]*watch{}}
	return anon.NewFile(in, "inotify", unix.O_RDONLY|flags&unix.O_NONBLOCK), nil
}

// Add watches what path leads to, or changes its watch, and returns the watch
// descriptor. It takes over path's reference. EEXIST with IN_MASK_CREATE if
// there is a watch, ENOSPC beyond the limit.
func (in *Instance) Add(path vfs.Path, mask uint32) (int32, error) {
	defer in.sweep()
	id := vfs.Identity(path.Inode())
	flags := mask & (unix.IN_MASK_ADD | unix.IN_MASK_CREATE)
	mask &= unix.IN_ALL_EVENTS | onWatch

	in.mu.Lock()
	if w := in.byID[id]; w != nil {
		defer path.DecRef()
		defer in.mu.Unlock()
		switch {
		case flags&unix.IN_MASK_CREATE != 0:
			return 0, unix.EEXIST
		case flags&unix.IN_MASK_ADD != 0:
			w.mask |= mask
		default:
			w.mask = mask
		}
		return w.wd, nil
	}
	if !in.watches.Take(MaxWatches) {
		in.mu.Unlock()
		path.DecRef()
		return 0, unix.ENOSPC
	}
	for in.lastWD++; in.lastWD <= 0 || in.byWD[in.lastWD] != nil; in.lastWD++ {
		in.lastWD = max(in.lastWD, 0)
	}
	w := &watch{in: in, wd: in.lastWD, path: path, id: id, mask: mask}
	in.byWD[w.wd], in.byID[id] = w, w
	in.mu.Unlock()
	// A reference of our own, for the case that the watch is removed again
	// before it has begun.
	path.IncRef()
	defer path.DecRef()
	vfs.Watch(path.Inode(), w)
	in.mu.Lock()
	removed := in.byWD[w.wd] != w
	in.mu.Unlock()
	if removed {
		vfs.Unwatch(path.Inode(), w)
	}
	return w.wd, nil
}

// Remove ends a watch; EINVAL if wd is not one.
func (in *Instance) Remove(wd int32) error {
	in.mu.Lock()
	w := in.byWD[wd]
	if w != nil {
		in.endLocked(w)
	}
	in.mu.Unlock()
	if w == nil {
		return unix.EINVAL
	}
	in.sweep()
	return nil
}

// endLocked takes a watch out and says so in the queue.
func (in *Instance) endLocked(w *watch) {
	delete(in.byWD, w.wd)
	delete(in.byID, w.id)
	in.watches.Add(-1)
	in.ended = append(in.ended, w)
	in.pushLocked(record{wd: w.wd, mask: unix.IN_IGNORED})
}

// sweep lets go of the inodes of ended watches.
func (in *Instance) sweep() {
	in.mu.Lock()
	ended := in.ended
	in.ended = nil
	in.mu.Unlock()
	for _, w := range ended {
		vfs.Unwatch(w.path.Inode(), w)
		w.path.DecRef()
	}
}

// HandleEvent implements vfs.Notifier.
func (w *watch) HandleEvent(e vfs.Event) {
	in := w.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.byWD[w.wd] != w {
		return
	}
	if e.Unlinked && e.Name != "" && w.mask&unix.IN_EXCL_UNLINK != 0 {
		return
	}
	event := e.Mask & (unix.IN_ALL_EVENTS | always)
	if event&(w.mask|always) != 0 {
		in.pushLocked(record{w.wd, e.Mask, e.Cookie, e.Name})
	}
	if event&(unix.IN_DELETE_SELF|unix.IN_UNMOUNT) != 0 || w.mask&unix.IN_ONESHOT != 0 && event&w.mask != 0 {
		in.endLocked(w)
	}
}

// pushLocked queues a record, unless it repeats the one before it.
func (in *Instance) pushLocked(r record) {
	n := len(in.events)
	if n > 0 && in.events[n-1] == r {
		return
	}
	if n >= MaxQueued {
		r = record{wd: -1, mask: unix.IN_Q_OVERFLOW}
		if in.events[n-1] == r {
			return
		}
	}
	in.events = append(in.events, r)
	in.queue.Notify(waiter.Readable)
}

// size is how long a record is in guest memory.
func (r *record) size() int {
	if r.name == "" {
		return headerSize
	}
	return headerSize + (len(r.name)+1+headerSize-1)/headerSize*headerSize
}

func (r *record) encode(p []byte) {
	le := binary.LittleEndian
	le.PutUint32(p, uint32(r.wd))
	le.PutUint32(p[4:], r.mask)
	le.PutUint32(p[8:], r.cookie)
	le.PutUint32(p[12:], uint32(r.size()-headerSize))
	clear(p[headerSize:r.size()])
	copy(p[headerSize:], r.name)
}

// Read implements vfs.File: whole records only. EINVAL if not even the first
// one fits.
func (in *Instance) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	defer in.sweep()
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.events) == 0 {
		return 0, unix.EAGAIN
	}
	n, taken := 0, 0
	for taken < len(in.events) && in.events[taken].size() <= len(p)-n {
		r := &in.events[taken]
		r.encode(p[n:])
		n += r.size()
		taken++
	}
	if taken == 0 {
		return 0, unix.EINVAL
	}
	in.events = slices.Delete(in.events, 0, taken)
	return n, nil
}

// Readiness implements waiter.Waitable.
func (in *Instance) Readiness(mask waiter.Mask) waiter.Mask {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.events) > 0 {
		return mask & waiter.Readable
	}
	return 0
}

// Register implements waiter.Waitable.
func (in *Instance) Register(e *waiter.Entry) { in.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (in *Instance) Unregister(e *waiter.Entry) { in.queue.Unregister(e) }

// Ioctl implements vfs.File: FIONREAD.
func (in *Instance) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	if cmd != unix.TIOCINQ {
		return 0, unix.ENOTTY
	}
	n := 0
	in.mu.Lock()
	for i := range in.events {
		n += in.events[i].size()
	}
	in.mu.Unlock()
	_, err := c.CopyOut(arg, binary.LittleEndian.AppendUint32(nil, uint32(n)))
	return 0, err
}

// Release implements vfs.File.
func (in *Instance) Release() {
	in.mu.Lock()
	for _, w := range in.byWD {
		in.ended = append(in.ended, w)
	}
	in.watches.Add(-int64(len(in.byWD)))
	in.instances.Add(-1)
	clear(in.byWD)
	clear(in.byID)
	in.events = nil
	in.mu.Unlock()
	in.sweep()
}

// FDInfo is what /proc/PID/fdinfo says beside the common lines.
func (in *Instance) FDInfo() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	var b strings.Builder
	for wd, w := range in.byWD {
		fmt.Fprintf(&b, "inotify wd:%x mask:%x ignored_mask:0\n", wd, w.mask)
	}
	return b.String()
}
