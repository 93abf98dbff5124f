package network

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// openTun opens a device with addresses, which is up.
func openTun(t testing.TB, n *Namespace, name string, flags uint16, addresses ...string) *TunQueue {
	t.Helper()
	q := new(TunQueue)
	if _, err := n.OpenTun(q, TunOpening{Name: name, Flags: flags, Credentials: auth.New(0, 0, nil), Owner: auth.Initial}); err != nil {
		t.Fatal(err)
	}
	l, _ := n.LinkByName(name)
	for _, a := range addresses {
		if err := n.AddAddress(AddressInfo{Link: l.Index, Prefix: netip.MustParsePrefix(a)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.SetUp(l.Index, true); err != nil {
		t.Fatal(err)
	}
	return q
}

// segment is a packet of TCP or UDP with a complete checksum.
func segment(v6 bool, protocol tcpip.TransportProtocolNumber, headers, size int) []byte {
	ip := header.IPv4MinimumSize
	if v6 {
		ip = header.IPv6MinimumSize
	}
	b := make([]byte, ip+headers+size)
	for i := range b[ip+headers:] {
		b[ip+headers+i] = byte(i * 7)
	}
	if v6 {
		h := header.IPv6(b)
		h.Encode(&header.IPv6Fields{
			PayloadLength: uint16(headers + size), TransportProtocol: protocol, HopLimit: 9,
			SrcAddr: toStack(netip.MustParseAddr("fd00::2")), DstAddr: toStack(netip.MustParseAddr("fd00::1")),
		})
	} else {
		h := header.IPv4(b)
		h.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b)), ID: 65535, TTL: 9, Protocol: uint8(protocol),
			SrcAddr: toStack(netip.MustParseAddr("10.9.0.2")), DstAddr: toStack(netip.MustParseAddr("10.9.0.1")),
		})
		h.SetChecksum(^h.CalculateChecksum())
	}
	if protocol == header.TCPProtocolNumber {
		t := header.TCP(b[ip:])
		t.Encode(&header.TCPFields{
			SrcPort: 5, DstPort: 7, SeqNum: 1<<32 - 10, AckNum: 3, DataOffset: uint8(headers), WindowSize: 9,
			Flags: header.TCPFlagAck | header.TCPFlagPsh | header.TCPFlagFin | header.TCPFlagCwr,
		})
	} else {
		header.UDP(b[ip:]).Encode(&header.UDPFields{SrcPort: 5, DstPort: 7, Length: uint16(headers + size)})
	}
	return b
}

// sound reports whether a packet's lengths and checksums are right.
func sound(p *ipPacket) bool {
	protocol := p.transport
	from, to := p.addresses()[:len(p.addresses())/2], p.addresses()[len(p.addresses())/2:]
	sum := header.PseudoHeaderChecksum(protocol, tcpip.AddrFromSlice(from), tcpip.AddrFromSlice(to), uint16(len(p.payload())))
	if checksum.Checksum(p.payload(), sum) != 0xffff {
		return false
	}
	if protocol == header.UDPProtocolNumber && int(header.UDP(p.payload()).Length()) != len(p.payload()) {
		return false
	}
	return p.v6 || header.IPv4(p.packet).IsChecksumValid()
}

