package devpts

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Device numbers of terminals (Documentation/admin-guide/devices.txt).
const (
	majorAux     = 5
	minorTTY     = 0
	minorConsole = 1
	minorPtmx    = 2
	majorSlave   = 136
)

// Drivers are for all kernels of the process; they find the terminals by who
// opens a node.
func init() {
	vfs.RegisterDevice(unix.S_IFCHR, majorAux, minorTTY, onTask(openTTY))
	vfs.RegisterDevice(unix.S_IFCHR, majorAux, minorConsole, onTask(openConsole))
	vfs.RegisterDevice(unix.S_IFCHR, majorAux, minorPtmx, onTask(openPtmx))
	vfs.RegisterDeviceMajor(unix.S_IFCHR, majorSlave, onTask(openSlave))
}

// onTask makes a driver of a function that needs the task and its terminals.
func onTask(open func(fs *FS, t *kernel.Task, minor, flags uint32) (vfs.File, error)) vfs.DeviceOpener {
	return func(c vfs.Caller, minor, flags uint32) (vfs.File, error) {
		t, ok := c.(*kernel.Task)
		if !ok {
			return nil, unix.ENXIO
		}
		fs, ok := t.Kernel().FileSystem(typeName).(*FS)
		if !ok {
			return nil, unix.ENXIO
		}
		return open(fs, t, minor, flags)
	}
}

// openTTY opens /dev/tty, the caller's controlling terminal.
func openTTY(_ *FS, t *kernel.Task, _, flags uint32) (vfs.File, error) {
	term, ok := t.TTY().(*Terminal)
	if !ok {
		return nil, unix.ENXIO
	}
	return term.Open(t, flags|unix.O_NOCTTY)
}

func openConsole(fs *FS, t *kernel.Task, _, flags uint32) (vfs.File, error) {
	fs.mu.Lock()
	term := fs.console
	fs.mu.Unlock()
	if term == nil {
		return nil, unix.ENODEV
	}
	// The console never becomes a controlling terminal by being opened.
	return term.Open(t, flags|unix.O_NOCTTY)
}

func openPtmx(fs *FS, t *kernel.Task, _, _ uint32) (vfs.File, error) { return fs.openMaster(t) }

func openSlave(fs *FS, t *kernel.Task, minor, flags uint32) (vfs.File, error) {
	term := fs.terminal(minor)
	if term == nil {
		return nil, unix.EIO
	}
	return term.Open(t, flags)
}
