package boot

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Namespaces is how the sentry of this sandbox must be started: in namespaces of its
// own, and in a session of its own. Only a sandbox whose sockets are the host's is
// left in the host's network. bounding are the capabilities that its bounding set
// needs: whoever can drops the others before it executes the sentry, to which it
// costs some milliseconds.
func (b *Sandbox) Namespaces() (_ *syscall.SysProcAttr, bounding []uint) {
	a := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS |
			unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Setsid: true,
		// What the sentry needs to raise its own walls. A user other than
		// root would lose it by executing the sentry.
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP},
	}
	if b.Network != nil && b.Network.Host {
		a.Cloneflags &^= unix.CLONE_NEWNET
	}
	if mayMapAll() {
		// Every ID maps to itself: the sentry may read what root may read,
		// and has no power over the host's kernel.
		a.UidMappings, a.GidMappings = everyID("/proc/self/uid_map"), everyID("/proc/self/gid_map")
		a.GidMappingsEnableSetgroups = true
		for _, c := range stubCaps {
			a.AmbientCaps = append(a.AmbientCaps, uintptr(c))
		}
		return a, sentryCaps
	}
	uid, gid := os.Geteuid(), os.Getegid()
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	return a, nil
}

// mayMapAll reports whether this process may give a sentry more IDs than its
// own: only a root with the capabilities for it may, and root of a user
// namespace such as `unshare -r` makes has no other IDs to give.
func mayMapAll() bool {
	if os.Geteuid() != 0 || !effective(unix.CAP_SETUID) || !effective(unix.CAP_SETGID) {
		return false
	}
	groups, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && bytes.Equal(bytes.TrimSpace(groups), []byte("allow")) &&
		hasID(everyID("/proc/self/uid_map"), stubUser) && hasID(everyID("/proc/self/gid_map"), stubUser)
}

// mapsOthers reports whether the sentry that this process is has been given
// more IDs than its own, so that it may read what root may and its stubs can
// run as another user.
func mapsOthers() bool {
	return os.Geteuid() == 0 && hasID(everyID("/proc/self/uid_map"), stubUser)
}

// everyID maps each ID that a file like /proc/self/uid_map has to itself.
func everyID(file string) []syscall.SysProcIDMap {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return parseIDMap(data)
}

func parseIDMap(data []byte) (ids []syscall.SysProcIDMap) {
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var inside, outside, count int
		if n, _ := fmt.Sscan(lines.Text(), &inside, &outside, &count); n == 3 {
			ids = append(ids, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: count})
		}
	}
	return ids
}

func hasID(ids []syscall.SysProcIDMap, id int) bool {
	for _, m := range ids {
		if m.ContainerID <= id && id-m.ContainerID < m.Size {
			return true
		}
	}
	return false
}

// effective reports whether this thread has a capability.
func effective(c uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[c/32].Effective&(1<<(c%32)) != 0
}
