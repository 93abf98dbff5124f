package unixsock

import (
	"fmt"
	"sync"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Namespace holds the abstract names of one network namespace's sockets.
type Namespace struct {
	*domain
	abstract map[string]*Socket
	// all holds every socket, for /proc/net/unix.
	all  map[*Socket]struct{}
	auto uint32 // the last name that autobind gave
}

// domain is what the network namespaces of a sandbox share.
type domain struct {
	// mu serialises what changes how sockets are named and connected, in all
	// namespaces: sockets reach those of others through the file system.
	mu sync.Mutex
	// files holds the sockets bound to inodes, by vfs.Identity.
	files map[any]*Socket

	flight
}

// NewNamespace returns the first namespace of a sandbox, without sockets.
func NewNamespace() *Namespace {
	return (&domain{files: map[any]*Socket{}, flight: newFlight()}).namespace()
}

// Another returns a new namespace beside ns.
func (ns *Namespace) Another() *Namespace { return ns.domain.namespace() }

func (d *domain) namespace() *Namespace {
	return &Namespace{domain: d, abstract: map[string]*Socket{}, all: map[*Socket]struct{}{}}
}

// Info is what /proc/net/unix and sock_diag(7) show of a socket.
type Info struct {
	Type, State int
	Listening   bool
	Ino         uint64
	// Name is the path, or an abstract name with "@" for its first byte.
	Name string
	// FileIno and FileDev are those of the inode that the name leads to, or 0. The
	// device has its minor number in the lower 20 bits.
	FileIno uint64
	FileDev uint32
	// Peer is the inode of the socket that this one is connected to, or 0.
	Peer uint64
	// ReceiveQueue and SendQueue are in bytes; of a listening socket, connections that
	// wait and how many may.
	ReceiveQueue, SendQueue uint32
	// Shutdown has bit 0 for receiving, bit 1 for sending.
	Shutdown uint8
	UID      uint32
}

// Sockets returns all sockets of the namespace, in no particular order.
func (ns *Namespace) Sockets() []Info {
	ns.mu.Lock()
	list := make([]*Socket, 0, len(ns.all))
	for s := range ns.all {
		list = append(list, s)
	}
	ns.mu.Unlock()
	out := make([]Info, 0, len(list))
	for _, s := range list {
		s.mu.Lock()
		i := Info{
			Type: s.typ, Ino: s.ino.Ino(), Listening: s.listening, State: 1, Name: string(s.name), UID: s.uid,
			ReceiveQueue: uint32(s.in.data.Len()), Shutdown: uint8(s.shut.Load()),
		}
		path := s.path
		if path.Valid() {
			path.IncRef()
		}
		if i.Listening {
			i.ReceiveQueue, i.SendQueue = uint32(len(s.pending)), uint32(s.backlog)
		}
		s.mu.Unlock()
		if path.Valid() {
			if a, err := path.Inode().Attr(); err == nil {
				i.FileIno, i.FileDev = a.Ino, a.DevMajor<<20|a.DevMinor
			}
			path.DecRef()
		}
		if p := s.peer.Load(); p != nil {
			i.State, i.Peer = 3, p.ino.Ino()
			p.mu.Lock()
			i.SendQueue = uint32(p.in.data.Len())
			p.mu.Unlock()
		}
		if len(i.Name) > 0 && i.Name[0] == 0 {
			i.Name = "@" + i.Name[1:]
		}
		out = append(out, i)
	}
	return out
}

// autobind gives s a name nobody has: five hexadecimal digits, as unix(7)
// says. ENOSPC if all are taken. ns.mu is held.
func (ns *Namespace) autobind(s *Socket) error {
	for range 1 << 20 {
		ns.auto = (ns.auto + 1) & 0xfffff
		name := fmt.Sprintf("\x00%05x", ns.auto)
		if ns.abstract[name] == nil {
			ns.abstract[name] = s
			s.setName([]byte(name), vfs.Path{})
			return nil
		}
	}
	return unix.ENOSPC
}

// forget takes a closed socket's names away. It returns the path that the
// socket held, for the caller to drop.
func (ns *Namespace) forget(s *Socket) vfs.Path {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	delete(ns.all, s)
	s.mu.Lock()
	name, path := s.name, s.path
	s.path = vfs.Path{}
	s.mu.Unlock()
	if len(name) > 0 && name[0] == 0 && ns.abstract[string(name)] == s {
		delete(ns.abstract, string(name))
	}
	if path.Valid() {
		if k := vfs.Identity(path.Inode()); ns.files[k] == s {
			delete(ns.files, k)
		}
	}
	return path
}
