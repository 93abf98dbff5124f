package kernel

import (
	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// TTY is a terminal as sessions see it. A terminal keeps no books of job
// control: who it is the controlling terminal of, and which group is in the
// foreground, is kept in the Session. Its methods are called without locks
// held. Implementations are pointers, since they are compared.
type TTY interface {
	// Device is the terminal's device number (/proc/PID/stat's tty_nr).
	Device() (major, minor uint32)
	// SessionEnded tells the terminal that its session's leader has ended or
	// given it up. The foreground group has been sent SIGHUP and SIGCONT.
	SessionEnded()
}

// Session is a set of process groups that may share a controlling terminal
// (setsid(2)). Kernel.mu guards it.
type Session struct {
	k   *Kernel
	pid *pid
	// leader is nil once it has ended.
	leader *ThreadGroup
	groups map[*ProcessGroup]struct{}
	// tty is the controlling terminal and foreground its foreground group;
	// nil if there is none.
	tty        TTY
	foreground *ProcessGroup
}

// ProcessGroup is a job (setpgid(2)). Kernel.mu guards it.
type ProcessGroup struct {
	k       *Kernel
	pid     *pid
	session *Session
	members map[*ThreadGroup]struct{}
}

// Session is the session that the group belongs to.
func (pg *ProcessGroup) Session() *Session { return pg.session }

// TTY is the session's controlling terminal, or nil.
func (s *Session) TTY() TTY {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	return s.tty
}

// Foreground is the foreground process group of the session's terminal, or nil.
func (s *Session) Foreground() *ProcessGroup {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	return s.foreground
}

// Orphaned reports whether no member has a parent in another group of the
// same session: nobody could then continue it, so it isn't stopped by the
// terminal (setpgid(2)).
func (pg *ProcessGroup) Orphaned() bool {
	pg.k.mu.Lock()
	defer pg.k.mu.Unlock()
	return pg.orphanedLocked(nil)
}

// orphanedLocked leaves out the member ignored, which is about to end.
func (pg *ProcessGroup) orphanedLocked(ignored *ThreadGroup) bool {
	for g := range pg.members {
		if g == ignored || g.zombie || g.parent == nil {
			continue
		}
		if p := g.parent.pgrp; p != nil && p != pg && p.session == pg.session {
			return false
		}
	}
	return true
}

// SetTTY makes tty the controlling terminal of the caller's session, as
// TIOCSCTTY and the first open of a terminal do; the caller's group becomes
// the foreground. EPERM if the caller leads no session or has a terminal
// already. If another session has this terminal, it is taken from it with
// steal, else EPERM.
func (t *Task) SetTTY(tty TTY, steal bool) error {
	k := t.k
	k.mu.Lock()
	g := t.group
	s := g.pgrp.session
	if s.leader != g || s.tty != nil && s.tty != tty {
		k.mu.Unlock()
		return unix.EPERM
	}
	if s.tty == tty {
		k.mu.Unlock()
		return nil
	}
	if victim := k.ttys[tty]; victim != nil {
		if !steal {
			k.mu.Unlock()
			return unix.EPERM
		}
		victim.tty, victim.foreground = nil, nil
	}
	s.tty, s.foreground = tty, g.pgrp
	k.ttys[tty] = s
	k.mu.Unlock()
	return nil
}

// DropTTY gives up the controlling terminal, as TIOCNOTTY does: for a session
// leader the whole session loses it, and the foreground group is sent SIGHUP
// and SIGCONT. ENOTTY if tty is not the controlling terminal.
func (t *Task) DropTTY(tty TTY) error {
	k := t.k
	k.mu.Lock()
	s := t.group.pgrp.session
	if s.tty != tty {
		k.mu.Unlock()
		return unix.ENOTTY
	}
	if s.leader != t.group {
		t.group.ttyGivenUp = true
		k.mu.Unlock()
		return nil
	}
	k.mu.Unlock()
	s.hangUp()
	return nil
}

// TTY is the controlling terminal of the task's session, or nil.
func (t *Task) TTY() TTY { return t.group.TTY() }

// TTY is the controlling terminal of the process, or nil.
func (g *ThreadGroup) TTY() TTY {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	if g.pgrp == nil || g.ttyGivenUp {
		return nil
	}
	return g.pgrp.session.tty
}

// TTYSession is the session that tty is the controlling terminal of, or nil
// (TIOCGSID, and whom a hang-up concerns).
func (k *Kernel) TTYSession(tty TTY) *Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ttys[tty]
}

