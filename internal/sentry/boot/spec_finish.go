package boot

import (
	"fmt"

	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// finish makes read-only and hides what shall be.
func (f *furnisher) finish() error {
	for _, p := range f.later {
		if err := f.addFlags(p, unix.MS_RDONLY); err != nil {
			return fmt.Errorf("making %s read-only: %w", p, err)
		}
	}
	files := f.c.Files
	propagation := files.Propagation
	if propagation == 0 {
		propagation = unix.MS_PRIVATE | unix.MS_REC
	}
	if err := f.ns.SetPropagation(f.root, propagation); err != nil {
		return fmt.Errorf("linux.rootfsPropagation: %w", err)
	}
	if files.Readonly {
		if err := f.ns.SetAttributes(f.root, vfs.Attributes{Set: unix.MS_RDONLY}, false); err != nil {
			return fmt.Errorf("root.readonly: %w", err)
		}
	}
	for i, p := range files.ReadonlyPaths {
		if err := f.protect(p); err != nil {
			return fmt.Errorf("linux.readonlyPaths[%d]: %s: %w", i, p, err)
		}
	}
	for i, p := range files.Masked {
		if err := f.mask(p); err != nil {
			return fmt.Errorf("linux.maskedPaths[%d]: %s: %w", i, p, err)
		}
	}
	return nil
}

// addFlags adds flags to the mount whose top p is.
func (f *furnisher) addFlags(p string, flags uint64) error {
	at, err := f.resolve(p, 0)
	if err != nil {
		return err
	}
	defer at.DecRef()
	return f.ns.SetAttributes(at, vfs.Attributes{Set: flags}, false)
}

// protect makes a path read-only, with what is below it on the same mount.
func (f *furnisher) protect(p string) error {
	at, err := f.resolve(p, 0)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.DecRef()
	if err := f.ns.Bind(at, at, unix.MS_REC); err != nil {
		return err
	}
	return f.addFlags(p, unix.MS_RDONLY)
}

// mask hides a path: a directory beneath an empty one, everything else beneath
// the null device.
func (f *furnisher) mask(p string) error {
	at, err := f.resolve(p, 0)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.DecRef()
	if at.IsDir() {
		return f.ns.Mount(tmpfs.New(tmpfs.Options{Size: 4096, Inodes: 1, Mode: 0o755}), at, unix.MS_RDONLY, "tmpfs")
	}
	null, err := f.node("null")
	if err != nil {
		return err
	}
	defer null.DecRef()
	return f.ns.Bind(null, at, 0)
}

// absent reports whether an error says that a path leads nowhere.
func absent(err error) bool { return err == unix.ENOENT || err == unix.ENOTDIR }
