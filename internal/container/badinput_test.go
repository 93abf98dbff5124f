package container

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const patient = 30 * time.Second

// shortLockWait makes commands give up on locks at once, until the function that
// it returns is called.
func shortLockWait() func() {
	before := lockWait
	lockWait = time.Millisecond
	return func() { lockWait = before }
}

func TestIDs(t *testing.T) {
	for _, id := range []string{"a", "web-1", "A_b+c.d", "0", "...", "-x", strings.Repeat("x", maxID)} {
		if err := CheckID(id); err != nil {
			t.Error(err)
		}
	}
	s := storeAt(t.TempDir(), &fakeWall{})
	for _, id := range []string{"", ".", "..", "../x", "/x", "a/b", "a\nb", "a b", "a\x00b", "é", "a:b", strings.Repeat("x", maxID+1)} {
		wantError(t, CheckID(id), "invalid container ID format")
		if _, err := s.State(id); err == nil || !strings.Contains(err.Error(), "invalid container ID format") {
			t.Errorf("state of %q: %v", id, err)
		}
		wantError(t, s.Delete(id, true), "invalid container ID format")
	}
}

// TestPIDFilePlace: a number is written where a file is or can be, and who names another place is
// told what to do. Nothing else that is there is replaced, or removed.
func TestPIDFilePlace(t *testing.T) {
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "pid"), filepath.Join(dir, "fifo")
	for range 2 {
		if err := writePIDFile(file, 42); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(file); string(b) != "42" {
			t.Errorf("the file has %q, %v", b, err)
		}
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	link, other := filepath.Join(dir, "link"), filepath.Join(dir, ".pid.new")
	if err := os.Symlink("pid", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	wantError(t, writePIDFile(link, 43), "--pid-file "+link+": that is a symbolic link")
	if err := writePIDFile(file, 42); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ path, says string }{
		{filepath.Join(dir, "none", "pid"), "no such file or directory: make its directory first"},
		{filepath.Join(file, "pid"), "not a directory: what stands before the last /"},
		{filepath.Join(dir, strings.Repeat("x", 300)), "file name too long: shorten the name"},
		{dir, "that is a directory: name a file"}, {fifo, "that is a pipe"}, {"/dev/null", "that is a device"},
	} {
		wantError(t, writePIDFile(c.path, 42), "--pid-file "+c.path+": "+c.says)
	}
	if st, err := os.Lstat(fifo); err != nil || st.Mode()&fs.ModeNamedPipe == 0 {
		t.Errorf("the pipe was replaced: %v, %v", st, err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 4 {
		t.Errorf("files are left or gone: %v", list)
	}
}

// TestBrokenRecord: a container whose record cannot be used is told apart, does
// not hide the others, and can be removed with all that is its own.
func TestBrokenRecord(t *testing.T) {
	for _, c := range []struct {
		name, want string
		spoil      func(t *testing.T, record string)
	}{
		{"truncated", "is damaged", func(t *testing.T, f string) { truncate(t, f, 20) }},
		{"empty", "is damaged", func(t *testing.T, f string) { truncate(t, f, 0) }},
		{"newer", "is in format 999", func(t *testing.T, f string) { replace(t, f, `"format":1`, `"format":999`) }},
		{"another's", `its record is that of "other"`, func(t *testing.T, f string) { replace(t, f, `"id":"`, `"id":"other","was":"`) }},
		{"missing", "it has no record", func(t *testing.T, f string) { os.Remove(f) }},
		{"of another form", "is damaged", func(t *testing.T, f string) { replace(t, f, `"bundle":"`, `"bundle":1,"was":"`) }},
		{"a link", "cannot be read", func(t *testing.T, f string) { os.Remove(f); os.Symlink("/dev/zero", f) }},
		{"without configuration", "the configuration that it was made with", func(t *testing.T, f string) { os.Remove(filepath.Join(filepath.Dir(f), "config.json")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, id := testStore(t, &fakeWall{})
			init := create(t, s, id, newBundle(t, nil))
			other := create(t, s, id+"-other", newBundle(t, nil))
			cgroups := groups(t, s, id)
			c.spoil(t, filepath.Join(s.root, id, recordFile))
			_, err := s.State(id)
			wantError(t, err, c.want)
			wantError(t, err, "'coffer delete --force "+id+"' removes")
			wantError(t, s.Start(id), c.want)
			wantError(t, s.Delete(id, false), c.want)
			states, broken, err := s.List()
			if err != nil || len(states) != 1 || states[0].ID != id+"-other" || len(broken) != 1 {
				t.Errorf("list: %v, %v, %v", states, broken, err)
			}
			if err := s.Delete(id, true); err != nil {
				t.Errorf("delete --force: %v", err)
			}
			reap(init)
			wantGone(t, s, id, init, cgroups)
			if alive, _ := other.Alive(); !alive {
				t.Error("the other container has ended")
			}
		})
	}
}

func truncate(t *testing.T, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, file, old, new string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(b), old) {
		t.Fatalf("%q: %v", b, err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: what cannot be put on record is not made.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system takes root")
	}
	_, id := testStore(t, &fakeWall{})
	disk := t.TempDir()
	bundle := newBundle(t, func(spec *specs.Spec) {
		spec.Annotations = map[string]string{"long": strings.Repeat("x", 64<<10)}
	})
	cmd := (&command{Verb: "create", Root: filepath.Join(disk, "store"), ID: id, Bundle: bundle}).process(t)
	// In a mount namespace of its own, which takes the file system with it.
	script := "mount --make-rprivate / && mount -t tmpfs -o size=32k disk " + disk + ` || exit 77; "$0" "$1"; echo "status $?"; ls -A ` + disk + "/store"
	cmd = exec.Command("unshare", "--mount", "sh", "-c", script, "/proc/"+strconv.Itoa(os.Getpid())+"/exe", cmd.Args[1])
	cmd.Env = append(os.Environ(), role+"=command")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 77 || errors.Is(err, exec.ErrNotFound) {
		t.Skipf("mounting a small file system: %v %s", err, out)
	}
	if text := string(out); !strings.Contains(text, "no space left on device") || !strings.HasSuffix(text, "status 1\n") {
		t.Errorf("%v %s; want it to tell of the full disk, to fail, and to leave nothing", err, out)
	}
}

// TestDeletedCgroup: a container whose cgroup was taken away can be looked at
// and removed.
func TestDeletedCgroup(t *testing.T) {
	s, id := testStore(t, &fakeWall{})
	init := create(t, s, id, newBundle(t, nil))
	cgroups := groups(t, s, id)
	if len(cgroups) == 0 {
		t.Skip("containers have no cgroups here")
	}
	if err := s.Start(id); err != nil {
		t.Fatal(err)
	}
	for _, dir := range cgroups {
		up := filepath.Join(filepath.Dir(dir), "cgroup.procs")
		if err := os.WriteFile(up, []byte(strconv.Itoa(init.PID)), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Skipf("moving a process out of its cgroup: %v", err)
		}
		if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
			t.Fatal(err)
		}
	}
	wantStatus(t, s, id, specs.StateRunning)
	for name, do := range map[string]func() error{
		"pause":  func() error { return s.Pause(id) },
		"stats":  func() error { return s.Stats(id, func(Event) error { return nil }) },
		"update": func() error { return s.Update(id, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64)}}) },
	} {
		if err := do(); err == nil && name != "stats" {
			t.Errorf("%s of a container without its cgroup: no error", name)
		}
	}
	wantStatus(t, s, id, specs.StateRunning)
	if err := s.Delete(id, true); err != nil {
		t.Error(err)
	}
	reap(init)
	wantGone(t, s, id, init, cgroups)
}

