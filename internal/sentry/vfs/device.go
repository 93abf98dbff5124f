package vfs

import (
	"sync"

	"golang.org/x/sys/unix"
)

// DeviceOpener makes the File for an open of a device node.
type DeviceOpener func(c Caller, minor uint32, flags uint32) (File, error)

type deviceKey struct{ kind, major, minor uint32 }

var devices = struct {
	sync.RWMutex
	byNumber map[deviceKey]DeviceOpener
	byMajor  map[deviceKey]DeviceOpener
}{byNumber: map[deviceKey]DeviceOpener{}, byMajor: map[deviceKey]DeviceOpener{}}

// RegisterDevice makes open the driver of a device number. kind is
// unix.S_IFCHR or unix.S_IFBLK. A later registration replaces an earlier one.
// vfs opens device nodes of every file system through this registry.
func RegisterDevice(kind, major, minor uint32, open DeviceOpener) {
	devices.Lock()
	defer devices.Unlock()
	devices.byNumber[deviceKey{kind, major, minor}] = open
}

// RegisterDeviceMajor makes open the driver of all minors of a major number
// that have no driver of their own.
func RegisterDeviceMajor(kind, major uint32, open DeviceOpener) {
	devices.Lock()
	defer devices.Unlock()
	devices.byMajor[deviceKey{kind: kind, major: major}] = open
}

// OpenDevice opens a device by its number. ENXIO if nobody drives it.
func OpenDevice(c Caller, kind, major, minor, flags uint32) (File, error) {
	devices.RLock()
	open := devices.byNumber[deviceKey{kind, major, minor}]
	if open == nil {
		open = devices.byMajor[deviceKey{kind: kind, major: major}]
	}
	devices.RUnlock()
	if open == nil {
		return nil, unix.ENXIO
	}
	return open(c, minor, flags)
}
