package vfs

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// RecordLock is a lock on a range of bytes (fcntl(2), "Advisory record
// locking"), from Start to End inclusive; math.MaxInt64 stands for as far as
// the file may grow.
type RecordLock struct {
	Type       int16 // unix.F_RDLCK, F_WRLCK or F_UNLCK
	Start, End int64
	// PID is the process that set it, -1 for an open file description's lock.
	PID int32
}

// recordLock is one that is held. Its owner is an *FDTable for a process's
// lock, or a *FileDescription.
type recordLock struct {
	RecordLock
	owner any
}

// maxRecordLocks bounds the record locks on one inode, which a guest could
// otherwise split without end, and maxAllRecordLocks those on all. Variables for
// tests only.
var maxRecordLocks, maxAllRecordLocks = 1 << 16, 1 << 20

// Locks are the locks on one inode. It is a waiter.Waitable that reports
// waiter.In whenever one is given up.
type Locks struct {
	key  any
	refs int
	// records of one owner neither overlap nor touch with the same type; they
	// are in no order.
	records []recordLock
	// flocks are the holders of flock(2)'s locks.
	flocks    []*FileDescription
	exclusive bool
	queue     waiter.Queue
}

// locks holds the Locks of all inodes that have any, and who waits for whom.
var locks = struct {
	sync.Mutex
	by map[any]*Locks
	// count is len(by), for the common case that there are none.
	count atomic.Int64
	// records is how many record locks there are on all inodes.
	records int
	waits   []*RecordRequest
}{by: map[any]*Locks{}}

// LocksOf returns the locks on the inode of d. The caller releases it.
func LocksOf(d *FileDescription) *Locks {
	locks.Lock()
	defer locks.Unlock()
	return locksOf(Identity(d.Inode), true)
}

func locksOf(key any, make bool) *Locks {
	l := locks.by[key]
	if l == nil {
		if !make {
			return nil
		}
		l = &Locks{key: key}
		locks.by[key] = l
		locks.count.Store(int64(len(locks.by)))
	}
	l.refs++
	return l
}

// Release drops what LocksOf returned.
func (l *Locks) Release() {
	locks.Lock()
	defer locks.Unlock()
	l.release()
}

func (l *Locks) release() {
	l.refs--
	if l.refs == 0 && len(l.records) == 0 && len(l.flocks) == 0 {
		delete(locks.by, l.key)
		locks.count.Store(int64(len(locks.by)))
	}
}

// Readiness implements waiter.Waitable.
func (l *Locks) Readiness(m waiter.Mask) waiter.Mask { return 0 }

