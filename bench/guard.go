package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// guardScript waits for the end of its input, and then ends the process groups that it finds listed.
const guardScript = `read -r _
for s in TERM KILL; do for g in $(cat /proc/self/fd/3); do kill -s $s -- -$g && left=yes; done; [ -z "$left" ] || sleep 1; left=; done 2>/dev/null`

// A guard is a process that ends what this one has started, should this one be killed. The host's signal on a
// parent's death would not do: what a shell has started would not get it.
type guard struct {
	cmd *exec.Cmd
	// alive is at its end when this process is.
	alive io.Closer
	// list has the groups, where no write wakes anybody; listed is how long it is.
	list   *os.File
	listed int
}

func newGuard() (*guard, error) {
	fd, err := unix.MemfdCreate("process groups", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	g := &guard{list: os.NewFile(uintptr(fd), "process groups")}
	g.cmd = exec.Command("/bin/sh", "-c", guardScript)
	g.cmd.ExtraFiles = []*os.File{g.list}
	// No signal to our group is to end it.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if g.alive, err = g.cmd.StdinPipe(); err == nil {
		err = g.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("starting what ends our processes should we be killed: %w", err)
	}
	return g, nil
}

// watch says which process groups there are. One write does it: we may be killed at any time.
func (g *guard) watch(groups []int) error {
	var list []byte
	for _, group := range groups {
		list = fmt.Appendf(list, "%d ", group)
	}
	n := len(list)
	for len(list) < g.listed {
		list = append(list, ' ')
	}
	g.listed = n
	_, err := g.list.WriteAt(list, 0)
	return err
}

// release ends the guard, which has nothing to do any more.
func (g *guard) release() error {
	err := g.watch(nil)
	g.alive.Close()
	g.list.Close()
	timer := time.AfterFunc(leaveMax, func() { g.cmd.Process.Kill() })
	defer timer.Stop()
	if waitErr := g.cmd.Wait(); err == nil {
		err = waitErr
	}
	return err
}
