package vfs

import (
	"sync"

	"golang.org/x/sys/unix"
)

// FDTable maps descriptor numbers to descriptions. Threads may share it
// (CLONE_FILES); it is reference-counted by its tasks.
type FDTable struct {
	mu    sync.RWMutex
	slots []fdSlot
	// free is not above the lowest free number.
	free int
	refs int
}

type fdSlot struct {
	file    *FileDescription
	cloexec bool
}

// NewFDTable returns an empty table with one reference.
func NewFDTable() *FDTable { return &FDTable{refs: 1} }

// Get returns the description behind fd with a reference taken, or nil.
func (t *FDTable) Get(fd int32) *FileDescription {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if fd < 0 || int(fd) >= len(t.slots) {
		return nil
	}
	f := t.slots[fd].file
	if f != nil {
		f.IncRef()
	}
	return f
}

// Install gives file the lowest free number that is not below min. It takes
// its own reference. EMFILE at limit (RLIMIT_NOFILE), ENFILE if it is a new file
// and the sandbox has too many.
func (t *FDTable) Install(file *FileDescription, min int32, limit uint64, cloexec bool) (int32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := max(int(min), t.free)
	for i < len(t.slots) && t.slots[i].file != nil {
		i++
	}
	if uint64(i) >= limit {
		return -1, unix.EMFILE
	}
	if !file.admit() {
		return -1, unix.ENFILE
	}
	t.grow(i + 1)
	file.IncRef()
	t.slots[i] = fdSlot{file, cloexec}
	if int(min) <= t.free {
		t.free = i + 1
	}
	return int32(i), nil
}

// InstallAt puts file at fd, in place of what was there, which is returned
// for the caller to flush and drop. EBADF at limit.
func (t *FDTable) InstallAt(file *FileDescription, fd int32, limit uint64, cloexec bool) (*FileDescription, error) {
	if fd < 0 || uint64(fd) >= limit {
		return nil, unix.EBADF
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.grow(int(fd) + 1)
	old := t.slots[fd].file
	file.IncRef()
	t.slots[fd] = fdSlot{file, cloexec}
	return old, nil
}

// Remove empties fd and returns what was there, for the caller to flush and
// drop; nil if fd was not open.
func (t *FDTable) Remove(fd int32) *FileDescription {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.remove(int(fd))
}

func (t *FDTable) remove(fd int) *FileDescription {
	if fd < 0 || fd >= len(t.slots) || t.slots[fd].file == nil {
		return nil
	}
	f := t.slots[fd].file
	t.slots[fd] = fdSlot{}
	t.free = min(t.free, fd)
	return f
}

// RemoveRange empties all numbers from first to last and returns the files.
func (t *FDTable) RemoveRange(first, last uint32) []*FileDescription {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*FileDescription
	for i := int64(first); i <= int64(last) && i < int64(len(t.slots)); i++ {
		if f := t.remove(int(i)); f != nil {
			out = append(out, f)
		}
	}
	return out
}

// RemoveCloexec empties all descriptors marked close-on-exec.
func (t *FDTable) RemoveCloexec() []*FileDescription {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*FileDescription
	for i := range t.slots {
		if t.slots[i].file != nil && t.slots[i].cloexec {
			out = append(out, t.remove(i))
		}
	}
	return out
}

// Cloexec returns the close-on-exec flag; ok is false if fd is not open.
func (t *FDTable) Cloexec(fd int32) (set, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if fd < 0 || int(fd) >= len(t.slots) || t.slots[fd].file == nil {
		return false, false
	}
	return t.slots[fd].cloexec, true
}

// SetCloexec sets the flag for all open numbers from first to last.
func (t *FDTable) SetCloexec(first, last uint32, set bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := int64(first); i <= int64(last) && i < int64(len(t.slots)); i++ {
		if t.slots[i].file != nil {
			t.slots[i].cloexec = set
		}
	}
}

// Numbers returns the open descriptor numbers in order.
func (t *FDTable) Numbers() []int32 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []int32
	for i := range t.slots {
		if t.slots[i].file != nil {
			out = append(out, int32(i))
		}
	}
	return out
}

// Fork returns a copy for a new process.
func (t *FDTable) Fork() *FDTable {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := &FDTable{refs: 1, free: t.free, slots: append([]fdSlot(nil), t.slots...)}
	for _, s := range n.slots {
		if s.file != nil {
			s.file.IncRef()
		}
	}
	return n
}

// IncRef takes a reference for a task that shares the table.
func (t *FDTable) IncRef() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refs++
}

// Shared reports whether more than one task uses the table.
func (t *FDTable) Shared() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.refs > 1
}

// DecRef drops a task's reference. With the last one all files are returned,
// for the caller to flush and drop.
func (t *FDTable) DecRef() []*FileDescription {
	t.mu.Lock()
	t.refs--
	last := t.refs == 0
	t.mu.Unlock()
	if !last {
		return nil
	}
	return t.RemoveRange(0, ^uint32(0))
}

func (t *FDTable) grow(n int) {
	if n <= len(t.slots) {
		return
	}
	if n > cap(t.slots) {
		bigger := make([]fdSlot, len(t.slots), max(n, 2*cap(t.slots), 64))
		copy(bigger, t.slots)
		t.slots = bigger
	}
	t.slots = t.slots[:n]
}

// Close does what close(2) does with a description that was taken out of the
// table: it flushes the file, drops the record locks that the table's process
// holds on it (fcntl(2)), and drops the reference. The error is the flush's.
func (t *FDTable) Close(c Caller, f *FileDescription) error {
	err := f.File.Flush(c)
	releasePosixLocks(f.Inode, t)
	f.DecRef()
	return err
}

// HasRoom reports whether a number below limit is free.
func (t *FDTable) HasRoom(limit uint64) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i := t.free
	for i < len(t.slots) && t.slots[i].file != nil {
		i++
	}
	return uint64(i) < limit
}
