package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"
	"coffer/internal/isolation/process/netdev"
	"coffer/internal/isolation/process/rootfs"
	"coffer/internal/seccomp/profile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Create makes a container up to its program, which waits for Start.
func (wall) Create(r *isolation.Request) (pid isolation.PID, err error) {
	// Init is to die if this thread does, as long as it isn't complete.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	program, err := compile(r.Spec)
	if err != nil {
		return pid, err
	}
	fresh, join, err := namespaces(r.Spec)
	if err != nil {
		return pid, err
	}
	defer closeJoined(join)
	start, err := bindStart(r.StateDir)
	if err != nil {
		return pid, err
	}
	defer start.Close()
	files := []*os.File{start}
	made := false
	if usesHostMounts(r.Spec) {
		fresh |= unix.CLONE_NEWNS
		h, err := openHostMounts(r.StateDir)
		defer h.close()
		if err != nil {
			return pid, errors.Join(err, releaseMounts(r.StateDir))
		}
		defer func() {
			if !made {
				releaseMounts(r.StateDir) // Destroy tries again
			}
		}()
		files = append(files, h.namespace, h.place)
	}

	l := launch{
		todo: instructions{
			ID: r.ID, Bundle: r.Bundle, Spec: withoutProfile(r.Spec), Filter: newFilter(program),
			NoPivot: r.NoPivot, NoNewKeyring: r.NoNewKeyring, Rootless: oneGroup(r.Spec),
		},
		files:    files,
		streams:  &r.Streams,
		terminal: r.Spec.Process.Terminal,
		cgroup:   r.Cgroup,
		spawning: spawning{fresh: fresh, join: join},
	}
	if fresh&(unix.CLONE_NEWUSER|unix.CLONE_NEWTIME) != 0 {
		l.atGate = func(pid int) error {
			if fresh&unix.CLONE_NEWUSER != 0 {
				if err := writeIDMaps(pid, r.Spec.Linux); err != nil {
					return err
				}
			}
			return writeTimeOffsets(pid, r.Spec.Linux.TimeOffsets)
		}
	}
	talk, err := l.start()
	if err != nil {
		return pid, err
	}
	defer talk.close()
	talk.id, talk.spec, talk.state, talk.status = r.ID, r.Spec, r.State, specs.StateCreating
	if pid, err = isolation.FindPID(talk.pid); err == nil {
		err = createTalk{talk, r, pid}.run()
	}
	if err != nil {
		return isolation.PID{}, talk.explain(err)
	}
	made = true
	return pid, nil
}

// createTalk is the caller's side while init makes a container.
type createTalk struct {
	*conversation
	request *isolation.Request
	init    isolation.PID
}

func (t createTalk) run() error {
	if err := t.provide(); err != nil {
		return err
	}
	for {
		r, files, err := t.listen()
		if err != nil {
			return err
		}
		err = t.do(r, files)
		closeAll(files)
		if err != nil || r.Say == sayCreated {
			return err
		}
	}
}

// do does what init waits for.
func (t createTalk) do(r report, files []*os.File) error {
	switch r.Say {
	case sayPrepared:
		if err := t.request.Created(t.init); err != nil {
			return err
		}
		return t.answer(word{State: t.state(specs.StateCreating, t.pid)})
	case sayReady:
		return t.ready(t.request.ConsoleSocket, settings(t.id, t.spec, false), files)
	case sayFiltered:
		return t.sendListener(files)
	case sayCreated:
		return t.answer(word{})
	}
	return t.unexpected(r)
}

// provide gives the container what only the caller can: the host's network
// devices, and sources of mounts.
func (t createTalk) provide() error {
	if devices := t.spec.Linux.NetDevices; len(devices) > 0 {
		netns, err := os.Open("/proc/" + strconv.Itoa(t.pid) + "/ns/net")
		if err != nil {
			return fmt.Errorf("linux.netDevices: opening the container's network namespace: %w", err)
		}
		err = netdev.Move(devices, netns)
		netns.Close()
		if err != nil {
			return err
		}
	}
	var userns *os.File
	if hasNamespace(t.spec, specs.UserNamespace) {
		var err error
		if userns, err = os.Open("/proc/" + strconv.Itoa(t.pid) + "/ns/user"); err != nil {
			return fmt.Errorf("opening the container's user namespace: %w", err)
		}
		defer userns.Close()
	}
	sources, err := rootfs.OpenSources(t.spec, t.request.Bundle, userns)
	if err != nil {
		return err
	}
	var w word
	var files []*os.File
	for key, f := range sources {
		w.Sources, files = append(w.Sources, key), append(files, f)
	}
	defer closeAll(files)
	return t.answer(w, files...)
}

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
	// The instructions wait in the channel when init begins to read.
	if err = ours.send(&l.todo, l.files...); err == nil {
		pid, err = l.launch()
	}
	if err != nil {
		ours.close()
		return nil, err
	}
	return &conversation{channel: ours, pid: pid}, nil
}

func (l *launch) launch() (pid int, err error) {
	if l.binary, err = protectedBinary(l.exposed()); err != nil {
		return 0, err
	}
	// To give up a detached mount takes Linux a grace period of RCU. Nobody has
	// to wait for that.
	defer func() { go l.binary.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	for i := range l.stdio {
		l.stdio[i] = null // until there is the terminal
		if f := l.streams.Stdio[i]; f != nil && !l.terminal {
			l.stdio[i] = f
		}
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

// ready does what is due when init has made all that it needs privileges for:
// it takes the terminal, and sets what the host's privileges are needed for.
func (t *conversation) ready(console *os.File, s outsider, files []*os.File) error {
	if console != nil {
		if err := sendTerminal(console, files); err != nil {
			return err
		}
	}
	if err := s.Affinity(t.pid, true); err != nil {
		return err
	}
	if err := s.Outside(t.pid); err != nil {
		return err
	}
	return t.answer(word{})
}

// outsider is what of an identity is set from outside.
type outsider interface {
	Affinity(pid int, final bool) error
	Outside(pid int) error
}

func compile(spec *specs.Spec) (*profile.Program, error) {
	if spec.Linux == nil {
		return nil, nil
	}
	return profile.Compile(spec.Linux.Seccomp)
}

// withoutProfile returns a spec without what init does not need to know and may
// be large.
func withoutProfile(spec *specs.Spec) *specs.Spec {
	s, l := *spec, *spec.Linux
	l.Seccomp = nil
	s.Linux, s.Annotations = &l, nil
	return &s
}

// procPath is the path of a file of a process.
func procPath(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}
