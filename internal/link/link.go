package link

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Link is a stack.LinkEndpoint over a socket of the host's. A link whose other end
// has gone stops running, and drops what is sent.
type Link struct {
	config Config
	file   *os.File
	raw    syscall.RawConn
	packet bool // an AF_PACKET socket, and no pair
	// frames tells that some have come, room that the socket takes some again.
	frames, room *ready
	capture      *Capture
	guard        *guard

	running atomic.Bool
	telling atomic.Bool // a packet that was too big is being told of
	mtu     atomic.Uint32
	address atomic.Value // tcpip.LinkAddress
	counters

	sender sender
	// received is when the next frames may be taken in.
	received Pace

	// mu protects what follows.
	mu         sync.Mutex
	dispatcher stack.NetworkDispatcher
	reading    bool
	closed     bool
	onClose    func()
	wanted     func() // see Expect

	closing chan struct{} // closed by Close
	ended   chan struct{} // closed when the reader has ended
}

var (
	_ stack.LinkEndpoint = (*Link)(nil)
	_ stack.GSOEndpoint  = (*Link)(nil)
)

type counters struct {
	receivedFrames, receivedBytes, receivedDropped atomic.Uint64
	sentFrames, sentBytes, sentDropped             atomic.Uint64
	spoofed                                        atomic.Uint64
	damagedIP, damagedTCP, damagedUDP              atomic.Uint64
}

// New returns a link. Frames are read once it is attached to a stack (or see Expect). If it fails,
// the descriptors are closed.
func New(c Config) (*Link, error) {
	// Go's poller leaves files alone that may block. Calls say that they must not.
	if err := unix.SetNonblock(c.FD, false); err != nil {
		return nil, fmt.Errorf("the link %s: %w", c.Name, err)
	}
	l := &Link{config: c, file: os.NewFile(uintptr(c.FD), "link "+c.Name), guard: newGuard(&c), closing: make(chan struct{}), ended: make(chan struct{})}
	if c.Capture != 0 {
		l.capture = NewCapture(os.NewFile(uintptr(c.Capture), "capture"), c.Name, c.Log)
	}
	fail := func(err error) (*Link, error) {
		l.closeFiles()
		return nil, fmt.Errorf("the link %s: %w", c.Name, err)
	}
	if len(c.Address) != header.EthernetAddressSize {
		return fail(fmt.Errorf("an Ethernet address has %d bytes, not %d", header.EthernetAddressSize, len(c.Address)))
	}
	sa, err := unix.Getsockname(c.FD)
	if err != nil {
		return fail(fmt.Errorf("looking at its socket: %w", err))
	}
	_, l.packet = sa.(*unix.SockaddrLinklayer)
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return fail(err)
	}
	if err := l.newReady(); err != nil {
		return fail(err)
	}
	l.mtu.Store(c.MTU)
	l.address.Store(c.Address)
	l.running.Store(true)
	l.sender.pace.Rate, l.received.Rate = c.Rate, c.Rate
	l.sender.lower.L, l.sender.stuck = &l.sender.mu, c.Rate != 0
	l.sender.toSend, l.sender.toDrain, l.sender.acks.expired = l.sendNow, l.drainMeanwhile, l.sendExpired
	l.sender.aside.toSend, l.sender.aside.toTransmit = l.sendAside, l.transmitAside
	return l, nil
}

// newReady makes what waits until the socket is ready.
func (l *Link) newReady() (err error) {
	if l.frames, err = newReady(l.config.Ready[0], unix.EPOLLIN); err != nil {
		return err
	}
	if l.room, err = newReady(l.config.Ready[1], unix.EPOLLOUT); err != nil {
		return err
	}
	return l.frames.watch(uintptr(l.config.FD))
}

// Running reports whether the other end is there and takes frames (IFF_RUNNING).
func (l *Link) Running() bool { return l.running.Load() }

// Statistics returns what has been counted.
func (l *Link) Statistics() Statistics {
	l.sendHeld()
	return Statistics{
		ReceivedFrames: l.receivedFrames.Load(), ReceivedBytes: l.receivedBytes.Load(), ReceivedDropped: l.receivedDropped.Load(),
		SentFrames: l.sentFrames.Load(), SentBytes: l.sentBytes.Load(), SentDropped: l.sentDropped.Load(),
		Spoofed:   l.spoofed.Load(),
		DamagedIP: l.damagedIP.Load(), DamagedTCP: l.damagedTCP.Load(), DamagedUDP: l.damagedUDP.Load(),
	}
}

