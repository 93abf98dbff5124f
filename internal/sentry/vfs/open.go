package vfs

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// OpenHow is openat2(2)'s struct open_how. Mode is before umask.
type OpenHow struct {
	Flags   uint32
	Mode    uint32
	Resolve uint64
}

// tmpfileBit is O_TMPFILE without the O_DIRECTORY that it includes.
const tmpfileBit = unix.O_TMPFILE &^ unix.O_DIRECTORY

// access returns the permissions that opening with flags asks for.
func access(flags uint32) uint32 {
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		if flags&unix.O_TRUNC != 0 {
			return unix.R_OK | unix.W_OK
		}
		return unix.R_OK
	case unix.O_WRONLY:
		return unix.W_OK
	}
	// 3 is O_RDWR's permissions for a descriptor that can do neither.
	return unix.R_OK | unix.W_OK
}

// OpenAt opens or creates. The description has one reference, the caller's.
// If its File is a BlockingOpener the open is not finished yet.
func (ns *MountNamespace) OpenAt(c Caller, o Origin, path string, how OpenHow) (*FileDescription, error) {
	d, err := ns.openAt(c, o, path, how)
	if err == unix.ESTALE {
		// What the name leads to was replaced since the walk; an overlay of the
		// host's does so by being opened for writing. Linux walks again too.
		d, err = ns.openAt(c, o, path, how)
	}
	return d, err
}

func (ns *MountNamespace) openAt(c Caller, o Origin, path string, how OpenHow) (*FileDescription, error) {
	flags := how.Flags
	if flags&unix.O_PATH != 0 {
		flags &= unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	}
	rf := ResolveFlags(how.Resolve) << ResolveShift
	if flags&unix.O_DIRECTORY != 0 {
		rf |= WantDirectory
	}
	if flags&unix.O_NOFOLLOW != 0 || flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL {
		rf |= NoFollowLast
	}
	var w walk
	if err := w.begin(c, o, path, rf); err != nil {
		return nil, err
	}
	defer w.end()
	switch {
	case flags&tmpfileBit != 0:
		return w.openTmpfile(flags, how.Mode)
	case flags&unix.O_CREAT != 0:
		return w.openCreate(flags, how.Mode)
	}
	if err := w.finish(); err != nil {
		return nil, err
	}
	if flags&unix.O_PATH == 0 && w.d.kind == unix.S_IFLNK {
		return nil, unix.ELOOP // only O_NOFOLLOW leads here
	}
	return openPath(c, w.take(), flags, false, nil)
}

// openTmpfile makes a file without a name in the directory at the path.
func (w *walk) openTmpfile(flags, mode uint32) (*FileDescription, error) {
	if err := w.finish(); err != nil {
		return nil, err
	}
	w.settle()
	dir := Path{w.mnt, w.d}
	if dir.Mount.ReadOnly() {
		return nil, unix.EROFS
	}
	if err := mayCreate(w.c, dir); err != nil {
		return nil, err
	}
	maker, ok := dir.Inode().(TmpfileMaker)
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	mode = mode & 0o7777 &^ w.c.Umask()
	owner, mode, err := ownerIn(w.c, dir.Inode(), unix.S_IFREG|mode)
	if err != nil {
		return nil, err
	}
	ino, err := maker.Tmpfile(owner, mode&^unix.S_IFMT)
	if err != nil {
		return nil, err
	}
	name := ""
	if a, err := ino.Attr(); err == nil {
		name = "#" + strconv.FormatUint(a.Ino, 10)
	}
	d, err := dir.Dentry.addNameless(name, ino)
	if err != nil {
		return nil, err
	}
	d.linkable.Store(flags&unix.O_EXCL == 0)
	w.mnt.incRef()
	return openPath(w.c, Path{w.mnt, d}, flags, true, nil)
}

