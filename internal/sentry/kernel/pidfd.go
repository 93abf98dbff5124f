package kernel

import (
	"sync/atomic"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// pidFile is the file behind a pidfd (pidfd_open(2)): readable once the
// process has ended.
type pidFile struct {
	vfs.NoFile
	group *ThreadGroup
}

// Readiness implements waiter.Waitable.
func (f *pidFile) Readiness(mask waiter.Mask) waiter.Mask {
	select {
	case <-f.group.done:
		ready := waiter.Readable
		f.group.k.mu.Lock()
		if f.group.reaped {
			ready |= waiter.Hup
		}
		f.group.k.mu.Unlock()
		return mask & ready
	default:
		return 0
	}
}

// Register and Unregister implement waiter.Waitable.
func (f *pidFile) Register(e *waiter.Entry)   { f.group.ended.Register(e) }
func (f *pidFile) Unregister(e *waiter.Entry) { f.group.ended.Unregister(e) }

// pidInode is the inode of all pidfds.
type pidInode struct {
	vfs.NoInode
	ino uint64
}

// lastPIDInode numbers them.
var lastPIDInode atomic.Uint64

func (i *pidInode) Attr() (vfs.Attr, error) {
	return vfs.Attr{Ino: i.ino, Mode: unix.S_IFREG | 0o700, Nlink: 1, BlockSize: pageSize}, nil
}

// LinkName is what /proc/PID/fd shows.
func (i *pidInode) LinkName() string { return "anon_inode:[pidfd]" }

// NewPIDFD returns a description for a process, with one reference. flags may
// hold O_NONBLOCK.
func (g *ThreadGroup) NewPIDFD(flags uint32) *vfs.FileDescription {
	ino := &pidInode{ino: lastPIDInode.Add(1)}
	return vfs.NewDescription(&pidFile{group: g}, ino, vfs.Path{}, unix.O_RDWR|flags)
}

// InstallPIDFD gives the task a close-on-exec descriptor for a process.
func (t *Task) InstallPIDFD(p socket.Process, flags uint32) (int32, error) {
	d := p.NewPIDFD(flags)
	defer d.DecRef()
	return t.fds.Install(d, 0, t.Limit(unix.RLIMIT_NOFILE), true)
}

// OpenPIDFD is pidfd_open(2): ESRCH without such a process, EINVAL if the
// number is a thread's that does not lead its process.
func (t *Task) OpenPIDFD(pid int32, flags uint32) (int32, error) {
	g := t.PIDs().ThreadGroup(pid)
	if g == nil {
		if t.PIDs().Task(pid) != nil {
			return -1, unix.EINVAL
		}
		return -1, unix.ESRCH
	}
	return t.InstallPIDFD(g, flags)
}

// PIDFDGroup returns the process behind a pidfd, or nil for another file.
func PIDFDGroup(d *vfs.FileDescription) *ThreadGroup {
	if f, ok := d.File.(*pidFile); ok {
		return f.group
	}
	return nil
}

// ProcessDirectory is implemented by the inodes of /proc/PID, an open
// descriptor of which pidfd_send_signal(2) takes for a pidfd.
type ProcessDirectory interface {
	// Process is the process that the directory shows, or nil if it shows a
	// thread.
	Process() *ThreadGroup
}

// Ending reports whether all of the process's threads are to end, as after
// SIGKILL, or have ended.
func (g *ThreadGroup) Ending() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.exiting || len(g.threads) == 0
}
