package inet

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// A socket of AF_INET6 that is connected to an IPv4 address can become one of AF_INET (IPV6_ADDRFORM in ipv6(7)),
// for a program that knows no other to go on with it. The endpoint stays what it is as long as it is connected:
// only what programs see of it changes.

// setAddressForm is IPV6_ADDRFORM. EINVAL for another family than AF_INET, ENOTCONN without a peer, EADDRNOTAVAIL for
// one that is IPv6's, EBUSY for a datagram to one of those that is not complete yet, ENOPROTOOPT for a socket that is
// neither TCP's nor UDP's.
func (s *Socket) setAddressForm(value []byte) error {
	v, ok := number32(unix.IPPROTO_IPV6, value)
	if !ok || v != unix.AF_INET {
		return unix.EINVAL
	}
	if s.sort() == ofOthers {
		return unix.ENOPROTOOPT
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.convertCorked(); err != nil {
		return err
	}
	e := s.ep.Load()
	peer, err := s.establishedPeer(e)
	if err != nil {
		return err
	}
	if !unmapped(unix.AF_INET6, peer).Addr().Is4() {
		return unix.EADDRNOTAVAIL
	}
	s.leaveAll(true)
	s.forgetOptions6(e)
	if s.bound != nil {
		s.bound = withoutMapping(s.bound)
	}
	if p := s.portless.Load(); p != nil {
		s.portless.Store(withoutMapping(p))
	}
	s.converted = true
	s.family.Store(unix.AF_INET)
	return nil
}

// addressForm is IPV6_ADDRFORM as getsockopt(2) says it: the family.
func (s *Socket) addressForm() ([]byte, error) {
	if s.sort() == ofOthers {
		return nil, unix.ENOPROTOOPT
	}
	if _, err := s.establishedPeer(s.ep.Load()); err != nil {
		return nil, err
	}
	return int32Bytes(s.family.Load()), nil
}

// establishedPeer is the peer of a socket whose connection is whole. ENOTCONN without one.
func (s *Socket) establishedPeer(e *endpoint) (tcpip.FullAddress, error) {
	peer, err := s.peer(e)
	if err != nil || s.stream() && e.state() != tcp.StateEstablished {
		return peer, unix.ENOTCONN
	}
	return peer, nil
}

// forgetOptions6 gives the options of IPv6 the values that they had at first. Some share what they set with options
// of IPv4, whose values stay.
func (s *Socket) forgetOptions6(e *endpoint) {
	s.leaveBy.Store(0)
	s.always6.Store(nil)
	s.optionMu.Lock()
	defer s.optionMu.Unlock()
	for o := range s.values {
		if o.level != unix.IPPROTO_IPV6 {
			continue
		}
		delete(s.values, o)
		if o.apply != nil {
			o.apply(s, e, o.initial)
		}
	}
	for o, v := range s.values {
		if o.level == unix.IPPROTO_IP && o.apply != nil {
			o.apply(s, e, v)
		}
	}
}

// convertCorked has the datagram that is not complete yet go to an address of IPv4. EBUSY if it goes to one of IPv6.
func (s *Socket) convertCorked() error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	switch to := &s.corkedTo; {
	case header.IsV4MappedAddress(to.Addr):
		s.corkedTo = *withoutMapping(to)
	case to.Addr.Len() == header.IPv6AddressSize:
		return unix.EBUSY
	}
	return nil
}

// withoutMapping is an address of AF_INET6 as AF_INET has it.
func withoutMapping(a *tcpip.FullAddress) *tcpip.FullAddress {
	plain := tcpip.FullAddress{Port: a.Port}
	if header.IsV4MappedAddress(a.Addr) {
		plain.Addr = tcpip.AddrFrom4Slice(a.Addr.AsSlice()[12:])
	}
	return &plain
}
