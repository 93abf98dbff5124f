package vfs

import (
	"strings"

	"coffer/internal/sentry/auth"

	"golang.org/x/sys/unix"
)

// Bounds of path_resolution(7).
const (
	maxSymlinks = 40
	maxName     = unix.NAME_MAX
	// maxPath bounds a path without its NUL, and what links make of it.
	maxPath = unix.PathMax - 1
)

// walk is one walk of a path.
//
// The position is mnt and d. While super is not nil its mu is held for
// reading, and the position is borrowed: nothing that is in the cache can go.
// Steps that the cache answers therefore touch no reference count. Before the
// lock is given up the position is settled: counted, as anchor. The mount of
// a position is always counted, by anchor or by the caller's Origin.
type walk struct {
	c     Caller
	cred  *auth.Credentials
	root  Path
	start Path
	flags ResolveFlags
	// rest is what is still to be walked.
	rest string
	// dir says that a trailing slash wants the result to be a directory.
	dir   bool
	links int
	// at is what rest, and atDir what dir was before the present component.
	at    string
	atDir bool
	// strict says that nothing is presumed any more.
	strict      bool
	presumption presumption
	// fresh says that the file system was asked about the position by this walk.
	fresh bool
	// wantAttr says that only the attributes of what the path leads to are
	// wanted; told that attr holds them, see glance.
	wantAttr, told bool
	attr           Attr
	// volatile says that a directory on the way is of a file system whose names change by
	// themselves.
	volatile bool

	mnt    *Mount
	d      *Dentry
	super  *super
	anchor Path
}

// begin sets w up at the start of path. ENOENT for an empty path,
// ENAMETOOLONG for one that is too long.
func (w *walk) begin(c Caller, o Origin, path string, flags ResolveFlags) error {
	w.c, w.cred, w.root, w.start, w.flags, w.rest = c, c.Credentials(), o.Root, o.Start, flags, path
	if len(path) > maxPath {
		return unix.ENAMETOOLONG
	}
	if path == "" && flags&EmptyPath == 0 {
		return unix.ENOENT
	}
	if flags&(inRoot|beneath) != 0 {
		w.root = o.Start
	}
	w.mnt, w.d = o.Start.Mount, o.Start.Dentry
	if path != "" && path[0] == '/' {
		if flags&beneath != 0 {
			return unix.EXDEV
		}
		w.mnt, w.d = w.root.Mount, w.root.Dentry
	}
	if w.d == nil {
		return unix.ENOENT
	}
	return nil
}

// jumpToRoot goes to the root directory, for an absolute path.
func (w *walk) jumpToRoot() error {
	if w.flags&beneath != 0 {
		return unix.EXDEV
	}
	if w.flags&noXDev != 0 && w.root.Mount != w.mnt {
		return unix.EXDEV
	}
	w.unlock()
	w.mnt, w.d = w.root.Mount, w.root.Dentry
	return nil
}

// lock takes the position's tree lock.
func (w *walk) lock() {
	if w.super == nil {
		w.super = w.d.super
		w.super.mu.RLock()
	}
}

// unlock gives up the tree lock without settling; the position is about to
// be replaced, or is held by somebody else.
func (w *walk) unlock() {
	if w.super != nil {
		w.super.mu.RUnlock()
		w.super = nil
	}
}

// settle counts the position and gives up the lock.
func (w *walk) settle() {
	// If neither locked nor anchored the position is one of the Origin's.
	if w.anchor.Dentry == w.d && w.anchor.Mount == w.mnt {
		w.unlock()
		return
	}
	p := Path{w.mnt, w.d}
	p.IncRef()
	w.unlock()
	w.anchor.DecRef()
	w.anchor = p
}

// moveTo makes p, whose references it takes over, the position.
func (w *walk) moveTo(p Path) {
	w.unlock()
	w.anchor.DecRef()
	w.anchor, w.mnt, w.d = p, p.Mount, p.Dentry
}

// end gives up everything; the result, if any, has been taken by then.
func (w *walk) end() {
	w.unlock()
	w.anchor.DecRef()
	w.anchor = Path{}
}

// take settles the position and returns it with its reference.
func (w *walk) take() Path {
	w.settle()
	p := w.anchor
	w.anchor = Path{}
	return p
}

