package test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// malformed sends what no kernel sends, and much of it: the near end goes on, and counts.
func (h *wireHost) malformed(t *testing.T) {
	c4, c6 := h.newCase(t, false), h.newCase(t, true)
	var before []*conn
	for _, c := range []*wireCase{c4, c6} {
		c.listen(10, "")
		before = append(before, c.accepted(optionStamp(1000, 0)))
		c.far = netip.AddrPortFrom(c.far.Addr(), 8) // the rest is of nobody's
	}
	counters := []struct{ file, which string }{
		{"snmp", "Ip InHdrErrors"}, {"snmp", "Tcp InErrs"}, {"snmp", "Icmp InErrors"}, {"snmp6", "Ip6InHdrErrors"}, {"snmp6", "Icmp6InErrors"},
	}
	var was []uint64
	for _, n := range counters {
		was = append(was, h.counter(t, n.file, n.which))
	}
	for _, kind := range []struct {
		name   string
		frames []malformedFrame
	}{
		{"truncated", truncatedFrames(c4, c6)},
		{"wrong lengths", wrongLengths(c4, c6)},
		{"fragments", fragments(c4, c6)},
		{"ICMP errors", icmpErrors(c4, c6)},
		{"extension headers", extensionHeaders(c6)},
		{"neighbours", malformedNeighbours(c4, c6)},
		{"anything", anything()},
		{"nobody's", nobodys(c4, c6)},
	} {
		for i, f := range kind.frames {
			h.sendFrame(f.kind, f.payload)
			if i%100 == 99 {
				before[i/100%2].knock()
			}
		}
		for _, k := range before {
			k.knock()
			k.alive()
		}
		t.Logf("%s: %d frames", kind.name, len(kind.frames))
	}
	for i, n := range counters {
		if now := h.counter(t, n.file, n.which); now <= was[i] {
			t.Errorf("%s of /proc/net/%s was %d and is %d", n.which, n.file, was[i], now)
		}
	}
	for i, c := range []*wireCase{c4, c6} {
		c.call("ok", "close", "a", "")
		before[i].expect("a FIN", func(s segment) bool { return s.flags&fin != 0 })
		k := c.dial(netip.AddrPortFrom(c.far.Addr(), 9), optionStamp(1000, 0))
		c.call("ok", "accept", "l", "%sa", c.name)
		k.alive()
	}
}

// knock sends what is answered until it is: all before has been looked at then, or was dropped.
func (k *conn) knock() {
	k.t.Helper()
	for len(k.in) > 0 {
		<-k.in
	}
	for until := time.Now().Add(wirePatience); time.Now().Before(until); {
		k.sendAt(segment{seq: k.next - 1, data: []byte("k")})
		select {
		case s := <-k.in:
			if isReset(s) {
				k.t.Fatalf("the connection is reset:\n%s", k.history())
			}
			return
		case <-time.After(time.Second):
		}
	}
	k.t.Fatalf("no answer comes:\n%s", k.history())
}

type malformedFrame struct {
	kind    uint16
	payload []byte
}

func frameOf(packet []byte) malformedFrame {
	if packet[0]>>4 == 4 {
		return malformedFrame{unix.ETH_P_IP, packet}
	}
	return malformedFrame{unix.ETH_P_IPV6, packet}
}

// resum makes the checksum of an IPv4 header right.
func resum(b []byte) []byte {
	if n := int(b[0]&15) * 4; b[0]>>4 == 4 && n >= 20 && n <= len(b) {
		clear(b[10:12])
		binary.BigEndian.PutUint16(b[10:], checksum16(b[:n]))
	}
	return b
}

func icmpOf(v6 bool) byte {
	if v6 {
		return unix.IPPROTO_ICMPV6
	}
	return unix.IPPROTO_ICMP
}

// truncatedFrames are packets that end anywhere, with and without headers that know.
func truncatedFrames(cases ...*wireCase) (list []malformedFrame) {
	for _, c := range cases {
		ip := len(packetIP(c.far.Addr(), c.near.Addr(), 0, nil, -1, false))
		whole := segment{flags: ack, seq: 7, ack: 7, window: 7, options: optionStamp(1, 2), data: []byte("data")}.packet(c.far, c.near)
		for n := 1; n < len(whole); n++ {
			list = append(list, frameOf(whole[:n:n]))
			if n >= ip {
				list = append(list, frameOf(packetIP(c.far.Addr(), c.near.Addr(), unix.IPPROTO_TCP, append([]byte(nil), whole[ip:n]...), -1, false)))
			}
		}
		for _, protocol := range []byte{unix.IPPROTO_UDP, icmpOf(c.near.Addr().Is6()), unix.IPPROTO_IGMP, unix.IPPROTO_IPIP} {
			for n := range 9 {
				list = append(list, frameOf(packetIP(c.far.Addr(), c.near.Addr(), protocol, make([]byte, n), -1, false)))
			}
		}
	}
	return list
}

