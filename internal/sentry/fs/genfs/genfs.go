// Package genfs holds what the file systems of generated content share:
// procfs, sysfs and devfs are trees of directories that are listed, and
// files that are written, by functions.
//
// It must not know tasks or what any of the files says.
//
// Lock order: openFile.mu is a leaf but for what the file's generator takes.
package genfs

import (
	"hash/fnv"
	"time"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Blksize is the block size that generated files report.
const Blksize = 4096

// Super is what the inodes of one generated file system share.
type Super struct {
	// DevMinor is the minor number of the anonymous device (major 0).
	DevMinor uint32
	// Boot is the time that attributes show where nothing better is known.
	Boot vfs.Time
	// Flat says what files are that do not say it themselves; nil stands for records.
	Flat *Flat
}

// Flat is a file that lseek(2) takes for Size bytes, up to offset Last. Those without it are made of
// records (Linux's seq_file), which have no end to seek from.
type Flat struct{ Size, Last int64 }

// NearOffset is the last offset that Linux allows in most files of bytes in /proc and /sys (MAX_NON_LFS),
// FarOffset that of the others.
const NearOffset, FarOffset = 1<<31 - 1, 1<<63 - 1

// NewSuper returns a Super whose times are now.
func NewSuper(devMinor uint32) *Super {
	now := time.Now()
	return &Super{DevMinor: devMinor, Boot: vfs.Time{Sec: now.Unix(), Nsec: uint32(now.Nanosecond())}}
}

// Attr returns the attributes of an inode with this number and mode, owned
// by root. Directories and files look empty, as in Linux's proc.
func (s *Super) Attr(ino uint64, mode uint32) vfs.Attr {
	a := vfs.Attr{
		DevMinor: s.DevMinor, Ino: ino, Mode: mode, Nlink: 1, BlockSize: Blksize,
		Atime: s.Boot, Mtime: s.Boot, Ctime: s.Boot, Btime: s.Boot,
	}
	if mode&unix.S_IFMT == unix.S_IFDIR {
		a.Nlink = 2
	}
	return a
}

// Ino returns the inode number of the object called name in a directory with
// number parent. It depends on nothing else, so an object that is made anew
// at each lookup keeps its number.
func Ino(parent uint64, name string) uint64 {
	h := fnv.New64a()
	var b [8]byte
	for i := range b {
		b[i] = byte(parent >> (8 * i))
	}
	h.Write(b[:])
	h.Write([]byte(name))
	// Small enough for programs that print or store numbers as signed, and
	// never one of the low numbers that file systems reserve.
	return h.Sum64()>>16 | 1<<40
}
