package boot

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// served reports whether the sandbox has a server, and so outlives its starter.
func (s *sandbox) served() bool { return s.server != nil }

// passedOn are signals that the sentry's process passes on to its first program:
// for the host the two are one.
var passedOn = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT, unix.SIGWINCH,
}

// exitSignaled is what a shell adds to the signal that ended a program. The
// first process of a PID namespace cannot end itself by most signals.
const exitSignaled = 128

// serve runs a sandbox with a server to its end, and returns the exit code of
// the process, which is the first program's.
func (s *sandbox) serve(ctl *control) (int, error) {
	s.first.task.StartBehind(s.server.first.begin)
	sigs := make(chan os.Signal, 64)
	signal.Notify(sigs, passedOn...)
	// Until the starter says that it knows of the sandbox, nobody else does.
	if err := ctl.send(Message{Op: "created"}); err != nil {
		return 0, err
	}
	if m, err := ctl.receive(); err != nil || m.Op != "keep" {
		return 0, errors.New("who started the sandbox has gone before it was made")
	}
	ctl.f.Close()
	go s.server.serve()
	go s.passOn(sigs)
	go s.kernel.Watch(os.Stderr)
	status, _ := s.wait()
	s.tellEnds()
	if sig := status.Signal(); sig != 0 {
		return exitSignaled + int(sig), nil
	}
	return int(status.Code()), nil
}

// passOn passes signals on to the first program, and the user's terminal's size.
// It begins with the size, which may have changed before anybody listened.
func (s *sandbox) passOn(sigs <-chan os.Signal) {
	s.first.terminal.follow()
	for sig := range sigs {
		n := sig.(syscall.Signal)
		if n == unix.SIGWINCH && s.first.terminal != nil {
			s.first.terminal.follow()
			continue
		}
		// It fails for a program that has ended, as everything does now.
		_ = s.server.first.signal(int32(n), false)
	}
}

// tellEnds waits, not for long, until who has a connection has its answer, and
// until terminals have passed on what was written.
func (s *sandbox) tellEnds() {
	done := make(chan struct{})
	go func() {
		s.server.finish()
		s.terminals.finish()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(lastOrders): // whoever reads a terminal does not
	}
}
