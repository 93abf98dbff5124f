// Package tun is /dev/net/tun: each open file can have a TUN or TAP device, whose frames are read and written
// there (linux/if_tun.h). What the devices are is package network's.
//
// It must not know sockets.
//
// Lock order: File.mu, then those of package network.
package tun

import (
	"sync"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// The device's number (Documentation/admin-guide/devices.txt).
const (
	deviceMajor = 10
	deviceMinor = 200
)

func init() {
	vfs.RegisterDevice(unix.S_IFCHR, deviceMajor, deviceMinor, open)
}

// networker is a vfs.Caller that is in a network namespace.
type networker interface {
	Network() *network.Namespace
	NetworkOwner() *auth.UserNamespace
}

func open(c vfs.Caller, _, _ uint32) (vfs.File, error) {
	n, ok := c.(networker)
	if !ok {
		return nil, unix.ENXIO
	}
	return &File{ns: n.Network(), owner: n.NetworkOwner(), sendBuffer: 1<<31 - 1}, nil
}

// File is an open /dev/net/tun.
type File struct {
	vfs.NoFile
	// ns is the namespace of who opened the file, where devices are made and found, owner whose privileges count
	// there.
	ns    *network.Namespace
	owner *auth.UserNamespace
	queue network.TunQueue

	mu sync.Mutex
	// index is what a new device is to have (TUNSETIFINDEX).
	index int32
	// sendBuffer is TUNSETSNDBUF, which is only remembered: what is written does not wait.
	sendBuffer int32
}

// Read implements vfs.File: it gives one frame.
func (f *File) Read(_ vfs.Caller, p []byte, _ int64) (int, error) { return f.queue.Read(p) }

// Write implements vfs.File: it takes one frame, whole.
func (f *File) Write(_ vfs.Caller, p []byte, off int64, _ uint32) (int, int64, error) {
	if err := f.queue.Write(p); err != nil {
		return 0, off, err
	}
	return len(p), off, nil
}

// WritesMessages implements vfs.MessageWriter.
func (*File) WritesMessages() {}

// TakesAnyOffset implements vfs.AnyOffset.
func (*File) TakesAnyOffset() {}

// Release implements vfs.File.
func (f *File) Release() { f.queue.Close() }

// Readiness implements waiter.Waitable.
func (f *File) Readiness(m waiter.Mask) waiter.Mask { return f.queue.Readiness() & m }

// Register implements waiter.Waitable.
func (f *File) Register(e *waiter.Entry) { f.queue.Wait.Register(e) }

// Unregister implements waiter.Waitable.
func (f *File) Unregister(e *waiter.Entry) { f.queue.Wait.Unregister(e) }

// FDInfo is what /proc/PID/fdinfo says beside the common lines.
func (f *File) FDInfo() string {
	_, l, _ := f.queue.Device()
	return "iff:\t" + l.Name + "\n"
}
