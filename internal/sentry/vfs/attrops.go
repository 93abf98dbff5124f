package vfs

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now is the present time, for a file system's time stamps.
func Now() Time {
	t := time.Now()
	return Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

// Before reports whether t is earlier than u.
func (t Time) Before(u Time) bool {
	return t.Sec < u.Sec || t.Sec == u.Sec && t.Nsec < u.Nsec
}

// change runs f with p's mount held writable, and tells the watchers.
func (p Path) change(mask uint32, f func() error) error {
	if err := p.Mount.startWrite(); err != nil {
		return err
	}
	// Whether a directory may be searched, or a link be followed, may depend on it.
	if mask == unix.IN_ATTRIB && p.Dentry.kind != unix.S_IFREG {
		BeginChange()
		defer EndChange()
	}
	err := f()
	p.Mount.endWrite()
	if err == nil && watched() {
		p.notify(mask)
	}
	return err
}

// Chmod changes the mode bits (07777), as chmod(2): EPERM unless the caller
// owns the object.
func Chmod(c Caller, p Path, mode uint32) error {
	return p.change(unix.IN_ATTRIB, func() error {
		cred := c.Credentials()
		_, uid, gid, err := ownership(c, p.Inode())
		if err != nil {
			return err
		}
		if p.Dentry.kind == unix.S_IFLNK {
			return unix.EOPNOTSUPP
		}
		if !owns(cred, uid) {
			return unix.EPERM
		}
		mode &= 0o7777
		if !cred.InGroup(gid) && !cred.CanOver(unix.CAP_FSETID, uid, gid) {
			mode &^= unix.S_ISGID
		}
		return InodeFor(c, p.Inode()).SetAttr(SetAttr{Which: SetMode, Mode: mode})
	})
}

// Chown changes owner and group, as chown(2). -1 (all ones) leaves one.
func Chown(c Caller, p Path, uid, gid uint32) error {
	const keep = ^uint32(0)
	return p.change(unix.IN_ATTRIB, func() error {
		cred := c.Credentials()
		mode, ouid, ogid, err := ownership(c, p.Inode())
		if err != nil {
			return err
		}
		s := SetAttr{}
		if uid != keep {
			if !cred.CanOver(unix.CAP_CHOWN, ouid, ogid) && (cred.FSUID != ouid || uid != ouid) {
				return unix.EPERM
			}
			s.Which, s.UID = s.Which|SetUID, uid
		}
		if gid != keep {
			if !cred.CanOver(unix.CAP_CHOWN, ouid, ogid) && (cred.FSUID != ouid || gid != ogid && !cred.InGroup(gid)) {
				return unix.EPERM
			}
			s.Which, s.GID = s.Which|SetGID, gid
		}
		// A program that changes hands must not keep its privileges.
		if mode&unix.S_IFMT != unix.S_IFDIR {
			if m := withoutPrivileges(mode); m != mode {
				s.Which, s.Mode = s.Which|SetMode, m&0o7777
			}
		}
		return InodeFor(c, p.Inode()).SetAttr(s)
	})
}

// withoutPrivileges returns mode without set-user-ID, and without
// set-group-ID where that is not a lock mark.
func withoutPrivileges(mode uint32) uint32 {
	mode &^= unix.S_ISUID
	if mode&0o010 != 0 {
		mode &^= unix.S_ISGID
	}
	return mode
}

// WritePrivileges returns the mode that a file has after c wrote to it: who
// lacks CAP_FSETID takes the set-user-ID and set-group-ID bits away. A nil c
// is the kernel itself.
func WritePrivileges(c Caller, mode uint32) uint32 {
	if mode&(unix.S_ISUID|unix.S_ISGID) == 0 || c == nil || c.Credentials().Can(unix.CAP_FSETID) {
		return mode
	}
	return withoutPrivileges(mode)
}

// Utimes sets time stamps, as utimensat(2). A nil time leaves that stamp. now
// says that both are the present time, which those may set who can write.
func Utimes(c Caller, p Path, atime, mtime *Time, now bool) error {
	return p.change(unix.IN_ATTRIB, func() error {
		cred := c.Credentials()
		_, uid, _, err := ownership(c, p.Inode())
		if err != nil {
			return err
		}
		s := SetAttr{}
		if now {
			if !owns(cred, uid) {
				if err := permitted(c, p.Inode(), unix.W_OK); err != nil {
					return err
				}
			}
			t := Now()
			atime, mtime = &t, &t
		} else if !owns(cred, uid) {
			return unix.EPERM
		}
		if atime != nil {
			s.Which, s.Atime = s.Which|SetAtime, *atime
		}
		if mtime != nil {
			s.Which, s.Mtime = s.Which|SetMtime, *mtime
		}
		if s.Which == 0 {
			return nil
		}
		return InodeFor(c, p.Inode()).SetAttr(s)
	})
}

// Truncate sets the size of a regular file by path, as truncate(2).
func Truncate(c Caller, p Path, size int64) error {
	switch {
	case size < 0:
		return unix.EINVAL
	case p.IsDir():
		return unix.EISDIR
	case p.Dentry.kind != unix.S_IFREG:
		return unix.EINVAL
	}
	return p.change(unix.IN_MODIFY, func() error {
		if err := permitted(c, p.Inode(), unix.W_OK); err != nil {
			return err
		}
		if err := mayTruncate(p.Inode()); err != nil {
			return err
		}
		return truncate(c, p.Inode(), size)
	})
}

// Truncate sets the size of the open file, as ftruncate(2).
func (d *FileDescription) Truncate(c Caller, size int64) error {
	if d.Flags()&unix.O_PATH != 0 {
		return unix.EBADF
	}
	if size < 0 || !d.CanWrite() || d.Inode == nil {
		return unix.EINVAL
	}
	if kind, err := kindOf(d.Inode); err != nil || kind != unix.S_IFREG {
		return unix.EINVAL
	}
	err := truncate(c, d.Inode, size)
	if err == nil && watched() {
		d.Path.notify(unix.IN_MODIFY)
	}
	return err
}

// truncate sets a size and does what a write does to privileges. EFBIG
// beyond RLIMIT_FSIZE.
func truncate(c Caller, ino Inode, size int64) error {
	if limit := c.FSLimit(); size > 0 && uint64(size) > limit {
		a, err := InodeFor(c, ino).Attr()
		if err != nil {
			return err
		}
		if size > a.Size {
			return unix.EFBIG
		}
	}
	s := SetAttr{Which: SetSize, Size: size}
	mode, _, _, err := ownership(c, ino)
	if err != nil {
		return err
	}
	if m := WritePrivileges(c, mode); m != mode {
		s.Which, s.Mode = s.Which|SetMode, m&0o7777
	}
	return InodeFor(c, ino).SetAttr(s)
}
