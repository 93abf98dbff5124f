package process

import (
	"errors"
	"fmt"
	"math"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// openTerminal opens a new terminal, makes it init's controlling terminal and
// its standard streams, and returns the master.
func (p *initProcess) openTerminal(ptmx func() (*os.File, error)) (*os.File, error) {
	process := p.todo.Spec.Process
	master, err := ptmx()
	if err != nil {
		return nil, err
	}
	if err := p.useTerminal(master, process); err != nil {
		master.Close()
		return nil, fmt.Errorf("process.terminal: %w", err)
	}
	return master, nil
}

func (p *initProcess) useTerminal(master *os.File, process *specs.Process) error {
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlocking the terminal: %w", err)
	}
	if size := process.ConsoleSize; size != nil {
		ws := unix.Winsize{Row: uint16(min(size.Height, math.MaxUint16)), Col: uint16(min(size.Width, math.MaxUint16))}
		if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &ws); err != nil {
			return fmt.Errorf("setting the terminal's size: %w", err)
		}
	}
	// By the master and not by its name: what lies below /dev/pts is up to the
	// container.
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return fmt.Errorf("opening the terminal (ioctl TIOCGPTPEER, Linux 4.13 or later): %w", errno)
	}
	slave := int(n)
	defer unix.Close(slave)
	if err := unix.IoctlSetInt(slave, unix.TIOCSCTTY, 0); err != nil {
		return fmt.Errorf("making the terminal the controlling one: %w", err)
	}
	for std := range 3 {
		if err := unix.Dup3(slave, std, 0); err != nil {
			return fmt.Errorf("making the terminal descriptor %d: %w", std, err)
		}
	}
	return nil
}

// sendTerminal hands the master of a terminal to the console socket, with its
// name as the message, as engines expect it. It came from init, and a container
// may have got hold of that.
func sendTerminal(console *os.File, files []*os.File) error {
	if len(files) != 1 {
		return errors.New("process.terminal: init has not sent the terminal")
	}
	n, err := unix.IoctlGetInt(int(files[0].Fd()), unix.TIOCGPTN)
	if err != nil {
		return fmt.Errorf("process.terminal: what init has sent is no terminal: %w", err)
	}
	name := fmt.Sprintf("/dev/pts/%d", n)
	err = ignoreEINTR(func() error {
		return unix.Sendmsg(int(console.Fd()), []byte(name), unix.UnixRights(int(files[0].Fd())), nil, unix.MSG_NOSIGNAL)
	})
	if err != nil {
		return fmt.Errorf("sending the terminal to the console socket: %w", err)
	}
	return nil
}
