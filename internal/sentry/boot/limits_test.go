package boot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	limitName = "coffer-limit"
	limitTest = 40
)

// TestProcessLimit checks that the host holds a user of a sentry's namespaces
// to RLIMIT_NPROC, of which a guest that has broken into its stub must not make
// more.
func TestProcessLimit(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, whose sentries have stubs of another user")
	}
	attr, _ := new(Sandbox).Namespaces()
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{limitName}, Dir: "/", SysProcAttr: attr}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("this host does not let namespaces be made: %v", err)
	}
	var n int
	if _, serr := fmt.Sscan(string(out), &n); err != nil || serr != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// One more, because setuid(2) looks before it counts; fork(2) does after.
	if n < 1 || n > limitTest+1 {
		t.Errorf("%d processes could be made under a limit of %d", n, limitTest)
	}
}

// fillLimit makes processes of the stubs' user until the host refuses, and
// tells how many there are. They have one thread each, which a Go program has
// not for long, and end with it.
func fillLimit() error {
	cat, err := exec.LookPath("cat")
	if err != nil {
		return err
	}
	if err := lowerLimit(unix.RLIMIT_NPROC, limitTest); err != nil {
		return err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close() // till then they wait
	for n := range 2 * limitTest {
		cmd := &exec.Cmd{
			Path: cat, Args: []string{"cat"}, Stdin: in,
			SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stubUser, Gid: stubUser}},
		}
		if err := cmd.Start(); errors.Is(err, unix.EAGAIN) {
			fmt.Println(n)
			return nil
		} else if err != nil {
			return err
		}
	}
	return errors.New("there is no limit")
}

func TestMaxTasks(t *testing.T) {
	for _, c := range []struct {
		memory int64
		host   []int
		want   int
	}{
		{0, nil, 32768}, {0, []int{1 << 22, 1 << 20}, 32768}, {0, []int{32768, 1 << 20}, 8192}, {0, []int{1 << 22, 4000}, 1000}, {0, []int{300}, 256},
		{300 << 20, []int{32768}, 600}, {16 << 20, nil, 64}, {1 << 40, []int{32768}, 8192},
	} {
		if got := maxTasks(c.memory, c.host...); got != c.want {
			t.Errorf("%v: %d, want %d", c.host, got, c.want)
		}
	}
}
