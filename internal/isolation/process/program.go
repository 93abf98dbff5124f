package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"coffer/internal/environ"
	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Exit codes of a container whose program can't be run, as shells have them.
const (
	notExecutable = 126
	notFound      = 127
)

// programCode is the exit code that an error deserves; 0 if it is not the
// program's fault.
func programCode(err error) int {
	var e *isolation.ProgramError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// findProgram finds a program in the container, by the PATH of its own
// environment. Engines look for the texts of these errors, which are os/exec's.
func findProgram(args, env []string) (string, error) {
	if len(args) == 0 {
		return "", errors.New("process.args names no program")
	}
	// exec.LookPath asks the environment.
	if err := os.Setenv("PATH", environ.SearchPath(env)); err != nil {
		return "", err
	}
	path, err := exec.LookPath(args[0])
	if err == nil || errors.Is(err, exec.ErrDot) { // a program may lie in the working directory
		return path, nil
	}
	code := notFound
	switch {
	case errors.Is(err, unix.EISDIR):
		code, err = notExecutable, fmt.Errorf("%w, and no program", err)
	case errors.Is(err, os.ErrPermission):
		code, err = notExecutable, fmt.Errorf("%w: it is not executable for this user (chmod +x)", err)
	case errors.Is(err, exec.ErrNotFound):
		if there := unusable(args[0], os.Getenv("PATH")); there != "" {
			code, err = notExecutable, fmt.Errorf("exec: %q: %w: %s is a directory, or not executable for this user (chmod +x)", args[0], unix.EACCES, there)
		} else {
			err = fmt.Errorf("%w (%s)", err, os.Getenv("PATH"))
		}
	}
	return "", &isolation.ProgramError{Code: code, Err: err}
}

// unusable returns the last path at which a program is there, or may be, and cannot be
// executed; empty if there is none. To execvp(3) and shells it is found then, though
// os/exec says that it is not.
func unusable(name, search string) (last string) {
	if strings.Contains(name, "/") {
		return ""
	}
	for _, dir := range filepath.SplitList(search) {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil || errors.Is(err, unix.EACCES) {
			last = path
		}
	}
	return last
}

// execute becomes a program. It makes as few system calls as can be before: a
// seccomp filter may be in force.
func execute(path string, args, env []string) error {
	return explainExec(path, syscall.Exec(path, args, env))
}

// explainExec says why execve(2) of a program failed.
func explainExec(path string, err error) error {
	code := notExecutable
	if errors.Is(err, unix.ENOENT) {
		code = notFound
	}
	err = fmt.Errorf("exec %s: %w", path, err)
	switch {
	case errors.Is(err, unix.ENOEXEC):
		err = fmt.Errorf("%w: it is neither a program for this machine nor a script that names its interpreter", err)
	case errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("%w: its interpreter or dynamic loader may be what is missing", err)
	}
	return &isolation.ProgramError{Code: code, Err: err}
}

// limitsFiles reports whether the spec has a limit on open files.
func limitsFiles(process *specs.Process) bool {
	return slices.ContainsFunc(process.Rlimits, func(l specs.POSIXRlimit) bool { return l.Type == "RLIMIT_NOFILE" })
}

// sigaction is struct sigaction of the kernel (arch/x86/include/uapi/asm/signal.h).
type sigaction struct{ handler, flags, restorer, mask uint64 }

// sigIgnore is SIG_IGN.
const sigIgnore = 1

// defaultSignals gives back their default to signals that coffer inherited as
// ignored. Those that Go handles get theirs from execve(2).
func defaultSignals() error {
	const signals = 64
	for n := unix.Signal(1); n <= signals; n++ {
		var was sigaction
		err := changeAction(n, nil, &was)
		if err == nil && was.handler == sigIgnore {
			err = changeAction(n, new(sigaction), nil)
		}
		if err != nil {
			return fmt.Errorf("giving signal %d its default: %w", n, err)
		}
	}
	return nil
}

// changeAction is rt_sigaction(2): package os/signal can't say of a signal that
// it was ignored from the start, nor undo it.
func changeAction(n unix.Signal, to, was *sigaction) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(was)), unsafe.Sizeof(sigaction{}.mask), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// enterCwd makes the container's working directory the process's and makes
// sure that it lies in the container: a descriptor of the host's that is still
// open, and reachable as /proc/self/fd/N, would lead out (CVE-2024-21626).
func (p *initProcess) enterCwd() error {
	dir := cwd(p.spec.Process)
	if err := unix.Chdir(dir); err != nil {
		err = fmt.Errorf("process.cwd: chdir to cwd (%q): %w", dir, err)
		switch {
		case errors.Is(err, unix.EACCES):
			err = fmt.Errorf("%w: name a directory that the program's user may enter", err)
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			err = fmt.Errorf("%w: name a directory that is there in the container", err)
		}
		return err
	}
	var buf [unix.PathMax]byte
	n, err := unix.Getcwd(buf[:])
	if err != nil {
		return fmt.Errorf("process.cwd: %q: finding out where it is: %w", dir, err)
	}
	// Linux shows what the root can't reach as "(unreachable)/...".
	if n < 1 || buf[0] != '/' {
		return fmt.Errorf("process.cwd: %q lies outside of the container's root: name a directory in the container", dir)
	}
	return nil
}

// environment returns the program's variables, of each the last value, and HOME
// if there is none.
func environment(process *specs.Process) []string {
	return environ.Complete(process.Env, func() string { return home(process.User.UID) })
}

// home returns a user's home directory by the container's /etc/passwd, or /.
func home(uid uint32) string {
	// It is the container's: it may be a FIFO.
	f, err := os.OpenFile("/etc/passwd", os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return "/"
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "/"
	}
	return environ.Home(f, uid)
}

// giveStdio makes the user the owner of the standard streams, so that it can
// open /dev/stdout again. Devices are left alone, since the host has them too,
// but for a terminal that is the container's own; and so are files that are only
// read, since an owner may do more with them than the descriptor allows.
func giveStdio(uid uint32, ownTerminal bool) error {
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fmt.Errorf("looking at descriptor %d: %w", fd, err)
		}
		kind := st.Mode & unix.S_IFMT
		device := kind == unix.S_IFCHR || kind == unix.S_IFBLK
		if st.Uid == uid || device && !ownTerminal {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return fmt.Errorf("looking at descriptor %d: %w", fd, err)
		}
		if (kind == unix.S_IFREG || kind == unix.S_IFDIR) && flags&unix.O_ACCMODE == unix.O_RDONLY {
			continue
		}
		err = unix.Fchown(fd, int(uid), -1)
		switch {
		case err == nil, errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS):
			// A file whose owner the user namespace has no ID for stays its owner's.
		default:
			return fmt.Errorf("giving descriptor %d to user %d: %w", fd, uid, err)
		}
	}
	return nil
}
