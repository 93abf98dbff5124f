package devpts

import (
	"encoding/binary"

	"coffer/internal/sentry/fs/tty"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Commands that golang.org/x/sys/unix has no name for.
const (
	tcgets2  = 0x802c542a
	tcsets2  = 0x402c542b
	tcsetsw2 = 0x402c542c
	tcsetsf2 = 0x402c542d
)

// changesState says which commands a background process may not do: they
// send it SIGTTOU (tty_check_change in POSIX's words).
func changesState(cmd uint32) bool {
	switch cmd {
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF, tcsets2, tcsetsw2, tcsetsf2,
		unix.TCSETA, unix.TCSETAW, unix.TCSETAF, unix.TCSBRK, unix.TCSBRKP, unix.TIOCSBRK, unix.TIOCCBRK,
		unix.TCXONC, unix.TCFLSH, unix.TIOCSPGRP, unix.TIOCSETD:
		return true
	}
	return false
}

// Ioctl implements vfs.File.
func (m *master) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	t := m.terminal
	switch cmd {
	case unix.TIOCGPTN:
		return 0, putInt(c, arg, t.index)
	case unix.TIOCSPTLCK:
		v, err := getInt(c, arg)
		if err == nil {
			t.mu.Lock()
			t.locked = v != 0
			t.mu.Unlock()
		}
		return 0, err
	case unix.TIOCGPTLCK:
		t.mu.Lock()
		locked := t.locked
		t.mu.Unlock()
		return 0, putBool(c, arg, locked)
	case unix.TIOCPKT:
		v, err := getInt(c, arg)
		if err == nil {
			t.line.SetPacket(v != 0)
		}
		return 0, err
	case unix.TIOCGPKT:
		return 0, putBool(c, arg, t.line.Packet())
	case unix.TIOCGPTPEER:
		return t.openPeer(c, uint32(arg))
	case unix.TIOCSIG:
		return 0, t.sendSignal(arg)
	case unix.TIOCGPGRP:
		return 0, putInt(c, arg, uint32(groupID(c, t.foreground())))
	case unix.TIOCINQ:
		_, n := t.line.Queued()
		return 0, putInt(c, arg, uint32(n))
	case unix.TCFLSH:
		// Seen from the master, input is what programs wrote.
		if arg > unix.TCIOFLUSH {
			return 0, unix.EINVAL
		}
		t.line.Flush(arg != unix.TCIFLUSH, arg != unix.TCOFLUSH)
		return 0, nil
	}
	return t.ioctl(c, cmd, arg)
}

// Ioctl implements vfs.File.
func (s *slave) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	t := s.terminal
	if s.dead() {
		if cmd == unix.TIOCSPGRP {
			return 0, unix.ENOTTY
		}
		return 0, unix.EIO
	}
	task, _ := c.(*kernel.Task)
	if task != nil && changesState(cmd) {
		if err := task.CheckTTYChange(t); err != nil {
			return 0, err
		}
	}
	switch cmd {
	case unix.TIOCGPGRP:
		if task == nil || task.TTY() != kernel.TTY(t) {
			return 0, unix.ENOTTY
		}
		return 0, putInt(c, arg, uint32(groupID(c, t.foreground())))
	case unix.TIOCNOTTY:
		if task == nil || task.TTY() != kernel.TTY(t) {
			return 0, unix.ENOTTY
		}
		return 0, task.DropTTY(t)
	case unix.TIOCINQ:
		n, _ := t.line.Queued()
		return 0, putInt(c, arg, uint32(n))
	case unix.TCFLSH:
		if arg > unix.TCIOFLUSH {
			return 0, unix.EINVAL
		}
		t.line.Flush(arg != unix.TCOFLUSH, arg != unix.TCIFLUSH)
		return 0, nil
	case unix.TIOCSTI:
		return 0, t.insert(c, task, arg)
	case unix.TIOCVHANGUP:
		if !c.Credentials().Can(unix.CAP_SYS_ADMIN) {
			return 0, unix.EPERM
		}
		t.hangUp()
		return 0, nil
	}
	return t.ioctl(c, cmd, arg)
}

// ioctl answers what is the same at both ends.
func (t *Terminal) ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	switch cmd {
	case unix.TCGETS, tcgets2, unix.TCGETA:
		return 0, t.getModes(c, cmd, arg)
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF, tcsets2, tcsetsw2, tcsetsf2,
		unix.TCSETA, unix.TCSETAW, unix.TCSETAF:
		return 0, t.setModes(c, cmd, arg)
	case unix.TIOCGWINSZ:
		var b [tty.WinsizeSize]byte
		t.line.Size().Put(b[:])
		return 0, copyOut(c, arg, b[:])
	case unix.TIOCSWINSZ:
		var b [tty.WinsizeSize]byte
		if err := copyIn(c, arg, b[:]); err != nil {
			return 0, err
		}
		t.setSize(tty.WinsizeOf(b[:]))
		return 0, nil
	case unix.TIOCSPGRP, unix.TIOCSCTTY, unix.TIOCGSID:
		task, ok := c.(*kernel.Task)
		if !ok {
			return 0, unix.ENOTTY
		}
		return 0, t.jobIoctl(task, cmd, arg)
	case unix.TIOCOUTQ:
		// What was written is with the master already.
		return 0, putInt(c, arg, 0)
	case unix.TCSBRK, unix.TCSBRKP, unix.TIOCSBRK, unix.TIOCCBRK:
		return 0, nil // no line to break, nothing to drain
	case unix.TCXONC:
		switch arg {
		case unix.TCOOFF, unix.TCOON:
			t.line.Flow(arg == unix.TCOOFF)
		case unix.TCIOFF, unix.TCION:
			t.line.SendFlowByte(arg == unix.TCIOFF)
		default:
			return 0, unix.EINVAL
		}
		return 0, nil
	case unix.TIOCEXCL, unix.TIOCNXCL:
		t.mu.Lock()
		t.exclusive = cmd == unix.TIOCEXCL
		t.mu.Unlock()
		return 0, nil
	case unix.TIOCGEXCL:
		t.mu.Lock()
		exclusive := t.exclusive
		t.mu.Unlock()
		return 0, putBool(c, arg, exclusive)
	case unix.TIOCGETD:
		return 0, putInt(c, arg, 0) // N_TTY
	case unix.TIOCSETD:
		v, err := getInt(c, arg)
		if err == nil && v != 0 {
			err = unix.EINVAL
		}
		return 0, err
	case unix.TIOCGDEV:
		return 0, putInt(c, arg, uint32(unix.Mkdev(majorSlave, t.index)))
	}
	return 0, unix.ENOTTY
}

