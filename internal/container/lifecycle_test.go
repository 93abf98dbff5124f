package container

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func create(t *testing.T, s *Store, id, bundle string) isolation.PID {
	t.Helper()
	r, err := newRequest(id, bundle)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := s.Create(r)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func wantStatus(t *testing.T, s *Store, id string, want Status) {
	t.Helper()
	state, err := s.State(id)
	if err != nil || state.Status != want {
		t.Errorf("state %+v, %v; want it %s", state, err, want)
	}
}

// wantError checks that an error says what it should, and if it is a known one.
func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one with %q", err, text)
	}
}

// wantGone checks that nothing is left of a container.
func wantGone(t *testing.T, s *Store, id string, init isolation.PID, cgroups map[string]string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(s.root, id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory: %v", err)
	}
	if alive, err := init.Alive(); alive || err != nil {
		t.Errorf("its process: alive %v, %v", alive, err)
	}
	for _, dir := range cgroups {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its cgroup %s: %v", dir, err)
		}
	}
}

// groups are the directories of a container's cgroup.
func groups(t *testing.T, s *Store, id string) map[string]string {
	t.Helper()
	c, err := s.Find(id)
	if err != nil {
		t.Fatal(err)
	}
	if c.Cgroup == nil {
		return nil
	}
	return c.Cgroup.Paths
}

// TestLifecycle leads a container through all states, and asks in each for what
// it does not allow.
func TestLifecycle(t *testing.T) {
	out := filepath.Join(t.TempDir(), "hooks")
	note := func(stage string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo " + stage + " $(cat) >> " + out}}}
	}
	bundle := newBundle(t, func(spec *specs.Spec) {
		spec.Annotations = map[string]string{"a": "b"}
		spec.Hooks = &specs.Hooks{
			Prestart: note("prestart"), CreateRuntime: note("createRuntime"), Poststart: note("poststart"), Poststop: note("poststop"),
		}
	})
	s, id := testStore(t, &fakeWall{})
	if _, err := s.State(id); !errors.Is(err, ErrNotExist) {
		t.Errorf("state before: %v", err)
	}
	init := create(t, s, id, bundle)
	cgroups := groups(t, s, id)
	state, err := s.State(id)
	if err != nil {
		t.Fatal(err)
	}
	if state.PID != init.PID || state.Status != specs.StateCreated || state.Bundle != bundle || state.Rootfs != bundle+"/rootfs" ||
		state.Annotations["a"] != "b" || state.Isolation != isolation.LevelProcess || state.Version != specs.Version || state.Created.IsZero() {
		t.Errorf("created: %+v", state)
	}
	r, _ := newRequest(id, bundle)
	if _, err := s.Create(r); !errors.Is(err, ErrExist) {
		t.Errorf("create again: %v", err)
	}
	wantError(t, s.Resume(id), "container not paused")
	if err := s.Start(id); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, s, id, specs.StateRunning)
	wantError(t, s.Start(id), "cannot start an already running container")
	wantError(t, s.Delete(id, false), "cannot delete container "+id+" that is not stopped: running")
	wantError(t, s.Resume(id), "container not paused")
	exec := func() error {
		pid, err := s.Exec(id, &ExecRequest{Exec: isolation.Exec{Process: &specs.Process{Args: []string{"true"}}}})
		if err == nil {
			reap(pid)
		}
		return err
	}
	if err := exec(); err != nil {
		t.Errorf("exec: %v", err)
	}
	if c, _ := s.Find(id); len(cgroups) > 0 && c != nil {
		if err := s.Pause(id); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, s, id, Paused)
		wantError(t, s.Pause(id), "container not running")
		wantError(t, exec(), "cannot exec in a paused container (use --ignore-paused to override")
		wantError(t, s.Start(id), "cannot start a paused container")
		wantError(t, s.Delete(id, false), "that is not stopped: paused")
		if err := s.Resume(id); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, s, id, specs.StateRunning)
		limit := int64(64 << 20)
		if err := s.Update(id, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}); err != nil {
			t.Errorf("update: %v", err)
		}
		var event Event
		if err := s.Stats(id, func(e Event) error { event = e; return nil }); err != nil || event.Type != "stats" || event.ID != id || event.Data.Memory.Usage.Limit != uint64(limit) {
			t.Errorf("stats: %+v, %v", event, err)
		}
	}
	if _, list, err := s.Processes(id); err != nil || len(list) != 1 || list[0].PID != init.PID {
		t.Errorf("processes: %v, %v", list, err)
	}
	if err := s.Kill(id, unix.SIGTERM, false); err != nil {
		t.Fatal(err)
	}
	if status := reap(init); status.ExitStatus() != 7 {
		t.Errorf("it ended with %v", status)
	}
	wantStatus(t, s, id, specs.StateStopped)
	if state, err := s.State(id); err != nil || state.PID != 0 {
		t.Errorf("stopped: %+v, %v", state, err)
	}
	if err := s.Kill(id, unix.SIGTERM, false); !errors.Is(err, ErrNotRunning) {
		t.Errorf("kill when it has stopped: %v", err)
	}
	wantError(t, s.Start(id), "cannot start a container that has stopped")
	wantError(t, exec(), "cannot exec in a stopped container")
	if err := s.Pause(id); !errors.Is(err, ErrNotRunning) {
		t.Errorf("pause when it has stopped: %v", err)
	}
	wantError(t, s.Stats(id, nil), "is not running")
	if err := s.Delete(id, false); err != nil {
		t.Fatal(err)
	}
	wantGone(t, s, id, init, cgroups)
	if err := s.Delete(id, false); !errors.Is(err, ErrNotExist) {
		t.Errorf("delete again: %v", err)
	}
	if err := s.Delete(id, true); err != nil {
		t.Errorf("delete --force of none: %v", err)
	}
	checkHooks(t, out, id, init.PID)
}