func TestTunCut(t *testing.T) {
	const size = 100
	link := []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00")
	for _, v6 := range []bool{false, true} {
		for _, c := range []struct {
			protocol tcpip.TransportProtocolNumber
			headers  int
			kind     uint8
		}{
			{header.TCPProtocolNumber, header.TCPMinimumSize + 12, unix.VIRTIO_NET_HDR_GSO_TCPV4},
			{header.UDPProtocolNumber, header.UDPMinimumSize, unix.VIRTIO_NET_HDR_GSO_UDP_L4},
		} {
			if v6 && c.kind == unix.VIRTIO_NET_HDR_GSO_TCPV4 {
				c.kind = unix.VIRTIO_NET_HDR_GSO_TCPV6
			}
			for _, n := range []int{1, size, size + 1, 5*size + 50} {
				whole := segment(v6, c.protocol, c.headers, n)
				ip := len(whole) - n - c.headers
				v := vnetHeader{kind: c.kind, flags: unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, size: size, checksumStart: uint16(len(link) + ip), checksumOffset: 16}
				if c.protocol == header.UDPProtocolNumber {
					v.checksumOffset = 6
				}
				at := whole[ip+int(v.checksumOffset):]
				p, err := parseIP(whole, 0)
				if err != nil {
					t.Fatal(err)
				}
				a := p.addresses()
				checksum.Put(at, header.PseudoHeaderChecksum(c.protocol, tcpip.AddrFromSlice(a[:len(a)/2]), tcpip.AddrFromSlice(a[len(a)/2:]), uint16(c.headers+n)))
				frame := append(bytes.Clone(link), whole...)
				before := bytes.Clone(frame)
				var out [][]byte
				err = v.apply(frame, len(link), func(tcpip.NetworkProtocolNumber, tcpip.Address) bool { return false }, func(piece []byte) { out = append(out, piece) })
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(frame, before) {
					t.Fatal("the frame that was written has been changed")
				}
				if want := (n + size - 1) / size; len(out) != want {
					t.Fatalf("%d bytes in %d pieces, not %d", n, len(out), want)
				}
				var data []byte
				for i, f := range out {
					p, err := parseIP(f, len(link))
					if err != nil || !bytes.HasPrefix(f, link) || !sound(&p) || len(p.packet) != len(f)-len(link) {
						t.Fatalf("piece %d of %d bytes (IPv6 %t, kind %d) is not sound: % x, %v", i, n, v6, c.kind, f, err)
					}
					if !v6 {
						if id := header.IPv4(p.packet).ID(); id != uint16(65535+i) {
							t.Errorf("piece %d has the ID %d", i, id)
						}
					}
					if c.protocol == header.TCPProtocolNumber {
						h := header.TCP(p.payload())
						if want := uint32(i*size - 10); h.SequenceNumber() != want {
							t.Errorf("piece %d has the number %d", i, h.SequenceNumber())
						}
						want := header.TCPFlagAck
						if i == 0 {
							want |= header.TCPFlagCwr
						}
						if i == len(out)-1 {
							want |= header.TCPFlagPsh | header.TCPFlagFin
						}
						if h.Flags() != want {
							t.Errorf("piece %d of %d has the flags %s", i, len(out), h.Flags())
						}
					}
					data = append(data, p.payload()[c.headers:]...)
				}
				if !bytes.Equal(data, whole[ip+c.headers:]) {
					t.Error("the data is another one")
				}
			}
		}
	}
}

// TestTunRefusals has headers say what is not so.
func TestTunRefusals(t *testing.T) {
	tcp := segment(false, header.TCPProtocolNumber, header.TCPMinimumSize, 500)
	fragment := bytes.Clone(tcp)
	header.IPv4(fragment).SetFlagsFragmentOffset(header.IPv4FlagMoreFragments, 0)
	long := bytes.Clone(tcp)
	long[20+12] = 0xf0
	empty := segment(false, header.TCPProtocolNumber, header.TCPMinimumSize, 0)
	for name, c := range map[string]struct {
		v     vnetHeader
		frame []byte
	}{
		"checksum behind the end": {vnetHeader{flags: unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, checksumStart: 20, checksumOffset: 65535}, tcp},
		"unknown kind":            {vnetHeader{kind: 9, size: 9}, tcp},
		"no size":                 {vnetHeader{kind: unix.VIRTIO_NET_HDR_GSO_TCPV4}, tcp},
		"another version":         {vnetHeader{kind: unix.VIRTIO_NET_HDR_GSO_TCPV6, size: 9}, tcp},
		"another protocol":        {vnetHeader{kind: unix.VIRTIO_NET_HDR_GSO_UDP_L4, size: 9}, tcp},
		"fragment":                {vnetHeader{kind: unix.VIRTIO_NET_HDR_GSO_TCPV4, size: 9}, fragment},
		"headers behind the end":  {vnetHeader{kind: unix.VIRTIO_NET_HDR_GSO_TCPV4, size: 9}, long[:50]},
		"no header":               {vnetHeader{kind: unix.VIRTIO_NET_HDR_GSO_TCPV4, size: 9}, empty[:30]},
		"no packet":               {vnetHeader{kind: unix.VIRTIO_NET_HDR_GSO_TCPV4, size: 9}, nil},
	} {
		frames := 0
		err := c.v.apply(c.frame, 0, func(tcpip.NetworkProtocolNumber, tcpip.Address) bool { return true }, func([]byte) { frames++ })
		if err != unix.EINVAL || frames > 0 {
			t.Errorf("%s: %d frames, %v", name, frames, err)
		}
	}
}

