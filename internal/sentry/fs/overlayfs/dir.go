package overlayfs

import (
	"sync"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// listing is what a directory holds, without "." and "..". It never changes.
type listing struct {
	entries []vfs.DirEntry
	// changed are the lower parts' times of change when they were read: the
	// host may add to a lower layer.
	changed []vfs.Time
}

// dir is an open directory. An offset is a place in the list that was made
// when the directory was opened or rewound: so a program that removes what it
// reads neither misses an entry nor sees one twice.
type dir struct {
	vfs.DirFile
	node *node

	mu   sync.Mutex
	list *listing
}

// Readdir implements vfs.File. Offset i leads to entry i, "." being 0 and
// ".." 1.
func (d *dir) Readdir(_ vfs.Caller, off int64, emit func(vfs.DirEntry) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.node.dead.Load() {
		return unix.ENOENT
	}
	if d.list == nil || off == 0 {
		l, err := d.node.listed()
		if err != nil {
			return err
		}
		d.list = l
	}
	for i := off; i < 2; i++ {
		e := vfs.DirEntry{Ino: d.node.ino, Next: i + 1, Type: unix.DT_DIR, Name: "."}
		if i == 1 {
			e.Name = ".."
			if p := d.node.parent; p != nil {
				e.Ino = p.ino
			}
		}
		if !emit(e) {
			return nil
		}
	}
	for i := max(off-2, 0); i < int64(len(d.list.entries)); i++ {
		e := d.list.entries[i]
		e.Next = i + 3
		if !emit(e) {
			return nil
		}
	}
	return nil
}

// listed returns what the directory holds now.
func (n *node) listed() (*listing, error) {
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	return n.listLocked()
}

// listLocked is listed with fs.mu held.
func (n *node) listLocked() (*listing, error) {
	var changed []vfs.Time
	for _, l := range n.lowers {
		a, err := l.Attr()
		if err != nil {
			return nil, err
		}
		changed = append(changed, a.Mtime)
	}
	if l := n.list.Load(); l != nil && sameTimes(l.changed, changed) {
		return l, nil
	}
	m := merger{fs: n.fs, list: &listing{changed: changed}}
	layers := n.lowers
	if up := n.upper(); up != nil {
		layers = append([]vfs.Inode{up}, layers...)
		m.upper = up
	}
	for i, l := range layers {
		if err := m.add(l, i < len(layers)-1); err != nil {
			return nil, err
		}
	}
	n.list.Store(m.list)
	return m.list, nil
}

func sameTimes(a, b []vfs.Time) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// merger merges the layers of a directory, from the top down.
type merger struct {
	fs    *FileSystem
	upper vfs.Inode
	list  *listing
	// seen are the names of the layers above, with those whited out.
	seen map[string]struct{}
}

// add adds one layer; more says that others follow.
func (m *merger) add(layer vfs.Inode, more bool) error {
	attr, err := layer.Attr()
	if err != nil {
		return err
	}
	f, err := layer.Open(overlay, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer f.Release()
	hidden := m.seen
	if more {
		// Names of one layer cannot meet, so a copy is not needed.
		if m.seen == nil {
			m.seen = map[string]struct{}{}
		}
	}
	return f.Readdir(overlay, 0, func(e vfs.DirEntry) bool {
		if e.Name == "." || e.Name == ".." {
			return true
		}
		if _, ok := hidden[e.Name]; ok {
			return true
		}
		if more {
			m.seen[e.Name] = struct{}{}
		}
		if !m.number(layer, attr, &e) {
			return true
		}
		m.list.entries = append(m.list.entries, e)
		return true
	})
}

// number gives an entry the number that stat(2) will show. It reports whether
// the entry is one at all, and not a whiteout.
func (m *merger) number(layer vfs.Inode, dir vfs.Attr, e *vfs.DirEntry) bool {
	var upper vfs.Inode
	attr := vfs.Attr{DevMajor: dir.DevMajor, DevMinor: dir.DevMinor, Ino: e.Ino}
	if layer == m.upper || e.Type == unix.DT_CHR {
		i, err := layer.Lookup(e.Name)
		if err != nil {
			return false // it went away since
		}
		if _, white, err := classify(i); err != nil || white {
			return false
		}
		if attr, err = i.Attr(); err != nil {
			return false
		}
		if layer == m.upper {
			upper = i
		}
	}
	e.Ino = m.fs.number(upper, attr)
	return true
}
