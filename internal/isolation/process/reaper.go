package process

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"unsafe"

	"coffer/internal/isolation/script"

	"golang.org/x/sys/unix"
)

// exitSignal and the number of a signal are the exit code of a program that it
// ended, as shells have it.
const exitSignal = 128

// reaperName is what ps(1) shows.
var reaperName = []byte("coffer-init\x00")

// reap runs the program as a child and stays process 1 itself: it passes signals
// on, reaps what is orphaned, and ends with the program's status. For Linux spares a
// process 1 from signals that it has no handler for (pid_namespaces(7)), and a
// program that does not know that it is process 1 has none. It returns the exit code, or
// an error if the program could not be run.
func (p *initProcess) reap() (int, error) {
	ended := make(chan os.Signal, 1)
	signals := make(chan os.Signal, 64)
	signal.Notify(signals) // all, from before the program is there
	signal.Notify(ended, unix.SIGCHLD)
	pid, err := p.bear()
	if err != nil {
		return 0, err
	}
	// Whoever started the container learns by the end of the channel that the
	// program runs; and nothing of the host's may stay open in a process that the container sees.
	if err := closeAllDescriptors(); err != nil {
		return 0, err
	}
	debug.SetGCPercent(100) // it was off, since init is short-lived
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&reaperName[0])), 0, 0, 0); err != nil {
		return 0, fmt.Errorf("naming the container's init: %w", err)
	}
	for {
		select {
		case sig := <-signals:
			if sig != unix.SIGCHLD && sig != unix.SIGURG { // Go's runtime sends itself SIGURG
				unix.Kill(pid, sig.(unix.Signal))
			}
		case <-ended:
			if code, over := reapChildren(pid); over {
				return code, nil
			}
		}
	}
}

// bear makes a child that is the program, in a session of its own, whose terminal is
// the container's: so the program is to the terminal what it would be as process 1.
func (p *initProcess) bear() (pid int, err error) {
	process := p.spec.Process
	s, err := script.New(5)
	if err != nil {
		return 0, fmt.Errorf("preparing the program's process: %w", err)
	}
	defer s.Free()
	s.Call("creating a session", unix.SYS_SETSID)
	if p.todo.Terminal {
		s.Call("making the terminal the controlling one", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
	if !limitsFiles(process) {
		s.GiveBackFileLimit()
	}
	s.UnblockSignals()
	exec := s.Call("exec", unix.SYS_EXECVE, s.Text(p.path), s.Texts(process.Args), s.Texts(p.env))
	// The thread waits until the program runs, and what happened is known.
	pid, err = s.Start(&script.CloneArgs{
		Flags:      unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_CLEAR_SIGHAND,
		ExitSignal: uint64(unix.SIGCHLD),
	})
	if err != nil {
		return 0, fmt.Errorf("creating the program's process: %w", err)
	}
	err = s.Err()
	var failed *script.StepError
	if errors.As(err, &failed) && int(exec.Result) < 0 {
		return 0, explainExec(p.path, failed.Errno)
	}
	return pid, err
}

// reapChildren reaps all that have ended. over says that the program has, and code is
// its exit code.
func reapChildren(program int) (code int, over bool) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil || pid == 0:
			return code, over
		case pid == program && status.Signaled():
			code, over = exitSignal+int(status.Signal()), true
		case pid == program:
			code, over = status.ExitStatus(), true
		}
	}
}

// closeAllDescriptors closes what is open, but for the runtime's own.
func closeAllDescriptors() error {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("closing what only the program needs: %w", err)
	}
	for _, e := range list {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// The poller of Go's runtime, which ends the process if it is closed.
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && slices.Contains([]string{"anon_inode:[eventpoll]", "anon_inode:[eventfd]"}, target) {
			continue
		}
		unix.Close(fd)
	}
	return nil
}
