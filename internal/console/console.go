// Package console has what every wall does with a pseudoterminal of the host's
// (pty(7)) that a program is to have: finding its other end, setting its size, and
// handing its master over a console socket to whoever is to have it.
//
// It must not know whose terminal it is, nor what passes through it.
package console

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"

	"coffer/internal/scm"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Slave unlocks a terminal and opens its other end. It goes by the master and not
// by a name, which may mean another terminal in other mounts.
func Slave(master *os.File) (*os.File, error) {
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlocking the terminal: %w", err)
	}
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, fmt.Errorf("opening the terminal's other end (ioctl TIOCGPTPEER, Linux 4.13 or later): %w", errno)
	}
	return os.NewFile(slave, "terminal"), nil
}

// Size is a size of a specification as Linux has it, in rows and columns of
// characters. None is 0 by 0, an unknown size.
func Size(box *specs.Box) unix.Winsize {
	if box == nil {
		return unix.Winsize{}
	}
	return unix.Winsize{Row: uint16(min(box.Height, math.MaxUint16)), Col: uint16(min(box.Width, math.MaxUint16))}
}

// SetSize gives a terminal a size, if there is one.
func SetSize(master *os.File, box *specs.Box) error {
	if box == nil {
		return nil
	}
	size := Size(box)
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &size); err != nil {
		return fmt.Errorf("setting the terminal's size: %w", err)
	}
	return nil
}

// Send hands the master of a terminal to a console socket, with the terminal's name
// as the message, as engines expect it. It fails if master is something else.
func Send(socket, master *os.File) error {
	n, err := unix.IoctlGetUint32(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return fmt.Errorf("sending a terminal to the console socket: it is none: %w", err)
	}
	name := "/dev/pts/" + strconv.FormatUint(uint64(n), 10)
	rights := unix.UnixRights(int(master.Fd()))
	for {
		err = unix.Sendmsg(int(socket.Fd()), []byte(name), rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("sending the terminal to the console socket: %w", err)
	}
	return nil
}

// ErrNoMaster is returned by Receive where the other side has gone, or has sent
// something else.
var ErrNoMaster = errors.New("the master of the terminal did not come")

// Receive is the other side of Send. The caller closes the master.
func Receive(socket *os.File) (*os.File, error) {
	name, control := make([]byte, unix.PathMax), make([]byte, scm.Space(1))
	for {
		n, controlled, _, _, err := unix.Recvmsg(int(socket.Fd()), name, control, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receiving the terminal: %w", err)
		}
		fds, err := scm.Descriptors(control[:controlled])
		if err == nil && len(fds) == 1 {
			return os.NewFile(uintptr(fds[0]), string(name[:n])), nil
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, errors.Join(ErrNoMaster, err)
	}
}
