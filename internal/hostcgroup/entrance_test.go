package hostcgroup

import (
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

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
