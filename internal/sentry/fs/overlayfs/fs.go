package overlayfs

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/fs/intern"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// magic is OVERLAYFS_SUPER_MAGIC.
const magic = 0x794c7630

// Extended attributes that mark what is in the upper layer begin with one of the
// prefixes: the second with the mount option userxattr.
const (
	trustedPrefix = "trusted.overlay."
	userPrefix    = "user.overlay."
	xattrOpaque   = "opaque"
	xattrOrigin   = "origin"
)

// The directories of the upper file system: layer is the upper layer itself,
// work is where copies are made before they are renamed into place.
const (
	layerDir = "upper"
	workDir  = "work"
)

// FileSystem is an overlay. It implements vfs.FileSystem.
type FileSystem struct {
	// space is the file system whose room is the overlay's; release lets go of
	// all layers.
	space   vfs.FileSystem
	release func()
	// work is nil where there is no upper layer: then nothing can be changed.
	work vfs.Inode
	root *node
	dev  uint32
	// prefix is that of the marks.
	prefix string
	// mounted is what a guest's mount has beside.
	mounted
	// nodes holds one node for each object for as long as anybody uses it.
	nodes intern.Table[key, node]
	inos  numbers
	// copies numbers the names in work.
	copies atomic.Uint64

	// mu is held for writing over each change of names, and for reading while
	// layers are searched or listed together.
	mu sync.RWMutex
}

// mounted is what is known of an overlay of directories that a guest named.
type mounted struct {
	// upper is told of changes in the layer, which has names of its own; nil if
	// nobody else sees it.
	upper *vfs.Layer
	// by is who mounted it: what the overlay does by itself, he must be allowed
	// to do. It is nil for the sandbox's own.
	by vfs.Caller
	// depth is how many overlays lie upon each other, with this one.
	depth int
	// options are what /proc/mounts shows.
	options string
}

// New lays upper over lowers, the topmost first. It makes two directories in
// upper's root and works in these. It owns all of the file systems from then
// on: Release releases them.
func New(upper vfs.FileSystem, lowers ...vfs.FileSystem) (*FileSystem, error) {
	if len(lowers) == 0 {
		return nil, errors.New("overlayfs: no lower file system")
	}
	fs := &FileSystem{space: upper, dev: vfs.AnonymousDevice(), prefix: trustedPrefix, mounted: mounted{depth: 1}}
	fs.release = func() {
		upper.Release()
		for _, l := range lowers {
			l.Release()
		}
	}
	below := make([]vfs.Inode, len(lowers))
	for i, l := range lowers {
		below[i] = l.Root()
	}
	attr, err := below[0].Attr()
	if err != nil {
		return nil, fmt.Errorf("overlayfs: lower root: %w", err)
	}
	// The first device's numbers stay as they are: let that be the lower one.
	fs.inos.of(attr.DevMajor, attr.DevMinor, 0)
	// The top directory looks like the lower one.
	layer, err := fs.ownDir(layerDir, attr)
	if err != nil {
		return nil, err
	}
	if fs.work, err = fs.ownDir(workDir, vfs.Attr{Mode: 0700}); err != nil {
		return nil, err
	}
	fs.root, err = fs.node(nil, "", layer, below)
	return fs, err
}

// ownDir finds or makes a directory in the upper file system's root.
func (fs *FileSystem) ownDir(name string, attr vfs.Attr) (vfs.Inode, error) {
	d, err := fs.space.Root().Lookup(name)
	if err == unix.ENOENT {
		d, err = fs.space.Root().Mkdir(vfs.Owner{UID: attr.UID, GID: attr.GID}, name, attr.Mode&07777)
	}
	if err != nil {
		return nil, fmt.Errorf("overlayfs: directory %q in the upper file system: %w", name, err)
	}
	// It stays as long as the overlay does.
	hold(d)
	return d, nil
}

// Name implements vfs.FileSystem.
func (fs *FileSystem) Name() string { return typeName }

// Root implements vfs.FileSystem.
func (fs *FileSystem) Root() vfs.Inode { return fs.root }

// StatFS implements vfs.FileSystem: the space is the topmost layer's.
func (fs *FileSystem) StatFS() (vfs.StatFS, error) {
	st, err := fs.space.StatFS()
	st.Type = magic
	return st, err
}

// Release implements vfs.FileSystem.
func (fs *FileSystem) Release() { fs.release() }

// ReadOnly implements vfs.ReadOnlyFileSystem.
func (fs *FileSystem) ReadOnly() bool { return fs.work == nil }

// ShowOptions implements vfs.OptionShower.
func (fs *FileSystem) ShowOptions() string { return fs.options }

// changed tells of names that were made, removed or moved in a directory of the
// upper layer.
func (fs *FileSystem) changed(dir vfs.Inode, names ...string) {
	if fs.upper != nil {
		for _, name := range names {
			fs.upper.Changed(dir, name)
		}
	}
}

// mayChange checks that who mounted the overlay may change names in a directory of
// the upper layer: else an overlay would be a way to write there.
func (fs *FileSystem) mayChange(dir vfs.Inode) error {
	if fs.by == nil {
		return nil
	}
	return vfs.Permitted(fs.by, dir, unix.W_OK|unix.X_OK)
}

// hold and letGo count a reference to an inode of a layer, where the layer
// counts.
func hold(i vfs.Inode) {
	if r, ok := i.(vfs.Referenced); ok {
		r.IncRef()
	}
}

func letGo(i vfs.Inode) {
	if r, ok := i.(vfs.Referenced); ok {
		r.DecRef()
	}
}

// numbers gives inode numbers that are unique over all layers: the upper 16
// bits say on which device of which layer the lower 48 number an inode.
// Numbers beyond 48 bits may meet; the guest decides nothing by them that
// matters to the sentry.
type numbers struct {
	mu  sync.RWMutex
	dev map[[2]uint32]uint64
}

const inoBits = 48

// of returns the overlay's number for a layer's inode.
func (n *numbers) of(devMajor, devMinor uint32, ino uint64) uint64 {
	key := [2]uint32{devMajor, devMinor}
	n.mu.RLock()
	index, ok := n.dev[key]
	n.mu.RUnlock()
	if !ok {
		n.mu.Lock()
		if n.dev == nil {
			n.dev = map[[2]uint32]uint64{}
		}
		if index, ok = n.dev[key]; !ok {
			index = uint64(len(n.dev))
			n.dev[key] = index
		}
		n.mu.Unlock()
	}
	return ino ^ index<<inoBits
}