// SetForeground makes the process group pgid the foreground one of the
// caller's controlling terminal (TIOCSPGRP). ENOTTY if tty is not that;
// ESRCH if there is no such group; EPERM if it is of another session. The
// caller has done CheckTTYChange before.
func (t *Task) SetForeground(tty TTY, pgid int32) error {
	k := t.k
	k.mu.Lock()
	defer k.mu.Unlock()
	s := t.group.pgrp.session
	if s.tty != tty || t.group.ttyGivenUp {
		return unix.ENOTTY
	}
	if pgid < 0 {
		return unix.EINVAL
	}
	p := t.PIDs().ids.get(pgid)
	if p == nil || p.pgrp == nil {
		return unix.ESRCH
	}
	if p.pgrp.session != s {
		return unix.EPERM
	}
	s.foreground = p.pgrp
	return nil
}

// CheckTTYRead says whether the task may read its terminal tty: nil in the
// foreground or when tty is not its controlling terminal; in the background
// SIGTTIN goes to the group and the answer is ERESTARTSYS, or EIO where
// the signal would do nothing (tty_check_change of POSIX job control).
func (t *Task) CheckTTYRead(tty TTY) error { return t.checkJob(tty, unix.SIGTTIN) }

// CheckTTYChange does the same with SIGTTOU for a change of the terminal's
// state, and for writing if TOSTOP is set. A task that ignores or blocks
// SIGTTOU may go on.
func (t *Task) CheckTTYChange(tty TTY) error { return t.checkJob(tty, unix.SIGTTOU) }

func (t *Task) checkJob(tty TTY, sig unix.Signal) error {
	k, g := t.k, t.group
	k.mu.Lock()
	pg := g.pgrp
	s := pg.session
	background := s.tty == tty && !g.ttyGivenUp && s.foreground != nil && s.foreground != pg
	orphaned := background && pg.orphanedLocked(nil)
	k.mu.Unlock()
	if !background {
		return nil
	}
	if t.signalIgnoredOrBlocked(int32(sig)) {
		if sig == unix.SIGTTIN {
			return unix.EIO
		}
		return nil
	}
	if orphaned {
		return unix.EIO
	}
	pg.Signal(kernelSignal(int32(sig)))
	t.markWork()
	return abi.ERESTARTSYS
}

// hangUp takes the terminal from the session and tells its foreground group.
func (s *Session) hangUp() {
	s.k.mu.Lock()
	tty, fg := s.tty, s.foreground
	s.tty, s.foreground = nil, nil
	if s.k.ttys[tty] == s {
		delete(s.k.ttys, tty)
	}
	s.k.mu.Unlock()
	if tty == nil {
		return
	}
	if fg != nil {
		fg.Signal(kernelSignal(int32(unix.SIGHUP)))
		fg.Signal(kernelSignal(int32(unix.SIGCONT)))
	}
	tty.SessionEnded()
}

// HangUp is what a terminal calls when its other end is gone: the session's
// leader is sent SIGHUP and SIGCONT, and the session loses the terminal.
func (k *Kernel) HangUp(tty TTY) {
	s := k.TTYSession(tty)
	if s == nil {
		return
	}
	k.mu.Lock()
	leader := s.leader
	k.mu.Unlock()
	if leader != nil {
		leader.Signal(kernelSignal(int32(unix.SIGHUP)))
		leader.Signal(kernelSignal(int32(unix.SIGCONT)))
	}
	s.hangUp()
}

// SetSID makes the caller's process the leader of a new session and of a new
// process group (setsid(2)). EPERM if it leads a process group.
func (g *ThreadGroup) SetSID() (int32, error) {
	k := g.k
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := g.pid; p.pgrp != nil || p.session != nil {
		return 0, unix.EPERM
	}
	g.leaveGroupLocked()
	g.ttyGivenUp = false
	k.newSessionLocked(g)
	return g.ID(), nil
}

