package kernel

import (
	"testing"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

func TestProcessGroups(t *testing.T) {
	init := newFakeTask(t, Config{})
	shell := child(t, init)
	if _, err := shell.group.SetSID(); err != nil {
		t.Fatal(err)
	}
	job, other := child(t, shell), child(t, shell)
	foreign := child(t, init)
	foreign.group.execed = true

	tests := []struct {
		name      string
		by        *Task
		pid, pgid int32
		want      error
	}{
		{"negative group", shell, 0, -1, unix.EINVAL},
		{"no such process", shell, 4000, 0, unix.ESRCH},
		{"not a child", shell, foreign.PID(), 0, unix.ESRCH},
		{"child that has run execve", init, foreign.PID(), 0, unix.EACCES},
		{"session leader", shell, 0, 0, unix.EPERM},
		{"child in another session", init, shell.PID(), 0, unix.EPERM},
		{"no such group", shell, job.PID(), other.PID(), unix.EPERM},
		{"new group", shell, job.PID(), job.PID(), nil},
		{"group of the session", shell, other.PID(), job.PID(), nil},
		{"again", shell, other.PID(), job.PID(), nil},
		{"group of another session", other, 0, init.PID(), unix.EPERM},
		{"own new group", other, 0, 0, nil},
	}
	for _, tt := range tests {
		if err := tt.by.group.SetPGID(tt.pid, tt.pgid); err != tt.want && (err != nil || tt.want != nil) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := job.group.SetSID(); err != unix.EPERM {
		t.Errorf("setsid of a group leader: %v", err)
	}
	if n := len(job.group.ProcessGroup().members); n != 1 {
		t.Errorf("the job has %d members", n)
	}
}

// screen is a terminal.
type screen struct{ ended int }

func (*screen) Device() (major, minor uint32) { return 136, 0 }
func (s *screen) SessionEnded()               { s.ended++ }

func TestControllingTerminal(t *testing.T) {
	init := newFakeTask(t, Config{})
	shell := child(t, init)
	tty := new(screen)
	if err := shell.SetTTY(tty, false); err != unix.EPERM {
		t.Errorf("TIOCSCTTY without a session: %v", err)
	}
	shell.group.SetSID()
	if err := shell.SetTTY(tty, false); err != nil {
		t.Fatal(err)
	}
	if err := init.SetTTY(tty, false); err != unix.EPERM {
		t.Errorf("stealing: %v", err)
	}
	job := child(t, shell)
	shell.group.SetPGID(job.PID(), job.PID())
	if err := shell.CheckTTYRead(tty); err != nil {
		t.Errorf("read in the foreground: %v", err)
	}
	if err := job.CheckTTYRead(tty); err != abi.ERESTARTSYS || !job.PendingSignals().Has(int32(unix.SIGTTIN)) {
		t.Errorf("read in the background: %v, pending %#x", err, job.PendingSignals())
	}
	job.SetSignalMask(abi.SetOf(unix.SIGTTOU, unix.SIGTTIN))
	if err := job.CheckTTYRead(tty); err != unix.EIO {
		t.Errorf("read in the background with SIGTTIN blocked: %v", err)
	}
	if err := job.CheckTTYChange(tty); err != nil {
		t.Errorf("change in the background with SIGTTOU blocked: %v", err)
	}
	if err := shell.SetForeground(tty, job.PID()); err != nil {
		t.Error(err)
	}
	if err := shell.SetForeground(tty, init.PID()); err != unix.EPERM {
		t.Errorf("foreground of another session: %v", err)
	}
	shell.Discard()
	if tty.ended != 1 {
		t.Errorf("the terminal was told %d times", tty.ended)
	}
	if job.TTY() != nil || !job.killed {
		t.Errorf("after the leader's end: terminal %v, killed by SIGHUP %v", job.TTY(), job.killed)
	}
	if job.group.Parent() != init.group {
		t.Error("the orphan did not go to PID 1")
	}
}

func TestWait(t *testing.T) {
	init := newFakeTask(t, Config{})
	wait := func(w WaitSelector) (WaitResult, error) {
		w.Options |= WNOHANG
		return init.WaitChild(&w)
	}
	if _, err := wait(WaitSelector{Options: WEXITED}); err != unix.ECHILD {
		t.Errorf("without children: %v", err)
	}
	a, b := child(t, init), child(t, init)
	if res, err := wait(WaitSelector{Options: WEXITED}); err != nil || res.PID != 0 {
		t.Errorf("nothing to report: %v, %v", res, err)
	}
	b.exitCode = Exited(3)
	b.exit()
	a.group.Kill()
	a.exit()
	for _, tt := range []struct {
		name string
		w    WaitSelector
		pid  int32
		wait uint32
	}{
		{"the oldest, kept", WaitSelector{Options: WEXITED | WNOWAIT}, a.PID(), uint32(unix.SIGKILL)},
		{"one of them", WaitSelector{PID: b.PID(), Options: WEXITED}, b.PID(), 3 << 8},
		{"the other", WaitSelector{Options: WEXITED}, a.PID(), uint32(unix.SIGKILL)},
	} {
		res, err := wait(tt.w)
		if err != nil || res.PID != tt.pid || res.Wait != tt.wait {
			t.Errorf("%s: %+v, %v", tt.name, res, err)
		}
	}
	if n := init.k.TaskCount(); n != 1 {
		t.Errorf("%d tasks are counted", n)
	}
	if n := init.k.pids.ids.count; n != 1 {
		t.Errorf("%d numbers are taken", n)
	}
}
