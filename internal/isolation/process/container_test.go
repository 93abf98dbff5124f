package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// TestNewNamespaces: the namespaces that the spec asks for are new, and the
// others the caller's.
func TestNewNamespaces(t *testing.T) {
	all := []specs.LinuxNamespaceType{
		specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace,
		specs.CgroupNamespace, specs.UserNamespace, specs.TimeNamespace,
	}
	check := func(t *testing.T, asked ...specs.LinuxNamespaceType) {
		spec := shell(bundle(t), "cat")
		spec.Mounts = spec.Mounts[1:] // proc needs a PID namespace of one's own
		if slices.Contains(asked, specs.PIDNamespace) {
			spec = shell(bundle(t), "cat")
		}
		spec.Linux.Namespaces = nil
		for _, kind := range append([]specs.LinuxNamespaceType{specs.MountNamespace}, asked...) {
			setNamespace(spec, kind, "")
			if kind == specs.UserNamespace {
				withUserNamespace(spec)
			}
		}
		c := create(t, spec)
		c.start()
		for _, k := range namespaceKinds {
			if _, err := os.Stat("/proc/self/ns/" + k.name); err != nil {
				continue
			}
			want := hasNamespace(spec, k.kind)
			if got := namespaceOf(t, c.Init.PID, k.name) != namespaceOf(t, os.Getpid(), k.name); got != want {
				t.Errorf("%s namespace: new is %v, want %v", k.kind, got, want)
			}
		}
	}
	t.Run("none", func(t *testing.T) { check(t) })
	t.Run("all", func(t *testing.T) { check(t, all...) })
	for _, kind := range all {
		t.Run(string(kind), func(t *testing.T) { check(t, kind) })
		t.Run("all but "+string(kind), func(t *testing.T) {
			check(t, slices.DeleteFunc(slices.Clone(all), func(k specs.LinuxNamespaceType) bool { return k == kind })...)
		})
	}
}

// TestJoinNamespaces: a container joins each kind of namespace of another one
// by its path, each alone and all together.
func TestJoinNamespaces(t *testing.T) {
	for _, withUser := range []bool{false, true} {
		t.Run(fmt.Sprintf("user=%v", withUser), func(t *testing.T) {
			spec := shell(bundle(t), "cat")
			setNamespace(spec, specs.CgroupNamespace, "")
			setNamespace(spec, specs.TimeNamespace, "")
			if withUser {
				withUserNamespace(spec)
			}
			first := create(t, spec)
			first.start()
			join := func(t *testing.T, kinds ...specs.LinuxNamespaceType) {
				spec := shell(bundle(t), "cat")
				for _, kind := range kinds {
					k, _ := kindOf(kind)
					setNamespace(spec, kind, procPath(first.Init.PID, "ns/"+k.name))
				}
				second := create(t, spec)
				second.start()
				for _, kind := range kinds {
					k, _ := kindOf(kind)
					if got, want := namespaceOf(t, second.Init.PID, k.name), namespaceOf(t, first.Init.PID, k.name); got != want {
						t.Errorf("the %s namespace is %s, not %s", kind, got, want)
					}
				}
			}
			kinds := []specs.LinuxNamespaceType{
				specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace, specs.TimeNamespace,
			}
			if withUser {
				kinds = append(kinds, specs.UserNamespace)
			}
			for _, kind := range kinds {
				t.Run(string(kind), func(t *testing.T) { join(t, kind) })
			}
			t.Run("all", func(t *testing.T) { join(t, kinds...) })
		})
	}
}

func TestNamespacePaths(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, says string }{
		{"another kind", "/proc/self/ns/ipc", "is a ipc namespace, not a network namespace"},
		{"no namespace", "/proc/self/status", "is not a namespace"},
		{"a FIFO", fifo, "is not a namespace"},
		{"missing", "/proc/self/ns/nothing", "must exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := bundle(t)
			setNamespace(spec, specs.NetworkNamespace, c.path)
			mustFail(t, prepare(t, spec).create(), "linux.namespaces[1] (network)", c.path, c.says)
		})
	}
}

func TestUserNamespace(t *testing.T) {
	c := create(t, withUserNamespace(shell(bundle(t), "id -u; cat /proc/self/uid_map")))
	out, _ := c.run()
	if f := strings.Fields(out); !slices.Equal(f, []string{"0", "0", "100000", "65536"}) {
		t.Errorf("id and map are %q", f)
	}
}

func TestTimeOffsets(t *testing.T) {
	spec := shell(bundle(t), "cat /proc/self/timens_offsets")
	setNamespace(spec, specs.TimeNamespace, "")
	spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 86400}, "monotonic": {Secs: 3600, Nanosecs: 5}}
	out, _ := create(t, spec).run()
	if f := strings.Fields(out); !slices.Equal(f, []string{"monotonic", "3600", "5", "boottime", "86400", "0"}) {
		t.Errorf("the offsets are %q", f)
	}
}

