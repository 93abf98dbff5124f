package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestHierarchies reads what hosts of different kinds have.
func TestHierarchies(t *testing.T) {
	const mounts = `30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 master:3 - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 30 0:31 /../.. /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
36 23 0:32 / /mnt/my\040freezer rw - cgroup cgroup rw,freezer
`
	const cgroups = `12:freezer:/x
9:rdma:/
5:pids:/
4:memory:/docker/abc/child
3:cpuacct,cpu:/a:b
1:name=systemd:/init.scope
0::/init.scope
`
	list, err := parseMounts([]byte(mounts))
	if err != nil {
		t.Fatal(err)
	}
	if got := list[6].point; got != "/mnt/my freezer" {
		t.Errorf("the point is %q", got)
	}
	got, err := parseHierarchies([]byte(cgroups), list)
	if err != nil {
		t.Fatal(err)
	}
	want := []hierarchy{
		{[]string{"pids"}, "/sys/fs/cgroup/pids"},
		{[]string{"memory"}, "/sys/fs/cgroup/memory/child"},
		{[]string{"cpuacct", "cpu"}, "/sys/fs/cgroup/cpu,cpuacct/a:b"},
		{[]string{"name=systemd"}, "/sys/fs/cgroup/systemd/init.scope"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("hierarchies are %v, want %v", got, want)
	}
}

// TestCgroupMount shows a container its own cgroup, with a cgroup namespace
// and without.
func TestCgroupMount(t *testing.T) {
	const pids = "/sys/fs/cgroup/pids"
	dir := fmt.Sprintf("%s/coffer-rootfs-test-%d", pids, os.Getpid())
	if os.Getenv(insideEnv) == "" {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("making a cgroup of version 1: %v", err)
		}
		defer func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		}()
	}
	for _, row := range []struct {
		name       string
		namespaces uintptr
		types      []specs.LinuxNamespaceType
	}{
		{"shared", newAll, nil},
		{"namespace", newAll, []specs.LinuxNamespaceType{specs.CgroupNamespace}},
		{"user", newUser, []specs.LinuxNamespaceType{specs.UserNamespace}},
		{"user and namespace", newUser, []specs.LinuxNamespaceType{specs.UserNamespace, specs.CgroupNamespace}},
	} {
		for _, by := range []string{"descriptors", "names"} {
			t.Run(row.name+" by "+by, func(t *testing.T) {
				if os.Getenv(insideEnv) == "" {
					// What is started from this thread starts in the cgroup.
					runtime.LockOSThread()
					defer runtime.UnlockOSThread()
					joinCgroup(t, dir)
					defer joinCgroup(t, pids)
				}
				if !inside(t, row.namespaces) {
					return
				}
				if by == "names" {
					refuseMountAPI(t)
				}
				spec := newSpec(defaultMounts()...)
				for _, n := range row.types {
					spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: n})
				}
				if hasNamespace(spec, specs.CgroupNamespace) {
					runtime.LockOSThread()
					if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
						t.Fatal(err)
					}
				}
				enter(t, newBundle(t), spec)
				if got := strings.TrimSpace(fileText(t, pids+"/cgroup.procs")); got != "1" {
					t.Errorf("the processes of its cgroup are %q, want itself", got)
				}
				if got, _ := filepath.Glob(pids + "/coffer-*"); got != nil {
					t.Errorf("it sees %s: the host's root", got)
				}
				for _, place := range []string{pids, "/sys/fs/cgroup"} {
					if err := os.Mkdir(place+"/x", 0o755); err == nil {
						os.Remove(place + "/x")
						t.Errorf("%s is not read-only", place)
					}
				}
			})
		}
	}
}

// joinCgroup moves the calling thread.
func joinCgroup(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(dir+"/tasks", []byte(strconv.Itoa(unix.Gettid())), 0); err != nil {
		t.Fatal(err)
	}
}

// TestCgroup2Mount shows a container the hierarchy of version 2 where the host
// has that alone: all of it, or its part in a cgroup namespace.
func TestCgroup2Mount(t *testing.T) {
	for _, row := range []struct {
		name       string
		namespaces uintptr
		types      []specs.LinuxNamespaceType
	}{
		{"shared", newAll, nil},
		{"namespace", newAll, []specs.LinuxNamespaceType{specs.CgroupNamespace}},
		{"user", newUser, []specs.LinuxNamespaceType{specs.UserNamespace}},
		{"user and namespace", newUser, []specs.LinuxNamespaceType{specs.UserNamespace, specs.CgroupNamespace}},
	} {
		for _, by := range []string{"descriptors", "names"} {
			t.Run(row.name+" by "+by, func(t *testing.T) {
				if os.Getenv(insideEnv) == "" {
					runUnified(t, row.namespaces)
					return
				}
				inside(t, row.namespaces)
				if by == "names" {
					refuseMountAPI(t)
				}
				own := hasNamespace(newSpecWith(row.types), specs.CgroupNamespace)
				if own {
					runtime.LockOSThread()
					if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
						t.Fatal(err)
					}
				}
				enter(t, newBundle(t), newSpecWith(row.types))
				if got := mountAt(t, hostCgroups).describe(); !strings.HasPrefix(got, "cgroup2 ro,nosuid,nodev,noexec,relatime ") {
					t.Errorf("%s is %s", hostCgroups, got)
				}
				// The root of all has no such file.
				_, err := os.Stat(hostCgroups + "/cgroup.events")
				if isRoot := err != nil; isRoot == own {
					t.Errorf("with a cgroup namespace %v, the root of the hierarchy is seen: %v", own, isRoot)
				}
			})
		}
	}
}

// newSpecWith is a usual spec with more namespaces.
func newSpecWith(types []specs.LinuxNamespaceType) *specs.Spec {
	spec := newSpec(defaultMounts()...)
	for _, n := range types {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: n})
	}
	return spec
}

// runUnified runs the test again where the host has a hierarchy of version 2
// alone, in a cgroup of it.
func runUnified(t *testing.T, namespaces uintptr) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting cgroups needs root")
	}
	var skip error
	inNewMounts(t, func() {
		dir := fmt.Sprintf("%s/coffer-rootfs-test-%d", hostCgroups, os.Getpid())
		if skip = errors.Join(
			unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
			unix.Mount("cgroup2", hostCgroups, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
			os.Mkdir(dir, 0o755),
		); skip != nil {
			return
		}
		defer os.Remove(dir)
		f, err := os.Open(dir)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		attr := &syscall.SysProcAttr{Cloneflags: namespaces}
		if namespaces&unix.CLONE_NEWUSER != 0 {
			attr = userAttr(namespaces)
		}
		attr.UseCgroupFD, attr.CgroupFD = true, int(f.Fd())
		runInside(t, attr)
	})
	if skip != nil {
		t.Skip(skip)
	}
}
