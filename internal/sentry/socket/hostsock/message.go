package hostsock

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	// sendFlags and recvFlags are the MSG_* that reach the host; the others are the
	// caller's to honour, or have no effect.
	sendFlags = unix.MSG_OOB | unix.MSG_DONTROUTE | unix.MSG_MORE | unix.MSG_EOR | unix.MSG_CONFIRM | unix.MSG_FASTOPEN
	recvFlags = unix.MSG_OOB | unix.MSG_PEEK | unix.MSG_TRUNC | unix.MSG_ERRQUEUE

	// resultFlags are those that a receive tells of.
	resultFlags = unix.MSG_TRUNC | unix.MSG_EOR | unix.MSG_OOB | unix.MSG_ERRQUEUE | unix.MSG_CTRUNC

	// maxControl holds all that the host tells of one message.
	maxControl = 512
)

// controlIn lists the control messages that a guest may send along: all of them are
// plain values.
var controlIn = map[[2]int32]bool{
	{unix.SOL_IP, unix.IP_TTL}: true, {unix.SOL_IP, unix.IP_TOS}: true, {unix.SOL_IP, unix.IP_PKTINFO}: true,
	{unix.SOL_IPV6, unix.IPV6_PKTINFO}: true, {unix.SOL_IPV6, unix.IPV6_HOPLIMIT}: true, {unix.SOL_IPV6, unix.IPV6_TCLASS}: true,
	{unix.SOL_UDP, unix.UDP_SEGMENT}: true, {unix.SOL_SOCKET, unix.SO_TIMESTAMPING}: true,
}

// Read and Write implement vfs.File.
func (s *Socket) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	n, err := s.Recv(p, &socket.Message{})
	return min(n, len(p)), err
}

func (s *Socket) Write(c vfs.Caller, p []byte, _ int64, _ uint32) (int, int64, error) {
	n, err := s.Send(c, p, &socket.Message{})
	return n, 0, err
}

// Send implements socket.Socket.
func (s *Socket) Send(_ vfs.Caller, p []byte, m *socket.Message) (int, error) {
	if m.HasCreds || len(m.Rights) > 0 {
		return 0, unix.EINVAL // for AF_UNIX alone
	}
	if m.Addr != nil {
		if err := s.checkAddress(m.Addr); err != nil {
			return 0, err
		}
	}
	if s.family == unix.AF_NETLINK {
		if err := onlyAsks(p); err != nil {
			return 0, err
		}
	}
	b := socket.ControlBuilder{Room: maxControl}
	for _, c := range m.Control {
		if !controlIn[[2]int32{c.Level, c.Type}] {
			return 0, unix.EINVAL
		}
		b.Add(c.Level, c.Type, c.Data)
	}
	if b.Truncated {
		return 0, unix.ENOBUFS
	}
	n, _, err := s.exchange(unix.SYS_SENDMSG, p, m.Addr, b.Buf, int(m.Flags)&sendFlags|unix.MSG_NOSIGNAL)
	return n, err
}

// Unread implements vfs.Unreader for streams.
func (s *Socket) Unread(p []byte) {
	if len(p) == 0 || !s.Stream() {
		return
	}
	s.unread.Put(p)
	s.queue.Notify(waiter.Readable)
}

// Recv implements socket.Socket.
func (s *Socket) Recv(p []byte, m *socket.Message) (int, error) {
	if m.Flags&(unix.MSG_OOB|unix.MSG_ERRQUEUE) != 0 {
		return s.recvHost(p, m)
	}
	peek := m.Flags&unix.MSG_PEEK != 0
	n := s.unread.Take(p, peek)
	if n == 0 {
		return s.recvHost(p, m)
	}
	if peek && n < len(p) {
		if more, err := s.recvHost(p[n:], m); err == nil {
			return n + more, nil
		}
	}
	m.Flags = 0
	return n, nil
}

// recvHost is Recv of what the host has.
func (s *Socket) recvHost(p []byte, m *socket.Message) (int, error) {
	addr, control := make([]byte, maxSockaddr), make([]byte, maxControl)
	asked := int(m.Flags)
	// The length of a datagram that is longer than p is told in any case.
	flags := asked & recvFlags
	if s.typ != unix.SOCK_STREAM {
		flags |= unix.MSG_TRUNC
	}
	n, h, err := s.exchange(unix.SYS_RECVMSG, p, addr, control, flags)
	if err != nil {
		return 0, err
	}
	m.Flags = h.Flags & resultFlags
	m.Addr = addr[:min(int(h.Namelen), len(addr))]
	if h.Namelen == 0 {
		m.Addr = nil
	}
	list, err := socket.ParseControl(control[:min(int(h.Controllen), len(control))])
	if err != nil {
		return 0, err
	}
	m.Control = list
	return n, nil
}

// exchange makes a sendmsg(2) or recvmsg(2) that does not wait.
func (s *Socket) exchange(nr uintptr, p, addr, control []byte, flags int) (int, *unix.Msghdr, error) {
	iov := unix.Iovec{Base: unsafe.SliceData(p), Len: uint64(len(p))}
	h := &unix.Msghdr{Iov: &iov, Iovlen: 1}
	if len(addr) > 0 {
		h.Name, h.Namelen = unsafe.SliceData(addr), uint32(len(addr))
	}
	if len(control) > 0 {
		h.Control, h.Controllen = unsafe.SliceData(control), uint64(len(control))
	}
	n, err := s.call(nr, uintptr(unsafe.Pointer(h)), uintptr(flags|unix.MSG_DONTWAIT), 0, 0, 0)
	runtime.KeepAlive(p)
	return int(n), h, err
}

// sizeofNlMsghdr is sizeof(struct nlmsghdr).
const sizeofNlMsghdr = 16

// onlyAsks refuses with EPERM what changes the host's network: of rtnetlink(7)'s
// kinds of messages one in four asks. The host would refuse it too, since the
// sentry has no capability there.
func onlyAsks(p []byte) error {
	for len(p) >= sizeofNlMsghdr {
		n, kind := binary.NativeEndian.Uint32(p), binary.NativeEndian.Uint16(p[4:])
		if n < sizeofNlMsghdr || uint64(n) > uint64(len(p)) {
			return nil // the host passes over what is not a whole message
		}
		if kind >= unix.RTM_BASE && (kind-unix.RTM_BASE)%4 != 2 {
			return unix.EPERM
		}
		p = p[min(uint64(n+3)&^3, uint64(len(p))):]
	}
	return nil
}
