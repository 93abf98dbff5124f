package vfs

import (
	"coffer/internal/sentry/auth"

	"golang.org/x/sys/unix"
)

// FileSystem is one instance of a file system.
type FileSystem interface {
	// Name is the type's name as in /proc/filesystems ("tmpfs").
	Name() string
	// Root is the inode at the top.
	Root() Inode
	// StatFS answers statfs(2).
	StatFS() (StatFS, error)
	// Release is called when the last mount is gone.
	Release()
}

// Revalidator is implemented by a FileSystem whose names can change other
// than through vfs (host files, /proc/PID). Revalidate reports whether what
// the cache holds for name in dir (child is nil for "does not exist") still
// holds; if not, the walk looks the name up again.
type Revalidator interface {
	Revalidate(dir Inode, name string, child Inode) bool
}

// Confirmer is implemented by a Revalidator that can tell of a path of several
// names as fast as of one. The walk then goes on by what the cache holds, and
// has only the end confirmed. Its inodes implement Permissioner and AttrKeeper.
type Confirmer interface {
	Revalidator
	// Passable reports whether what is remembered of a directory's permissions
	// will do for a walk that only comes by. It is called with locks held.
	Passable(dir Inode) bool
	// Confirm reports whether path, from directory base on, still leads to
	// child in directory parent (nil: to nothing), as the cache has it. The path
	// has no ".." in it, and the cache knows all names on the way as those of
	// directories. If not, the walk takes one step after the other.
	Confirm(base Inode, path string, parent, child Inode) bool
}

// Inode is one object of a file system. Its methods are safe for use by
// several tasks at once. Permission, read-only mounts, name length, sticky
// directories and the kind of the parent have been checked by vfs before a
// method is called; existence is for the method to check.
//
// NoInode implements every method with the error that Linux gives for an
// object that cannot do it; file systems embed it.
type Inode interface {
	// Attr returns the attributes.
	Attr() (Attr, error)
	// SetAttr changes attributes.
	SetAttr(SetAttr) error
	// Open makes a File for an open file description. flags are those of
	// open(2); O_CREAT, O_EXCL, O_NOFOLLOW and O_TRUNC have been dealt with.
	Open(c Caller, flags uint32) (File, error)

	// Lookup finds a name in a directory, or says ENOENT.
	Lookup(name string) (Inode, error)
	// Create makes a regular file; EEXIST if the name is taken. mode holds
	// type and permission bits after umask.
	Create(o Owner, name string, mode uint32) (Inode, error)
	// Mkdir makes a directory.
	Mkdir(o Owner, name string, mode uint32) (Inode, error)
	// Mknod makes a FIFO, socket or device node.
	Mknod(o Owner, name string, mode, major, minor uint32) (Inode, error)
	// Symlink makes a symbolic link.
	Symlink(o Owner, name, target string) (Inode, error)
	// Link gives target, an inode of the same file system, another name.
	Link(name string, target Inode) error
	// Unlink removes a name that is not a directory's.
	Unlink(name string, victim Inode) error
	// Rmdir removes an empty directory.
	Rmdir(name string, victim Inode) error
	// Rename moves oldName of this directory to newName in newDir, an inode
	// of the same file system. flags are renameat2(2)'s RENAME_*.
	Rename(oldName string, newDir Inode, newName string, flags uint32) error

	// Readlink returns a symbolic link's target.
	Readlink(c Caller) (string, error)

	// GetXattr and its like are as in xattr(7); a missing name is ENODATA.
	GetXattr(name string) ([]byte, error)
	SetXattr(name string, value []byte, flags uint32) error
	RemoveXattr(name string) error
	ListXattr() ([]string, error)
}

// Owner is who a new inode belongs to. vfs has applied set-group-ID
// directories already.
type Owner struct{ UID, GID uint32 }

// MagicLink is implemented by the inode of a symbolic link that leads to an
// object rather than to a path, such as /proc/self/fd/3 or /proc/self/exe.
type MagicLink interface {
	// Follow returns where the link leads. The caller drops its references.
	// For an open file it is FileDescription.Place, which is there for pipes
	// and their like too.
	Follow(c Caller) (Path, error)
}

// Accesser is implemented by an Inode that decides itself who may do what
// (mask of unix.R_OK, W_OK, X_OK), instead of by its mode bits.
type Accesser interface {
	Access(cred *auth.Credentials, mask uint32) error
}

// NoInode is the inode that can do nothing.
type NoInode struct{}

func (NoInode) SetAttr(SetAttr) error                       { return unix.EPERM }
func (NoInode) Open(Caller, uint32) (File, error)           { return nil, unix.ENXIO }
func (NoInode) Lookup(string) (Inode, error)                { return nil, unix.ENOTDIR }
func (NoInode) Create(Owner, string, uint32) (Inode, error) { return nil, unix.EACCES }
func (NoInode) Mkdir(Owner, string, uint32) (Inode, error)  { return nil, unix.EPERM }
func (NoInode) Mknod(Owner, string, uint32, uint32, uint32) (Inode, error) {
	return nil, unix.EPERM
}
func (NoInode) Symlink(Owner, string, string) (Inode, error) { return nil, unix.EPERM }
func (NoInode) Link(string, Inode) error                     { return unix.EPERM }
func (NoInode) Unlink(string, Inode) error                   { return unix.EPERM }
func (NoInode) Rmdir(string, Inode) error                    { return unix.EPERM }
func (NoInode) Rename(string, Inode, string, uint32) error   { return unix.EPERM }
func (NoInode) Readlink(Caller) (string, error)              { return "", unix.EINVAL }
func (NoInode) GetXattr(string) ([]byte, error)              { return nil, unix.EOPNOTSUPP }
func (NoInode) SetXattr(string, []byte, uint32) error        { return unix.EOPNOTSUPP }
func (NoInode) RemoveXattr(string) error                     { return unix.EOPNOTSUPP }
func (NoInode) ListXattr() ([]string, error)                 { return nil, nil }
