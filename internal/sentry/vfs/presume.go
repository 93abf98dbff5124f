package vfs

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// presumption is a run of steps that a walk has taken through cached names of a
// file system whose names change by themselves, and that this file system has
// not confirmed yet. Meanwhile the tree lock is held and the walk's anchor is
// base, or base is one of the Origin's.
type presumption struct {
	base Path
	// text is what was left to walk at base, and dir what the walk's dir was.
	// rest is what was left after the last step.
	text, rest string
	dir        bool
}

// errStale says that a presumption was wrong: the walk is back at its base and
// goes on from there, without presuming anything more.
var errStale = errors.New("vfs: the cache was wrong")

// presumed reports whether the position is not confirmed.
func (w *walk) presumed() bool { return w.presumption.base.Dentry != nil }

// presume takes the step to name by what the cache holds. ok is false if that
// is nothing, or if a mount is to be crossed: the position is settled then.
func (w *walk) presume(name string) (ok bool, err error) {
	if !w.presumed() && w.super != nil {
		w.settle()
	}
	w.lock()
	child := w.d.find(name)
	if child == nil || child.mounted.Load() > 0 {
		return false, w.confirm()
	}
	if !w.presumed() {
		w.presumption = presumption{base: Path{w.mnt, w.d}, text: w.at, dir: w.atDir}
	}
	w.presumption.rest = w.rest
	if child.inode == nil {
		if err := w.confirmStep(w.d, nil); err != nil {
			return true, err
		}
		return true, unix.ENOENT
	}
	w.d = child
	return true, nil
}

// confirm has the position confirmed and settles it. errStale if it is wrong.
func (w *walk) confirm() error {
	if !w.presumed() {
		return nil
	}
	return w.confirmStep(w.d.parent, w.d)
}

// confirmStep has it confirmed that the way walked from the base on leads to
// child in parent; child is nil for a name that is not there, and parent is the
// position then. The position is settled.
func (w *walk) confirmStep(parent, child *Dentry) error {
	p := w.presumption
	at := Path{w.mnt, w.d}
	at.IncRef()
	parent.IncRef()
	var ino Inode
	if child != nil {
		ino = child.inode
	}
	confirms := w.super.confirms
	w.unlock()
	w.presumption = presumption{}
	text := strings.TrimRight(p.text[:len(p.text)-len(p.rest)], "/")
	ok := confirms.Confirm(p.base.Dentry.inode, text, parent.inode, ino)
	parent.DecRef()
	if ok {
		w.anchor.DecRef()
		w.anchor, w.fresh = at, true
		return nil
	}
	at.DecRef()
	w.mnt, w.d, w.rest, w.dir = p.base.Mount, p.base.Dentry, p.text, p.dir
	w.strict = true
	return errStale
}
