package procfs

import (
	"strconv"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// content generates a file of a process's directory. b is appended to.
type content func(s subject, c vfs.Caller, b []byte) ([]byte, error)

// store takes what is written to such a file.
type store func(s subject, c vfs.Caller, data []byte) error

// taskEntry is one name in a process's directory. Exactly one of read, link,
// dir and node makes it what it is.
type taskEntry struct {
	name string
	perm uint32
	// guarded files may be opened only by who may look into the process.
	guarded bool
	// flat files are no records to lseek(2).
	flat *genfs.Flat
	// processOnly names are not in the directories of threads; threadOnly
	// ones only there.
	processOnly, threadOnly bool

	read  content
	write store
	// writeFor is for files where it counts who opened them too.
	writeFor func(s subject, c vfs.Caller, opener *auth.Credentials, data []byte) error
	// node makes the inode of anything but a plain file.
	node func(d *taskDir, ino uint64) vfs.Inode
	typ  uint8
}

// near and far are what entries without records may be.
var near, far = &genfs.Flat{Last: genfs.NearOffset}, &genfs.Flat{Last: genfs.FarOffset}

// taskEntries are the names in /proc/PID and /proc/PID/task/TID.
var taskEntries = []taskEntry{
	{name: "task", processOnly: true, node: newThreadsDir, typ: unix.DT_DIR},
	{name: "fd", node: newFDDir, typ: unix.DT_DIR},
	{name: "fdinfo", node: newFDInfoDir, typ: unix.DT_DIR},
	{name: "ns", node: newNamespaceDir, typ: unix.DT_DIR},
	{name: "net", node: newNetDir, typ: unix.DT_DIR},
	{name: "attr", node: newAttrDir, typ: unix.DT_DIR},
	{name: "environ", perm: 0o400, flat: near, guarded: true, read: environ},
	{name: "auxv", perm: 0o400, flat: near, guarded: true, read: auxv},
	{name: "status", perm: 0o444, read: status},
	{name: "personality", perm: 0o400, guarded: true, read: personality},
	{name: "limits", perm: 0o444, read: limits},
	{name: "sched", perm: 0o644, read: sched},
	{name: "comm", perm: 0o644, read: comm, write: setComm},
	{name: "syscall", perm: 0o400, guarded: true, read: syscallFile},
	{name: "cmdline", perm: 0o444, flat: near, read: cmdline},
	{name: "stat", perm: 0o444, read: stat},
	{name: "statm", perm: 0o444, read: statm},
	{name: "maps", perm: 0o444, guarded: true, read: maps},
	{name: "smaps", perm: 0o444, guarded: true, read: smaps},
	{name: "smaps_rollup", perm: 0o444, guarded: true, processOnly: true, read: smapsRollup},
	{name: "mem", perm: 0o600, guarded: true, node: newMemFile, typ: unix.DT_REG},
	{name: "clear_refs", perm: 0o200, write: clearRefs},
	{name: "cwd", node: newCwdLink, typ: unix.DT_LNK},
	{name: "root", node: newRootLink, typ: unix.DT_LNK},
	{name: "exe", node: newExeLink, typ: unix.DT_LNK},
	{name: "mounts", perm: 0o444, read: mounts},
	{name: "mountinfo", perm: 0o444, read: mountinfo},
	{name: "mountstats", perm: 0o400, processOnly: true, guarded: true, read: mountstats},
	{name: "wchan", perm: 0o444, read: wchan},
	{name: "stack", perm: 0o400, read: stack},
	{name: "schedstat", perm: 0o444, read: schedstat},
	{name: "cpuset", perm: 0o444, read: cpuset},
	{name: "cgroup", perm: 0o444, read: cgroup},
	{name: "oom_score", perm: 0o444, read: oomScore},
	{name: "oom_adj", perm: 0o644, flat: near, read: oomAdj, write: setOOMAdj},
	{name: "oom_score_adj", perm: 0o644, flat: far, read: oomScoreAdj, write: setOOMScoreAdj},
	{name: "loginuid", perm: 0o644, flat: near, read: loginuid, write: accept},
	{name: "sessionid", perm: 0o444, flat: near, read: sessionid},
	{name: "coredump_filter", perm: 0o644, flat: near, processOnly: true, read: coredumpFilter, write: accept},
	{name: "io", perm: 0o400, guarded: true, read: ioFile},
	{name: "uid_map", perm: 0o644, read: idMap(auth.UserID), writeFor: setIDMap(auth.UserID)},
	{name: "gid_map", perm: 0o644, read: idMap(auth.GroupID), writeFor: setIDMap(auth.GroupID)},
	{name: "projid_map", perm: 0o644, read: idMap(auth.ProjectID), writeFor: setIDMap(auth.ProjectID)},
	{name: "setgroups", perm: 0o644, read: setgroups, writeFor: setSetgroups},
	{name: "timers", perm: 0o444, processOnly: true, read: empty},
	{name: "timerslack_ns", perm: 0o666, processOnly: true, guarded: true, read: timerslack, write: setTimerslack},
	{name: "timens_offsets", perm: 0o644, read: timensOffsets, writeFor: setTimensOffsets},
	{name: "children", perm: 0o444, threadOnly: true, read: children},
	{name: "numa_maps", perm: 0o444, guarded: true, read: empty},
}

// entryIndex finds an entry by its name.
var entryIndex map[string]int

func init() {
	entryIndex = make(map[string]int, len(taskEntries))
	for i, e := range taskEntries {
		entryIndex[e.name] = i
	}
}

// in reports whether the entry is in the directory of a process or a thread.
func (e *taskEntry) in(thread bool) bool {
	if thread {
		return !e.processOnly
	}
	return !e.threadOnly
}

// taskDir is the inode of /proc/PID, or of /proc/PID/task/TID.
type taskDir struct {
	closedDir
	subject
	fs          *FS
	ino, parent uint64
	// thread says that this is a directory below task.
	asThread bool
}

func newTaskDir(fs *FS, parent uint64, s subject) *taskDir {
	return &taskDir{subject: s, fs: fs, parent: parent, ino: genfs.Ino(parent, strconv.Itoa(int(s.id())))}
}

// Process implements kernel.ProcessDirectory.
func (d *taskDir) Process() *kernel.ThreadGroup {
	if d.asThread || d.of != 0 {
		return nil
	}
	return d.group
}

// Attr implements vfs.Inode. The directory itself always shows the user, even
// of a process that is not dumpable.
func (d *taskDir) Attr() (vfs.Attr, error) {
	a := d.fs.super.Attr(d.ino, unix.S_IFDIR|0o555)
	a.UID, a.GID = d.user()
	start := d.group.StartTime()
	a.Mtime = vfs.Time{Sec: start.Unix(), Nsec: uint32(start.Nanosecond())}
	a.Atime, a.Ctime, a.Btime = a.Mtime, a.Mtime, a.Mtime
	for i := range taskEntries {
		if taskEntries[i].typ == unix.DT_DIR && taskEntries[i].in(d.asThread) {
			a.Nlink++
		}
	}
	return a, nil
}

// Lookup implements vfs.Inode.
func (d *taskDir) Lookup(name string) (vfs.Inode, error) {
	i, ok := entryIndex[name]
	if !ok || !taskEntries[i].in(d.asThread) {
		return nil, unix.ENOENT
	}
	if !d.alive() {
		return nil, unix.ESRCH
	}
	return d.make(&taskEntries[i]), nil
}

func (d *taskDir) make(e *taskEntry) vfs.Inode {
	ino := genfs.Ino(d.ino, e.name)
	if e.node != nil {
		return e.node(d, ino)
	}
	s := d.subject
	f := &genfs.File{Super: d.fs.super, Ino: ino, Perm: e.perm, Owner: s.owner, Flat: e.flat}
	if e.guarded {
		f.Check = func(c vfs.Caller, _ uint32) error { return s.mayLook(c) }
	}
	if e.read != nil {
		f.Content = func(c vfs.Caller, b []byte) ([]byte, error) { return e.read(s, c, b) }
	}
	if e.write != nil {
		f.Store = func(c vfs.Caller, data []byte) error { return e.write(s, c, data) }
	}
	if e.writeFor != nil {
		f.StoreFor = func(c vfs.Caller, opener *auth.Credentials, data []byte) error { return e.writeFor(s, c, opener, data) }
	}
	return f
}

// current implements volatile: a name is what it was as long as the process
// lives.
func (d *taskDir) current(_ string, child vfs.Inode) bool { return child != nil && d.alive() }

// Open implements vfs.Inode.
func (d *taskDir) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: d.ino, Parent: d.parent, Lister: d}, nil
}