// openCreate opens the file at the path, and makes it if it is not there.
func (w *walk) openCreate(flags, mode uint32) (*FileDescription, error) {
	for {
		name, err := w.last()
		if err != nil {
			return nil, err
		}
		if name == "" || name == "." || name == ".." {
			if flags&unix.O_EXCL != 0 {
				return nil, unix.EEXIST
			}
			return nil, unix.EISDIR
		}
		if w.dir {
			return nil, unix.EISDIR
		}
		made, opened, err := w.enterOrCreate(name, flags, mode)
		if err == errStale {
			continue
		}
		if err != nil {
			return nil, err
		}
		if w.d.kind == unix.S_IFLNK {
			if flags&unix.O_EXCL != 0 {
				return nil, unix.EEXIST
			}
			if flags&unix.O_NOFOLLOW != 0 {
				return nil, unix.ELOOP
			}
			if err := w.follow(); err != nil {
				return nil, err
			}
			if w.rest == "" { // a magic link has led to the object itself
				return openPath(w.c, w.take(), flags, false, nil)
			}
			continue
		}
		if !made {
			if flags&unix.O_EXCL != 0 {
				return nil, unix.EEXIST
			}
			if w.d.isDir() {
				return nil, unix.EISDIR
			}
			if err := w.protected(); err != nil {
				return nil, err
			}
		}
		return openPath(w.c, w.take(), flags, made, opened)
	}
}

// enterOrCreate makes the position what name leads to, creating a regular
// file if there is nothing. opened is its File if the file system opens what it
// creates.
func (w *walk) enterOrCreate(name string, flags, mode uint32) (made bool, opened File, err error) {
	if _, err = w.enter(name, false); err == nil {
		err = w.confirm()
	}
	if err != unix.ENOENT {
		return false, nil, err
	}
	w.settle()
	dir := Path{w.mnt, w.d}
	d := dir.Dentry
	lock(w.c, &d.ops)
	child, err := d.child(w.c, name)
	if err == unix.ENOENT {
		made = true
		child, err = place{dir: dir, name: name}.create(w.c, func(at place) (Inode, error) {
			owner, mode, err := ownerIn(w.c, d.inode, unix.S_IFREG|mode&0o7777&^w.c.Umask())
			if err != nil {
				return nil, err
			}
			dir := InodeFor(w.c, d.inode)
			if o, ok := dir.(OpenCreator); ok {
				var ino Inode
				ino, opened, err = o.CreateOpen(owner, name, mode&^unix.S_IFMT, fileFlags(flags))
				return ino, err
			}
			return dir.Create(owner, name, mode&^unix.S_IFMT)
		})
	}
	d.ops.Unlock()
	if err != nil {
		if opened != nil {
			opened.Release()
		}
		return false, nil, err
	}
	if made {
		notify(d.inode, Event{Mask: unix.IN_CREATE, Name: name})
	}
	w.mnt.incRef()
	w.moveTo(Path{w.mnt, child}.top())
	return made, opened, nil
}

// protected applies protected_regular and protected_fifos (proc(5)) at level
// 1: with O_CREAT, a file or FIFO of somebody else in a sticky directory that
// all may write to is not opened.
func (w *walk) protected() error {
	kind := w.d.kind
	if kind != unix.S_IFREG && kind != unix.S_IFIFO {
		return nil
	}
	return w.trusted()
}

// Open opens what p leads to (open(2) without O_CREAT). It does not take over
// p's references.
func (ns *MountNamespace) Open(c Caller, p Path, flags uint32) (*FileDescription, error) {
	p.IncRef()
	if flags&unix.O_DIRECTORY != 0 && !p.IsDir() {
		p.DecRef()
		return nil, unix.ENOTDIR
	}
	return openPath(c, p, flags, false, nil)
}

// openPath opens the object at p, whose references it takes over. made says
// that the object was made by this open, which is then allowed anything; opened
// is its File, if there is one already.
func openPath(c Caller, p Path, flags uint32, made bool, opened File) (d *FileDescription, err error) {
	if opened != nil {
		defer func() {
			if err != nil {
				opened.Release()
			}
		}()
	}
	if flags&unix.O_PATH != 0 {
		return NewDescription(pathFile{}, p.Inode(), p, flags), nil
	}
	if !made {
		if err := mayOpen(c, p, flags); err != nil {
			p.DecRef()
			return nil, err
		}
	}
	writes := flags&unix.O_ACCMODE != unix.O_RDONLY && !special(p.Dentry.kind)
	if writes || flags&unix.O_TRUNC != 0 && !special(p.Dentry.kind) {
		if err := p.Mount.startWrite(); err != nil {
			p.DecRef()
			return nil, err
		}
	}
	d, err = openInode(c, p, flags, made, opened)
	if err != nil {
		if writes || flags&unix.O_TRUNC != 0 && !special(p.Dentry.kind) {
			p.Mount.endWrite()
		}
		p.DecRef()
		return nil, err
	}
	if writes {
		d.writes = p.Mount
	} else if flags&unix.O_TRUNC != 0 && !special(p.Dentry.kind) {
		p.Mount.endWrite()
	}
	if watched() {
		p.notify(unix.IN_OPEN)
	}
	return d, nil
}

