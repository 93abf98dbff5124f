package boot

import (
	"errors"
	"fmt"
	"path"
	"strings"

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

// loadInit makes the first process and loads its program.
func (s *sandbox) loadInit(box *Sandbox, mounts *vfs.MountNamespace) error {
	if len(box.Args) == 0 || box.Args[0] == "" {
		return &programError{exitFailed, "no command is given"}
	}
	cred := auth.New(box.UID, box.GID, box.Groups)
	root := mounts.Root()
	cwd, err := s.workingDirectory(box, mounts, root)
	if err != nil {
		root.DecRef()
		return err
	}
	fds := vfs.NewFDTable()
	if err := s.standardStreams(box, fds); err != nil {
		return err
	}
	s.init, err = s.kernel.CreateProcess(kernel.ProcessConfig{
		Credentials: cred, FDs: fds, Comm: path.Base(box.Args[0]),
		FS: kernel.NewFSContext(mounts, root, cwd, box.Umask),
	})
	if err != nil {
		return fmt.Errorf("making the first process: %w", err)
	}
	if s.console != nil {
		if err := s.console.Attach(s.init); err != nil {
			return fmt.Errorf("attaching the console: %w", err)
		}
	}
	if err := s.exec(box); err != nil {
		s.init.Discard()
		return err
	}
	return nil
}

func (s *sandbox) workingDirectory(box *Sandbox, mounts *vfs.MountNamespace, root vfs.Path) (vfs.Path, error) {
	b := builder{auth.New(box.UID, box.GID, box.Groups)}
	cwd, err := mounts.Resolve(b, vfs.Origin{Root: root, Start: root}, box.Cwd, vfs.WantDirectory)
	if err != nil {
		return cwd, &programError{exitFailed, fmt.Sprintf(
			"the working directory %s cannot be entered in the sandbox (%v): give another one with --cwd, or show it with --bind", box.Cwd, err)}
	}
	return cwd, nil
}

// standardStreams gives the first process its descriptors 0 to 2.
func (s *sandbox) standardStreams(box *Sandbox, fds *vfs.FDTable) error {
	var files [3]*vfs.FileDescription
	if box.Console >= 0 {
		if err := s.startConsole(box); err != nil {
			return err
		}
		d := s.console.Open()
		files = [3]*vfs.FileDescription{d, d, d}
		defer d.DecRef()
	} else {
		for i, fd := range box.Stdio {
			for j := range i {
				// "2>&1": one description, so one offset.
				if hostfs.SameDescription(box.Stdio[j], fd) {
					files[i] = files[j]
				}
			}
			if files[i] != nil {
				unix.Close(fd)
				continue
			}
			d, err := hostfs.NewFD(fd, "")
			if err != nil {
				return fmt.Errorf("donating descriptor %d: %w", i, err)
			}
			defer d.DecRef()
			files[i] = d
		}
	}
	for i, d := range files {
		if _, err := fds.Install(d, int32(i), 3, false); err != nil {
			return fmt.Errorf("installing descriptor %d: %w", i, err)
		}
	}
	return nil
}

// exec loads the first program, found as a shell finds it.
func (s *sandbox) exec(box *Sandbox) error {
	name := box.Args[0]
	if strings.Contains(name, "/") {
		err := syscalls.Exec(s.init, name, box.Args, box.Env)
		if errors.Is(err, unix.ENOENT) && s.exists(name) {
			err = errInterpreter
		}
		return explainExec(name, err)
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range box.Env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			search = p
		}
	}
	found := error(unix.ENOENT)
	for _, dir := range strings.Split(search, ":") {
		if dir == "" {
			dir = "."
		}
		err := syscalls.Exec(s.init, path.Join(dir, name), box.Args, box.Env)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.ENOENT) && s.exists(path.Join(dir, name)):
			found = errInterpreter // unless a later directory has one that can be run
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		case errors.Is(err, unix.EACCES):
			found = err // unless a later directory has one that can be run
		default:
			return explainExec(path.Join(dir, name), err)
		}
	}
	if found == unix.ENOENT {
		return &programError{exitNotFound, fmt.Sprintf("%s: not found in the sandbox's PATH (%s)", name, search)}
	}
	return explainExec(name, found)
}

// errInterpreter says that a program is there, and what it needs is not.
var errInterpreter = errors.New("missing interpreter")

// exists reports whether there is a file of that name.
func (s *sandbox) exists(name string) bool {
	fs := s.init.FS()
	root, cwd := fs.Root(), fs.Cwd()
	defer root.DecRef()
	defer cwd.DecRef()
	p, err := fs.Mounts().Resolve(s.init, vfs.Origin{Root: root, Start: cwd}, name, 0)
	if err == nil {
		p.DecRef()
	}
	return err == nil
}

// explainExec says in words why a program cannot be run.
func explainExec(name string, err error) error {
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
		why = fmt.Sprintf("it is a program for %s, which %s would run, but that is not in the sandbox: install qemu-user-static there, or show the host's with --bind %s",
			foreign.Platform, foreign.Emulator, foreign.Emulator)
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
	return &programError{code, fmt.Sprintf("%s cannot be run: %s", name, why)}
}

// signal passes a signal of the host on to the first program.
func (s *sandbox) signal(sig int) {
	s.init.ThreadGroup().SignalFromHost(int32(sig))
}
