package hostfs

import (
	"bytes"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrMax is the largest value or list (XATTR_SIZE_MAX, XATTR_LIST_MAX).
const xattrMax = 64 << 10

// visible reports whether an extended attribute is the guest's to see. Those
// of the host's security modules and its access lists are not; user ones are,
// and those that an overlay leaves in its layers.
func visible(name string) bool {
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.overlay.")
}

// withXattr calls f with a descriptor of the file or directory.
func (n *inode) withXattr(f func(fd int) error) error {
	if n.barred.Load() {
		return unix.EACCES
	}
	switch n.kind {
	case unix.S_IFREG:
		d := n.anyOpen()
		if d == nil {
			var err error
			if d, err = n.openFile(unix.O_RDONLY); err != nil {
				return err
			}
		}
		defer n.fs.files.release(d)
		return f(d.fd)
	case unix.S_IFDIR:
		d, err := n.openDir()
		if err != nil {
			return err
		}
		defer d.Release()
		return f(d.(*dir).fd)
	}
	return unix.EPERM // xattr(7): no user attributes on anything else
}

// GetXattr implements vfs.Inode.
func (n *inode) GetXattr(name string) ([]byte, error) {
	if !visible(name) {
		if strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "trusted.") {
			return nil, unix.ENODATA
		}
		return nil, unix.EOPNOTSUPP
	}
	if n.kind != unix.S_IFREG && n.kind != unix.S_IFDIR {
		return nil, unix.ENODATA
	}
	var out []byte
	err := n.withXattr(func(fd int) error {
		var small [256]byte
		buf := small[:]
		size, err := unix.Fgetxattr(fd, name, buf)
		if err == unix.ERANGE {
			buf = make([]byte, xattrMax)
			size, err = unix.Fgetxattr(fd, name, buf)
		}
		if err == nil {
			out = bytes.Clone(buf[:size])
		}
		return err
	})
	return out, err
}

// SetXattr implements vfs.Inode.
func (n *inode) SetXattr(name string, value []byte, flags uint32) error {
	if !visible(name) {
		return unix.EOPNOTSUPP
	}
	return n.withXattr(func(fd int) error { return unix.Fsetxattr(fd, name, value, int(flags)) })
}

// RemoveXattr implements vfs.Inode.
func (n *inode) RemoveXattr(name string) error {
	if !visible(name) {
		return unix.EOPNOTSUPP
	}
	return n.withXattr(func(fd int) error { return unix.Fremovexattr(fd, name) })
}

// ListXattr implements vfs.Inode.
func (n *inode) ListXattr() ([]string, error) {
	if n.kind != unix.S_IFREG && n.kind != unix.S_IFDIR {
		return nil, nil
	}
	var out []string
	err := n.withXattr(func(fd int) error {
		size, err := unix.Flistxattr(fd, nil)
		if err != nil || size == 0 {
			return err
		}
		buf := make([]byte, xattrMax)
		if size, err = unix.Flistxattr(fd, buf); err != nil {
			return err
		}
		for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:size]), "\x00"), "\x00") {
			if visible(name) {
				out = append(out, name)
			}
		}
		return nil
	})
	if err == unix.EOPNOTSUPP {
		return nil, nil
	}
	return out, err
}
