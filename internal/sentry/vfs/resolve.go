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

// ResolveAttr is Resolve, and brings the attributes: a walk has often just
// learned them.
func (ns *MountNamespace) ResolveAttr(c Caller, o Origin, path string, flags ResolveFlags) (Path, Attr, error) {
	var w walk
	if err := w.begin(c, o, path, flags); err != nil {
		return Path{}, Attr{}, err
	}
	defer w.end()
	if err := w.finish(); err != nil {
		return Path{}, Attr{}, err
	}
	p := w.take()
	if k, ok := p.Inode().(AttrKeeper); ok && w.fresh {
		if a, ok := k.KeptAttr(); ok {
			return p, a, nil
		}
	}
	a, err := InodeFor(c, p.Inode()).Attr()
	if err != nil {
		p.DecRef()
		return Path{}, Attr{}, err
	}
	return p, a, nil
}
