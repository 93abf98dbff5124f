package kernel

import (
	"cmp"
	"fmt"
	"runtime"

	"coffer/internal/console"
	"coffer/internal/isolation"
	"coffer/internal/oci"
	"coffer/internal/sentry/boot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Check implements isolation.Wall.
func (wall) Check(r *isolation.Request) error {
	if err := boot.CheckHost(); err != nil {
		return err
	}
	id, err := sandboxOf(r.Spec)
	if err != nil {
		return err
	}
	host, err := sandboxInit(id, r.StateDir)
	if err != nil {
		return err
	}
	return checkSpec(r.Spec, host)
}

// Create implements isolation.Wall.
func (w wall) Create(r *isolation.Request) (isolation.PID, error) {
	id, err := sandboxOf(r.Spec)
	if err != nil {
		return isolation.PID{}, err
	}
	m := &making{r: r, record: record{Sandbox: id}}
	if err := m.run(); err != nil {
		m.undo()
		return isolation.PID{}, err
	}
	return m.record.Init, nil
}

// making is a container being made.
type making struct {
	r      *isolation.Request
	record record
	donation
	described *boot.Container
	terminal  *pty
}

// run makes the container.
func (m *making) run() (err error) {
	defer m.close()
	if m.described, err = translate(m.r, m.record.Sandbox, &m.donation); err != nil {
		return err
	}
	var size *specs.Box
	if m.r.Spec.Process != nil {
		size = m.r.Spec.Process.ConsoleSize
	}
	if m.terminal, err = m.streams(&m.described.Process, size, &m.r.Streams); err != nil {
		return err
	}
	defer m.terminal.close()
	gate, err := makeGate(m.r.StateDir)
	if err != nil {
		return err
	}
	m.described.Gate = m.give(gate)
	if m.record.first() {
		err = m.newSandbox()
	} else {
		err = m.join()
	}
	if err != nil {
		return err
	}
	if m.terminal != nil {
		return console.Send(m.r.ConsoleSocket, m.terminal.master)
	}
	return nil
}

// undo ends what was made.
func (m *making) undo() {
	c := &isolation.Container{ID: m.r.ID, Spec: isolation.Known(m.r.Spec), Hooks: m.r.Spec.Hooks, StateDir: m.r.StateDir, Init: m.record.Init, Cgroup: m.r.Cgroup}
	// What it fails at the caller's Destroy meets again, and reports.
	_ = wall{}.Destroy(c)
}

// settle does with the container's first process what is due before anything
// of the container is there: it is put on record, and the runtime's hooks run.
func (m *making) settle(pid int) (err error) {
	if m.record.Init, err = isolation.FindPID(pid); err != nil {
		return err
	}
	if err := m.record.write(m.r.StateDir); err != nil {
		return err
	}
	if m.r.Created != nil {
		if err := m.r.Created(m.record.Init); err != nil {
			return err
		}
	}
	hooks := oci.StageHooks(m.r.Spec.Hooks, oci.CreateContainer)
	if len(hooks) == 0 {
		return nil
	}
	// They run in the runtime's namespaces: the container's are its kernel's,
	// where no program of the host can be.
	return oci.RunHooks(hooks, m.r.State(specs.StateCreating, pid), oci.CreateContainer)
}

// advice is about what a bundle says.
var advice = boot.Advice{
	Cwd:      "change the process's cwd, or let its user enter the directory",
	Mount:    "change the mount's destination",
	Emulator: "show the host's in it by a bind mount of",
}

// newSandbox starts a sentry, with the container as its first.
func (m *making) newSandbox() error {
	if err := liftLimits(); err != nil {
		return err
	}
	if err := closeOnExec(); err != nil {
		return err
	}
	listener, err := makeSocket(m.r.StateDir)
	if err != nil {
		return err
	}
	desc := &boot.Sandbox{Intercept: m.r.Intercept, Memory: m.described.Resources.Memory, Advice: advice, Container: *m.described}
	if desc.Intercept == "" {
		desc.Intercept = boot.Platforms()[0]
	}
	desc.Server = &boot.Server{Listener: m.give(listener)}
	furnish, err := m.furnishing(desc.Server)
	if err != nil {
		return err
	}
	defer furnish.Close()
	desc.Donated(fdDonated)
	log := m.r.Stdio[2]
	if m.terminal != nil {
		log = m.terminal.slave
	}
	s, err := newSandbox(desc, m.files, log)
	if err != nil {
		return err
	}
	defer s.control.Close()
	s.birth.env = append(s.birth.env, processors(&m.described.Resources)...)
	if m.terminal != nil {
		// It is told of the terminal's new sizes by SIGWINCH.
		s.birth.terminal = desc.Console
	}
	s.child, err = m.bear(&s.birth)
	s.closeGiven()
	if err != nil {
		return explainSpawn(err)
	}
	// Unless all goes well it is reaped here: nobody else would.
	made := false
	defer func() {
		if !made {
			s.child.kill()
			s.child.wait()
		}
	}()
	m.record.Serves = m.described.Network == nil
	if err := m.settle(s.child.pid); err != nil {
		return err
	}
	if err := m.furnish(furnish); err != nil {
		return err
	}
	if err := s.send(boot.Message{Op: "start"}); err != nil {
		return fmt.Errorf("the sentry ended before it was told to start: %w", err)
	}
	if err := s.awaitCreated(); err != nil {
		return err
	}
	made = true
	return nil
}

// bear starts the sentry in the container's cgroup. Where the host allows it the
// process is born there: to be moved takes some 20 ms (hostcgroup.Entrance).
func (m *making) bear(b *birth) (*child, error) {
	entrance, err := m.r.Cgroup.Entrance("")
	if err != nil {
		return nil, err
	}
	defer entrance.Close()
	c, err := b.start(entrance)
	if err != nil || entrance != nil || m.r.Cgroup.None() {
		return c, err
	}
	if err := m.r.Cgroup.Add(c.pid, ""); err != nil {
		c.kill()
		c.wait()
		return nil, err
	}
	return c, nil
}

// processors says to the sentry's Go runtime how many processors it may use. By
// itself it would look at the cgroup that it starts in, which is the caller's,
// and keep that cgroup's files open.
func processors(r *boot.Resources) []string {
	env := []string{"GODEBUG=containermaxprocs=0"}
	if r.Quota <= 0 {
		return env
	}
	const usualPeriod = 100_000 // microseconds, Linux's own
	period := int64(cmp.Or(r.Period, usualPeriod))
	// With less than two it could do nothing while it waits for the host.
	n := min(max((r.Quota+period-1)/period, 2), int64(runtime.NumCPU()))
	return append(env, fmt.Sprintf("GOMAXPROCS=%d", n))
}

// awaitCreated waits until the sentry has made its container, and tells it to
// live on without its starter.
func (s *Sandbox) awaitCreated() error {
	m, err := s.next()
	switch {
	case err != nil:
		return fmt.Errorf("the sentry ended before the container was made: %w", err)
	case m.Op == "error":
		return told(m.Code, m.Error)
	case m.Op != "created":
		return fmt.Errorf("the sentry sent %q where it should tell that the container is made", m.Op)
	}
	return s.send(boot.Message{Op: "keep"})
}
