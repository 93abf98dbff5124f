package procfs

import (
	"slices"
	"strconv"

	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func sortIDs(ids []int32) { slices.Sort(ids) }

// files is the subject's descriptor table, nil for one that has ended.
func (s subject) files() (*vfs.FDTable, error) {
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	_, fds, _ := t.Resources()
	return fds, nil
}

// file is the description behind a descriptor, with a reference. ENOENT if
// it is not open.
func (s subject) file(fd int32) (*vfs.FileDescription, error) {
	fds, err := s.files()
	if err != nil {
		return nil, err
	}
	if fds != nil {
		if f := fds.Get(fd); f != nil {
			return f, nil
		}
	}
	return nil, unix.ENOENT
}

// parseFD parses a descriptor's number as it is listed.
func parseFD(name string) (int32, bool) {
	if name == "0" {
		return 0, true
	}
	return parseID(name)
}

// fdNames is what fd and fdinfo have in common: an entry for each descriptor.
type fdNames struct {
	subDir
	typ uint8
}

func (d *fdNames) open(l genfs.Lister, c vfs.Caller) (vfs.File, error) {
	if err := d.mayLook(c); err != nil {
		return nil, err
	}
	return &genfs.DirFile{Ino: d.ino, Parent: d.parent, Lister: l}, nil
}

// isOpen reports whether a name is an open descriptor's.
func (d *fdNames) isOpen(name string) (int32, bool) {
	fd, ok := parseFD(name)
	if !ok {
		return 0, false
	}
	f, err := d.file(fd)
	if err != nil {
		return 0, false
	}
	f.DecRef()
	return fd, true
}

func (d *fdNames) current(name string, child vfs.Inode) bool {
	_, ok := d.isOpen(name)
	return ok && child != nil
}

// List implements genfs.Lister; a descriptor's key is its number and one.
func (d *fdNames) List(_ vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	fds, err := d.files()
	if err != nil {
		return unix.ENOENT
	}
	if fds == nil {
		return nil
	}
	for _, fd := range fds.Numbers() {
		key := int64(fd) + 1
		if key <= after {
			continue
		}
		name := strconv.Itoa(int(fd))
		if !emit(key, vfs.DirEntry{Ino: genfs.Ino(d.ino, name), Type: d.typ, Name: name}) {
			return nil
		}
	}
	return nil
}

// fdDir is /proc/PID/fd.
type fdDir struct{ fdNames }

func newFDDir(d *taskDir, ino uint64) vfs.Inode {
	return &fdDir{fdNames{d.sub(ino, 0o500), unix.DT_LNK}}
}

// Attr tells the number of open descriptors as the size, as Linux does since
// 6.2: fstat(2) is how programs count them.
func (d *fdDir) Attr() (vfs.Attr, error) {
	a, err := d.fdNames.Attr()
	if fds, _ := d.files(); fds != nil {
		a.Size = int64(len(fds.Numbers()))
	}
	return a, err
}

func (d *fdDir) Open(c vfs.Caller, _ uint32) (vfs.File, error) { return d.open(d, c) }

func (d *fdDir) Lookup(name string) (vfs.Inode, error) {
	fd, ok := d.isOpen(name)
	if !ok {
		return nil, unix.ENOENT
	}
	return &fdLink{link: d.link(name), fd: fd}, nil
}

// fdLink is /proc/PID/fd/N. It leads to whatever the descriptor is open on at
// the time.
type fdLink struct {
	link
	fd int32
}

// Attr implements vfs.Inode: the permission bits tell the access mode.
func (l *fdLink) Attr() (vfs.Attr, error) {
	a := l.fs.super.Attr(l.ino, unix.S_IFLNK)
	a.UID, a.GID = l.owner()
	a.Size = 64
	f, err := l.file(l.fd)
	if err != nil {
		return a, nil
	}
	defer f.DecRef()
	if f.CanRead() {
		a.Mode |= 0o500
	}
	if f.CanWrite() {
		a.Mode |= 0o300
	}
	return a, nil
}

func (l *fdLink) place() (vfs.Path, error) {
	f, err := l.file(l.fd)
	if err != nil {
		return vfs.Path{}, err
	}
	defer f.DecRef()
	return f.Place()
}

func (l *fdLink) Readlink(c vfs.Caller) (string, error) { return l.read(c, l.place) }

// Follow implements vfs.MagicLink.
func (l *fdLink) Follow(c vfs.Caller) (vfs.Path, error) { return l.follow(c, l.place) }

// fdInfoDir is /proc/PID/fdinfo.
type fdInfoDir struct{ fdNames }

func newFDInfoDir(d *taskDir, ino uint64) vfs.Inode {
	return &fdInfoDir{fdNames{d.sub(ino, 0o555), unix.DT_REG}}
}

func (d *fdInfoDir) Open(c vfs.Caller, _ uint32) (vfs.File, error) { return d.open(d, c) }

func (d *fdInfoDir) Lookup(name string) (vfs.Inode, error) {
	fd, ok := d.isOpen(name)
	if !ok {
		return nil, unix.ENOENT
	}
	s := d.subject
	return &genfs.File{
		Super: d.fs.super, Ino: genfs.Ino(d.ino, name), Perm: 0o444, Owner: s.owner,
		Check:   func(c vfs.Caller, _ uint32) error { return s.mayLook(c) },
		Content: func(_ vfs.Caller, b []byte) ([]byte, error) { return fdInfo(s, fd, b) },
	}, nil
}

// informer is implemented by Files that have more to tell in fdinfo, as whole
// lines.
type informer interface{ FDInfo() string }

// fdInfo renders /proc/PID/fdinfo/FD.
func fdInfo(s subject, fd int32, b []byte) ([]byte, error) {
	f, err := s.file(fd)
	if err != nil {
		return nil, err
	}
	defer f.DecRef()
	flags := f.Flags()
	if fds, _ := s.files(); fds != nil {
		if set, _ := fds.Cloexec(fd); set {
			flags |= unix.O_CLOEXEC
		}
	}
	mount, ino := 0, uint64(0)
	if p, err := f.Place(); err == nil {
		mount = p.Mount.ID()
		p.DecRef()
	}
	if f.Inode != nil {
		if a, err := f.Inode.Attr(); err == nil {
			ino = a.Ino
		}
	}
	b = append(b, "pos:\t"...)
	b = strconv.AppendInt(b, f.Offset(), 10)
	b = append(b, "\nflags:\t0"...)
	b = strconv.AppendUint(b, uint64(flags), 8)
	b = append(b, "\nmnt_id:\t"...)
	b = strconv.AppendInt(b, int64(mount), 10)
	b = append(b, "\nino:\t"...)
	b = strconv.AppendUint(b, ino, 10)
	b = append(b, '\n')
	if i, ok := f.File.(informer); ok {
		b = append(b, i.FDInfo()...)
		if b[len(b)-1] != '\n' {
			b = append(b, '\n')
		}
	}
	return b, nil
}
