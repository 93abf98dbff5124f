package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

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

func sorted(s []string) []string { slices.Sort(s); return s }

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
