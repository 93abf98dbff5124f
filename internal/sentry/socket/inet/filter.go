package inet

import (
	"math"

	"coffer/internal/bpf"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// setFilter sets an option of filters; false if it is none.
func (s *Socket) setFilter(c vfs.Caller, name int32, value []byte) (bool, error) {
	ok, err := s.SetFilterOption(c, name, value)
	if ok && err == nil && s.stream() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.examineSegments(s.ep.Load())
	}
	return ok, err
}

// sifts reports whether the socket does not want all datagrams that come.
func (s *Socket) sifts() bool {
	return s.FilterProgram() != nil || s.icmpFilter.Load() != 0 || s.judgesGroups()
}

// sift takes datagrams off the queue that the socket does not want. It
// returns how many bytes of the next one it lets through. EAGAIN if there is none.
// s.recvMu is held.
//
// Linux looks at datagrams as they come: here those that came before the filter was
// attached pass through it too.
func (s *Socket) sift(e *endpoint) (int, error) {
	front := 0
	if s.protocol == unix.IPPROTO_UDP && !s.isRaw() {
		front = header.UDPMinimumSize
	}
	for {
		whole := make([]byte, front+s.queuedInStack(e))
		s.sink = whole[front:]
		res, terr := e.Read(&s.sink, tcpip.ReadOptions{Peek: true, NeedRemoteAddr: true})
		s.sink = nil
		if _, ok := terr.(*tcpip.ErrBadBuffer); terr != nil && !ok {
			return 0, errno(terr)
		}
		if front > 0 {
			local, _ := e.GetLocalAddress()
			header.UDP(whole).Encode(&header.UDPFields{SrcPort: res.RemoteAddr.Port, DstPort: local.Port, Length: uint16(len(whole))})
		}
		n := uint32(math.MaxUint32)
		if f := s.FilterProgram(); f != nil {
			n = f.Run(&bpf.Packet{Data: whole, Protocol: etherType(res.RemoteAddr)})
		}
		if n > 0 && !s.refusesICMP(whole) && !s.refusesGroup(&res.ControlMessages, res.RemoteAddr.Addr) {
			return max(int(min(n, uint32(len(whole))))-front, 0), nil
		}
		e.Read(&s.sink, tcpip.ReadOptions{})
	}
}

// etherType is the ETH_P_* of what an address belongs to.
func etherType(a tcpip.FullAddress) uint16 {
	if a.Addr.Len() == header.IPv4AddressSize {
		return unix.ETH_P_IP
	}
	return unix.ETH_P_IPV6
}

// wanted reports whether there is a datagram that the socket wants.
func (s *Socket) wanted(e *endpoint) bool {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	_, err := s.sift(e)
	return err == nil
}
