package unixsock

import (
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// maxQueued is how many datagrams wait for one receiver at most
// (/proc/sys/net/unix/max_dgram_qlen), and maxBacklog how many connections
// (/proc/sys/net/core/somaxconn).
const (
	maxQueued  = 512
	maxBacklog = 4096
)

// The directions that shutdown(2) closes.
const (
	recvShut = 1 << iota
	sendShut
	bothShut = recvShut | sendShut
)

// Socket is one local socket. Make one with New or NewPair.
type Socket struct {
	vfs.NoFile
	options
	ns  *Namespace
	typ int
	uid uint32
	ino *anon.Inode
	// wait is for all who wait for this socket.
	wait waiter.Queue

	// peer is the socket that this one is connected to, also after that one
	// has been closed; nil if there has been none.
	peer atomic.Pointer[Socket]
	// shut is written with mu held.
	shut atomic.Uint32

	mu   sync.Mutex
	name []byte
	path vfs.Path // of the inode that name leads to, with a reference
	in   queue
	// blocked are senders that found in full; they are told when it no
	// longer is.
	blocked   map[*Socket]struct{}
	listening bool
	backlog   int
	pending   []*Socket // connections nobody has accepted
	closed    bool
	err       error // SO_ERROR

	// creds are what a peer gets to see; peerCreds is what this one sees.
	creds, peerCreds     socket.Ucred
	groups, peerGroups   []uint32
	process, peerProcess socket.Process
}

// Check says whether a socket of the given type and protocol can be made:
// ESOCKTNOSUPPORT or EPROTONOSUPPORT if not.
func Check(typ, protocol int32) (int, error) {
	if protocol != 0 && protocol != unix.AF_UNIX {
		return 0, unix.EPROTONOSUPPORT
	}
	switch typ {
	case unix.SOCK_RAW:
		return unix.SOCK_DGRAM, nil
	case unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET:
		return int(typ), nil
	}
	return 0, unix.ESOCKTNOSUPPORT
}

// New returns an unconnected socket. typ is what Check returned.
func New(ns *Namespace, c vfs.Caller, typ int) *Socket {
	var cred *auth.Credentials
	if c != nil {
		cred = c.Credentials()
	}
	s := newSocket(ns, typ, cred)
	ns.mu.Lock()
	ns.all[s] = struct{}{}
	ns.mu.Unlock()
	return s
}

func newSocket(ns *Namespace, typ int, cred *auth.Credentials) *Socket {
	s := &Socket{ns: ns, typ: typ, uid: userOf(cred), ino: anon.New("socket:", unix.S_IFSOCK|0777, anon.SocketDev, cred)}
	s.options.init()
	return s
}

// userOf is who sockets made with cred belong to: the sandbox's root without any.
func userOf(cred *auth.Credentials) uint32 {
	if cred == nil {
		return 0
	}
	return cred.FSUID
}

// NewPair returns two sockets connected to each other, as socketpair(2).
func NewPair(ns *Namespace, c vfs.Caller, typ int) (*Socket, *Socket) {
	a, b := New(ns, c, typ), New(ns, c, typ)
	a.setOwner(c)
	a.peerCreds, b.creds, b.peerCreds = a.creds, a.creds, a.creds
	a.peerGroups, b.groups, b.peerGroups = a.groups, a.groups, a.groups
	a.peerProcess, b.process, b.peerProcess = a.process, a.process, a.process
	a.peer.Store(b)
	b.peer.Store(a)
	return a, b
}

// setOwner remembers who connects or listens, for SO_PEERCRED.
func (s *Socket) setOwner(c vfs.Caller) {
	s.creds, s.process = credsOf(c), processOf(c)
	if c != nil {
		s.groups = c.Credentials().Groups
	}
}

func credsOf(c vfs.Caller) socket.Ucred {
	if sc, ok := c.(interface{ SocketCredentials() socket.Ucred }); ok {
		return sc.SocketCredentials()
	}
	return socket.Ucred{UID: nobody, GID: nobody}
}

// processOf is the process of who calls, nil where it is not a task.
func processOf(c vfs.Caller) socket.Process {
	if p, ok := c.(interface{ SocketProcess() socket.Process }); ok {
		return p.SocketProcess()
	}
	return nil
}

// nobody is who a message is from whose sender didn't say
// (/proc/sys/kernel/overflowuid).
const nobody = 65534

// connected reports whether the type makes connections.
func (s *Socket) connected() bool { return s.typ != unix.SOCK_DGRAM }

// Inode implements socket.Socket.
func (s *Socket) Inode() vfs.Inode { return s.ino }

// Read implements vfs.File.
func (s *Socket) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	var m socket.Message
	n, err := s.recv(p, &m, true)
	return min(n, len(p)), err
}

// Write implements vfs.File.
func (s *Socket) Write(c vfs.Caller, p []byte, off int64, _ uint32) (int, int64, error) {
	n, err := s.send(c, p, nil)
	return n, off, err
}

// Fsync implements vfs.File.
func (s *Socket) Fsync(bool) error { return unix.EINVAL }

// Register implements waiter.Waitable.
func (s *Socket) Register(e *waiter.Entry) { s.wait.Register(e) }

// Unregister implements waiter.Waitable.
func (s *Socket) Unregister(e *waiter.Entry) { s.wait.Unregister(e) }

// Readiness implements waiter.Waitable, as Linux's unix_poll does.
func (s *Socket) Readiness(mask waiter.Mask) waiter.Mask {
	m := waiter.Mask(0)
	s.mu.Lock()
	if s.in.len() > 0 || len(s.pending) > 0 {
		m |= waiter.Readable
	}
	if s.err != nil {
		m |= waiter.Err
	}
	listening := s.listening
	s.mu.Unlock()
	shut, peer := s.shut.Load(), s.peer.Load()
	if shut&recvShut != 0 {
		m |= waiter.RdHup | waiter.Readable
	}
	if shut == bothShut || s.connected() && !listening && peer == nil {
		m |= waiter.Hup
	}
	if mask&waiter.Writable != 0 && !listening && (peer == nil || peer.takesFrom(s)) {
		m |= waiter.Writable
	}
	return m & mask
}

// takesFrom reports whether s is worth telling a sender that it may send: as
// long as a quarter of the room at most is taken. If not, the sender is told
// later.
func (s *Socket) takesFrom(sender *Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.roomy(sender) {
		return true
	}
	s.block(sender)
	return false
}

func (s *Socket) roomy(sender *Socket) bool {
	return s.in.used()*4 <= int(sender.SendBuffer()) && (s.connected() || s.in.len() < maxQueued)
}

// block remembers a sender that found s full; s.mu is held.
func (s *Socket) block(sender *Socket) {
	if s.blocked == nil {
		s.blocked = map[*Socket]struct{}{}
	}
	s.blocked[sender] = struct{}{}
}

// unblock tells senders that there is room; s.mu is held.
func (s *Socket) unblock() {
	for b := range s.blocked {
		if s.closed || s.roomy(b) {
			delete(s.blocked, b)
			b.wait.Notify(waiter.Writable)
		}
	}
}
