package vfs

import "sync"

// A file system may have its answers from a process of the guest that serves
// it (FUSE). Then whoever wants something must wait for that process, on his
// own account: he may get a signal meanwhile, or be killed. So the objects that
// vfs keeps of such a file system answer by themselves only what they remember
// (Attr). For everything else vfs asks what For returns.

// ServedInode is implemented by an Inode whose operations wait for a server, and
// by one in which what is made counts to who makes it.
type ServedInode interface {
	Inode
	// For returns the inode as c uses it. c is nil where nobody is there who
	// could wait.
	For(c Caller) Inode
}

// ServedFile is likewise for those methods of a File that have no Caller.
type ServedFile interface {
	File
	For(c Caller) File
}

// AccessAsker is implemented by what ServedInode.For returns if the server has
// a say in access(2) and execve(2), beside the permissions that the kernel
// checks. mask is of unix.R_OK, W_OK and X_OK.
type AccessAsker interface{ AskAccess(mask uint32) error }

// OpenCreator is implemented by what ServedInode.For returns of a directory
// whose server creates and opens a file in one go. mode is as Inode.Create's,
// flags are as Inode.Open's.
type OpenCreator interface {
	CreateOpen(o Owner, name string, mode, flags uint32) (Inode, File, error)
}

// Aborter is implemented by a FileSystem whose server can be given up
// (MNT_FORCE in umount(2)): whoever waits for it gets an error.
type Aborter interface{ Abort() }

// ServedFileSystem is implemented by a FileSystem whose StatFS has to wait.
type ServedFileSystem interface {
	StatFSFor(c Caller) (StatFS, error)
}

// MapPreparer is implemented by a File that has something to do, in which it
// may have to wait, before MapFD gives a descriptor. shared says that
// MAP_SHARED is asked for; ENODEV if the file cannot be mapped so.
type MapPreparer interface {
	PrepareMap(c Caller, shared bool) error
}

// Sleeper is implemented by a Caller that notes while it sleeps for a lock whose
// holder may wait for a server: nothing is wrong then, however long it takes.
type Sleeper interface{ Asleep(wait func()) }

// locker is a lock that can be tried first.
type locker interface {
	sync.Locker
	TryLock() bool
}

// lock takes l for c.
func lock(c Caller, l locker) {
	if !l.TryLock() {
		sleepFor(c, l)
	}
}

// rlock takes l for reading for c.
func rlock(c Caller, l *sync.RWMutex) {
	if !l.TryRLock() {
		sleepFor(c, l.RLocker())
	}
}

func sleepFor(c Caller, l sync.Locker) {
	if s, ok := c.(Sleeper); ok {
		s.Asleep(l.Lock)
	} else {
		l.Lock()
	}
}

// InodeFor is the inode as c uses it.
func InodeFor(c Caller, ino Inode) Inode {
	if s, ok := ino.(ServedInode); ok {
		return s.For(c)
	}
	return ino
}

// FileFor is the file as c uses it.
func FileFor(c Caller, f File) File {
	if s, ok := f.(ServedFile); ok {
		return s.For(c)
	}
	return f
}

// PrepareMap does what must precede MapFD.
func PrepareMap(c Caller, f File, shared bool) error {
	if p, ok := f.(MapPreparer); ok {
		return p.PrepareMap(c, shared)
	}
	return nil
}

// Attr returns the attributes of an open file, as fstat(2) tells them.
func (d *FileDescription) Attr(c Caller) (Attr, error) { return InodeFor(c, d.Inode).Attr() }