// List implements genfs.Lister.
func (d *taskDir) List(_ vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	if !d.alive() {
		return unix.ENOENT
	}
	for i := after; i < int64(len(taskEntries)); i++ {
		e := &taskEntries[i]
		if !e.in(d.asThread) {
			continue
		}
		typ := e.typ
		if typ == 0 {
			typ = unix.DT_REG
		}
		if !emit(i+1, vfs.DirEntry{Ino: genfs.Ino(d.ino, e.name), Type: typ, Name: e.name}) {
			return nil
		}
	}
	return nil
}

// subDir is what the directories in a process's directory have in common.
type subDir struct {
	closedDir
	subject
	fs          *FS
	ino, parent uint64
	perm        uint32
}

func (d *taskDir) sub(ino uint64, perm uint32) subDir {
	return subDir{subject: d.subject, fs: d.fs, ino: ino, parent: d.ino, perm: perm}
}

// Attr implements vfs.Inode.
func (d *subDir) Attr() (vfs.Attr, error) {
	a := d.fs.super.Attr(d.ino, unix.S_IFDIR|d.perm)
	if d.perm == 0o555 {
		a.UID, a.GID = d.user()
	} else {
		a.UID, a.GID = d.owner()
	}
	return a, nil
}

// threadsDir is /proc/PID/task.
type threadsDir struct{ subDir }

