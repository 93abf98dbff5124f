package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/test/room"
	"coffer/test/screen"

	"golang.org/x/sys/unix"
)

// bundle is a bundle whose program writes a file as it starts, and a runtime
// with a directory for the state of its containers.
type bundle struct {
	runtime runtime
	dir     string
}

// makeBundle makes a bundle with the root file system of the images.
func makeBundle(t *testing.T, r runtime) *bundle {
	t.Helper()
	dir, err := os.MkdirTemp(tmp, "bundle")
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{r, dir}
	archive := tar.NewReader(bytes.NewReader(rootTar(t)))
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "rootfs", h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, os.FileMode(h.Mode))
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, path)
		default:
			var content []byte
			if content, err = io.ReadAll(archive); err == nil {
				if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
					err = os.WriteFile(path, content, os.FileMode(h.Mode))
				}
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	must(t, r.path, "spec", "--bundle", dir)
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	process := config["process"].(map[string]any)
	process["terminal"] = false
	process["args"] = []string{"sh", "-c", "echo >/started; exec sleep 100000"}
	config["root"].(map[string]any)["readonly"] = false
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return b
}

// argv is a command of the runtime's.
func (b *bundle) argv(args ...string) []string { return append([]string{b.runtime.path}, args...) }

// started reports whether the program has been let run.
func (b *bundle) started() bool {
	_, err := os.Stat(filepath.Join(b.dir, "rootfs/started"))
	return err == nil
}

// run runs a command that makes a container, whose program has the command's
// streams: they are no pipes that it would keep open.
func (b *bundle) run(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(b.runtime.path, args...)
	log, err := os.Create(filepath.Join(b.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, text)
	}
}

// steps are the commands that are killed, each with those that come before it.
var steps = []struct {
	name    string
	before  [][]string
	command []string
}{
	{"create", nil, []string{"create", "--bundle", "BUNDLE", "c"}},
	{"start", [][]string{{"create", "--bundle", "BUNDLE", "c"}}, []string{"start", "c"}},
	{"exec", [][]string{{"create", "--bundle", "BUNDLE", "c"}, {"start", "c"}}, []string{"exec", "c", "sleep", "100000"}},
	{"kill", [][]string{{"create", "--bundle", "BUNDLE", "c"}, {"start", "c"}}, []string{"kill", "c", "KILL"}},
	{"delete", [][]string{{"create", "--bundle", "BUNDLE", "c"}, {"start", "c"}}, []string{"delete", "--force", "c"}},
}

// TestKilledAnywhere kills a command, or any process that there is at that
// time, at a random moment. Whatever has come of the container, state describes
// it truthfully, and delete --force leaves nothing of it.
func TestKilledAnywhere(t *testing.T) {
	need(t, false)
	rounds := 8
	if os.Getenv(envLevel) == "full" {
		rounds = 60
	}
	eachRuntime(t, func(t *testing.T, r runtime) {
		leavesNothing(t, "file /run/coffer")
		b := makeBundle(t, r)
		before := look(t)
		for i, step := range steps {
			t.Run(step.name, func(t *testing.T) {
				// The next one begins with a clean host.
				t.Cleanup(func() { try(t, b.argv("delete", "--force", "c")...) })
				random := rand.New(rand.NewPCG(uint64(i), 1))
				var longest time.Duration
				for round := range rounds {
					// The first rounds show how long the command takes.
					kill := killing{after: -1}
					if round >= 2 {
						kill = killing{time.Duration(random.Int64N(int64(longest*5/4) + 1)), random.IntN(2) == 0}
					}
					if took := b.killed(t, random, step.before, step.command, kill); round < 2 && step.name != "exec" {
						longest = max(longest, took)
					} else if round < 2 {
						longest = 30 * time.Millisecond
					}
					said := fmt.Sprintf("round %d, killed after %v, anything %v", round, kill.after, kill.anything)
					b.checkState(t, said, step.name)
					if t.Failed() {
						return
					}
					if o := try(t, b.argv("delete", "--force", "c")...); o.code != 0 {
						t.Fatalf("%s: delete --force: %s", said, o.stderr)
					}
					if more := settle(t, before, []string{"file /run/coffer"}); len(more) > 0 {
						t.Fatalf("%s: left behind after delete --force:\n%s", said, strings.Join(more, "\n"))
					}
					if o := try(t, b.argv("state", "c")...); o.code == 0 {
						t.Fatalf("%s: after delete --force it is still there: %s", said, o.stdout)
					}
					os.Remove(filepath.Join(b.dir, "rootfs/started"))
				}
			})
		}
	})
}

// killing says when what is killed.
type killing struct {
	after    time.Duration // since the command's start; negative if it is not killed
	anything bool          // any process that there is, instead of the command's
}

