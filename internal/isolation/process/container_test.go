package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestLife takes a container through its life.
func TestLife(t *testing.T) {
	c := create(t, shell(bundle(t), "echo $HOME; exit 7"))
	for range 3 { // asking changes nothing
		if started, err := New().Started(c.Container); started || err != nil {
			t.Fatalf("before Start, Started = %v, %v", started, err)
		}
	}
	out, ws := c.run()
	if out != "/root\n" || ws.ExitStatus() != 7 {
		t.Errorf("the program wrote %q and ended with %#x", out, ws)
	}
	if started, err := New().Started(c.Container); !started || err != nil {
		t.Errorf("after Start, Started = %v, %v", started, err)
	}
	mustFail(t, New().Start(c.Container), "no container's init waits")
	for range 2 {
		if err := New().Destroy(c.Container); err != nil {
			t.Error(err)
		}
	}
}

// TestStartedWhileRunning: a program that runs has been started.
func TestStartedWhileRunning(t *testing.T) {
	c := create(t, shell(bundle(t), "cat"))
	c.start()
	if started, err := New().Started(c.Container); !started || err != nil {
		t.Errorf("Started = %v, %v", started, err)
	}
	if err := New().Signal(c.Container, unix.SIGKILL, false); err != nil {
		t.Error(err)
	}
	if ws := waitFor(c.Init.PID); !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		t.Errorf("it ended with %#x", ws)
	}
}