func newThreadsDir(d *taskDir, ino uint64) vfs.Inode { return &threadsDir{d.sub(ino, 0o555)} }

func (d *threadsDir) Attr() (vfs.Attr, error) {
	a, err := d.subDir.Attr()
	a.Nlink += uint32(len(d.group.Tasks()))
	return a, err
}

func (d *threadsDir) Lookup(name string) (vfs.Inode, error) {
	tid, ok := parseID(name)
	if !ok {
		return nil, unix.ENOENT
	}
	s := subject{pids: d.pids, group: d.group, of: tid}
	if !s.alive() {
		return nil, unix.ENOENT
	}
	t := newTaskDir(d.fs, d.ino, s)
	t.asThread = true
	return t, nil
}

func (d *threadsDir) current(name string, child vfs.Inode) bool {
	t, ok := child.(*taskDir)
	return ok && t.alive()
}

func (d *threadsDir) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: d.ino, Parent: d.parent, Lister: d}, nil
}

// List implements genfs.Lister; a thread's key is its number.
func (d *threadsDir) List(_ vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	if !d.alive() {
		return unix.ENOENT
	}
	var ids []int32
	leader := d.group.IDIn(d.pids)
	ids = append(ids, leader)
	for _, t := range d.group.Tasks() {
		if id := t.TIDIn(d.pids); id != leader {
			ids = append(ids, id)
		}
	}
	sortIDs(ids)
	for _, id := range ids {
		if int64(id) <= after {
			continue
		}
		name := strconv.Itoa(int(id))
		if !emit(int64(id), vfs.DirEntry{Ino: genfs.Ino(d.ino, name), Type: unix.DT_DIR, Name: name}) {
			return nil
		}
	}
	return nil
}
