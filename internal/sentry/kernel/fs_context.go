package kernel

import (
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"
)

// FSContext is what CLONE_FS shares: root, working directory, umask, and the
// mount namespace. It is reference-counted by its tasks.
type FSContext struct {
	refs  atomic.Int32
	umask atomic.Uint32

	mu     sync.Mutex
	mounts *vfs.MountNamespace
	root   vfs.Path
	cwd    vfs.Path
}

// NewFSContext returns a context with one reference. It takes over the
// references that root and cwd hold, and one of its own to mounts.
func NewFSContext(mounts *vfs.MountNamespace, root, cwd vfs.Path, umask uint32) *FSContext {
	if mounts != nil {
		mounts.IncRef()
	}
	f := &FSContext{mounts: mounts, root: root, cwd: cwd}
	f.refs.Store(1)
	f.umask.Store(umask & 0o777)
	return f
}

// Mounts is the mount namespace that the task's paths are walked in.
func (f *FSContext) Mounts() *vfs.MountNamespace {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mounts
}

// HoldMounts returns it with a reference; nil if the last task that used the
// context has ended.
func (f *FSContext) HoldMounts() *vfs.MountNamespace {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mounts != nil {
		f.mounts.IncRef()
	}
	return f.mounts
}

// Root returns the root directory, with a reference taken; the empty Path if
// the last task that used the context has ended.
func (f *FSContext) Root() vfs.Path {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.root.IncRef()
	return f.root
}

// Cwd returns the working directory, likewise.
func (f *FSContext) Cwd() vfs.Path {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cwd.IncRef()
	return f.cwd
}

// lockToChange locks for a change of what paths begin at.
func (f *FSContext) lockToChange() {
	f.mu.Lock()
	vfs.BeginChange()
}

// unlockChanged undoes lockToChange.
func (f *FSContext) unlockChanged() {
	vfs.EndChange()
	f.mu.Unlock()
}

// Chdir makes p the working directory. It takes over p's reference.
func (f *FSContext) Chdir(p vfs.Path) {
	f.lockToChange()
	old := f.cwd
	f.cwd = p
	f.unlockChanged()
	old.DecRef()
}

// Chroot makes p the root directory. It takes over p's reference.
func (f *FSContext) Chroot(p vfs.Path) {
	f.lockToChange()
	old := f.root
	f.root = p
	f.unlockChanged()
	old.DecRef()
}

// EnterMounts makes ns, whose reference it takes over with those of root and
// cwd, the mount namespace. Nobody else uses the context.
func (f *FSContext) EnterMounts(ns *vfs.MountNamespace, root, cwd vfs.Path) {
	f.lockToChange()
	old, oldRoot, oldCwd := f.mounts, f.root, f.cwd
	f.mounts, f.root, f.cwd = ns, root, cwd
	f.unlockChanged()
	oldRoot.DecRef()
	oldCwd.DecRef()
	old.DecRef()
}

// CopyMounts gives the context, which nobody else uses, a copy of its mount
// namespace, numbered id and owner's. ENOSPC if there are too many mounts.
func (f *FSContext) CopyMounts(id uint64, owner *auth.UserNamespace) error {
	f.lockToChange()
	defer f.unlockChanged()
	ns, err := f.mounts.Clone(id, owner, &f.root, &f.cwd)
	if err != nil {
		return err
	}
	f.mounts.DecRef()
	f.mounts = ns
	return nil
}

// ReplaceRoot changes root and working directory where they are from, as
// pivot_root(2) does for every task. The caller keeps its references.
func (f *FSContext) ReplaceRoot(from, to vfs.Path) {
	f.lockToChange()
	defer f.unlockChanged()
	for _, p := range []*vfs.Path{&f.root, &f.cwd} {
		if *p == from {
			to.IncRef()
			from.DecRef()
			*p = to
		}
	}
}

// Umask returns the file mode creation mask.
func (f *FSContext) Umask() uint32 { return f.umask.Load() }

// SetUmask changes the mask and returns the former one.
func (f *FSContext) SetUmask(m uint32) uint32 { return f.umask.Swap(m & 0o777) }

// Fork returns a copy for a process that does not share it.
func (f *FSContext) Fork() *FSContext {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.root.IncRef()
	f.cwd.IncRef()
	return NewFSContext(f.mounts, f.root, f.cwd, f.Umask())
}

// Shared reports whether another task uses the context too.
func (f *FSContext) Shared() bool { return f.refs.Load() > 1 }

// IncRef takes a reference for a task that shares the context.
func (f *FSContext) IncRef() { f.refs.Add(1) }

// DecRef drops a task's reference; the last one drops the directories.
func (f *FSContext) DecRef() {
	if f.refs.Add(-1) != 0 {
		return
	}
	// Others may still have the context from Task.Resources.
	f.mu.Lock()
	root, cwd, mounts := f.root, f.cwd, f.mounts
	f.root, f.cwd, f.mounts = vfs.Path{}, vfs.Path{}, nil
	f.mu.Unlock()
	root.DecRef()
	cwd.DecRef()
	if mounts != nil {
		mounts.DecRef()
	}
}
