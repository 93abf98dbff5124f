package vfs

import "golang.org/x/sys/unix"

// Dentry is a name in the tree of one file system.
type Dentry struct{}

// Mount is one file system attached to the tree.
type Mount struct{}

// MountNamespace is a tree of mounts (mount_namespaces(7)).
type MountNamespace struct{}

// Origin says from where a path is walked: Root is the task's root
// directory, Start where a relative path begins (cwd or a dirfd's path).
type Origin struct{ Root, Start Path }

// Resolve flags, beside openat2(2)'s RESOLVE_* in the upper half.
type ResolveFlags uint64

const (
	// NoFollowLast returns a final symbolic link itself.
	NoFollowLast ResolveFlags = 1 << iota
	// WantDirectory makes anything but a directory ENOTDIR.
	WantDirectory
	// EmptyPath allows "" for Start itself (AT_EMPTY_PATH).
	EmptyPath
	// ResolveShift is where openat2(2)'s RESOLVE_* bits begin.
	ResolveShift = 32
)

// OpenHow is openat2(2)'s struct open_how. Mode is before umask.
type OpenHow struct {
	Flags   uint32
	Mode    uint32
	Resolve uint64
}

func NewMountNamespace(fs FileSystem, flags uint64) *MountNamespace { return nil }

// Root is the namespace's root, with a reference taken.
func (ns *MountNamespace) Root() Path { return Path{} }

// Resolve walks a path; the caller drops the result's reference.
func (ns *MountNamespace) Resolve(c Caller, o Origin, path string, flags ResolveFlags) (Path, error) {
	return Path{}, unix.ENOSYS
}

// OpenAt opens or creates. The description has one reference, the caller's.
func (ns *MountNamespace) OpenAt(c Caller, o Origin, path string, how OpenHow) (*FileDescription, error) {
	return nil, unix.ENOSYS
}

// Open opens what p leads to (open(2) without O_CREAT).
func (ns *MountNamespace) Open(c Caller, p Path, flags uint32) (*FileDescription, error) {
	return nil, unix.ENOSYS
}

func (ns *MountNamespace) MkdirAt(c Caller, o Origin, path string, mode uint32) error {
	return unix.ENOSYS
}
func (ns *MountNamespace) MknodAt(c Caller, o Origin, path string, mode, major, minor uint32) error {
	return unix.ENOSYS
}
func (ns *MountNamespace) SymlinkAt(c Caller, target string, o Origin, path string) error {
	return unix.ENOSYS
}

// LinkAt makes path another name of old.
func (ns *MountNamespace) LinkAt(c Caller, old Path, o Origin, path string) error { return unix.ENOSYS }
func (ns *MountNamespace) UnlinkAt(c Caller, o Origin, path string) error         { return unix.ENOSYS }
func (ns *MountNamespace) RmdirAt(c Caller, o Origin, path string) error          { return unix.ENOSYS }
func (ns *MountNamespace) RenameAt(c Caller, o Origin, old string, no Origin, new string, flags uint32) error {
	return unix.ENOSYS
}

// PathName is the absolute name of p as seen from root. ok is false if p
// cannot be reached from root ("(unreachable)" in getcwd(2)); a removed
// file's name ends in " (deleted)".
func (ns *MountNamespace) PathName(root, p Path) (name string, ok bool) { return "", false }

// Access checks p against mask (unix.R_OK|W_OK|X_OK) for c's credentials,
// including read-only mounts (EROFS) and noexec.
func Access(c Caller, p Path, mask uint32) error { return unix.ENOSYS }

// Chmod, Chown, Utimes and Truncate check permission and change attributes.
// -1 (all ones) as UID or GID leaves it. A nil time leaves it.
func Chmod(c Caller, p Path, mode uint32) error                   { return unix.ENOSYS }
func Chown(c Caller, p Path, uid, gid uint32) error               { return unix.ENOSYS }
func Utimes(c Caller, p Path, atime, mtime *Time, now bool) error { return unix.ENOSYS }
func Truncate(c Caller, p Path, size int64) error                 { return unix.ENOSYS }

// Attr, Inode, IncRef and DecRef of a path.
func (p Path) Attr() (Attr, error) { return Attr{}, unix.ENOSYS }
func (p Path) Inode() Inode        { return nil }
func (p Path) IncRef()             {}
func (p Path) DecRef()             {}
