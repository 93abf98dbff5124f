package vfs

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mayXattr checks that the caller may read (or, with write, change) an
// extended attribute, as xattr(7) tells for its class.
func mayXattr(c Caller, p Path, name string, write bool) error {
	cred := c.Credentials()
	if write && p.Mount.ReadOnly() {
		return unix.EROFS
	}
	switch {
	case strings.HasPrefix(name, "security."):
		if !write || cred.Can(unix.CAP_SYS_ADMIN) || name == "security.capability" && cred.Can(unix.CAP_SETFCAP) {
			return nil
		}
		return unix.EPERM
	case strings.HasPrefix(name, "system."):
		return nil
	case strings.HasPrefix(name, "trusted."):
		switch {
		case cred.Can(unix.CAP_SYS_ADMIN):
			return nil
		case write:
			return unix.EPERM
		}
		return unix.ENODATA
	case strings.HasPrefix(name, "user."):
		if kind := p.Dentry.kind; kind != unix.S_IFREG && kind != unix.S_IFDIR {
			if write {
				return unix.EPERM
			}
			return unix.ENODATA
		}
		mode, uid, _, err := ownership(c, p.Inode())
		if err != nil {
			return err
		}
		if write && p.IsDir() && mode&unix.S_ISVTX != 0 && !owns(cred, uid) {
			return unix.EPERM
		}
	}
	mask := uint32(unix.R_OK)
	if write {
		mask = unix.W_OK
	}
	return permitted(c, p.Inode(), mask)
}

// GetXattr returns an extended attribute's value; ENODATA if there is none.
func GetXattr(c Caller, p Path, name string) ([]byte, error) {
	if err := mayXattr(c, p, name, false); err != nil {
		return nil, err
	}
	return InodeFor(c, p.Inode()).GetXattr(name)
}

// SetXattr sets an extended attribute; flags are XATTR_CREATE or
// XATTR_REPLACE.
func SetXattr(c Caller, p Path, name string, value []byte, flags uint32) error {
	return p.change(unix.IN_ATTRIB, func() error {
		if err := mayXattr(c, p, name, true); err != nil {
			return err
		}
		return InodeFor(c, p.Inode()).SetXattr(name, value, flags)
	})
}

// RemoveXattr removes an extended attribute.
func RemoveXattr(c Caller, p Path, name string) error {
	return p.change(unix.IN_ATTRIB, func() error {
		if err := mayXattr(c, p, name, true); err != nil {
			return err
		}
		return InodeFor(c, p.Inode()).RemoveXattr(name)
	})
}

// ListXattr returns the names of the extended attributes that the caller may
// know of.
func ListXattr(c Caller, p Path) ([]string, error) {
	names, err := InodeFor(c, p.Inode()).ListXattr()
	if err != nil || c.Credentials().Can(unix.CAP_SYS_ADMIN) {
		return names, err
	}
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "trusted.") }), nil
}
