package inet

import (
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// bindEndpoint binds an endpoint to a name, also to an address that no interface has if
// IP_FREEBIND, IP_TRANSPARENT or net.ipv4.ip_nonlocal_bind permit that: it may be added later.
// s.mu is held.
func (s *Socket) bindEndpoint(ep tcpip.Endpoint, name tcpip.FullAddress) tcpip.Error {
	err := ep.Bind(name)
	if _, missing := err.(*tcpip.ErrBadLocalAddress); !missing {
		return err
	}
	ip := unmapped(s.family, name).Addr()
	if name.NIC != 0 || ip.IsMulticast() || ip.IsLinkLocalUnicast() && ip.Is6() || !s.bindsNonlocal(ip) {
		return err
	}
	if err = s.net.BindNonlocal(ip, func() tcpip.Error { return ep.Bind(name) }); err == nil {
		s.nonlocal.Store(true)
	}
	return err
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
	ip := unmapped(s.family, local).Addr()
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
