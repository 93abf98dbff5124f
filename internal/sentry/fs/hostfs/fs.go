package hostfs

import (
	"sync"
	"time"

	"coffer/internal/sentry/fs/intern"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Options say how a tree is used.
type Options struct {
	// Stable says that the tree hardly changes while the guest runs, as a
	// root file system beneath an overlay: names need not be looked up again
	// at each walk, and descriptors of files stay open for a while after
	// their last use.
	Stable bool
	// AttrTTL is how long attributes are believed. 0 asks the host each time,
	// or once a second in a stable tree.
	AttrTTL time.Duration
}

// How many descriptors a FileSystem keeps that nobody uses at the moment.
const (
	maxIdleDirs  = 1024
	maxIdleFiles = 256
)

// maxDepth bounds the walk from the top to a directory.
const maxDepth = 1 << 20

// FileSystem is one tree of the host. It implements vfs.FileSystem and
// vfs.Revalidator.
type FileSystem struct {
	host    Host
	opts    Options
	start   time.Time
	root    *inode
	rootDir *descriptor
	// mount numbers the mount that the root is on. copiesUp says that it is an
	// overlay, whose files are replaced by copies when they change.
	mount    uint64
	copiesUp bool

	dirs  descriptorCache
	files descriptorCache
	// table holds one inode for all names of a file, for as long as anybody uses it.
	table intern.Table[identity, inode]

	// tree guards the places of all inodes.
	tree sync.RWMutex
}

// New returns the file system of the host's tree.
func New(host Host, opts Options) (*FileSystem, error) {
	if opts.Stable && opts.AttrTTL == 0 {
		opts.AttrTTL = time.Second
	}
	fs := &FileSystem{host: host, opts: opts, start: time.Now()}
	fs.dirs.init(maxIdleDirs, func(fd int) { host.CloseDir(Dir(fd)) })
	idle := 0
	if opts.Stable {
		idle = maxIdleFiles
	}
	fs.files.init(idle, func(fd int) { unix.Close(fd) })
	st, err := host.Stat(host.Root(), "")
	if err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	kind, err := host.Statfs(host.Root(), "")
	if err != nil {
		return nil, err
	}
	fs.mount, fs.copiesUp = st.Mnt_id, kind.Type == unix.OVERLAYFS_SUPER_MAGIC
	fs.root = fs.inodeOf(fs.identify(&st), uint32(st.Mode))
	// The root's handle is not idle, and so not closed, before Release.
	fs.rootDir = fs.dirs.put(&fs.root.dir, int(host.Root()))
	return fs, nil
}

// Name implements vfs.FileSystem.
func (fs *FileSystem) Name() string { return "hostfs" }

// Root implements vfs.FileSystem.
func (fs *FileSystem) Root() vfs.Inode { return fs.root }

// StatFS implements vfs.FileSystem.
func (fs *FileSystem) StatFS() (vfs.StatFS, error) {
	st, err := fs.host.Statfs(fs.host.Root(), "")
	if err != nil {
		return vfs.StatFS{}, err
	}
	return vfs.StatFS{
		Type: st.Type, BlockSize: st.Bsize,
		Blocks: st.Blocks, Free: st.Bfree, Available: st.Bavail,
		Files: st.Files, FilesFree: st.Ffree,
		NameLen: st.Namelen, FragSize: st.Frsize, Flags: st.Flags,
	}, nil
}

// Release implements vfs.FileSystem: it closes what is idle, the root's handle
// among it. Descriptors that open files still use are closed with them.
func (fs *FileSystem) Release() {
	fs.dirs.release(fs.rootDir)
	fs.dirs.clear()
	fs.files.clear()
}

// Revalidate implements vfs.Revalidator.
func (fs *FileSystem) Revalidate(dir vfs.Inode, name string, child vfs.Inode) bool {
	if fs.opts.Stable {
		return true
	}
	d, ok := dir.(*inode)
	if !ok {
		return false
	}
	h, err := fs.acquire(d)
	if err != nil {
		return false
	}
	defer fs.dirs.release(h)
	asked := fs.now()
	st, err := fs.host.Stat(Dir(h.fd), name)
	if child == nil {
		return err == unix.ENOENT
	}
	c, ok := child.(*inode)
	if !ok || err != nil || fs.identify(&st) != c.id {
		return false
	}
	fs.place(c, d, name)
	c.remember(&st, asked)
	return true
}

// now is a clock for AttrTTL; it is never 0.
func (fs *FileSystem) now() time.Duration { return time.Since(fs.start) + 1 }

// acquire returns a handle of directory n, walking to it from the nearest
// ancestor that still has one. ESTALE if the walk leads elsewhere by now. The
// handle must be released to fs.dirs.
func (fs *FileSystem) acquire(n *inode) (*descriptor, error) {
	if d := fs.dirs.get(&n.dir); d != nil {
		return d, nil
	}
	// The way down, nearest first. It is a loop because the guest decides how
	// deep a tree is.
	var way []*inode
	var h *descriptor
	for at := n; h == nil; {
		way = append(way, at)
		parent, _ := fs.where(at)
		if parent == nil || len(way) > maxDepth {
			return nil, unix.ESTALE
		}
		h, at = fs.dirs.get(&parent.dir), parent
	}
	for i := len(way) - 1; i >= 0; i-- {
		next, err := fs.walk(h, way[i])
		fs.dirs.release(h)
		if err != nil {
			return nil, err
		}
		h = next
	}
	return h, nil
}

func (fs *FileSystem) walk(parent *descriptor, n *inode) (*descriptor, error) {
	_, name := fs.where(n)
	dir, err := fs.host.Walk(Dir(parent.fd), name)
	if err != nil {
		return nil, err
	}
	st, err := fs.host.Stat(dir, "")
	if err == nil && fs.identify(&st) != n.id {
		err = unix.ESTALE
	}
	if err != nil {
		fs.host.CloseDir(dir)
		return nil, err
	}
	return fs.dirs.put(&n.dir, int(dir)), nil
}
