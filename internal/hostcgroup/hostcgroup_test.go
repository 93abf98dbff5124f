package hostcgroup

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be the members of cgroups, too.
func TestMain(m *testing.M) {
	switch os.Getenv("HOSTCGROUP_TEST") {
	case "":
		os.Exit(m.Run())
	case "wait":
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			answer := lines.Text()
			if path, ok := strings.CutPrefix(answer, "open "); ok {
				f, err := os.Open(path)
				f.Close()
				answer = fmt.Sprint(err)
			}
			fmt.Println(answer)
		}
	case "eat":
		// Waits until it is in its cgroup, and then uses 64 MiB.
		bufio.NewReader(os.Stdin).ReadByte()
		mem, err := unix.Mmap(-1, 0, 64<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			os.Exit(3)
		}
		for i := 0; i < len(mem); i += 4096 {
			mem[i] = 1
		}
	case "rootless":
		rootless()
	}
}

// member is a process that opens the files that it is told, and echoes other
// lines, until its input is closed.
type member struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(t *testing.T, what string) *member {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "HOSTCGROUP_TEST="+what)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &member{cmd, in, bufio.NewReader(out)}
}

// killed reports whether the process ended by SIGKILL.
func (m *member) killed() bool {
	m.Wait()
	ws, _ := m.ProcessState.Sys().(syscall.WaitStatus)
	return ws.Signaled() && ws.Signal() == unix.SIGKILL
}

// ask returns what the process answers; nothing once it has ended.
func (m *member) ask(line string) string {
	fmt.Fprintln(m.in, line)
	answer, _ := m.out.ReadString('\n')
	return strings.TrimSpace(answer)
}

// alive reports whether the process still answers.
func (m *member) alive() bool { return m.ask("there?") == "there?" }

// planFor plans a cgroup of its own for the test, and has it removed at the end.
func planFor(t *testing.T, r *specs.LinuxResources) *Cgroup {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may make cgroups here")
	}
	path := "/coffer-test-" + newMark()
	c, err := Plan(&specs.Spec{Linux: &specs.Linux{CgroupsPath: path, Resources: r}}, "id", Options{})
	if err != nil {
		t.Skipf("this host's cgroups: %v", err)
	}
	for _, dir := range c.dirs() {
		if unix.Access(filepath.Dir(dir), unix.W_OK) == unix.EROFS {
			t.Skip("this host's cgroups are mounted read-only")
		}
	}
	t.Cleanup(func() {
		if err := c.Destroy(); err != nil {
			t.Errorf("removing the cgroup at the end: %v", err)
		}
		for _, dir := range c.dirs() {
			if cgroups.PathExists(dir) {
				t.Errorf("%s is left", dir)
			}
		}
	})
	return c
}

func create(t *testing.T, r *specs.LinuxResources) *Cgroup {
	t.Helper()
	c := planFor(t, r)
	if c.Exists() {
		t.Fatal("planning has made something")
	}
	if err := c.Create(); err != nil {
		t.Fatal(err)
	}
	return c
}

