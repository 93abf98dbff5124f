package vfs

import (
	"coffer/internal/sentry/waiter"
)

// This file holds the interfaces that an Inode or a File may implement beside
// the required ones.

// Referenced is implemented by an Inode that must know when vfs lets go of
// it, to free what a removed file still takes or to close a host descriptor.
// vfs takes one reference for every dentry that holds the inode, and drops it
// when the dentry is forgotten. An Inode that comes from Lookup or Create
// carries none yet.
type Referenced interface {
	IncRef()
	DecRef()
}

// Permissioner is implemented by an Inode that can tell mode (with the file
// type) and owner faster than by Attr; the path walk asks it at every step.
type Permissioner interface {
	Permissions() (mode, uid, gid uint32)
}

// AttrKeeper is implemented by an Inode of a Revalidator that remembers the
// attributes that Lookup, Revalidate or Confirm have learned. Who has just had
// one of these called need not ask again. ok is false if the object was
// changed since.
type AttrKeeper interface {
	KeptAttr() (a Attr, ok bool)
}

// Identifier is implemented by an Inode several of which may stand for one
// object; locks, sockets and watches are kept by what Identity returns, a
// comparable value. All others are identified by the Inode itself.
type Identifier interface {
	Identity() any
}

// Identity is the value under which what is attached to an inode is kept in
// maps. It stays the same as long as somebody holds a Path to the inode.
func Identity(ino Inode) any {
	if i, ok := ino.(Identifier); ok {
		return i.Identity()
	}
	return ino
}

// TmpfileMaker is implemented by a directory that can hold files without a
// name (O_TMPFILE).
type TmpfileMaker interface {
	// Tmpfile makes a regular file with no links; Link may give it a name.
	Tmpfile(o Owner, mode uint32) (Inode, error)
}

// BlockingOpener is implemented by a File whose open(2) may have to wait, as
// that of a FIFO: after Inode.Open the system call layer calls OpenReady
// until it returns something other than EAGAIN, and waits for waiter.In,
// Out or Hup of the file between. With O_NONBLOCK it is not called: Open
// itself answers.
type BlockingOpener interface {
	waiter.Waitable
	OpenReady() error
}

// Sealer is implemented by a File that knows seals (fcntl(2), "File Sealing").
type Sealer interface {
	AddSeals(seals uint32) error
	Seals() (uint32, error)
}

// AnonymousMapper is implemented by a File whose private mappings are
// anonymous memory, as /dev/zero.
type AnonymousMapper interface{ MapsAnonymous() bool }

// OffsetKeeper is implemented by a File whose description's offset may live
// in the file, because somebody outside of the sentry shares it. If
// KeepsOffset says so, Read and Write are called with the offset -1 for "where
// the file is", which they move, and Seek moves it too.
type OffsetKeeper interface{ KeepsOffset() bool }

// PipeSizer is implemented by pipes: F_SETPIPE_SZ and F_GETPIPE_SZ.
type PipeSizer interface {
	PipeSize() int
	// SetPipeSize returns the size that was set, which may be larger.
	SetPipeSize(c Caller, size int) (int, error)
}

// Unreader is a File that gives bytes without a position, and takes them back: those that Read,
// or a socket's receive, gave last but the caller could not be given.
type Unreader interface {
	// Unread puts p before all that is yet to be read.
	Unread(p []byte)
}
