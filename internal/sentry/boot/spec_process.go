package boot

import (
	"fmt"
	"io"
	"strings"

	"coffer/internal/bpf"
	"coffer/internal/environ"
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// rootUser returns the credentials of the root of a container, in a user
// namespace of its own if the spec asks for one: with these its files are made.
func (s *sandbox) rootUser(c *Container) (*auth.Credentials, error) {
	root := auth.New(0, 0, nil)
	if len(c.UIDs) == 0 && len(c.GIDs) == 0 {
		return root, nil
	}
	users, err := root.NewUserNamespace(s.kernel.NextNamespaceID())
	if err != nil {
		return nil, fmt.Errorf("making the user namespace: %w", err)
	}
	for _, m := range []struct {
		field string
		kind  auth.IDKind
		list  []IDMapping
	}{{"linux.uidMappings", auth.UserID, c.UIDs}, {"linux.gidMappings", auth.GroupID, c.GIDs}} {
		var lines string
		for _, l := range m.list {
			lines += fmt.Sprintln(l.Inside, l.Outside, l.Count)
		}
		if err := users.SetMap(m.kind, root, root, lines); err != nil {
			return nil, fmt.Errorf("%s: %w", m.field, err)
		}
	}
	inside := root.Clone()
	inside.EnterNew(users)
	uid, gid := users.ToUID(0), users.ToGID(0)
	if uid == auth.NoID || gid == auth.NoID {
		return nil, fmt.Errorf("linux.uidMappings and linux.gidMappings give the container no root: map the ID 0")
	}
	inside.RUID, inside.EUID, inside.SUID, inside.FSUID = uid, uid, uid, uid
	inside.RGID, inside.EGID, inside.SGID, inside.FSGID = gid, gid, gid, gid
	return inside, nil
}

// become makes t, which has root's credentials, the process that p describes, all
// but its program. The seccomp filter comes last: filter installs it.
func (p *Process) become(t *kernel.Task) error {
	if p.Attributes == nil {
		return nil
	}
	if err := p.Attributes.limit(t); err != nil {
		return err
	}
	p.Attributes.schedule(t)
	c, err := p.credentialsIn(t.Credentials().UserNS)
	if err != nil {
		return err
	}
	// Some working directories only root can enter, others only the user.
	asRoot, err := p.enter(t)
	t.SetCredentials(c)
	if err != nil {
		if asRoot, err = p.enter(t); err != nil {
			return &programError{exitFailed, fmt.Sprintf("process.cwd: the working directory %s cannot be entered: %v", p.Cwd, err)}
		}
	}
	t.FS().Chdir(asRoot)
	t.FS().SetUmask(p.Umask)
	if p.program == "" { // a hook has what the spec says
		p.completeEnvironment(t)
	}
	return nil
}

// completeEnvironment leaves each variable once, and gives the process a home. The
// file that tells is the container's.
func (p *Process) completeEnvironment(t *kernel.Task) {
	p.Env = environ.Complete(p.Env, func() string {
		root := t.FS().Root()
		defer root.DecRef()
		d, err := t.Mounts().OpenAt(t, vfs.Origin{Root: root, Start: root}, "/etc/passwd", vfs.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY})
		if err != nil {
			return environ.Home(strings.NewReader(""), p.UID)
		}
		defer d.DecRef()
		return environ.Home(&reader{t, d}, p.UID)
	})
}

// reader reads a file of the container's, and nothing of what is none.
type reader struct {
	t *kernel.Task
	d *vfs.FileDescription
}

func (r *reader) Read(b []byte) (int, error) {
	if a, err := r.d.Attr(r.t); err != nil || a.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, io.EOF
	}
	n, err := r.d.Read(r.t, b)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// enter finds the working directory.
func (p *Process) enter(t *kernel.Task) (vfs.Path, error) {
	root := t.FS().Root()
	defer root.DecRef()
	at, err := t.Mounts().Resolve(t, vfs.Origin{Root: root, Start: root}, p.Cwd, vfs.WantDirectory)
	if err != nil {
		return at, err
	}
	if err := vfs.Access(t, at, unix.X_OK); err != nil {
		at.DecRef()
		return vfs.Path{}, err
	}
	return at, nil
}

// credentialsIn are the process's, with IDs as users has them.
func (p *Process) credentialsIn(users *auth.UserNamespace) (*auth.Credentials, error) {
	uid, gid := users.ToUID(p.UID), users.ToGID(p.GID)
	if uid == auth.NoID || gid == auth.NoID {
		return nil, fmt.Errorf("process.user: user %d or group %d has no mapping in the container's user namespace", p.UID, p.GID)
	}
	groups := make([]uint32, len(p.Groups))
	for i, g := range p.Groups {
		if groups[i] = users.ToGID(g); groups[i] == auth.NoID {
			return nil, fmt.Errorf("process.user.additionalGids[%d]: group %d has no mapping in the container's user namespace", i, g)
		}
	}
	c := auth.New(uid, gid, groups)
	c.UserNS = users
	caps := p.Attributes.Capabilities
	set := func(v uint64) auth.CapSet { return auth.CapSet(v) & auth.AllCaps }
	c.Bounding, c.Inheritable = set(caps.Bounding), set(caps.Inheritable)
	c.Permitted = set(caps.Permitted)
	c.Effective = set(caps.Effective) & c.Permitted
	c.Ambient = set(caps.Ambient) & c.Permitted & c.Inheritable
	c.NoNewPrivs = p.Attributes.NoNewPrivileges
	return c, nil
}

// limit sets resource limits and the OOM score.
func (a *Attributes) limit(t *kernel.Task) error {
	g := t.ThreadGroup()
	for _, l := range a.Limits {
		if l.Resource < 0 || l.Resource >= kernel.NumLimits {
			return fmt.Errorf("process.rlimits: there is no resource %d", l.Resource)
		}
		if _, err := g.Limits().Set(l.Resource, kernel.RLimit{Cur: l.Cur, Max: l.Max}, true); err != nil {
			return fmt.Errorf("process.rlimits: setting resource %d to %d and %d: %w", l.Resource, l.Cur, l.Max, err)
		}
	}
	if a.OOMScoreAdj != nil {
		g.SetOOMScoreAdj(int32(*a.OOMScoreAdj))
	}
	return nil
}

// schedule sets what the process is told of its scheduling, which is the host's.
func (a *Attributes) schedule(t *kernel.Task) {
	t.UpdateAttributes(func(v *kernel.Attributes) {
		v.IOPrio, v.Personality = int32(a.IOPriority), a.Personality
		if s := a.Scheduler; s != nil {
			v.Policy, v.Priority, v.Nice, v.ResetOnFork = s.Policy, s.Priority, s.Nice, s.ResetOnFork
			v.Runtime, v.Deadline, v.Period = s.Runtime, s.Deadline, s.Period
		}
	})
	for _, set := range [][]uint64{t.ThreadGroup().Cgroup().CPUs(), a.CPUs} {
		if set != nil {
			// Processors that the host does not have cannot be given; the
			// translation has refused a set with none that it has.
			_ = t.SetAffinity(set)
		}
	}
}

// filter puts the process behind its seccomp filter.
func (p *Process) filter(t *kernel.Task) error {
	if p.Attributes == nil || len(p.Attributes.Seccomp) == 0 {
		return nil
	}
	prog, err := bpf.New(p.Attributes.Seccomp)
	if err == nil {
		_, err = t.AttachSeccomp(prog, false, nil)
	}
	if err != nil {
		return fmt.Errorf("linux.seccomp: installing the filter: %w", err)
	}
	return nil
}
