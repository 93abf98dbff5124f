package hostcgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A container whose cgroup is refused, since it is in use, must not end those
// who use it when it is deleted.
func TestCgroupInUseIsRefusedAndLeftAlone(t *testing.T) {
	first := create(t, nil)
	m := start(t, "wait")
	if err := first.Add(m.Process.Pid, ""); err != nil {
		t.Fatal(err)
	}
	second, err := Plan(&specs.Spec{Linux: &specs.Linux{CgroupsPath: first.config.Path}}, "other", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Create(); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Fatalf("error %v, want one that says that the cgroup is not empty", err)
	}
	on := again(t, second)
	if pids, err := on.PIDs(true); err != nil || len(pids) > 0 {
		t.Errorf("the other container is told to have processes %v, %v", pids, err)
	}
	if err := on.Kill(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if err := on.Destroy(); err != nil {
		t.Error(err)
	}
	if !m.alive() {
		t.Error("the process of the first container has been killed")
	}
	if !first.Exists() {
		t.Error("the first container's cgroup has been removed")
	}
}

func TestDevicesAreDenied(t *testing.T) {
	five, access := int64(5), specs.LinuxDeviceCgroup{Access: "rwm"}
	one := int64(1)
	c := create(t, &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		access, {Allow: true, Type: "c", Major: &one, Minor: &five, Access: "r"},
	}})
	m := start(t, "wait")
	if err := c.Add(m.Process.Pid, ""); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "mem": 1} {
		if err := unix.Mknod(filepath.Join(dir, name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			t.Skipf("making a device node: %v", err)
		}
	}
	if f, err := os.Open(filepath.Join(dir, "null")); err != nil {
		t.Skipf("opening a device node: %v", err)
	} else {
		f.Close()
	}
	for name, want := range map[string]string{"null": "<nil>", "zero": "<nil>", "mem": "operation not permitted"} {
		if got := m.ask("open " + filepath.Join(dir, name)); !strings.HasSuffix(got, want) {
			t.Errorf("opening %s: %s", name, got)
		}
	}
}

func TestAddBelow(t *testing.T) {
	c := create(t, nil)
	m := start(t, "wait")
	for sub, want := range map[string]string{
		"missing":        "there is no such one",
		"../x":           "..",
		"nosuch:missing": "nosuch",
	} {
		if c.unified() && strings.Contains(sub, ":") {
			continue
		}
		if err := c.Add(m.Process.Pid, sub); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("joining %q: error %v, want one about %q", sub, err, want)
		}
	}
	if c.unified() {
		return
	}
	if err := os.Mkdir(filepath.Join(c.Path("pids"), "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(m.Process.Pid, "pids:below"); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(filepath.Join(c.Path("pids"), "below/cgroup.procs")); strings.TrimSpace(string(data)) != strconv.Itoa(m.Process.Pid) {
		t.Errorf("the cgroup below holds %q", data)
	}
}

func TestFreezeAndKill(t *testing.T) {
	c := create(t, nil)
	m := start(t, "wait")
	if err := c.Add(m.Process.Pid, ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false, true} {
		set := c.Thaw
		if want {
			set = c.Freeze
		}
		if err := set(); err != nil {
			t.Fatal(err)
		}
		if frozen, err := again(t, c).Frozen(); err != nil || frozen != want {
			t.Errorf("frozen is %v, %v; want %v", frozen, err, want)
		}
	}
	if s := c.State(); s.Config.Freezer != cgroups.Undefined {
		t.Errorf("the record says %q, which would freeze or thaw at an update", s.Config.Freezer)
	}
	if err := c.Kill(unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	if frozen, err := c.Frozen(); err != nil || !frozen {
		t.Errorf("after a signal frozen is %v, %v: a paused container must stay so", frozen, err)
	}
	if err := c.Kill(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !m.killed() {
		t.Errorf("the member was not killed: %v", m.ProcessState)
	}
}

// Children that are made while the cgroup is killed do not escape.
func TestKillWhileForking(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh")
	}
	c := create(t, resources(0, 30))
	cmd := exec.Command(sh, "-c", "read x; while :; do (read y) 2>/dev/null & done 2>/dev/null")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if err := c.Add(cmd.Process.Pid, ""); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "go")
	if err := again(t, c).Destroy(); err != nil {
		t.Fatal(err)
	}
	if pids, err := c.PIDs(true); err != nil || len(pids) > 0 {
		t.Errorf("processes %v, %v are left", pids, err)
	}
}
