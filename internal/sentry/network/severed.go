package network

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// severed is for a link whose other end is gone for good, a gateway that has ended: the
// link goes down, with its routes, and connections that lead over its addresses break,
// so that programs learn of it at once. An interface of the host's may come back.
func severed(d device, addresses []netip.Prefix) {
	home, index := d.base().place()
	if home == nil {
		return
	}
	if home.SetUp(index, false) != nil {
		return // it has been deleted
	}
	for _, ep := range home.Stack().RegisteredEndpoints() {
		e, ok := ep.(*tcp.Endpoint)
		if !ok {
			continue
		}
		local, err := e.GetLocalAddress()
		if err != nil {
			continue
		}
		if tcp.EndpointState(e.State()) == tcp.StateListen {
			continue
		}
		a, _ := netip.AddrFromSlice(local.Addr.AsSlice())
		for _, p := range addresses {
			if p.Addr() == a.Unmap() {
				e.Abort()
			}
		}
	}
}