// TestCgroupInUse: a cgroup that others use is refused, and left alone.
func TestCgroupInUse(t *testing.T) {
	s, id := testStore(t, &fakeWall{})
	init := create(t, s, id, newBundle(t, nil))
	if len(groups(t, s, id)) == 0 {
		t.Skip("containers have no cgroups here")
	}
	second := storeAt(filepath.Join(t.TempDir(), "store"), &fakeWall{})
	r, err := newRequest(id, newBundle(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	_, err = second.Create(r)
	wantError(t, err, "is not empty")
	wantGone(t, second, id, isolation.PID{}, nil)
	if alive, _ := init.Alive(); !alive {
		t.Error("the container that has the cgroup was ended")
	}
}

func TestSignals(t *testing.T) {
	for _, c := range []struct {
		word string
		want unix.Signal
		ok   bool
	}{
		{"TERM", unix.SIGTERM, true}, {"SIGTERM", unix.SIGTERM, true}, {"sigkill", unix.SIGKILL, true}, {"9", unix.SIGKILL, true}, {"0", 0, true},
		{"64", 64, true}, {"65", 0, false}, {"-1", 0, false}, {"", 0, false}, {"SIG", 0, false}, {"BOGUS", 0, false},
		{"RTMIN", 34, true}, {"SIGRTMIN+3", 37, true}, {"RTMAX", 64, true}, {"SIGRTMAX-14", 50, true}, {"RTMIN-1", 0, false}, {"RTMAX+1", 0, false}, {"RTMIN3", 0, false},
	} {
		got, err := ParseSignal(c.word)
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("ParseSignal(%q) = %d, %v", c.word, got, err)
		}
	}
}

// FuzzRecord: no record makes the reader panic, nor what is saved of it.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"format":1,"id":"a","bundle":"/b","isolation":"process","created":"2026-01-02T03:04:05Z","creator":{"pid":1,"started":2},"init":{"pid":3,"started":4},"cgroup":{"paths":{"":"/sys/fs/cgroup/a"}}}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := parseRecord(data, "state.json"); err == nil && r.Format != recordFormat {
			t.Errorf("format %d was taken", r.Format)
		}
		new(record).fill(data)
	})
}
