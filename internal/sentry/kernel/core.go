package kernel

import (
	"bytes"
	"strings"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/coredump"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// coreDump collects the state of the threads that end for a core dump.
// ThreadGroup.mu guards it.
type coreDump struct{ threads []coredump.Thread }

// dumpCore leaves a core dump of the process, which a signal is about to end, if
// there is to be one (core(5)), and reports whether there is. All other threads
// have ended then.
func (t *Task) dumpCore(info *abi.Siginfo) bool {
	limit := t.Limit(unix.RLIMIT_CORE)
	if limit < pageSize || t.mem == nil || t.mem.Dumpable() != 1 {
		return false
	}
	name := t.coreName(info.Signo, limit)
	if name == "" {
		return false
	}
	dump := new(coreDump)
	if t.endOthers(dump) != nil {
		return false
	}
	if err := t.ctx.Flush(); err != nil {
		return false
	}
	// It may take longer than a system call ever does.
	t.clock.pause(t, modeUninterruptible)
	defer t.clock.resume(t)
	f, err := t.openCore(name)
	if err != nil {
		return false
	}
	defer func() {
		_ = f.File.Flush(t)
		f.DecRef()
	}()
	regions := t.mem.Regions()
	defer mm.ReleaseRegions(regions)
	m := &coreMemory{t: t}
	p := t.coreProcess(info, dump)
	for i := range regions {
		r := &regions[i]
		c := coredump.Region{Start: r.Start, End: r.End, Prot: r.Prot, Dumped: m.dumped(r)}
		if r.File != nil {
			c.FileName, c.Offset = t.fileName(r.File), r.Offset
		}
		p.Regions = append(p.Regions, c)
	}
	m.regions = regions
	// As on Linux there is a dump as soon as it has begun: it may be cut off.
	_ = p.Write(coreFile{t, f}, m, limit)
	return true
}

// openCore opens the file, made anew or emptied: a plain one of the user's, with
// one name, so that nobody else's is written over.
func (t *Task) openCore(name string) (*vfs.FileDescription, error) {
	o := vfs.Origin{Root: t.fs.Root(), Start: t.fs.Cwd()}
	defer o.Root.DecRef()
	defer o.Start.DecRef()
	f, err := t.fs.Mounts().OpenAt(t, o, name, vfs.OpenHow{
		Flags: unix.O_CREAT | unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_LARGEFILE, Mode: 0o600,
	})
	if err != nil {
		return nil, err
	}
	a, err := f.Attr(t)
	switch {
	case err != nil:
	case a.Mode&unix.S_IFMT != unix.S_IFREG || a.Nlink != 1 || a.UID != t.Credentials().FSUID:
		err = unix.EPERM
	default:
		err = f.Truncate(t, 0)
	}
	if err != nil {
		f.DecRef()
		return nil, err
	}
	return f, nil
}

// fileName is an open file's path as the task sees it.
func (t *Task) fileName(f *vfs.FileDescription) string {
	p, err := f.Place()
	if err != nil {
		return ""
	}
	defer p.DecRef()
	root := t.fs.Root()
	defer root.DecRef()
	name, _ := t.fs.Mounts().PathName(root, p)
	return name
}

// leaveCore keeps the state of a thread that ends for its process's core dump.
func (t *Task) leaveCore() {
	g := t.group
	g.mu.Lock()
	dump := g.dump
	g.mu.Unlock()
	if dump == nil || t.ctx == nil {
		return
	}
	state := t.coreThread()
	g.mu.Lock()
	dump.threads = append(dump.threads, state)
	g.mu.Unlock()
}

// coreThread is the task's own state.
func (t *Task) coreThread() coredump.Thread {
	c := coredump.Thread{TID: t.TIDIn(t.PIDs()), Regs: *t.ctx.Regs(), Blocked: uint64(t.blocked.load())}
	if d, ok := t.ctx.(platform.Debuggable); ok {
		c.FP, _ = d.ReadFP()
	}
	c.User, c.System = t.CPUTime()
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	c.Pending = uint64(t.pending.set)
	return c
}

// coreProcess is what there is to tell of the process but for its memory.
func (t *Task) coreProcess(info *abi.Siginfo, dump *coreDump) *coredump.Process {
	g, ns, c := t.group, t.PIDs(), t.Credentials()
	i := t.mem.Info()
	const maxArgs = 80
	args := make([]byte, min(i.ArgEnd-min(i.ArgStart, i.ArgEnd), maxArgs))
	n, _ := t.ctx.CopyIn(i.ArgStart, args)
	p := &coredump.Process{
		PID: g.IDIn(ns), PPID: g.PPIDIn(ns), PGID: g.PGIDIn(ns), SID: g.SIDIn(ns),
		UID: c.UserNS.FromUID(c.RUID), GID: c.UserNS.FromGID(c.RGID),
		Nice: int32(t.Attributes().Nice), Comm: t.Comm(),
		Args:   string(bytes.ReplaceAll(bytes.TrimRight(args[:n], "\x00"), []byte{0}, []byte{' '})),
		Signal: *info, Auxv: i.Auxv, Threads: []coredump.Thread{t.coreThread()},
	}
	p.ChildUser, p.ChildSystem = g.ChildCPUTime()
	g.mu.Lock()
	defer g.mu.Unlock()
	p.Threads = append(p.Threads, dump.threads...)
	g.dump = nil
	return p
}

// coreFile is the file of a core dump.
type coreFile struct {
	t *Task
	f *vfs.FileDescription
}

// WriteAt implements coredump.Output. SIGKILL ends it.
func (c coreFile) WriteAt(b []byte, off int64) error {
	for len(b) > 0 {
		if c.t.Dying() {
			return unix.EINTR
		}
		n, err := c.f.Pwrite(c.t, b, off)
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.EIO
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// SetSize implements coredump.Output.
func (c coreFile) SetSize(n int64) error { return c.f.Truncate(c.t, n) }

// coreMemory is the memory of the process that a core dump is of.
type coreMemory struct {
	t       *Task
	regions []mm.Region
	buf     [2][64 * pageSize]byte
}

// Read implements coredump.Memory.
func (m *coreMemory) Read(addr uint64, b []byte) int {
	n, _ := m.t.mem.ReadRemote(addr, b)
	return n
}

// Next implements coredump.Memory: what the host has not given yet is zeros,
// where no file says what it is.
func (m *coreMemory) Next(addr, end uint64) (from, to uint64, err error) {
	if m.t.Dying() {
		return 0, 0, unix.EINTR
	}
	for len(m.regions) > 0 && m.regions[0].End <= addr {
		m.regions = m.regions[1:]
	}
	if len(m.regions) == 0 || !m.regions[0].Anonymous {
		return addr, end, nil
	}
	for vec := make([]byte, 1<<12); addr < end; {
		n, err := m.t.mem.Resident(m.t.ctx, addr, vec[:min(uint64(len(vec)), (end-addr)/pageSize)])
		if err != nil {
			return addr, end, nil // so it is read
		}
		first := bytes.IndexByte(vec[:n], 1)
		if first < 0 {
			addr += uint64(n) * pageSize
			continue
		}
		last := bytes.IndexByte(vec[first:n], 0)
		if last < 0 {
			last = n - first
		}
		from = addr + uint64(first)*pageSize
		return from, from + uint64(last)*pageSize, nil
	}
	return end, end, nil
}

// dumped is how much of a mapping the file is to have, as coredump_filter's
// default says (core(5)): what is not in a file, or not any more, what a process
// may have changed of one, and the first page of a program.
func (m *coreMemory) dumped(r *mm.Region) uint64 {
	size := r.End - r.Start
	switch {
	case r.DontDump, r.Prot&unix.PROT_READ == 0, r.Special && r.Prot&unix.PROT_EXEC == 0: // [vvar]
		return 0
	case r.File == nil:
		return size
	case r.Shared:
		if a, err := r.File.Attr(m.t); err != nil || a.Nlink != 0 {
			return 0
		}
		return size
	case r.Prot&unix.PROT_WRITE != 0 || m.changed(r):
		return size
	case r.Offset == 0 && strings.HasPrefix(string(m.buf[0][:m.Read(r.Start, m.buf[0][:4])]), "\x7fELF"):
		return pageSize
	}
	return 0
}

// changed reports whether a private mapping of a file is not what the file holds.
func (m *coreMemory) changed(r *mm.Region) bool {
	for at := uint64(0); at < r.End-r.Start && !m.t.Dying(); {
		b := m.buf[0][:min(uint64(len(m.buf[0])), r.End-r.Start-at)]
		n := m.Read(r.Start+at, b)
		file := m.buf[1][:n]
		got, err := r.File.Pread(m.t, file, int64(r.Offset+at))
		if err != nil {
			return true
		}
		clear(file[got:])
		if !bytes.Equal(b[:n], file) {
			return true
		}
		if n < len(b) {
			return false // the rest lies beyond the end
		}
		at += uint64(n)
	}
	return false
}
