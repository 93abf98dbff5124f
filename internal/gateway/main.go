package gateway

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"coffer/internal/link"

	"golang.org/x/sys/unix"
)

// Main is the helper's process. It returns the process's exit code.
func Main() int {
	control := os.NewFile(fdControl, "control")
	if err := run(control); err != nil && !errors.Is(err, unix.EPIPE) {
		if _, e := fmt.Fprintln(control, err); e != nil {
			fmt.Fprintln(os.Stderr, "coffer gateway is for coffer itself to start:", err)
		}
		return 1
	}
	return 0
}

// run serves until the sandbox or, unless the helper is detached, its starter ends.
func run(control *os.File) error {
	// Most of the heap are buffers of the stack's, which uses them again.
	debug.SetGCPercent(200)
	link.Quiet()
	d, err := readDescription()
	if err != nil {
		return err
	}
	rules := newPolicy(d)
	files, err := raiseWalls(unix.SECCOMP_RET_TRAP)
	if err != nil {
		return err
	}
	var policy Policy
	if rules != nil {
		policy = rules
		defer rules.close()
	}
	l, err := link.New(link.Config{FD: d.Link, Name: "to the sandbox", Address: routerAddress, MTU: MTU, Offload: Offload})
	if err != nil {
		return err
	}
	s, open, err := newStack(l)
	if err != nil {
		return err
	}
	r := newResolver(d.DNS, d.Hosts, policy)
	if err := r.serve(s); err != nil {
		return fmt.Errorf("listening for names: %w", err)
	}
	g := newGateway(s, r, policy, newLimits(files))
	for _, p := range d.Listeners {
		outer, err := newSocket(p.FD)
		if err != nil {
			return err
		}
		if p.UDP {
			port := &publishedPort{gateway: g, socket: outer, port: p.Port, clients: map[client]*publishedClient{}}
			g.ports = append(g.ports, port)
			go port.serve()
		} else {
			go g.acceptConnections(outer, p.Port)
		}
	}
	open()
	if rules != nil {
		rules.isOpen = g.isOpen
		go rules.answerQuestions(os.NewFile(uintptr(d.Questions), "questions"))
	}
	if _, err := io.WriteString(control, serving); err != nil {
		return err
	}
	left := make(chan struct{})
	if d.Detached {
		control.Close()
	} else {
		go func() {
			control.Read(make([]byte, 1)) // nothing comes but its end
			close(left)
		}()
	}
	select {
	case <-l.Ended():
	case <-left:
	}
	g.drain(l.Ended(), LastBytes)
	return nil
}
