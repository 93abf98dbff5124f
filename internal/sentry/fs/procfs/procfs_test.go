package procfs

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// system is a kernel whose root file system is proc, with a process that has
// no memory.
type system struct {
	*testing.T
	k    *kernel.Kernel
	fs   *FS
	ns   *vfs.MountNamespace
	init *kernel.Task
}

func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{T: t, k: kernel.New(kernel.Config{Hostname: "box"})}
	s.fs = New(Config{Kernel: s.k, Cmdline: "quiet"})
	s.ns = vfs.NewMountNamespace(s.fs, unix.MS_NOSUID)
	s.init = s.process(auth.New(0, 0, nil), "init")
	return s
}

// end gives back what all systems share, such as the number of mounts, for those that are made without end.
func (s *system) end() {
	s.init.Discard()
	s.ns.DecRef()
}

func (s *system) process(c *auth.Credentials, comm string) *kernel.Task {
	s.Helper()
	t, err := s.k.CreateProcess(kernel.ProcessConfig{
		Credentials: c, Comm: comm, FDs: vfs.NewFDTable(),
		FS: kernel.NewFSContext(s.ns, s.ns.Root(), s.ns.Root(), 0o22),
	})
	if err != nil {
		s.Fatal(err)
	}
	return t
}

func (s *system) open(c *kernel.Task, path string, flags uint32) (*vfs.FileDescription, error) {
	root := c.FS().Root()
	defer root.DecRef()
	return s.ns.OpenAt(c, vfs.Origin{Root: root, Start: root}, path, vfs.OpenHow{Flags: flags})
}

// read returns a file's content as c sees it, read in small pieces.
func (s *system) read(c *kernel.Task, path string) (string, error) {
	f, err := s.open(c, path, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.DecRef()
	var all []byte
	for {
		var b [97]byte
		n, err := f.Read(c, b[:])
		if err != nil || n == 0 {
			return string(all), err
		}
		all = append(all, b[:n]...)
	}
}

func (s *system) must(path string) string {
	s.Helper()
	out, err := s.read(s.init, path)
	if err != nil {
		s.Fatalf("read %s: %v", path, err)
	}
	return out
}

func (s *system) write(c *kernel.Task, path, data string) error {
	f, err := s.open(c, path, unix.O_WRONLY|unix.O_TRUNC)
	if err != nil {
		return err
	}
	defer f.DecRef()
	_, err = f.Write(c, []byte(data))
	return err
}

func (s *system) list(path string) []string {
	s.Helper()
	f, err := s.open(s.init, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		s.Fatalf("open %s: %v", path, err)
	}
	defer f.DecRef()
	var names []string
	for {
		n := len(names)
		left := 3 // a few at a time
		if err := f.Readdir(s.init, func(e vfs.DirEntry) bool {
			if left == 0 {
				return false
			}
			left--
			names = append(names, e.Name)
			return true
		}); err != nil {
			s.Fatal(err)
		}
		if len(names) == n {
			return names
		}
	}
}

func (s *system) link(c *kernel.Task, path string) (string, error) {
	root := c.FS().Root()
	defer root.DecRef()
	p, err := s.ns.Resolve(c, vfs.Origin{Root: root, Start: root}, path, vfs.NoFollowLast)
	if err != nil {
		return "", err
	}
	defer p.DecRef()
	return p.Inode().Readlink(c)
}

func TestEveryFileCanBeRead(t *testing.T) {
	s := newSystem(t)
	var visit func(dir string, depth int)
	visited := 0
	visit = func(dir string, depth int) {
		for _, name := range s.list(dir) {
			path := strings.TrimPrefix(dir+"/"+name, "./")
			if name == "." || name == ".." || depth > 6 {
				continue
			}
			root := s.ns.Root()
			p, err := s.ns.Resolve(s.init, vfs.Origin{Root: root, Start: root}, path, vfs.NoFollowLast)
			root.DecRef()
			if err != nil {
				t.Errorf("%s is listed: %v", path, err)
				continue
			}
			a, err := p.Attr()
			p.DecRef()
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			visited++
			switch a.Mode & unix.S_IFMT {
			case unix.S_IFDIR:
				visit(path, depth+1)
			case unix.S_IFREG:
				_, err := s.read(s.init, path)
				allowed := strings.Contains(path, "/attr/") || strings.HasSuffix(path, "/stack") ||
					strings.HasSuffix(path, "/clear_refs") || network.WriteOnly(strings.TrimPrefix(path, "sys/net/"))
				if err != nil && !allowed {
					t.Errorf("%s: %v", path, err)
				}
			}
		}
	}
	visit(".", 0)
	if visited < 250 {
		t.Errorf("only %d entries", visited)
	}
}

func TestStat(t *testing.T) {
	s := newSystem(t)
	s.init.SetComm("a) b (c")
	got := s.must("1/stat")
	if !strings.HasPrefix(got, "1 (a) b (c) ") || !strings.HasSuffix(got, "\n") {
		t.Fatalf("stat %q", got)
	}
	fields := strings.Fields(got[strings.LastIndex(got, ")")+1:])
	if len(fields) != 50 {
		t.Errorf("%d fields after the name, want 50: %q", len(fields), got)
	}
	for i, want := range map[int]string{1: "0", 2: "1", 3: "1", 4: "0", 5: "-1", 15: "20", 16: "0", 17: "1"} {
		if fields[i] != want {
			t.Errorf("field %d is %s, want %s", i+3, fields[i], want)
		}
	}
	for i, f := range fields[1:] {
		if _, err := strconv.ParseInt(f, 10, 64); err != nil {
			if _, err := strconv.ParseUint(f, 10, 64); err != nil {
				t.Errorf("field %d: %v", i+4, err)
			}
		}
	}
	if n := len(strings.Fields(s.must("self/statm"))); n != 7 {
		t.Errorf("statm has %d fields", n)
	}
	for _, path := range []string{"self/task/1/stat", "thread-self/stat"} {
		if !strings.HasPrefix(s.must(path), "1 (") {
			t.Errorf("%s", path)
		}
	}
}

// keys parses "Key:\tvalue" lines.
func keys(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(line, ":")
		m[k] = strings.TrimSpace(v)
	}
	return m
}