// TestNames: the host's and the domain's name are the container's own.
func TestNames(t *testing.T) {
	spec := shell(bundle(t), "hostname; cat /proc/sys/kernel/domainname")
	spec.Hostname, spec.Domainname = "inside", "example"
	if out, _ := create(t, spec).run(); out != "inside\nexample\n" {
		t.Errorf("the names are %q", out)
	}
}

// TestLoopback: the loopback device of a new network namespace is up.
func TestLoopback(t *testing.T) {
	spec := shell(bundle(t), "cat /sys/class/net/lo/flags")
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/tmp", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}})
	shell(spec, "cat /tmp/class/net/lo/flags")
	if out, _ := create(t, spec).run(); out != "0x9\n" { // IFF_UP, IFF_LOOPBACK
		t.Errorf("the flags of lo are %q", out)
	}
}

// TestMissingProgram: engines know by these texts what went wrong.
func TestMissingProgram(t *testing.T) {
	running := create(t, shell(bundle(t), "cat"))
	running.start()
	for _, c := range []struct {
		program, says string
		code          int
	}{
		{"nothing", `exec: "nothing": executable file not found in $PATH (`, notFound},
		{"/nothing", `exec: "/nothing": stat /nothing: no such file or directory`, notFound},
		{"/etc/data", `exec: "/etc/data": permission denied`, notExecutable},
		{"/etc", `exec: "/etc": is a directory`, notExecutable},
	} {
		t.Run(c.program, func(t *testing.T) {
			spec := bundle(t)
			spec.Process.Args = []string{c.program}
			err := prepare(t, spec).create()
			mustFail(t, err, c.says)
			if got := programCode(err); got != c.code {
				t.Errorf("the exit code is %d, want %d", got, c.code)
			}
			_, _, err = running.exec(c.program)
			mustFail(t, err, c.says)
			if got := programCode(err); got != c.code {
				t.Errorf("the exit code of exec is %d, want %d", got, c.code)
			}
		})
	}
}

// TestLittleMemory: a limit in which nothing can start is refused. With a few
// pages, Linux ended coffer itself.
func TestLittleMemory(t *testing.T) {
	for limit, refused := range map[int64]bool{1000: true, minMemory - 1: true, minMemory: false, 0: false, -1: false} {
		spec := bundle(t)
		spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
		err := New().Check(&isolation.Request{Spec: spec})
		if refused {
			mustFail(t, err, "linux.resources.memory.limit")
		} else if err != nil {
			t.Errorf("a limit of %d: %v", limit, err)
		}
	}
}

// TestDescriptors: a program has its standard streams and what it is to
// inherit, whatever the caller has open.
func TestDescriptors(t *testing.T) {
	for fd := range 5 { // open without close-on-exec
		leak, err := unix.FcntlInt(uintptr(fd%3), unix.F_DUPFD, 40)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(leak)
	}
	extra := newOutput(t)
	for _, n := range []int{0, 1, 9} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			spec := shell(bundle(t), "cd /proc/self/fd; echo *")
			want := []string{"0", "1", "2"}
			for i := range n {
				want = append(want, fmt.Sprint(3+i))
			}
			// The shell's own, of the directory that it lists.
			want = append(want, fmt.Sprint(3+n))
			c := prepare(t, spec)
			for range n {
				c.request.Extra = append(c.request.Extra, extra.write)
			}
			if err := c.create(); err != nil {
				t.Fatal(err)
			}
			out, _ := c.run()
			if got := strings.Fields(out); !slices.Equal(got, sorted(want)) {
				t.Errorf("open are %q, want %q", got, want)
			}
		})
	}
	c := create(t, shell(bundle(t), "cat"))
	c.start()
	out, _, err := c.exec("/bin/sh", "-c", "cd /proc/self/fd; echo *")
	if err != nil || out != "0 1 2 3\n" {
		t.Errorf("exec has %q open (%v)", out, err)
	}
}

// TestStandardStreams: the program's user owns the pipes that it has got, and no
// device of the host's, be it one that is as good as /dev/null.
func TestStandardStreams(t *testing.T) {
	device := filepath.Join(t.TempDir(), "zero")
	switch err := unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); {
	case errors.Is(err, unix.EPERM):
		t.Skip("making a device is not permitted here")
	case err != nil:
		t.Fatal(err)
	}
	stdin, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			t.Skip("devices can't be opened in the directory of temporary files")
		}
		t.Fatal(err)
	}
	defer stdin.Close()
	spec := shell(bundle(t), "echo again >/proc/self/fd/1")
	spec.Process.User = specs.User{UID: 1000, GID: 1000}
	c := prepare(t, spec)
	c.request.Stdio[0] = stdin
	if err := c.create(); err != nil {
		t.Fatal(err)
	}
	if out, status := c.run(); out != "again\n" || status != 0 {
		t.Errorf("it wrote %q and ended with %#x", out, status)
	}
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil || st.Uid != 0 || st.Gid != 0 {
		t.Errorf("the device belongs to %d:%d (%v)", st.Uid, st.Gid, err)
	}
}