// TestProtectedBinary: what init executes can't be written to, in any way.
func TestProtectedBinary(t *testing.T) {
	check := func(t *testing.T, pid int) {
		exe, err := os.Open(procPath(pid, "exe"))
		if err != nil {
			t.Fatal(err)
		}
		defer exe.Close()
		var fs unix.Statfs_t
		if err := unix.Fstatfs(int(exe.Fd()), &fs); err != nil {
			t.Fatal(err)
		}
		seals, err := unix.FcntlInt(exe.Fd(), unix.F_GET_SEALS, 0)
		if err != nil {
			seals = 0
		}
		if fs.Flags&unix.ST_RDONLY == 0 && seals&unix.F_SEAL_WRITE == 0 {
			t.Errorf("init's binary is neither on a read-only mount (flags %#x) nor sealed (%#x)", fs.Flags, seals)
		}
		if fs.Flags&unix.ST_RDONLY == 0 {
			return
		}
		// Whoever has a user namespace may do this to a mount that is attached
		// nowhere, but not to one that has been given up.
		err = unix.MountSetattr(int(exe.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
		if err != unix.EINVAL {
			t.Errorf("the mount of init's binary can be made writable (%v)", err)
		}
	}
	t.Run("mount", func(t *testing.T) { check(t, create(t, bundle(t)).Init.PID) })
	t.Run("copy", func(t *testing.T) {
		first := create(t, withUserNamespace(bundle(t)))
		spec := bundle(t)
		setNamespace(spec, specs.UserNamespace, procPath(first.Init.PID, "ns/user"))
		second := create(t, spec)
		check(t, second.Init.PID)
		if _, err := os.Readlink(procPath(second.Init.PID, "exe")); err != nil {
			t.Error(err)
		}
	})
}

// TestHooks: the hooks of the container's namespaces run in them, at their time.
func TestHooks(t *testing.T) {
	bundle(t)
	dir := t.TempDir()
	hook := func(stage string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", fmt.Sprintf("cat > %s/%s; readlink /proc/self/ns/uts >> %s/%s", dir, stage, dir, stage)}}}
	}
	spec := shell(bundle(t), "cat")
	spec.Hooks = &specs.Hooks{CreateContainer: hook("createContainer")}
	c := create(t, spec)
	b, err := os.ReadFile(filepath.Join(dir, "createContainer"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"status":"creating"`, fmt.Sprintf(`"pid":%d`, c.Init.PID), namespaceOf(t, c.Init.PID, "uts")} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the hook of createContainer did not see %s: %s", want, b)
		}
	}
	spec = bundle(t)
	spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo because >&2; exit 3"}}}}
	mustFail(t, prepare(t, spec).create(), "createContainer", "exit status 3", "because")

	spec = shell(bundle(t), "echo program")
	spec.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/true"}, {Path: "/bin/nothing"}}}
	c = create(t, spec)
	mustFail(t, New().Start(c.Container), "startContainer", "/bin/nothing")
	if ws := waitFor(c.Init.PID); !ws.Exited() || ws.ExitStatus() == 0 {
		t.Errorf("init ended with %#x after a failing hook", ws)
	}
}

// TestLimits: the program has the limits of its spec, be they too small for init, which
// opens files until the end, or for the time that a container waits. Of open files Go's runtime
// raises the soft one, and gives back at execve(2) what it has found.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		limits []specs.POSIXRlimit
		says   string
	}{
		{[]specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}}, "100\n200\nunlimited\n"},
		{[]specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 4, Hard: 4}, {Type: "RLIMIT_CPU", Soft: 8, Hard: 9}}, "4\n4\n8\n"},
		// What loads programs opens files.
		{[]specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 0, Hard: 0}}, "Error 24"},
	} {
		spec := shell(bundle(t), "ulimit -Sn; ulimit -Hn; ulimit -t")
		spec.Process.Rlimits = c.limits
		if out, ws := create(t, spec).run(); !strings.Contains(out, c.says) {
			t.Errorf("with %+v the program wrote %q and ended with %#x", c.limits, out, ws)
		}
	}
}

// TestFewOpenFiles: a container that could be made in part only is not begun.
func TestFewOpenFiles(t *testing.T) {
	c := prepare(t, bundle(t))
	var before unix.Rlimit
	few := unix.Rlimit{Cur: minFiles - 1}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		t.Fatal(err)
	}
	few.Max = before.Max
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &few, nil); err != nil {
		t.Fatal(err)
	}
	err := New().Check(c.request)
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &before, nil); err != nil {
		t.Fatal(err)
	}
	mustFail(t, err, "the limit on open files is 63, and making a container needs at least 64")
}

// TestCreatedFails: an error of the lifecycle's ends the container.
func TestCreatedFails(t *testing.T) {
	c := prepare(t, bundle(t))
	var seen isolation.PID
	c.request.Created = func(pid isolation.PID) error {
		seen = pid
		return fmt.Errorf("no")
	}
	mustFail(t, c.create(), "no")
	if alive, err := seen.Alive(); alive || err != nil || seen.PID == 0 {
		t.Errorf("init %v lives on: %v, %v", seen, alive, err)
	}
}

// TestHiddenInit: whoever is root in a container can't look into an init that
// shares its PID namespace: neither with the capabilities that containers have,
// nor with all of its user namespace's.
func TestHiddenInit(t *testing.T) {
	usual := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"}
	for _, c := range []struct {
		name     string
		withUser bool
		caps     []string
	}{
		{"usual capabilities", false, usual},
		{"own user namespace", true, append([]string{"CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"}, usual...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			caps := &specs.LinuxCapabilities{Bounding: c.caps, Effective: c.caps, Permitted: c.caps}
			spec := shell(bundle(t), "cat")
			spec.Process.Capabilities = caps
			if c.withUser {
				withUserNamespace(spec)
			}
			first := create(t, spec)
			first.start()
			spec = bundle(t)
			spec.Process.Capabilities = caps
			setNamespace(spec, specs.PIDNamespace, procPath(first.Init.PID, "ns/pid"))
			if c.withUser {
				setNamespace(spec, specs.UserNamespace, procPath(first.Init.PID, "ns/user"))
			}
			second := create(t, spec)
			status, err := os.ReadFile(procPath(second.Init.PID, "status"))
			if err != nil {
				t.Fatal(err)
			}
			_, inside, _ := strings.Cut(string(status), "NSpid:")
			inside, _, _ = strings.Cut(inside, "\n")
			pid := strings.Fields(inside)[1]

			out := newOutput(t)
			e, err := New().Exec(first.Container, &isolation.Exec{
				Process: &specs.Process{
					Args: []string{"/bin/sh", "-c", "cd /proc/" + pid + "; cat comm fd/0 fd/1 maps environ mem root/etc/passwd"},
					Env:  []string{"PATH=/bin"}, Cwd: "/", Capabilities: caps,
				},
				Streams: isolation.Streams{Stdio: [3]*os.File{nil, out.write, out.write}},
			})
			if err != nil {
				t.Fatal(err)
			}
			text := out.all()
			waitFor(e.PID)
			// It can be seen, and no more than that.
			if strings.Count(text, "\n") != 7 || strings.Count(text, "Permission denied\n") != 6 {
				t.Errorf("a look into the other init shows %s", text)
			}
		})
	}
}
