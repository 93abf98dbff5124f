package inet

import (
	"net/netip"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// orphans describes the connections of TCP that nobody has accepted yet, and those that go on
// after their sockets have been closed, as in TIME_WAIT.
func orphans(net *network.Namespace, listed []socket.Info) []socket.Info {
	type ends struct{ local, peer netip.AddrPort }
	owned := map[ends]bool{}
	plain := func(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
	for _, i := range listed {
		if i.Type == unix.SOCK_STREAM {
			owned[ends{plain(i.Local), plain(i.Peer)}] = true
		}
	}
	var out []socket.Info
	add := func(state tcp.EndpointState, local, peer tcpip.FullAddress) {
		family := int32(unix.AF_INET)
		if peer.Addr.Len() != 4 {
			family = unix.AF_INET6
		}
		i := socket.Info{
			Family: family, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP, State: linuxState(state),
			Local: addrPort(family, local), Peer: addrPort(family, peer),
		}
		if !owned[ends{plain(i.Local), plain(i.Peer)}] {
			out = append(out, i)
		}
	}
	for _, t := range net.Stack().RegisteredEndpoints() {
		e, ok := t.(*tcp.Endpoint)
		if !ok {
			continue
		}
		state := e.EndpointState()
		local, err := e.GetLocalAddress()
		peer, perr := e.GetRemoteAddress()
		if shown := linuxState(state); shown != uint8(tcp.StateListen) && shown != uint8(tcp.StateClose) && err == nil && perr == nil {
			add(state, local, peer)
		}
	}
	pairs.Lock()
	defer pairs.Unlock()
	for of, p := range pairs.m {
		for side := range of.address {
			if state := p.current(side); of.stack == net.Stack() && connected(state) {
				add(state, of.address[side], of.address[1-side])
			}
		}
	}
	return out
}