// wrongLengths are packets whose fields about lengths don't fit.
func wrongLengths(cases ...*wireCase) (list []malformedFrame) {
	for _, c := range cases {
		s := segment{flags: ack, seq: 7, ack: 7, window: 7, data: make([]byte, 40)}
		ip := len(s.packet(c.far, c.near)) - 60
		for n := range byte(16) { // of TCP's header
			b := s.packet(c.far, c.near)
			b[ip+12] = n << 4
			list = append(list, frameOf(packetIP(c.far.Addr(), c.near.Addr(), unix.IPPROTO_TCP, b[ip:], 16, false)))
		}
		for n := range byte(16) { // of IPv4's header, or the version
			b := s.packet(c.far, c.near)
			if ip == 20 {
				b[0] = 0x40 | n
			} else {
				b[0] = n << 4
			}
			kind := frameOf(s.packet(c.far, c.near)).kind
			list = append(list, malformedFrame{kind, resum(b)})
		}
		for _, n := range []uint16{0, 1, 19, 20, 21, 39, 40, 79, 100, 101, 1500, 0xffff} { // of the packet
			b := s.packet(c.far, c.near)
			if ip == 20 {
				binary.BigEndian.PutUint16(b[2:], n)
			} else {
				binary.BigEndian.PutUint16(b[4:], n)
			}
			list = append(list, frameOf(resum(b)))
			u := packetIP(c.far.Addr(), c.near.Addr(), unix.IPPROTO_UDP, append([]byte{0, 9, 0, 9, byte(n >> 8), byte(n)}, make([]byte, 20)...), 6, false)
			list = append(list, frameOf(u))
		}
		bad := s.packet(c.far, c.near)
		if ip == 20 {
			bad[10] ^= 1 // the header's checksum
		}
		list = append(list, frameOf(bad))
	}
	return list
}

