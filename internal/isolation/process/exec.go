package process

import (
	"errors"
	"io"
	"os"
	"runtime"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Exec runs another program in the container. It returns when the program runs.
func (wall) Exec(c *isolation.Container, e *isolation.Exec) (pid isolation.PID, err error) {
	runtime.LockOSThread() // as in Create
	defer runtime.UnlockOSThread()

	container, err := c.Spec()
	if err != nil {
		return pid, err
	}
	spec := execSpec(container, e.Process)
	id := settings(c.ID, spec, true)
	if err := id.Check(); err != nil {
		return pid, err
	}
	program, err := compile(container, e.Process)
	if err != nil {
		return pid, err
	}
	target, flags, root, err := openTarget(c.Init)
	if err != nil {
		return pid, err
	}
	defer closeAll([]*os.File{target, root})
	l := launch{
		todo:      instructions{Exec: true, ID: c.ID, Spec: sent(spec), Filter: newFilter(program), Rootless: oneGroup(container)},
		streams:   &e.Streams,
		terminal:  e.Process.Terminal,
		cgroup:    c.Cgroup,
		subCgroup: e.Cgroup,
		spawning:  spawning{target: target, targetFlags: flags, root: root},
	}
	if e.Process.ExecCPUAffinity != nil {
		l.gateFirst = true
		l.atGate = func(pid int) error { return id.Affinity(pid, false) }
	}
	talk, err := l.start()
	if err != nil {
		return pid, err
	}
	defer talk.close()
	talk.id, talk.spec, talk.state, talk.status = c.ID, c.Spec, c.State, specs.StateRunning
	if pid, err = isolation.FindPID(talk.pid); err == nil {
		talk.init = pid
		err = execTalk{talk, e, id}.run()
	}
	if err != nil {
		return isolation.PID{}, talk.explain(err)
	}
	return pid, nil
}

// openTarget opens a container's first process: a pidfd, the namespaces of it
// that are to be joined, and its root if it has the caller's mount namespace.
func openTarget(init isolation.PID) (target *os.File, flags int, root *os.File, err error) {
	defer func() {
		if err != nil {
			closeAll([]*os.File{target, root})
			if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
				err = errors.New("the container's first process has ended")
			}
		}
	}()
	if target, err = init.Open(); err != nil {
		return target, 0, nil, err
	}
	if flags, err = foreignNamespaces(init.PID); err != nil {
		return target, 0, nil, err
	}
	if flags&unix.CLONE_NEWNS == 0 {
		if root, err = openPath(procPath(init.PID, "root")); err != nil {
			return target, 0, root, err
		}
	}
	// It was the same process all along if it is still there.
	return target, flags, root, unix.PidfdSendSignal(int(target.Fd()), 0, nil, 0)
}

func openPath(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// execSpec is what init needs to know for another process of a container.
func execSpec(container *specs.Spec, p *specs.Process) *specs.Spec {
	s := &specs.Spec{Process: p, Linux: &specs.Linux{}}
	if l := container.Linux; l != nil {
		s.Linux.Personality, s.Linux.MemoryPolicy = l.Personality, l.MemoryPolicy
		s.Linux.GIDMappings, s.Linux.MountLabel = l.GIDMappings, l.MountLabel
	}
	return s
}

// execTalk is the caller's side of an Exec.
type execTalk struct {
	*conversation
	exec *isolation.Exec
	id   outsider
}

func (t execTalk) run() error {
	for created := false; ; {
		r, files, err := t.listen()
		if errors.Is(err, io.EOF) && created {
			return nil // the program has taken init's place
		}
		if err != nil {
			return err
		}
		switch r.Say {
		case sayReady:
			err = t.ready(t.exec.ConsoleSocket, t.id, files)
		case sayFiltered:
			err = t.sendListener(files)
		case sayCreated:
			created, err = true, t.release()
		default:
			err = t.unexpected(r)
		}
		closeAll(files)
		if err != nil {
			return err
		}
	}
}