// search checks that the position is a directory that may be searched.
func (w *walk) search() error {
	if w.d.super.revalidates != nil {
		w.volatile = true
	}
	if w.presumed() && !w.d.super.confirms.Passable(w.d.inode) {
		if err := w.confirm(); err != nil {
			return err
		}
	}
	err := w.maySearch()
	if err != nil && w.presumed() {
		if err := w.confirm(); err != nil {
			return err
		}
		err = w.maySearch()
	}
	return err
}

func (w *walk) maySearch() error {
	if !w.d.isDir() {
		return unix.ENOTDIR
	}
	ino := w.d.inode
	if p, ok := ino.(Permissioner); ok {
		mode, uid, gid := p.Permissions()
		if mode&0o111 == 0o111 {
			return nil
		}
		return ModeAllows(w.cred, mode, uid, gid, unix.X_OK)
	}
	// The file system may have to ask elsewhere: not under the lock.
	w.settle()
	return permitted(w.c, ino, unix.X_OK)
}

// last walks all components but the last, and returns that one. It is "" if
// the position is the end already, and may be "." or "..".
func (w *walk) last() (string, error) {
	for {
		name, err := w.presumeLast()
		if w.confirm() == nil && err != errStale {
			return name, err
		}
	}
}

// presumeLast is last without having the way confirmed.
func (w *walk) presumeLast() (string, error) {
	for {
		for len(w.rest) > 0 && w.rest[0] == '/' {
			w.rest = w.rest[1:]
		}
		if w.rest == "" {
			return "", nil
		}
		w.at, w.atDir = w.rest, w.dir
		name, rest := w.rest, ""
		if i := strings.IndexByte(w.rest, '/'); i >= 0 {
			name, rest = w.rest[:i], w.rest[i:]
		}
		if len(name) > maxName {
			return "", unix.ENAMETOOLONG
		}
		if err := w.search(); err != nil {
			return "", err
		}
		if onlySlashes(rest) {
			w.rest = ""
			if rest != "" {
				w.dir = true
			}
			return name, nil
		}
		w.rest = rest
		switch name {
		case ".":
		case "..":
			if err := w.up(); err != nil {
				return "", err
			}
		default:
			link, err := w.enter(name, true)
			if err != nil {
				return "", err
			}
			if link {
				if err := w.follow(); err != nil {
					return "", err
				}
			}
		}
	}
}

func onlySlashes(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '/' {
			return false
		}
	}
	return true
}

// enter looks name up in the directory at the position. If it is a symbolic
// link and wantLink, the link becomes the position, for follow, and link is
// true. Otherwise the position becomes what the name leads to, with what is
// mounted there.
//
// The step may be a presumption. errStale if one turned out to be wrong.
func (w *walk) enter(name string, wantLink bool) (link bool, err error) {
	w.fresh = false
	if w.d.super.confirms != nil && !w.strict && w.flags&cachedOnly == 0 {
		ok, err := w.presume(name)
		link := ok && wantLink && w.d.kind == unix.S_IFLNK
		if err == nil && link {
			err = w.confirm()
		}
		if ok || err != nil {
			return link && err == nil, err
		}
	}
	w.lock()
	var child *Dentry
	if w.super.revalidates == nil {
		child = w.d.find(name)
	}
	if child == nil {
		if w.flags&cachedOnly != 0 {
			return false, unix.EAGAIN
		}
		if done, err := w.glance(name, wantLink); done {
			return false, err
		}
		w.settle()
		d := w.d
		rlock(w.c, &d.ops)
		child, err = d.child(w.c, name)
		d.ops.RUnlock()
		if err != nil {
			return false, err
		}
		w.mnt.incRef()
		w.moveTo(Path{w.mnt, child})
		w.fresh = child.super.revalidates != nil && child.mounted.Load() == 0
	} else {
		if child.inode == nil {
			return false, unix.ENOENT
		}
		w.d = child
	}
	if child.mounted.Load() > 0 {
		if err := w.cross(); err != nil {
			return false, err
		}
	}
	return wantLink && w.d.kind == unix.S_IFLNK, nil
}

// cross goes into what is mounted on the position.
func (w *walk) cross() error {
	for {
		m := w.mnt.mountAt(w.d)
		if m == nil {
			return nil
		}
		if w.flags&noXDev != 0 {
			w.unlock()
			m.decRef()
			return unix.EXDEV
		}
		m.root.IncRef()
		w.moveTo(Path{m, m.root})
		w.fresh = false
	}
}

