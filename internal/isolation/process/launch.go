package process

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"coffer/internal/handover"
	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"

	"golang.org/x/sys/unix"
)

// launch starts an init and gives it its instructions.
type launch struct {
	todo     instructions
	files    []*os.File // that go with them
	streams  *isolation.Streams
	terminal bool
	cgroup   *hostcgroup.Cgroup
	// subCgroup is a path below the cgroup; empty for the cgroup itself.
	subCgroup string
	// atGate is what else is to be done while the child waits.
	atGate func(pid int) error
	// unmounted is closed once nobody can change the mount of binary any more.
	unmounted chan struct{}
	spawning
}

func (l *launch) start() (*conversation, error) {
	if l.terminal && l.streams.ConsoleSocket == nil {
		return nil, errors.New("process.terminal: the terminal needs a receiver: name a socket with --console-socket")
	}
	ours, theirs, err := newChannel()
	if err != nil {
		return nil, err
	}
	defer theirs.close()
	l.channel = theirs
	l.todo.Terminal, l.todo.Extra = l.terminal, len(l.streams.Extra)
	l.extra = l.streams.Extra
	pid := 0
	todo, err := handover.Encode(&l.todo)
	if err == nil {
		// The instructions wait in the channel when init begins to read.
		err = ours.sendBytes(todo, l.files...)
	}
	if err == nil {
		pid, err = l.launch()
	}
	if err != nil {
		ours.close()
		return nil, err
	}
	return &conversation{channel: ours, pid: pid, unmounted: l.unmounted}, nil
}

func (l *launch) launch() (pid int, err error) {
	if l.binary, err = protectedBinary(l.exposed()); err != nil {
		return 0, err
	}
	// To give up a detached mount takes Linux a grace period of RCU, for which
	// only the program has to wait.
	l.unmounted = make(chan struct{})
	defer func() {
		go func() {
			l.binary.Close()
			close(l.unmounted)
		}()
	}()
	var null *os.File
	for i, f := range l.streams.Stdio {
		if f == nil || l.terminal { // until there is the terminal
			if null == nil {
				if null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
					return 0, fmt.Errorf("opening what stands for the program's missing streams: %w", err)
				}
				defer null.Close()
			}
			f = null
		}
		l.stdio[i] = f
	}
	if err := l.enterCgroup(); err != nil {
		return 0, err
	}
	defer l.entrance.Close()
	if l.gate == nil {
		l.gate = l.atGate
	}
	return l.spawning.start()
}

// exposed reports whether init executes where others may have capabilities over
// it: in a user namespace that exists already.
func (l *launch) exposed() bool {
	flags := l.targetFlags
	for _, j := range l.join {
		flags |= j.flag
	}
	return flags&unix.CLONE_NEWUSER != 0
}

// enterCgroup arranges for the child to begin in the cgroup.
func (l *launch) enterCgroup() (err error) {
	if l.cgroup.None() {
		if l.subCgroup != "" {
			return fmt.Errorf("joining cgroup %q below the container's: %w", l.subCgroup, hostcgroup.ErrNone)
		}
		return nil
	}
	if l.entrance, err = l.cgroup.Entrance(l.subCgroup); err != nil {
		return err
	}
	if l.entrance != nil && l.gateFirst && l.entrance.V2 != nil {
		// A process would be born in the cgroup before it comes to the gate.
		l.entrance.Close()
		l.entrance = nil
	}
	if l.entrance != nil {
		return nil
	}
	l.gate = func(pid int) error {
		enter := func(pid int) error { return l.cgroup.Add(pid, l.subCgroup) }
		inOrder := []func(int) error{enter, l.atGate}
		if l.gateFirst {
			slices.Reverse(inOrder)
		}
		for _, do := range inOrder {
			if do == nil {
				continue
			}
			if err := do(pid); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}
