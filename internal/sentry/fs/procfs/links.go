package procfs

import (
	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// link is a symbolic link that leads to an object, not to a path.
type link struct {
	vfs.NoInode
	subject
	fs  *FS
	ino uint64
}

func (d *subDir) link(name string) link {
	return link{subject: d.subject, fs: d.fs, ino: genfs.Ino(d.ino, name)}
}

// Attr implements vfs.Inode.
func (l *link) Attr() (vfs.Attr, error) {
	a := l.fs.super.Attr(l.ino, unix.S_IFLNK|0o777)
	a.UID, a.GID = l.owner()
	return a, nil
}

// follow returns where place leads, if c may look.
func (l *link) follow(c vfs.Caller, place func() (vfs.Path, error)) (vfs.Path, error) {
	if err := l.mayLook(c); err != nil {
		return vfs.Path{}, err
	}
	return place()
}

// read returns the name of where place leads, as c sees it.
func (l *link) read(c vfs.Caller, place func() (vfs.Path, error)) (string, error) {
	p, err := l.follow(c, place)
	if err != nil {
		return "", err
	}
	defer p.DecRef()
	return pathName(c, p), nil
}

// pathName is p's name as c sees it. What lies outside of c's root is named
// from the top of its file system, as Linux does.
func pathName(c vfs.Caller, p vfs.Path) string {
	t := taskOf(c)
	if t == nil || t.FS() == nil {
		return ""
	}
	root := t.FS().Root()
	defer root.DecRef()
	name, _ := t.FS().Mounts().PathName(root, p)
	return name
}

// fileName is the name of an open file as c sees it.
func fileName(c vfs.Caller, f *vfs.FileDescription) string {
	p, err := f.Place()
	if err != nil {
		return ""
	}
	defer p.DecRef()
	return pathName(c, p)
}

// placeLink is a link to a place that a function tells: exe, cwd and root.
type placeLink struct {
	link
	place func(s subject) (vfs.Path, error)
}

// Readlink implements vfs.Inode.
func (l *placeLink) Readlink(c vfs.Caller) (string, error) {
	return l.read(c, func() (vfs.Path, error) { return l.place(l.subject) })
}

// Follow implements vfs.MagicLink.
func (l *placeLink) Follow(c vfs.Caller) (vfs.Path, error) {
	return l.follow(c, func() (vfs.Path, error) { return l.place(l.subject) })
}

func newPlaceLink(d *taskDir, ino uint64, place func(s subject) (vfs.Path, error)) vfs.Inode {
	return &placeLink{link{subject: d.subject, fs: d.fs, ino: ino}, place}
}

func newExeLink(d *taskDir, ino uint64) vfs.Inode {
	return newPlaceLink(d, ino, func(s subject) (vfs.Path, error) {
		m, err := s.memory()
		if err != nil {
			return vfs.Path{}, err
		}
		if m == nil {
			return vfs.Path{}, unix.ENOENT
		}
		f := m.Exe()
		if f == nil {
			return vfs.Path{}, unix.ENOENT
		}
		defer f.DecRef()
		return f.Place()
	})
}

func newCwdLink(d *taskDir, ino uint64) vfs.Inode {
	return newPlaceLink(d, ino, func(s subject) (vfs.Path, error) { return s.directory((*kernel.FSContext).Cwd) })
}

func newRootLink(d *taskDir, ino uint64) vfs.Inode {
	return newPlaceLink(d, ino, func(s subject) (vfs.Path, error) { return s.directory((*kernel.FSContext).Root) })
}

// directory returns the subject's working or root directory, with a reference.
func (s subject) directory(which func(*kernel.FSContext) vfs.Path) (vfs.Path, error) {
	t, err := s.task()
	if err != nil {
		return vfs.Path{}, err
	}
	_, _, fs := t.Resources()
	if fs == nil {
		return vfs.Path{}, unix.ENOENT
	}
	p := which(fs)
	if !p.Valid() {
		return vfs.Path{}, unix.ENOENT
	}
	return p, nil
}