// newSessionLocked makes g the leader of a new session and group.
func (k *Kernel) newSessionLocked(g *ThreadGroup) {
	s := &Session{k: k, pid: g.pid, leader: g, groups: make(map[*ProcessGroup]struct{})}
	g.pid.session = s
	k.newGroupLocked(g, s)
}

// newGroupLocked makes g the first member of a new group in s.
func (k *Kernel) newGroupLocked(g *ThreadGroup, s *Session) {
	pg := &ProcessGroup{k: k, pid: g.pid, session: s, members: make(map[*ThreadGroup]struct{})}
	g.pid.pgrp = pg
	s.groups[pg] = struct{}{}
	g.joinGroupLocked(pg)
}

func (g *ThreadGroup) joinGroupLocked(pg *ProcessGroup) {
	g.pgrp = pg
	pg.members[g] = struct{}{}
}

// leaveGroupLocked takes g out of its group; an empty group and an empty
// session end, and free their numbers.
func (g *ThreadGroup) leaveGroupLocked() {
	pg := g.pgrp
	if pg == nil {
		return
	}
	g.pgrp = nil
	delete(pg.members, g)
	if len(pg.members) > 0 {
		return
	}
	s := pg.session
	delete(s.groups, pg)
	if s.foreground == pg {
		s.foreground = nil
	}
	pg.pid.pgrp = nil
	pg.pid.release()
	if len(s.groups) == 0 {
		if g.k.ttys[s.tty] == s {
			delete(g.k.ttys, s.tty)
		}
		s.pid.session = nil
		s.pid.release()
	}
}

// SetPGID moves the process pid (0: the caller's) to the process group pgid
// (0: its own number), as setpgid(2) with its errors.
func (g *ThreadGroup) SetPGID(pid, pgid int32) error {
	if pgid < 0 || pid < 0 {
		return unix.EINVAL
	}
	k := g.k
	k.mu.Lock()
	defer k.mu.Unlock()
	ns, target := g.PIDs(), g
	if pid != 0 && pid != g.ID() {
		target = ns.threadGroupLocked(pid)
		if target == nil || target.parent != g {
			return unix.ESRCH
		}
		if target.pgrp.session != g.pgrp.session {
			return unix.EPERM
		}
		if target.execed {
			return unix.EACCES
		}
	}
	s := target.pgrp.session
	if s.leader == target {
		return unix.EPERM
	}
	if pgid == 0 {
		pgid = target.IDIn(ns)
	}
	if target.pgrp.IDIn(ns) == pgid {
		return nil
	}
	if pgid == target.IDIn(ns) {
		p := target.pid
		if p.pgrp != nil {
			if p.pgrp.session != s {
				return unix.EPERM
			}
			target.moveGroupLocked(p.pgrp)
			return nil
		}
		// The session must outlive the move, so join before leaving.
		old := target.pgrp
		delete(old.members, target)
		k.newGroupLocked(target, s)
		target.dropEmptyLocked(old)
		return nil
	}
	p := ns.ids.get(pgid)
	if p == nil || p.pgrp == nil || p.pgrp.session != g.pgrp.session {
		return unix.EPERM
	}
	target.moveGroupLocked(p.pgrp)
	return nil
}

func (g *ThreadGroup) moveGroupLocked(pg *ProcessGroup) {
	old := g.pgrp
	delete(old.members, g)
	g.joinGroupLocked(pg)
	g.dropEmptyLocked(old)
}

// dropEmptyLocked ends the group old if its last member has moved away within
// the session.
func (g *ThreadGroup) dropEmptyLocked(old *ProcessGroup) {
	if len(old.members) > 0 {
		return
	}
	s := old.session
	delete(s.groups, old)
	if s.foreground == old {
		s.foreground = nil
	}
	if old.pid.pgrp == old {
		old.pid.pgrp = nil
		old.pid.release()
	}
}
