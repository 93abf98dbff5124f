package process

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"coffer/internal/isolation"
	"coffer/internal/seccomp/profile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// conversation is the calling coffer's side of what it and init say.
type conversation struct {
	channel
	pid    int
	init   isolation.PID
	id     string
	spec   func() (*specs.Spec, error)
	state  func(specs.ContainerState, int) *specs.State
	status specs.ContainerState
	// warnings counts those that were logged.
	warnings int
	// unmounted is closed once the mount of init's binary is nobody's any more.
	unmounted <-chan struct{}
}

// warningsMax bounds the warnings of one init: it is not trusted.
const warningsMax = 100

// lookAfter is for how long init may say nothing until it is looked at.
const lookAfter = 200 * time.Millisecond

// errHeadless is why init will never become the program.
var errHeadless = errors.New("linux.seccomp: the filter killed the thread of the container's init that was to become the program: give the calls that it takes to get there, execve and futex among others, the action SCMP_ACT_ALLOW, whatever their arguments")

// await waits until init says something or ends. A filter may end the thread that is to
// become the program, and the others would hold the channel open for ever.
func (t *conversation) await() error {
	fds := []unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLIN}}
	// All threads of a process that ends do not end at once: so it is looked at twice.
	for headless := false; ; {
		n, err := unix.Poll(fds, int(lookAfter.Milliseconds()))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("waiting for the container's init: %w", err)
		case n > 0:
			return nil
		default:
			before := headless
			if headless = t.init.Headless(); headless && before {
				return errHeadless
			}
		}
	}
}

// listen takes what init says. Warnings are logged, and that it has failed
// becomes an error.
func (t *conversation) listen() (report, []*os.File, error) {
	for {
		var r report
		if err := t.await(); err != nil {
			return r, nil, err
		}
		files, err := t.receiveInline(&r)
		if err != nil {
			return r, nil, err
		}
		switch r.Say {
		case sayWarning:
			closeAll(files)
			if t.warnings++; t.warnings > warningsMax {
				return r, nil, fmt.Errorf("the container's init gave more than %d warnings", warningsMax)
			}
			slog.Warn(r.Error)
		case sayError:
			closeAll(files)
			err := errors.New(r.Error)
			if r.Program == notFound || r.Program == notExecutable {
				err = &isolation.ProgramError{Code: r.Program, Err: err}
			}
			return r, nil, err
		default:
			return r, files, nil
		}
	}
}

// answer gives init the word to go on.
func (t *conversation) answer(w word, files ...*os.File) error {
	w.Word = wordGo
	if err := t.send(&w, files...); err != nil && !errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("talking to the container's init: %w", err)
	}
	return nil // if it has ended, listen says why
}

// release gives init the word that lets a program of the container run, now or
// later. Init's binary must have left its mount for good before: such a program
// could get hold of it by executing /proc/self/exe, and as long as coffer has the
// mount, whoever may make a user namespace could lift its being read-only
// (mount_setattr(2) changes what is attached nowhere for anybody).
func (t *conversation) release() error {
	<-t.unmounted
	return t.answer(word{})
}

func (t *conversation) unexpected(r report) error {
	return fmt.Errorf("the container's init said %q, which does not belong there", r.Say)
}

// ready does what is due when init has made all that it needs privileges for:
// it takes the terminal, and sets what the host's privileges are needed for.
func (t *conversation) ready(console *os.File, s outsider, files []*os.File) error {
	if console != nil {
		if err := sendTerminal(console, files); err != nil {
			return err
		}
	}
	if err := s.Affinity(t.pid, true); err != nil {
		return err
	}
	if err := s.Outside(t.pid); err != nil {
		return err
	}
	return t.answer(word{})
}

// outsider is what of an identity is set from outside.
type outsider interface {
	Affinity(pid int, final bool) error
	Outside(pid int) error
}

// sendListener hands the listener of a seccomp filter to the agent that the
// profile names, and lets init go on.
func (t *conversation) sendListener(files []*os.File) error {
	spec, err := t.spec()
	if err != nil {
		return err
	}
	if len(files) != 1 || spec.Linux == nil || spec.Linux.Seccomp == nil {
		return errors.New("linux.seccomp: init has not sent the filter's listener")
	}
	p := spec.Linux.Seccomp
	state := &specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: t.pid, Metadata: p.ListenerMetadata,
	}
	if s := t.state(t.status, t.pid); s != nil {
		state.State = *s
	}
	if err := profile.SendListener(p.ListenerPath, files[0], state); err != nil {
		return err
	}
	return t.answer(word{})
}

// ended explains that init ended without a word, and reaps it.
func (t *conversation) ended() error {
	ws := waitFor(t.pid)
	switch {
	case ws.Signaled() && ws.Signal() == unix.SIGKILL:
		return errors.New("the container's init was killed: by another command, or by the host for want of memory; linux.resources.memory.limit may be too small to start in (some 10 MB are enough)")
	case ws.Signaled() && ws.Signal() == unix.SIGSYS:
		return errors.New("linux.seccomp: the filter killed the container's init: it must allow what it takes to get from there to the program, execve and futex among others")
	}
	return fmt.Errorf("the container's init said nothing: %w; if it could not have as many threads as it needs, linux.resources.pids.limit leaves too few beside the container's own", endError(ws))
}

// endError says how a process ended.
func endError(ws unix.WaitStatus) error {
	if ws.Signaled() {
		return fmt.Errorf("it was ended by signal %d (%s)", ws.Signal(), unix.SignalName(ws.Signal()))
	}
	return fmt.Errorf("it ended with exit code %d", ws.ExitStatus())
}

// explain turns the end of the conversation into what it means.
func (t *conversation) explain(err error) error {
	if errors.Is(err, io.EOF) {
		return t.ended()
	}
	// It ends by itself after an error, but need not have said the truth.
	unix.Kill(t.pid, unix.SIGKILL)
	waitFor(t.pid)
	return err
}