// TestReadFileStaysForeign: a file of the host's that a program only reads does
// not become its user's, who could then change its mode and write to it.
func TestReadFileStaysForeign(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("host\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	stdin, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	spec := shell(bundle(t), "chmod 666 /proc/self/fd/0 2>/dev/null && echo changed; cat")
	spec.Process.User = specs.User{UID: 1000, GID: 1000}
	c := prepare(t, spec)
	c.request.Stdio[0] = stdin
	if err := c.create(); err != nil {
		t.Fatal(err)
	}
	if out, status := c.run(); out != "host\n" || status != 0 {
		t.Errorf("it wrote %q and ended with %#x", out, status)
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil || st.Uid != 0 || st.Mode&0o7777 != 0o444 {
		t.Errorf("the file belongs to %d and has the mode %#o (%v)", st.Uid, st.Mode, err)
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

// TestCwdOutside: a working directory that leads out of the container is
// refused (CVE-2024-21626), for containers and for exec.
func TestCwdOutside(t *testing.T) {
	running := create(t, shell(bundle(t), "cat"))
	running.start()
	for fd := 3; fd < 24; fd++ {
		dir := fmt.Sprintf("/proc/self/fd/%d", fd)
		spec := shell(bundle(t), "pwd")
		spec.Process.Cwd = dir
		mustFail(t, prepare(t, spec).create(), "process.cwd")
		_, err := New().Exec(running.Container, &isolation.Exec{Process: &specs.Process{Args: []string{"/bin/pwd"}, Cwd: dir}})
		mustFail(t, err, "process.cwd")
	}
}

// TestCwdMadeInside: a working directory that is missing is not made on the host,
// though a descriptor leads there.
func TestCwdMadeInside(t *testing.T) {
	dir := t.TempDir()
	stdin, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	spec := shell(bundle(t), "pwd")
	spec.Process.Cwd = "/proc/self/fd/0/made"
	c := prepare(t, spec)
	c.request.Stdio[0] = stdin
	mustFail(t, c.create(), "process.cwd")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the host's directory holds %v (%v)", left, err)
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

// TestIgnoredSignals: what coffer was started with ignored is not ignored in
// the container.
func TestIgnoredSignals(t *testing.T) {
	var ignore, before sigaction
	ignore.handler = sigIgnore
	if err := changeAction(unix.SIGUSR2, &ignore, &before); err != nil {
		t.Fatal(err)
	}
	defer changeAction(unix.SIGUSR2, &before, nil)
	spec := bundle(t)
	spec.Process.Args = []string{"cat", "/proc/self/status"}
	out, _ := create(t, spec).run()
	for _, want := range []string{"SigBlk:\t0000000000000000\n", "SigIgn:\t0000000000000000\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in %s", want, out)
		}
	}
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

// TestHostMounts: a container in the host's mount namespace sees its own root
// and mounts, and so does an exec; they are in the container's directory only,
// and nothing is left of them.
func TestHostMounts(t *testing.T) {
	mounts := func() string {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	const script = "ls -l /proc/self/ns/mnt; echo /bin/busybox /dev/null /proc/self; ls /; cat"
	spec := shell(bundle(t), script)
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.MountNamespace })
	before := mounts()
	c := create(t, spec)
	c.start()
	seen := 0
	for line := range strings.Lines(mounts()) {
		point := strings.Fields(line)[4] // proc_pid_mountinfo(5)
		if strings.HasPrefix(point, root.dir) {
			t.Errorf("the host has a mount in the bundle: %s", line)
		}
		if strings.HasPrefix(point, filepath.Join(c.StateDir, mountsDir)) {
			seen++
		}
	}
	if n := strings.Count(mounts(), "\n") - strings.Count(before, "\n"); n != seen || n == 0 {
		t.Errorf("the host has %d mounts more, %d of them in the container's directory", n, seen)
	}
	inExec, _, err := c.exec("/bin/sh", "-c", script)
	if err != nil {
		t.Error(err)
	}
	c.in.Close() // it ends, and with it all in its PID namespace
	own := namespaceOf(t, os.Getpid(), "mnt")
	for _, out := range []string{inExec, c.out.all()} {
		if !strings.Contains(out, own) || !strings.Contains(out, "/bin/busybox /dev/null /proc/self\nbin\ndev\n") {
			t.Errorf("it says %s", out)
		}
	}
	if err := New().Destroy(c.Container); err != nil {
		t.Error(err)
	}
	if after := mounts(); strings.Count(after, "\n") != strings.Count(before, "\n") {
		t.Errorf("mounts are left: %s", after)
	}
	setNamespace(spec, specs.MountNamespace, "/proc/self/ns/mnt")
	mustFail(t, prepare(t, spec).create(), "is the host's mount namespace")
	spec.Linux.Namespaces = nil
	mustFail(t, prepare(t, withUserNamespace(spec)).create(), "linux.namespaces", "user namespace")
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
