package procfs

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// subject is whom a directory is about: a process, or one thread of it.
type subject struct {
	// pids is the namespace that numbers it.
	pids  *kernel.PIDNamespace
	group *kernel.ThreadGroup
	// of is the thread's number, 0 for the process as a whole.
	of int32
}

// alive reports whether the process, or the thread, still has its number.
func (s subject) alive() bool {
	g := s.group
	id := g.IDIn(s.pids)
	if s.pids.ThreadGroup(id) != g {
		return false
	}
	return s.of == 0 || s.of == id || s.thread() != nil
}

// thread is the thread that of numbers, or nil.
func (s subject) thread() *kernel.Task {
	t := s.pids.Task(s.of)
	if t == nil || t.ThreadGroup() != s.group {
		return nil
	}
	return t
}

// task is the thread to ask: the one that the subject names, or for a process
// one that lives, or the leader that has ended. ESRCH if it is gone.
func (s subject) task() (*kernel.Task, error) {
	if !s.alive() {
		return nil, unix.ESRCH
	}
	if s.of != 0 {
		if t := s.thread(); t != nil {
			return t, nil
		}
	} else if t := s.group.Representative(); t != nil {
		return t, nil
	}
	if t := s.group.Leader(); t != nil {
		return t, nil
	}
	return nil, unix.ESRCH
}

// id is the number that the directory is called.
func (s subject) id() int32 {
	if s.of != 0 {
		return s.of
	}
	return s.group.IDIn(s.pids)
}

// memory is the subject's address space, nil for one that has ended.
func (s subject) memory() (*mm.MemoryManager, error) {
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	m, _, _ := t.Resources()
	return m, nil
}

// owner is who the files belong to: the effective user, or root if the
// process is not dumpable.
func (s subject) owner() (uid, gid uint32) {
	t, err := s.task()
	if err != nil {
		return 0, 0
	}
	if m, _, _ := t.Resources(); m != nil && m.Dumpable() != 1 {
		return 0, 0
	}
	return s.user()
}

// user is the effective user and group.
func (s subject) user() (uid, gid uint32) {
	t, err := s.task()
	if err != nil {
		return 0, 0
	}
	c := t.Credentials()
	return c.EUID, c.EGID
}

// mayLook checks that c may look into the subject's memory and files, as
// ptrace(2), "Ptrace access mode checking", tells for PTRACE_MODE_READ_FSCREDS.
// EACCES if not.
func (s subject) mayLook(c vfs.Caller) error {
	t, err := s.task()
	if err != nil {
		return err
	}
	if caller := taskOf(c); caller != nil && caller.ThreadGroup() == s.group {
		return nil
	}
	cred, other := c.Credentials(), t.Credentials()
	u, g := cred.FSUID, cred.FSGID
	same := u == other.EUID && u == other.SUID && u == other.RUID && g == other.EGID && g == other.SGID && g == other.RGID
	if !same && !cred.CanIn(other.UserNS, unix.CAP_SYS_PTRACE) || !kernel.MayLookInto(cred, t) {
		return unix.EACCES
	}
	return nil
}
