package kernel

import (
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/ipc"

	"golang.org/x/sys/unix"
)

// namespaceFlags are clone(2)'s flags for new namespaces other than users'.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID |
	unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME

// newUserNamespace returns the task's credentials in a new user namespace.
// EPERM if its root directory is not that of its mount namespace, with which it
// would get out of where it is confined.
func (t *Task) newUserNamespace() (*auth.Credentials, error) {
	if t.chrooted() {
		return nil, unix.EPERM
	}
	c := t.Credentials().Clone()
	ns, err := c.NewUserNamespace(t.k.NextNamespaceID())
	if err != nil {
		return nil, err
	}
	c.EnterNew(ns)
	return c, nil
}

// chrooted reports whether the task's root directory is not that of its mount
// namespace.
func (t *Task) chrooted() bool {
	top, root := t.fs.Mounts().Top(), t.fs.Root()
	defer top.DecRef()
	defer root.DecRef()
	return top != root
}

// copyNamespaces makes the namespaces that flags ask for, for who has the
// credentials c; the mount namespace is not among them. The others stay. EPERM
// without CAP_SYS_ADMIN; ENOSPC if there are too many.
func (t *Task) copyNamespaces(flags uint64, c *auth.Credentials) (*Namespaces, error) {
	if flags&namespaceFlags != 0 && !c.CanHere(unix.CAP_SYS_ADMIN) {
		return nil, unix.EPERM
	}
	k, owner := t.k, c.UserNS
	n := t.namespaces.copy()
	var err error
	make := func(flag uint64, f func(namespace)) {
		if flags&flag == 0 || err != nil {
			return
		}
		var made namespace
		if made, err = k.newNamespace(owner); err == nil {
			f(made)
		}
	}
	make(unix.CLONE_NEWUTS, func(m namespace) {
		n.UTS = &UTSNamespace{namespace: m, host: n.UTS.Hostname(), domain: n.UTS.Domainname()}
	})
	make(unix.CLONE_NEWIPC, func(m namespace) {
		i := &IPCNamespace{namespace: m, Namespace: ipc.NewNamespace()}
		i.refs.Store(1)
		n.setIPC(i)
	})
	make(unix.CLONE_NEWNET, func(m namespace) { n.Net = n.Net.another(m) })
	make(unix.CLONE_NEWCGROUP, func(m namespace) { n.Cgroup = &CgroupNamespace{m} })
	make(unix.CLONE_NEWTIME, func(m namespace) {
		n.TimeForChildren = &TimeNamespace{namespace: m, offsets: n.TimeForChildren.Offsets()}
	})
	if err == nil && flags&unix.CLONE_NEWPID != 0 {
		n.PIDForChildren, err = t.newChildPIDNamespace(owner)
	}
	if err != nil {
		n.decRef()
		return nil, err
	}
	return n, nil
}

// cloneNamespaces gives a child the namespaces that the flags of clone(2) ask
// for.
func (t *Task) cloneNamespaces(c *Task, flags uint64) error {
	if flags&unix.CLONE_NEWUSER != 0 {
		creds, err := t.newUserNamespace()
		if err != nil {
			return err
		}
		c.creds.Store(creds)
	}
	ns := t.namespaces
	// Who shares its parent's memory shares its clocks too, until execve(2).
	shares := flags&unix.CLONE_VM != 0
	if flags&namespaceFlags == 0 && (shares || ns.Time == ns.TimeForChildren) {
		c.namespaces = ns.incRef()
		return nil
	}
	n, err := t.copyNamespaces(flags, c.Credentials())
	if err != nil {
		return err
	}
	if !shares {
		n.Time = n.TimeForChildren
	}
	c.namespaces = n
	return nil
}

// Unshare makes the new namespaces of unshare(2), beginning with that of
// users. The caller has checked the flags, and given the task an FSContext of
// its own where one is needed.
func (t *Task) Unshare(flags uint64) error {
	creds := t.Credentials()
	if flags&unix.CLONE_NEWUSER != 0 {
		var err error
		if creds, err = t.newUserNamespace(); err != nil {
			return err
		}
	}
	if flags&namespaceFlags != 0 {
		n, err := t.copyNamespaces(flags, creds)
		if err != nil {
			return err
		}
		if flags&unix.CLONE_NEWNS != 0 {
			if err := t.fs.CopyMounts(t.k.NextNamespaceID(), creds.UserNS); err != nil {
				n.decRef()
				return err
			}
		}
		t.leaveIPC(n)
		t.setNamespaces(n)
	}
	if flags&unix.CLONE_NEWUSER != 0 {
		t.SetCredentials(creds)
	}
	return nil
}

// leaveIPC undoes what the process asked semaphores to undo, if n has others.
func (t *Task) leaveIPC(n *Namespaces) {
	if old := t.namespaces.IPC; old != n.IPC {
		old.Semaphores.EndProcess(t.group)
	}
}
