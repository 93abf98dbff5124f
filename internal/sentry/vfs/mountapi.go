package vfs

import "golang.org/x/sys/unix"

// MountInfo describes a mount for /proc/PID/mountinfo.
type MountInfo struct {
	ID, ParentID       int
	DevMajor, DevMinor uint32
	// Root is the path within the file system that is mounted, Point where.
	Root, Point string
	// Flags are the mount's MS_* flags.
	Flags   uint64
	Type    string
	Source  string
	Options string
}

// Mounts lists the mounts that can be reached from root, parents first.
func (ns *MountNamespace) Mounts(root Path) []MountInfo { return nil }

// Mount puts fs on the place that at leads to. flags are MS_*; source is what
// /proc/mounts shows. It takes no references of the caller's.
func (ns *MountNamespace) Mount(fs FileSystem, at Path, flags uint64, source string) error {
	return unix.ENOSYS
}

// Bind makes what from leads to appear at at (MS_BIND, MS_REC).
func (ns *MountNamespace) Bind(from, at Path, flags uint64) error { return unix.ENOSYS }

// Unmount takes the mount whose root p is off the tree; flags as umount2(2).
func (ns *MountNamespace) Unmount(p Path, flags uint32) error { return unix.ENOSYS }

// Clone copies the namespace for unshare(2).
func (ns *MountNamespace) Clone() *MountNamespace { return nil }

// ID numbers the mount, as in /proc/PID/fdinfo.
func (m *Mount) ID() int { return 0 }

// Flags are the mount's MS_* flags.
func (m *Mount) Flags() uint64 { return 0 }

// FileSystem is the file system that is mounted.
func (m *Mount) FileSystem() FileSystem { return nil }
