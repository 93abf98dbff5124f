package inet

import (
	"encoding/binary"
	"slices"
	"sync/atomic"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// What of a connection's first segment a listener keeps (TCP_SAVE_SYN).
const (
	saveFromIP   = 1
	saveFromLink = 2
)

// savedSYN is what TCP_SAVE_SYN says, and of an accepted connection the first segment.
type savedSYN struct {
	saveSYN atomic.Int32
	syn     atomic.Pointer[[]byte]
}

func applySaveSYN(s *Socket, _ tcpip.Endpoint, v int32) { s.saveSYN.Store(v) }

// setSaveSYN is TCP_SAVE_SYN.
func (s *Socket) setSaveSYN(c vfs.Caller, value []byte) error {
	v, ok := number32(unix.IPPROTO_TCP, value)
	if !ok {
		return unix.EINVAL
	}
	o := s.row(unix.IPPROTO_TCP, unix.TCP_SAVE_SYN)
	if _, err := o.check(s, c, v); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setValue(o, v)
	e := s.ep.Load()
	applySaveSYN(s, e, v)
	s.examineSegments(e)
	return nil
}

// headersOf are the headers of a segment, as far as TCP_SAVE_SYN wants them.
func headersOf(pkt *stack.PacketBuffer, want int32) []byte {
	var link []byte
	if want == saveFromLink {
		if link = pkt.LinkHeader().Slice(); len(link) == 0 {
			// lo has no header of its own: Linux shows one of zeros.
			link = binary.BigEndian.AppendUint16(make([]byte, 12, 14), uint16(pkt.NetworkProtocolNumber))
		}
	}
	return slices.Concat(link, pkt.NetworkHeader().Slice(), pkt.TransportHeader().Slice())
}

// SavedSYN is TCP_SAVED_SYN, or nothing. It can be read until it is forgotten.
func (s *Socket) SavedSYN() []byte {
	if p := s.syn.Load(); p != nil {
		return *p
	}
	return nil
}

// ForgetSYN forgets it.
func (s *Socket) ForgetSYN() { s.syn.Store(nil) }
