package hostfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// place is a name in a directory under which an inode was seen.
type place struct {
	parent *inode
	name   string
}

// maxPlaces bounds how many names of one file are remembered.
const maxPlaces = 16

// where returns the place at which an inode was last seen; parent is nil for
// the root, and for what has no name left.
func (fs *FileSystem) where(n *inode) (parent *inode, name string) {
	fs.tree.RLock()
	defer fs.tree.RUnlock()
	return n.at.parent, n.at.name
}

// place notes that an inode was seen in a place.
func (fs *FileSystem) place(n, parent *inode, name string) {
	p := place{parent, name}
	fs.tree.RLock()
	known := n.at == p || n == fs.root
	fs.tree.RUnlock()
	if known {
		return
	}
	fs.tree.Lock()
	defer fs.tree.Unlock()
	n.others = slices.DeleteFunc(n.others, func(o place) bool { return o == p })
	// A directory has one name.
	if n.at.parent != nil && n.kind != unix.S_IFDIR && len(n.others) < maxPlaces {
		n.others = append(n.others, n.at)
	}
	n.at = p
}

// unplace notes that a name was taken from an inode.
func (fs *FileSystem) unplace(n, parent *inode, name string) {
	p := place{parent, name}
	fs.tree.Lock()
	defer fs.tree.Unlock()
	n.others = slices.DeleteFunc(n.others, func(o place) bool { return o == p })
	if n.at != p {
		return
	}
	n.at = place{}
	if last := len(n.others) - 1; last >= 0 {
		n.at, n.others = n.others[last], n.others[:last]
	}
}