// openInode makes the file and the description, and truncates.
func openInode(c Caller, p Path, flags uint32, made bool, opened File) (d *FileDescription, err error) {
	ino := p.Inode()
	regular := p.Dentry.kind == unix.S_IFREG
	if regular && flags&unix.O_ACCMODE != unix.O_RDONLY {
		if err := countWriter(ino, 1); err != nil {
			return nil, err
		}
		defer func() {
			if err == nil {
				d.counted.Store(1)
			} else {
				uncountWriter(ino, 1)
			}
		}()
	}
	if flags&unix.O_TRUNC != 0 && regular && !made {
		if err := mayTruncate(ino); err != nil {
			return nil, err
		}
		if err := truncate(c, ino, 0); err != nil {
			return nil, err
		}
		if watched() {
			p.notify(unix.IN_MODIFY)
		}
	}
	if opened != nil {
		return NewDescription(opened, ino, p, flags), nil
	}
	fflags := fileFlags(flags)
	if p.Mount.Flags()&unix.MS_NOATIME != 0 || p.IsDir() && p.Mount.Flags()&unix.MS_NODIRATIME != 0 {
		fflags |= unix.O_NOATIME
	}
	f, err := openFile(c, p, fflags)
	if err != nil {
		return nil, err
	}
	return NewDescription(f, ino, p, flags), nil
}

// fileFlags are the flags of open(2) that a file system sees.
func fileFlags(flags uint32) uint32 {
	return flags &^ (unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_TRUNC)
}

// openFile opens an inode, or the driver of a device.
func openFile(c Caller, p Path, flags uint32) (File, error) {
	switch kind := p.Dentry.kind; kind {
	case unix.S_IFSOCK:
		return nil, unix.ENXIO
	case unix.S_IFCHR, unix.S_IFBLK:
		a, err := p.Attr()
		if err != nil {
			return nil, err
		}
		f, err := OpenDevice(c, kind, a.RdevMajor, a.RdevMinor, flags)
		if err != unix.ENXIO {
			return f, err
		}
	}
	return p.Inode().Open(c, flags)
}

// mayOpen checks permission to open what there is already.
func mayOpen(c Caller, p Path, flags uint32) error {
	acc := access(flags)
	cred := c.Credentials()
	ino := p.Inode()
	switch p.Dentry.kind {
	case unix.S_IFLNK:
		return unix.ELOOP
	case unix.S_IFDIR:
		if acc&unix.W_OK != 0 {
			return unix.EISDIR
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if p.Mount.Flags()&unix.MS_NODEV != 0 || !p.Mount.super.trusted() {
			return unix.EACCES
		}
	}
	if acc&unix.W_OK != 0 && p.Mount.ReadOnly() && !special(p.Dentry.kind) {
		return unix.EROFS
	}
	if err := permitted(c, ino, acc); err != nil {
		return err
	}
	if flags&unix.O_NOATIME != 0 {
		_, uid, _, err := ownership(c, ino)
		if err != nil {
			return err
		}
		if !owns(cred, uid) {
			return unix.EPERM
		}
	}
	return nil
}

// pathFile is the file of an O_PATH descriptor.
type pathFile struct{ NoFile }

func (pathFile) Read(Caller, []byte, int64) (int, error) { return 0, unix.EBADF }
func (pathFile) Write(Caller, []byte, int64, uint32) (int, int64, error) {
	return 0, 0, unix.EBADF
}
func (pathFile) Seek(int, int64, int64) (int64, error)            { return 0, unix.EBADF }
func (pathFile) Readdir(Caller, int64, func(DirEntry) bool) error { return unix.EBADF }
func (pathFile) Ioctl(Caller, uint32, uint64) (uintptr, error)    { return 0, unix.EBADF }
func (pathFile) Fsync(bool) error                                 { return unix.EBADF }
func (pathFile) Fallocate(uint32, int64, int64) error             { return unix.EBADF }
func (pathFile) MapFD() (int, error)                              { return -1, unix.EBADF }
