package mqueue

import (
	"slices"

	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

const (
	// TypeName is the type's name for mount(2).
	TypeName = "mqueue"
	// magic is MQUEUE_MAGIC, statfs(2)'s f_type.
	magic = 0x19800202
	// entrySize is what a directory counts for each queue, and the size that
	// each has as a file (FILENT_SIZE and DIRENT_SIZE in Linux's ipc/mqueue.c).
	entrySize, fileSize = 20, 80
)

// FS shows a namespace's queues as files (mq_overview(7), "Mounting the message
// queue filesystem"): they are listed, read, made, opened and removed there as
// by mq_open(2) and mq_unlink(2). There is one for each namespace, however
// often it is mounted.
type FS struct {
	ns   *Namespace
	root *root
}

// FileSystem returns the file system that shows the namespace.
func (ns *Namespace) FileSystem() *FS {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.fs == nil {
		ns.fs = &FS{ns: ns}
		ns.fs.root = &root{Inode: anon.New("/", unix.S_IFDIR|0o1777, ns.device(), nil), ns: ns}
	}
	return ns.fs
}

// device numbers the device that the queues are on; ns.mu is held.
func (ns *Namespace) device() uint32 {
	if ns.dev == 0 {
		ns.dev = vfs.AnonymousDevice()
	}
	return ns.dev
}

// Name implements vfs.FileSystem.
func (fs *FS) Name() string { return TypeName }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root }

// StatFS implements vfs.FileSystem.
func (fs *FS) StatFS() (vfs.StatFS, error) {
	return vfs.StatFS{Type: magic, BlockSize: genfs.Blksize, FragSize: genfs.Blksize, NameLen: maxName}, nil
}

// Release implements vfs.FileSystem. The queues are the namespace's and live on.
func (fs *FS) Release() {}

// Revalidate implements vfs.Revalidator: queues come and go by system calls
// that know nothing of names in directories.
func (fs *FS) Revalidate(_ vfs.Inode, name string, child vfs.Inode) bool {
	n, ok := child.(*node)
	return ok && fs.ns.named(name) == n.queue
}

// named returns the queue with a name, or nil.
func (ns *Namespace) named(name string) *Queue {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.byName[name]
}

// root is the inode of the directory. caller is who uses it, where that matters:
// a new queue is counted to its maker, against a limit of his.
type root struct {
	*anon.Inode
	ns     *Namespace
	caller vfs.Caller
}

// For implements vfs.ServedInode.
func (r *root) For(c vfs.Caller) vfs.Inode { return &root{r.Inode, r.ns, c} }

// Attr implements vfs.Inode.
func (r *root) Attr() (vfs.Attr, error) {
	a, err := r.Inode.Attr()
	r.ns.mu.Lock()
	defer r.ns.mu.Unlock()
	a.Nlink, a.Size = 2, int64(entrySize*len(r.ns.byName))
	return a, err
}

// Lookup implements vfs.Inode.
func (r *root) Lookup(name string) (vfs.Inode, error) {
	if q := r.ns.named(name); q != nil {
		return q.node, nil
	}
	return nil, unix.ENOENT
}

// maker is a Caller who may make queues.
type maker interface{ QueueAllowance() Allowance }

// Create implements vfs.Inode: a queue with the default attributes. EACCES if
// the namespace is gone, EMFILE beyond RLIMIT_MSGQUEUE, ENOSPC if there are too
// many.
func (r *root) Create(o vfs.Owner, name string, mode uint32) (vfs.Inode, error) {
	m, ok := r.caller.(maker)
	if !ok {
		return nil, unix.EACCES
	}
	r.ns.mu.Lock()
	defer r.ns.mu.Unlock()
	if r.ns.byName[name] != nil {
		return nil, unix.EEXIST
	}
	q, err := r.ns.create(r.caller.Credentials(), name, mode, nil, m.QueueAllowance())
	if err != nil {
		return nil, err
	}
	return q.node, q.node.SetAttr(vfs.SetAttr{Which: vfs.SetUID | vfs.SetGID, UID: o.UID, GID: o.GID})
}

// Unlink implements vfs.Inode.
func (r *root) Unlink(name string, victim vfs.Inode) error {
	r.ns.mu.Lock()
	defer r.ns.mu.Unlock()
	q := r.ns.byName[name]
	if n, ok := victim.(*node); q == nil || !ok || n.queue != q {
		return unix.ENOENT
	}
	delete(r.ns.byName, name)
	q.unref()
	return nil
}

// Open implements vfs.Inode.
func (r *root) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: r.Ino(), Parent: r.Ino(), Lister: r, Syncs: true}, nil
}

// List implements genfs.Lister. A queue's key is its inode number, since later
// ones are higher.
func (r *root) List(_ vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	r.ns.mu.Lock()
	var list []vfs.DirEntry
	for name, q := range r.ns.byName {
		if ino := q.node.Ino(); int64(ino) > after {
			list = append(list, vfs.DirEntry{Ino: ino, Type: unix.DT_REG, Name: name})
		}
	}
	r.ns.mu.Unlock()
	slices.SortFunc(list, func(a, b vfs.DirEntry) int { return int(int64(a.Ino) - int64(b.Ino)) })
	for _, e := range list {
		if !emit(int64(e.Ino), e) {
			return nil
		}
	}
	return nil
}

// node is a queue's inode.
type node struct {
	*anon.Inode
	queue *Queue
}

// Attr implements vfs.Inode.
func (n *node) Attr() (vfs.Attr, error) {
	a, err := n.Inode.Attr()
	a.Size = fileSize
	ns := n.queue.ns
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.byName[n.queue.name] != n.queue {
		a.Nlink = 0
	}
	return a, err
}

// SetAttr implements vfs.Inode. Cutting a queue short does nothing.
func (n *node) SetAttr(s vfs.SetAttr) error {
	s.Which &^= vfs.SetSize
	return n.Inode.SetAttr(s)
}

// Open implements vfs.Inode: what mq_open(2) returns too.
func (n *node) Open(vfs.Caller, uint32) (vfs.File, error) {
	n.queue.ns.mu.Lock()
	defer n.queue.ns.mu.Unlock()
	n.queue.refs++
	return &File{Queue: n.queue}, nil
}
