package hostcgroup

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// rootless is a process of an ordinary user who asks for a cgroup.
func rootless() {
	c, err := planAndCreate(&specs.Spec{}, "coffer-test-"+newMark(), Options{Rootless: true})
	fmt.Println(c.None(), err)
	_, err = planAndCreate(&specs.Spec{Linux: &specs.Linux{Resources: resources(1<<20, 0)}}, "coffer-test-"+newMark(), Options{Rootless: true})
	fmt.Println(err)
	_, err = planAndCreate(&specs.Spec{Linux: &specs.Linux{CgroupsPath: "/coffer-test-" + newMark()}}, "id", Options{Rootless: true})
	fmt.Println(err)
	c, err = planAndCreate(&specs.Spec{Linux: &specs.Linux{Resources: resources(0, -1)}}, "coffer-test-"+newMark(), Options{Rootless: true})
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