func TestStatus(t *testing.T) {
	s := newSystem(t)
	s.process(&auth.Credentials{RUID: 1, EUID: 2, SUID: 3, FSUID: 4, RGID: 5, EGID: 6, SGID: 7, FSGID: 8,
		Groups: []uint32{9, 10}, Effective: 0x21, NoNewPrivs: true}, "new\nline")
	m := keys(s.must("2/status"))
	for k, want := range map[string]string{
		"Name": `new\nline`, "Umask": "0022", "Tgid": "2", "Pid": "2", "PPid": "0", "Threads": "1",
		"Uid": "1\t2\t3\t4", "Gid": "5\t6\t7\t8", "Groups": "9 10", "CapEff": "0000000000000021",
		"NoNewPrivs": "1", "Seccomp": "0", "FDSize": "64", "SigBlk": "0000000000000000", "TracerPid": "0",
	} {
		if m[k] != want {
			t.Errorf("%s is %q, want %q", k, m[k], want)
		}
	}
	for _, k := range []string{"State", "SigQ", "SigPnd", "SigCgt", "Cpus_allowed", "Cpus_allowed_list", "Mems_allowed"} {
		if m[k] == "" {
			t.Errorf("no %s", k)
		}
	}
}

func TestSystemFiles(t *testing.T) {
	s := newSystem(t)
	if m := keys(s.must("meminfo")); !strings.HasSuffix(m["MemTotal"], " kB") || m["SwapTotal"] != "0 kB" {
		t.Errorf("meminfo %q", m)
	}
	var up, idle float64
	if n, err := fmt.Sscanf(s.must("uptime"), "%f %f\n", &up, &idle); n != 2 {
		t.Error(err)
	}
	var a, b, c float64
	var running, all, last int
	if _, err := fmt.Sscanf(s.must("loadavg"), "%f %f %f %d/%d %d", &a, &b, &c, &running, &all, &last); err != nil || all != 1 || last != 1 {
		t.Errorf("loadavg %q: %v", s.must("loadavg"), err)
	}
	stat := s.must("stat")
	if n := len(strings.Fields(strings.SplitN(stat, "\n", 2)[0])); n != 11 {
		t.Errorf("%d fields in stat's first line", n)
	}
	for _, want := range []string{"\ncpu0 ", "\nbtime ", "\nprocesses ", "\nprocs_running "} {
		if !strings.Contains(stat, want) {
			t.Errorf("no %q in stat", want)
		}
	}
	if got := s.must("sys/kernel/hostname"); got != "box\n" {
		t.Errorf("hostname %q", got)
	}
	if err := s.write(s.init, "sys/kernel/hostname", "other\n"); err != nil || s.init.UTS().Hostname() != "other" {
		t.Errorf("hostname %q, %v", s.init.UTS().Hostname(), err)
	}
	if s.must("sys/kernel/random/uuid") == s.must("sys/kernel/random/uuid") {
		t.Error("uuid repeats")
	}
	if id := s.must("sys/kernel/random/boot_id"); id != s.must("sys/kernel/random/boot_id") || len(id) != 37 {
		t.Errorf("boot_id %q", id)
	}
	if err := s.write(s.init, "sys/vm/swappiness", "7"); err != nil || s.must("sys/vm/swappiness") != "7\n" {
		t.Errorf("swappiness %q, %v", s.must("sys/vm/swappiness"), err)
	}
	if err := s.write(s.init, "sys/vm/swappiness", "x"); err != unix.EINVAL {
		t.Errorf("swappiness x: %v", err)
	}
	user := s.process(auth.New(1000, 1000, nil), "user")
	if err := s.write(user, "sys/vm/swappiness", "7"); err != unix.EACCES {
		t.Errorf("swappiness by a user: %v", err)
	}
	if got := s.must("filesystems"); !strings.Contains(got, "nodev\tproc\n") {
		t.Errorf("filesystems %q", got)
	}
}

