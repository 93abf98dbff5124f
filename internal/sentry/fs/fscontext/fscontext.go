// Package fscontext is the file that fsopen(2) and fspick(2) return: what a
// file system is to be made with, gathered parameter by parameter.
//
// Lock order: a Context's mu, then the locks of vfs.
package fscontext

import (
	"strings"
	"sync"

	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// maxData is how much the parameters may hold together: what mount(2) takes.
const maxData = 4096

// Context is a file system that is being configured.
type Context struct {
	vfs.NoFile
	kind string
	// picked says that the file system exists, and is to be changed.
	picked bool

	mu     sync.Mutex
	source string
	flags  uint64
	data   []string
	size   int
	fs     vfs.FileSystem // once it is made
	failed bool           // once that failed
	done   bool           // once it was mounted
}

// New returns the file of fsopen(2) for a type of file system.
func New(c vfs.Caller, kind string) *vfs.FileDescription {
	return describe(c, &Context{kind: kind})
}

// Pick returns the file of fspick(2) for a file system that is mounted.
func Pick(c vfs.Caller, kind string) *vfs.FileDescription {
	return describe(c, &Context{kind: kind, picked: true})
}

func describe(c vfs.Caller, f *Context) *vfs.FileDescription {
	ino := anon.New("anon_inode:[fscontext]", 0o600, anon.AnonDev, c.Credentials())
	return vfs.NewDescription(f, ino, vfs.Path{}, unix.O_RDWR)
}

// Of returns the context behind a description, or nil.
func Of(d *vfs.FileDescription) *Context {
	c, _ := d.File.(*Context)
	return c
}

// flagNames are the parameters that every file system has.
var flagNames = map[string]struct{ set, clear uint64 }{
	"ro": {unix.MS_RDONLY, 0}, "rw": {0, unix.MS_RDONLY},
	"sync": {unix.MS_SYNCHRONOUS, 0}, "async": {0, unix.MS_SYNCHRONOUS},
	"dirsync": {unix.MS_DIRSYNC, 0}, "lazytime": {unix.MS_LAZYTIME, 0}, "nolazytime": {0, unix.MS_LAZYTIME},
	"mand": {unix.MS_MANDLOCK, 0}, "nomand": {0, unix.MS_MANDLOCK},
}

// Set adds a parameter; value is empty for a mere flag. EBUSY once the file
// system is made; EINVAL for a second source, and for what could be taken for
// two parameters, or another one, in the list that file systems parse.
func (f *Context) Set(key, value string, flag bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fs != nil || f.failed {
		return unix.EBUSY
	}
	n, known := flagNames[key]
	switch {
	case flag && known:
		f.flags = f.flags&^n.clear | n.set
		return nil
	case key == "source":
		if flag || f.source != "" {
			return unix.EINVAL
		}
		f.source = value
		return nil
	case known || key == "" || strings.ContainsAny(key, ",=") || strings.Contains(value, ","):
		return unix.EINVAL
	}
	p := key
	if !flag {
		p += "=" + value
	}
	if f.size += len(p) + 1; f.size > maxData {
		return unix.EINVAL
	}
	f.data = append(f.data, p)
	return nil
}

// Create makes the file system by a function. EBUSY if that was tried before.
func (f *Context) Create(make func(kind string, r vfs.MountRequest) (vfs.FileSystem, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.picked || f.fs != nil || f.failed {
		return unix.EBUSY
	}
	fs, err := make(f.kind, vfs.MountRequest{Source: f.source, Flags: f.flags, Data: strings.Join(f.data, ",")})
	f.fs, f.failed = fs, err != nil
	return err
}

// Reconfigure applies the parameters to the file system that was picked. None
// has any that can be changed: EOPNOTSUPP unless there is nothing to do.
func (f *Context) Reconfigure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.picked:
		return unix.EBUSY
	case len(f.data) > 0 || f.flags != 0:
		return unix.EOPNOTSUPP
	}
	return nil
}

// Mount hands out the file system, once, to mount it. EBUSY if there is none
// to hand out.
func (f *Context) Mount(mount func(fs vfs.FileSystem, flags uint64, source string) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fs == nil || f.done {
		return unix.EBUSY
	}
	source := f.source
	if source == "" {
		source = "none"
	}
	err := mount(f.fs, f.flags, source)
	f.done = f.done || err == nil
	return err
}

// Read implements vfs.File: there are never messages.
func (f *Context) Read(vfs.Caller, []byte, int64) (int, error) { return 0, unix.ENODATA }

// Release implements vfs.File.
func (f *Context) Release() {
	if f.fs != nil && !f.done {
		vfs.Unused(f.fs)
	}
}
