package network

import (
	"encoding/binary"
	"sync"

	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// packetInfoSize is the size of struct tun_pi, which says what a frame is: flags, and its EtherType.
	packetInfoSize = 4
	// packetStripped is TUN_PKT_STRIP: there was no room for all of the frame.
	packetStripped = 1
	// maxTunFrame is what can be written at once: the longest IP packet behind headers of Ethernet and a VLAN.
	maxTunFrame = 65535 + header.EthernetMinimumSize + 4
)

// TunQueue is what an open /dev/net/tun has: the frames that wait to be read, of the device that it
// has been given. The zero value has none.
type TunQueue struct {
	// Wait is told when a frame has come, frames can be written, or the device has gone.
	Wait waiter.Queue

	mu     sync.Mutex
	device *tun
	frames []tunFrame
}

// tunFrame is a frame that waits.
type tunFrame struct {
	protocol uint16
	data     []byte
	// left is what is left to do with it.
	left vnetHeader
}

// charge is what a frame that waits counts as.
func (f *tunFrame) charge() int64 { return int64(len(f.data)) + 512 }

// of is the queue's device, or nil.
func (q *TunQueue) of() *tun {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.device
}

// put has a copy of a frame of a device's wait, among so many at most. What who reads cannot be left to do with it is done.
func (q *TunQueue) put(t *tun, pkt *stack.PacketBuffer, most int) bool {
	b := pkt.ToBuffer()
	f := tunFrame{protocol: uint16(pkt.NetworkProtocolNumber), data: b.Flatten(), left: vnetOf(pkt)}
	b.Release()
	if f.left.within(t.cuts()) {
		return q.add(t, f, most)
	}
	room := true
	err := f.left.apply(f.data, t.headerSize(), func(tcpip.NetworkProtocolNumber, tcpip.Address) bool { return false }, func(piece []byte) {
		room = room && q.add(t, tunFrame{protocol: f.protocol, data: piece}, most)
	})
	return room && err == nil
}

// add has a frame wait.
func (q *TunQueue) add(t *tun, f tunFrame, most int) bool {
	q.mu.Lock()
	if q.device != t || len(q.frames) >= most || !shmem.Buffers.Charge(f.charge()) {
		q.mu.Unlock()
		return false
	}
	q.frames = append(q.frames, f)
	q.mu.Unlock()
	q.Wait.Notify(waiter.Readable)
	return true
}

// empty forgets the frames that wait. q.mu is held.
func (q *TunQueue) empty() {
	for i := range q.frames {
		shmem.Buffers.Uncharge(q.frames[i].charge())
	}
	q.frames = nil
}

// leave is for a device that has gone, or that the file gives up.
func (q *TunQueue) leave() {
	q.mu.Lock()
	q.device = nil
	q.empty()
	q.mu.Unlock()
	q.Wait.Notify(waiter.Err | waiter.Readable | waiter.Writable)
}

// Readiness is what can be done now.
func (q *TunQueue) Readiness() waiter.Mask {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.device == nil {
		return waiter.Err
	}
	var m waiter.Mask
	if len(q.frames) > 0 {
		m |= waiter.Readable
	}
	if q.device.up.Load() {
		m |= waiter.Writable
	}
	return m
}

// Read reads a frame, with the headers that the device was opened for. What does not fit is lost, and so is
// the frame if its headers don't fit (EINVAL). EBADFD without a device, EAGAIN without a frame.
func (q *TunQueue) Read(p []byte) (int, error) {
	q.mu.Lock()
	t := q.device
	switch {
	case t == nil:
		q.mu.Unlock()
		return 0, unix.EBADFD
	case len(p) == 0:
		q.mu.Unlock()
		return 0, nil
	case len(q.frames) == 0:
		q.mu.Unlock()
		return 0, unix.EAGAIN
	}
	f := q.frames[0]
	q.frames[0] = tunFrame{}
	if q.frames = q.frames[1:]; len(q.frames) == 0 {
		q.frames = nil
	}
	q.mu.Unlock()
	shmem.Buffers.Uncharge(f.charge())
	flags, vnetSize := t.framing()
	room := p
	total := len(f.data)
	if flags&unix.IFF_VNET_HDR != 0 {
		total += vnetSize
	}
	if flags&unix.IFF_NO_PI == 0 {
		if len(room) < packetInfoSize {
			return 0, unix.EINVAL
		}
		total += packetInfoSize
		info := uint16(0)
		if len(p) < total {
			info = packetStripped
		}
		binary.LittleEndian.PutUint16(room, info)
		binary.BigEndian.PutUint16(room[2:], f.protocol)
		room = room[packetInfoSize:]
	}
	if flags&unix.IFF_VNET_HDR != 0 {
		if len(room) < vnetSize {
			return 0, unix.EINVAL
		}
		clear(room[:vnetSize])
		f.left.put(room)
		room = room[vnetSize:]
	}
	copy(room, f.data)
	t.stats.sent(len(f.data))
	return min(total, len(p)), nil
}

// framing is what comes before each frame: flags of TUNSETIFF, and the length of a virtio-net header.
func (t *tun) framing() (flags uint16, vnetSize int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.info.Flags, t.vnetSize
}

// Write has a frame come in, which stands behind the headers that the device was opened for. EBADFD without a device, EIO if
// it is down, EINVAL for what is no frame, ENOBUFS for one that is too long.
func (q *TunQueue) Write(b []byte) error {
	t := q.of()
	if t == nil {
		return unix.EBADFD
	}
	protocol := tcpip.NetworkProtocolNumber(0)
	flags, vnetSize := t.framing()
	if flags&unix.IFF_NO_PI == 0 {
		if len(b) < packetInfoSize {
			return unix.EINVAL
		}
		protocol = tcpip.NetworkProtocolNumber(binary.BigEndian.Uint16(b[2:]))
		b = b[packetInfoSize:]
	}
	var v vnetHeader
	if flags&unix.IFF_VNET_HDR != 0 {
		if len(b) < vnetSize {
			return unix.EINVAL
		}
		v = parseVnet(b)
		if b = b[vnetSize:]; v.headerLen() > len(b) {
			return unix.EINVAL
		}
	}
	if len(b) < t.headerSize() {
		return unix.EINVAL
	}
	err := t.write(protocol, flags, v, b)
	if err != nil {
		t.stats.rxDropped.Add(1)
	}
	return err
}

// write has a frame come in of which there are the headers that there must be.
func (t *tun) write(protocol tcpip.NetworkProtocolNumber, flags uint16, v vnetHeader, b []byte) error {
	if !t.tap && flags&unix.IFF_NO_PI != 0 {
		switch {
		case len(b) > 0 && b[0]>>4 == header.IPv4Version:
			protocol = header.IPv4ProtocolNumber
		case len(b) > 0 && b[0]>>4 == header.IPv6Version:
			protocol = header.IPv6ProtocolNumber
		default:
			return unix.EINVAL
		}
	}
	switch {
	case len(b) > maxTunFrame:
		return unix.ENOBUFS
	case !t.up.Load():
		return unix.EIO
	case v == vnetHeader{}:
		t.inject(protocol, b)
		return nil
	}
	return v.apply(b, t.headerSize(), t.takesWhole, func(frame []byte) { t.inject(protocol, frame) })
}

// takesWhole reports whether a packet to an address stays here, so that it need not be cut.
func (t *tun) takesWhole(protocol tcpip.NetworkProtocolNumber, to tcpip.Address) bool {
	if t.master.Load() != nil {
		return false
	}
	home, _ := t.place()
	return home != nil && home.Stack().CheckLocalAddress(0, protocol, to) != 0
}
