package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"coffer/internal/hostcgroup"

	"golang.org/x/sys/unix"
)

// startIn starts a command in a cgroup, or in the one at sub below it. Where the
// host allows it the process is born there: to be moved takes some 20 ms
// (hostcgroup.Entrance).
func startIn(cmd *exec.Cmd, group *hostcgroup.Cgroup, sub string) error {
	entrance, err := group.Entrance(sub)
	if err != nil {
		return err
	}
	if entrance == nil {
		if err := cmd.Start(); err != nil {
			return err
		}
		if group.None() && sub == "" {
			return nil
		}
		if err := group.Add(cmd.Process.Pid, sub); err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			return err
		}
		return nil
	}
	defer entrance.Close()
	// os/exec would open it in the cgroup, whose rules of devices are the spec's.
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	if cmd.Stdin == nil {
		cmd.Stdin = null
	}
	if cmd.Stdout == nil {
		cmd.Stdout = null
	}
	if cmd.Stderr == nil {
		cmd.Stderr = null
	}
	if entrance.V2 != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(entrance.V2.Fd())
	}
	if len(entrance.V1) == 0 {
		return cmd.Start()
	}
	return onDyingThread(func() error {
		for _, f := range entrance.V1 {
			if _, err := f.Write([]byte("0")); err != nil {
				return fmt.Errorf("entering %s: %w", f.Name(), err)
			}
		}
		return cmd.Start()
	})
}

// onDyingThread calls f on a thread that has ended when it returns: so whatever f
// does to its thread is undone. Were it still there, whoever empties the cgroup
// that it has entered would end this process.
func onDyingThread(f func() error) error {
	ended := make(chan called)
	go callOnce(f, ended)
	c := <-ended
	for !errors.Is(unix.Tgkill(unix.Getpid(), c.tid, 0), unix.ESRCH) {
		time.Sleep(20 * time.Microsecond)
	}
	return c.err
}

// called is on which thread a function was called, and what it returned.
type called struct {
	tid int
	err error
}

// callOnce calls f on the goroutine's thread, which ends with the goroutine, since
// it is not unlocked.
func callOnce(f func() error, ended chan<- called) {
	runtime.LockOSThread()
	if tid := unix.Gettid(); tid != unix.Getpid() {
		ended <- called{tid, f()}
		return
	}
	// The process's first thread never ends. While it is locked, this takes
	// another one.
	other := make(chan called)
	go callOnce(f, other)
	c := <-other
	runtime.UnlockOSThread()
	ended <- c
}
