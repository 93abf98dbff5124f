package syscalls

import (
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
)

// scmPIDFD is SCM_PIDFD (linux/socket.h).
const scmPIDFD = 4

// copyInControl reads the control messages of a send into m. The references
// in m.Rights are the caller's, also after an error.
func copyInControl(t *kernel.Task, addr, length uint64, m *socket.Message) error {
	if length > socket.MaxControl {
		return unix.ENOBUFS
	}
	raw := make([]byte, length)
	if _, err := t.CopyIn(addr, raw); err != nil {
		return err
	}
	list, err := socket.ParseControl(raw)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Level != unix.SOL_SOCKET {
			m.Control = append(m.Control, c)
			continue
		}
		switch c.Type {
		case unix.SCM_RIGHTS:
			err = takeRights(t, c, m)
		case unix.SCM_CREDENTIALS:
			m.Creds, m.Sender, err = checkCredentials(t, c)
			m.HasCreds = true
		default:
			m.Control = append(m.Control, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeRights adds the descriptions that an SCM_RIGHTS message names to m.
func takeRights(t *kernel.Task, c socket.ControlMessage, m *socket.Message) error {
	fds, err := c.Rights()
	if err != nil {
		return err
	}
	if len(m.Rights)+len(fds) > socket.MaxRights {
		return unix.EINVAL
	}
	for _, fd := range fds {
		d, err := t.File(fd)
		if err != nil {
			return err
		}
		m.Rights = append(m.Rights, d)
	}
	return nil
}

// checkCredentials reads the credentials that a sender claims, and finds their process. EPERM if they
// are neither its own nor may it claim others (unix(7)).
func checkCredentials(t *kernel.Task, c socket.ControlMessage) (socket.Ucred, socket.Process, error) {
	u, err := c.Credentials()
	if err != nil {
		return u, nil, err
	}
	own := t.Credentials()
	process := t.PIDs().ThreadGroup(u.PID)
	self := u.PID == t.PID()
	u.UID, u.GID = own.UserNS.ToUID(u.UID), own.UserNS.ToGID(u.GID)
	switch {
	case u.UID == auth.NoID || u.GID == auth.NoID:
		return u, nil, unix.EINVAL
	case !self && !own.CanIn(t.PIDs().Owner(), unix.CAP_SYS_ADMIN),
		u.UID != own.RUID && u.UID != own.EUID && u.UID != own.SUID && !own.CanHere(unix.CAP_SETUID),
		u.GID != own.RGID && u.GID != own.EGID && u.GID != own.SGID && !own.CanHere(unix.CAP_SETGID):
		return u, nil, unix.EPERM
	case process == nil:
		return u, nil, unix.ESRCH
	}
	u.PID = process.IDIn(t.Kernel().PIDs())
	return u, process, nil
}

// copyOutControl gives the receiver what came with the bytes: descriptors for
// as many of the descriptions as there is room for in its buffer and table.
// It returns how much of the buffer was filled, and whether something is
// missing from it. Where nothing can be written the receiver has the bytes alone.
func (x *exchange) copyOutControl(t *kernel.Task, addr, room uint64) (n uint64, truncated bool, err error) {
	b := socket.ControlBuilder{Room: int(min(room, socket.MaxControl))}
	var installed []int32
	if x.m.HasCreds {
		b.Add(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, t.ShownCredentials(x.m.Creds).Bytes())
	}
	for _, c := range x.m.Control {
		b.Add(c.Level, c.Type, c.Data)
	}
	if len(x.m.Rights) > 0 {
		fit := min(b.Space()/4, len(x.m.Rights))
		fds := make([]byte, 0, 4*fit)
		for _, d := range x.m.Rights[:fit] {
			fd, err := t.FDs().Install(d, 0, t.Limit(unix.RLIMIT_NOFILE), x.flags&unix.MSG_CMSG_CLOEXEC != 0)
			if err != nil {
				break
			}
			installed = append(installed, fd)
			fds = le.AppendUint32(fds, uint32(fd))
		}
		if len(fds) > 0 {
			b.Add(unix.SOL_SOCKET, unix.SCM_RIGHTS, fds)
		}
		b.Truncated = b.Truncated || len(fds) < 4*len(x.m.Rights)
	}
	if x.m.Sender != nil {
		b.Truncated = b.Truncated || b.Space() < 4
		if b.Space() >= 4 {
			fd, err := t.InstallPIDFD(x.m.Sender, 0)
			if errno, ok := err.(unix.Errno); ok {
				fd = -int32(errno) // which the receiver gets instead, as on Linux
			} else {
				installed = append(installed, fd)
			}
			b.Add(unix.SOL_SOCKET, scmPIDFD, le.AppendUint32(nil, uint32(fd)))
		}
	}
	if len(installed) > 0 {
		// The receiver has no descriptors that it has not been told of; the bytes it has all the same.
		if _, err := t.CopyOut(addr, b.Buf); err != nil {
			for _, fd := range installed {
				uninstall(t, fd)
			}
			return 0, b.Truncated || len(x.m.Rights) > 0, nil
		}
	} else if len(b.Buf) > 0 {
		if t.MM().CheckRange(addr, uint64(len(b.Buf)), true) != nil {
			return 0, b.Truncated, nil
		}
		if err := x.copyOut(t, addr, b.Buf); err != nil {
			return 0, false, err
		}
	}
	return uint64(len(b.Buf)), b.Truncated, nil
}
