package devpts

import (
	"strconv"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/fs/tty"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// siKernel is SI_KERNEL, the code of signals that the kernel itself sends.
const siKernel = 0x80

// Terminal is one pseudoterminal: the inode of its slave end, and what
// sessions know as their controlling terminal.
type Terminal struct {
	vfs.NoInode
	fs    *FS
	index uint32
	line  *tty.Discipline

	mu        sync.Mutex
	mode      uint32 // permission bits
	uid, gid  uint32
	times     [2]vfs.Time // access, modification
	locked    bool        // TIOCSPTLCK: the slave cannot be opened
	exclusive bool        // TIOCEXCL
	slaves    int         // open descriptions of the slave end
	closed    bool        // the master end is closed

	// hangups counts how often the terminal was taken from those who had it
	// open (vhangup(2)), so that their descriptions are dead.
	hangups atomic.Uint32
}

func makeTerminal(fs *FS, index, uid uint32) *Terminal {
	return &Terminal{
		fs: fs, index: index, line: tty.New(),
		mode: slaveMode, uid: uid, gid: ttyGroup,
		times: [2]vfs.Time{fs.super.Boot, fs.super.Boot},
	}
}

// Device implements kernel.TTY.
func (t *Terminal) Device() (major, minor uint32) { return majorSlave, t.index }

// SessionEnded implements kernel.TTY. A pseudoterminal stays usable without a
// session.
func (t *Terminal) SessionEnded() {}

// LinkName implements vfs.LinkNamer, for descriptions without a path.
func (t *Terminal) LinkName() string { return "/dev/pts/" + strconv.Itoa(int(t.index)) }

// Attr implements vfs.Inode.
func (t *Terminal) Attr() (vfs.Attr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.fs.super.Attr(uint64(t.index)+firstIno, unix.S_IFCHR|t.mode)
	a.UID, a.GID = t.uid, t.gid
	a.RdevMajor, a.RdevMinor = majorSlave, t.index
	a.Atime, a.Mtime = t.times[0], t.times[1]
	return a, nil
}

// SetAttr implements vfs.Inode.
func (t *Terminal) SetAttr(s vfs.SetAttr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.Which&vfs.SetMode != 0 {
		t.mode = s.Mode & 0o7777
	}
	if s.Which&vfs.SetUID != 0 {
		t.uid = s.UID
	}
	if s.Which&vfs.SetGID != 0 {
		t.gid = s.GID
	}
	if s.Which&vfs.SetAtime != 0 {
		t.times[0] = s.Atime
	}
	if s.Which&vfs.SetMtime != 0 {
		t.times[1] = s.Mtime
	}
	return nil
}

// Open implements vfs.Inode: it opens the slave end.
func (t *Terminal) Open(c vfs.Caller, flags uint32) (vfs.File, error) {
	t.mu.Lock()
	switch {
	case t.closed, t.locked:
		t.mu.Unlock()
		return nil, unix.EIO
	case t.exclusive && t.slaves > 0 && !c.Credentials().Can(unix.CAP_SYS_ADMIN):
		t.mu.Unlock()
		return nil, unix.EBUSY
	}
	t.mu.Unlock()
	s := t.newSlave()
	if task, ok := c.(*kernel.Task); ok && flags&unix.O_NOCTTY == 0 && flags&unix.O_ACCMODE != unix.O_WRONLY {
		// A session leader without a terminal gets this one if it is free;
		// that it does not is no error of open(2).
		if task.TTY() == nil {
			task.SetTTY(t, false)
		}
	}
	return s, nil
}

func (t *Terminal) newSlave() *slave {
	t.mu.Lock()
	t.slaves++
	first := t.slaves == 1
	t.mu.Unlock()
	if first {
		t.line.SetSlaveOpen(true)
	}
	return &slave{end: end{terminal: t}, hangups: t.hangups.Load()}
}

// slaveClosed counts a description of the slave end less.
func (t *Terminal) slaveClosed() {
	t.mu.Lock()
	t.slaves--
	last := t.slaves == 0
	if last {
		t.exclusive = false
	}
	t.mu.Unlock()
	if last {
		t.line.SetSlaveOpen(false)
	}
}

// masterClosed hangs the terminal up: its session is told, its name goes.
func (t *Terminal) masterClosed() {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.closed = true
	t.mu.Unlock()
	t.fs.remove(t)
	t.line.MasterClosed()
	t.fs.k.HangUp(t)
}

// hangUp takes the terminal from all who have it open.
func (t *Terminal) hangUp() {
	t.hangups.Add(1)
	t.line.Flush(true, true)
	t.line.Slave.Notify(waiter.All)
	t.fs.k.HangUp(t)
}

// foreground returns the foreground process group, or nil.
func (t *Terminal) foreground() *kernel.ProcessGroup {
	s := t.fs.k.TTYSession(t)
	if s == nil {
		return nil
	}
	return s.Foreground()
}

// signal sends sig to the foreground process group.
func (t *Terminal) signal(sig unix.Signal) {
	if pg := t.foreground(); pg != nil {
		pg.Signal(&abi.Siginfo{Signo: int32(sig), Code: siKernel})
	}
}

// input gives the line discipline what was typed and sends the signals that
// come of it.
func (t *Terminal) input(p []byte) int {
	n, signals := t.line.Input(p)
	if signals != 0 {
		signals.Each(t.signal)
	}
	return n
}

// setSize changes the window's size and tells the foreground group.
func (t *Terminal) setSize(w tty.Winsize) {
	if t.line.SetSize(w) {
		t.signal(unix.SIGWINCH)
	}
}