// setRunning notes whether the other end is there.
func (l *Link) setRunning(is bool) {
	if l.running.Load() != is && l.running.Swap(is) != is && l.config.Changed != nil {
		go l.config.Changed()
	}
}

// Attach implements stack.LinkEndpoint. Frames that come while a link is detached are
// dropped.
func (l *Link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatcher = d
	if d != nil {
		l.startReading()
	}
}

// Expect has a link wait for frames before it is attached to a stack: at the first one wanted is
// called, which attaches it. It takes ppoll(2), as Look does.
func (l *Link) Expect(wanted func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = wanted
	l.startReading()
}

// startReading starts the reader, once. l.mu is held.
func (l *Link) startReading() {
	if !l.reading && !l.closed {
		l.reading = true
		go l.receive()
	}
}

// IsAttached implements stack.LinkEndpoint.
func (l *Link) IsAttached() bool { return l.attached() != nil }

func (l *Link) attached() stack.NetworkDispatcher {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dispatcher
}

// Wait implements stack.LinkEndpoint: of a link that is closed it waits until
// nothing comes any more.
func (l *Link) Wait() {
	l.mu.Lock()
	wait := l.reading && l.closed
	l.mu.Unlock()
	if wait {
		<-l.ended
	}
}

// SetOnCloseAction implements stack.LinkEndpoint.
func (l *Link) SetOnCloseAction(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onClose = f
}

// Ended is closed when no frame comes any more, and those that have come are handed over.
// A link that can no longer send (Running) may still have some to read.
func (l *Link) Ended() <-chan struct{} { return l.ended }

// Close implements stack.LinkEndpoint: it ends the link.
func (l *Link) Close() {
	l.mu.Lock()
	was, f := l.closed, l.onClose
	l.closed = true
	l.mu.Unlock()
	if was {
		return
	}
	if f != nil {
		f()
	}
	l.running.Store(false)
	close(l.closing)
	l.closeFiles() // and the sender's goroutine finds that
}

func (l *Link) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *Link) closeFiles() {
	l.frames.close()
	l.room.close()
	l.file.Close()
	l.capture.Close()
}

// MTU implements stack.LinkEndpoint.
func (l *Link) MTU() uint32 { return l.mtu.Load() }

// SetMTU implements stack.LinkEndpoint. What the host's interface does not take is dropped.
func (l *Link) SetMTU(mtu uint32) { l.mtu.Store(mtu) }

// MaxHeaderLength implements stack.LinkEndpoint.
func (l *Link) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// LinkAddress implements stack.LinkEndpoint.
func (l *Link) LinkAddress() tcpip.LinkAddress { return l.address.Load().(tcpip.LinkAddress) }

// SetLinkAddress implements stack.LinkEndpoint.
func (l *Link) SetLinkAddress(a tcpip.LinkAddress) {
	if len(a) == header.EthernetAddressSize {
		l.address.Store(a)
	}
}

// Capabilities implements stack.LinkEndpoint. With offload, the reader verifies
// checksums where the other end has not.
func (l *Link) Capabilities() stack.LinkEndpointCapabilities {
	c := stack.CapabilityResolutionRequired
	if l.config.Offload {
		c |= stack.CapabilityRXChecksumOffload
	}
	return c
}

// GSOMaxSize implements stack.GSOEndpoint.
func (l *Link) GSOMaxSize() uint32 { return gsoMax }

// gsoMax leaves room for headers in what an IP packet can be.
const gsoMax = 65535 - header.IPv4MaximumHeaderSize - header.TCPHeaderMaximumSize

// SegmentMax is how many bytes the TCP/IP stack puts into a segment then: it leaves room for
// headers once more.
const SegmentMax = gsoMax - header.TCPTotalHeaderMaximumSize - 1

// SupportedGSO implements stack.GSOEndpoint.
func (l *Link) SupportedGSO() stack.SupportedGSO {
	if l.config.Offload {
		return stack.HostGSOSupported
	}
	return stack.GSONotSupported
}

// ARPHardwareType implements stack.LinkEndpoint.
func (l *Link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// AddHeader implements stack.LinkEndpoint.
func (l *Link) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: pkt.EgressRoute.LocalLinkAddress,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

// ParseHeader implements stack.LinkEndpoint.
func (l *Link) ParseHeader(pkt *stack.PacketBuffer) bool {
	h, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	if ok {
		pkt.NetworkProtocolNumber = header.Ethernet(h).Type()
	}
	return ok
}
