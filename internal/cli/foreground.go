package cli

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"

	"coffer/internal/isolation"
	"coffer/internal/textpages"

	"golang.org/x/sys/unix"
)

// foreground is a program that coffer waits for: it passes signals on, and the
// terminal's size, and ends with the program's exit code.
type foreground struct {
	tty *pty // nil without a terminal

	mu sync.Mutex
	// send sends the program a signal; nil until it is there. Until then those
	// that come are held.
	send func(unix.Signal) error
	held []unix.Signal
}

// passedSignals are those that a program in the foreground is sent in coffer's
// place. SIGCHLD, SIGPIPE and SIGURG are coffer's own affairs; those of job
// control are the shell's with coffer: caught, SIGTTOU would come again and again
// for a background job that sets its terminal's modes.
var passedSignals = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGVTALRM,
	unix.SIGPROF, unix.SIGCONT, unix.SIGWINCH, unix.SIGIO, unix.SIGPWR,
}

// newForeground catches signals from before the program starts, so that none of
// them ends coffer and leaves the program without a master.
func newForeground(terminal bool) (*foreground, error) {
	f := new(foreground)
	if terminal {
		var err error
		if f.tty, err = newPty(); err != nil {
			return nil, err
		}
	}
	go func(sigs <-chan os.Signal) {
		for sig := range sigs {
			f.take(sig.(unix.Signal))
		}
	}(catchSignals())
	return f, nil
}

// streams gives the program what it has for standard streams: the way to send a
// terminal by, or coffer's own.
func (f *foreground) streams(s *isolation.Streams) error {
	if f.tty != nil {
		s.ConsoleSocket = f.tty.send
		return nil
	}
	return ownStreams(s)
}

// catchSignals catches what is passed on. What coffer was started to ignore, as by
// nohup(1), the program does not hear of.
func catchSignals() <-chan os.Signal {
	sigs := make(chan os.Signal, 64)
	for _, sig := range passedSignals {
		if !signal.Ignored(sig) {
			signal.Notify(sigs, sig)
		}
	}
	return sigs
}

// take passes a signal on. Should the program take long to come, because a hook
// hangs or the container is paused, the second signal ends coffer.
func (f *foreground) take(sig unix.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case sig == unix.SIGWINCH && f.tty != nil:
		f.tty.resize()
	case f.send != nil:
		f.pass(sig)
	default:
		f.held = append(f.held, sig)
		if len(f.held) > 1 && slices.Contains(endingSignals, sig) {
			f.close()
			signal.Reset(sig)
			unix.Kill(os.Getpid(), sig)
		}
	}
}

// endingSignals are those by which users end programs.
var endingSignals = []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM}

func (f *foreground) pass(sig unix.Signal) {
	if err := f.send(sig); err != nil {
		slog.Debug(fmt.Sprintf("passing on %v: %v", sig, err))
	}
}

// connect joins the user's terminal to the program's, which is there now.
func (f *foreground) connect() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tty == nil {
		return nil
	}
	return f.tty.take()
}

// sendTo says who gets the signals, those included that came before.
func (f *foreground) sendTo(send func(unix.Signal) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.send = send
	for _, sig := range f.held {
		f.pass(sig)
	}
	f.held = nil
}

// wait waits for a child, whom send sends signals, and returns its exit code.
// With reap it reaps other children too, which come to a subreaper.
func (f *foreground) wait(pid int, reap bool, send func(unix.Signal) error) (int, error) {
	f.sendTo(send)
	textpages.ReleaseLater()
	which := pid
	if reap {
		which = -1
	}
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(which, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("waiting for process %d: %w", pid, err)
		case got != pid:
		case status.Signaled():
			f.end()
			return exitSignal + int(status.Signal()), nil
		case status.Exited():
			f.end()
			return status.ExitStatus(), nil
		}
	}
}

// end shows the rest of the output and gives the terminal back.
func (f *foreground) end() {
	if f.tty != nil {
		f.tty.drain()
		f.tty.close()
	}
}

// close gives the terminal back, however the run ended.
func (f *foreground) close() {
	if f.tty != nil {
		f.tty.close()
	}
}

// exited is how a verb ends that ran a program.
func exited(code int) error {
	if code == 0 {
		return nil
	}
	return &exitError{code, ""}
}
