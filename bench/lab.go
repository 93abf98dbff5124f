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

// A lab's two ends.
const (
	outerAddress, outerInterface = "10.77.0.1", "edge0"
	innerAddress, innerInterface = "10.77.0.2", "eth0"
)

// A lab is two network namespaces with an interface in each, and a way between them: inner is where
// sandboxes get their network from, outer is the host around them. They have no names and
// belong to descriptors of this process, so nothing is left however it ends.
type lab struct {
	inner, outer *os.File
	// taps are what a relay is between, if there is one.
	taps [2]*os.File
}

// newLab makes a lab, whose interfaces are a pair, or lie at the ends of a path.
func (b *bench) newLab(ctx context.Context, p *path) (*lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("making network namespaces takes root")
	}
	l := &lab{}
	var err1, err2 error
	l.inner, l.taps[0], err1 = newNamespace(p, innerInterface)
	l.outer, l.taps[1], err2 = newNamespace(p, outerInterface)
	err := errors.Join(err1, err2)
	if err == nil {
		err = l.connect(ctx, p == nil)
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("making the two ends of a network: %w", err)
	}
	if p != nil {
		go p.relay(l.taps[0], l.taps[1])
		go p.relay(l.taps[1], l.taps[0])
	}
	return l, nil
}

func (l *lab) close() {
	for _, f := range []*os.File{l.inner, l.outer, l.taps[0], l.taps[1]} {
		f.Close()
	}
}

// connect gives the namespaces addresses, and a pair of interfaces if they have none.
func (l *lab) connect(ctx context.Context, pair bool) error {
	link := ""
	if pair {
		link = "\nlink add " + outerInterface + " type veth peer name " + innerInterface + " netns " + namespacePath(l.inner)
	}
	for _, step := range []struct {
		in       *os.File
		commands string
	}{
		{l.outer, "link set lo up" + link + "\naddress add " + outerAddress + "/24 dev " + outerInterface + "\nlink set " + outerInterface + " up"},
		{l.inner, "link set lo up\naddress add " + innerAddress + "/24 dev " + innerInterface + "\nlink set " + innerInterface + " up\nroute add default via " + outerAddress},
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
// in it, with the end of a path if there is one.
func newNamespace(p *path, name string) (ns, tap *os.File, err error) {
	type made struct {
		ns, tap *os.File
		err     error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		var m made
		if m.err = unix.Unshare(unix.CLONE_NEWNET); m.err == nil {
			m.ns, m.err = os.Open("/proc/thread-self/ns/net")
		}
		if m.err == nil && p != nil {
			m.tap, m.err = newTAP(name)
		}
		done <- m
	}()
	m := <-done
	return m.ns, m.tap, m.err
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
