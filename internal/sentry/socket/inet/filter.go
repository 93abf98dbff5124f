package inet

import (
	"encoding/binary"

	"coffer/internal/bpf"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// attach is SO_ATTACH_FILTER. Datagrams only: the stack's streams have no place for a
// filter.
func (s *Socket) attach(c vfs.Caller, value []byte) error {
	if s.filterLocked.Load() {
		return unix.EPERM
	}
	f, err := socket.CopyInFilter(c, value)
	if err != nil {
		return err
	}
	if s.stream() {
		return unix.EOPNOTSUPP
	}
	s.filter.Store(f)
	return nil
}

// detach is SO_DETACH_FILTER.
func (s *Socket) detach() error {
	if s.filterLocked.Load() {
		return unix.EPERM
	}
	if s.filter.Swap(nil) == nil {
		return unix.ENOENT
	}
	return nil
}

// filterOption is SO_GET_FILTER: the instructions.
func (s *Socket) filterOption() ([]byte, error) {
	f := s.filter.Load()
	if f == nil {
		return nil, nil
	}
	var b []byte
	for _, i := range f.Instructions() {
		b = binary.LittleEndian.AppendUint16(b, i.Code)
		b = append(b, i.Jt, i.Jf)
		b = binary.LittleEndian.AppendUint32(b, i.K)
	}
	return b, nil
}

// sift takes datagrams off the queue that the socket's filter does not want. It
// returns how many bytes of the next one it lets through. EAGAIN if there is none.
// s.recvMu is held.
//
// Linux looks at datagrams as they come: here those that came before the filter was
// attached pass through it too.
func (s *Socket) sift(e *endpoint, f *bpf.SocketFilter) (int, error) {
	for {
		whole := make([]byte, header.UDPMinimumSize+s.queued(e))
		s.sink = whole[header.UDPMinimumSize:]
		res, terr := e.Read(&s.sink, tcpip.ReadOptions{Peek: true, NeedRemoteAddr: true})
		s.sink = nil
		if _, ok := terr.(*tcpip.ErrBadBuffer); terr != nil && !ok {
			return 0, errno(terr)
		}
		local, _ := e.GetLocalAddress()
		h := header.UDP(whole)
		h.Encode(&header.UDPFields{SrcPort: res.RemoteAddr.Port, DstPort: local.Port, Length: uint16(len(whole))})
		if n := f.Run(&bpf.Packet{Data: whole, Protocol: etherType(res.RemoteAddr)}); n > 0 {
			return max(int(min(n, uint32(len(whole))))-header.UDPMinimumSize, 0), nil
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

// wanted reports whether there is a datagram that the filter lets through.
func (s *Socket) wanted(e *endpoint, f *bpf.SocketFilter) bool {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	_, err := s.sift(e, f)
	return err == nil
}
