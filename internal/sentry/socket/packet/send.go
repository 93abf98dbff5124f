package packet

import (
	"bytes"
	"encoding/binary"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Send implements socket.Socket. ENXIO without an interface to send by, ENETDOWN if it
// is down, EMSGSIZE for a frame that is too long for it.
func (s *Socket) Send(_ vfs.Caller, p []byte, m *socket.Message) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	if m.HasCreds || len(m.Rights) > 0 || len(m.Control) > 0 {
		return 0, unix.EINVAL
	}
	if m.Addr == nil {
		return s.send(p, nil)
	}
	a, err := parseAddress(m.Addr)
	if err != nil {
		return 0, err
	}
	return s.send(p, &a)
}

// Write implements vfs.File.
func (s *Socket) Write(_ vfs.Caller, p []byte, off int64, _ uint32) (int, int64, error) {
	n, err := s.send(p, nil)
	return n, off, err
}

// send sends p to an address, or by what the socket is bound to.
func (s *Socket) send(p []byte, to *address) (int, error) {
	s.bindMu.Lock()
	a := address{protocol: s.protocol, index: s.index}
	s.bindMu.Unlock()
	if to != nil {
		a = *to
	}
	l, ok := s.ns.LinkByIndex(a.index)
	switch {
	case !ok:
		return 0, unix.ENXIO
	case l.Flags&unix.IFF_UP == 0:
		return 0, unix.ENETDOWN
	}
	if s.typ == unix.SOCK_RAW {
		return s.sendFrame(p, a, l)
	}
	return s.sendPayload(p, a, l)
}

// sendFrame sends a whole frame, with its Ethernet header if the link has one.
func (s *Socket) sendFrame(p []byte, a address, l network.LinkInfo) (int, error) {
	size := etherHeader
	if l.AddressLen() == 0 {
		size = 0
	}
	switch {
	case len(p) < max(size, 1):
		return 0, unix.EINVAL
	case len(p) > int(l.MTU)+size:
		return 0, unix.EMSGSIZE
	}
	protocol := tcpip.NetworkProtocolNumber(a.protocol)
	switch {
	case size > 0:
		protocol = tcpip.NetworkProtocolNumber(binary.BigEndian.Uint16(p[12:]))
	case protocol != 0 && protocol != unix.ETH_P_ALL:
	case p[0]>>4 == header.IPv4Version:
		protocol = header.IPv4ProtocolNumber
	case p[0]>>4 == header.IPv6Version:
		protocol = header.IPv6ProtocolNumber
	}
	body := p
	if loopback(l) {
		body = p[etherHeader:] // the stack's lo has no headers
	}
	defer s.deaf(p)()
	if err := s.stack.WriteRawPacket(tcpip.NICID(a.index), protocol, buffer.MakeWithData(bytes.Clone(body))); err != nil {
		return 0, errno(err)
	}
	return len(p), nil
}

// sendPayload sends what follows an Ethernet header, which is made here.
func (s *Socket) sendPayload(p []byte, a address, l network.LinkInfo) (int, error) {
	switch {
	case len(p) > int(l.MTU):
		return 0, unix.EMSGSIZE
	case !loopback(l) && len(a.addr) < l.AddressLen():
		return 0, unix.EINVAL
	}
	var remote tcpip.LinkAddress // lo's frames have none
	if !loopback(l) {
		remote = tcpip.LinkAddress(a.addr[:l.AddressLen()])
	}
	defer s.deaf(p)()
	err := s.stack.WritePacketToRemote(tcpip.NICID(a.index), remote, tcpip.NetworkProtocolNumber(a.protocol), buffer.MakeWithData(bytes.Clone(p)))
	if err != nil {
		return 0, errno(err)
	}
	return len(p), nil
}

func loopback(l network.LinkInfo) bool { return l.Flags&unix.IFF_LOOPBACK != 0 }

// deaf has the socket not receive what it is about to send, until the result is called.
func (s *Socket) deaf(p []byte) func() {
	s.mu.Lock()
	s.sending = p
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.sending = nil
		s.mu.Unlock()
	}
}

// errno is the error number of a refusal of the stack's.
func errno(err tcpip.Error) error {
	switch err.(type) {
	case *tcpip.ErrNoBufferSpace:
		return unix.ENOBUFS
	case *tcpip.ErrUnknownNICID, *tcpip.ErrUnknownDevice:
		return unix.ENXIO
	case *tcpip.ErrMessageTooLong:
		return unix.EMSGSIZE
	case *tcpip.ErrMalformedHeader:
		return unix.EINVAL
	}
	return unix.ENETDOWN
}
