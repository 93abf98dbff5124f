package inet

import (
	"slices"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// The extension headers of IPv6 that programs choose and see (RFC 3542, 6 to 9): options for each hop and for
// who gets the packet, and routing headers.

const (
	// maxExtension is how long one is at most.
	maxExtension = 8 * 255
	// routeSegments is the type of routing headers that there still is (RFC 8754, 2).
	routeSegments = 4
	// segmentsFixed is what of such a header comes before its segments.
	segmentsFixed = 8
)

// extensions are those that a socket sends, each of them nil if it does not. They do not change once they are made.
type extensions struct {
	// before are options that go before a routing header, and only there.
	hop, before, route, end []byte
}

// length is how many bytes of a packet they take.
func (x *extensions) length() int {
	if x == nil {
		return 0
	}
	n := len(x.hop) + len(x.route) + len(x.end)
	if x.route != nil {
		n += len(x.before)
	}
	return n
}

// at is where the header of an option is.
func (x *extensions) at(name int32) *[]byte {
	switch name {
	case unix.IPV6_HOPOPTS, unix.IPV6_2292HOPOPTS:
		return &x.hop
	case unix.IPV6_RTHDRDSTOPTS:
		return &x.before
	case unix.IPV6_RTHDR, unix.IPV6_2292RTHDR:
		return &x.route
	}
	return &x.end
}

// cutExtension is a header at the beginning of what a program gives. EINVAL if it is not whole.
func cutExtension(value []byte) ([]byte, error) {
	if len(value) < 2 || extensionLength(value) > len(value) {
		return nil, unix.EINVAL
	}
	return slices.Clone(value[:extensionLength(value)]), nil
}

// extensionLength is how long a header says that it is.
func extensionLength(h []byte) int { return (int(h[1]) + 1) * 8 }

// checkRoute reports whether a routing header is as it must be: segments, and what is added to them.
func checkRoute(h []byte) bool {
	if len(h) < segmentsFixed || h[2] != routeSegments {
		return false
	}
	left, last := int(h[3]), int(h[4])
	if last > int(h[1])/2-1 || left > last {
		return false
	}
	rest := h[segmentsFixed+(last+1)*header.IPv6AddressSize:]
	for len(rest) > 0 {
		if len(rest) < 2 || 2+int(rest[1]) > len(rest) {
			return false
		}
		rest = rest[2+int(rest[1]):]
	}
	return true
}

// setExtension is IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_RTHDR or IPV6_DSTOPTS. Nothing takes the header away.
func (s *Socket) setExtension(c vfs.Caller, name int32, value []byte) error {
	if name != unix.IPV6_RTHDR && !can(c, unix.CAP_NET_RAW) {
		return unix.EPERM
	}
	var h []byte
	if len(value) > 0 {
		var err error
		if len(value) > maxExtension || len(value)%8 != 0 {
			return unix.EINVAL
		}
		if h, err = cutExtension(value); err != nil {
			return err
		}
		if name == unix.IPV6_RTHDR && !checkRoute(h) {
			return unix.EINVAL
		}
	}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	var x extensions
	if old := s.always6.Load(); old != nil {
		x = *old
	}
	*x.at(name) = h
	e := s.ep.Load()
	s.fitOptions(e, nil, &x) // for what waits to be sent already
	s.always6.Store(&x)
	s.own(e)
	return nil
}

// sentExtension reads a control message with the header of one datagram, which then has no other ones but those of
// control messages.
func (s *Socket) sentExtension(c vfs.Caller, beside *aside, m socket.ControlMessage) error {
	if m.Type == unix.IPV6_RTHDR || m.Type == unix.IPV6_2292RTHDR {
		return unix.EINVAL // Linux has no types for those
	}
	h, err := cutExtension(m.Data)
	if err != nil {
		return err
	}
	if !can(c, unix.CAP_NET_RAW) {
		return unix.EPERM
	}
	if beside.extensions == nil {
		beside.extensions = new(extensions)
	}
	at := beside.extensions.at(m.Type)
	if *at != nil && m.Type != unix.IPV6_DSTOPTS && m.Type != unix.IPV6_RTHDRDSTOPTS {
		return unix.EINVAL
	}
	*at = h
	return nil
}

// extensions are those of the next packet, or nil.
func (s *Socket) extensions() *extensions {
	x := s.once6.Load()
	if x == nil {
		x = s.always6.Load()
	}
	if x.length() == 0 {
		return nil
	}
	return x
}

// ExtensionHeaders implements network.Extended.
func (s *Socket) ExtensionHeaders(to tcpip.Address) (out network.Extensions) {
	x := s.extensions()
	out.Labelling = s.labelling()
	if !s.stream() || s.ep.Load().state() != tcp.StateListen { // otherwise they are of connections that begin
		out.Label = s.chosenLabel()
	}
	if x == nil {
		return out
	}
	if x.hop != nil {
		out.Way = append(out.Way, network.Extension{Kind: unix.IPPROTO_HOPOPTS, Data: x.hop})
	}
	if x.route != nil {
		if x.before != nil {
			out.Way = append(out.Way, network.Extension{Kind: unix.IPPROTO_DSTOPTS, Data: x.before})
		}
		route := slices.Clone(x.route)
		segment := func(i int) []byte { return route[segmentsFixed+i*header.IPv6AddressSize:][:header.IPv6AddressSize] }
		out.Hop = tcpip.AddrFromSlice(segment(int(route[3])))
		if copy(segment(0), to.AsSlice()); route[3] == 0 {
			out.Hop = tcpip.Address{}
		}
		out.Way = append(out.Way, network.Extension{Kind: unix.IPPROTO_ROUTING, Data: route})
	}
	if x.end != nil {
		last := &out.Way // as Linux has it, which takes those before a fragment's header for part of the way
		if x.route != nil {
			last = &out.End
		}
		*last = append(*last, network.Extension{Kind: unix.IPPROTO_DSTOPTS, Data: x.end})
	}
	return out
}

// arrivedExtensions are the extension headers of a packet of IPv6 that programs are told of, in their order. Each
// says which one follows, but fragments.
func arrivedExtensions(packet []byte) (list []network.Extension) {
	if len(packet) < header.IPv6MinimumSize {
		return nil
	}
	kind, rest := packet[header.IPv6NextHeaderOffset], packet[header.IPv6MinimumSize:]
	for len(rest) >= 8 {
		n := extensionLength(rest)
		switch kind {
		case unix.IPPROTO_FRAGMENT:
			if n = header.IPv6FragmentHeaderSize; len(list) > 0 {
				list[len(list)-1].Data[0] = rest[0]
			}
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_DSTOPTS, unix.IPPROTO_ROUTING:
			if n > len(rest) {
				return list
			}
			list = append(list, network.Extension{Kind: kind, Data: slices.Clone(rest[:n])})
		default:
			return list
		}
		kind, rest = rest[0], rest[n:]
	}
	return list
}

// tellExtensions has control messages tell of a packet's extension headers, as RFC 3542 has them and as RFC 2292 had.
func tellExtensions(report uint32, packet []byte, add func(level, typ int32, data []byte)) {
	list := arrivedExtensions(packet)
	for _, way := range [...]struct {
		hops, ends, routes                   uint32
		hopOptions, endOptions, routeHeaders int32
	}{
		{reportHops, reportEnds, reportRoutes, unix.IPV6_HOPOPTS, unix.IPV6_DSTOPTS, unix.IPV6_RTHDR},
		{report2292Hops, report2292Ends, report2292Routes, unix.IPV6_2292HOPOPTS, unix.IPV6_2292DSTOPTS, unix.IPV6_2292RTHDR},
	} {
		for _, x := range list {
			switch {
			case x.Kind == unix.IPPROTO_HOPOPTS && report&way.hops != 0:
				add(unix.IPPROTO_IPV6, way.hopOptions, x.Data)
			case x.Kind == unix.IPPROTO_DSTOPTS && report&way.ends != 0:
				add(unix.IPPROTO_IPV6, way.endOptions, x.Data)
			case x.Kind == unix.IPPROTO_ROUTING && report&way.routes != 0:
				add(unix.IPPROTO_IPV6, way.routeHeaders, x.Data)
			}
		}
	}
}
