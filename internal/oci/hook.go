package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"coffer/internal/sysmon"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The stages at which hooks run, as config.json names them.
const (
	Prestart        = "prestart"
	CreateRuntime   = "createRuntime"
	CreateContainer = "createContainer"
	StartContainer  = "startContainer"
	Poststart       = "poststart"
	Poststop        = "poststop"
)

// Stage is one stage and its hooks.
type Stage struct {
	Name  string
	Hooks []specs.Hook
}

// Stages lists the stages in the order in which a container passes them, with
// their hooks in h, which may be nil.
func Stages(h *specs.Hooks) []Stage {
	if h == nil {
		h = &specs.Hooks{}
	}
	return []Stage{
		{Prestart, h.Prestart},
		{CreateRuntime, h.CreateRuntime},
		{CreateContainer, h.CreateContainer},
		{StartContainer, h.StartContainer},
		{Poststart, h.Poststart},
		{Poststop, h.Poststop},
	}
}

// StageHooks returns the hooks of one stage.
func StageHooks(h *specs.Hooks, name string) []specs.Hook {
	for _, s := range Stages(h) {
		if s.Name == name {
			return s.Hooks
		}
	}
	return nil
}

// maxHookOutput is how much of a hook's output is kept for its error, in bytes.
const maxHookOutput = 4096

// pipesAfterHook is for how long a hook's output is waited for after it has
// ended: a process that it left behind may hold it open forever.
const pipesAfterHook = time.Second

// RunHooks runs the hooks of a stage in their order, each with the state on its
// standard input, and ends at the first that fails: its error names the stage,
// the hook, how it ended, and what it wrote.
func RunHooks(hooks []specs.Hook, state *specs.State, stage string) error {
	for i := range hooks {
		if err := runHook(&hooks[i], i, state, stage); err != nil {
			return err
		}
	}
	return nil
}

// RunEveryHook runs the hooks of a stage as RunHooks does, but goes on after
// those that fail, as the specification has it for poststop, and before 1.3 for poststart.
func RunEveryHook(hooks []specs.Hook, state *specs.State, stage string) (failed []error) {
	for i := range hooks {
		if err := runHook(&hooks[i], i, state, stage); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

func runHook(h *specs.Hook, index int, state *specs.State, stage string) error {
	input, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("the state for %s hook #%d: %w", stage, index, err)
	}
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if h.Timeout != nil {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
	}
	defer cancel()
	var output tail
	cmd := exec.CommandContext(ctx, h.Path)
	if len(h.Args) > 0 {
		cmd.Args = h.Args
	}
	// As execve(2) has it: no variables if none are given, not coffer's own.
	cmd.Env = append([]string{}, h.Env...)
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = pipesAfterHook
	// A process group of its own, so that its time-out ends its children too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	runtime.LockOSThread()
	sysmon.Restore()
	unstarted := cmd.Start()
	runtime.UnlockOSThread()
	err = unstarted
	if err == nil {
		err = cmd.Wait()
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; what it left behind holds its output
	}
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("error running %s hook #%d (%s): ", stage, index, h.Path)
	switch {
	case ctx.Err() != nil:
		what += fmt.Sprintf("it did not end within its timeout of %d s, and was killed", *h.Timeout)
	case unstarted != nil:
		what += explainStart(unstarted)
	default:
		what += err.Error()
	}
	if text := strings.TrimSpace(output.String()); text != "" {
		what += ", output: " + text
	}
	return errors.New(what)
}

// explainStart says why a hook's program could not be started, and what to do.
func explainStart(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	cure := "correct the path, or have an executable program there"
	switch errno {
	case unix.E2BIG:
		cure = "its args and env are too long: shorten them"
	case unix.EAGAIN:
		cure = "there may be no more processes: raise the limit (ulimit -u, pids.max of the cgroup), or end some"
	case unix.ENOMEM:
		cure = "there is no memory for another process: free some, or raise the cgroup's limit"
	case unix.EMFILE, unix.ENFILE:
		cure = "raise the limit on open files (ulimit -n)"
	case unix.ETXTBSY:
		cure = "somebody writes to the program: wait until that is done"
	case unix.ENOEXEC:
		cure = "it is no program for this machine, nor does it begin with #! and an interpreter"
	}
	return fmt.Sprintf("%v: %s", errno, cure)
}

// tail keeps the end of what is written to it.
type tail struct {
	kept []byte
	cut  bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - maxHookOutput; extra > 0 {
		t.kept, t.cut = append(t.kept[:0], t.kept[extra:]...), true
	}
	return len(p), nil
}

func (t *tail) String() string {
	if t.cut {
		return "..." + string(t.kept)
	}
	return string(t.kept)
}
