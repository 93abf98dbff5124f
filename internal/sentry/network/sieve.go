package network

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// At each acknowledgement with SACK blocks the stack looks at every segment under way several times. Where thousands
// are, over a long path after the slow start has lost some, that takes a millisecond, in which a dozen more come. They
// would pile up until the retransmission timeout, or until the stack has caught up and sends a window at once, which
// loses again. So those are left out that a later one makes superfluous, as some routers do with acknowledgements
// that wait in a queue.

const (
	// sieveFrom is the least distance, in bytes, between what is acknowledged and the end of what SACK blocks
	// tell, from which acknowledgements are thinned out.
	sieveFrom = 64 << 10
	// The stack needs sieveToil, or somewhat less, for each sieveBytes of that distance.
	sieveToil  = time.Microsecond
	sieveBytes = 1 << 10
	// sieveMost bounds what a peer can have the stack wait for that tells of what was never sent.
	sieveMost = 16 << 20
)

// sieve thins out acknowledgements that come with SACK blocks, and has the stack know duplicates among them.
type sieve struct {
	hand Handler
	toil time.Duration // sieveToil
	// count is how many flows there are.
	count atomic.Int32
	mu    sync.Mutex
	flows map[sieveKey]*sievedFlow
	// repeaters are of all flows.
	repeaters repeaters
}

// sieveKey is a connection: who listens gets segments of many.
type sieveKey struct {
	to stack.TransportEndpoint
	id stack.TransportEndpointID
}

// sievedFlow is a connection whose acknowledgements are thinned out.
type sievedFlow struct {
	pause time.Duration // how long the last one that was handed over keeps the stack busy
	due   time.Time     // when that is over
	given []header.SACKBlock
	timer *time.Timer
	// held is what waits, and says what it tells; nil is none.
	held *stack.PacketBuffer
	says selective
}

// selective is what an acknowledgement with SACK blocks tells.
type selective struct {
	ack    seqnum.Value
	blocks []header.SACKBlock
}

// take is handed a segment.
func (s *sieve) take(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	a, sacks := selectiveOf(pkt)
	if !sacks && s.count.Load() == 0 {
		s.hand(to, id, pkt)
		return
	}
	ok := sacks && a.span() >= sieveFrom
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sieveKey{to, id}
	f := s.flows[key]
	switch {
	case f == nil && !ok:
		s.pass(key, pkt, a)
		return
	case f == nil:
		if s.flows == nil {
			s.flows = map[sieveKey]*sievedFlow{}
		}
		f = &sievedFlow{}
		s.flows[key] = f
		s.count.Add(1)
		f.hold(pkt, a)
		s.give(key, f)
		f.timer = time.AfterFunc(f.pause, func() { s.expire(key, f) })
		return
	case f.held != nil && !(ok && a.tells(&f.says, f.given)):
		s.give(key, f)
	}
	if !ok {
		s.pass(key, pkt, a)
		return
	}
	if f.hold(pkt, a); !time.Now().Before(f.due) {
		s.give(key, f)
	}
}

// expire hands over what waits, and forgets a flow of which nothing does. It is the flow's timer.
func (s *sieve) expire(key sieveKey, f *sievedFlow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := time.Until(f.due)
	if left <= 0 {
		if f.held == nil {
			delete(s.flows, key)
			s.count.Add(-1)
			return
		}
		s.give(key, f)
		left = f.pause
	}
	f.timer.Reset(left)
}

// give hands over what waits. s.mu is held.
func (s *sieve) give(key sieveKey, f *sievedFlow) {
	f.pause = time.Duration(min(f.says.span(), sieveMost)/sieveBytes) * s.toil
	f.due = time.Now().Add(f.pause)
	f.given = f.says.blocks
	s.pass(key, f.held, f.says)
	f.held.DecRef()
	f.held = nil
}

// pass hands a segment over. If a has SACK blocks, that is all that it tells. s.mu is held.
func (s *sieve) pass(key sieveKey, pkt *stack.PacketBuffer, a selective) {
	if len(a.blocks) > 0 {
		pkt = s.repeaters.steady(key.id, pkt, a)
		defer pkt.DecRef()
	}
	s.hand(key.to, key.id, pkt)
}

// hold has an acknowledgement wait, in the place of one that does.
func (f *sievedFlow) hold(pkt *stack.PacketBuffer, a selective) {
	if f.held != nil {
		f.held.DecRef()
	}
	f.held, f.says = pkt.IncRef(), a
}

// timestampsAlone is how long a header is that has timestamps and padding for its options.
const timestampsAlone = header.TCPMinimumSize + 2 + header.TCPOptionTSLength

// selectiveOf is what a segment tells, if it is an acknowledgement alone, with SACK blocks.
func selectiveOf(pkt *stack.PacketBuffer) (a selective, ok bool) {
	h := header.TCP(pkt.TransportHeader().Slice())
	// Most are looked at no further.
	if pkt.Data().Size() != 0 || len(h) < timestampsAlone || h.Flags()&^header.TCPFlagPsh != header.TCPFlagAck ||
		len(h) == timestampsAlone && h[header.TCPMinimumSize+2] == header.TCPOptionTS {
		return a, false
	}
	options := header.ParseTCPOptions(h[header.TCPMinimumSize:])
	a = selective{seqnum.Value(h.AckNumber()), options.SACKBlocks}
	return a, len(a.blocks) > 0
}

// span is how far what is told reaches, in bytes.
func (a *selective) span() seqnum.Size {
	var most seqnum.Size
	for _, b := range a.blocks {
		if a.ack.LessThan(b.End) {
			most = max(most, a.ack.Size(b.End))
		}
	}
	return most
}

// tells reports whether a tells all that another one from before did, together with blocks that are known.
func (a *selective) tells(before *selective, known []header.SACKBlock) bool {
	if a.ack.LessThan(before.ack) {
		return false
	}
	for _, b := range before.blocks {
		within := func(c header.SACKBlock) bool { return c.Contains(b) }
		if !b.End.LessThanEq(a.ack) && !slices.ContainsFunc(a.blocks, within) && !slices.ContainsFunc(known, within) {
			return false
		}
	}
	return true
}
