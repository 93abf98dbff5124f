// Package anon has the inodes of objects that live in no directory: pipes,
// sockets, and the anonymous inodes behind epoll(7), eventfd(2) and their
// like. It gives them numbers, attributes for fstat(2) and the names that
// /proc/PID/fd shows.
//
// It must not know what the objects do.
package anon

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// The minor numbers of the nameless devices that the pseudo file systems have.
const (
	AnonDev   = 15
	PipeDev   = 14
	SocketDev = 8
)

// lastIno numbers inodes; programs compare them and print them, no more.
var lastIno atomic.Uint64

// NextIno returns an inode number not given before.
func NextIno() uint64 { return lastIno.Add(1) }

// Inode is the inode of an object without a name. Use New.
type Inode struct {
	vfs.NoInode
	name string

	mu   sync.Mutex
	attr vfs.Attr
	open func(c vfs.Caller, flags uint32) (vfs.File, error)
}

// New returns an inode of the given type and permission bits, owned by cred
// (nil for root). With a prefix that ends in ":", such as "pipe:", LinkName
// is "pipe:[NUMBER]"; any other prefix is the whole name.
func New(prefix string, mode uint32, devMinor uint32, cred *auth.Credentials) *Inode {
	ts := time.Now()
	now := vfs.Time{Sec: ts.Unix(), Nsec: uint32(ts.Nanosecond())}
	i := &Inode{name: prefix, attr: vfs.Attr{
		DevMinor: devMinor, Ino: NextIno(), Mode: mode, Nlink: 1, BlockSize: 4096,
		Atime: now, Mtime: now, Ctime: now, Btime: now,
	}}
	if cred != nil {
		i.attr.UID, i.attr.GID = cred.FSUID, cred.FSGID
	}
	return i
}

// File is embedded by the files of anonymous inodes. Unlike other files that
// have no offset they don't mind lseek(2): it does nothing.
type File struct{ vfs.NoFile }

// Seek implements vfs.File.
func (File) Seek(int, int64, int64) (int64, error) { return 0, nil }

// NewFile returns a description with one reference for a file without a
// path, of the kind that /proc shows as "anon_inode:[name]".
func NewFile(f vfs.File, name string, flags uint32) *vfs.FileDescription {
	return vfs.NewDescription(f, New("anon_inode:"+name, 0600, AnonDev, nil), vfs.Path{}, flags)
}

// OnOpen sets what opening the inode through /proc/PID/fd does; without it,
// open fails with ENXIO.
func (i *Inode) OnOpen(f func(c vfs.Caller, flags uint32) (vfs.File, error)) { i.open = f }

// Ino is the inode's number.
func (i *Inode) Ino() uint64 { return i.attr.Ino }

// LinkName implements vfs.LinkNamer.
func (i *Inode) LinkName() string {
	if n := len(i.name); n > 0 && i.name[n-1] == ':' {
		return i.name + "[" + strconv.FormatUint(i.attr.Ino, 10) + "]"
	}
	return i.name
}

// Attr implements vfs.Inode.
func (i *Inode) Attr() (vfs.Attr, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.attr, nil
}

// SetAttr implements vfs.Inode: fchmod(2), fchown(2) and futimens(2) work on
// pipes and sockets; a size cannot be set.
func (i *Inode) SetAttr(s vfs.SetAttr) error {
	if s.Which&vfs.SetSize != 0 {
		return unix.EINVAL
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if s.Which&vfs.SetMode != 0 {
		i.attr.Mode = i.attr.Mode&unix.S_IFMT | s.Mode&07777
	}
	if s.Which&vfs.SetUID != 0 {
		i.attr.UID = s.UID
	}
	if s.Which&vfs.SetGID != 0 {
		i.attr.GID = s.GID
	}
	if s.Which&vfs.SetAtime != 0 {
		i.attr.Atime = s.Atime
	}
	if s.Which&vfs.SetMtime != 0 {
		i.attr.Mtime = s.Mtime
	}
	return nil
}

// Open implements vfs.Inode.
func (i *Inode) Open(c vfs.Caller, flags uint32) (vfs.File, error) {
	if i.open == nil {
		return nil, unix.ENXIO
	}
	return i.open(c, flags)
}
