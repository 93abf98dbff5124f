package network

import (
	"slices"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// acknowledgement is a segment with SACK blocks, given as pairs of ends.
func acknowledgement(ack uint32, data string, ends ...uint32) *stack.PacketBuffer {
	options := make([]byte, header.TCPOptionsMaximumSize)
	n := header.EncodeNOP(options)
	n += header.EncodeNOP(options[n:])
	n += header.EncodeTSOption(1, 2, options[n:])
	var blocks []header.SACKBlock
	for pair := range slices.Chunk(ends, 2) {
		blocks = append(blocks, header.SACKBlock{Start: seqnum.Value(pair[0]), End: seqnum.Value(pair[1])})
	}
	n += header.EncodeSACKBlocks(blocks, options[n:])
	n += header.AddTCPOptionPadding(options, n)
	h := make(header.TCP, header.TCPMinimumSize+n)
	h.Encode(&header.TCPFields{AckNum: ack, DataOffset: uint8(len(h)), Flags: header.TCPFlagAck})
	copy(h[header.TCPMinimumSize:], options[:n])
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(append(h, data...))})
	pkt.TransportHeader().Consume(len(h))
	return pkt
}

// sieved is a sieve, of a flow whose stack is busy for as long as the test wants, and the names of what has been
// handed over.
type sieved struct {
	*sieve
	t    *testing.T
	got  []string
	says map[*stack.PacketBuffer]string
}

func newSieved(t *testing.T) *sieved {
	s := &sieved{t: t, says: map[*stack.PacketBuffer]string{}}
	s.sieve = &sieve{toil: time.Second, hand: func(_ stack.TransportEndpoint, _ stack.TransportEndpointID, pkt *stack.PacketBuffer) {
		s.got = append(s.got, s.says[pkt])
	}}
	return s
}

// comes has a segment come.
func (s *sieved) comes(name string, pkt *stack.PacketBuffer) {
	s.t.Helper()
	s.says[pkt] = name
	s.take(nil, stack.TransportEndpointID{}, pkt)
	pkt.DecRef()
}

// rest has the stack be done.
func (s *sieved) rest() {
	s.mu.Lock()
	f := s.flows[sieveKey{}]
	f.due = time.Time{}
	s.mu.Unlock()
	s.expire(sieveKey{}, f)
}

func (s *sieved) want(names ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.got, names) {
		s.t.Errorf("handed over: %q, want %q", s.got, names)
	}
	s.got = nil
}

const far = 10 << 20

// TestSieve has acknowledgements come faster than the stack takes them.
func TestSieve(t *testing.T) {
	s := newSieved(t)
	s.comes("first", acknowledgement(0, "", far, far+10))
	s.want("first")
	// The block grows, and a second one begins: each tells all that was told before.
	s.comes("grown", acknowledgement(0, "", far, far+20))
	s.comes("second", acknowledgement(0, "", far+30, far+40, far, far+20))
	s.want()
	s.rest()
	s.want("second")
	// Three more blocks leave no room for the ones before, which have been told already.
	s.comes("third", acknowledgement(0, "", far+50, far+60, far+30, far+40))
	s.comes("fourth", acknowledgement(0, "", far+70, far+80, far+50, far+60))
	s.want()
	// That one says nothing of two blocks that nobody was told of.
	s.comes("fifth", acknowledgement(0, "", far+90, far+100))
	s.want("fourth")
	// More is acknowledged than the block that it leaves out.
	s.comes("acknowledged", acknowledgement(far+100, "", 2*far, 2*far+10))
	s.rest()
	s.want("acknowledged")
	// What acknowledges less was overtaken.
	s.comes("later", acknowledgement(far+200, "", 2*far, 2*far+20))
	s.comes("overtaken", acknowledgement(far+100, "", 2*far, 2*far+20))
	s.want("later")
	s.rest()
	s.want("overtaken")
	// Nothing has come since.
	s.rest()
	if n := s.count.Load(); n != 0 || len(s.flows) != 0 {
		t.Errorf("there are still %d and %d flows", n, len(s.flows))
	}
}

// TestSieveOrder has other segments come in between, which overtake nothing and wait for nothing.
func TestSieveOrder(t *testing.T) {
	s := newSieved(t)
	for name, pkt := range map[string]*stack.PacketBuffer{
		"data": acknowledgement(0, "x", far, far+10), "no block": acknowledgement(0, ""),
		"near": acknowledgement(0, "", 10, 20), "from before": acknowledgement(far, "", 10, 20),
	} {
		s.comes("first", acknowledgement(0, "", far, far+10))
		s.comes("waits", acknowledgement(0, "", far, far+20))
		s.want("first")
		s.comes(name, pkt)
		s.want("waits", name)
		s.rest()
	}
}

// TestSieveNear has everything handed over at once where little is under way.
func TestSieveNear(t *testing.T) {
	s := newSieved(t)
	s.comes("one", acknowledgement(0, "", 1000, 2000))
	s.comes("two", acknowledgement(0, "", 1000, 3000))
	s.comes("three", acknowledgement(1000, ""))
	s.want("one", "two", "three")
}

// TestSieveListener has acknowledgements of two peers come to one endpoint, as they do to one that listens.
func TestSieveListener(t *testing.T) {
	var got []uint16
	s := &sieve{toil: time.Second, hand: func(_ stack.TransportEndpoint, id stack.TransportEndpointID, _ *stack.PacketBuffer) {
		got = append(got, id.RemotePort)
	}}
	for _, port := range []uint16{1, 2} {
		pkt := acknowledgement(0, "", far, far+10)
		s.take(nil, stack.TransportEndpointID{RemotePort: port}, pkt)
		pkt.DecRef()
	}
	if want := []uint16{1, 2}; !slices.Equal(got, want) {
		t.Errorf("handed over as if they were of ports %v, want %v", got, want)
	}
	for _, f := range s.flows {
		f.timer.Stop()
	}
}
