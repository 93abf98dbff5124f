package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"coffer/internal/link"
	"coffer/internal/seccomp"
	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// The tests of this file try from inside of a sentry what a guest would try
// that has taken it over. The sentry is this test binary, started and walled
// in as the real one; but its filter answers with an errno, so that it lives
// to try the next thing.

// refused is the filter's answer in these tests: an errno that no call gives.
const refused = unix.Errno(0xffe)

// The probe's descriptors, beside those of main.go.
const (
	fdReport = 4 // instead of the control socket
	fdRoot   = 5
	fdBind   = 6
	fdFile   = 10 // the directory of a file that is bound alone
	fdServer = 11 // a listening socket
)

const probeName = "coffer-probe"

func TestMain(m *testing.M) {
	switch os.Args[0] {
	case probeName:
		if err := probe(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case limitName:
		if err := fillLimit(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	case "init":
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attempt is one thing that is tried. Arguments that are strings become
// pointers to them.
type attempt struct {
	name string
	nr   uintptr
	args []any
	want unix.Errno
}

func no(name string, nr uintptr, args ...any) attempt { return attempt{name, nr, args, refused} }

func (a attempt) try() unix.Errno {
	var args [6]uintptr
	for i, v := range a.args {
		switch v := v.(type) {
		case string:
			b := append([]byte(v), 0)
			args[i] = uintptr(unsafe.Pointer(&b[0]))
		case *unix.OpenHow:
			args[i] = uintptr(unsafe.Pointer(v))
		case *unix.Iovec:
			args[i] = uintptr(unsafe.Pointer(v))
		case int:
			args[i] = uintptr(v)
		default:
			panic(fmt.Sprintf("%s: argument %v", a.name, v))
		}
	}
	_, _, errno := unix.RawSyscall6(a.nr, args[0], args[1], args[2], args[3], args[4], args[5])
	return errno
}

func openat2(name string, dir int, path string, flags uint64, want unix.Errno) attempt {
	how := &unix.OpenHow{Flags: flags}
	if flags&unix.O_CREAT != 0 {
		how.Mode = 0o600
	}
	return attempt{name, unix.SYS_OPENAT2, []any{dir, path, how, int(unsafe.Sizeof(*how))}, want}
}

// attempts are what the filter refuses, and what the other walls do.
func attempts(hostPID int) []attempt {
	at := unix.AT_FDCWD
	exec := unix.PROT_READ | unix.PROT_EXEC
	one := unix.Iovec{Base: new(byte), Len: 1}
	return []attempt{
		// other programs, other processes
		no("execve", unix.SYS_EXECVE, "/init", 0, 0),
		no("execveat", unix.SYS_EXECVEAT, fdRoot, "init", 0, 0, 0),
		no("fork", unix.SYS_FORK),
		no("vfork", unix.SYS_VFORK),
		no("clone a process", unix.SYS_CLONE, int(unix.SIGCHLD), 0),
		no("clone with shared memory", unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK, 0),
		no("clone into a user namespace", unix.SYS_CLONE, seccomp.ThreadFlags|unix.CLONE_NEWUSER, 0),
		no("clone3", unix.SYS_CLONE3, 0, 0),
		no("ptrace", unix.SYS_PTRACE, unix.PTRACE_SEIZE, hostPID, 0, 0),
		no("pidfd_open", unix.SYS_PIDFD_OPEN, 1, 0),
		no("pidfd_getfd", unix.SYS_PIDFD_GETFD, 0, 0, 0),
		no("process_madvise", unix.SYS_PROCESS_MADVISE, 0, 0, 0, 0, 0),
		no("setpriority", unix.SYS_SETPRIORITY, 0, 0, 0),
		no("sched_setaffinity of another", unix.SYS_SCHED_SETAFFINITY, 1, 0, 0),
		no("tkill", unix.SYS_TKILL, hostPID, 0),
		no("rt_sigqueueinfo", unix.SYS_RT_SIGQUEUEINFO, hostPID, 0, 0),
		{"kill a process of the host", unix.SYS_KILL, []any{hostPID, int(unix.SIGKILL)}, unix.ESRCH},
		{"kill by thread", unix.SYS_TGKILL, []any{hostPID, hostPID, int(unix.SIGKILL)}, unix.ESRCH},
		{"read a process of the host", unix.SYS_PROCESS_VM_READV, []any{hostPID, &one, 1, &one, 1, 0}, unix.ESRCH},
		{"write to a process of the host", unix.SYS_PROCESS_VM_WRITEV, []any{hostPID, &one, 1, &one, 1, 0}, unix.ESRCH},
		{"kill a process group of the host", unix.SYS_KILL, []any{-hostPID, int(unix.SIGKILL)}, unix.ESRCH},

		// code
		no("mmap code", unix.SYS_MMAP, 0, 4096, exec, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0),
		no("mprotect code", unix.SYS_MPROTECT, 0x10000, 4096, exec),
		no("mprotect code to be written", unix.SYS_MPROTECT, 0x10000, 4096, exec|unix.PROT_WRITE),
		no("pkey_mprotect code", unix.SYS_PKEY_MPROTECT, 0x10000, 4096, exec, 0),
		no("mremap", unix.SYS_MREMAP, 0x10000, 4096, 4096, 0, 0),
		no("remap_file_pages", unix.SYS_REMAP_FILE_PAGES, 0, 0, 0, 0, 0),
		no("modify_ldt", unix.SYS_MODIFY_LDT, 0, 0, 0),
		no("arch_prctl", unix.SYS_ARCH_PRCTL, 0x1001, 0),
		no("uselib", unix.SYS_USELIB, 0),

		// files by path
		no("open", unix.SYS_OPEN, "/etc/passwd", 0),
		no("creat", unix.SYS_CREAT, "/x", 0),
		no("openat", unix.SYS_OPENAT, at, "/etc/passwd", 0),
		no("openat in a tree", unix.SYS_OPENAT, fdRoot, "init", 0),
		no("openat2 by path", unix.SYS_OPENAT2, at, "/etc/passwd", &unix.OpenHow{}, 24),
		no("stat", unix.SYS_STAT, "/", 0),
		no("statx by path", unix.SYS_STATX, at, "/", 0, 0, 0),
		no("readlink", unix.SYS_READLINK, "/proc/self/exe", 0, 0),
		no("mkdir", unix.SYS_MKDIR, "/x", 0),
		no("mkdirat by path", unix.SYS_MKDIRAT, at, "x", 0),
		no("unlink", unix.SYS_UNLINK, "/x"),
		no("unlinkat by path", unix.SYS_UNLINKAT, at, "x", 0),
		no("rename", unix.SYS_RENAME, "/x", "/y"),
		no("link from a path", unix.SYS_LINKAT, at, "/etc/passwd", fdBind, "x", 0),
		no("symlink by path", unix.SYS_SYMLINKAT, "x", at, "y"),
		no("truncate", unix.SYS_TRUNCATE, "/x", 0),
		no("chmod", unix.SYS_CHMOD, "/", 0),
		no("chown", unix.SYS_CHOWN, "/", 0, 0),
		no("chdir", unix.SYS_CHDIR, "/"),
		no("fchdir", unix.SYS_FCHDIR, fdRoot),
		no("chroot", unix.SYS_CHROOT, "/"),
		no("getxattr", unix.SYS_GETXATTR, "/", "user.x", 0, 0),
		no("name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, fdRoot, "init", 0, 0, 0),
		no("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, fdRoot, 0, 0),
		no("inotify", unix.SYS_INOTIFY_INIT1, 0),
		no("fanotify", unix.SYS_FANOTIFY_INIT, 0, 0),
		no("copy_file_range", unix.SYS_COPY_FILE_RANGE, 0, 0, 0, 0, 0, 0),

		// files of the trees, beyond what was given
		openat2("read what is there", fdRoot, "init", unix.O_RDONLY, 0),
		openat2("an absolute path", fdRoot, "/etc/passwd", unix.O_RDONLY, unix.ENOENT),
		openat2("climb out", fdRoot, "../secret", unix.O_RDONLY, unix.ENOENT),
		openat2("climb out of the bind", fdBind, "../secret", unix.O_RDONLY, unix.ENOENT),
		openat2("climb out by a link", fdRoot, "up/secret", unix.O_RDONLY, unix.ENOENT),
		openat2("write", fdRoot, "init", unix.O_WRONLY, unix.EROFS),
		openat2("create", fdRoot, "new", unix.O_WRONLY|unix.O_CREAT, unix.EROFS),
		{"remove", unix.SYS_UNLINKAT, []any{fdRoot, "init", 0}, unix.EROFS},
		{"change the mode", unix.SYS_FCHMODAT2, []any{fdRoot, "init", 0o777, 0}, unix.EROFS},
		openat2("create in a writable bind", fdBind, "new", unix.O_WRONLY|unix.O_CREAT, 0),
		openat2("write a bound file", fdFile, "file", unix.O_RDWR, 0),
		openat2("read a bound file's neighbour", fdFile, "neighbour", unix.O_RDONLY, unix.ENOENT),
		openat2("climb out from a bound file", fdFile, "../secret", unix.O_RDONLY, unix.ENOENT),
		openat2("create beside a bound file", fdFile, "new", unix.O_WRONLY|unix.O_CREAT, unix.EROFS),
		openat2("a device", fdBind, "device", unix.O_RDONLY, unix.EACCES),
		no("make a device", unix.SYS_MKNODAT, fdBind, "null", unix.S_IFCHR|0o666, 0x103),

		// the network
		no("an IP socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0),
		no("a Unix socket", unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0),
		no("a netlink socket", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, 0),
		no("a packet socket", unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0),
		no("a vsock", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0),
		no("a raw socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP),
		no("a protocol that loads a module", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP),
		no("a socket of the host's packet filters", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER),
		no("a way to abstract sockets", unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0, 0),
		no("a filter at a socket", unix.SYS_SETSOCKOPT, 0, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, 0, 0),
		no("a program at a socket", unix.SYS_SETSOCKOPT, 0, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, 0, 0),
		no("a mark on packets", unix.SYS_SETSOCKOPT, 0, unix.SOL_SOCKET, unix.SO_MARK, 0, 0),
		no("TLS in the kernel", unix.SYS_SETSOCKOPT, 0, unix.IPPROTO_TCP, unix.TCP_ULP, 0, 0),
		no("a pair of IP sockets", unix.SYS_SOCKETPAIR, unix.AF_INET, unix.SOCK_STREAM, 0, 0),
		no("bind", unix.SYS_BIND, 0, 0, 0),
		no("connect", unix.SYS_CONNECT, 0, 0, 0),
		no("accept", unix.SYS_ACCEPT4, 0, 0, 0, 0),
		no("setsockopt", unix.SYS_SETSOCKOPT, 0, 0, 0, 0, 0),
		no("recvmsg", unix.SYS_RECVMSG, 0, 0, 0),
		no("recvmmsg", unix.SYS_RECVMMSG, 0, 0, 0, 0, 0),
		no("sendmmsg", unix.SYS_SENDMMSG, 0, 0, 0, 0),
		no("getsockname", unix.SYS_GETSOCKNAME, 0, 0, 0),
		no("set an interface's address", unix.SYS_IOCTL, 0, unix.SIOCSIFADDR, 0),
		no("set an interface down", unix.SYS_IOCTL, 0, unix.SIOCSIFFLAGS, 0),

		// mounts and namespaces
		no("mount", unix.SYS_MOUNT, "proc", "/", "proc", 0, 0),
		no("umount", unix.SYS_UMOUNT2, "/", unix.MNT_DETACH),
		no("pivot_root", unix.SYS_PIVOT_ROOT, ".", "."),
		no("fsopen", unix.SYS_FSOPEN, "proc", 0),
		no("fsmount", unix.SYS_FSMOUNT, 0, 0, 0),
		no("open_tree", unix.SYS_OPEN_TREE, fdRoot, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE),
		no("move_mount", unix.SYS_MOVE_MOUNT, fdRoot, "", at, "/", 0),
		no("mount_setattr", unix.SYS_MOUNT_SETATTR, fdRoot, "", unix.AT_EMPTY_PATH, 0, 0),
		no("unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
		no("setns", unix.SYS_SETNS, 0, 0),

		// who it is, and what it may
		no("setuid", unix.SYS_SETUID, 0),
		no("setresuid", unix.SYS_SETRESUID, 0, 0, 0),
		no("setresgid", unix.SYS_SETRESGID, 0, 0, 0),
		no("setgroups", unix.SYS_SETGROUPS, 0, 0),
		no("setfsuid", unix.SYS_SETFSUID, 0),
		no("capset", unix.SYS_CAPSET, 0, 0),
		no("being dumpable", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1),
		no("other secure bits", unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0),
		no("staying alive without a parent", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 0),
		no("being traced by anybody", unix.SYS_PRCTL, unix.PR_SET_PTRACER, -1),
		no("another filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0),
		no("other limits", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NPROC, 0, 0),
		no("setrlimit", unix.SYS_SETRLIMIT, unix.RLIMIT_NPROC, 0),
		no("umask", unix.SYS_UMASK, 0),
		no("personality", unix.SYS_PERSONALITY, 0),
		no("setsid", unix.SYS_SETSID),
		no("setpgid", unix.SYS_SETPGID, 0, 0),

		// the host's kernel
		no("bpf", unix.SYS_BPF, 0, 0, 0),
		no("perf_event_open", unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0, 0),
		no("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, 0),
		no("userfaultfd", unix.SYS_USERFAULTFD, 0),
		no("keyctl", unix.SYS_KEYCTL, 0, 0, 0, 0, 0),
		no("add_key", unix.SYS_ADD_KEY, 0, 0, 0, 0, 0),
		no("request_key", unix.SYS_REQUEST_KEY, 0, 0, 0, 0),
		no("init_module", unix.SYS_INIT_MODULE, 0, 0, 0),
		no("finit_module", unix.SYS_FINIT_MODULE, 0, 0, 0),
		no("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, 0),
		no("reboot", unix.SYS_REBOOT, 0, 0, 0),
		no("swapon", unix.SYS_SWAPON, 0, 0),
		no("acct", unix.SYS_ACCT, 0),
		no("syslog", unix.SYS_SYSLOG, 2, 0, 0),
		no("iopl", unix.SYS_IOPL, 3),
		no("ioperm", unix.SYS_IOPERM, 0, 1, 1),
		no("sethostname", unix.SYS_SETHOSTNAME, "x", 1),
		no("settimeofday", unix.SYS_SETTIMEOFDAY, 0, 0),
		no("clock_settime", unix.SYS_CLOCK_SETTIME, 0, 0),
		no("adjtimex", unix.SYS_ADJTIMEX, 0),
		no("quotactl", unix.SYS_QUOTACTL, 0, 0, 0, 0),
		no("shmget", unix.SYS_SHMGET, 1, 1, 0),
		no("msgget", unix.SYS_MSGGET, 1, 0),
		no("semget", unix.SYS_SEMGET, 1, 1, 0),
		no("mq_open", unix.SYS_MQ_OPEN, "x", 0),
		no("memfd_secret", unix.SYS_MEMFD_SECRET, 0),
		no("vmsplice", unix.SYS_VMSPLICE, 0, 0, 0, 0),
		no("splice", unix.SYS_SPLICE, 0, 0, 0, 0, 0, 0),
		no("x32", 0x40000000|unix.SYS_READ, 0, 0, 0),
		no("a call that does not exist", 0x3fffffff),

		// descriptors' other powers
		no("typing for the user", unix.SYS_IOCTL, 2, unix.TIOCSTI, "x"),
		no("the console's powers", unix.SYS_IOCTL, 2, unix.TIOCLINUX, "x"),
		no("a controlling terminal", unix.SYS_IOCTL, 2, unix.TIOCSCTTY, 0),
		no("a block device's powers", unix.SYS_IOCTL, 2, unix.BLKROSET, 0),
		no("a mount from an ioctl", unix.SYS_IOCTL, fdRoot, 0xb701, 0), // NS_GET_USERNS
		no("other flags of a shared description", unix.SYS_FCNTL, 2, unix.F_SETFL, 0),
		no("signals from descriptors", unix.SYS_FCNTL, 2, unix.F_SETOWN, hostPID),
		no("leases", unix.SYS_FCNTL, 2, unix.F_SETLEASE, 0),
	}
}

// report is what the probe tells.
type report struct {
	Errnos []unix.Errno
}

// probe boots a sandbox in this process and makes all attempts.
func probe() error {
	var hostPID int
	if _, err := fmt.Sscan(os.Getenv("HOST_PID"), &hostPID); err != nil {
		return err
	}
	box := &Sandbox{
		Intercept: os.Getenv("INTERCEPT"),
		Container: Container{
			Hostname: "probe", Root: fdRoot,
			Mounts: []Mount{
				{Path: "/bind", FD: fdBind, Write: true},
				{Path: "/file", FD: fdFile, Name: "file", Write: true},
			},
			Process: Process{Args: []string{"/init"}, Cwd: "/", Console: -1, Stdio: [3]int{7, 8, 9}},
		},
	}
	if os.Getenv("SERVED") != "" {
		box.ID, box.Server = "probe", &Server{Listener: fdServer}
	}
	if os.Getenv("HOST_NETWORK") != "" {
		box.Network = &network.Config{Host: true} // in a namespace of its own all the same
	}
	if os.Getenv("LINKED") != "" {
		ours, theirs, err := link.Pair()
		if err != nil {
			return err
		}
		defer theirs.Close()
		box.Network = &network.Config{Interfaces: []network.Interface{{
			Name: "eth0", HardwareAddr: "02:00:00:00:00:01", MTU: 1500, Link: network.LinkGateway, FD: int(ours.Fd()),
		}}}
	}
	refusal := unix.SECCOMP_RET_ERRNO | uint32(refused)
	if os.Getenv("LAST") != "" {
		refusal = endsSentry
	}
	s, err := boot(box, refusal)
	if err != nil {
		return err
	}
	defer s.close()
	if os.Getenv("LAST") != "" {
		unix.Uname(new(unix.Utsname))
		return errors.New("a forbidden call was made")
	}
	var r report
	for _, a := range attempts(hostPID) {
		r.Errnos = append(r.Errnos, a.try())
	}
	return json.NewEncoder(os.NewFile(fdReport, "report")).Encode(r)
}

// runProbe starts this test binary as a sentry and returns what it reports and
// says on its standard error.
func runProbe(t *testing.T, env ...string) ([]byte, string, error) {
	t.Helper()
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"root", "bind", "files"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(t, exe, filepath.Join(dir, "root", "init"))
	for _, f := range []string{"secret", "files/file", "files/neighbour"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("s3cret"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("..", filepath.Join(dir, "root", "up")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(dir, "bind", "device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("needs root, to make a device: %v", err)
	}
	var files []*os.File
	open := func(path string, flags int) {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), path)
		t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	open(os.DevNull, unix.O_RDWR) // no description
	files = append(files, out)
	open(filepath.Join(dir, "root"), unix.O_PATH)
	open(filepath.Join(dir, "bind"), unix.O_PATH)
	for range 3 {
		open(os.DevNull, unix.O_RDWR)
	}
	open(filepath.Join(dir, "files"), unix.O_PATH)
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	server := os.NewFile(uintptr(socket), "server")
	defer server.Close()
	files = append(files, server)
	var stderr strings.Builder
	attr, _ := new(Sandbox).Namespaces()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{probeName}, Dir: "/",
		Env:    append(env, fmt.Sprintf("HOST_PID=%d", os.Getpid())),
		Stderr: &stderr, ExtraFiles: files, SysProcAttr: attr,
	}
	if err := cmd.Start(); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("this host does not let namespaces be made: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	out.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		t.Error(err)
	}
	err = cmd.Wait() // it also ends the copying to stderr
	return b, stderr.String(), err
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestWalls makes all attempts from inside of a sentry of each platform, of one that
// serves the commands of a container runtime, of one with a network interface, and of one
// whose sockets are the host's.
func TestWalls(t *testing.T) {
	for _, intercept := range Platforms() {
		testWalls(t, intercept, "")
	}
	testWalls(t, Platforms()[0], "SERVED=1")
	testWalls(t, Platforms()[0], "LINKED=1")
	testWalls(t, Platforms()[0], "HOST_NETWORK=1")
}

func testWalls(t *testing.T, intercept, kind string) {
	t.Run(intercept+kind, func(t *testing.T) {
		b, stderr, err := runProbe(t, "INTERCEPT="+intercept, kind)
		var r report
		if jerr := json.Unmarshal(b, &r); err != nil || jerr != nil {
			t.Fatalf("%v, %v; report %q:\n%s", err, jerr, b, stderr)
		}
		list := attempts(os.Getpid())
		if len(r.Errnos) != len(list) {
			t.Fatalf("%d attempts were made of %d", len(r.Errnos), len(list))
		}
		for i, a := range list {
			if a.name == "ptrace" && intercept == "ptrace" {
				a.want = unix.ESRCH // nobody but stubs is in sight
			}
			// These are for sockets that it has.
			if slices.Contains(map[string][]string{
				"SERVED=1":       {"recvmsg", "recvmmsg", "sendmmsg", "getsockname"},
				"LINKED=1":       {"recvmmsg", "sendmmsg", "getsockname"},
				"HOST_NETWORK=1": {"recvmsg", "bind", "connect", "getsockname"},
			}[kind], a.name) {
				a.want = unix.ENOTSOCK
			}
			if r.Errnos[i] != a.want {
				t.Errorf("%s: errno %d (%v), want %d (%v)", a.name, r.Errnos[i], r.Errnos[i], a.want, a.want)
			}
		}
	})
}

// TestForbiddenCall makes a call that the filter does not have: the sentry ends.
func TestForbiddenCall(t *testing.T) {
	_, stderr, err := runProbe(t, "INTERCEPT=trap", "LAST=1")
	if err == nil || !strings.Contains(stderr, "SIGSYS") {
		t.Errorf("%v:\n%s", err, stderr)
	}
}

// TestForbiddenRules checks that no rule speaks of what no sentry may do.
func TestForbiddenRules(t *testing.T) {
	forbidden := map[uint32]bool{}
	for _, a := range attempts(1) {
		forbidden[uint32(a.nr)] = true
	}
	// These have rules for some of their uses.
	for _, nr := range []uint32{
		unix.SYS_CLONE, unix.SYS_MMAP, unix.SYS_MPROTECT, unix.SYS_OPENAT2, unix.SYS_STATX, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT,
		unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_MKNODAT, unix.SYS_SOCKETPAIR, unix.SYS_PRCTL, unix.SYS_IOCTL, unix.SYS_FCNTL, unix.SYS_SETPRIORITY, unix.SYS_SCHED_SETAFFINITY,
	} {
		forbidden[nr] = false
		for _, r := range hostCalls(needs{intercept: "trap", serves: true, links: true}) {
			if r.Call == nr && len(r.Args) == 0 {
				t.Errorf("host call %d may be made with any arguments", nr)
			}
		}
	}
	// And these are held back by the other walls.
	for _, nr := range []uint32{unix.SYS_KILL, unix.SYS_TGKILL, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_FCHMODAT2} {
		forbidden[nr] = false
	}
	// With an interface, these are for its socket, and there is no way to another one.
	for _, nr := range []uint32{unix.SYS_RECVMMSG, unix.SYS_SENDMMSG, unix.SYS_GETSOCKNAME} {
		forbidden[nr] = false
	}
	for _, intercept := range Platforms() {
		for _, r := range hostCalls(needs{intercept: intercept, links: true}) {
			if forbidden[r.Call] && !(r.Call == unix.SYS_PTRACE && intercept == "ptrace") {
				t.Errorf("%s: host call %d has a rule: %s", intercept, r.Call, r.Reason)
			}
		}
	}
}

// TestProcessViewLeadsNowhere: in what a sentry sees of /proc there is no way to
// the files that its processes have open, nor to anything to write to.
func TestProcessViewLeadsNowhere(t *testing.T) {
	view, err := processView()
	if errors.Is(err, unix.EPERM) || view < 0 {
		t.Skipf("no view of processes can be had here (%v)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(view)
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	own := fmt.Sprintf("%d/", os.Getpid())
	for _, a := range []attempt{
		openat2("what tells of memory", view, own+"statm", unix.O_RDONLY, 0),
		openat2("an open file", view, fmt.Sprintf("%sfd/%d", own, f.Fd()), unix.O_RDONLY, unix.ELOOP),
		openat2("the binary", view, own+"exe", unix.O_RDONLY, unix.ELOOP),
		openat2("the root", view, own+"root/etc", unix.O_RDONLY, unix.ELOOP),
		openat2("a namespace", view, own+"ns/mnt", unix.O_RDONLY, unix.ELOOP),
		openat2("memory", view, own+"mem", unix.O_RDWR, unix.EROFS),
	} {
		if got := a.try(); got != a.want {
			t.Errorf("%s: %v, want %v", a.name, got, a.want)
		}
	}
}
