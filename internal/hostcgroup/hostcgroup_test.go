package hostcgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestLimitsMembersAndEnd(t *testing.T) {
	c := create(t, resources(64<<20, 20))
	if got := read(t, c, "memory", "memory.limit_in_bytes", "memory.max"); got != strconv.Itoa(64<<20) {
		t.Errorf("memory limit %s", got)
	}
	if got := read(t, c, "pids", "pids.max", "pids.max"); got != "20" {
		t.Errorf("pids limit %s", got)
	}
	if !c.unified() {
		list := read(t, c, "devices", "devices.list", "")
		if !strings.Contains(list, "c 1:3 rwm") || strings.Contains(list, "a *:*") {
			t.Errorf("devices.list is %q", list)
		}
	}
	m := start(t, "wait")
	if err := c.Add(m.Process.Pid, ""); err != nil {
		t.Fatal(err)
	}
	inside, err := cgroups.ParseCgroupFile(fmt.Sprintf("/proc/%d/cgroup", m.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for controller, dir := range c.paths {
		if !strings.HasSuffix(dir, inside[controller]) {
			t.Errorf("controller %q: the process is in %s, not in %s", controller, inside[controller], dir)
		}
	}
	other := again(t, c)
	pids, err := other.PIDs(false)
	if err != nil || !slices.Equal(pids, []int{m.Process.Pid}) {
		t.Errorf("processes %v, %v; want %d", pids, err, m.Process.Pid)
	}
	if stats, err := other.Stats(); err != nil || stats.PidsStats.Current == 0 || stats.MemoryStats.Usage.Limit != 64<<20 {
		t.Errorf("stats %+v, %v", stats, err)
	}
	if err := other.Destroy(); err != nil {
		t.Fatal(err)
	}
	if !m.killed() {
		t.Error("the member has not been killed")
	}
	if c.Exists() {
		t.Error("the cgroup is still there")
	}
	if err := other.Destroy(); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	if pids, err := c.PIDs(true); err != nil || len(pids) > 0 {
		t.Errorf("a cgroup that is gone has processes %v, %v", pids, err)
	}
	if frozen, err := c.Frozen(); err != nil || frozen {
		t.Errorf("a cgroup that is gone is frozen: %v, %v", frozen, err)
	}
}

// TestAbandoned has cgroups of containers removed that nobody has been in for long, and no others.
func TestAbandoned(t *testing.T) {
	c, young, used, foreign := create(t, nil), create(t, nil), create(t, nil), planFor(t, nil)
	if err := used.Add(start(t, "wait").Process.Pid, ""); err != nil {
		t.Fatal(err)
	}
	for _, dir := range foreign.dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	all := []*Cgroup{c, young, used, foreign}
	age := func(list ...*Cgroup) {
		long := time.Now().Add(-2 * abandonedAfter)
		for _, left := range list {
			for _, dir := range left.dirs() {
				if err := os.Chtimes(dir, long, long); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	expect := func(what string, by *Cgroup, gone ...*Cgroup) {
		t.Helper()
		by.RemoveAbandoned(func(base string) bool {
			return slices.ContainsFunc(all, func(o *Cgroup) bool { return filepath.Base(o.dirs()[0]) == base })
		})
		for _, left := range all {
			if got, want := left.Exists(), !slices.Contains(gone, left); got != want {
				t.Errorf("%s: that %v is there is %v, want %v", what, left.dirs(), got, want)
			}
		}
	}
	age(c, used, foreign)
	expect("its own", c)
	young.RemoveAbandoned(func(string) bool { return false })
	expect("others' names", c)
	// The next container of a name takes over what is left, and needs time for its first process.
	if err := c.Create(); err != nil {
		t.Fatal(err)
	}
	expect("taken over", young)
	age(c)
	expect("left", young, c)
}

func TestRemovalAfterACrash(t *testing.T) {
	t.Run("nothing made", func(t *testing.T) {
		if err := again(t, planFor(t, nil)).Destroy(); err != nil {
			t.Error(err)
		}
	})
	t.Run("some made, none marked", func(t *testing.T) {
		c := planFor(t, nil)
		for _, dir := range c.dirs()[:len(c.dirs())/2+1] {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := again(t, c).Destroy(); err != nil {
			t.Error(err)
		}
		if c.Exists() {
			t.Error("something is left")
		}
	})
	t.Run("others removed some", func(t *testing.T) {
		c := create(t, nil)
		for _, dir := range c.dirs()[:len(c.dirs())/2+1] {
			if err := unix.Rmdir(dir); err != nil {
				t.Fatal(err)
			}
		}
		if err := again(t, c).Destroy(); err != nil {
			t.Error(err)
		}
	})
	t.Run("frozen, with cgroups below", func(t *testing.T) {
		c := create(t, nil)
		for _, dir := range c.dirs() {
			if err := os.MkdirAll(dir+"/a/b", 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if !c.unified() {
			for _, sub := range []string{"a", "a/b"} {
				for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
					value := read(t, c, "cpuset", file, "")
					if err := os.WriteFile(filepath.Join(c.Path("cpuset"), sub, file), []byte(value), 0); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		m := start(t, "wait")
		if err := c.Add(m.Process.Pid, "a/b"); err != nil {
			t.Fatal(err)
		}
		if pids, err := c.PIDs(false); err != nil || len(pids) > 0 {
			t.Errorf("the cgroup itself has processes %v, %v", pids, err)
		}
		if pids, err := c.PIDs(true); err != nil || !slices.Equal(pids, []int{m.Process.Pid}) {
			t.Errorf("with those below it has processes %v, %v", pids, err)
		}
		if err := c.Freeze(); err != nil {
			t.Fatal(err)
		}
		if err := again(t, c).Destroy(); err != nil {
			t.Fatal(err)
		}
		if !m.killed() {
			t.Error("the frozen member has not been killed")
		}
	})
}

func TestUpdate(t *testing.T) {
	c := create(t, resources(64<<20, 20))
	if err := c.Update(resources(0, 33)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c, "pids", "pids.max", "pids.max"); got != "33" {
		t.Errorf("pids limit %s", got)
	}
	if got := read(t, c, "memory", "memory.limit_in_bytes", "memory.max"); got != strconv.Itoa(64<<20) {
		t.Errorf("memory limit %s", got)
	}
	bad := resources(0, 44)
	bad.CPU = &specs.LinuxCPU{Cpus: "4000"}
	err := c.Update(bad)
	if err == nil || !strings.Contains(err.Error(), "cpuset.cpus") {
		t.Fatalf("error %v, want one that names cpuset.cpus", err)
	}
	if got := read(t, c, "pids", "pids.max", "pids.max"); got != "33" {
		t.Errorf("after an update that failed the pids limit is %s", got)
	}
	if got := *again(t, c).config.Resources.PidsLimit; got != 33 {
		t.Errorf("the record has a pids limit of %d", got)
	}
	if err := c.Update(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "r"}}}); err == nil || !strings.Contains(err.Error(), "linux.resources.devices") {
		t.Errorf("error %v for device rules", err)
	}
}

// TestUpdateOfWhatGoesTogether changes limits of which Linux lets one be changed
// only while another one allows it.
func TestUpdateOfWhatGoesTogether(t *testing.T) {
	c := create(t, resources(64<<20, 20))
	idle := func(n int64) *specs.LinuxResources { return &specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: &n}} }
	shares, limit, none := uint64(512), int64(128<<20), int64(-1)
	cpu := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
	if err := c.Update(cpu); err != nil {
		t.Fatal(err)
	}
	had := read(t, c, "cpu", "cpu.shares", "cpu.weight")
	if err := c.Update(idle(1)); err != nil {
		t.Skipf("no idle cgroups here: %v", err)
	}
	for _, r := range []*specs.LinuxResources{resources(0, 33), idle(0), idle(1), idle(0)} {
		if err := c.Update(r); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, c, "cpu", "cpu.shares", "cpu.weight"); got != had {
		t.Errorf("no longer idle, its share is %s; it was %s", got, had)
	}

	if err := c.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: &limit}}); err != nil {
		t.Skipf("no limit of swap here: %v", err)
	}
	if err := c.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &none}}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c, "memory", "memory.limit_in_bytes", "memory.max"); got == strconv.Itoa(64<<20) {
		t.Errorf("a limit that was lifted is %s", got)
	}
}

func TestLimitsWithoutAController(t *testing.T) {
	c := planFor(t, nil)
	if _, there := c.paths["hugetlb"]; there || c.unified() {
		t.Skip("this host has cgroup v1's hugetlb controller, or cgroup v2")
	}
	_, err := Plan(&specs.Spec{Linux: &specs.Linux{Resources: &specs.LinuxResources{
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 0}},
	}}}, "id", Options{})
	if err == nil || !strings.Contains(err.Error(), "linux.resources.hugepageLimits") || !strings.Contains(err.Error(), "hugetlb") {
		t.Errorf("error %v, want one that names the field and the controller", err)
	}
}

func TestLimitThatTheKernelRefusesLeavesNothing(t *testing.T) {
	r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}}
	c := planFor(t, r)
	if err := c.Create(); err == nil || !strings.Contains(err.Error(), "cpuset.cpus") {
		t.Errorf("error %v, want one that names cpuset.cpus", err)
	}
	if c.Exists() {
		t.Error("something is left")
	}
}
