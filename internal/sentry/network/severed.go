package network

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// severed is for a link whose other end is gone for good, a gateway that has ended: the
// link goes down, with its routes, and connections that lead over its addresses break,
// so that programs learn of it at once, but for those whose peer has ended them. An
// interface of the host's may come back.
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
		if tcp.EndpointState(e.State()) == tcp.StateListen || ended(e) {
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

// ended reports whether a connection's peer has said all. That, and that it is all, can still
// be read; a connection that breaks would forget it.
func ended(e *tcp.Endpoint) bool {
	switch tcp.EndpointState(e.State()) {
	case tcp.StateCloseWait, tcp.StateClosing, tcp.StateLastAck, tcp.StateTimeWait:
		return true
	}
	return false
}
