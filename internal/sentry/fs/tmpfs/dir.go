package tmpfs

import (
	"sort"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// dir is a directory. Its entries are guarded by fs.mu.
//
// Each entry has an offset of its own, given in the order in which names were
// made and never given again: a reader that goes on from an offset neither
// misses nor repeats what was there all the time, whatever came and went.
type dir struct {
	node
	parent *dir
	byName map[string]*entry
	// list holds the entries in the order of their offsets; removed ones stay
	// until there are too many of them.
	list    []*entry
	lastOff int64
}

type entry struct {
	name string
	off  int64
	ino  inode
	gone bool
}

// The offsets of "." and "..", and the first of an entry.
const (
	offDot = iota
	offDotDot
	offFirst
)

func (fs *FS) newDir(o vfs.Owner, mode uint32) *dir {
	d := &dir{byName: map[string]*entry{}, lastOff: offFirst - 1}
	d.init(fs, o, unix.S_IFDIR|mode&0o7777)
	d.nlink.Store(2)
	return d
}

// DecRef is half of vfs.Referenced.
func (d *dir) DecRef() { d.decRef(d) }

// Attr implements vfs.Inode.
func (d *dir) Attr() (vfs.Attr, error) {
	a, err := d.node.Attr()
	d.fs.mu.RLock()
	a.Size = direntSize * int64(len(d.byName)+2)
	d.fs.mu.RUnlock()
	return a, err
}

// Lookup implements vfs.Inode.
func (d *dir) Lookup(name string) (vfs.Inode, error) {
	d.fs.mu.RLock()
	e := d.byName[name]
	d.fs.mu.RUnlock()
	if e == nil {
		return nil, unix.ENOENT
	}
	return e.ino, nil
}

// enter gives ino a name; fs.mu is held.
func (d *dir) enter(name string, ino inode) {
	d.lastOff++
	e := &entry{name: name, off: d.lastOff, ino: ino}
	d.byName[name] = e
	d.list = append(d.list, e)
	if sub, ok := ino.(*dir); ok {
		sub.parent = d
		d.nlink.Add(1)
	}
}

// leave takes a name away; fs.mu is held.
func (d *dir) leave(e *entry) {
	e.gone = true
	delete(d.byName, e.name)
	if _, ok := e.ino.(*dir); ok {
		d.nlink.Add(^uint32(0))
	}
	if len(d.list) > 2*len(d.byName)+16 {
		kept := make([]*entry, 0, len(d.byName))
		for _, e := range d.list {
			if !e.gone {
				kept = append(kept, e)
			}
		}
		d.list = kept
	}
}

// add makes a new inode and its name.
func (d *dir) add(name string, make func() inode) (vfs.Inode, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if d.nlink.Load() == 0 {
		return nil, unix.ENOENT
	}
	if d.byName[name] != nil {
		return nil, unix.EEXIST
	}
	if err := d.fs.chargeInode(); err != nil {
		return nil, err
	}
	ino := make()
	d.enter(name, ino)
	d.touch(modified)
	return ino, nil
}

// Create implements vfs.Inode.
func (d *dir) Create(o vfs.Owner, name string, mode uint32) (vfs.Inode, error) {
	return d.add(name, func() inode { return d.fs.newFile(o, mode) })
}

// Mkdir implements vfs.Inode.
func (d *dir) Mkdir(o vfs.Owner, name string, mode uint32) (vfs.Inode, error) {
	return d.add(name, func() inode { return d.fs.newDir(o, mode) })
}

// Mknod implements vfs.Inode.
func (d *dir) Mknod(o vfs.Owner, name string, mode, major, minor uint32) (vfs.Inode, error) {
	return d.add(name, func() inode { return d.fs.newSpecial(o, mode, major, minor) })
}

// Symlink implements vfs.Inode.
func (d *dir) Symlink(o vfs.Owner, name, target string) (vfs.Inode, error) {
	if len(target) > shortTarget && !d.fs.charge(1) {
		return nil, unix.ENOSPC
	}
	ino, err := d.add(name, func() inode { return d.fs.newSymlink(o, target) })
	if err != nil && len(target) > shortTarget {
		d.fs.uncharge(1)
	}
	return ino, err
}

// Tmpfile implements vfs.TmpfileMaker.
func (d *dir) Tmpfile(o vfs.Owner, mode uint32) (vfs.Inode, error) {
	if err := d.fs.chargeInode(); err != nil {
		return nil, err
	}
	f := d.fs.newFile(o, mode)
	f.nlink.Store(0)
	f.nameless.Store(true)
	return f, nil
}

// Link implements vfs.Inode.
func (d *dir) Link(name string, target vfs.Inode) error {
	t, ok := target.(inode)
	if !ok || t.base().fs != d.fs {
		return unix.EXDEV
	}
	if _, ok := t.(*dir); ok {
		return unix.EPERM
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if d.nlink.Load() == 0 {
		return unix.ENOENT
	}
	if d.byName[name] != nil {
		return unix.EEXIST
	}
	f, _ := t.(*file)
	if f != nil && f.nameless.CompareAndSwap(true, false) {
		// Its inode is charged already.
	} else if t.base().nlink.Load() == 0 {
		return unix.ENOENT
	} else if err := d.fs.chargeInode(); err != nil {
		return err
	}
	t.base().nlink.Add(1)
	t.base().touch(changed)
	d.enter(name, t)
	d.touch(modified)
	return nil
}

// Unlink implements vfs.Inode.
func (d *dir) Unlink(name string, _ vfs.Inode) error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	e := d.byName[name]
	if e == nil {
		return unix.ENOENT
	}
	if _, ok := e.ino.(*dir); ok {
		return unix.EISDIR
	}
	d.leave(e)
	d.touch(modified)
	unlinked(e.ino, 1)
	return nil
}

// Rmdir implements vfs.Inode.
func (d *dir) Rmdir(name string, _ vfs.Inode) error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	e := d.byName[name]
	if e == nil {
		return unix.ENOENT
	}
	sub, ok := e.ino.(*dir)
	if !ok {
		return unix.ENOTDIR
	}
	if len(sub.byName) != 0 {
		return unix.ENOTEMPTY
	}
	d.leave(e)
	d.touch(modified)
	unlinked(sub, 2)
	return nil
}

