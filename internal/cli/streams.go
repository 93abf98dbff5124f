package cli

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The first descriptor after standard error.
const firstExtra = 3

// maxExtra bounds how many descriptors can be passed on.
const maxExtra = 1024

// passOn takes the descriptors that a program is to inherit: those of systemd's
// socket activation (sd_listen_fds(3)), if they are for this process, whose
// variables the program is given, and n more.
func passOn(n int, process *specs.Process) ([]*os.File, error) {
	if n < 0 || n > maxExtra {
		return nil, fmt.Errorf("--preserve-fds %d is not possible: it is 0 to %d", n, maxExtra)
	}
	listen := 0
	if os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		var err error
		if listen, err = strconv.Atoi(os.Getenv("LISTEN_FDS")); err != nil || listen < 0 || listen > maxExtra {
			return nil, fmt.Errorf("LISTEN_FDS is %q: it must be a number of descriptors, 0 to %d", os.Getenv("LISTEN_FDS"), maxExtra)
		}
	}
	var files []*os.File
	for fd := firstExtra; fd < firstExtra+listen+n; fd++ {
		// What was inherited lost its close-on-exec flag then; coffer's own
		// descriptors all have it.
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			return nil, fmt.Errorf("descriptor %d is to be passed on, the last of %d, and is not open: check --preserve-fds", fd, firstExtra+listen+n)
		}
		unix.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "fd"+strconv.Itoa(fd)))
	}
	if listen > 0 {
		// The program is process 1 of its PID namespace.
		process.Env = append(process.Env, "LISTEN_FDS="+strconv.Itoa(listen), "LISTEN_PID=1")
	}
	return files, nil
}

// ownStreams gives a program coffer's standard streams.
func ownStreams(s *isolation.Streams) (err error) {
	for i, std := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if s.Stdio[i], err = duplicate(std); err != nil {
			return err
		}
	}
	return nil
}

// errConsoleSocket is for a terminal that coffer itself shows.
var errConsoleSocket = errors.New("cannot use console socket if coffer will not detach: leave --console-socket out, or add --detach")

// detachedStreams are the streams of a program that coffer does not wait for:
// its own, or a terminal whose master goes to the console socket.
func detachedStreams(s *isolation.Streams, terminal bool, consoleSocket string) error {
	switch {
	case terminal && consoleSocket == "":
		return errors.New("cannot allocate tty if coffer will detach without setting console socket: name one with --console-socket, or set process.terminal to false")
	case !terminal && consoleSocket != "":
		return errors.New("cannot use console socket if coffer will not allocate a tty: leave --console-socket out, or set process.terminal to true")
	case !terminal:
		return ownStreams(s)
	}
	var err error
	s.ConsoleSocket, err = dialConsole(consoleSocket)
	return err
}

// dialConsole connects to the socket that wants a terminal's master.
func dialConsole(path string) (*os.File, error) {
	conn, err := net.Dial("unix", path)
	var errno unix.Errno
	if errors.As(err, &errno) {
		return nil, fmt.Errorf("--console-socket %s: %w: it must be a unix socket at which somebody listens", path, errno)
	}
	if err != nil {
		return nil, fmt.Errorf("--console-socket %s: %w", path, err)
	}
	defer conn.Close()
	f, err := conn.(*net.UnixConn).File()
	if err != nil {
		return nil, fmt.Errorf("--console-socket %s: %w", path, err)
	}
	return f, nil
}
