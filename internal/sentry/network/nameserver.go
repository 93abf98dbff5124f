package network

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/ports"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Nameserver is one that an engine runs inside of the namespace, at an address of its
// loopback interface (Docker's at 127.0.0.11): there the sentry has the interfaces, and
// its programs could not reach what listens on the host's lo.
type Nameserver struct {
	Address netip.AddrPort
	// FD is a UDP socket that is connected to it.
	FD int
}

const (
	// queryMin is a DNS message's header (RFC 1035, section 4.1.1), queryMax more than
	// programs send over UDP, answerMax the largest datagram.
	queryMin, queryMax, answerMax = 12, 4 << 10, 64 << 10
	// queriesMax is how many may be unanswered: the oldest is forgotten then.
	queriesMax = 1024
)

// relay takes queries out of the stack, and brings answers back. It is an endpoint of
// the stack's without a reservation of its port: programs may listen on all addresses.
type relay struct {
	stack  *stack.Stack
	server netip.AddrPort
	file   *os.File
	once   sync.Once

	mu   sync.Mutex
	last uint16
	// asked are the queries by the number that the server knows them by, modulo
	// queriesMax.
	asked [queriesMax]query
}

// query is who asked, and what its own numbers are. A zero port is none.
type query struct {
	id, number uint16
	from       tcpip.Address
	port       uint16
}

// serveNames has a started stack answer at the name server's address. n.mu is held.
func (n *Namespace) serveNames() {
	c := n.config.Nameserver
	if c == nil {
		return
	}
	r := &relay{stack: n.stack, server: c.Address, file: os.NewFile(uintptr(c.FD), "name server")}
	id := stack.TransportEndpointID{LocalAddress: toStack(c.Address.Addr()), LocalPort: c.Address.Port()}
	must(n.stack.RegisterTransportEndpoint([]tcpip.NetworkProtocolNumber{header.IPv4ProtocolNumber}, header.UDPProtocolNumber, id, r, ports.Flags{}, 0))
}

// HandlePacket implements stack.TransportEndpoint. What the server's socket does not take is
// lost, as datagrams are.
func (r *relay) HandlePacket(id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	if size := pkt.Data().Size(); size < queryMin || size > queryMax || id.RemotePort == 0 {
		return
	}
	message := pkt.Data().AsRange().ToSlice()
	r.mu.Lock()
	r.last++
	number := r.last
	r.asked[number%queriesMax] = query{id: binary.BigEndian.Uint16(message), number: number, from: id.RemoteAddress, port: id.RemotePort}
	r.mu.Unlock()
	binary.BigEndian.PutUint16(message, number)
	r.once.Do(func() { go r.answer() })
	// A write of the file's would wait while the server takes nothing, and with it all that
	// the sandbox sends.
	if raw, err := r.file.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Write(int(fd), message) })
	}
}

// HandleError, Abort and Wait implement stack.TransportEndpoint.
func (r *relay) HandleError(stack.TransportError, *stack.PacketBuffer) {}
func (r *relay) Abort()                                                { r.file.Close() }
func (r *relay) Wait()                                                 {}

// answer brings answers back until the stack ends.
func (r *relay) answer() {
	b := make([]byte, answerMax)
	for {
		n, err := r.file.Read(b)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			time.Sleep(time.Millisecond) // the server is away, which it may be for a while
		case n >= queryMin:
			r.deliver(b[:n])
		}
	}
}

// deliver sends an answer to who has asked.
func (r *relay) deliver(message []byte) {
	number := binary.BigEndian.Uint16(message)
	r.mu.Lock()
	q := r.asked[number%queriesMax]
	if q.port == 0 || q.number != number {
		r.mu.Unlock()
		return
	}
	r.asked[number%queriesMax] = query{}
	r.mu.Unlock()
	from := toStack(r.server.Addr())
	route, err := r.stack.FindRoute(0, from, q.from, header.IPv4ProtocolNumber, false)
	if err != nil {
		return
	}
	defer route.Release()
	length := header.UDPMinimumSize + len(message)
	if length > int(route.MTU()) {
		return // beyond lo's 65535 bytes with the headers
	}
	b := make(header.UDP, length)
	copy(b.Payload(), message)
	binary.BigEndian.PutUint16(b.Payload(), q.id)
	b.Encode(&header.UDPFields{SrcPort: r.server.Port(), DstPort: q.port, Length: uint16(length)})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, from, q.from, uint16(length))
	b.SetChecksum(^b.CalculateChecksum(checksum.Checksum(b.Payload(), sum)))
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: int(route.MaxHeaderLength()), Payload: buffer.MakeWithData(b)})
	defer pkt.DecRef()
	route.WritePacket(stack.NetworkHeaderParams{Protocol: header.UDPProtocolNumber, TTL: route.DefaultTTL()}, pkt)
}
