package script

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// children are made by clone(2) and by clone3(2), sharing memory and not.
var children = map[string]CloneArgs{
	"clone":  {Flags: unix.CLONE_VM, ExitSignal: uint64(unix.SIGCHLD)},
	"clone3": {Flags: unix.CLONE_CLEAR_SIGHAND, ExitSignal: uint64(unix.SIGCHLD)},
}

func waitFor(t *testing.T, pid int) (status unix.WaitStatus) {
	t.Helper()
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if err == nil {
			return status
		}
		if err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

func TestExecute(t *testing.T) {
	for name, clone := range children {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fds[0])
			s, err := New(20)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Free()
			s.Call("closing the keeper", unix.SYS_CLOSE, uintptr(fds[0]))
			s.Call("failing", unix.SYS_CLOSE, ^uintptr(0)).Want = WantAnything
			s.PassGate(fds[1])
			duplicates, err := s.Arrange([]int{int(w.Fd()), int(w.Fd()), int(w.Fd())})
			if err != nil {
				t.Fatal(err)
			}
			s.UnblockSignals()
			s.Call("executing", unix.SYS_EXECVE, s.Text("/bin/sh"), s.Texts([]string{"sh", "-c", "echo $A; exit 7"}), s.Texts([]string{"A=here"}))
			pid, err := s.Start(&clone)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fds[1])
			w.Close()
			for _, fd := range duplicates {
				unix.Close(fd)
			}
			opened := 0
			if err := KeepGate(fds[0], func() error { opened++; return nil }); err != nil {
				t.Error(err)
			}
			var b [100]byte
			n, _ := r.Read(b[:])
			if status := waitFor(t, pid); string(b[:n]) != "here\n" || status.ExitStatus() != 7 || opened != 1 {
				t.Errorf("the program said %q and ended with %#x; the gate was opened %d times", b[:n], status, opened)
			}
			if err := s.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFail(t *testing.T) {
	for name, clone := range children {
		t.Run(name, func(t *testing.T) {
			s, err := New(2)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Free()
			s.Call("closing nothing", unix.SYS_CLOSE, ^uintptr(0))
			s.Call("going on", unix.SYS_EXIT_GROUP, 7)
			pid, err := s.Start(&clone)
			if err != nil {
				t.Fatal(err)
			}
			status := waitFor(t, pid)
			var failed *StepError
			if err := s.Err(); !errors.As(err, &failed) || failed.What != "closing nothing" || failed.Errno != unix.EBADF || status.ExitStatus() != 1 {
				t.Errorf("%v, exit status %d", err, status.ExitStatus())
			}
		})
	}
}

func TestGateStaysClosed(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	s, err := New(4)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Free()
	s.Call("closing the keeper", unix.SYS_CLOSE, uintptr(fds[0]))
	s.PassGate(fds[1])
	s.Call("going on", unix.SYS_EXIT_GROUP, 7)
	clone := children["clone3"]
	pid, err := s.Start(&clone)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fds[1])
	refused := errors.New("refused")
	if err := KeepGate(fds[0], func() error { return refused }); err != refused {
		t.Errorf("the keeper says %v", err)
	}
	if status := waitFor(t, pid); status.ExitStatus() != 1 {
		t.Errorf("the child ended with %#x", status)
	}
	if err := s.Err(); !errors.Is(err, unix.ECANCELED) {
		t.Errorf("the child's failure is %v", err)
	}
}
