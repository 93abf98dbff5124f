package vfs

import "golang.org/x/sys/unix"

// IsMountRoot reports whether the path leads to the root of its mount.
func (p Path) IsMountRoot() bool { return p.Dentry == p.Mount.root }

// RootAttr returns the attributes of the mount's root directory.
func (m *Mount) RootAttr() (Attr, error) { return m.root.inode.Attr() }

// stValid says that f_flags is filled in (ST_VALID).
const stValid = 0x20

// StatFS answers statfs(2): what the file system tells, with the mount's
// flags. Objects without a name belong to the file systems that Linux has for
// their kinds.
func (p Path) StatFS(c Caller) (s StatFS, err error) {
	if f, ok := p.Mount.super.fs.(ServedFileSystem); ok {
		s, err = f.StatFSFor(c)
	} else {
		s, err = p.Mount.super.fs.StatFS()
	}
	if err != nil {
		return s, err
	}
	if p.Mount == namelessMount() {
		switch p.Dentry.kind {
		case unix.S_IFIFO:
			s.Type = unix.PIPEFS_MAGIC
		case unix.S_IFSOCK:
			s.Type = unix.SOCKFS_MAGIC
		case unix.S_IFREG:
			s.Type = unix.TMPFS_MAGIC
		}
	}
	if s.FragSize == 0 {
		s.FragSize = s.BlockSize
	}
	f := p.Mount.Flags()
	s.Flags = stValid
	for _, x := range [...]struct {
		ms uint64
		st int64
	}{
		{unix.MS_RDONLY, unix.ST_RDONLY}, {unix.MS_NOSUID, unix.ST_NOSUID}, {unix.MS_NODEV, unix.ST_NODEV},
		{unix.MS_NOEXEC, unix.ST_NOEXEC}, {unix.MS_NOATIME, unix.ST_NOATIME}, {unix.MS_NODIRATIME, unix.ST_NODIRATIME},
	} {
		if f&x.ms != 0 {
			s.Flags |= x.st
		}
	}
	if f&(unix.MS_NOATIME|unix.MS_STRICTATIME) == 0 {
		s.Flags |= unix.ST_RELATIME
	}
	return s, nil
}
