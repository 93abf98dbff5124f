package process

import (
	"errors"
	"fmt"
	"os"

	"coffer/internal/console"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// openTerminal opens a new terminal, makes it init's controlling terminal, unless the
// program is to have it, and its standard streams, and returns the master.
func (p *initProcess) openTerminal(ptmx func() (*os.File, error)) (*os.File, error) {
	process := p.spec.Process
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
	if err := console.SetSize(master, process.ConsoleSize); err != nil {
		return err
	}
	slave, err := console.Slave(master)
	if err != nil {
		return err
	}
	defer slave.Close()
	fd := int(slave.Fd())
	if !p.todo.Reap { // else the program's process does
		if err := unix.IoctlSetInt(fd, unix.TIOCSCTTY, 0); err != nil {
			return fmt.Errorf("making the terminal the controlling one: %w", err)
		}
	}
	for std := range 3 {
		if err := unix.Dup3(fd, std, 0); err != nil {
			return fmt.Errorf("making the terminal descriptor %d: %w", std, err)
		}
	}
	return nil
}

// sendTerminal hands the master of a terminal to the console socket. It came from
// init, and a container may have got hold of that.
func sendTerminal(socket *os.File, files []*os.File) error {
	if len(files) != 1 {
		return errors.New("process.terminal: init has not sent the terminal")
	}
	if err := console.Send(socket, files[0]); err != nil {
		return fmt.Errorf("process.terminal: %w", err)
	}
	return nil
}
