package kernel

import (
	"fmt"
	"os"

	"coffer/internal/console"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// pty is a pseudoterminal of the host's. Its master is the user's, the slave is
// relayed to a terminal of the sandbox's own, whose kernel has the line
// discipline: the host's does nothing.
type pty struct {
	master, slave *os.File
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
	if p.slave, err = console.Slave(p.master); err != nil {
		return nil, err
	}
	slave := int(p.slave.Fd())
	if _, err := term.MakeRaw(slave); err != nil {
		return nil, fmt.Errorf("setting its modes: %w", err)
	}
	if err := console.SetSize(p.master, size); err != nil {
		return nil, err
	}
	// The sentry's filter does not let it do this.
	return p, unix.SetNonblock(slave, true)
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
