package kernel

import (
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Namespace is a namespace of any kind (namespaces(7)).
type Namespace interface {
	// ID is nsfs's inode number.
	ID() uint64
	// Owner is the user namespace in which capabilities over it count.
	Owner() *auth.UserNamespace
}

// KindOf is the flag of clone(2) that makes a namespace of ns's kind.
func KindOf(ns Namespace) uint64 {
	switch ns.(type) {
	case *auth.UserNamespace:
		return unix.CLONE_NEWUSER
	case *vfs.MountNamespace:
		return unix.CLONE_NEWNS
	case *UTSNamespace:
		return unix.CLONE_NEWUTS
	case *IPCNamespace:
		return unix.CLONE_NEWIPC
	case *PIDNamespace:
		return unix.CLONE_NEWPID
	case *CgroupNamespace:
		return unix.CLONE_NEWCGROUP
	case *NetworkNamespace:
		return unix.CLONE_NEWNET
	default:
		return unix.CLONE_NEWTIME
	}
}

// HoldNamespace takes a reference to a namespace of a kind that is counted.
// DropNamespace drops it.
func HoldNamespace(ns Namespace) {
	switch n := ns.(type) {
	case *vfs.MountNamespace:
		n.IncRef()
	case *IPCNamespace:
		n.IncRef()
	}
}

func DropNamespace(ns Namespace) {
	switch n := ns.(type) {
	case *vfs.MountNamespace:
		n.DecRef()
	case *IPCNamespace:
		n.DecRef()
	case *NetworkNamespace:
		n.IP.Left()
	}
}

// InNamespace returns the namespace that a task is in, by its name in
// /proc/PID/ns, with a reference if its kind is counted. ENOENT if there is
// none of that name, or the task has ended.
func (t *Task) InNamespace(name string) (Namespace, error) {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	n, fs := t.namespaces, t.fs
	if n == nil {
		return nil, unix.ENOENT
	}
	switch name {
	case "user":
		return t.Credentials().UserNS, nil
	case "mnt":
		// fs goes before namespaces do, when a task ends.
		if fs == nil {
			return nil, unix.ENOENT
		}
		if m := fs.HoldMounts(); m != nil {
			return m, nil
		}
		return nil, unix.ENOENT
	case "uts":
		return n.UTS, nil
	case "ipc":
		n.IPC.IncRef()
		return n.IPC, nil
	case "net":
		return n.Net, nil
	case "pid":
		return t.PIDs(), nil
	case "pid_for_children":
		if !n.PIDForChildren.started.Load() {
			return nil, unix.ENOENT
		}
		return n.PIDForChildren, nil
	case "cgroup":
		return n.Cgroup, nil
	case "time":
		return n.Time, nil
	case "time_for_children":
		return n.TimeForChildren, nil
	}
	return nil, unix.ENOENT
}

// entering collects what setns(2) is about to change.
type entering struct {
	t     *Task
	creds *auth.Credentials
	ns    *Namespaces
	mnt   *vfs.MountNamespace
}

// Setns moves the task into namespaces, all of them or none: into that of users
// first, so that its capabilities there count for the others. EPERM, EINVAL and
// EUSERS as in setns(2).
func (t *Task) Setns(list []Namespace) error {
	e := entering{t: t, creds: t.Credentials(), ns: t.namespaces.copy()}
	for _, ns := range list {
		if u, ok := ns.(*auth.UserNamespace); ok {
			if err := e.user(u); err != nil {
				e.ns.decRef()
				return err
			}
		}
	}
	for _, ns := range list {
		if err := e.enter(ns); err != nil {
			e.ns.decRef()
			return err
		}
	}
	if e.ns.Time != t.namespaces.Time {
		if err := e.ns.Time.enter(t.mem); err != nil {
			e.ns.decRef()
			return err
		}
	}
	if e.mnt != nil {
		e.mnt.IncRef()
		t.fs.EnterMounts(e.mnt, e.mnt.Top(), e.mnt.Top())
	}
	t.leaveIPC(e.ns)
	t.setNamespaces(e.ns)
	if old := t.Credentials(); e.creds != old {
		if !old.MadeWithin(e.creds.UserNS) {
			t.mem.SetDumpable(0)
			t.SetDeathSignal(0)
		}
		t.SetCredentials(e.creds)
	}
	return nil
}

func (e *entering) user(u *auth.UserNamespace) error {
	t := e.t
	switch {
	case u == e.creds.UserNS, len(t.group.Tasks()) > 1, t.fs.Shared():
		return unix.EINVAL
	case !e.creds.CanIn(u, unix.CAP_SYS_ADMIN):
		return unix.EPERM
	}
	e.creds = e.creds.Clone()
	e.creds.EnterNew(u)
	return nil
}

func (e *entering) enter(ns Namespace) error {
	if KindOf(ns) == unix.CLONE_NEWUSER {
		return nil
	}
	if KindOf(ns) == unix.CLONE_NEWTIME && len(e.t.group.Tasks()) > 1 {
		return unix.EUSERS
	}
	if !e.creds.CanIn(ns.Owner(), unix.CAP_SYS_ADMIN) || !e.creds.CanHere(unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	switch n := ns.(type) {
	case *vfs.MountNamespace:
		if !e.creds.CanHere(unix.CAP_SYS_CHROOT) {
			return unix.EPERM
		}
		if e.t.fs.Shared() {
			return unix.EINVAL
		}
		e.mnt = n
	case *UTSNamespace:
		e.ns.UTS = n
	case *IPCNamespace:
		n.IncRef()
		e.ns.setIPC(n)
	case *PIDNamespace:
		// Only downwards: a process stays visible where it was.
		if !n.Within(e.t.PIDs()) {
			return unix.EINVAL
		}
		e.ns.PIDForChildren = n
	case *CgroupNamespace:
		e.ns.Cgroup = n
	case *NetworkNamespace:
		e.ns.Net = n
	case *TimeNamespace:
		e.ns.Time, e.ns.TimeForChildren = n, n
	}
	return nil
}
