package vfs

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// MountRequest is what mount(2) asks of a file system type.
type MountRequest struct {
	Caller Caller
	Source string
	// Flags are mount(2)'s MS_* flags.
	Flags uint64
	// Subtype is what follows the type's name and a dot, as in "fuse.sshfs".
	Subtype string
	// Data holds the type's own options, comma-separated.
	Data string
}

// FileSystemType is a kind of file system that mount(2) knows by name.
type FileSystemType struct {
	Name string
	// Device says that the type lives on a block device; all others are
	// "nodev" in /proc/filesystems.
	Device bool
	// Subtypes says that a subtype may follow the name.
	Subtypes bool
	// Nested says that who is privileged in a user namespace only may mount it
	// in a mount namespace of that one's; others need CAP_SYS_ADMIN over all.
	Nested bool
	// Revealing says that the type shows the same wherever it is mounted, so
	// that it may not be mounted where an instance is partly covered.
	Revealing bool
	// Mount makes an instance, or returns the one that there is.
	Mount func(MountRequest) (FileSystem, error)
}

var fsTypes struct {
	sync.RWMutex
	byName map[string]FileSystemType
}

// RegisterFileSystemType makes a type known to mount(2). What depends on the
// kernel that mounts is found through the request's Caller.
func RegisterFileSystemType(t FileSystemType) {
	fsTypes.Lock()
	defer fsTypes.Unlock()
	if fsTypes.byName == nil {
		fsTypes.byName = map[string]FileSystemType{}
	}
	fsTypes.byName[t.Name] = t
}

// FileSystemTypes returns the known types in the order of their names.
func FileSystemTypes() []FileSystemType {
	fsTypes.RLock()
	defer fsTypes.RUnlock()
	var out []FileSystemType
	for _, t := range fsTypes.byName {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b FileSystemType) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// FindFileSystemType returns the type with a name, and the subtype in it. ENODEV
// if there is none.
func FindFileSystemType(name string) (t FileSystemType, subtype string, err error) {
	base, subtype, has := strings.Cut(name, ".")
	fsTypes.RLock()
	t, ok := fsTypes.byName[base]
	fsTypes.RUnlock()
	if !ok || has && (!t.Subtypes || subtype == "") {
		return t, "", unix.ENODEV
	}
	return t, subtype, nil
}

// lastAnonDev begins above the numbers that pipes and their like always have.
var lastAnonDev atomic.Uint32

func init() { lastAnonDev.Store(31) }

// AnonymousDevice returns a fresh minor number (with major 0) for a file
// system that has no device, for Attr.DevMinor.
func AnonymousDevice() uint32 { return lastAnonDev.Add(1) }
