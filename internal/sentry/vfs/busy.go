package vfs

import (
	"sync"

	"golang.org/x/sys/unix"
)

// writers counts, for each regular file by its Identity, the descriptions
// that may write to it; or, below zero, the running programs that it is.
// A file is never both (ETXTBSY in execve(2) and open(2)).
var writers = struct {
	sync.Mutex
	by map[any]int
}{by: map[any]int{}}

// countWriter moves an inode's count by step, 1 or -1. ETXTBSY if the count
// is on the other side of zero.
func countWriter(ino Inode, step int) error {
	id := Identity(ino)
	writers.Lock()
	defer writers.Unlock()
	n := writers.by[id]
	if n*step < 0 {
		return unix.ETXTBSY
	}
	writers.by[id] = n + step
	return nil
}

// uncountWriter undoes countWriter.
func uncountWriter(ino Inode, step int) {
	id := Identity(ino)
	writers.Lock()
	defer writers.Unlock()
	if n := writers.by[id] - step; n != 0 {
		writers.by[id] = n
	} else {
		delete(writers.by, id)
	}
}

// mayTruncate is ETXTBSY for a running program.
func mayTruncate(ino Inode) error {
	writers.Lock()
	defer writers.Unlock()
	if writers.by[Identity(ino)] < 0 {
		return unix.ETXTBSY
	}
	return nil
}

// Written reports whether some description may write to the file at p, so that
// it cannot be executed.
func (p Path) Written() bool {
	writers.Lock()
	defer writers.Unlock()
	return writers.by[Identity(p.Inode())] > 0
}

// DenyWrites keeps others from opening the file for writing for as long as the
// description exists, as execve(2) does with a program. ETXTBSY if somebody
// has it open for writing. Files without a path are written by those who made
// them, and not denied.
func (d *FileDescription) DenyWrites() error {
	if !d.Path.Valid() || d.counted.Load() != 0 {
		return nil
	}
	if err := countWriter(d.Inode, -1); err != nil {
		return err
	}
	if !d.counted.CompareAndSwap(0, -1) {
		uncountWriter(d.Inode, -1)
	}
	return nil
}
