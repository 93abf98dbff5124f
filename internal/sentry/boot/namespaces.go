package boot

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Namespaces is how a sentry must be started: in namespaces of its own, in a
// session of its own, and to die with the thread that starts it.
func Namespaces() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS |
			unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig: unix.SIGKILL,
		Setsid:    true,
		// What the sentry needs to raise its own walls. A user other than
		// root would lose it by executing the sentry.
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP},
	}
	uid, gid := os.Geteuid(), os.Getegid()
	size := 1
	if uid == 0 {
		// Every ID maps to itself: the sentry may read what root may read,
		// and has no power over the host's kernel.
		size = 1<<32 - 1
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: size}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: size}}
		a.GidMappingsEnableSetgroups = true
		return a
	}
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: size}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: size}}
	return a
}
