// Package loader turns an executable file into an address space that is ready
// to run: ELF programs with their interpreter, "#!" scripts, programs for other
// machines by an emulator, the initial stack and the auxiliary vector.
//
// Everything that can be wrong with a file is found by Open, before anything
// of the calling program is lost. Load then fills an empty address space.
//
// It must not know tasks: credentials and what happens to the caller's threads
// and descriptors are the kernel's matter.
package loader

import (
	"path"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Args say what is to be executed and for whom.
type Args struct {
	Caller vfs.Caller
	Mounts *vfs.MountNamespace
	// Origin is where relative names of interpreters begin: root and cwd.
	Origin vfs.Origin
	// File is the executable, from OpenExecutable or Executable. Open takes a
	// reference of its own.
	File *vfs.FileDescription
	// Name is what the program is called: execve(2)'s path, or
	// "/dev/fd/N[/path]" for execveat(2). It becomes AT_EXECFN and the name
	// under which a script's interpreter finds it.
	Name string
	// NameVanishes says that Name cannot be opened after the call, because it
	// leads through a close-on-exec descriptor; scripts fail with ENOENT.
	NameVanishes bool
	Argv, Envv   []string
	// Limits tells RLIMIT_STACK.
	Limits mm.Limiter
	// Max is the end of the guest's addresses (platform.Limits.Max).
	Max uint64
}

// Image is an executable that was found to be good. Close drops the files that
// it holds.
type Image struct {
	args   Args
	argv   []string
	prog   *vfs.FileDescription // the ELF program, also for a script
	elf    *elfFile
	interp *vfs.FileDescription // nil without PT_INTERP
	ielf   *elfFile
	// progReader reads prog.
	progReader readAt
	// emulated says that the program is an emulator, which finds the argv[0]
	// of what it is to run behind that one's path.
	emulated bool
}

// maxScripts is how many scripts and programs for other machines may be each
// other's interpreters.
const maxScripts = 5

// Open examines an executable, following scripts to their interpreters and
// programs for other machines to an emulator. The errors are those of execve(2):
// ENOEXEC (a *ForeignError if an emulator is missing), ELIBBAD, EACCES, EINVAL,
// E2BIG, ELOOP, ENOENT and others of path resolution.
func Open(a Args) (*Image, error) {
	i := &Image{args: a, argv: a.Argv, prog: a.File}
	i.prog.IncRef()
	if len(i.argv) == 0 {
		i.argv = []string{""} // as Linux does since 5.18
	}
	err := i.open()
	if err == nil {
		err = checkSize(i.argv, a.Envv, a.Name, a.Limits.Limit(unix.RLIMIT_STACK))
	}
	if err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

func (i *Image) open() error {
	a := &i.args
	name := a.Name
	for depth := 0; ; depth++ {
		if depth > maxScripts {
			return unix.ELOOP
		}
		head, err := i.head()
		if err != nil {
			return err
		}
		machine := foreignMachine(head)
		if machine == nil && !isScript(head) {
			break
		}
		if a.NameVanishes && depth == 0 {
			return unix.ENOENT
		}
		if machine != nil {
			name, err = i.openEmulator(machine, name)
		} else {
			name, err = i.openScript(head, name)
		}
		if err != nil {
			return err
		}
	}
	err := i.prog.DenyWrites()
	if err != nil {
		return err
	}
	if i.elf, err = parseELF(i.progReader, a.Max); err != nil {
		return err
	}
	if i.elf.interp == "" {
		return nil
	}
	if i.interp, err = OpenExecutable(a.Caller, a.Mounts, a.Origin, i.elf.interp, 0); err != nil {
		return err
	}
	i.ielf, err = parseELF(i.reader(i.interp), a.Max)
	if err == unix.ENOEXEC {
		err = unix.ELIBBAD
	}
	return err
}

// openScript has the interpreter of a script run it, and returns its path.
func (i *Image) openScript(head []byte, name string) (string, error) {
	interp, arg, err := parseScript(head)
	if err != nil {
		return "", err
	}
	argv := []string{interp}
	if arg != "" {
		argv = append(argv, arg)
	}
	i.argv = append(append(argv, name), i.argv[1:]...)
	a := &i.args
	f, err := OpenExecutable(a.Caller, a.Mounts, a.Origin, interp, 0)
	if err != nil {
		return "", err
	}
	i.prog.DecRef()
	i.prog = f
	return interp, nil
}

// head returns the first bytes of the program, padded with zeros.
func (i *Image) head() ([]byte, error) {
	head := make([]byte, scriptLine)
	i.progReader = i.reader(i.prog)
	_, err := readFull(i.progReader, head, 0)
	return head, err
}

// reader reads a file that need not be readable to the caller: to execute it
// is enough.
func (i *Image) reader(f *vfs.FileDescription) readAt {
	return firstPage(func(p []byte, off int64) (int, error) { return f.File.Read(i.args.Caller, p, off) })
}

// Close drops the image's files.
func (i *Image) Close() {
	for _, f := range []**vfs.FileDescription{&i.prog, &i.interp} {
		if *f != nil {
			(*f).DecRef()
			*f = nil
		}
	}
}

// SetID tells what the program file's set-user-ID and set-group-ID bits ask
// for. Nothing on a mount with nosuid.
type SetID struct {
	User, Group bool
	UID, GID    uint32
}

// MaySetID reports whether the bits that SetID reads count for c.
func (i *Image) MaySetID(ns *vfs.MountNamespace, c *auth.Credentials) bool {
	return !i.prog.Path.Valid() || ns.MaySetID(c, i.prog.Path)
}

// SetID reads the bits from the program; for a script they are the
// interpreter's.
func (i *Image) SetID() (SetID, error) {
	a, err := i.prog.Inode.Attr()
	if err != nil {
		return SetID{}, err
	}
	const groupExec = unix.S_ISGID | unix.S_IXGRP
	return SetID{User: a.Mode&unix.S_ISUID != 0, Group: a.Mode&groupExec == groupExec, UID: a.UID, GID: a.GID}, nil
}

// Program is a loaded program.
type Program struct {
	// Entry is where it starts, Stack its stack pointer.
	Entry, Stack uint64
	// Comm is the name of its thread, the last part of Args.Name.
	Comm string
}

// Identity is who the program runs as; see the auxiliary vector in getauxval(3).
type Identity struct {
	Creds *auth.Credentials
	// Secure is AT_SECURE: the program gained privileges by execve.
	Secure bool
}

// Load maps the program into m, which must be empty, and builds its stack.
// ctx is m's context; its registers are not touched. After an error m is good
// for nothing but to be released.
func (i *Image) Load(m *mm.MemoryManager, ctx platform.Context, id Identity) (Program, error) {
	l := load{image: i, m: m, ctx: ctx}
	if err := l.program(); err != nil {
		return Program{}, err
	}
	sp, err := l.stack(id)
	if err != nil {
		return Program{}, err
	}
	m.SetExe(i.prog)
	comm := path.Base(i.args.Name)
	if i.args.Name == "" {
		comm = ""
	}
	return Program{Entry: l.entry, Stack: sp, Comm: comm}, nil
}