// killed runs commands, and then one that is killed. It returns how long that
// took.
func (b *bundle) killed(t *testing.T, random *rand.Rand, before [][]string, command []string, kill killing) time.Duration {
	t.Helper()
	named := func(args []string) []string {
		args = slices.Clone(args)
		if i := slices.Index(args, "BUNDLE"); i >= 0 {
			args[i] = b.dir
		}
		return args
	}
	for _, args := range before {
		b.run(t, named(args)...)
	}
	log, err := os.Create(filepath.Join(b.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(b.runtime.path, named(command)...)
	cmd.Stdout, cmd.Stderr = log, log
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	limit := time.After(screen.Patience)
	if command[0] == "exec" && kill.after < 0 {
		kill.after = 0 // it would not end
	}
	if kill.after >= 0 {
		time.Sleep(kill.after)
		victim := cmd.Process.Pid
		if others := room.Others(); kill.anything && len(others) > 0 {
			victim = others[random.IntN(len(others))]
		}
		unix.Kill(victim, unix.SIGKILL)
		if command[0] == "exec" {
			cmd.Process.Kill() // if it was another one, the program goes on
		}
	}
	select {
	case err := <-ended:
		if kill.after < 0 && err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, text)
		}
	case <-limit:
		cmd.Process.Kill()
		t.Fatalf("%s does not end", strings.Join(command, " "))
	}
	return time.Since(begin)
}

// containerState is what state says of the container; nil if it says that there
// is none.
func (b *bundle) containerState(t *testing.T) *stateOf {
	t.Helper()
	o := try(t, b.argv("state", "c")...)
	if o.code != 0 {
		// A container whose creation was broken off at its very beginning can be
		// deleted, and has no state.
		if !strings.Contains(o.stderr, "does not exist") && !strings.Contains(o.stderr, "its creation was broken off") {
			t.Fatalf("state: %s", o.stderr)
		}
		return nil
	}
	var s stateOf
	if err := json.Unmarshal([]byte(o.stdout), &s); err != nil {
		t.Fatalf("state: %v: %s", err, o.stdout)
	}
	return &s
}

// stateOf is what state says of a container.
type stateOf struct {
	Status string
	PID    int
}

// alive reports whether the container's first process lives.
func (s *stateOf) alive() bool {
	if s.PID == 0 {
		return false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID))
	_, rest, _ := strings.Cut(string(line), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// checkState compares what state says with what is.
func (b *bundle) checkState(t *testing.T, said, step string) {
	t.Helper()
	s := b.containerState(t)
	if s == nil {
		if step != "create" && step != "delete" {
			t.Errorf("%s: the container is gone", said)
		}
		return
	}
	if s.Status != "stopped" && s.Status != "creating" && !s.alive() {
		// What was killed may have ended it only just now.
		eventually(t, "state says that the container has ended", func() bool {
			s = b.containerState(t)
			return s == nil || s.Status == "stopped"
		})
		if s == nil {
			t.Errorf("%s: the container is gone", said)
			return
		}
	}
	switch s.Status {
	case "created":
		if step != "create" && step != "start" {
			t.Errorf("%s: it is created after %s", said, step)
			return
		}
		// The start that was killed may have let it run only just now, and what
		// was killed may have ended it: then it can't be started, and state says so.
		o := try(t, b.argv("start", "c")...)
		eventually(t, fmt.Sprintf("%s: it was created; start said %q; the program runs, and state says so, or that it has ended", said, o.stderr), func() bool {
			s := b.containerState(t)
			return s != nil && (s.Status == "running" && b.started() || s.Status == "stopped")
		})
		if step == "create" && o.code != 0 && b.started() {
			t.Errorf("%s: nobody started it, and its program has run: %s", said, o.stderr)
		}
	case "running":
		if step == "create" {
			t.Errorf("%s: it is running after %s", said, step)
			return
		}
		eventually(t, "the program runs, or was ended before", func() bool {
			if b.started() {
				return true
			}
			s := b.containerState(t)
			return s != nil && s.Status == "stopped"
		})
	case "stopped":
		if s.alive() {
			t.Errorf("%s: it is stopped, but its process lives", said)
		}
		if o := try(t, b.argv("start", "c")...); o.code == 0 {
			t.Errorf("%s: it is stopped, but can be started", said)
		}
	case "paused":
		// delete freezes what it ends.
		if step != "delete" {
			t.Errorf("%s: it is paused after %s", said, step)
		}
	case "creating":
		if step != "create" || b.started() {
			t.Errorf("%s: it is being created after %s", said, step)
		}
	default:
		t.Errorf("%s: it is %q", said, s.Status)
	}
}