// up goes to the parent directory, not beyond the root.
func (w *walk) up() error {
	if err := w.confirm(); err != nil {
		return err
	}
	w.fresh = false
	for {
		if w.d == w.root.Dentry && w.mnt == w.root.Mount {
			if w.flags&beneath != 0 {
				return unix.EXDEV
			}
			return nil
		}
		if w.d != w.mnt.root {
			break
		}
		// At a mount's root: go on from the place where it is mounted.
		w.settle()
		mountMu.RLock()
		p := w.mnt.point
		p.IncRef()
		mountMu.RUnlock()
		if !p.Valid() {
			return nil
		}
		if w.flags&noXDev != 0 {
			p.DecRef()
			return unix.EXDEV
		}
		w.moveTo(p)
	}
	w.lock()
	if p := w.d.parent; p != nil {
		w.d = p
	}
	if w.flags&(beneath|inRoot) != 0 && w.mnt == w.root.Mount && !w.d.within(w.root.Dentry) {
		// Something was moved out of the directory meanwhile.
		w.settle()
		return unix.EAGAIN
	}
	// Something may be mounted over the parent directory.
	if w.d.mounted.Load() > 0 {
		return w.cross()
	}
	return nil
}

// follow replaces the position, a symbolic link, by what it leads to: the
// target is put before the rest of the path, and the position goes back to
// the link's directory.
func (w *walk) follow() error {
	w.fresh = false
	if w.links++; w.links > maxSymlinks || w.flags&noSymlinks != 0 {
		return unix.ELOOP
	}
	if w.mnt.Flags()&unix.MS_NOSYMFOLLOW != 0 {
		return unix.ELOOP
	}
	if w.rest == "" {
		if err := w.trusted(); err != nil {
			return err
		}
	}
	if m, ok := w.d.inode.(MagicLink); ok {
		if w.flags&noMagicLinks != 0 {
			return unix.ELOOP
		}
		if w.flags&(beneath|inRoot) != 0 {
			return unix.EXDEV
		}
		w.settle()
		p, err := m.Follow(w.c)
		if err != nil {
			return err
		}
		if w.flags&noXDev != 0 && p.Mount != w.mnt {
			p.DecRef()
			return unix.EXDEV
		}
		w.moveTo(p)
		return nil
	}
	w.settle()
	target, err := w.d.inode.Readlink(w.c)
	if err != nil {
		return err
	}
	if target == "" {
		return unix.ENOENT
	}
	if w.rest != "" || w.dir {
		if len(target)+len(w.rest) > maxPath {
			return unix.ENAMETOOLONG
		}
		target += w.rest
		if w.dir && w.rest == "" {
			target += "/"
		}
	}
	w.rest = target
	if target[0] == '/' {
		return w.jumpToRoot()
	}
	w.lock()
	w.d = w.d.parent
	return nil
}

// trusted is EACCES for what somebody else, who is not the directory's owner, has
// put into a sticky directory that all may write to. A link at the end of a path is
// not followed then (protected_symlinks, proc(5)).
func (w *walk) trusted() error {
	w.settle()
	w.d.super.mu.RLock()
	dir := w.d.parent
	w.d.super.mu.RUnlock()
	if dir == nil {
		return nil
	}
	mode, duid, _, err := ownership(w.c, dir.inode)
	if err != nil || mode&(unix.S_ISVTX|0o002) != unix.S_ISVTX|0o002 {
		return err
	}
	_, uid, _, err := ownership(w.c, w.d.inode)
	if err != nil || uid == w.cred.FSUID || uid == duid {
		return err
	}
	return unix.EACCES
}

// finish walks to the end of the path.
func (w *walk) finish() error {
	for {
		more, err := w.finishStep()
		if w.confirm() != nil || err == errStale || err == nil && more {
			continue
		}
		if err != nil {
			return err
		}
		if (w.dir || w.flags&WantDirectory != 0) && !w.d.isDir() {
			return unix.ENOTDIR
		}
		return nil
	}
}

// finishStep walks to what the last component leads to. more says that this
// was a symbolic link, which was followed.
func (w *walk) finishStep() (more bool, err error) {
	name, err := w.presumeLast()
	if err != nil {
		return false, err
	}
	switch name {
	case "", ".":
		return false, nil
	case "..":
		return false, w.up()
	}
	link, err := w.enter(name, w.flags&NoFollowLast == 0 || w.dir)
	if err != nil || !link {
		return false, err
	}
	return true, w.follow()
}
