package boot

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"strings"

	"coffer/internal/environ"
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/hostfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/loader"
	"coffer/internal/sentry/syscalls"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Exit codes for a program that cannot be started, as a shell's.
const (
	exitFailed        = 125
	exitNotExecutable = 126
	exitNotFound      = 127
)

// programError is why the first program cannot be started.
type programError struct {
	code    int
	message string
}

func (e *programError) Error() string { return e.message }

// place is where in the sandbox a process is to be.
type place struct {
	mounts *vfs.MountNamespace
	// namespaces are taken over; nil are those that the sandbox starts with.
	namespaces *kernel.Namespaces
	cgroup     *kernel.Cgroup
	// root is the container's root, whose credentials a process with Attributes
	// has until it becomes who it is to be.
	root *auth.Credentials
	// bare, if not nil, is a container whose files the process is to make first.
	bare *Container
	// stdio, if not nil, are its descriptors 0 to 2.
	stdio []*vfs.FileDescription
}

// process is one that was started from outside of the sandbox.
type process struct {
	task     *kernel.Task
	terminal *terminal // nil without one
}

// newProcess makes a process and loads its program.
func (s *sandbox) newProcess(p *Process, at place) (_ *process, err error) {
	root := at.mounts.Root()
	fail := func(err error) (*process, error) {
		root.DecRef()
		if at.namespaces != nil {
			at.namespaces.Release()
		}
		return nil, err
	}
	cred, cwd, umask := at.root, root, p.Umask
	if p.Attributes != nil {
		root.IncRef() // its files may have to be made before it goes where it is to be
		umask = 0
	} else {
		cred = p.credentials()
		if cwd, err = s.workingDirectory(p, at.mounts, root); err != nil {
			return fail(err)
		}
	}
	fds := vfs.NewFDTable()
	n := new(process)
	if n.terminal, err = s.streams(p, at.stdio, fds); err != nil {
		cwd.DecRef()
		for _, d := range fds.DecRef() {
			d.DecRef()
		}
		return fail(err)
	}
	n.task, err = s.kernel.CreateProcess(kernel.ProcessConfig{
		Credentials: cred, FDs: fds, Comm: path.Base(p.Args[0]),
		FS:         kernel.NewFSContext(at.mounts, root, cwd, umask),
		Namespaces: at.namespaces, Cgroup: at.cgroup,
	})
	if err != nil {
		n.terminal.close()
		return nil, fmt.Errorf("making the process: %w", err)
	}
	if n.terminal != nil {
		if err := n.terminal.Attach(n.task); err != nil {
			n.discard()
			return nil, fmt.Errorf("attaching the console: %w", err)
		}
	}
	if err := s.load(n, p, at.bare); err != nil {
		n.discard()
		return nil, err
	}
	return n, nil
}

// load makes a process that has nothing yet what p describes, its container's
// files included if that is bare.
func (s *sandbox) load(n *process, p *Process, bare *Container) error {
	if bare != nil {
		if err := s.furnish(bare, n); err != nil {
			return err
		}
	}
	if err := p.become(n.task); err != nil {
		return err
	}
	if err := s.exec(n.task, p); err != nil {
		return err
	}
	return p.filter(n.task)
}

// credentials are those that the process starts with.
func (p *Process) credentials() *auth.Credentials { return auth.New(p.UID, p.GID, p.Groups) }

// discard drops a process that was not started.
func (n *process) discard() {
	n.task.Discard()
	n.terminal.close()
}

func (s *sandbox) workingDirectory(p *Process, mounts *vfs.MountNamespace, root vfs.Path) (vfs.Path, error) {
	user := builder{p.credentials()}
	cwd, err := mounts.Resolve(user, vfs.Origin{Root: root, Start: root}, p.Cwd, vfs.WantDirectory)
	if err == nil && p.UserCwd {
		if err = vfs.Access(user, cwd, unix.X_OK); err != nil {
			cwd.DecRef()
		}
	}
	if err == nil {
		return cwd, nil
	}
	return vfs.Path{}, &programError{exitFailed, fmt.Sprintf("the working directory %s cannot be entered in the sandbox (%v): %s", p.Cwd, err, s.advice.Cwd)}
}

// streams gives a process its first descriptors, and a terminal if it is to
// have one.
func (s *sandbox) streams(p *Process, stdio []*vfs.FileDescription, fds *vfs.FDTable) (*terminal, error) {
	for i, d := range stdio {
		if _, err := fds.Install(d, int32(i), descriptorsMax, false); err != nil {
			return nil, fmt.Errorf("installing descriptor %d: %w", i, err)
		}
	}
	if stdio != nil {
		return nil, nil
	}
	donated := []*int{&p.Stdio[0], &p.Stdio[1], &p.Stdio[2]}
	var term *terminal
	if p.Console >= 0 {
		var err error
		if term, err = s.newTerminal(p); err != nil {
			return nil, err
		}
		d := term.Open()
		defer d.DecRef()
		for i := range 3 {
			if _, err := fds.Install(d, 0, descriptorsMax, false); err != nil {
				term.close()
				return nil, fmt.Errorf("installing descriptor %d: %w", i, err)
			}
		}
		donated = nil
	}
	for i := range p.Extra {
		donated = append(donated, &p.Extra[i])
	}
	if err := install(fds, donated); err != nil {
		term.close()
		return nil, err
	}
	return term, nil
}

