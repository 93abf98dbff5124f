package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"

	"coffer/internal/handover"
	"coffer/internal/isolation/process/identity"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Role is the command by which coffer executes itself as a container's init.
const Role = "init"

// Init's first thread is the one that becomes the program: what its parent
// sets by the number of the process is set on that thread. It, and programs that it
// makes, are woken as the caller's are, unlike the threads that are there already
// (initSlack).
func init() {
	if len(os.Args) > 1 && os.Args[1] == Role {
		runtime.LockOSThread()
		unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	}
}

// initProcess is init: a process in the container's namespaces, on its way to
// become a program.
type initProcess struct {
	channel channel
	todo    instructions
	spec    *specs.Spec
	// start is where a container's init waits for Start.
	start *os.File
	// hostMounts is set if the container is in the host's mount namespace.
	hostMounts *hostMounts
	identity   identity.Settings
	// path is the program's, found in the container.
	path string
	env  []string
	// inCwd is set once the working directory is the program's.
	inCwd bool
}

// errOrphaned is why init ends if its parent does before all is made.
var errOrphaned = errors.New("the calling coffer has ended")

// InitMain is the main function of the role. args are those that follow it. It
// returns the exit code if the program could not be run.
func InitMain(args []string) int {
	fd, err := channelFD(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "coffer:", err)
		return 1
	}
	p := &initProcess{channel: channel{fd}}
	slog.SetDefault(slog.New(warner{p}))
	code, err := p.run()
	if err != nil {
		return p.fail(err)
	}
	return code
}

func channelFD(args []string) (int, error) {
	if len(args) == 1 {
		if fd, err := strconv.Atoi(args[0]); err == nil && fd >= channelBase {
			if t, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && t == unix.SOCK_SEQPACKET {
				return fd, nil
			}
		}
	}
	return 0, fmt.Errorf("%q is how coffer calls itself inside containers; it is no command for users", Role)
}

// fail tells the parent, or whoever starts the container, why init ends.
func (p *initProcess) fail(err error) int {
	r := report{Say: sayError, Error: shorten(err.Error()), Program: programCode(err)}
	p.channel.send(&r)
	if r.Program != 0 {
		return r.Program
	}
	return 1
}

// shorten bounds a text to what goes through the channel even if each byte of
// it is quoted.
func shorten(text string) string {
	const most = inlineMax / 8
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}

// warner logs to the other side of the channel: init's standard error is the
// program's.
type warner struct{ p *initProcess }

func (warner) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (w warner) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	return w.p.channel.send(&report{Say: sayWarning, Error: shorten(text)})
}

func (w warner) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w warner) WithGroup(string) slog.Handler      { return w }

// run makes the container and becomes its program, or runs it and returns its exit code.
func (p *initProcess) run() (code int, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("this is a bug in Coffer: please report it: %v\n%s", e, debug.Stack())
		}
	}()
	if err := p.protect(); err != nil {
		return 0, err
	}
	todo, files, err := p.channel.receiveBytes(payloadMax)
	if err == nil {
		err = handover.Decode(todo, &p.todo)
	}
	if err != nil {
		return 0, fmt.Errorf("receiving instructions: %w", orphaned(err))
	}
	p.spec = p.todo.Spec
	spec := p.spec
	if spec == nil || spec.Process == nil || spec.Linux == nil {
		return 0, errors.New("the instructions lack a process: this is a bug in Coffer, please report it")
	}
	p.identity = identity.Settings{
		ID: p.todo.ID, Process: spec.Process, Linux: spec.Linux, Exec: p.todo.Exec,
		NoNewKeyring: p.todo.NoNewKeyring, Rootless: p.todo.Rootless,
	}
	if p.todo.Exec {
		return 0, p.exec()
	}
	if len(files) == 0 {
		return 0, errors.New("the instructions lack the socket to wait on: this is a bug in Coffer, please report it")
	}
	p.start = files[0]
	if len(files) == 3 {
		p.hostMounts = &hostMounts{namespace: files[1], place: files[2]}
	}
	return p.create()
}

// protect keeps the container, if it exists already, and programs that init
// runs, from what init has of the host's; and ends init with its parent.
func (p *initProcess) protect() error {
	// No core, no tracer, no look into /proc/PID/fd.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("protecting init from the container: %w", err)
	}
	for fd := 3; fd <= p.channel.fd; fd++ {
		unix.CloseOnExec(fd)
	}
	return p.dieWithParent()
}

