package inet

import (
	"slices"
	"sync"
	"testing"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	stackwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// icmp4 is an IPv4 packet with an ICMP message about a datagram of UDP.
func icmp4(typ, code uint8, data string) []byte {
	inner := make([]byte, header.IPv4MinimumSize+header.UDPMinimumSize)
	ip := header.IPv4(inner)
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(inner) + len(data)), TTL: 1, Protocol: unix.IPPROTO_UDP})
	header.UDP(inner[header.IPv4MinimumSize:]).Encode(&header.UDPFields{SrcPort: 1, DstPort: 2})
	outer := make([]byte, header.IPv4MinimumSize+header.ICMPv4MinimumSize)
	header.IPv4(outer).Encode(&header.IPv4Fields{TotalLength: uint16(len(outer) + len(inner) + len(data)), TTL: 1, Protocol: unix.IPPROTO_ICMP})
	outer[header.IPv4MinimumSize], outer[header.IPv4MinimumSize+1] = typ, code
	outer[header.IPv4MinimumSize+7] = 99
	return append(append(outer, inner...), data...)
}

func TestErrorsOfICMP(t *testing.T) {
	for _, c := range []struct {
		typ, code uint8
		errno     unix.Errno // 0 for what is no error
		info      uint32
	}{
		{3, 0, unix.ENETUNREACH, 0}, {3, 1, unix.EHOSTUNREACH, 0}, {3, 3, unix.ECONNREFUSED, 0}, {3, 4, unix.EMSGSIZE, 99},
		{3, 13, unix.EHOSTUNREACH, 0}, {3, 16, 0, 0}, {11, 0, unix.EHOSTUNREACH, 0}, {12, 0, unix.EPROTO, 0}, {8, 0, 0, 0}, {0, 0, 0, 0},
	} {
		e, inner, ok := parseError4(icmp4(c.typ, c.code, "text"))
		if ok != (c.errno != 0) || ok && (e.errno != c.errno || e.info != c.info || e.typ != c.typ || e.code != c.code) {
			t.Errorf("type %d, code %d: %+v, %v", c.typ, c.code, e, ok)
		}
		if !ok {
			continue
		}
		if in, ok := parseInner(&e, inner); !ok || in.protocol != unix.IPPROTO_UDP || string(in.payload[header.UDPMinimumSize:]) != "text" {
			t.Errorf("type %d, code %d is about %+v, %v", c.typ, c.code, in, ok)
		}
	}
}

func TestSkipExtensions(t *testing.T) {
	const udp = unix.IPPROTO_UDP
	hop := []byte{unix.IPPROTO_DSTOPTS, 0, 1, 4, 0, 0, 0, 0}
	long := append([]byte{unix.IPPROTO_FRAGMENT, 1, 1, 12}, make([]byte, 12)...)
	first, later := []byte{udp, 0, 0, 1, 0, 0, 0, 9}, []byte{udp, 0, 0, 8, 0, 0, 0, 9}
	for name, c := range map[string]struct {
		next    uint8
		b       []byte
		want    uint8
		payload string
	}{
		"none":           {udp, []byte("datagram"), udp, "datagram"},
		"all":            {unix.IPPROTO_HOPOPTS, slices.Concat(hop, long, first, []byte("datagram")), udp, "datagram"},
		"nothing after":  {unix.IPPROTO_FRAGMENT, first, udp, ""},
		"later fragment": {unix.IPPROTO_FRAGMENT, later, unix.IPPROTO_FRAGMENT, string(later)},
		"cut":            {unix.IPPROTO_DSTOPTS, long[:9], unix.IPPROTO_DSTOPTS, string(long[:9])},
	} {
		if got, b := skipExtensions(c.next, c.b); got != c.want || string(b) != c.payload {
			t.Errorf("%s: %d, %q", name, got, b)
		}
	}
}

// FuzzErrors reads what may have come as an ICMP error, and requests for groups.
func FuzzErrors(f *testing.F) {
	f.Add(icmp4(3, 3, "text"))
	f.Add(make([]byte, 136))
	f.Add(make([]byte, sizeofFilter+sizeofAddress))
	f.Fuzz(func(t *testing.T, packet []byte) {
		for _, parse := range []func([]byte) (queuedError, []byte, bool){parseError4, parseError6} {
			if e, inner, ok := parse(packet); ok {
				parseInner(&e, inner)
				e.bytes(unix.AF_INET)
				e.bytes(unix.AF_INET6)
			}
		}
		groupRequest4(packet)
		groupRequest(unix.IPPROTO_IP, packet)
		groupRequest(unix.IPPROTO_IPV6, packet)
		sourceRequest4(packet)
		sourceList4(packet, 64)
		for _, level := range []int32{unix.IPPROTO_IP, unix.IPPROTO_IPV6} {
			sourceRequest(level, packet)
			sourceListOf(level, packet, 64)
		}
		s := new(Socket)
		s.icmpFilter.Store(1)
		s.refusesICMP(packet)
	})
}

// TestReceiveErrorsAtOnce: when IP_RECVERR has been set and taken away by several at once, the stack knows of what was
// set last.
func TestReceiveErrorsAtOnce(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	gone := n.bound(t)
	nobody := gone.Name()
	gone.Release()
	for range 200 {
		s := n.bound(t)
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() { s.setReceiveErrors(false, i%2 == 0) })
		}
		all.Wait()
		s.setReceiveErrors(false, false)
		s.Send(root, []byte("x"), &socket.Message{Addr: nobody})
		if s.errors.any() {
			t.Error("an error has been queued that nobody wants")
		}
		s.Release()
	}
}

// TestErrorsAreExceptions: who waits for exceptions alone, as select(2) does, is told of all that SO_SELECT_ERR_QUEUE
// makes one.
func TestErrorsAreExceptions(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	to := n.bound(t)
	defer to.Release()
	for what, happen := range map[string]func(s *Socket){
		"an error": func(s *Socket) { s.ep.Load().NotifyEvent(stackwaiter.EventErr) },
		"a time": func(s *Socket) {
			s.SetOption(root, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, int32Bytes(unix.SOF_TIMESTAMPING_TX_SOFTWARE))
			s.Send(root, []byte("x"), &socket.Message{Addr: to.Name()})
		},
		"a copy": func(s *Socket) {
			s.SetOption(root, unix.SOL_SOCKET, unix.SO_ZEROCOPY, int32Bytes(1))
			s.Copied()
		},
	} {
		s, told := n.bound(t), waiter.NewChannel()
		e := &waiter.Entry{Mask: waiter.Pri, Listener: told}
		s.Register(e)
		happen(s)
		select {
		case <-told:
		default:
			t.Errorf("%s wakes nobody", what)
		}
		s.Unregister(e)
		s.Release()
	}
}