// Rename implements vfs.Inode.
func (d *dir) Rename(oldName string, newDir vfs.Inode, newName string, flags uint32) error {
	to, ok := newDir.(*dir)
	if !ok || to.fs != d.fs {
		return unix.EXDEV
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	src, dst := d.byName[oldName], to.byName[newName]
	switch {
	case src == nil, to.nlink.Load() == 0:
		return unix.ENOENT
	case dst != nil && flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case dst == nil && flags&unix.RENAME_EXCHANGE != 0:
		return unix.ENOENT
	case dst != nil && dst.ino == src.ino:
		return nil
	}
	if flags&unix.RENAME_EXCHANGE != 0 {
		d.leave(src)
		to.leave(dst)
		d.enter(oldName, dst.ino)
		to.enter(newName, src.ino)
		src.ino.base().touch(changed)
		dst.ino.base().touch(changed)
		d.touch(modified)
		to.touch(modified)
		return nil
	}
	if dst != nil {
		if err := replaceable(src.ino, dst.ino); err != nil {
			return err
		}
	}
	if flags&unix.RENAME_WHITEOUT != 0 {
		if err := d.fs.chargeInode(); err != nil {
			return err
		}
	}
	if dst != nil {
		to.leave(dst)
		if _, ok := dst.ino.(*dir); ok {
			unlinked(dst.ino, 2)
		} else {
			unlinked(dst.ino, 1)
		}
	}
	d.leave(src)
	to.enter(newName, src.ino)
	if flags&unix.RENAME_WHITEOUT != 0 {
		w := d.fs.newSpecial(vfs.Owner{}, unix.S_IFCHR, 0, 0)
		d.enter(oldName, w)
	}
	src.ino.base().touch(changed)
	d.touch(modified)
	to.touch(modified)
	return nil
}

// replaceable checks that a rename may put src in the place of dst.
func replaceable(src, dst inode) error {
	_, srcDir := src.(*dir)
	dd, dstDir := dst.(*dir)
	switch {
	case srcDir && !dstDir:
		return unix.ENOTDIR
	case !srcDir && dstDir:
		return unix.EISDIR
	case dstDir && len(dd.byName) != 0:
		return unix.ENOTEMPTY
	}
	return nil
}

// releaseAll frees the contents of everything below d. fs.mu is held.
func (d *dir) releaseAll() {
	for _, e := range d.byName {
		if sub, ok := e.ino.(*dir); ok {
			sub.releaseAll()
			continue
		}
		e.ino.base().end(e.ino)
	}
}

// Open implements vfs.Inode.
func (d *dir) Open(_ vfs.Caller, flags uint32) (vfs.File, error) {
	d.opened()
	return &openDir{d: d, noatime: flags&unix.O_NOATIME != 0}, nil
}

// openDir is an open directory.
type openDir struct {
	vfs.DirFile
	d       *dir
	noatime bool
}

// Readdir implements vfs.File.
func (o *openDir) Readdir(_ vfs.Caller, off int64, emit func(vfs.DirEntry) bool) error {
	d := o.d
	if off == 0 && !o.noatime {
		d.accessed()
	}
	if off <= offDot {
		if !emit(vfs.DirEntry{Ino: d.ino, Next: offDotDot, Type: unix.DT_DIR, Name: "."}) {
			return nil
		}
		off = offDotDot
	}
	if off == offDotDot {
		d.fs.mu.RLock()
		parent := d.parent.ino
		d.fs.mu.RUnlock()
		if !emit(vfs.DirEntry{Ino: parent, Next: offFirst, Type: unix.DT_DIR, Name: ".."}) {
			return nil
		}
		off = offFirst
	}
	// emit may be slow: entries are taken out in batches.
	var batch [32]vfs.DirEntry
	for {
		n := 0
		d.fs.mu.RLock()
		i := sort.Search(len(d.list), func(i int) bool { return d.list[i].off >= off })
		for ; i < len(d.list) && n < len(batch); i++ {
			e := d.list[i]
			if e.gone {
				continue
			}
			b := e.ino.base()
			batch[n] = vfs.DirEntry{
				Ino: b.ino, Next: e.off + 1, Name: e.name,
				Type: uint8(b.mode.Load() & unix.S_IFMT >> 12),
			}
			n++
		}
		d.fs.mu.RUnlock()
		for _, e := range batch[:n] {
			if !emit(e) {
				return nil
			}
			off = e.Next
		}
		if n < len(batch) {
			return nil
		}
	}
}
