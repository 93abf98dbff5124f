package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// eachWall runs a test of the commands behind each wall.
func eachWall(t *testing.T, test func(t *testing.T, r *kernelRuntime)) {
	for _, isolation := range []string{"process", "kernel"} {
		t.Run(isolation, func(t *testing.T) {
			r := newKernelRuntime(t)
			r.isolation = isolation
			test(t, r)
		})
	}
}

// forever is a program that ends with 7 on SIGTERM, which it would not have heard
// before it is ready.
var forever = []string{"sh", "-c", "trap 'exit 7' TERM; echo >/ready; while :; do sleep 1000 & wait; done"}

// awaitReady waits until forever, in the container, hears signals.
func (r *kernelRuntime) awaitReady(id string) {
	r.t.Helper()
	for until := time.Now().Add(time.Minute); ; {
		out := r.do("exec", id, "cat", "/ready")
		if out.code == 0 {
			return
		}
		if time.Now().After(until) {
			r.t.Fatalf("%s does not become ready: %+v", id, out)
		}
	}
}

// TestVerbs asks for what engines ask for, in their form.
func TestVerbs(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		id, pidFile := r.id("verbs-"+r.isolation), filepath.Join(t.TempDir(), "pid")
		bundle := r.bundle("a", func(s *specs.Spec) { s.Annotations = map[string]string{"org.example": "x"} }, forever...)
		r.must("run", "--detach", "--pid-file", pidFile, "--bundle", bundle, id)
		var state struct {
			Version     string `json:"ociVersion"`
			ID, Status  string
			PID         int
			Bundle      string
			Rootfs      string
			Annotations map[string]string
			Isolation   string
		}
		out := r.do("state", id)
		if err := json.Unmarshal([]byte(out.stdout), &state); err != nil {
			t.Fatalf("state: %+v, %v", out, err)
		}
		pid, _ := os.ReadFile(pidFile)
		if state.ID != id || state.Status != "running" || strconv.Itoa(state.PID) != string(pid) || state.Bundle != bundle || state.Rootfs != bundle+"/rootfs" ||
			state.Annotations["org.example"] != "x" || state.Isolation != r.isolation || state.Version == "" {
			t.Errorf("state: %+v; the PID file has %s", state, pid)
		}
		if out := r.do("list"); !strings.Contains(out.stdout, id) || !strings.Contains(strings.Split(out.stdout, "\n")[0], "ISOLATION") {
			t.Errorf("list: %+v", out)
		}
		var list []struct{ ID, Isolation string }
		if out := r.do("list", "--format", "json"); json.Unmarshal([]byte(out.stdout), &list) != nil || len(list) != 1 || list[0].Isolation != r.isolation {
			t.Errorf("list as JSON: %+v", out)
		}
		out = r.do("exec", "--user", "12:34", "--additional-gids", "56", "--env", "A=b", "--cwd", "/bin", id, "sh", "-c", "echo $A $(pwd); cat /proc/self/status")
		for _, want := range []string{"b /bin\n", "\nUid:\t12\t12\t12\t12\n", "\nGid:\t34\t34\t34\t34\n", "\nGroups:\t56 "} {
			if out.code != 0 || !strings.Contains(out.stdout, want) {
				t.Errorf("exec: %+v, want it to have %q", out, want)
			}
		}
		process := filepath.Join(t.TempDir(), "process.json")
		if err := os.WriteFile(process, []byte(`{"args": ["sh", "-c", "echo $B; exit 5"], "cwd": "/", "env": ["PATH=/bin", "B=c"], "user": {}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := r.do("exec", "--process", process, id); out.code != 5 || out.stdout != "c\n" {
			t.Errorf("exec --process: %+v", out)
		}
		r.must("exec", "--detach", "--pid-file", pidFile, id, "sleep", "1000")
		if pid, err := os.ReadFile(pidFile); err != nil || len(pid) == 0 {
			t.Errorf("exec --detach: PID file %q, %v", pid, err)
		}
		var pids []int
		if out := r.do("ps", "--format", "json", id); json.Unmarshal([]byte(out.stdout), &pids) != nil || len(pids) < 2 {
			t.Errorf("ps as JSON: %+v", out)
		}
		if out := r.do("ps", id); out.code != 0 || !strings.Contains(out.stdout, "sleep 1000") {
			t.Errorf("ps: %+v", out)
		}
		log := filepath.Join(t.TempDir(), "log")
		if out := r.do("--log", log, "--log-format", "json", "exec", id, "no-such-program"); out.code != 255 {
			t.Errorf("exec of what is not there: %+v", out)
		}
		var line struct{ Level, Msg string }
		text, _ := os.ReadFile(log)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil || line.Level != "error" || !strings.Contains(line.Msg, `exec: "no-such-program": executable file not found in $PATH`) {
			t.Errorf("the log: %s", text)
		}
		r.awaitReady(id)
		r.must("kill", id, "TERM")
		r.await(id, "stopped")
		r.must("delete", id)
	})
}

// TestStartFails: of a container that could not be started, `run` leaves nothing.
func TestStartFails(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		for _, detach := range []string{"--detach", "--keep"} {
			id, pidFile := r.id("start-"+r.isolation), filepath.Join(t.TempDir(), "pid")
			bundle := r.bundle("s"+detach, func(s *specs.Spec) {
				s.Version = "1.3.0" // before, hooks of poststart end nothing
				s.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "/bin/false"}}}
			}, "sleep", "1000")
			if out := r.do("run", detach, "--pid-file", pidFile, "--bundle", bundle, id); out.code != 1 || !strings.Contains(out.stderr, "poststart") {
				t.Errorf("run: %+v", out)
			}
			if _, err := os.Stat(pidFile); !os.IsNotExist(err) {
				t.Errorf("with %s there is a PID file: %v", detach, err)
			}
			if out := r.do("state", id); out.code != 1 {
				t.Errorf("with %s there is a container: %+v", detach, out)
			}
		}
	})
}

// TestNoMoreProcesses: a limit of none is one of no more than the program itself.
func TestNoMoreProcesses(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		for _, n := range []int64{0, 1} {
			bundle := r.bundle(fmt.Sprint("b", n), func(s *specs.Spec) {
				s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &n}}
			}, "sh", "-c", "echo here; true | true")
			out := r.do("run", "--bundle", bundle, r.id("none-"+r.isolation))
			if out.stdout != "here\n" || !strings.Contains(out.stderr, "can't fork") {
				t.Errorf("with a limit of %d: %+v", n, out)
			}
		}
	})
}

// TestLimits changes the limits of a container, and looks at what it uses.
func TestLimits(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		id := r.id("limits-" + r.isolation)
		r.must("run", "--detach", "--bundle", r.bundle("a", nil, forever...), id)
		resources := r.command("update", "--resources", "-", id)
		if out := run(t, time.Minute, "/", `{"memory": {"limit": 134217728}, "pids": {"limit": 100}}`, resources...); out.code != 0 {
			t.Skipf("the host does not let limits be changed: %s", out.stderr)
		}
		var event struct {
			Type, ID string
			Data     struct {
				Memory struct{ Usage struct{ Limit, Usage uint64 } }
				PIDs   struct{ Limit uint64 }
			}
		}
		out := r.do("events", "--stats", id)
		if err := json.Unmarshal([]byte(out.stdout), &event); err != nil || event.Type != "stats" || event.ID != id || event.Data.Memory.Usage.Limit != 128<<20 || event.Data.Memory.Usage.Usage == 0 {
			t.Errorf("events: %+v, %v", out, err)
		}
		if out := run(t, time.Minute, "/", `{"memroy": {}}`, resources...); out.code != 1 || !strings.Contains(out.stderr, "memroy") {
			t.Errorf("an unknown limit: %+v", out)
		}
		r.must("pause", id)
		r.expect(id, "paused")
		if out := r.do("exec", id, "true"); out.code != 255 || !strings.Contains(out.stderr, "cannot exec in a paused container") {
			t.Errorf("exec in a paused container: %+v", out)
		}
		r.must("kill", id, "KILL")
		r.await(id, "stopped")
		r.must("delete", id)
	})
}

// TestWithoutPath: a program is found also if the environment does not say where,
// but not beneath a mount on the root.
func TestWithoutPath(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		bundle := r.bundle("a", func(s *specs.Spec) { s.Process.Env = nil }, "echo", "found")
		if out := r.do("run", "--bundle", bundle, r.id("path-"+r.isolation)); out.code != 0 || out.stdout != "found\n" {
			t.Errorf("%+v", out)
		}
		bundle = r.bundle("b", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/", Type: "tmpfs", Source: "tmpfs"})
		}, "true")
		if out := r.do("run", "--bundle", bundle, r.id("root-"+r.isolation)); out.code != 1 || !strings.Contains(out.stderr, "it would cover the root") {
			t.Errorf("a mount on the root: %+v", out)
		}
	})
}

// TestHookOrder: hooks of all stages run once, in the order of the
// specification, and one that fails undoes the container.
func TestHookOrder(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		out := filepath.Join(t.TempDir(), "order")
		note := func(stage string) []specs.Hook {
			return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "read -r state; echo " + stage + " >> " + out}, Env: []string{"PATH=/bin:/usr/bin"}}}
		}
		hooks := &specs.Hooks{
			Prestart: note("prestart"), CreateRuntime: note("createRuntime"), CreateContainer: note("createContainer"),
			// It runs inside, and ends with an error if the program has run.
			StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo startContainer > /order"}, Env: []string{"PATH=/bin"}}},
			Poststart:      note("poststart"), Poststop: note("poststop"),
		}
		bundle := r.bundle("a", func(s *specs.Spec) { s.Hooks = hooks }, "sh", "-c", "echo program >> /order; cat /order")
		if got := r.do("run", "--bundle", bundle, r.id("hooks-"+r.isolation)); got.code != 0 || got.stdout != "startContainer\nprogram\n" {
			t.Errorf("%+v", got)
		}
		order, _ := os.ReadFile(out)
		if want := "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n"; string(order) != want {
			t.Errorf("outside ran %q, want %q", order, want)
		}
		hooks.CreateRuntime = []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no network >&2; exit 4"}}}
		bundle = r.bundle("b", func(s *specs.Spec) { s.Hooks = hooks }, "true")
		id := r.id("hook-fails-" + r.isolation)
		if got := r.do("run", "--bundle", bundle, id); got.code != 1 || !strings.Contains(got.stderr, "error running createRuntime hook #0 (/bin/sh): exit status 4, output: no network") {
			t.Errorf("%+v", got)
		}
		if list := r.list(); len(list) != 0 {
			t.Errorf("left: %q", list)
		}
	})
}

// TestWallByName: the program's name and the bundle's annotation choose the wall.
func TestWallByName(t *testing.T) {
	r := newKernelRuntime(t)
	bundle := r.bundle("a", nil, "true")
	annotated := r.bundle("b", func(s *specs.Spec) { s.Annotations = map[string]string{"dev.coffer.isolation": "process"} }, "true")
	for i, c := range []struct{ name, bundle, want string }{
		{"coffer", bundle, "kernel"}, {"coffer-process", bundle, "process"}, {"runc", bundle, "process"}, {"runsc", bundle, "kernel"}, {"runsc", annotated, "process"},
	} {
		link := filepath.Join(t.TempDir(), c.name)
		if err := os.Symlink(r.program, link); err != nil {
			t.Fatal(err)
		}
		id := r.id(fmt.Sprintf("name-%d", i))
		log := filepath.Join(t.TempDir(), "log")
		// The container keeps no pipe of this test's.
		if err := exec.Command(link, "--root", r.root, "--log", log, "create", "--bundle", c.bundle, id).Run(); err != nil {
			text, _ := os.ReadFile(log)
			t.Errorf("%s: %v %s", c.name, err, text)
			continue
		}
		r.isolation = c.want
		r.expect(id, "created")
		r.must("delete", id)
	}
}

// TestPreservedDescriptors: those that are named reach the program, and no other.
func TestPreservedDescriptors(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		bundle := r.bundle("a", nil, "sh", "-c", "cat <&3; cat <&4 || echo no other")
		program := strings.Join(r.command("run", "--preserve-fds", "1", "--bundle", bundle, r.id("fds-"+r.isolation)), " ")
		out := run(t, time.Minute, bundle, "", "sh", "-c", "exec 3<config.json 4<config.json; "+program)
		config, _ := os.ReadFile(filepath.Join(bundle, "config.json"))
		if out.stdout != string(config)+"no other\n" {
			t.Errorf("%+v", out)
		}
	})
}

// TestExitCodes: a program's own code is passed on, also 125 and the like, and a signal's is
// 128+n. What could not be started is 1, and 255 of exec, as of runc; nothing is left of it.
func TestExitCodes(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		there := r.id("there-" + r.isolation)
		r.must("run", "--detach", "--bundle", r.bundle("there", nil, forever...), there)
		id := r.id("code-" + r.isolation)
		const failed = -1
		for i, c := range []struct {
			name   string
			args   []string
			change func(*specs.Process)
			code   int
			says   string
		}{
			{name: "0", args: []string{"true"}},
			{name: "42", args: []string{"sh", "-c", "exit 42"}, code: 42},
			{name: "125", args: []string{"sh", "-c", "exit 125"}, code: 125},
			{name: "a signal", args: []string{"sh", "-c", "sh -c 'kill -KILL $$'; exit $?"}, code: 128 + 9},
			{name: "not found", args: []string{"nothing"}, code: failed, says: `exec: "nothing": executable file not found in $PATH (/:/bin)`},
			{name: "not found by path", args: []string{"/no/such"}, code: failed, says: "no such file or directory"},
			{name: "not executable", args: []string{"/plain"}, code: failed, says: "permission denied"},
			{name: "not executable, in PATH", args: []string{"plain"}, code: failed, says: `exec: "plain": permission denied`},
			{name: "a directory in PATH", args: []string{"bin"}, code: failed, says: `exec: "bin": permission denied`},
			{name: "in PATH behind one that is not executable", args: []string{"true"}},
			{name: "a directory", args: []string{"/bin"}, code: failed, says: "directory"},
			{name: "no interpreter", args: []string{"/script"}, code: failed, says: "interpreter"},
			{name: "no program", args: []string{"/junk"}, code: failed, says: "it is neither"},
			{name: "an empty word", args: []string{""}, code: failed, says: "args[0] is an empty word"},
			{name: "a file as working directory", args: []string{"true"}, change: func(p *specs.Process) { p.Cwd = "/plain" }, code: failed, says: "not a directory"},
			{name: "a relative working directory", args: []string{"true"}, change: func(p *specs.Process) { p.Cwd = "bin" }, code: failed, says: `cwd "bin" is not an absolute path`},
			{name: "nobody", args: []string{"true"}, change: func(p *specs.Process) { p.User.UID = ^uint32(0) }, code: failed, says: "4294967295"},
		} {
			furnish := func(dir string) {
				for name, data := range map[string]string{"plain": "text", "true": "text", "script": "#!/no/such/interpreter\n", "junk": "\x7fELF and no more"} {
					path := filepath.Join(dir, "rootfs", name)
					if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
						t.Fatal(err)
					}
					if data != "text" {
						if err := os.Chmod(path, 0o755); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			process := &specs.Process{Args: c.args, Cwd: "/", Env: []string{"PATH=/:/bin"}}
			if c.change != nil {
				c.change(process)
			}
			bundle := r.bundle(fmt.Sprint("b", i), func(s *specs.Spec) {
				s.Process.Cwd, s.Process.User, s.Process.Env = process.Cwd, process.User, process.Env
			}, c.args...)
			furnish(bundle)
			furnish(filepath.Join(r.bundles, "there"))
			file := filepath.Join(t.TempDir(), "process.json")
			if data, err := json.Marshal(process); err != nil {
				t.Fatal(err)
			} else if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, verb := range []struct {
				failure int
				detach  bool
				words   []string
			}{
				{1, false, []string{"run", "--bundle", bundle, id}},
				{1, true, []string{"run", "--detach", "--bundle", bundle, id}},
				{255, false, []string{"exec", "--process", file, there}},
				{255, true, []string{"exec", "--detach", "--process", file, there}},
			} {
				want := c.code
				switch {
				case want == failed:
					want = verb.failure
				case verb.detach: // it tells only that the program runs
					want = 0
				}
				out := r.do(verb.words...)
				if out.code != want || !strings.Contains(out.stderr, c.says) {
					t.Errorf("%s: %q: %+v, want %d and %q", c.name, verb.words, out, want, c.says)
				}
				if verb.detach && want == 0 && verb.words[0] == "run" {
					r.must("delete", "--force", id)
				}
				if list := r.list(); len(list) != 1 {
					t.Errorf("%s: %q left %q", c.name, verb.words, list)
				}
			}
		}
		r.must("delete", "--force", there)
	})
}

// TestMistakes makes those that users make, and wants to be told what to do.
func TestMistakes(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		id := r.id("mistakes-" + r.isolation)
		terminal := r.bundle("terminal", func(s *specs.Spec) { s.Process.Terminal = true }, "true")
		bundle := r.bundle("a", nil, forever...)
		r.must("run", "--detach", "--bundle", bundle, id)
		other := r.id("other-" + r.isolation)
		for _, c := range []struct {
			code  int
			says  string
			words []string
		}{
			{1, "container does not exist: there is no none in ", []string{"state", "none"}},
			{1, "already exists", []string{"run", "--bundle", bundle, id}},
			{1, "--bundle, or write the file with 'coffer spec'", []string{"run", "--bundle", "/", other}},
			{1, "coffer has none to join it to", []string{"run", "--bundle", terminal, other}},
			{1, "name one with --console-socket, or set process.terminal to false", []string{"run", "--detach", "--bundle", terminal, other}},
			{1, "if coffer will not detach: leave --console-socket out, or add --detach", []string{"run", "--console-socket", "/none", "--bundle", terminal, other}},
			{1, "--console-socket /none: no such file or directory: it must be a unix socket at which somebody listens", []string{"create", "--console-socket", "/none", "--bundle", terminal, other}},
			{255, "(--tty of exec, process.terminal in config.json)", []string{"exec", "--tty", id, "true"}},
			{255, "no command is given: coffer exec [flags] ID CMD [ARG...]", []string{"exec", id}},
			{255, "--cap net_admin is no capability", []string{"exec", "--cap", "net_admin", id, "true"}},
			{255, "names are not known here", []string{"exec", "--user", "nobody", id, "true"}},
			{255, "not executable for this user (chmod +x)", []string{"exec", id, "/proc/version"}},
			{255, "executable file not found in $PATH (/bin)", []string{"exec", id, "nothing"}},
			{255, "/no/such", []string{"exec", "--cwd", "/no/such", id, "true"}},
			{1, "invalid size: 'much'", []string{"update", "--memory", "much", id}},
			{1, `unknown signal "FOO"`, []string{"kill", id, "FOO"}},
			{1, "use --force", []string{"delete", id}},
			{1, `unknown flag: --bundel (see 'coffer run --help')`, []string{"run", "--bundel", terminal, other}},
		} {
			if c.words[0] == "exec" && c.words[1] == "--tty" || c.says == "coffer has none to join it to" {
				// Nobody's terminal may be at hand.
				c.words = append([]string{"setsid", "--wait"}, r.command(c.words...)...)
			} else {
				c.words = r.command(c.words...)
			}
			if out := run(t, time.Minute, "/", "", c.words...); out.code != c.code || !strings.Contains(out.stderr, c.says) {
				t.Errorf("%q: %+v, want %d and %q", c.words, out, c.code, c.says)
			}
		}
		for _, c := range []struct{ host, says string }{
			{"umount --lazy /sys/fs/cgroup", "mount them at /sys/fs/cgroup"},
			{"for c in /sys/fs/cgroup /sys/fs/cgroup/*/; do mount -o remount,bind,ro $c || true; done 2>&-", "mounted read-only here; mount them writable"},
			{"mount -t tmpfs -o mode=700,size=4k,nr_inodes=2 none " + r.root, "no space left on device"},
			{"mount -t tmpfs -o mode=700,ro none " + r.root, "read-only file system (--root names another one)"},
		} {
			command := "set -e; " + c.host + "; exec " + strings.Join(r.command("run", "--bundle", bundle, other), " ")
			if out := run(t, time.Minute, "/", "", "unshare", "--mount", "sh", "-c", command); out.code != 1 || !strings.Contains(out.stderr, c.says) {
				t.Errorf("on a host after %q: %+v, want %q", c.host, out, c.says)
			}
		}
		if list := r.list(); len(list) != 1 {
			t.Errorf("left: %q", list)
		}
		stranger := append([]string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env", "--unset", "XDG_RUNTIME_DIR"}, anyonesCoffer(t), "list")
		if out := run(t, time.Minute, "/", "", stranger...); out.code != 1 || !strings.Contains(out.stderr, "XDG_RUNTIME_DIR is not set") {
			t.Errorf("somebody else: %+v", out)
		}
	})
}
