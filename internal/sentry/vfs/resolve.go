package vfs

import "golang.org/x/sys/unix"

// Origin says from where a path is walked: Root is the task's root
// directory, Start where a relative path begins (cwd or a dirfd's path). The
// caller holds both for as long as the walk takes.
type Origin struct{ Root, Start Path }

// ResolveFlags say how a path is walked, beside openat2(2)'s RESOLVE_* in the
// upper half.
type ResolveFlags uint64

const (
	// NoFollowLast returns a final symbolic link itself.
	NoFollowLast ResolveFlags = 1 << iota
	// WantDirectory makes anything but a directory ENOTDIR.
	WantDirectory
	// EmptyPath allows "" for Start itself (AT_EMPTY_PATH).
	EmptyPath
	// ResolveShift is where openat2(2)'s RESOLVE_* bits begin.
	ResolveShift = 32

	noXDev       ResolveFlags = unix.RESOLVE_NO_XDEV << ResolveShift
	noMagicLinks ResolveFlags = unix.RESOLVE_NO_MAGICLINKS << ResolveShift
	noSymlinks   ResolveFlags = unix.RESOLVE_NO_SYMLINKS << ResolveShift
	beneath      ResolveFlags = unix.RESOLVE_BENEATH << ResolveShift
	inRoot       ResolveFlags = unix.RESOLVE_IN_ROOT << ResolveShift
	cachedOnly   ResolveFlags = 0x20 << ResolveShift // RESOLVE_CACHED
)

// Resolve walks a path; the caller drops the result's reference.
func (ns *MountNamespace) Resolve(c Caller, o Origin, path string, flags ResolveFlags) (Path, error) {
	var w walk
	if err := w.begin(c, o, path, flags); err != nil {
		return Path{}, err
	}
	defer w.end()
	if err := w.finish(); err != nil {
		return Path{}, err
	}
	return w.take(), nil
}

// ResolveLink is Resolve for readlink(2). lasting says that, until the epoch changes, the
// path leads to the same.
func (ns *MountNamespace) ResolveLink(c Caller, o Origin, path string) (p Path, lasting bool, err error) {
	var w walk
	if err := w.begin(c, o, path, NoFollowLast|EmptyPath); err != nil {
		return Path{}, false, err
	}
	defer w.end()
	if err := w.finish(); err != nil {
		return Path{}, !w.volatile, err
	}
	return w.take(), !w.volatile, nil
}

// Stat is what stat(2) and statx(2) tell of what a path leads to.
type Stat struct {
	Attr
	// MountID numbers the mount that it is on; MountRoot says that it is what
	// is mounted there.
	MountID   int
	MountRoot bool
}

// Stat walks a path and returns what there is to tell of its end: a walk has
// often just learned it.
func (ns *MountNamespace) Stat(c Caller, o Origin, path string, flags ResolveFlags) (Stat, error) {
	var w walk
	if err := w.begin(c, o, path, flags); err != nil {
		return Stat{}, err
	}
	defer w.end()
	w.wantAttr = true
	if err := w.finish(); err != nil {
		return Stat{}, err
	}
	if w.told {
		return Stat{Attr: w.attr, MountID: w.mnt.ID()}, nil
	}
	w.settle()
	p := Path{w.mnt, w.d}
	a, err := w.attributes()
	return Stat{a, p.Mount.ID(), p.IsMountRoot()}, err
}

// attributes are those of the position, which is settled.
func (w *walk) attributes() (Attr, error) {
	ino := w.d.inode
	if k, ok := ino.(AttrKeeper); ok && w.fresh {
		if a, ok := k.KeptAttr(); ok {
			return a, nil
		}
	}
	return InodeFor(w.c, ino).Attr()
}