// install puts donated descriptors into the table, at the lowest free numbers.
func install(fds *vfs.FDTable, donated []*int) error {
	type taken struct {
		fd   int
		file *vfs.FileDescription
	}
	var all []taken
	for i, place := range donated {
		fd := *place
		var d *vfs.FileDescription
		for _, o := range all {
			// "2>&1": one description, so one offset.
			if hostfs.SameDescription(o.fd, fd) {
				d = o.file
				unix.Close(take(place))
				break
			}
		}
		if d == nil {
			var err error
			if d, err = hostfs.NewFD(fd, ""); err != nil {
				return fmt.Errorf("donating descriptor %d: %w", i, err)
			}
			defer d.DecRef()
			all = append(all, taken{take(place), d})
		}
		if _, err := fds.Install(d, 0, descriptorsMax, false); err != nil {
			return fmt.Errorf("installing descriptor %d: %w", i, err)
		}
	}
	return nil
}

// descriptorsMax bounds the number of a process's donated descriptors.
const descriptorsMax = 3 + extraMax

// exec loads a process's program, found as a shell finds it.
func (s *sandbox) exec(t *kernel.Task, p *Process) error {
	name := cmp.Or(p.program, p.Args[0])
	if strings.Contains(name, "/") {
		err := syscalls.Exec(t, name, p.Args, p.Env)
		if errors.Is(err, unix.ENOENT) && exists(t, name) {
			err = errInterpreter
		}
		return s.explainExec(name, err)
	}
	search := environ.SearchPath(p.Env)
	found := error(unix.ENOENT)
	for _, dir := range strings.Split(search, ":") {
		if dir == "" {
			dir = "."
		}
		err := syscalls.Exec(t, path.Join(dir, name), p.Args, p.Env)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.ENOENT) && exists(t, path.Join(dir, name)):
			found = errInterpreter // unless a later directory has one that can be run
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		case errors.Is(err, unix.EACCES):
			found = err // unless a later directory has one that can be run
		default:
			return s.explainExec(path.Join(dir, name), err)
		}
	}
	if found == unix.ENOENT {
		if s.served() {
			return &programError{exitNotFound, fmt.Sprintf("exec: %q: executable file not found in $PATH (%s)", name, search)}
		}
		return &programError{exitNotFound, fmt.Sprintf("%s: not found in the sandbox's PATH (%s)", name, search)}
	}
	return s.explainExec(name, found)
}

// errInterpreter says that a program is there, and what it needs is not.
var errInterpreter = errors.New("missing interpreter")

// exists reports whether there is a file of that name.
func exists(t *kernel.Task, name string) bool {
	fs := t.FS()
	root, cwd := fs.Root(), fs.Cwd()
	defer root.DecRef()
	defer cwd.DecRef()
	p, err := fs.Mounts().Resolve(t, vfs.Origin{Root: root, Start: cwd}, name, 0)
	if err == nil {
		p.DecRef()
	}
	return err == nil
}

// explainExec says in words why a program cannot be run.
func (s *sandbox) explainExec(name string, err error) error {
	code, why := exitNotExecutable, ""
	var foreign *loader.ForeignError
	switch {
	case err == nil:
		return nil
	case err == errInterpreter:
		code, why = exitNotFound, "its interpreter is missing in the sandbox: what its first line names, or its dynamic loader"
	case errors.Is(err, unix.ENOENT):
		code, why = exitNotFound, "there is no such file in the sandbox"
	case errors.Is(err, unix.ENOTDIR):
		code, why = exitNotFound, "a part of the path is not a directory"
	case errors.Is(err, unix.EACCES):
		why = "it is a directory, or not executable for this user (chmod +x)"
	case errors.Is(err, unix.EFAULT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EIO):
		why = "it is a damaged program: its file is shorter than it says, or contradicts itself"
	case errors.As(err, &foreign):
		why = fmt.Sprintf("it is a program for %s, which %s would run, but that is not in the sandbox: install qemu-user-static there, or %s %s",
			foreign.Platform, foreign.Emulator, s.advice.Emulator, foreign.Emulator)
	case errors.Is(err, unix.ENOEXEC):
		why = "it is neither an x86-64 Linux program nor a script that begins with #!"
	case errors.Is(err, unix.ELIBBAD):
		why = "its interpreter is not a usable x86-64 program"
	case errors.Is(err, unix.E2BIG):
		why = "its arguments and environment are too long"
	case errors.Is(err, unix.ENOMEM):
		why = "there is not enough memory to load it"
	default:
		why = err.Error()
	}
	if s.served() {
		// As runc says it, which those who call container runtimes look for.
		errno := "permission denied"
		if code == exitNotFound {
			errno = "no such file or directory"
		}
		return &programError{code, fmt.Sprintf("exec: %q: %s: %s", name, errno, why)}
	}
	return &programError{code, fmt.Sprintf("%s cannot be run: %s", name, why)}
}