// checkHooks checks which hooks ran, in which order, with which state.
func checkHooks(t *testing.T, out, id string, pid int) {
	t.Helper()
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		stage  string
		status Status
		pid    int
	}{{"prestart", specs.StateCreating, pid}, {"createRuntime", specs.StateCreating, pid}, {"poststart", specs.StateRunning, pid}, {"poststop", specs.StateStopped, 0}}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != len(want) {
		t.Fatalf("hooks that ran: %q", lines)
	}
	for i, w := range want {
		stage, text, _ := strings.Cut(lines[i], " ")
		var state specs.State
		if err := json.Unmarshal([]byte(text), &state); err != nil || stage != w.stage || state.Status != w.status || state.Pid != w.pid || state.ID != id || state.Annotations["a"] != "b" {
			t.Errorf("hook %d: %s, want %+v (%v)", i, lines[i], w, err)
		}
	}
}

// TestCreateFails: wherever it does, nothing is left, and the hooks of poststop
// ran if others had been due.
func TestCreateFails(t *testing.T) {
	for _, c := range []struct {
		at, pidFile, hook string
		poststop          bool
	}{
		{at: "check"}, {at: "create begins"}, {at: "process is there"}, {hook: "exit 1", poststop: true},
		{at: "hooks have run", poststop: true}, {at: "create ends", poststop: true}, {pidFile: "/nowhere/pid", poststop: true},
	} {
		t.Run(c.at+c.pidFile+c.hook, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "poststop")
			s, id := testStore(t, &fakeWall{failAt: c.at})
			bundle := newBundle(t, func(spec *specs.Spec) {
				spec.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat > " + out}}}}
				if c.hook != "" {
					spec.Hooks.CreateRuntime = []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", c.hook}}}
				}
			})
			r, err := newRequest(id, bundle)
			if err != nil {
				t.Fatal(err)
			}
			r.PIDFile = c.pidFile
			if _, err := s.Create(r); err == nil {
				t.Fatal("no error")
			}
			wantGone(t, s, id, isolation.PID{}, nil)
			if _, err := os.Stat(out); (err == nil) != c.poststop {
				t.Errorf("hooks of poststop: %v, want them %v", err, c.poststop)
			}
		})
	}
}

// TestOneOfMany: of many commands at once that only one can do, one does it.
func TestOneOfMany(t *testing.T) {
	s, id := testStore(t, &fakeWall{})
	bundle := newBundle(t, nil)
	const many = 8
	atOnce := func(do func() error) (done int, others []error) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range many {
			wg.Go(func() {
				err := do()
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					done++
				} else {
					others = append(others, err)
				}
			})
		}
		wg.Wait()
		return done, others
	}
	var init isolation.PID
	done, others := atOnce(func() error {
		r, err := newRequest(id, bundle)
		if err == nil {
			var pid isolation.PID
			if pid, err = s.Create(r); err == nil {
				init = pid
			}
		}
		return err
	})
	if done != 1 {
		t.Fatalf("%d commands made the container: %v", done, others)
	}
	for _, err := range others {
		if !errors.Is(err, ErrExist) {
			t.Errorf("create: %v", err)
		}
	}
	done, others = atOnce(func() error { return s.Start(id) })
	if done != 1 {
		t.Errorf("%d commands started it: %v", done, others)
	}
	for _, err := range others {
		wantError(t, err, "already running")
	}
	cgroups := groups(t, s, id)
	if done, others = atOnce(func() error { return s.Delete(id, true) }); done != many {
		t.Errorf("%d commands removed it: %v", done, others)
	}
	reap(init)
	wantGone(t, s, id, init, cgroups)
}

