package hostcgroup

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestPlaceReadsCgroupsPath(t *testing.T) {
	for name, test := range map[string]struct {
		path                      string
		systemd                   bool
		wantPath, parent, wantErr string
		prefix, unit              string
	}{
		"none":             {unit: "id"},
		"absolute":         {path: "/a/b", wantPath: "/a/b"},
		"relative":         {path: "a/b", wantPath: "a/b"},
		"out by dots":      {path: "/a/../../b", wantErr: ".."},
		"the root":         {path: "/", wantErr: "root of the hierarchy"},
		"nul":              {path: "/a\x00b", wantErr: "NUL"},
		"line break":       {path: "/a\nb", wantErr: "line break"},
		"systemd":          {path: "user.slice:crio:42", systemd: true, parent: "user.slice", prefix: "crio", unit: "42"},
		"systemd, none":    {systemd: true, prefix: "coffer", unit: "id"},
		"systemd, no form": {path: "/a", systemd: true, wantErr: "slice:prefix:name"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cgroups.Cgroup{Systemd: test.systemd}
			err := place(c, test.path, "id")
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) || !strings.Contains(err.Error(), "linux.cgroupsPath") {
					t.Fatalf("error %v, want one about %q of linux.cgroupsPath", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Path != test.wantPath || c.Parent != test.parent || c.ScopePrefix != test.prefix || c.Name != test.unit {
				t.Errorf("placed at path %q, parent %q, prefix %q, name %q", c.Path, c.Parent, c.ScopePrefix, c.Name)
			}
		})
	}
}

func TestLimitsThatContradictAreRefusedByName(t *testing.T) {
	p := func(n int64) *int64 { return &n }
	u := func(n uint64) *uint64 { return &n }
	w := func(n uint16) *uint16 { return &n }
	for field, r := range map[string]specs.LinuxResources{
		"memory.limit":                      {Memory: &specs.LinuxMemory{Limit: p(-2)}},
		"memory.swap":                       {Memory: &specs.LinuxMemory{Limit: p(100), Swap: p(50)}},
		"memory.swap is 50 while":           {Memory: &specs.LinuxMemory{Limit: p(-1), Swap: p(50)}},
		"memory.swap is 50 without":         {Memory: &specs.LinuxMemory{Swap: p(50)}},
		"memory.swappiness":                 {Memory: &specs.LinuxMemory{Swappiness: u(101)}},
		"cpu.period":                        {CPU: &specs.LinuxCPU{Period: u(1 << 63)}},
		"cpu.idle":                          {CPU: &specs.LinuxCPU{Idle: p(2)}},
		"blockIO.weight":                    {BlockIO: &specs.LinuxBlockIO{Weight: w(9)}},
		"blockIO.weightDevice[0].weight":    {BlockIO: &specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{{Weight: w(1001)}}}},
		"hugepageLimits[0].pageSize":        {HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2mb"}}},
		"hugepageLimits[1].pageSize":        {HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB"}, {Pagesize: "+2MB"}}},
		`unified: "memory/high"`:            {Unified: map[string]string{"memory/high": "1"}},
		`unified: "nodot" must be the name`: {Unified: map[string]string{"nodot": "1"}},
	} {
		err := limit(&cgroups.Resources{}, &r, true)
		if err == nil || !strings.Contains(err.Error(), "linux.resources."+field) {
			t.Errorf("error %v, want one that names linux.resources.%s", err, field)
		}
	}
	for _, n := range []uint64{1, 1<<18 + 1} {
		r := specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: u(n)}}
		if err := limit(&cgroups.Resources{}, &r, false); err == nil || !strings.Contains(err.Error(), "linux.resources.cpu.shares is") {
			t.Errorf("%d shares on cgroup v1: %v", n, err)
		}
	}
	if err := limit(&cgroups.Resources{}, &specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}, false); err == nil || !strings.Contains(err.Error(), "linux.resources.unified") {
		t.Errorf("error %v for unified files on cgroup v1", err)
	}
}

// TestExplain: who reads an error of the library learns which field it is about.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		path  string
		errno unix.Errno
		says  []string
	}{
		{"/sys/fs/cgroup/cpuset/x/cpuset.cpus", unix.ERANGE, []string{"linux.resources.cpu.cpus: ", "see that it lies within"}},
		{"/sys/fs/cgroup/x/pids.max", unix.EACCES, []string{"linux.resources.pids.limit: ", "run as root"}},
		{"/sys/fs/cgroup/freezer/tasks/x/freezer.state", unix.ENOTDIR, []string{"linux.cgroupsPath"}},
		{"/sys/fs/cgroup/cpu/x", unix.ENAMETOOLONG, []string{"linux.cgroupsPath is too long"}},
	} {
		err := explain(fmt.Errorf("failed to write: %w", &fs.PathError{Op: "write", Path: c.path, Err: c.errno}))
		for _, want := range c.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q, want one with %q", err, want)
			}
		}
	}
	if name := fieldOf("cpu.max"); name != "" { // it holds quota and period
		t.Errorf("cpu.max is said to be %s", name)
	}
}

