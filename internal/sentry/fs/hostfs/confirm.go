package hostfs

import (
	"strings"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Passable implements vfs.Confirmer. So a change of mode or owner that the host
// makes to a directory takes up to a second to bar those who only pass through
// it; whoever looks at the directory itself sees it at once.
func (fs *FileSystem) Passable(dir vfs.Inode) bool {
	d, ok := dir.(*inode)
	return ok && d.seenLately()
}

// Confirm implements vfs.Confirmer. The path as a whole may lead there by other
// means than before: if a directory on it was moved, say, and a symbolic link
// put in its place. That is as good as a walk of a moment before.
func (fs *FileSystem) Confirm(base vfs.Inode, path string, parent, child vfs.Inode) bool {
	b, okBase := base.(*inode)
	p, okParent := parent.(*inode)
	if !okBase || !okParent {
		return false
	}
	name := fs.below(b, path, p)
	if name == "" {
		return false
	}
	h, err := fs.acquire(b)
	if err != nil {
		return false
	}
	defer fs.dirs.release(h)
	asked := fs.now()
	st, err := fs.host.StatPath(Dir(h.fd), path)
	if child == nil {
		return err == unix.ENOENT
	}
	c, ok := child.(*inode)
	if !ok || err != nil || fs.identify(&st) != c.id {
		return false
	}
	fs.place(c, p, name)
	c.remember(&st, asked)
	return true
}

// below returns the last name of path if the rest of it leads from base to
// parent by the places of the directories between them. It is "" otherwise:
// then one of them was last seen elsewhere, and must be looked up there again.
func (fs *FileSystem) below(base *inode, path string, parent *inode) (last string) {
	fs.tree.RLock()
	defer fs.tree.RUnlock()
	rest, name := cutLast(path)
	for last = name; ; {
		if rest, name = cutLast(rest); name == "" {
			break
		}
		if parent.at.name != name || parent.at.parent == nil {
			return ""
		}
		parent = parent.at.parent
	}
	if parent != base {
		return ""
	}
	return last
}

// cutLast splits the last name off a path; "." is none.
func cutLast(path string) (rest, name string) {
	for {
		path = strings.TrimRight(path, "/")
		i := strings.LastIndexByte(path, '/') + 1
		if path, name = path[:i], path[i:]; name != "." {
			return path, name
		}
	}
}
