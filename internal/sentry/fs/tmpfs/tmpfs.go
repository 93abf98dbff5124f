// Package tmpfs is the file system in memory, tmpfs(5): /tmp, /dev/shm, the
// upper layer of overlays, and the files of memfd_create(2).
//
// A small file lives on the Go heap, page by page. One that grows beyond
// heapMax, or is mapped, moves to a host memfd of its own, because mmap(2)
// needs a descriptor and because large contents should not weigh on the
// garbage collector. Memory and inodes are counted against the limits of the
// mount and of the sandbox (package shmem), and memfds against a budget of the
// process.
//
// Lock order: FS.mu (names and link counts), contents.mu, node.mu.
package tmpfs

import (
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

const (
	pageSize = 4096
	// superMagic is TMPFS_MAGIC, statfs(2)'s f_type.
	superMagic = 0x01021994
	// direntSize is what a directory's size counts for each entry, as Linux
	// does.
	direntSize = 20
	// inodeSize is about what an inode and its name take of the sentry's heap,
	// as the sandbox's account has it.
	inodeSize = 1024
)

// Options are those of a mount. Zero values stand for the defaults.
type Options struct {
	// Size is the limit in bytes, rounded up to pages; 0 for half of the
	// host's memory, -1 for none.
	Size int64
	// Inodes is the limit of inodes and names; 0 for one per two pages of the
	// host's memory, -1 for none.
	Inodes int64
	// Mode is that of the root directory, 01777 by default.
	Mode     uint32
	UID, GID uint32
}

// FS is one instance of tmpfs.
type FS struct {
	dev                 uint32
	root                *dir
	opts                Options
	maxPages, maxInodes int64 // math.MaxInt64 for none

	lastIno atomic.Uint64
	pages   atomic.Int64
	inodes  atomic.Int64
	// account is the sandbox's: pages and inodes are counted there too.
	account *shmem.Account

	// mu guards the entries of all directories, their parents, and all link
	// counts.
	mu sync.RWMutex
}

// New returns an empty file system.
func New(o Options) *FS {
	fs := &FS{dev: vfs.AnonymousDevice(), opts: o, account: &shmem.Sandbox}
	fs.setLimits()
	if o.Mode == 0 {
		o.Mode = 0o1777
	}
	// A mount must not fail for want of a kilobyte, nor be free.
	fs.inodes.Add(1)
	fs.account.Uncharge(-inodeSize)
	fs.root = fs.newDir(vfs.Owner{UID: o.UID, GID: o.GID}, o.Mode)
	fs.root.parent = fs.root
	return fs
}

func (fs *FS) setLimits() {
	const none = 1<<63 - 1
	var half int64 = none
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		half = int64(si.Totalram) * int64(max(si.Unit, 1)) / pageSize / 2
	}
	pick := func(v, deflt int64) int64 {
		switch {
		case v < 0:
			return none
		case v == 0:
			return deflt
		}
		return v
	}
	fs.maxPages = pick(pagesOf(fs.opts.Size), half)
	fs.maxInodes = pick(fs.opts.Inodes, half)
}

// pagesOf is how many pages n bytes take; negative for negative n.
func pagesOf(n int64) int64 {
	if n < 0 {
		return -1
	}
	return n/pageSize + (n%pageSize+pageSize-1)/pageSize
}

// Name implements vfs.FileSystem.
func (fs *FS) Name() string { return "tmpfs" }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root }

// StatFS implements vfs.FileSystem.
func (fs *FS) StatFS() (vfs.StatFS, error) {
	s := vfs.StatFS{Type: superMagic, BlockSize: pageSize, FragSize: pageSize, NameLen: unix.NAME_MAX}
	if fs.opts.Size >= 0 {
		s.Blocks = uint64(fs.maxPages)
		s.Free = uint64(max(0, min(fs.maxPages-fs.pages.Load(), fs.account.Room()/pageSize)))
		s.Available = s.Free
	}
	if fs.opts.Inodes >= 0 {
		s.Files = uint64(fs.maxInodes)
		s.FilesFree = uint64(max(0, fs.maxInodes-fs.inodes.Load()))
	}
	return s, nil
}

// Release implements vfs.FileSystem: it frees all contents, though nobody
// has removed the files.
func (fs *FS) Release() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.root.releaseAll()
	fs.account.Uncharge(fs.inodes.Swap(0) * inodeSize)
}

// charge takes n pages of the limits; false if there are not that many.
func (fs *FS) charge(n int64) bool {
	for {
		used := fs.pages.Load()
		if n > fs.maxPages-used {
			return false
		}
		if fs.pages.CompareAndSwap(used, used+n) {
			break
		}
	}
	if !fs.account.Charge(n * pageSize) {
		fs.pages.Add(-n)
		return false
	}
	return true
}

// uncharge gives pages back. A negative n takes some beyond the limits: for
// what the host has allocated through a mapping already.
func (fs *FS) uncharge(n int64) {
	fs.pages.Add(-n)
	fs.account.Uncharge(n * pageSize)
}

// chargeInode takes one inode, or one name, of the limits.
func (fs *FS) chargeInode() error {
	if fs.inodes.Add(1) > fs.maxInodes {
		fs.inodes.Add(-1)
		return unix.ENOSPC
	}
	if !fs.account.Charge(inodeSize) {
		fs.inodes.Add(-1)
		return unix.ENOSPC
	}
	return nil
}

// unchargeInode gives one back.
func (fs *FS) unchargeInode() {
	fs.inodes.Add(-1)
	fs.account.Uncharge(inodeSize)
}