// jobIoctl answers the ioctls of sessions and foreground groups.
func (t *Terminal) jobIoctl(task *kernel.Task, cmd uint32, arg uint64) error {
	switch cmd {
	case unix.TIOCSPGRP:
		v, err := getInt(task, arg)
		if err != nil {
			return err
		}
		return task.SetForeground(t, int32(v))
	case unix.TIOCSCTTY:
		return task.SetTTY(t, arg == 1 && task.Credentials().Can(unix.CAP_SYS_ADMIN))
	default: // TIOCGSID
		s := t.fs.k.TTYSession(t)
		if s == nil {
			return unix.ENOTTY
		}
		return putInt(task, arg, uint32(s.IDIn(task.PIDs())))
	}
}

// groupID is the number by which c knows a process group, 0 for none.
func groupID(c vfs.Caller, pg *kernel.ProcessGroup) int32 {
	if task, ok := c.(*kernel.Task); ok {
		return pg.IDIn(task.PIDs())
	}
	return 0
}

// insert is TIOCSTI, which modern systems allow only to the administrator.
func (t *Terminal) insert(c vfs.Caller, task *kernel.Task, arg uint64) error {
	if !c.Credentials().Can(unix.CAP_SYS_ADMIN) {
		return unix.EIO
	}
	var b [1]byte
	if err := copyIn(c, arg, b[:]); err != nil {
		return err
	}
	t.input(b[:])
	return nil
}

// sendSignal is TIOCSIG: the master makes one of the keyboard's signals.
func (t *Terminal) sendSignal(arg uint64) error {
	switch sig := unix.Signal(arg); sig {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP:
		t.signal(sig)
		return nil
	}
	return unix.EINVAL
}

// openPeer is TIOCGPTPEER: it opens the slave end without a path.
func (t *Terminal) openPeer(c vfs.Caller, flags uint32) (uintptr, error) {
	task, ok := c.(*kernel.Task)
	if !ok {
		return 0, unix.EIO
	}
	f, err := t.Open(c, flags)
	if err != nil {
		return 0, err
	}
	d := vfs.NewDescription(f, t, vfs.Path{}, flags)
	defer d.DecRef()
	fd, err := task.FDs().Install(d, 0, task.Limit(unix.RLIMIT_NOFILE), flags&unix.O_CLOEXEC != 0)
	return uintptr(fd), err
}

func (t *Terminal) getModes(c vfs.Caller, cmd uint32, arg uint64) error {
	modes := t.line.Termios()
	var b [tty.Termios2Size]byte
	switch cmd {
	case unix.TCGETA:
		modes.PutTermio(b[:])
		return copyOut(c, arg, b[:tty.TermioSize])
	case unix.TCGETS:
		modes.Put(b[:tty.TermiosSize])
		return copyOut(c, arg, b[:tty.TermiosSize])
	}
	modes.Put(b[:])
	return copyOut(c, arg, b[:])
}

func (t *Terminal) setModes(c vfs.Caller, cmd uint32, arg uint64) error {
	size := tty.TermiosSize
	switch cmd {
	case unix.TCSETA, unix.TCSETAW, unix.TCSETAF:
		size = tty.TermioSize
	case tcsets2, tcsetsw2, tcsetsf2:
		size = tty.Termios2Size
	}
	var b [tty.Termios2Size]byte
	if err := copyIn(c, arg, b[:size]); err != nil {
		return err
	}
	flush := cmd == unix.TCSETSF || cmd == tcsetsf2 || cmd == unix.TCSETAF
	t.line.SetTermios(flush, func(m *tty.Termios) {
		if size == tty.TermioSize {
			m.GetTermio(b[:size])
		} else {
			m.Get(b[:size])
		}
	})
	return nil
}

func copyIn(c vfs.Caller, addr uint64, b []byte) error {
	_, err := c.CopyIn(addr, b)
	return err
}

func copyOut(c vfs.Caller, addr uint64, b []byte) error {
	_, err := c.CopyOut(addr, b)
	return err
}

func getInt(c vfs.Caller, addr uint64) (uint32, error) {
	var b [4]byte
	err := copyIn(c, addr, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

func putInt(c vfs.Caller, addr uint64, v uint32) error {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	return copyOut(c, addr, b[:])
}

func putBool(c vfs.Caller, addr uint64, v bool) error {
	if v {
		return putInt(c, addr, 1)
	}
	return putInt(c, addr, 0)
}