// TestHookAsksCoffer: a hook may ask for the state of its container, and its
// poststart may kill it.
func TestHookAsksCoffer(t *testing.T) {
	s, id := testStore(t, &fakeWall{})
	out := filepath.Join(t.TempDir(), "status")
	arg, err := json.Marshal(command{Verb: "delete", Root: s.root, ID: id, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bundle := newBundle(t, func(spec *specs.Spec) {
		spec.Hooks = &specs.Hooks{
			CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cp " + filepath.Join(s.root, id, recordFile) + " " + out}}},
			Poststart:     []specs.Hook{{Path: self, Args: []string{self, string(arg)}, Env: []string{role + "=command"}}},
		}
	})
	init := create(t, s, id, bundle)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := parseRecord(b, "record"); err != nil || r.Init != init || r.Complete {
		t.Errorf("the record while hooks run: %+v, %v", r, err)
	}
	cgroups := groups(t, s, id)
	if err := s.Start(id); err != nil {
		t.Errorf("start: %v", err)
	}
	reap(init)
	wantGone(t, s, id, init, cgroups)
}

// TestPoststartFails: the container ends, and start says why.
func TestPoststartFails(t *testing.T) {
	s, id := testStore(t, &fakeWall{})
	after := filepath.Join(t.TempDir(), "after")
	init := create(t, s, id, newBundle(t, func(spec *specs.Spec) {
		spec.Hooks = &specs.Hooks{Poststart: []specs.Hook{
			{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no such luck >&2; exit 3"}},
			{Path: "/bin/sh", Args: []string{"sh", "-c", "touch " + after}},
		}}
	}))
	if err := s.Start(id); err == nil || !strings.Contains(err.Error(), "poststart") || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("start: %v", err)
	}
	if _, err := os.Stat(after); err == nil {
		t.Error("the hooks went on")
	}
	reap(init)
	if st, err := s.State(id); err != nil || st.Status != specs.StateStopped {
		t.Errorf("%+v, %v", st, err)
	}
	if err := s.Delete(id, false); err != nil {
		t.Error(err)
	}
}

// TestPoststartFailsBefore: containers of versions before 1.3 go on.
func TestPoststartFailsBefore(t *testing.T) {
	s, id := testStore(t, &fakeWall{})
	init := create(t, s, id, newBundle(t, func(spec *specs.Spec) {
		spec.Version = "1.2.0"
		spec.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "exit 3"}}}}
	}))
	if err := s.Start(id); err != nil {
		t.Error(err)
	}
	if st, err := s.State(id); err != nil || st.Status != specs.StateRunning {
		t.Errorf("%+v, %v", st, err)
	}
	if err := s.Delete(id, true); err != nil {
		t.Error(err)
	}
	reap(init)
}

// TestExecInPaused: a program that waits in a paused container for its resume
// does not hold that up.
func TestExecInPaused(t *testing.T) {
	w := &fakeWall{}
	s, id := testStore(t, w)
	create(t, s, id, newBundle(t, nil))
	if err := s.Start(id); err != nil {
		t.Fatal(err)
	}
	if len(groups(t, s, id)) == 0 {
		t.Skip("containers have no cgroups here")
	}
	if err := s.Pause(id); err != nil {
		t.Fatal(err)
	}
	w.onExec = func() error { return s.Resume(id) }
	defer shortLockWait()()
	pid, err := s.Exec(id, &ExecRequest{Exec: isolation.Exec{Process: &specs.Process{Args: []string{"true"}}}, IgnorePaused: true})
	if err != nil {
		t.Fatal(err)
	}
	reap(pid)
	wantStatus(t, s, id, specs.StateRunning)
}

func TestPIDFile(t *testing.T) {
	s, id := testStore(t, &fakeWall{})
	path := filepath.Join(t.TempDir(), "pid")
	r, err := newRequest(id, newBundle(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	r.PIDFile = path
	init, err := s.Create(r)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != strconv.Itoa(init.PID) {
		t.Errorf("%q, %v; want %d", b, err, init.PID)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("beside it: %v", entries)
	}
}