func TestLimitLeavesAloneWhatIsNotNamed(t *testing.T) {
	n := int64(7)
	to := cgroups.Resources{Memory: 1 << 20, CpuShares: 512, PidsLimit: &n}
	shares := uint64(1024)
	if err := limit(&to, &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}, false); err != nil {
		t.Fatal(err)
	}
	if to.Memory != 1<<20 || to.PidsLimit != &n {
		t.Error("a limit that was not named has changed")
	}
	if to.CpuShares != 1024 || to.CpuWeight != 100 {
		t.Errorf("shares %d, weight %d; want 1024 and 100", to.CpuShares, to.CpuWeight)
	}
}

func TestDeviceRules(t *testing.T) {
	one, five := int64(1), int64(5)
	rules, err := deviceRules([]specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Major: &one, Minor: &five, Access: "r"},
	}, []specs.LinuxDevice{{Path: "/dev/null"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := rules[0].CgroupString(); got != "a *:* rwm" || rules[0].Allow {
		t.Errorf("the first rule is %q", got)
	}
	if got := rules[1].CgroupString(); got != "c 1:5 r" || !rules[1].Allow {
		t.Errorf("the second rule is %q", got)
	}
	for _, r := range rules[2:] {
		if !r.Allow {
			t.Errorf("the default rule %q denies", r.CgroupString())
		}
		if r.Type == devices.CharDevice && r.Major == 1 && r.Minor == 3 {
			t.Error("the rule of the default /dev/null is there, though the spec makes its own")
		}
	}
	for _, bad := range []specs.LinuxDeviceCgroup{
		{Access: ""}, {Access: "rx"}, {Type: "p", Access: "r"}, {Type: "c", Major: func() *int64 { n := int64(-2); return &n }(), Access: "r"},
	} {
		if _, err := deviceRules([]specs.LinuxDeviceCgroup{bad}, nil); err == nil || !strings.Contains(err.Error(), "linux.resources.devices[0].") {
			t.Errorf("error %v for rule %+v", err, bad)
		}
	}
}

func TestUnitPropertiesFromAnnotations(t *testing.T) {
	props, err := unitProperties(map[string]string{
		"org.systemd.property.TimeoutStopUSec": "uint64 123456789",
		"org.systemd.property.TimeoutStartSec": "2",
		"org.systemd.property.CollectMode":     "'inactive-or-failed'",
		"other":                                "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"CollectMode=\"inactive-or-failed\"", "TimeoutStartUSec=@t 2000000", "TimeoutStopUSec=@t 123456789"}
	if len(props) != len(want) {
		t.Fatalf("%d properties, want %d", len(props), len(want))
	}
	for i, p := range props {
		if got := p.Name + "=" + p.Value.String(); got != want[i] {
			t.Errorf("property %q, want %q", got, want[i])
		}
	}
	for key, value := range map[string]string{
		"org.systemd.property.a.b":      "1",
		"org.systemd.property.Name":     "not a variant",
		"org.systemd.property.DelaySec": "'x'",
		"org.systemd.property.AgainSec": "-1",
	} {
		if _, err := unitProperties(map[string]string{key: value}); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("error %v for %s=%s", err, key, value)
		}
	}
}

func TestSystemdIsAskedForWhereItDoesNotRun(t *testing.T) {
	if systemdRuns() {
		t.Skip("systemd runs here")
	}
	_, err := Plan(&specs.Spec{}, "id", Options{Systemd: true})
	if err == nil || !strings.Contains(err.Error(), "systemd") || !strings.Contains(err.Error(), "--systemd-cgroup") {
		t.Errorf("error %v, want one that says that systemd does not run", err)
	}
}

func TestRecordsThatAreNotOurs(t *testing.T) {
	for name, s := range map[string]*State{
		"no config":     {Paths: map[string]string{"memory": "/sys/fs/cgroup/memory/x"}},
		"relative path": {Config: &cgroups.Cgroup{}, Paths: map[string]string{"memory": "x"}},
		"dots":          {Config: &cgroups.Cgroup{}, Paths: map[string]string{"memory": "/sys/fs/cgroup/../x"}},
		"the root":      {Config: &cgroups.Cgroup{}, Paths: map[string]string{"memory": "/"}},
	} {
		if _, err := Load(s); err == nil {
			t.Errorf("%s: the record is taken", name)
		}
	}
	if c, err := Load(nil); c != nil || err != nil {
		t.Errorf("no record gives %v, %v", c, err)
	}
}

func TestNoCgroup(t *testing.T) {
	var none *Cgroup
	if !none.None() || none.Exists() || none.State() != nil || none.Path("memory") != "" {
		t.Error("nil is taken for a cgroup")
	}
	if err := none.Destroy(); err != nil {
		t.Error(err)
	}
	if pids, err := none.PIDs(true); pids != nil || err != nil {
		t.Errorf("processes %v, %v", pids, err)
	}
	if err := none.Freeze(); err != ErrNone {
		t.Errorf("freezing: %v", err)
	}
	if _, err := none.Stats(); err != ErrNone {
		t.Errorf("measuring: %v", err)
	}
}
