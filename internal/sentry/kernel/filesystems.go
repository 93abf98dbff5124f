package kernel

import (
	"sync"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// fileSystems are the file systems of which a kernel has one instance each,
// such as proc: however often they are mounted, they show the same.
type fileSystems struct {
	mu     sync.Mutex
	byName map[string]vfs.FileSystem
}

// AddFileSystem makes fs the kernel's one instance of its type, and the type
// known to mount(2).
func (k *Kernel) AddFileSystem(fs vfs.FileSystem) {
	name := fs.Name()
	k.single.mu.Lock()
	if k.single.byName == nil {
		k.single.byName = map[string]vfs.FileSystem{}
	}
	k.single.byName[name] = fs
	k.single.mu.Unlock()
	vfs.RegisterFileSystemType(vfs.FileSystemType{Name: name, Nested: true, Revealing: name == "sysfs", Mount: func(r vfs.MountRequest) (vfs.FileSystem, error) {
		// The type is registered for all kernels of the process.
		if t, ok := r.Caller.(*Task); ok {
			if fs := t.k.FileSystem(name); fs != nil {
				return fs, nil
			}
		}
		return nil, unix.ENODEV
	}})
}

// FileSystem returns what AddFileSystem was given by the name of its type, or
// nil.
func (k *Kernel) FileSystem(name string) vfs.FileSystem {
	k.single.mu.Lock()
	defer k.single.mu.Unlock()
	return k.single.byName[name]
}
