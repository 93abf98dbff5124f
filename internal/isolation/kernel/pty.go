package kernel

import (
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// pty is a pseudoterminal of the host's. Its master is the user's, the slave is
// relayed to a terminal of the sandbox's own, whose kernel has the line
// discipline: the host's does nothing.
type pty struct {
	master, slave *os.File
	name          string
}

// openPTY makes a pseudoterminal of a size, or of an unknown one.
func openPTY(size *specs.Box) (_ *pty, err error) {
	p := new(pty)
	defer func() {
		if err != nil {
			p.close()
			err = fmt.Errorf("making a terminal: %w", err)
		}
	}()
	if p.master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	fd := int(p.master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlocking it: %w", err)
	}
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, fmt.Errorf("finding its number: %w", err)
	}
	p.name = "/dev/pts/" + strconv.Itoa(int(n))
	// By the master, since a name may mean another terminal in other mounts.
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, fmt.Errorf("opening its other end: %w", errno)
	}
	p.slave = os.NewFile(slave, p.name)
	if _, err := term.MakeRaw(int(slave)); err != nil {
		return nil, fmt.Errorf("setting its modes: %w", err)
	}
	if size != nil {
		w := unix.Winsize{Row: uint16(size.Height), Col: uint16(size.Width)}
		if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &w); err != nil {
			return nil, fmt.Errorf("setting its size: %w", err)
		}
	}
	// The sentry's filter does not let it do this.
	return p, unix.SetNonblock(int(slave), true)
}

// send gives the master to who asked for a terminal.
func (p *pty) send(to *os.File) error {
	rights := unix.UnixRights(int(p.master.Fd()))
	if err := unix.Sendmsg(int(to.Fd()), []byte(p.name), rights, nil, 0); err != nil {
		return fmt.Errorf("sending the terminal to the console socket: %w", err)
	}
	return nil
}

func (p *pty) close() {
	if p == nil {
		return
	}
	for _, f := range []*os.File{p.master, p.slave} {
		if f != nil {
			f.Close()
		}
	}
}