// fragment is one of a packet: more says that it is not the last.
func fragment(c *wireCase, id uint32, offset int, more bool, protocol byte, payload []byte) malformedFrame {
	field := uint16(offset)
	if c.near.Addr().Is4() {
		b := packetIP(c.far.Addr(), c.near.Addr(), protocol, payload, -1, false)
		field /= 8
		if more {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(b[4:], uint16(id))
		binary.BigEndian.PutUint16(b[6:], field)
		return frameOf(resum(b))
	}
	if more {
		field |= 1
	}
	h := binary.BigEndian.AppendUint32([]byte{protocol, 0, byte(field >> 8), byte(field)}, id)
	return frameOf(packetIP(c.far.Addr(), c.near.Addr(), unix.IPPROTO_FRAGMENT, append(h, payload...), -1, false))
}

// fragments overlap, have no end, or one beyond what a packet can be.
func fragments(cases ...*wireCase) (list []malformedFrame) {
	for _, c := range cases {
		protocol := icmpOf(c.near.Addr().Is6())
		id := uint32(1)
		add := func(offset int, more bool, n int) {
			list = append(list, fragment(c, id, offset, more, protocol, make([]byte, n)))
		}
		for _, shape := range [][][2]int{ // offset and length; the last one is the last
			{{0, 64}, {32, 64}, {96, 8}}, {{32, 64}, {0, 64}, {96, 8}}, {{0, 64}, {0, 64}, {64, 8}}, {{0, 64}, {8, 16}, {64, 8}},
			{{8, 16}, {0, 64}, {64, 8}}, {{64, 64}, {0, 8}, {32, 4}}, {{0, 1000}, {0, 8}}, {{0, 8}, {65528, 1000}}, {{65528, 8}}, {{0, 0}, {0, 0}},
			{{0, 13}, {8, 8}}, {{0, 1}, {0, 1}}, {{8, 1400}, {1408, 1400}}, {{0, 8}, {8, 0}},
		} {
			for i, f := range shape {
				add(f[0], i < len(shape)-1, f[1])
			}
			id++
		}
		for range 1000 { // first ones of which nothing follows
			add(0, true, 800)
			id++
		}
		for i := range 500 { // one packet of many small ones
			add(i*16, true, 8)
		}
	}
	return list
}

// icmpErrors are about connections that are not, and about packets that cannot be.
func icmpErrors(cases ...*wireCase) (list []malformedFrame) {
	for _, c := range cases {
		v6 := c.near.Addr().Is6()
		types := []byte{3, 4, 5, 11, 12}
		if v6 {
			types = []byte{1, 2, 3, 4, 137}
		}
		about := segment{flags: ack, seq: 1}.packet(netip.AddrPortFrom(c.near.Addr(), 7), netip.AddrPortFrom(c.far.Addr(), 7))
		for _, kind := range types {
			for code := range byte(17) {
				b := append([]byte{kind, code, 0, 0, 0, 0, 1, 0}, about...)
				list = append(list, frameOf(packetIP(c.far.Addr(), c.near.Addr(), icmpOf(v6), b, 2, false)))
			}
			for n := range about {
				b := append([]byte{kind, 0, 0, 0, 0, 0, 1, 0}, about[:n]...)
				list = append(list, frameOf(packetIP(c.far.Addr(), c.near.Addr(), icmpOf(v6), b, 2, false)))
			}
			for n := range byte(16) {
				b := append([]byte{kind, 0, 0, 0, 0, 0, 1, 0}, about...)
				b[8] = b[8]&0xf0 | n
				list = append(list, frameOf(packetIP(c.far.Addr(), c.near.Addr(), icmpOf(v6), b, 2, false)))
			}
		}
		wrong := append([]byte{types[0], 0, 0, 0, 0, 0, 0, 0}, about...)
		for range 2000 {
			list = append(list, frameOf(packetIP(c.far.Addr(), c.near.Addr(), icmpOf(v6), append([]byte(nil), wrong...), 2, len(list)%2 == 0)))
		}
	}
	return list
}

// extensionHeaders are chains of them that end wrongly, or not (RFC 8200, 4).
func extensionHeaders(c *wireCase) (list []malformedFrame) {
	tcp := segment{flags: ack, seq: 1}.packet(c.far, c.near)[40:]
	for _, first := range []byte{0, 43, 44, 60, 51, 135, 139, 140, 253, 59} {
		for _, next := range []byte{0, 6, 43, 44, 59, 60, 77} {
			for _, length := range []byte{0, 1, 2, 255} {
				for _, option := range []byte{0, 1, 5, 0x45, 0x85, 0xc5, 0xc2, 0xff} {
					h := []byte{next, length, option, 4, 0, 0, 0, 9}
					list = append(list, frameOf(packetIP(c.far.Addr(), c.near.Addr(), first, append(h, tcp...), -1, false)))
				}
			}
		}
		var chain []byte
		for range 100 {
			chain = append(chain, first, 0, 1, 4, 0, 0, 0, 0)
		}
		list = append(list, frameOf(packetIP(c.far.Addr(), c.near.Addr(), first, chain, -1, false)))
	}
	return list
}

// malformedNeighbours are messages of ARP and of neighbour discovery.
func malformedNeighbours(c4, c6 *wireCase) (list []malformedFrame) {
	arp := append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, make([]byte, 20)...)
	copy(arp[14:], c4.far.Addr().AsSlice())
	copy(arp[24:], c4.near.Addr().AsSlice())
	for n := range arp {
		list = append(list, malformedFrame{unix.ETH_P_ARP, arp[:n:n]})
	}
	for i := range 8 {
		b := append([]byte(nil), arp...)
		b[i] ^= 0x7f
		list = append(list, malformedFrame{unix.ETH_P_ARP, b})
	}
	for kind := byte(133); kind <= 137; kind++ {
		for _, option := range [][]byte{nil, {1}, {1, 0}, {1, 0, 0, 0, 0, 0, 0, 0}, {1, 255, 0, 0, 0, 0, 0, 0}, {2, 2, 0, 0, 0, 0, 0, 0}, {99, 1, 0, 0, 0, 0, 0, 0, 3}} {
			for _, hops := range []byte{1, 255} {
				b := append(append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, c6.near.Addr().AsSlice()...), option...)
				p := packetIP(c6.far.Addr(), c6.near.Addr(), unix.IPPROTO_ICMPV6, b[:len(b):len(b)], 2, false)
				p[7] = hops
				list = append(list, frameOf(p), frameOf(p[:len(p)-1:len(p)-1]))
			}
		}
	}
	return list
}

// anything is noise, the same in each run.
func anything() (list []malformedFrame) {
	noise := rand.NewChaCha8([32]byte{7})
	r := rand.New(noise)
	for range 1500 {
		b := make([]byte, 1+r.IntN(1400))
		noise.Read(b)
		kind := []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_ARP, uint16(r.IntN(1 << 16))}[r.IntN(4)]
		switch {
		case kind == unix.ETH_P_IP && len(b) >= 20: // that more than the version is looked at
			b[0] = 0x45
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
			copy(b[16:], near4.AsSlice())
			resum(b)
		case kind == unix.ETH_P_IPV6 && len(b) >= 40:
			b[0] = 0x60
			binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
			copy(b[24:], near6.AsSlice())
		}
		list = append(list, malformedFrame{kind, b})
	}
	return list
}

// nobodys are well made, and for ports that nobody has.
func nobodys(cases ...*wireCase) (list []malformedFrame) {
	for _, c := range cases {
		for port := range uint16(1000) {
			to := netip.AddrPortFrom(c.near.Addr(), 30000+port)
			list = append(list, frameOf(segment{flags: syn, seq: 5, window: 9}.packet(c.far, to)))
			u := []byte{0, 9, byte(to.Port() >> 8), byte(to.Port()), 0, 8, 0, 0}
			list = append(list, frameOf(packetIP(c.far.Addr(), c.near.Addr(), unix.IPPROTO_UDP, u, 6, false)))
		}
	}
	return list
}
