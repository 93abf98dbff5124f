package fuse

import (
	"slices"
	"sync"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// The device's number (Documentation/admin-guide/devices.txt).
const (
	deviceMajor = 10
	deviceMinor = 229
)

// ioctlClone is FUSE_DEV_IOC_CLONE: a second description of one connection.
const ioctlClone = 0x8004e500

func init() {
	vfs.RegisterDevice(unix.S_IFCHR, deviceMajor, deviceMinor,
		func(c vfs.Caller, _, _ uint32) (vfs.File, error) { return &device{ns: c.Credentials().UserNS}, nil })
	vfs.RegisterFileSystemType(vfs.FileSystemType{Name: "fuse", Subtypes: true, Nested: true, Mount: mount})
}

// device is an open /dev/fuse. It becomes a connection's end by mount(2).
type device struct {
	vfs.NoFile
	queue waiter.Queue
	// ns is the user namespace of who opened it, in which it can be mounted.
	ns *auth.UserNamespace

	mu sync.Mutex
	cn *connection // nil before
}

// filer is a vfs.Caller that has descriptors.
type filer interface {
	File(fd int32) (*vfs.FileDescription, error)
}

// deviceAt returns the device that the caller's descriptor fd is. EINVAL if it
// is something else, EBADF.
func deviceAt(c vfs.Caller, fd int32) (*device, *vfs.FileDescription, error) {
	f, ok := c.(filer)
	if !ok {
		return nil, nil, unix.EINVAL
	}
	d, err := f.File(fd)
	if err != nil {
		return nil, nil, err
	}
	dev, ok := d.File.(*device)
	if !ok {
		d.DecRef()
		return nil, nil, unix.EINVAL
	}
	return dev, d, nil
}

// connect makes the device an end of cn. EINVAL if it is one already.
func (d *device) connect(cn *connection) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cn != nil {
		return unix.EINVAL
	}
	d.cn = cn
	cn.mu.Lock()
	cn.devices = append(cn.devices, d)
	cn.mu.Unlock()
	return nil
}

// connection is nil before mount(2).
func (d *device) connection() *connection {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cn
}

// Read implements vfs.File: it gives one message. EPERM before mount(2).
func (d *device) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	cn := d.connection()
	if cn == nil {
		return 0, unix.EPERM
	}
	return cn.take(p)
}

// Write implements vfs.File: it takes one message, whole.
func (d *device) Write(_ vfs.Caller, p []byte, off int64, _ uint32) (int, int64, error) {
	cn := d.connection()
	if cn == nil {
		return 0, off, unix.EPERM
	}
	if err := cn.answer(p); err != nil {
		return 0, off, err
	}
	return len(p), off, nil
}

// Ioctl implements vfs.File.
func (d *device) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	if cmd != ioctlClone {
		return 0, unix.ENOTTY
	}
	var b [4]byte
	if _, err := c.CopyIn(arg, b[:]); err != nil {
		return 0, err
	}
	old, desc, err := deviceAt(c, int32(le.Uint32(b[:])))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef()
	cn := old.connection()
	if cn == nil {
		return 0, unix.EINVAL
	}
	return 0, d.connect(cn)
}

// Release implements vfs.File: with the last description the server is gone.
func (d *device) Release() {
	cn := d.connection()
	if cn == nil {
		return
	}
	cn.mu.Lock()
	cn.devices = slices.DeleteFunc(cn.devices, func(x *device) bool { return x == d })
	last := len(cn.devices) == 0
	cn.mu.Unlock()
	if last {
		cn.abort()
	}
}

// Readiness implements waiter.Waitable.
func (d *device) Readiness(m waiter.Mask) waiter.Mask {
	cn := d.connection()
	if cn == nil {
		return m & waiter.Err
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	r := waiter.Mask(waiter.Writable)
	switch {
	case cn.gone:
		r |= waiter.Err
	case len(cn.pending) > 0 || len(cn.interrupts) > 0:
		r |= waiter.Readable
	}
	return r & m
}

// Register implements waiter.Waitable.
func (d *device) Register(e *waiter.Entry) { d.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (d *device) Unregister(e *waiter.Entry) { d.queue.Unregister(e) }