func TestTunHoldsNothing(t *testing.T) {
	n := Loopback()
	before := shmem.Buffers.Used()
	q := openTun(t, n, "t", unix.IFF_TUN|unix.IFF_NO_PI, "10.9.0.1/24")
	ping := segment(false, header.ICMPv4ProtocolNumber, header.ICMPv4MinimumSize, 100)
	echo := header.ICMPv4(ping[20:])
	echo.SetType(header.ICMPv4Echo)
	echo.SetCode(0)
	echo.SetChecksum(0)
	echo.SetChecksum(^checksum.Checksum(echo, 0))
	for range 3 {
		ok(t, q.Write(ping))
	}
	if used := shmem.Buffers.Used() - before; used != 3*(128+512) {
		t.Errorf("three answers count as %d bytes", used)
	}
	b := make([]byte, 2000)
	if got, err := q.Read(b); got != 128 || err != nil || header.ICMPv4(b[20:]).Type() != header.ICMPv4EchoReply {
		t.Fatalf("read %d bytes: %v", got, err)
	}
	q.Close()
	if used := shmem.Buffers.Used() - before; used != 0 {
		t.Errorf("%d bytes are held without the device", used)
	}
	if _, err := q.Read(b); err != unix.EBADFD {
		t.Errorf("reading without a device: %v", err)
	}
	if _, there := n.LinkByName("t"); there {
		t.Error("the link is there without its file")
	}
}

// TestTunOfANamespaceThatGoes has the file outlive the namespace that its device is in.
func TestTunOfANamespaceThatGoes(t *testing.T) {
	n := Loopback()
	q := openTun(t, n, "t", unix.IFF_TAP)
	func() {
		other := Empty()
		l := named(t, n, "t")
		if _, err := n.Move(l.Index, other, ""); err != nil {
			t.Fatal(err)
		}
		if _, l, err := q.Device(); err != nil || l.Name != "t" {
			t.Fatalf("%q, %v", l.Name, err)
		}
	}()
	until := time.Now().Add(time.Minute)
	for q.Readiness()&waiter.Err == 0 {
		if time.Now().After(until) {
			t.Fatal("the device is there without its namespace")
		}
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	if _, err := n.OpenTun(q, TunOpening{Name: "again", Flags: unix.IFF_TUN, Credentials: auth.New(0, 0, nil), Owner: auth.Initial}); err != nil {
		t.Error(err)
	}
}

func TestTunBounds(t *testing.T) {
	n := Loopback()
	flags := uint16(unix.IFF_TUN | unix.IFF_MULTI_QUEUE)
	var queues []*TunQueue
	for range maxTunQueues {
		queues = append(queues, openTun(t, n, "t", flags))
	}
	_, err := n.OpenTun(new(TunQueue), TunOpening{Name: "t", Flags: flags, Credentials: auth.New(0, 0, nil), Owner: auth.Initial})
	if err != unix.E2BIG {
		t.Errorf("one queue more: %v", err)
	}
	for _, q := range queues {
		q.Close()
	}
	q := openTun(t, n, "t", unix.IFF_TUN)
	ok(t, n.SetQueueLen(named(t, n, "t").Index, 1<<32-1))
	if most := q.of().queueLen; most != maxTunQueueLen {
		t.Errorf("%d frames may wait", most)
	}
	if err := q.Write(make([]byte, packetInfoSize+maxTunFrame+1)); err != unix.ENOBUFS {
		t.Errorf("a frame that is too long: %v", err)
	}
	unprivileged := auth.New(1, 1, nil)
	if _, err := n.OpenTun(new(TunQueue), TunOpening{Name: "u", Flags: unix.IFF_TUN, Credentials: unprivileged, Owner: auth.Initial}); err != unix.EPERM {
		t.Errorf("without privileges: %v", err)
	}
	for i := len(n.Links()); i < maxLinks; i++ {
		openTun(t, n, fmt.Sprintf("u%d", i), unix.IFF_TUN)
	}
	_, err = n.OpenTun(new(TunQueue), TunOpening{Flags: unix.IFF_TUN, Credentials: auth.New(0, 0, nil), Owner: auth.Initial})
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("one device more: %v", err)
	}
}