// dieWithParent has Linux kill init when the thread that made it ends. Reading
// the channel would tell, too, but not while a hook runs.
func (p *initProcess) dieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("tying init to the calling coffer: %w", err)
	}
	// It may have ended before.
	if there, err := p.channel.open(); err == nil && !there {
		return errOrphaned
	}
	return nil
}

// outliveParent undoes dieWithParent. Should the parent have ended meanwhile,
// the channel says so.
func outliveParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("releasing init from the calling coffer: %w", err)
	}
	return nil
}

// say tells the parent how far init is, and waits for the word to go on.
func (p *initProcess) say(what string, files ...*os.File) (word, []*os.File, error) {
	if err := p.channel.send(&report{Say: what}, files...); err != nil {
		return word{}, nil, orphaned(err)
	}
	return p.hear(wordGo)
}

// hear waits for a word.
func (p *initProcess) hear(expected string) (word, []*os.File, error) {
	var w word
	files, err := p.channel.receive(&w)
	if err != nil {
		return w, nil, orphaned(err)
	}
	if w.Word != expected {
		closeAll(files)
		return w, nil, fmt.Errorf("init was told %q where %q belongs: this is a bug in Coffer, please report it", w.Word, expected)
	}
	return w, files, nil
}

// orphaned says what it means if the other side of the channel is gone.
func orphaned(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return errOrphaned
	}
	return err
}

// newSession makes init the leader of a session of its own, so that it can have
// a terminal, and signals of the caller's terminal don't reach it.
func newSession() error {
	if _, err := unix.Setsid(); err != nil && err != unix.EPERM { // EPERM: it is one
		return fmt.Errorf("creating a session: %w", err)
	}
	return nil
}

// opened is more than init opens at a time beside what the program inherits.
const opened = 64

// become gives up all that the program is not to have, and finds the program.
func (p *initProcess) become() error {
	process := p.spec.Process
	if err := p.identity.Labels(); err != nil {
		return err
	}
	// A filter may know nothing of close_range(2), which is younger than many
	// profiles. What is opened from now on is closed on exec anyway.
	if err := unix.CloseRange(uint(channelBase), ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keeping descriptors from the program: %w", err)
	}
	if err := giveStdio(process.User.UID, p.todo.Terminal); err != nil {
		return err
	}
	// As root, since the user may lack the right to search a directory on the
	// way; and if root lacks it (on a network's file system), as the user.
	if !p.todo.UserCwd {
		err := p.enterCwd()
		if err != nil && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
			return err
		}
		p.inCwd = err == nil
	}
	// What is installed without privileges is installed as late as can be:
	// the filter need not allow what init does until then.
	install := func() error {
		// The filter need not permit it.
		if err := p.identity.LateLimits(uint64(channelBase + p.todo.Extra + opened)); err != nil {
			return err
		}
		return p.installFilter()
	}
	if process.NoNewPrivileges {
		install = nil
	}
	if err := p.identity.Become(install); err != nil {
		return err
	}
	if !p.inCwd {
		if err := p.enterCwd(); err != nil {
			return err
		}
	}
	p.env = environment(process)
	var err error
	p.path, err = findProgram(process.Args, p.env)
	return err
}

// installFilter installs the seccomp filter, and hands its listener to the
// other side of the channel.
func (p *initProcess) installFilter() error {
	listener, err := p.todo.Filter.program().Install()
	if err != nil {
		return err
	}
	if listener == nil {
		return nil
	}
	defer listener.Close()
	_, _, err = p.say(sayFiltered, listener)
	return err
}

// execute becomes the program. It returns only with an error; or, where it runs the
// program, with that one's exit code.
func (p *initProcess) execute() (int, error) {
	process := p.spec.Process
	if err := defaultSignals(); err != nil {
		return 0, err
	}
	if err := p.arrange(); err != nil {
		return 0, err
	}
	if err := p.identity.LateLimits(0); err != nil {
		return 0, err
	}
	if process.NoNewPrivileges {
		if err := p.installFilter(); err != nil {
			return 0, err
		}
	}
	if p.todo.Reap {
		return p.reap()
	}
	return 0, execute(p.path, process.Args, p.env)
}

// arrange leaves to the program the descriptors that it inherits.
func (p *initProcess) arrange() error {
	for fd := channelBase; fd < channelBase+p.todo.Extra; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("leaving descriptor %d to the program: %w", fd, err)
		}
	}
	return nil
}

// cwd is the program's working directory.
func cwd(process *specs.Process) string {
	if process.Cwd == "" {
		return "/"
	}
	return process.Cwd
}
