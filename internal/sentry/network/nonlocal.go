package network

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// NonlocalBind reports whether net.ipv4.ip_nonlocal_bind, or that of IPv6, lets every socket bind
// to addresses that no interface has.
func (n *Namespace) NonlocalBind(addr netip.Addr) bool {
	if addr.Is4() {
		return n.Number(nonlocalBind4) != 0
	}
	return n.Number(nonlocalBind6) != 0
}

// BindNonlocal lets bind, which binds an endpoint to an address, succeed though no interface has
// the address, as long as lo is up: the stack asks only then whether one has it, so lo has it
// meanwhile.
func (n *Namespace) BindNonlocal(addr netip.Addr, bind func() tcpip.Error) tcpip.Error {
	s := n.Stack()
	// With rtnl nobody gives the address to an interface meanwhile.
	rtnl.Lock()
	defer rtnl.Unlock()
	if s.CheckLocalAddress(0, protocolOf(addr), toStack(addr)) != 0 {
		return bind()
	}
	n.changes.Add(1)
	address := ProtocolAddress(netip.PrefixFrom(addr, addr.BitLen()))
	if err := s.AddProtocolAddress(LoopbackIndex, address, stack.AddressProperties{PEB: stack.NeverPrimaryEndpoint}); err != nil {
		return &tcpip.ErrBadLocalAddress{} // lo has it, and is down
	}
	defer n.changes.Add(1)
	defer s.RemoveAddress(LoopbackIndex, toStack(addr))
	return bind()
}
