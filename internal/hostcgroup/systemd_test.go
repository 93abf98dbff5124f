package hostcgroup

import (
	"os"
	"slices"
	"strconv"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestSystemdUnit(t *testing.T) {
	if !systemdRuns() || os.Getuid() != 0 {
		t.Skip("systemd does not run here, or the test is not root")
	}
	id := newMark()
	for name, path := range map[string]string{"default": "", "named": "system.slice:coffer-test:" + id} {
		t.Run(name, func(t *testing.T) {
			c, err := planAndCreate(&specs.Spec{
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
