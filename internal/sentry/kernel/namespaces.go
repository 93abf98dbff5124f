package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/mqueue"
	"coffer/internal/sentry/ipc"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/socket/netlink"
	"coffer/internal/sentry/socket/unixsock"

	"golang.org/x/sys/unix"
)

// Inode numbers of the initial namespaces (include/linux/proc_ns.h).
const (
	initialIPC    = 4026531839
	initialUTS    = 4026531838
	initialPID    = 4026531836
	initialCgroup = 4026531835
	initialTime   = 4026531834
	initialNet    = 4026531840
	// firstNamespace is where the numbers of others begin.
	firstNamespace = 4026532000
)

// MaxNamespaces bounds the namespaces of a sandbox, all kinds together but
// users' (/proc/sys/user/max_*_namespaces).
const MaxNamespaces = 8192

// namespace is what all kinds have in common.
type namespace struct {
	id    uint64
	owner *auth.UserNamespace
	// counted is nil for the initial namespaces.
	counted *struct{ _ byte }
}

// ID numbers the namespace: nsfs's inode number.
func (n *namespace) ID() uint64 { return n.id }

// Owner is the user namespace in which capabilities over it count.
func (n *namespace) Owner() *auth.UserNamespace { return n.owner }

// NextNamespaceID numbers a namespace that is about to be made.
func (k *Kernel) NextNamespaceID() uint64 { return firstNamespace + k.lastNamespace.Add(1) }

// newNamespace counts one in: ENOSPC if there are too many. It is counted out
// when nothing refers to it any more.
func (k *Kernel) newNamespace(owner *auth.UserNamespace) (namespace, error) {
	if k.namespaces.Add(1) > MaxNamespaces {
		k.namespaces.Add(-1)
		return namespace{}, unix.ENOSPC
	}
	n := namespace{id: k.NextNamespaceID(), owner: owner, counted: new(struct{ _ byte })}
	runtime.AddCleanup(n.counted, func(c *atomic.Int64) { c.Add(-1) }, &k.namespaces)
	return n, nil
}

// UTSNamespace holds the names that uname(2) shows (uts_namespaces(7)).
type UTSNamespace struct {
	namespace
	mu           sync.Mutex
	host, domain string
}

// Hostname and Domainname are uname(2)'s nodename and domainname.
func (u *UTSNamespace) Hostname() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.host
}

func (u *UTSNamespace) Domainname() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.domain
}

// SetHostname and SetDomainname change them.
func (u *UTSNamespace) SetHostname(s string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.host = s
}

func (u *UTSNamespace) SetDomainname(s string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.domain = s
}

// IPCNamespace holds System V objects and POSIX message queues
// (ipc_namespaces(7)).
type IPCNamespace struct {
	namespace
	*ipc.Namespace
	Queues mqueue.Namespace
	// refs counts the Namespaces and open files that refer to it: with the last
	// its objects are removed.
	refs atomic.Int64
}

// NetworkNamespace is a network, and the abstract names of AF_UNIX sockets
// (network_namespaces(7)).
type NetworkNamespace struct {
	namespace
	Unix *unixsock.Namespace
	IP   *network.Namespace
	// Sockets are those of other families than AF_UNIX.
	Sockets socket.Registry
	// NetlinkPorts are the port IDs of those of AF_NETLINK.
	NetlinkPorts netlink.Ports
}

// another returns the network namespace that a program makes: it has nothing but
// a loopback interface, which is down.
func (n *NetworkNamespace) another(made namespace) *NetworkNamespace {
	return &NetworkNamespace{namespace: made, Unix: n.Unix.Another(), IP: network.Empty()}
}

// CgroupNamespace shows the one control group that there is as the root
// (cgroup_namespaces(7)).
type CgroupNamespace struct{ namespace }

// Namespaces are those that a task is in, beside its user namespace, which
// belongs to its credentials, its mount namespace, which belongs to its
// FSContext, and its PID namespace, which never changes. A value is counted by
// the tasks that share it, and does not change.
type Namespaces struct {
	UTS    *UTSNamespace
	IPC    *IPCNamespace
	Net    *NetworkNamespace
	Cgroup *CgroupNamespace
	Time   *TimeNamespace
	// PIDForChildren and TimeForChildren are those of new children.
	PIDForChildren  *PIDNamespace
	TimeForChildren *TimeNamespace

	refs atomic.Int64
}

// initialNamespaces are what the first task is in, with one reference.
func (k *Kernel) initialNamespaces() *Namespaces {
	initial := func(id uint64) namespace { return namespace{id: id, owner: auth.Initial} }
	n := &Namespaces{
		UTS:             &UTSNamespace{namespace: initial(initialUTS), host: k.config.Hostname, domain: k.config.Domainname},
		IPC:             &IPCNamespace{namespace: initial(initialIPC), Namespace: ipc.NewNamespace()},
		Net:             &NetworkNamespace{namespace: initial(initialNet), Unix: unixsock.NewNamespace(), IP: k.config.Network},
		Cgroup:          &CgroupNamespace{initial(initialCgroup)},
		Time:            &TimeNamespace{namespace: initial(initialTime), entered: true},
		PIDForChildren:  newPIDNamespace(k, nil, initial(initialPID)),
		TimeForChildren: nil,
	}
	n.TimeForChildren = n.Time
	n.IPC.refs.Store(1)
	n.refs.Store(1)
	return n
}

// copy returns an equal value with one reference.
func (n *Namespaces) copy() *Namespaces {
	c := &Namespaces{UTS: n.UTS, IPC: n.IPC, Net: n.Net, Cgroup: n.Cgroup, Time: n.Time,
		PIDForChildren: n.PIDForChildren, TimeForChildren: n.TimeForChildren}
	c.IPC.IncRef()
	c.refs.Store(1)
	return c
}

func (n *Namespaces) incRef() *Namespaces {
	n.refs.Add(1)
	return n
}

func (n *Namespaces) decRef() {
	if n.refs.Add(-1) == 0 {
		n.IPC.DecRef()
		n.Net.IP.Left()
	}
}

// IncRef and DecRef count what refers to the namespace.
func (i *IPCNamespace) IncRef() { i.refs.Add(1) }

func (i *IPCNamespace) DecRef() {
	if i.refs.Add(-1) == 0 {
		i.Namespace.Destroy()
		i.Queues.Destroy()
	}
}

// setIPC replaces the IPC namespace of a value that is not shared yet; it takes
// over i's reference.
func (n *Namespaces) setIPC(i *IPCNamespace) {
	n.IPC.DecRef()
	n.IPC = i
}

// Namespaces are those that the task is in. For the task's own goroutine;
// others use NamespacesOf.
func (t *Task) Namespaces() *Namespaces { return t.namespaces }

// NamespacesOf returns what a task is in, for another goroutine to look at; nil
// once it has ended. Objects of an IPC namespace may be in their last moments.
func (t *Task) NamespacesOf() *Namespaces {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	return t.namespaces
}

// setNamespaces takes over n's reference.
func (t *Task) setNamespaces(n *Namespaces) {
	t.group.mu.Lock()
	old := t.namespaces
	t.namespaces = n
	t.group.mu.Unlock()
	if old != nil {
		old.decRef()
	}
}

// UTS are the names that the task sees.
func (t *Task) UTS() *UTSNamespace { return t.namespaces.UTS }

// IPC holds the System V objects that the task sees.
func (t *Task) IPC() *ipc.Namespace { return t.namespaces.IPC.Namespace }

// MessageQueues holds the POSIX message queues that it sees.
func (t *Task) MessageQueues() *mqueue.Namespace { return &t.namespaces.IPC.Queues }
