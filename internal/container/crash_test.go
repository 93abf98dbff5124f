package container

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// killMaker is a hook that kills the command that runs it.
var killMaker = []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "kill -9 $PPID; sleep 1000"}}}

// crash runs a command that is to be killed on its way.
func crash(t *testing.T, c *command) {
	t.Helper()
	cmd := c.process(t)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.Run()
	if ws, ok := cmd.ProcessState.Sys().(interface{ Signaled() bool }); !ok || !ws.Signaled() {
		t.Fatalf("%s was to be killed: %v %s", c.Verb, cmd.ProcessState, stderr.String())
	}
}

// TestKilledCreate kills the command that makes a container at each point. What
// it leaves is described as it is, cannot be started, and can be removed.
func TestKilledCreate(t *testing.T) {
	for _, c := range []struct {
		at    string
		hooks specs.Hooks
		// process is set if the container's process is on record then.
		process bool
	}{
		{at: "create begins"},
		{at: "process is there"},
		{at: "in prestart", hooks: specs.Hooks{Prestart: killMaker}, process: true},
		{at: "in createRuntime", hooks: specs.Hooks{CreateRuntime: killMaker}, process: true},
		{at: "hooks have run", process: true},
		{at: "create ends", process: true},
	} {
		t.Run(c.at, func(t *testing.T) {
			s, id := testStore(t, &fakeWall{})
			hookPIDs := markHooks(t, &c.hooks)
			bundle := newBundle(t, func(spec *specs.Spec) { spec.Hooks = &c.hooks })
			crash(t, &command{Verb: "create", Root: s.root, ID: id, Bundle: bundle, CrashAt: c.at})
			endHooks(t, hookPIDs)
			found, err := s.Find(id)
			if err != nil {
				t.Fatal(err)
			}
			if (found.Init.PID != 0) != c.process {
				t.Errorf("the record has process %v, want one: %v", found.Init, c.process)
			}
			if c.at != "create ends" {
				// Its process ends with its maker: so the wall has it.
				reap(found.Init)
				wantStatus(t, s, id, specs.StateStopped)
			} else {
				// The process stays, but nobody said that it was complete.
				wantStatus(t, s, id, specs.StateCreating)
				wantError(t, s.Delete(id, false), "that is not stopped: creating")
				wantError(t, s.Pause(id), "container not running")
				wantError(t, s.Start(id), "cannot start a container in the creating state")
			}
			if err := s.Start(id); err == nil {
				t.Error("it could be started")
			}
			cgroups := groups(t, s, id)
			if err := s.Delete(id, true); err != nil {
				t.Errorf("delete --force: %v", err)
			}
			reap(found.Init)
			wantGone(t, s, id, found.Init, cgroups)
			if init := create(t, s, id, newBundle(t, nil)); init.PID == 0 {
				t.Error("it cannot be made again")
			}
		})
	}
}

// markHooks has hooks that outlive the command tell their numbers.
func markHooks(t *testing.T, hooks *specs.Hooks) string {
	out := filepath.Join(t.TempDir(), "pids")
	for _, list := range [][]specs.Hook{hooks.Prestart, hooks.CreateRuntime, hooks.Poststop, hooks.Poststart} {
		for i := range list {
			list[i] = specs.Hook{Path: list[i].Path, Args: []string{"sh", "-c", "echo $$ >> " + out + "; kill -9 $PPID; exec sleep 1000"}}
		}
	}
	return out
}

// endHooks ends them.
func endHooks(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		return
	}
	for _, word := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		unix.Kill(pid, unix.SIGKILL)
		reap(isolation.PID{PID: pid})
	}
}

// TestKilledStart: a program that was let run does run, though nobody wrote that
// down; one that was not can be started again.
func TestKilledStart(t *testing.T) {
	for _, c := range []struct {
		at   string
		want Status
	}{{"start begins", specs.StateCreated}, {"start ends", specs.StateRunning}} {
		t.Run(c.at, func(t *testing.T) {
			s, id := testStore(t, &fakeWall{})
			create(t, s, id, newBundle(t, nil))
			crash(t, &command{Verb: "start", Root: s.root, ID: id, CrashAt: c.at})
			wantStatus(t, s, id, c.want)
			if c.want == specs.StateCreated {
				if err := s.Start(id); err != nil {
					t.Error(err)
				}
				wantStatus(t, s, id, specs.StateRunning)
			}
		})
	}
}

// TestKilledDelete: what is left can be deleted again.
func TestKilledDelete(t *testing.T) {
	for _, at := range []string{"destroy begins", "destroy ends", "in poststop"} {
		t.Run(at, func(t *testing.T) {
			s, id := testStore(t, &fakeWall{})
			var hooks specs.Hooks
			if at == "in poststop" {
				hooks.Poststop = append(hooks.Poststop, killMaker...)
			}
			pids := markHooks(t, &hooks)
			init := create(t, s, id, newBundle(t, func(spec *specs.Spec) { spec.Hooks = &hooks }))
			if err := s.Start(id); err != nil {
				t.Fatal(err)
			}
			cgroups := groups(t, s, id)
			crash(t, &command{Verb: "delete", Root: s.root, ID: id, Force: true, CrashAt: at})
			endHooks(t, pids)
			if at == "destroy begins" {
				wantStatus(t, s, id, specs.StateRunning)
			} else {
				reap(init)
				wantStatus(t, s, id, specs.StateStopped)
			}
			if at == "in poststop" {
				// It would kill this process, too.
				os.WriteFile(filepath.Join(s.root, id, "config.json"), []byte(`{"ociVersion": "1.0.0"}`), 0o600)
			}
			if err := s.Delete(id, true); err != nil {
				t.Error(err)
			}
			reap(init)
			wantGone(t, s, id, init, cgroups)
		})
	}
}

// TestKilledRemove: a container whose files are being removed has stopped, and
// can be deleted.
func TestKilledRemove(t *testing.T) {
	s, id := testStore(t, &fakeWall{})
	init := create(t, s, id, newBundle(t, nil))
	if err := s.Kill(id, unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	reap(init)
	if err := os.Remove(filepath.Join(s.root, id, "config.json")); err != nil {
		t.Fatal(err)
	}
	if state, err := s.State(id); err != nil || state.Status != specs.StateStopped {
		t.Errorf("it is %+v: %v", state, err)
	}
	if err := s.Delete(id, true); err != nil {
		t.Error(err)
	}
}

// TestKilledWithLock: the lock of a command that was killed is free.
func TestKilledWithLock(t *testing.T) {
	s, id := testStore(t, &fakeWall{})
	create(t, s, id, newBundle(t, nil))
	cmd := (&command{Verb: "wait", Root: s.root, ID: id}).process(t)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil { // locked
		t.Fatal(err)
	}
	defer shortLockWait()()
	err = s.Start(id)
	wantError(t, err, "another command has been at work on it")
	wantError(t, err, "(process ")
	wantStatus(t, s, id, specs.StateCreated) // who looks needs no lock
	cmd.Process.Kill()
	cmd.Wait()
	lockWait = patient
	if err := s.Start(id); err != nil {
		t.Error(err)
	}
}