// again is the cgroup as another process finds it on record.
func again(t *testing.T, c *Cgroup) *Cgroup {
	t.Helper()
	data, err := json.Marshal(c.State())
	if err != nil {
		t.Fatal(err)
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(&s)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func read(t *testing.T, c *Cgroup, controller, v1, v2 string) string {
	t.Helper()
	file := v1
	if c.unified() {
		file = v2
	}
	data, err := os.ReadFile(filepath.Join(c.Path(controller), file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func resources(memory, pids int64) *specs.LinuxResources {
	r := &specs.LinuxResources{}
	if memory != 0 {
		r.Memory = &specs.LinuxMemory{Limit: &memory}
	}
	if pids != 0 {
		r.Pids = &specs.LinuxPids{Limit: &pids}
	}
	return r
}

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

// TestEntrance: a process is born in the cgroup on v2, and comes into it by
// itself on v1.
func TestEntrance(t *testing.T) {
	c := create(t, nil)
	e, err := c.Entrance("")
	if err != nil {
		t.Fatal(err)
	}
	if e == nil {
		t.Fatal("there is no entrance to a cgroup that exists")
	}
	defer e.Close()
	if c.unified() && (e.V2 == nil || len(e.V1) > 0) || !c.unified() && len(e.V1) == 0 {
		t.Errorf("the entrance is %+v", e)
	}
	// A process of one thread, as the files of v1 demand.
	cmd := exec.Command("/bin/sh", "-c", `for fd; do echo 0 > /proc/self/fd/$fd || exit; done; echo; read end`, "sh")
	for i, f := range e.V1 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		cmd.Args = append(cmd.Args, strconv.Itoa(3+i))
	}
	if e.V2 != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(e.V2.Fd())}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Errorf("the process did not come into the cgroup: %v", err)
	}
	for _, dir := range c.dirs() {
		if pids, err := members([]string{dir}, false); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
			t.Errorf("in %s are %v, %v, not %d", dir, pids, err, cmd.Process.Pid)
		}
	}
	if err := c.Destroy(); err != nil {
		t.Error(err)
	}
	cmd.Wait()
}

func TestSystemdUnit(t *testing.T) {
	if !systemdRuns() || os.Getuid() != 0 {
		t.Skip("systemd does not run here, or the test is not root")
	}
	id := newMark()
	for name, path := range map[string]string{"default": "", "named": "system.slice:coffer-test:" + id} {
		t.Run(name, func(t *testing.T) {
			c, err := New(&specs.Spec{
				Annotations: map[string]string{"org.systemd.property.TimeoutStopUSec": "uint64 5000000"},
				Linux:       &specs.Linux{CgroupsPath: path, Resources: resources(64<<20, 20)},
			}, id, Options{Systemd: true})
			if err != nil {
				t.Fatal(err)
			}
			if e, err := c.Entrance(""); e != nil || err != nil {
				t.Errorf("before the scope is made there is an entrance %v, %v", e, err)
			}
			m := start(t, "wait")
			if err := c.Add(m.Process.Pid, ""); err != nil {
				t.Fatal(err)
			}
			on := again(t, c)
			if got := read(t, on, "memory", "memory.limit_in_bytes", "memory.max"); got != strconv.Itoa(64<<20) {
				t.Errorf("memory limit %s", got)
			}
			if pids, err := on.PIDs(true); err != nil || !slices.Equal(pids, []int{m.Process.Pid}) {
				t.Errorf("processes %v, %v", pids, err)
			}
			second := start(t, "wait")
			if err := on.Add(second.Process.Pid, ""); err != nil {
				t.Error(err)
			}
			if err := on.Update(resources(0, 33)); err != nil {
				t.Error(err)
			}
			if got := read(t, on, "pids", "pids.max", "pids.max"); got != "33" {
				t.Errorf("pids limit %s", got)
			}
			if err := on.Freeze(); err != nil {
				t.Error(err)
			}
			if err := again(t, on).Destroy(); err != nil {
				t.Error(err)
			}
			if !m.killed() || !second.killed() || on.Exists() {
				t.Error("something of it is left")
			}
			if err := on.Destroy(); err != nil {
				t.Error(err)
			}
		})
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

func TestOutOfMemory(t *testing.T) {
	c := create(t, resources(16<<20, 0))
	if !cgroups.PathExists(c.Path("memory")) {
		t.Skip("no memory controller")
	}
	m := start(t, "eat")
	if err := c.Add(m.Process.Pid, ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	happened, err := c.WatchOOM(ctx)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(m.in, "go")
	if _, ok := <-happened; !ok {
		t.Error("the watch has ended")
	}
	if !m.killed() {
		t.Errorf("the member was not killed: %v", m.ProcessState)
	}
	if n, err := c.OOMKills(); err != nil || n == 0 {
		t.Errorf("%d kills counted, %v", n, err)
	}
	if err := c.Destroy(); err != nil {
		t.Fatal(err)
	}
	for range happened {
	}
}

func TestOutOfMemoryIsWatchedUntilTold(t *testing.T) {
	c := create(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	happened, err := c.WatchOOM(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, ok := <-happened; ok {
		t.Error("lack of memory where there was none")
	}
}

// rootless is a process of an ordinary user who asks for a cgroup.
func rootless() {
	c, err := New(&specs.Spec{}, "coffer-test-"+newMark(), Options{Rootless: true})
	fmt.Println(c.None(), err)
	_, err = New(&specs.Spec{Linux: &specs.Linux{Resources: resources(1<<20, 0)}}, "coffer-test-"+newMark(), Options{Rootless: true})
	fmt.Println(err)
	_, err = New(&specs.Spec{Linux: &specs.Linux{CgroupsPath: "/coffer-test-" + newMark()}}, "id", Options{Rootless: true})
	fmt.Println(err)
	c, err = New(&specs.Spec{Linux: &specs.Linux{Resources: resources(0, -1)}}, "coffer-test-"+newMark(), Options{Rootless: true})
	fmt.Println(c.None(), err)
}

func TestRootless(t *testing.T) {
	planFor(t, nil)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "HOSTCGROUP_TEST=rootless")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 4 {
		t.Fatalf("the process says %q", out)
	}
	if lines[0] != "true <nil>" {
		t.Errorf("without limits: %s", lines[0])
	}
	if lines[3] != "true <nil>" {
		t.Errorf("with a limit that is none: %s", lines[3])
	}
	if !strings.Contains(lines[1], "linux.resources") || !strings.Contains(lines[1], "memory") {
		t.Errorf("with a limit: %s", lines[1])
	}
	if !strings.Contains(lines[2], "permission denied") {
		t.Errorf("with a cgroupsPath: %s", lines[2])
	}
}
