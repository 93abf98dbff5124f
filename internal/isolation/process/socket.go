package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"coffer/internal/isolation"

	"golang.org/x/sys/unix"
)

// startSocket is the socket, in the container's own directory, on which init
// waits for Start. That it does is the record that the program has not been let
// run: the socket is closed by the execve(2) that starts it, and by nothing
// before that but init's end.
const startSocket = "start.sock"

// startAddress is the socket's address, which is bounded to 108 bytes, through
// its directory, which the caller closes.
func startAddress(stateDir string) (*os.File, *unix.SockaddrUnix, error) {
	fd, err := unix.Open(stateDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: stateDir, Err: err}
	}
	name := filepath.Join("/proc/self/fd", strconv.Itoa(fd), startSocket)
	return os.NewFile(uintptr(fd), stateDir), &unix.SockaddrUnix{Name: name}, nil
}

// bindStart makes the socket. Nobody listens yet.
func bindStart(stateDir string) (*os.File, error) {
	dir, address, err := startAddress(stateDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		if err = unix.Bind(fd, address); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("making the socket %s to wait on for start: %w", filepath.Join(stateDir, startSocket), err)
	}
	return os.NewFile(uintptr(fd), startSocket), nil
}

// errNotWaiting is returned if no init waits on the socket.
var errNotWaiting = errors.New("no container's init waits for its start")

// connectStart connects to an init that waits. It does not wait itself: if
// there are too many commands before it, it fails with unix.EAGAIN.
func connectStart(stateDir string) (channel, error) {
	dir, address, err := startAddress(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return channel{}, errNotWaiting
	}
	if err != nil {
		return channel{}, err
	}
	defer dir.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return channel{}, fmt.Errorf("creating a socket: %w", err)
	}
	err = unix.Connect(fd, address)
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		switch err {
		case unix.ECONNREFUSED, unix.ENOENT:
			return channel{}, errNotWaiting
		case unix.EAGAIN:
			return channel{}, err
		}
		return channel{}, fmt.Errorf("connecting to %s: %w", filepath.Join(stateDir, startSocket), err)
	}
	return channel{fd}, nil
}

// waitingInit finds the init that waits on the socket, whoever made it. Its PID
// is 0 if there is none.
func waitingInit(stateDir string) (isolation.PID, error) {
	c, err := connectStart(stateDir)
	if err != nil {
		if err == errNotWaiting {
			err = nil
		}
		return isolation.PID{}, err
	}
	defer c.close()
	cred, err := unix.GetsockoptUcred(c.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return isolation.PID{}, fmt.Errorf("asking who waits on %s: %w", filepath.Join(stateDir, startSocket), err)
	}
	pid, err := isolation.FindPID(int(cred.Pid))
	if errors.Is(err, fs.ErrNotExist) {
		return isolation.PID{}, nil
	}
	if err != nil {
		return isolation.PID{}, err
	}
	// If it still waits, it had the number when that was looked up; else another
	// process may have got it.
	waits, err := c.open()
	if err != nil || !waits {
		return isolation.PID{}, err
	}
	return pid, nil
}
