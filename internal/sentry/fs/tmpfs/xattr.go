package tmpfs

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxXattrs bounds what one inode's attributes take, in bytes.
	maxXattrs = 256 << 10
	// xattrSize is about what an attribute takes of the sentry's heap beside its
	// name and value, so that many small ones are not for free.
	xattrSize = 128
)

// xattrs are a node's extended attributes.
type xattrs struct {
	byName map[string][]byte
	bytes  int64 // as spaceFor says of each
}

func (x *xattrs) set(fs *FS, name string, value []byte, flags uint32) error {
	old, there := x.byName[name]
	switch {
	case there && flags&unix.XATTR_CREATE != 0:
		return unix.EEXIST
	case !there && flags&unix.XATTR_REPLACE != 0:
		return unix.ENODATA
	}
	bytes := x.bytes + spaceFor(name, value)
	if there {
		bytes -= spaceFor(name, old)
	}
	if bytes > maxXattrs {
		return unix.ENOSPC
	}
	if !x.resize(fs, bytes) {
		return unix.ENOSPC
	}
	if x.byName == nil {
		x.byName = map[string][]byte{}
	}
	x.byName[name] = slices.Clone(value)
	return nil
}

// spaceFor is what an attribute takes, in bytes.
func spaceFor(name string, value []byte) int64 { return xattrSize + int64(len(name)+len(value)) }

// resize charges for a new total.
func (x *xattrs) resize(fs *FS, bytes int64) bool {
	n := pagesOf(bytes) - pagesOf(x.bytes)
	if n > 0 && !fs.charge(n) {
		return false
	}
	if n < 0 {
		fs.uncharge(-n)
	}
	x.bytes = bytes
	return true
}

func (x *xattrs) clear(fs *FS) {
	x.byName = nil
	x.resize(fs, 0)
}

// allowed says whether n may have attributes of the name's class: user's are
// for regular files and directories only (xattr(7)).
func (n *node) allowed(name string) error {
	switch {
	case strings.HasPrefix(name, "trusted."), strings.HasPrefix(name, "security."):
		return nil
	case strings.HasPrefix(name, "user."):
		switch n.mode.Load() & unix.S_IFMT {
		case unix.S_IFREG, unix.S_IFDIR:
			return nil
		}
		return unix.EPERM
	}
	return unix.EOPNOTSUPP
}

// GetXattr implements vfs.Inode.
func (n *node) GetXattr(name string) ([]byte, error) {
	if err := n.allowed(name); err == unix.EOPNOTSUPP {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	v, ok := n.xattrs.byName[name]
	if !ok {
		return nil, unix.ENODATA
	}
	return slices.Clone(v), nil
}

// SetXattr implements vfs.Inode.
func (n *node) SetXattr(name string, value []byte, flags uint32) error {
	if err := n.allowed(name); err != nil {
		return err
	}
	n.mu.Lock()
	err := n.xattrs.set(n.fs, name, value, flags)
	n.mu.Unlock()
	if err == nil {
		n.touch(changed)
	}
	return err
}

// RemoveXattr implements vfs.Inode.
func (n *node) RemoveXattr(name string) error {
	if err := n.allowed(name); err != nil {
		return err
	}
	n.mu.Lock()
	v, ok := n.xattrs.byName[name]
	if ok {
		delete(n.xattrs.byName, name)
		n.xattrs.resize(n.fs, n.xattrs.bytes-spaceFor(name, v))
	}
	n.mu.Unlock()
	if !ok {
		return unix.ENODATA
	}
	n.touch(changed)
	return nil
}

// ListXattr implements vfs.Inode.
func (n *node) ListXattr() ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for name := range n.xattrs.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}
