package kernel

import (
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/ipc"
	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// What is here makes and ends processes on behalf of whoever runs the sandbox,
// as a container runtime does on a host.

// NamespaceConfig says which namespaces a process is to have: those of the value
// named or, where that is nil, new ones. That of cgroups is the first process's.
type NamespaceConfig struct {
	PID, IPC, UTS, Net *Namespaces
	// Network is what a new network namespace has; nil is a loopback interface that is down.
	Network *network.Namespace
	// Owner is the user namespace that new ones belong to; nil is the initial one.
	Owner *auth.UserNamespace
	// Time are the offsets of a new time namespace, if they are not zero.
	Time TimeOffsets
	// Hostname and Domainname are what a new UTS namespace starts with.
	Hostname, Domainname string
}

// NewNamespaces makes the namespaces for ProcessConfig, with one reference.
// ENOSPC if there are too many.
func (k *Kernel) NewNamespaces(c NamespaceConfig) (_ *Namespaces, err error) {
	n := k.initial.copy()
	owner := c.Owner
	if owner == nil {
		owner = auth.Initial
	}
	defer func() {
		if err != nil {
			n.decRef()
		}
	}()
	if c.PID != nil {
		n.PIDForChildren = c.PID.PIDForChildren
	} else {
		made, err := k.newNamespace(owner)
		if err != nil {
			return nil, err
		}
		n.PIDForChildren = newPIDNamespace(k, k.pids, made)
	}
	if c.UTS != nil {
		n.UTS = c.UTS.UTS
	} else {
		made, err := k.newNamespace(owner)
		if err != nil {
			return nil, err
		}
		n.UTS = &UTSNamespace{namespace: made, host: c.Hostname, domain: c.Domainname}
	}
	if c.Net != nil {
		n.Net = c.Net.Net
	} else {
		made, err := k.newNamespace(owner)
		if err != nil {
			return nil, err
		}
		n.Net = &NetworkNamespace{namespace: made, Unix: n.Net.Unix.Another(), IP: c.Network}
		if c.Network == nil {
			n.Net = k.initial.Net.another(made)
		}
	}
	if c.Time != (TimeOffsets{}) {
		made, err := k.newNamespace(owner)
		if err != nil {
			return nil, err
		}
		// Who executes its first program enters it.
		n.TimeForChildren = &TimeNamespace{namespace: made, offsets: c.Time}
	}
	if c.IPC != nil {
		c.IPC.IPC.IncRef()
		n.setIPC(c.IPC.IPC)
	} else {
		made, err := k.newNamespace(owner)
		if err != nil {
			return nil, err
		}
		i := &IPCNamespace{namespace: made, Namespace: ipc.NewNamespace()}
		i.refs.Store(1)
		n.setIPC(i)
	}
	return n, nil
}

// Release drops a reference to what NewNamespaces or JoinNamespaces returned.
func (n *Namespaces) Release() { n.decRef() }

// JoinNamespaces returns the namespaces of a process that is to be where t is,
// with one reference. ESRCH if t has ended.
func (t *Task) JoinNamespaces() (*Namespaces, error) {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	if t.namespaces == nil {
		return nil, unix.ESRCH
	}
	n := t.namespaces.copy()
	n.PIDForChildren, n.TimeForChildren = t.PIDs(), n.Time
	return n, nil
}

// StartBehind is Start for a process that runs no instruction of its program
// before gate is closed. It can be killed before that.
func (t *Task) StartBehind(gate <-chan struct{}) {
	t.gate = gate
	t.Start()
}

// Terminate ends the process as if sig had ended it, whether or not that
// signal is handled or blocked.
func (g *ThreadGroup) Terminate(sig int32) { g.end(Signaled(sig, false)) }

// Terminates reports whether sig ends a process that has not asked for
// anything else (signal(7)).
func Terminates(sig int32) bool {
	return ValidSignal(sig) && !ignoredSignals.Has(sig) && !stopSignals.Has(sig)
}
