package procfs

import (
	"bytes"

	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// maxArea bounds how much of a process's arguments or environment one read of
// the file shows. The bounds are the process's own to set.
const maxArea = 2 << 20

// area copies the guest memory in [start, end), as far as it can be read. A
// process without memory has empty ones.
func (s subject) area(b []byte, bounds func(mm.Info) (start, end uint64)) ([]byte, error) {
	m, err := s.memory()
	if err != nil || m == nil {
		return b, err
	}
	start, end := bounds(m.Info())
	if start == 0 || end <= start {
		return b, nil
	}
	data := make([]byte, min(end-start, maxArea))
	n, _ := m.ReadRemote(start, data)
	return append(b, data[:n]...), nil
}

// cmdline renders /proc/PID/cmdline. A process that has overwritten the end
// of its arguments (setproctitle(3)) shows the string that it put there,
// which may go on into its environment.
func cmdline(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	args, err := s.area(b, func(i mm.Info) (uint64, uint64) { return i.ArgStart, i.ArgEnd })
	if err != nil || len(args) == 0 || args[len(args)-1] == 0 {
		return args, err
	}
	if i := bytes.IndexByte(args, 0); i >= 0 {
		return args[:i+1], nil
	}
	all, err := s.area(b, func(i mm.Info) (uint64, uint64) { return i.ArgStart, max(i.ArgEnd, i.EnvEnd) })
	if i := bytes.IndexByte(all, 0); i >= 0 {
		all = all[:i+1]
	}
	return all, err
}

func environ(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	return s.area(b, func(i mm.Info) (uint64, uint64) { return i.EnvStart, i.EnvEnd })
}

func auxv(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	m, err := s.memory()
	if err != nil || m == nil {
		return b, err
	}
	return append(b, m.Info().Auxv...), nil
}

// namer names mapped files as c sees them.
func namer(c vfs.Caller) mm.PathNamer {
	return func(f *vfs.FileDescription) string { return fileName(c, f) }
}

// ofMemory renders a file that mm knows; empty without memory.
func ofMemory(render func(m *mm.MemoryManager, c vfs.Caller) []byte) content {
	return func(s subject, c vfs.Caller, b []byte) ([]byte, error) {
		m, err := s.memory()
		if err != nil || m == nil {
			return b, err
		}
		return append(b, render(m, c)...), nil
	}
}

var (
	maps  = ofMemory(func(m *mm.MemoryManager, c vfs.Caller) []byte { return m.Maps(namer(c)) })
	smaps = ofMemory(func(m *mm.MemoryManager, c vfs.Caller) []byte { return m.SMaps(namer(c)) })

	smapsRollup = ofMemory(func(m *mm.MemoryManager, _ vfs.Caller) []byte { return m.SMapsRollup() })
)

// memInode is /proc/PID/mem.
type memInode struct {
	vfs.NoInode
	subject
	fs  *FS
	ino uint64
}

func newMemFile(d *taskDir, ino uint64) vfs.Inode {
	return &memInode{subject: d.subject, fs: d.fs, ino: ino}
}

func (i *memInode) Attr() (vfs.Attr, error) {
	a := i.fs.super.Attr(i.ino, unix.S_IFREG|0o600)
	a.UID, a.GID = i.owner()
	return a, nil
}

// Open implements vfs.Inode. The address space is the one of the time of
// opening, whatever the process executes later.
func (i *memInode) Open(c vfs.Caller, _ uint32) (vfs.File, error) {
	if err := i.mayLook(c); err != nil {
		return nil, err
	}
	m, err := i.memory()
	if err != nil {
		return nil, err
	}
	return &memFile{m: m}, nil
}

// memFile reads and writes guest memory at its addresses, as a debugger does.
type memFile struct {
	vfs.NoFile
	m *mm.MemoryManager // nil for a process that has ended
}

func (f *memFile) Read(_ vfs.Caller, p []byte, off int64) (int, error) {
	if f.m == nil || len(p) == 0 {
		return 0, nil
	}
	n, err := f.m.ReadRemote(uint64(off), p)
	if n > 0 {
		return n, nil
	}
	if err == unix.EFAULT {
		err = unix.EIO
	}
	return 0, err
}

func (f *memFile) Write(_ vfs.Caller, p []byte, off int64, _ uint32) (int, int64, error) {
	if f.m == nil || len(p) == 0 {
		return 0, off, nil
	}
	n, err := f.m.PokeRemote(uint64(off), p)
	if n > 0 {
		return n, off + int64(n), nil
	}
	if err == unix.EFAULT {
		err = unix.EIO
	}
	return 0, off, err
}

// Seek allows the upper half of the address space, as Linux does.
func (f *memFile) Seek(whence int, off, present int64) (int64, error) {
	switch whence {
	case unix.SEEK_SET:
		return off, nil
	case unix.SEEK_CUR:
		return present + off, nil
	}
	return 0, unix.EINVAL
}
