package devpts

import (
	"coffer/internal/sentry/fs/tty"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// end is what descriptions of both ends share.
type end struct {
	vfs.NoFile
	terminal *Terminal
	desc     *vfs.FileDescription
}

// SetDescription implements vfs.DescriptionSetter.
func (e *end) SetDescription(d *vfs.FileDescription) { e.desc = d }

func (e *end) nonblocking() bool { return e.desc != nil && e.desc.Nonblocking() }

// openMaster makes a pair and opens its master end (open(2) of /dev/ptmx).
func (fs *FS) openMaster(c vfs.Caller) (vfs.File, error) {
	t, err := fs.newTerminal(c.Credentials().FSUID, true)
	if err != nil {
		return nil, err
	}
	return &master{end: end{terminal: t}}, nil
}

// master is an open description of the master end.
type master struct{ end }

func (m *master) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	return m.terminal.line.ReadMaster(p)
}

func (m *master) Write(_ vfs.Caller, p []byte, _ int64, _ uint32) (int, int64, error) {
	if len(p) == 0 {
		return 0, 0, nil
	}
	n := m.terminal.input(p)
	if n == 0 {
		return 0, 0, unix.EAGAIN
	}
	return n, 0, nil
}

func (m *master) Release() { m.terminal.masterClosed() }

func (m *master) Readiness(mask waiter.Mask) waiter.Mask {
	return m.terminal.line.MasterReadiness(mask)
}
func (m *master) Register(e *waiter.Entry)   { m.terminal.line.Master.Register(e) }
func (m *master) Unregister(e *waiter.Entry) { m.terminal.line.Master.Unregister(e) }

// slave is an open description of the slave end: the terminal as programs
// use it.
type slave struct {
	end
	// hangups is the terminal's count at the time of opening.
	hangups uint32
}

// dead reports whether the terminal was hung up since it was opened.
func (s *slave) dead() bool {
	return s.hangups != s.terminal.hangups.Load() || s.terminal.line.HungUp()
}

func (s *slave) Read(c vfs.Caller, p []byte, _ int64) (int, error) {
	if s.dead() {
		return 0, nil
	}
	if t, ok := c.(*kernel.Task); ok {
		if err := t.CheckTTYRead(s.terminal); err != nil {
			return 0, err
		}
	}
	return s.terminal.line.ReadSlave(p, !s.nonblocking())
}

func (s *slave) Write(c vfs.Caller, p []byte, _ int64, _ uint32) (int, int64, error) {
	line := s.terminal.line
	if s.dead() {
		return 0, 0, unix.EIO
	}
	if t, ok := c.(*kernel.Task); ok && line.StopsBackgroundOutput() {
		if err := t.CheckTTYChange(s.terminal); err != nil {
			return 0, 0, err
		}
	}
	if len(p) == 0 {
		return 0, 0, nil
	}
	n := line.Output(p)
	if n == 0 {
		return 0, 0, unix.EAGAIN
	}
	return n, 0, nil
}

func (s *slave) Release() { s.terminal.slaveClosed() }

func (s *slave) Readiness(mask waiter.Mask) waiter.Mask {
	if s.dead() {
		return mask & tty.HungUpReadiness
	}
	return s.terminal.line.SlaveReadiness(mask)
}

func (s *slave) Register(e *waiter.Entry)   { s.terminal.line.Slave.Register(e) }
func (s *slave) Unregister(e *waiter.Entry) { s.terminal.line.Slave.Unregister(e) }
