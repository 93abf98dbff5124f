package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The test of this file tries from inside of the helper's walls what a sandbox would try that
// has taken the helper over. The filter answers with an errno, so that the next thing can be
// tried.

// wallsRole has this test binary raise the helper's walls and try them.
const wallsRole = "walls"

// refused is the filter's answer there: an errno that no call gives.
const refused = unix.Errno(0xffe)

// attempt is a host call that is tried.
type attempt struct {
	name string
	nr   uintptr
	args [6]uintptr
	want unix.Errno
}

func attempts() []attempt {
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	no := func(name string, nr uintptr, args ...uintptr) attempt {
		a := attempt{name: name, nr: nr, want: refused}
		copy(a.args[:], args)
		return a
	}
	set := func(name string, level, option uintptr) attempt {
		return no(name, unix.SYS_SETSOCKOPT, 0, level, option)
	}
	at := ^uintptr(99) // AT_FDCWD, -100
	return []attempt{
		no("execve", unix.SYS_EXECVE),
		no("fork", unix.SYS_FORK),
		no("clone a process", unix.SYS_CLONE, uintptr(unix.SIGCHLD)),
		no("clone into a user namespace", unix.SYS_CLONE, unix.CLONE_NEWUSER),
		no("clone3", unix.SYS_CLONE3),
		no("unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
		no("setns", unix.SYS_SETNS),
		no("ptrace", unix.SYS_PTRACE, unix.PTRACE_TRACEME),
		no("kill", unix.SYS_KILL, 1, 0),
		no("pidfd_open", unix.SYS_PIDFD_OPEN, 1),
		no("code", unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0)),
		no("code where data was", unix.SYS_MPROTECT, 0x10000, 4096, unix.PROT_READ|unix.PROT_EXEC),
		no("open", unix.SYS_OPEN),
		no("openat", unix.SYS_OPENAT, at),
		no("openat2", unix.SYS_OPENAT2, at),
		no("stat", unix.SYS_NEWFSTATAT, at),
		no("statx", unix.SYS_STATX, at),
		no("unlink", unix.SYS_UNLINKAT, at),
		no("chdir", unix.SYS_CHDIR),
		no("mount", unix.SYS_MOUNT),
		no("memfd_create", unix.SYS_MEMFD_CREATE),
		no("sendfile", unix.SYS_SENDFILE),
		no("splice", unix.SYS_SPLICE),
		no("setuid", unix.SYS_SETUID),
		no("capset", unix.SYS_CAPSET),
		no("another filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER),
		no("being dumpable", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1),
		no("other limits", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE),
		no("bpf", unix.SYS_BPF),
		no("io_uring", unix.SYS_IO_URING_SETUP, 1),
		no("userfaultfd", unix.SYS_USERFAULTFD),
		no("add_key", unix.SYS_ADD_KEY),
		no("shmget", unix.SYS_SHMGET),

		no("a Unix socket", unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM|flags),
		no("a pair of Unix sockets", unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_DGRAM|flags),
		no("a netlink socket", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|flags, unix.NETLINK_ROUTE),
		no("a packet socket", unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW|flags),
		no("a vsock", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM|flags),
		no("an ALG socket", unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET|flags),
		no("a raw socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW|flags, unix.IPPROTO_ICMP),
		no("SCTP", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|flags, unix.IPPROTO_SCTP),
		no("MPTCP", unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_STREAM|flags, unix.IPPROTO_MPTCP),
		no("L2TP", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|flags, unix.IPPROTO_L2TP),
		no("a socket that waits", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC),
		no("bind", unix.SYS_BIND),
		no("listen", unix.SYS_LISTEN),
		set("a filter at a socket", unix.SOL_SOCKET, unix.SO_ATTACH_FILTER),
		set("a program at a socket", unix.SOL_SOCKET, unix.SO_ATTACH_BPF),
		set("a mark on packets", unix.SOL_SOCKET, unix.SO_MARK),
		set("another interface", unix.SOL_SOCKET, unix.SO_BINDTODEVICE),
		set("broadcasts", unix.SOL_SOCKET, unix.SO_BROADCAST),
		set("TLS in the kernel", unix.IPPROTO_TCP, unix.TCP_ULP),
		set("another congestion control", unix.IPPROTO_TCP, unix.TCP_CONGESTION),
		set("repair", unix.IPPROTO_TCP, unix.TCP_REPAIR),
		set("addresses of others", unix.IPPROTO_IP, unix.IP_TRANSPARENT),
		set("a multicast group", unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP),
		set("rules of the host's", unix.IPPROTO_IP, 64), // IPT_SO_SET_REPLACE
		no("reading rules of the host's", unix.SYS_GETSOCKOPT, 0, unix.IPPROTO_IP, 64),
		no("an interface's flags", unix.SYS_IOCTL, 0, unix.SIOCSIFFLAGS),
		no("typing for the user", unix.SYS_IOCTL, 2, unix.TIOCSTI),
		no("a copy of a descriptor", unix.SYS_FCNTL, 0, unix.F_DUPFD),
		no("signals from descriptors", unix.SYS_FCNTL, 0, unix.F_SETOWN),

		{"an option that it sets", unix.SYS_SETSOCKOPT, [6]uintptr{1 << 20, unix.IPPROTO_TCP, unix.TCP_NODELAY}, unix.EBADF},
		{"another process", unix.SYS_TGKILL, [6]uintptr{1 << 21, 1 << 21}, unix.ESRCH},
	}
}

// tryWalls is what this test binary does in wallsRole.
func tryWalls() int {
	if _, err := raiseWalls(unix.SECCOMP_RET_ERRNO | uint32(refused)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var got []unix.Errno
	for _, a := range attempts() {
		_, _, errno := unix.RawSyscall6(a.nr, a.args[0], a.args[1], a.args[2], a.args[3], a.args[4], a.args[5])
		got = append(got, errno)
	}
	if err := json.NewEncoder(os.Stdout).Encode(got); err != nil {
		return 1
	}
	return 0
}

func TestWalls(t *testing.T) {
	if allThreads(unix.SYS_GETPID, 0, 0, 0) == unix.ENOTSUP {
		t.Skip("the race detector needs cgo, with which a process cannot give up privileges for all its threads")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"coffer", wallsRole}
	cmd.Dir, cmd.Stderr = "/", os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP},
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
	}
	out, err := cmd.Output()
	if errors.Is(err, unix.EPERM) {
		t.Skipf("this host does not let namespaces be made: %v", err)
	}
	var got []unix.Errno
	if jerr := json.Unmarshal(out, &got); err != nil || jerr != nil || len(got) != len(attempts()) {
		t.Fatalf("%v, %v: %q", err, jerr, out)
	}
	for i, a := range attempts() {
		if got[i] != a.want {
			t.Errorf("%s: errno %d (%v), want %d (%v)", a.name, got[i], got[i], a.want, a.want)
		}
	}
}