func TestMounts(t *testing.T) {
	s := newSystem(t)
	if got := s.must("mounts"); got != "proc / proc rw,nosuid,relatime 0 0\n" {
		t.Errorf("mounts %q", got)
	}
	var id, parent, major, minor int
	var root, point, options, dash, typ, source, super string
	n, err := fmt.Sscanf(s.must("self/mountinfo"), "%d %d %d:%d %s %s %s %s %s %s %s",
		&id, &parent, &major, &minor, &root, &point, &options, &dash, &typ, &source, &super)
	if n != 11 || root != "/" || point != "/" || options != "rw,nosuid,relatime" || dash != "-" || typ != "proc" || super != "rw" {
		t.Errorf("mountinfo %q: %v", s.must("self/mountinfo"), err)
	}
	if got := string(escape(nil, "a b\\c\n")); got != `a\040b\134c\012` {
		t.Errorf("escape %q", got)
	}
}

func TestProcessesComeAndGo(t *testing.T) {
	s := newSystem(t)
	other := s.process(auth.New(0, 0, nil), "other")
	names := s.list(".")
	if names[len(names)-2] != "1" || names[len(names)-1] != "2" {
		t.Errorf("listed %q", names)
	}
	seen := map[string]bool{}
	for _, n := range names {
		if seen[n] {
			t.Errorf("%s is listed twice", n)
		}
		seen[n] = true
	}
	f, err := s.open(s.init, "2/status", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.DecRef()
	other.Discard()
	if _, err := s.read(s.init, "2/status"); err != unix.ENOENT {
		t.Errorf("open after the end: %v", err)
	}
	if _, err := f.Read(s.init, make([]byte, 10)); err != unix.ESRCH {
		t.Errorf("read after the end: %v", err)
	}
	for _, name := range []string{"0", "01", "+1", "99999999999", "-1", "1x"} {
		if _, err := s.open(s.init, name, unix.O_RDONLY); err != unix.ENOENT {
			t.Errorf("open %s: %v", name, err)
		}
	}
}

func TestDescriptors(t *testing.T) {
	s := newSystem(t)
	file, err := s.open(s.init, "version", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	pipe := anon.New("pipe:", unix.S_IFIFO|0o600, anon.PipeDev, nil)
	for i, f := range []*vfs.FileDescription{file, vfs.NewDescription(vfs.NoFile{}, pipe, vfs.Path{}, unix.O_WRONLY)} {
		if _, err := s.init.FDs().InstallAt(f, int32(i*10), 1024, i == 1); err != nil {
			t.Fatal(err)
		}
		f.DecRef()
	}
	if got := strings.Join(s.list("self/fd"), " "); got != ". .. 0 10" {
		t.Errorf("fd lists %q", got)
	}
	for path, want := range map[string]string{"self/fd/0": "/version", "1/fd/10": pipe.LinkName()} {
		if got, err := s.link(s.init, path); err != nil || got != want {
			t.Errorf("%s leads to %q, %v; want %q", path, got, err, want)
		}
	}
	if got := s.must("self/fd/0"); !strings.HasPrefix(got, "Linux version ") {
		t.Errorf("through fd/0: %q", got)
	}
	if _, err := s.link(s.init, "self/fd/3"); err != unix.ENOENT {
		t.Errorf("fd/3: %v", err)
	}
	file.Seek(nil, 5, io.SeekStart)
	m := keys(s.must("self/fdinfo/0"))
	if m["pos"] != "5" || m["flags"] != "00" {
		t.Errorf("fdinfo/0 %q", m)
	}
	if m := keys(s.must("self/fdinfo/10")); m["flags"] != "02000001" {
		t.Errorf("fdinfo/10 %q", m)
	}
	s.init.FDs().Remove(0).DecRef()
	if _, err := s.link(s.init, "self/fd/0"); err != unix.ENOENT {
		t.Errorf("fd/0 after close: %v", err)
	}
}

func TestPermissions(t *testing.T) {
	s := newSystem(t)
	user := s.process(auth.New(1000, 1000, nil), "user")
	friend := s.process(auth.New(1000, 1000, nil), "friend")
	for _, name := range []string{"environ", "maps", "auxv", "io", "syscall"} {
		if _, err := s.read(user, "1/"+name); err != unix.EACCES {
			t.Errorf("%s of root by a user: %v", name, err)
		}
		if _, err := s.read(user, fmt.Sprintf("%d/%s", friend.PID(), name)); err != nil {
			t.Errorf("%s of the same user: %v", name, err)
		}
		if _, err := s.read(s.init, fmt.Sprintf("%d/%s", user.PID(), name)); err != nil {
			t.Errorf("%s of a user by root: %v", name, err)
		}
	}
	for _, name := range []string{"cwd", "root", "ns/pid"} {
		if _, err := s.link(user, "1/"+name); err != unix.EACCES {
			t.Errorf("%s of root by a user: %v", name, err)
		}
	}
	if _, err := s.open(user, "1/fd", unix.O_RDONLY|unix.O_DIRECTORY); err != unix.EACCES {
		t.Errorf("fd of root by a user: %v", err)
	}
	if got, err := s.link(user, "self/ns/pid"); err != nil || got != "pid:[4026531836]" {
		t.Errorf("ns/pid %q, %v", got, err)
	}
	if err := s.write(user, fmt.Sprintf("%d/comm", friend.PID()), "x"); err != unix.EINVAL {
		t.Errorf("comm of another process: %v", err)
	}
	if err := s.write(user, "self/comm", "a-name-that-is-too-long\n"); err != nil || user.Comm() != "a-name-that-is-" {
		t.Errorf("comm %q, %v", user.Comm(), err)
	}
	if err := s.write(user, "self/oom_score_adj", "100"); err != nil || user.ThreadGroup().OOMScoreAdj() != 100 {
		t.Errorf("oom_score_adj: %v", err)
	}
	if err := s.write(user, "self/oom_score_adj", "50"); err != unix.EACCES {
		t.Errorf("lower oom_score_adj: %v", err)
	}
	if err := s.write(s.init, "self/oom_score_adj", "1001"); err != unix.EINVAL {
		t.Errorf("oom_score_adj 1001: %v", err)
	}
}

func TestCPUInfo(t *testing.T) {
	host := "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu fsgsbase sse\ncore id\t\t: 0\n\nprocessor\t: 1\nmodel name\t: X\n"
	got := cpuInfo(host, []uint64{5})
	want := "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu sse\ncore id\t\t: 0\n\n" +
		"processor\t: 2\nmodel name\t: X\nflags\t\t: fpu sse\ncore id\t\t: 2\n\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzWrite checks that whatever is written to a file that takes it leaves
// /proc readable.
func FuzzWrite(f *testing.F) {
	paths := []string{"self/comm", "self/oom_score_adj", "self/oom_adj", "self/clear_refs", "self/timerslack_ns",
		"self/uid_map", "self/coredump_filter", "sys/kernel/hostname", "sys/kernel/domainname", "sys/vm/swappiness",
		"sys/kernel/core_pattern", "sys/kernel/printk", "self/mem"}
	for i := range paths {
		f.Add(uint8(i), []byte("1\n"))
		f.Add(uint8(i), []byte("-0x7fffffffffffffff\x00\xff"))
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		s := newSystem(t)
		defer s.end()
		path := paths[int(which)%len(paths)]
		s.write(s.init, path, string(data))
		s.must("self/status")
		s.must("self/stat")
		if len(s.init.UTS().Hostname()) > maxName {
			t.Errorf("hostname of %d bytes", len(s.init.UTS().Hostname()))
		}
		if v := s.init.ThreadGroup().OOMScoreAdj(); v < oomScoreAdjMin || v > oomScoreAdjMax {
			t.Errorf("oom_score_adj %d", v)
		}
	})
}

func BenchmarkStat(b *testing.B) {
	s := newSystem(&testing.T{})
	f, err := s.open(s.init, "self/stat", unix.O_RDONLY)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Pread(s.init, buf, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenReadStatus(b *testing.B) {
	s := newSystem(&testing.T{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.read(s.init, "1/status"); err != nil {
			b.Fatal(err)
		}
	}
}
