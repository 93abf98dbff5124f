package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Addresses of a lab's two ends.
const (
	outerAddress = "10.77.0.1"
	innerAddress = "10.77.0.2"
)

// A lab is two network namespaces with a pair of interfaces between them: inner is where
// sandboxes get their network from, outer is the host around them. They have no names and
// belong to descriptors of this process, so nothing is left however it ends.
type lab struct{ inner, outer *os.File }

// newLab makes a lab.
func (b *bench) newLab(ctx context.Context) (*lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("making network namespaces takes root")
	}
	l := &lab{}
	var err1, err2 error
	l.inner, err1 = newNamespace()
	l.outer, err2 = newNamespace()
	err := errors.Join(err1, err2)
	if err == nil {
		err = l.connect(ctx)
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("making the two ends of a network: %w", err)
	}
	return l, nil
}

func (l *lab) close() {
	l.inner.Close()
	l.outer.Close()
}

// connect gives the namespaces their interfaces.
func (l *lab) connect(ctx context.Context) error {
	for _, step := range []struct {
		in       *os.File
		commands string
	}{
		{l.outer, "link set lo up\nlink add edge0 type veth peer name eth0 netns " + namespacePath(l.inner) +
			"\naddress add " + outerAddress + "/24 dev edge0\nlink set edge0 up"},
		{l.inner, "link set lo up\naddress add " + innerAddress + "/24 dev eth0\nlink set eth0 up\nroute add default via " + outerAddress},
	} {
		argv := inNamespace(namespacePath(step.in), []string{"ip", "-batch", "-"})
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdin = strings.NewReader(step.commands)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w%s", err, said(string(out)))
		}
	}
	return nil
}

// newNamespace makes a network namespace, which lasts as long as the file and what runs
// in it.
func newNamespace() (*os.File, error) {
	type made struct {
		file *os.File
		err  error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		var f *os.File
		if err == nil {
			f, err = os.Open("/proc/thread-self/ns/net")
		}
		done <- made{f, err}
	}()
	m := <-done
	return m.file, m.err
}

// namespacePath is a path that other processes have for a namespace.
func namespacePath(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

// inNamespace is argv in the network namespace at path; argv itself if there is none.
func inNamespace(path string, argv []string) []string {
	if path == "" {
		return argv
	}
	return append([]string{"nsenter", "--net=" + path}, argv...)
}

// outside starts a program at the lab's outer end, natively.
func (b *bench) outside(ctx context.Context, l *lab, j job) (*process, error) {
	j.netns = namespacePath(l.outer)
	return b.start(ctx, nativeWall, j)
}
