package inet

import (
	"math/rand/v2"
	"net/netip"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// bindEndpoint binds an endpoint to a name, also to an address that no interface has if
// IP_FREEBIND, IP_TRANSPARENT or net.ipv4.ip_nonlocal_bind permit that: it may be added later.
// s.mu is held.
func (s *Socket) bindEndpoint(ep tcpip.Endpoint, name tcpip.FullAddress) tcpip.Error {
	bind := func() tcpip.Error { return s.bindPort(ep, name) }
	err := bind()
	if _, missing := err.(*tcpip.ErrBadLocalAddress); !missing {
		return err
	}
	ip := unmapped(s.family.Load(), name).Addr()
	if name.NIC != 0 || ip.IsMulticast() || ip.IsLinkLocalUnicast() && ip.Is6() || !s.bindsNonlocal(ip) {
		return err
	}
	if err = s.net.BindNonlocal(ip, bind); err == nil {
		s.nonlocal.Store(true)
	}
	return err
}

// bindsLater reports whether bind(2) is to leave the port to connect(2), which can share it with connections
// that go elsewhere. s.mu is held.
func (s *Socket) bindsLater(name tcpip.FullAddress) bool {
	if !s.stream() || name.Port != 0 || s.value(s.row(unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT)) == 0 {
		return false
	}
	ip := unmapped(s.family.Load(), name).Addr()
	return name.Addr.Len() == 0 || s.net.Stack().CheckLocalAddress(name.NIC, networkOf(ip), tcpip.AddrFromSlice(ip.AsSlice())) != 0
}

// takePort gives a socket a port, at the address that it was bound to without one. s.mu is held.
func (s *Socket) takePort(e *endpoint) tcpip.Error {
	var name tcpip.FullAddress
	if p := s.portless.Load(); p != nil {
		name = *p
	}
	err := s.bindEndpoint(e, name)
	if err == nil {
		s.portless.Store(nil)
	}
	return err
}

// bindPort binds an endpoint, if the name leaves the port open to one that portRange has. s.mu is held.
func (s *Socket) bindPort(ep tcpip.Endpoint, name tcpip.FullAddress) tcpip.Error {
	low, high, limited := s.portRange()
	if name.Port != 0 || !limited {
		return s.bindTo(ep, name)
	}
	count := high - low + 1
	first := rand.IntN(count)
	for i := range count {
		name.Port = uint16(low + (first+i)%count)
		err := s.bindTo(ep, name)
		if _, used := err.(*tcpip.ErrPortInUse); !used {
			return err
		}
	}
	return &tcpip.ErrNoPortAvailable{}
}

// bindTo binds an endpoint to a name, unless others have it who do not share it with the socket. s.mu is held.
func (s *Socket) bindTo(ep tcpip.Endpoint, name tcpip.FullAddress) tcpip.Error {
	if !s.reusesPort() {
		return ep.Bind(name)
	}
	sharing.Lock()
	defer sharing.Unlock()
	if s.refusesPort(name) {
		return &tcpip.ErrPortInUse{}
	}
	err := ep.Bind(name)
	if err == nil && s.sort() == ofUDP {
		s.joinPort()
	}
	return err
}

// portRange is for sockets that keep their port to themselves, and for those of UDP that share it, for which the stack
// would choose one of another user's. On Linux streams that connect share ports as long as they go elsewhere, which
// the stack permits for those only that it chooses.
//
// It is what IP_LOCAL_PORT_RANGE leaves of net.ipv4.ip_local_port_range: an end that lies
// outside of that does not count. limited is false if the stack may choose any.
func (s *Socket) portRange() (low, high int, limited bool) {
	v := s.ports.Load()
	switch s.sort() {
	case ofTCP:
		limited = v != 0 && s.value(s.row(unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT)) == 0
	case ofUDP:
		limited = v != 0 || s.reusesPort()
	}
	if !limited {
		return 0, 0, false
	}
	first, last := s.net.Range(network.LocalPortRange)
	low, high = int(first), int(last)
	if l := int(v & 0xffff); l >= low && l <= high {
		low = l
	}
	if h := int(v >> 16); h >= low && h <= high {
		high = h
	}
	return low, high, true
}

// picksPort reports whether a datagram socket's port is not the stack's to choose.
func (s *Socket) picksPort() bool {
	_, _, limited := s.portRange()
	return limited || s.portless.Load() != nil
}

// pickPort gives such a socket a port, if it has none. s.mu is held.
func (s *Socket) pickPort(e *endpoint) tcpip.Error {
	if !s.picksPort() {
		return nil
	}
	if local, err := e.GetLocalAddress(); err == nil && local.Port != 0 {
		return nil
	}
	return s.takePort(e)
}

func (s *Socket) bindsNonlocal(ip netip.Addr) bool {
	for _, name := range []int32{unix.IP_FREEBIND, unix.IP_TRANSPARENT} {
		if s.value(s.row(unix.IPPROTO_IP, name)) != 0 {
			return true
		}
	}
	return s.net.NonlocalBind(ip)
}

// leaves is for sockets that were bound to an address which no interface had, and that are to send:
// the interface that has it now, ENETUNREACH if none has. For other sockets it is 0.
func (s *Socket) leaves(e *endpoint) (tcpip.NICID, error) {
	if !s.nonlocal.Load() {
		return 0, nil
	}
	local, err := e.GetLocalAddress()
	if err != nil {
		return 0, nil
	}
	ip := unmapped(s.family.Load(), local).Addr()
	nic := s.net.Stack().CheckLocalAddress(0, networkOf(ip), tcpip.AddrFromSlice(ip.AsSlice()))
	if nic == 0 {
		return 0, unix.ENETUNREACH
	}
	return nic, nil
}

// settle binds a stream anew whose address has come to an interface meanwhile: the stack has bound
// it to lo. s.mu is held.
func (s *Socket) settle() error {
	e := s.ep.Load()
	nic, err := s.leaves(e)
	if nic == 0 || s.bound == nil {
		return err
	}
	if local, terr := e.GetLocalAddress(); terr == nil {
		s.bound = &tcpip.FullAddress{Addr: s.bound.Addr, Port: local.Port}
	}
	return s.renew()
}