// Register implements waiter.Waitable.
func (l *Locks) Register(e *waiter.Entry) { l.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (l *Locks) Unregister(e *waiter.Entry) { l.queue.Unregister(e) }

// RecordRequest asks for a record lock, and goes on asking while it waits.
type RecordRequest struct {
	Lock RecordLock
	// Owner is the *FDTable of a process, or the *FileDescription.
	Owner any
	// Wait says that the caller is going to wait; then a deadlock between
	// processes is EDEADLK. The caller ends the wait by Locks.Done.
	Wait bool

	blocker any
}

// Set sets or clears a lock: EAGAIN if another owner's is in the way,
// EDEADLK, ENOLCK if there are too many.
func (l *Locks) Set(d *FileDescription, r *RecordRequest) error {
	locks.Lock()
	defer locks.Unlock()
	if r.Lock.Type != unix.F_UNLCK {
		if b := l.conflict(r); b != nil {
			if r.Wait {
				return r.waitFor(b.owner)
			}
			return unix.EAGAIN
		}
	}
	if (len(l.records) >= maxRecordLocks || locks.records >= maxAllRecordLocks) &&
		(r.Lock.Type != unix.F_UNLCK || l.splits(r)) {
		return unix.ENOLCK
	}
	l.apply(r)
	d.locked.Store(true)
	return nil
}

// splits reports whether r takes the middle out of a lock, which leaves two.
func (l *Locks) splits(r *RecordRequest) bool {
	return slices.ContainsFunc(l.records, func(h recordLock) bool {
		return h.owner == r.Owner && h.Start < r.Lock.Start && r.Lock.End < h.End
	})
}

// Get returns a lock of another owner that is in the way of r, or one of type
// F_UNLCK.
func (l *Locks) Get(r *RecordRequest) RecordLock {
	locks.Lock()
	defer locks.Unlock()
	if b := l.conflict(r); b != nil {
		return b.RecordLock
	}
	free := r.Lock
	free.Type = unix.F_UNLCK
	return free
}

// Done ends r's wait.
func (l *Locks) Done(r *RecordRequest) {
	locks.Lock()
	defer locks.Unlock()
	if i := slices.Index(locks.waits, r); i >= 0 {
		locks.waits = slices.Delete(locks.waits, i, i+1)
	}
}

// conflict returns the first lock that keeps r from its own.
func (l *Locks) conflict(r *RecordRequest) *recordLock {
	for i := range l.records {
		h := &l.records[i]
		if h.owner != r.Owner && h.Start <= r.Lock.End && r.Lock.Start <= h.End &&
			(h.Type == unix.F_WRLCK || r.Lock.Type == unix.F_WRLCK) {
			return h
		}
	}
	return nil
}

// waitFor notes that r waits for owner, unless owner waits, maybe through
// others, for r. Only the locks of processes are looked at, as on Linux.
func (r *RecordRequest) waitFor(owner any) error {
	if i := slices.Index(locks.waits, r); i >= 0 {
		locks.waits = slices.Delete(locks.waits, i, i+1)
	}
	if _, ok := r.Owner.(*FDTable); !ok {
		return unix.EAGAIN
	}
	seen := []any{owner}
	for i := 0; i < len(seen); i++ {
		if seen[i] == r.Owner {
			return unix.EDEADLK
		}
		for _, w := range locks.waits {
			if w.Owner == seen[i] && !slices.Contains(seen, w.blocker) {
				seen = append(seen, w.blocker)
			}
		}
	}
	r.blocker = owner
	locks.waits = append(locks.waits, r)
	return unix.EAGAIN
}

// apply makes r's lock replace whatever its owner has in the range.
func (l *Locks) apply(r *RecordRequest) {
	n := recordLock{r.Lock, r.Owner}
	kept := make([]recordLock, 0, len(l.records)+2)
	for _, h := range l.records {
		switch {
		case h.owner != n.owner:
			kept = append(kept, h)
		case h.Type == n.Type && touches(h.RecordLock, n.RecordLock):
			n.Start, n.End = min(n.Start, h.Start), max(n.End, h.End)
		case h.End < n.Start || n.End < h.Start:
			kept = append(kept, h)
		default:
			if h.Start < n.Start {
				left := h
				left.End = n.Start - 1
				kept = append(kept, left)
			}
			if h.End > n.End {
				right := h
				right.Start = n.End + 1
				kept = append(kept, right)
			}
		}
	}
	if n.Type != unix.F_UNLCK {
		kept = append(kept, n)
	}
	locks.records += len(kept) - len(l.records)
	l.records = kept
	l.queue.Notify(waiter.In)
}

// touches reports whether two ranges overlap or follow each other.
func touches(a, b RecordLock) bool {
	return (b.End == math.MaxInt64 || a.Start <= b.End+1) && (a.End == math.MaxInt64 || b.Start <= a.End+1)
}

// Flock sets or clears a lock on the whole file for d; how is unix.LOCK_SH,
// LOCK_EX or LOCK_UN. EAGAIN if another description's is in the way. As on
// Linux a lock that is to be converted is given up first.
func (l *Locks) Flock(d *FileDescription, how int) error {
	locks.Lock()
	defer locks.Unlock()
	if i := slices.Index(l.flocks, d); i >= 0 {
		if how != unix.LOCK_UN && l.exclusive == (how == unix.LOCK_EX) {
			return nil
		}
		l.unflock(i)
	}
	switch {
	case how == unix.LOCK_UN:
		return nil
	case len(l.flocks) > 0 && (l.exclusive || how == unix.LOCK_EX):
		return unix.EAGAIN
	}
	l.flocks = append(l.flocks, d)
	l.exclusive = how == unix.LOCK_EX
	d.locked.Store(true)
	return nil
}

func (l *Locks) unflock(i int) {
	l.flocks = slices.Delete(l.flocks, i, i+1)
	if len(l.flocks) == 0 {
		l.exclusive = false
	}
	l.queue.Notify(waiter.In)
}

// releaseRecords drops all record locks of owner on an inode.
func (l *Locks) releaseRecords(owner any) {
	n := len(l.records)
	l.records = slices.DeleteFunc(l.records, func(h recordLock) bool { return h.owner == owner })
	if len(l.records) != n {
		locks.records += len(l.records) - n
		l.queue.Notify(waiter.In)
	}
}

// releasePosixLocks drops the record locks that a process holds on an inode,
// as any close(2) by it does.
func releasePosixLocks(ino Inode, owner *FDTable) {
	if ino == nil || locks.count.Load() == 0 {
		return
	}
	locks.Lock()
	defer locks.Unlock()
	if l := locksOf(Identity(ino), false); l != nil {
		l.releaseRecords(owner)
		l.release()
	}
}

// releaseLocks drops what hangs on the description itself.
func (d *FileDescription) releaseLocks() {
	locks.Lock()
	defer locks.Unlock()
	l := locksOf(Identity(d.Inode), false)
	if l == nil {
		return
	}
	l.releaseRecords(d)
	if i := slices.Index(l.flocks, d); i >= 0 {
		l.unflock(i)
	}
	l.release()
}

// LockInfo is a line of /proc/locks.
type LockInfo struct {
	RecordLock
	Flock bool
	Inode any // the inode's Identity
}

// AllLocks lists every lock that is held.
func AllLocks() []LockInfo {
	locks.Lock()
	defer locks.Unlock()
	var out []LockInfo
	for _, l := range locks.by {
		for _, r := range l.records {
			out = append(out, LockInfo{RecordLock: r.RecordLock, Inode: l.key})
		}
		for range l.flocks {
			i := LockInfo{Flock: true, Inode: l.key}
			i.Type, i.End = unix.F_RDLCK, math.MaxInt64
			if l.exclusive {
				i.Type = unix.F_WRLCK
			}
			out = append(out, i)
		}
	}
	return out
}
