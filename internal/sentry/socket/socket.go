// Package socket is what all socket families share: the interface that the
// socket calls work on, the options of SOL_SOCKET, and the layout of control
// messages.
//
// It must not know a family, nor tasks.
package socket

import (
	"errors"

	"coffer/internal/sentry/vfs"
)

// Caller is the task that makes a socket call, as far as a socket may know it.
type Caller interface {
	vfs.Caller
	// SocketCredentials are what SO_PEERCRED and SCM_CREDENTIALS say of it.
	SocketCredentials() Ucred
	// Mounts and PathOrigin say how the paths in its addresses are walked.
	// The caller of PathOrigin drops the references that it returns.
	Mounts() *vfs.MountNamespace
	PathOrigin() vfs.Origin
}

// Ucred is struct ucred of unix(7).
type Ucred struct {
	PID      int32
	UID, GID uint32
}

// Process is a process as far as a socket knows it: what SO_PEERPIDFD and SCM_PIDFD give a
// descriptor of. Two of one process are equal.
type Process interface {
	// NewPIDFD returns a description for it, with one reference. flags may hold O_NONBLOCK.
	NewPIDFD(flags uint32) *vfs.FileDescription
}

// ErrNoPort is EAGAIN of a Connect or Send for which no port is free: there is nothing to wait for.
var ErrNoPort = errors.New("no port is free")

// Socket is a socket of some family. As with every vfs.File its methods never
// wait: EAGAIN means try again when the socket is ready for that direction
// (Accept and Recv: waiter.In, Connect and Send: waiter.Out).
//
// Addresses are struct sockaddr as the guest lays them out, beginning with
// the family; nil stands for none.
type Socket interface {
	vfs.File
	vfs.IOTimeouts

	// Bind names the socket.
	Bind(c Caller, addr []byte) error
	// Listen makes it accept connections.
	Listen(c Caller, backlog int32) error
	// Accept takes the oldest connection off the queue.
	Accept() (Socket, error)
	// Connect connects, or for datagrams sets the destination.
	Connect(c Caller, addr []byte) error
	// Send sends p with what m holds. A stream may take less than all of p.
	// On success it takes over the references in m.Rights.
	Send(c vfs.Caller, p []byte, m *Message) (int, error)
	// Recv fills p and m. The result is the length of the datagram, which may
	// be more than len(p), or of what the stream gave.
	Recv(p []byte, m *Message) (int, error)
	// Shutdown is shutdown(2).
	Shutdown(how int32) error
	// Name and PeerName are getsockname(2) and getpeername(2).
	Name() []byte
	PeerName() ([]byte, error)
	// Option and SetOption are getsockopt(2) and setsockopt(2). An Option's
	// caller cuts the value to the room that the guest has.
	Option(c vfs.Caller, level, name int32) ([]byte, error)
	SetOption(c vfs.Caller, level, name int32, value []byte) error
	// Inode is the inode for the socket's description.
	Inode() vfs.Inode
}

// Memory is guest memory that a call takes bytes from or puts bytes to, one after another.
type Memory interface {
	// CopyIn fills p, and CopyOut takes p. They return how much was copied, and
	// EFAULT if that is not all.
	CopyIn(p []byte) (int, error)
	CopyOut(p []byte) (int, error)
	// Fill has fill put bytes into p, which is n bytes long, and copies out as many as it
	// returns, later than the call. Guests may reach p: fill only writes it, and neither
	// waits nor uses a Memory. It is false, and fill is not called, where that cannot be
	// done without a buffer in between.
	Fill(n int, fill func(p []byte) int) bool
}

// Direct is implemented by sockets that can have a stream's bytes copied from and to guest
// memory without a buffer in between.
type Direct interface {
	Socket
	Stream() bool
	// SendFrom sends up to n bytes, as Send does. If ok is false, nothing was sent, and
	// Send is to be called.
	SendFrom(from Memory, n int, flags int32) (done int, ok bool, err error)
	// RecvTo receives up to n bytes, as Recv does. If ok is false, nothing was received,
	// and Recv is to be called.
	RecvTo(to Memory, n int, flags int32) (done int, ok bool, err error)
}

// Asker is implemented by sockets of which getsockopt(2) has options whose value is a
// question before it is the answer.
type Asker interface {
	// Asks reports whether an option is one of those; Answer then replaces Option.
	Asks(level, name int32) bool
	Answer(level, name int32, value []byte) ([]byte, error)
}

// Message is what a send or receive moves beside the bytes.
type Message struct {
	// Flags are MSG_*: those asked for going in, and after Recv those that
	// the result has (MSG_TRUNC, MSG_EOR).
	Flags int32
	// Beyond is how many of the bytes that Recv's result counts, beside those that have no room, it did
	// not receive: with MSG_TRUNC those that SO_PEEK_OFF passes over.
	Beyond int
	// Addr is the destination, or after Recv the source.
	Addr []byte
	// Rights are the descriptions that SCM_RIGHTS carries.
	Rights []*vfs.FileDescription
	// Creds are the sender's, if HasCreds; what Send finds there has been
	// checked against the sender's right to claim it.
	Creds    Ucred
	HasCreds bool
	// Sender is what a receiver gets a pidfd of (SCM_PIDFD), or nil: going in the process of Creds.
	Sender Process
	// Control are control messages of other kinds, in their order: going in those
	// that the call has, which Send refuses with EINVAL if it does not know them, and
	// after Recv those for the receiver.
	Control []ControlMessage
}

// DropRights releases the descriptions that a message carries.
func (m *Message) DropRights() {
	for _, d := range m.Rights {
		d.DecRef()
	}
	m.Rights = nil
}

// NewDescription returns the description of a socket, with one reference.
// flags may hold O_NONBLOCK.
func NewDescription(s Socket, flags uint32) *vfs.FileDescription {
	return vfs.NewDescription(s, s.Inode(), vfs.Path{}, flags|2 /* O_RDWR */)
}