// FuzzTun writes frames to devices whose network answers and forwards.
func FuzzTun(f *testing.F) {
	vnet := make([]byte, vnetHeaderSize)
	for _, v6 := range []bool{false, true} {
		for _, p := range []tcpip.TransportProtocolNumber{header.TCPProtocolNumber, header.UDPProtocolNumber} {
			b := segment(v6, p, header.TCPMinimumSize, 300)
			f.Add(uint8(0), b)
			f.Add(uint8(1), append([]byte{0, 0, 8, 0}, b...))
			v := bytes.Clone(vnet)
			v[0], v[1] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, unix.VIRTIO_NET_HDR_GSO_TCPV4
			binary.LittleEndian.PutUint16(v[4:], 100)
			binary.LittleEndian.PutUint16(v[6:], 20)
			binary.LittleEndian.PutUint16(v[8:], 16)
			f.Add(uint8(2), append(v, b...))
			f.Add(uint8(4), append([]byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00"), b...))
		}
	}
	f.Add(uint8(4), append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x02\x08\x06"), 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 9, 4, 2, 0, 0, 0, 0, 0, 0, 10, 9, 4, 1))
	n := Loopback()
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := n.SetSysctl(name, "1"); err != nil {
			f.Fatal(err)
		}
	}
	queues := make([]*TunQueue, 8)
	for i := range queues {
		flags := uint16(unix.IFF_TUN)
		if i&4 != 0 {
			flags = unix.IFF_TAP
		}
		if i&1 == 0 {
			flags |= unix.IFF_NO_PI
		}
		if i&2 != 0 {
			flags |= unix.IFF_VNET_HDR
		}
		queues[i] = openTun(f, n, string(rune('a'+i)), flags, netip.AddrFrom4([4]byte{10, 9, byte(i), 1}).String()+"/24", "fd00:0:0:"+string(rune('0'+i))+"::1/64")
	}
	b := make([]byte, 70000)
	f.Fuzz(func(t *testing.T, to uint8, frame []byte) {
		before := bytes.Clone(frame)
		err := queues[to&7].Write(frame)
		if err != nil && err != unix.EINVAL && err != unix.ENOBUFS {
			t.Errorf("writing % x: %v", frame, err)
		}
		if !bytes.Equal(frame, before) {
			t.Error("what was written has been changed")
		}
		for _, q := range queues {
			for {
				if _, err := q.Read(b); err != nil {
					break
				}
			}
		}
		runtime.KeepAlive(n) // or the devices would go with it
	})
}
