// Package devpts is the file system of pseudoterminals (pts(4)) and the two
// ends of each: /dev/ptmx makes a pair, whose slave appears as a number in
// /dev/pts. What lies between the ends is package tty's line discipline; this
// package adds what concerns tasks: who may use a terminal, job control, and
// the ioctls of ioctl_tty(2).
//
// Lock order: FS.mu, Terminal.mu; neither is held over a call into kernel,
// and both come before tty.Discipline's.
package devpts

import (
	"slices"
	"strconv"
	"sync"

	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

const (
	// Max is how many pseudoterminals there may be (kernel.pty.max).
	Max      = 4096
	typeName = "devpts"
	// magic is devpts's number for statfs(2).
	magic = 0x1cd1
	// ttyGroup is the group that slaves belong to, as distributions mount it
	// (gid=5,mode=620).
	ttyGroup  = 5
	slaveMode = 0o620

	rootIno = 1
	ptmxIno = 2
	// firstIno is terminal 0's inode number.
	firstIno = 3
)

// FS is one kernel's pseudoterminals.
type FS struct {
	k     *kernel.Kernel
	super *genfs.Super
	root  root

	mu        sync.Mutex
	terminals map[uint32]*Terminal
	console   *Terminal
}

// New returns the file system of k's terminals and makes it the one that
// k's device nodes of terminals (5:0, 5:1, 5:2, 136:N) lead to, and that
// mount(2) mounts.
func New(k *kernel.Kernel) *FS {
	fs := &FS{k: k, super: genfs.NewSuper(vfs.AnonymousDevice()), terminals: map[uint32]*Terminal{}}
	fs.root.fs = fs
	k.AddFileSystem(fs)
	return fs
}

// Name implements vfs.FileSystem.
func (fs *FS) Name() string { return typeName }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return &fs.root }

// StatFS implements vfs.FileSystem.
func (fs *FS) StatFS() (vfs.StatFS, error) {
	return vfs.StatFS{Type: magic, BlockSize: genfs.Blksize, FragSize: genfs.Blksize, NameLen: 255}, nil
}

// Release implements vfs.FileSystem. The terminals live on: they belong to
// the kernel, not to the mount.
func (fs *FS) Release() {}

// Revalidate implements vfs.Revalidator: terminals come and go by themselves.
func (fs *FS) Revalidate(_ vfs.Inode, name string, child vfs.Inode) bool {
	t, ok := child.(*Terminal)
	if !ok {
		return child != nil
	}
	return fs.named(name) == t
}

// named returns the terminal with a name in /dev/pts, or nil.
func (fs *FS) named(name string) *Terminal {
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != name {
		return nil
	}
	return fs.terminal(uint32(n))
}

// terminal returns the terminal with a number, or nil.
func (fs *FS) terminal(n uint32) *Terminal {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.terminals[n]
}

// newTerminal makes a pair with the lowest free number. With locked the slave
// end cannot be opened before TIOCSPTLCK allows it. ENOSPC if there are
// too many.
func (fs *FS) newTerminal(uid uint32, locked bool) (*Terminal, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for n := range uint32(Max) {
		if fs.terminals[n] == nil {
			t := makeTerminal(fs, n, uid)
			t.locked = locked
			fs.terminals[n] = t
			return t, nil
		}
	}
	return nil, unix.ENOSPC
}

// remove takes t's name away once its master is closed.
func (fs *FS) remove(t *Terminal) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.terminals, t.index)
	if fs.console == t {
		fs.console = nil
	}
}

// root is the inode of /dev/pts.
type root struct {
	vfs.NoInode
	fs *FS
}

func (r *root) Attr() (vfs.Attr, error) {
	return r.fs.super.Attr(rootIno, unix.S_IFDIR|0o755), nil
}

func (r *root) Lookup(name string) (vfs.Inode, error) {
	if name == "ptmx" {
		return &ptmxNode{fs: r.fs}, nil
	}
	if t := r.fs.named(name); t != nil {
		return t, nil
	}
	return nil, unix.ENOENT
}

func (r *root) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: rootIno, Parent: rootIno, Lister: r, Syncs: true}, nil
}

// List implements genfs.Lister. A terminal's key is its inode number.
func (r *root) List(_ vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	if after < ptmxIno && !emit(ptmxIno, vfs.DirEntry{Ino: ptmxIno, Type: unix.DT_CHR, Name: "ptmx"}) {
		return nil
	}
	r.fs.mu.Lock()
	var numbers []uint32
	for n := range r.fs.terminals {
		if int64(n)+firstIno > after {
			numbers = append(numbers, n)
		}
	}
	r.fs.mu.Unlock()
	slices.Sort(numbers)
	for _, n := range numbers {
		e := vfs.DirEntry{Ino: uint64(n) + firstIno, Type: unix.DT_CHR, Name: strconv.Itoa(int(n))}
		if !emit(int64(e.Ino), e) {
			return nil
		}
	}
	return nil
}

// ptmxNode is the inode of /dev/pts/ptmx.
type ptmxNode struct {
	vfs.NoInode
	fs *FS
}

func (p *ptmxNode) Attr() (vfs.Attr, error) {
	a := p.fs.super.Attr(ptmxIno, unix.S_IFCHR|0o666)
	a.RdevMajor, a.RdevMinor = majorAux, minorPtmx
	return a, nil
}

func (p *ptmxNode) Open(c vfs.Caller, _ uint32) (vfs.File, error) { return p.fs.openMaster(c) }
