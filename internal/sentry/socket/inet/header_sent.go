package inet

import (
	"sync/atomic"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// sentOptions are the options of the headers of what a socket sends, and its extension headers, or nil.
type sentOptions struct {
	always  atomic.Pointer[headerOptions]
	always6 atomic.Pointer[extensions]
	// once and once6 are those of the datagram that is being sent instead; sendMu protects them.
	once  atomic.Pointer[headerOptions]
	once6 atomic.Pointer[extensions]
}

// noHeaderOptions are those of a datagram that is to have none.
var noHeaderOptions = &headerOptions{route: -1, record: -1, stamp: -1}

// headerOptions are those of the next packet, or nil.
func (s *Socket) headerOptions() *headerOptions {
	o := s.once.Load()
	if o == nil {
		o = s.always.Load()
	}
	if o.length() == 0 {
		return nil
	}
	return o
}

// setHeaderOptions is IP_OPTIONS.
func (s *Socket) setHeaderOptions(c vfs.Caller, value []byte) error {
	o, err := s.parseHeaderOptions(c, value)
	if err != nil {
		return err
	}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	e := s.ep.Load()
	s.fitOptions(e, o, nil) // for what waits to be sent already
	if s.always.Store(o); o != nil {
		s.own(e)
	}
	return nil
}

func (s *Socket) parseHeaderOptions(c vfs.Caller, value []byte) (*headerOptions, error) {
	return parseHeaderOptions(value, can(c, unix.CAP_NET_RAW), s.stampsAt)
}

// stampsAt reports whether the namespace stamps the time where an address is given: its own one, and what is no single
// other host's.
func (s *Socket) stampsAt(ip [4]byte) bool {
	addr := tcpip.AddrFrom4(ip)
	return ip == [4]byte{} || addr == header.IPv4Broadcast || header.IsV4MulticastAddress(addr) ||
		s.net.Stack().CheckLocalAddress(0, header.IPv4ProtocolNumber, addr) != 0 ||
		s.net.Stack().IsSubnetBroadcast(0, header.IPv4ProtocolNumber, addr)
}

// own has an endpoint's packets say whose they are, so that they get options.
func (s *Socket) own(e tcpip.Endpoint) { setOwner(e, s) }

// ownsPackets reports whether packets get something by that.
func (s *Socket) ownsPackets() bool {
	return s.net.Steered() || s.always.Load() != nil || s.always6.Load() != nil || s.ofPeer.Load() != 0 || s.Probes(false) || s.Probes(true) || s.labelling() != network.LabelUnsaid
}

// setOwner has an endpoint's packets be somebody's, or nobody's.
func setOwner(e tcpip.Endpoint, owner tcpip.PacketOwner) {
	if of, ok := e.(*endpoint); ok {
		e = of.Endpoint
	}
	if t, ok := e.(*tcp.Endpoint); ok {
		// It sends segments by itself meanwhile, and looks with this lock held whose they are.
		t.LockUser()
		defer t.UnlockUser()
	}
	e.SetOwner(owner)
}

// HeaderOptions implements network.Optioned.
func (s *Socket) HeaderOptions(from, to tcpip.Address, pkt *stack.PacketBuffer) (options []byte, hop tcpip.Address, strict bool) {
	o := s.headerOptions()
	if s.stream() && s.ep.Load().state() == tcp.StateListen { // its own ones are of no connection
		o = s.callOptions(from, to, pkt)
	}
	if o == nil {
		return nil, tcpip.Address{}, false
	}
	return o.build(from, to, s.stampsAt), o.hop, o.strict
}

// KUID implements tcpip.PacketOwner.
func (s *Socket) KUID() uint32 { return uint32(s.cred.EUID) }

// KGID implements tcpip.PacketOwner.
func (s *Socket) KGID() uint32 { return uint32(s.cred.EGID) }

// fitOptions has a stream's segments leave room for options of their headers, or extension headers. s.sendMu is held.
func (s *Socket) fitOptions(e *endpoint, o *headerOptions, x *extensions) {
	n := max(o.length(), x.length())
	if n <= e.fitted || s.end.Load() != nil {
		return
	}
	t, ok := e.Endpoint.(*tcp.Endpoint)
	peer, err := e.GetRemoteAddress()
	if !ok || err != nil || !mayWait(e.state()) {
		return
	}
	peer.Addr = unmappedAddress(peer.Addr)
	if n = o.length(); peer.Addr.Len() == header.IPv6AddressSize {
		n = x.length()
	}
	if n <= e.fitted {
		return
	}
	r, err := s.routeTo(e, peer)
	if err != nil {
		return
	}
	t.HandleError(narrower(max(int(r.MTU())-n, 0)), nil)
	r.Release()
	e.fitted = n
}

// mayWait reports whether a connection in a state may have bytes to send.
func mayWait(state tcp.EndpointState) bool {
	switch state {
	case tcp.StateEstablished, tcp.StateCloseWait, tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck:
		return true
	}
	return false
}

// narrower tells an endpoint how long its packets are at most, without their headers.
type narrower uint32

// The methods of stack.TransportError.

func (narrower) Origin() tcpip.SockErrOrigin    { return tcpip.SockExtErrorOriginNone }
func (narrower) Type() uint8                    { return 0 }
func (narrower) Code() uint8                    { return 0 }
func (n narrower) Info() uint32                 { return uint32(n) }
func (narrower) Kind() stack.TransportErrorKind { return stack.PacketTooBigTransportError }
