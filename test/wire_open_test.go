package test

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// wireOpenCases are about how connections begin.
var wireOpenCases = []struct {
	name string
	run  func(*wireCase)
}{
	{"connect", func(c *wireCase) {
		k := c.connected(optionMSS(1000))
		k.alive()
	}},
	{"connect refused", func(c *wireCase) {
		f := c.h.flow(c.T, c.far, c.near)
		wait := c.begin("connect", "a", "%v %v", c.near, c.far)
		s := f.expect("a SYN", func(s segment) bool { return s.flags == syn })
		f.send(segment{flags: rst | ack, seq: 5, ack: s.seq + 7}) // of something else
		f.send(segment{flags: rst, seq: s.seq})
		f.send(segment{flags: rst | ack, seq: 0, ack: s.seq + 1})
		if got := wait(); got != "error ECONNREFUSED" {
			c.Errorf("connect: %s", got)
		}
	}},
	{"SYN again", func(c *wireCase) {
		f := c.h.flow(c.T, c.far, c.near)
		wait := c.begin("connect", "a", "%v %v", c.near, c.far)
		first := f.expect("a SYN", func(s segment) bool { return s.flags == syn })
		second := f.expect("another", func(s segment) bool { return s.flags == syn })
		if first.seq != second.seq {
			c.Errorf("they have the sequence numbers %d and %d", first.seq, second.seq)
		}
		f.send(segment{flags: syn | ack, seq: firstSeq, ack: first.seq + 1, window: 1000})
		f.expect("an ACK", func(s segment) bool { return s.flags == ack && s.ack == firstSeq+1 })
		if got := wait(); got != "ok" {
			c.Errorf("connect: %s", got)
		}
	}},
	{"SYN-ACK again", func(c *wireCase) {
		c.listen(10, "")
		f := c.h.flow(c.T, c.far, c.near)
		f.send(segment{flags: syn, seq: firstSeq, window: 1000})
		first := f.expect("a SYN-ACK", func(s segment) bool { return s.flags == syn|ack })
		second := f.expect("another", func(s segment) bool { return s.flags == syn|ack })
		if first.seq != second.seq || second.ack != firstSeq+1 {
			c.Errorf("they are %v and %v", first, second)
		}
		// The peer may have lost it, too.
		f.send(segment{flags: syn, seq: firstSeq, window: 1000})
		f.expect("one for a SYN", func(s segment) bool { return s.flags == syn|ack && s.seq == first.seq })
		k := &conn{flow: f, c: c, next: firstSeq + 1, due: first.seq + 1}
		k.send(segment{})
		c.call("ok", "accept", "l", "%sa", c.name)
		k.alive()
	}},
	{"SYN-ACK of something else", func(c *wireCase) {
		f := c.h.flow(c.T, c.far, c.near)
		wait := c.begin("connect", "a", "%v %v", c.near, c.far)
		s := f.expect("a SYN", func(s segment) bool { return s.flags == syn })
		f.send(segment{flags: syn | ack, seq: 77, ack: s.seq + 100, window: 1000})
		f.expect("an RST", func(r segment) bool { return r.flags&rst != 0 && r.seq == s.seq+100 })
		f.send(segment{flags: syn | ack, seq: firstSeq, ack: s.seq + 1, window: 1000})
		if got := wait(); got != "ok" {
			c.Errorf("connect: %s", got)
		}
	}},
	{"simultaneous open", func(c *wireCase) {
		f := c.h.flow(c.T, c.far, c.near)
		wait := c.begin("connect", "a", "%v %v", c.near, c.far)
		s := f.expect("a SYN", func(s segment) bool { return s.flags == syn })
		k := &conn{flow: f, c: c, next: firstSeq, due: s.seq + 1}
		f.send(segment{flags: syn, seq: k.next, window: 1000})
		k.next++
		f.expect("a SYN-ACK", func(r segment) bool { return r.flags == syn|ack && r.seq == s.seq && r.ack == k.next })
		k.sendAt(segment{flags: syn, seq: firstSeq})
		f.expect("an ACK", func(r segment) bool { return r.flags == ack && r.seq == k.due && r.ack == k.next })
		k.send(segment{}) // the kernel wall's stack waits for this one
		if got := wait(); got != "ok" {
			c.Errorf("connect: %s", got)
		}
		k.alive()
	}},
	{"data with SYN", func(c *wireCase) {
		c.listen(10, "")
		f := c.h.flow(c.T, c.far, c.near)
		f.send(segment{flags: syn, seq: firstSeq, window: 1000, data: []byte("early")})
		s := f.expect("a SYN-ACK", func(s segment) bool { return s.flags == syn|ack })
		if s.ack != firstSeq+1 {
			c.Errorf("the SYN-ACK is of %d", s.ack)
		}
		k := &conn{flow: f, c: c, next: firstSeq + 1, due: s.seq + 1}
		k.send(segment{data: []byte("early")}) // with the ACK
		k.acked()
		c.call("ok", "accept", "l", "%sa", c.name)
		c.call(`"early"`, "read", "a", "5")
		k.alive()
	}},
	{"what opens nothing", func(c *wireCase) {
		c.listen(10, "")
		f := c.h.flow(c.T, c.far, c.near)
		f.send(segment{flags: rst, seq: 1})
		f.send(segment{flags: 0, seq: 1})
		f.send(segment{flags: fin, seq: 1})
		f.send(segment{flags: ack, seq: 1, ack: 77})
		f.expect("an RST of an ACK", func(s segment) bool { return s.flags == rst && s.seq == 77 })
		f.send(segment{flags: syn | ack, seq: 1, ack: 78})
		f.expect("an RST of a SYN-ACK", func(s segment) bool { return s.flags == rst && s.seq == 78 })
		c.dial(netip.AddrPortFrom(c.far.Addr(), 3))
	}},
	{"nobody listens", func(c *wireCase) {
		f := c.h.flow(c.T, c.far, c.near)
		f.send(segment{flags: rst, seq: 1})
		f.send(segment{flags: rst | ack, seq: 1, ack: 5})
		f.send(segment{flags: syn, seq: firstSeq, window: 1000, data: []byte("abc")})
		f.expect("an RST of a SYN", func(s segment) bool { return s.flags == rst|ack && s.seq == 0 && s.ack == firstSeq+4 })
		f.send(segment{flags: ack | fin, seq: 1, ack: 77, data: []byte("abc")})
		f.expect("an RST of others", func(s segment) bool { return s.flags == rst && s.seq == 77 })
	}},
	{"a full backlog", func(c *wireCase) {
		const which = "TcpExt ListenDrops"
		c.listen(1, "")
		port := uint16(100)
		dial := func() *conn {
			port++
			return c.dial(netip.AddrPortFrom(c.far.Addr(), port))
		}
		first := dial()
		first.send(segment{data: []byte("first")})
		first.acked() // so that it comes before the second, which another thread may handle
		dial()        // a backlog of 1 has room for two
		was := c.h.counter(c.T, "netstat", which)
		f := c.h.flow(c.T, netip.AddrPortFrom(c.far.Addr(), 99), c.near)
		f.send(segment{flags: syn, seq: firstSeq, window: 1000})
		c.h.awaitCounter(c.T, "netstat", which, was)
		c.call("ok", "accept", "l", "%sa", c.name)
		c.call(`"first"`, "read", "a", "5")
		first.alive()
		// Now there is room for one more, which has sent a SYN again.
		f.send(segment{flags: syn, seq: firstSeq, window: 1000})
		f.expect("a SYN-ACK", func(s segment) bool { return s.flags == syn|ack })
	}},
	{"ICMP errors of connect", func(c *wireCase) {
		f := c.h.flow(c.T, c.far, c.near)
		wait := c.begin("connect", "a", "%v %v", c.near, c.far)
		s := f.expect("a SYN", func(s segment) bool { return s.flags == syn })
		kind, code := byte(3), byte(3) // port unreachable
		if c.near.Addr().Is6() {
			kind, code = 1, 4
		}
		forged := append([]byte(nil), s.raw...)
		forged[len(forged)-len(s.options)-16]++ // of another segment
		f.icmp(kind, code, 0, forged)
		f.icmp(kind, code, 0, s.raw)
		if got := wait(); got != "error ECONNREFUSED" {
			c.Errorf("connect: %s", got)
		}
	}},
	{"ICMP errors of a connection", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.hear(10)
		c.call("20", "write", "a", "20")
		s := k.expect("data", func(s segment) bool { return len(s.data) == 20 })
		kind := byte(3)
		if c.near.Addr().Is6() {
			kind = 1
		}
		for code := range byte(16) {
			if kind != 3 || code != 4 { // it may need fragments
				k.icmp(kind, code, 0, s.raw)
			}
		}
		k.due += 20
		k.send(segment{})
		k.alive() // RFC 5461, 4.1
	}},
	{"a path with a smaller MTU", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted(optionMSS(1400))
		mtu := 1300
		c.pathMTU(k, mtu)
		for _, s := range k.take(8000) {
			if len(s.raw) > mtu {
				c.Errorf("a packet has %d bytes", len(s.raw))
			}
		}
		k.alive()
	}},
	{"a path whose MTU cannot be", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted(optionMSS(1400))
		if c.near.Addr().Is4() {
			c.pathMTU(k, 68)
		} else { // every path takes 1280 bytes, and who says otherwise is not believed
			c.call("8000", "write", "a", "8000")
			s := k.expect("data", func(s segment) bool { return s.seq == k.due && len(s.data) == 1400 })
			k.tooBig(68, s.raw)
			k.expect("it again", func(s segment) bool { return s.seq == k.due && len(s.data) >= 1280-40-20 })
		}
		list := k.take(8000)
		if len(list) > 8000/400 { // Linux goes down to 552, less the headers
			c.Errorf("8000 bytes come in %d segments", len(list))
		}
		k.alive()
	}},
	{"a forged MTU", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted(optionMSS(1400))
		k.hear(3000)
		raw := segment{flags: ack, seq: k.due + 1<<24, ack: k.next, window: 100, data: make([]byte, 1000)}.packet(c.near, c.far)
		k.tooBig(1300, raw)
		k.alive()
		c.call("8000", "write", "a", "8000")
		full := 0
		for _, s := range k.take(8000) {
			full = max(full, len(s.data))
		}
		if believed := full < 1400; believed != c.h.inside { // its stack does not look at sequence numbers there
			c.Errorf("segments have at most %d bytes", full)
		}
	}},
}

// pathMTU has the near end write 8000 bytes, of which the first segment is too big.
func (c *wireCase) pathMTU(k *conn, mtu int) {
	c.Helper()
	c.call("8000", "write", "a", "8000")
	s := k.expect("data", func(s segment) bool { return s.seq == k.due && len(s.data) == 1400 })
	if c.near.Addr().Is4() && s.raw[6]&0x40 == 0 {
		c.Error("it may be fragmented")
	}
	k.tooBig(mtu, s.raw)
	// What was sent before is lost.
	k.expect("a smaller segment", func(s segment) bool { return s.seq == k.due && len(s.data) < 1400 })
	k.seen = append(k.seen, fmt.Sprintf("the MTU is %d", mtu))
}

// tooBig says that a packet is larger than an MTU.
func (f *flow) tooBig(mtu int, raw []byte) {
	if f.near.Addr().Is4() {
		f.icmp(3, 4, uint32(mtu), raw)
	} else {
		f.icmp(2, 0, uint32(mtu), raw)
	}
}

// icmp sends an error about a packet.
func (f *flow) icmp(kind, code byte, rest uint32, about []byte) {
	f.seen = append(f.seen, fmt.Sprintf("> ICMP type %d code %d, %d", kind, code, rest))
	b := []byte{kind, code, 0, 0, byte(rest >> 24), byte(rest >> 16), byte(rest >> 8), byte(rest)}
	b = append(b, about[:min(len(about), 500)]...)
	protocol := byte(unix.IPPROTO_ICMP)
	if f.near.Addr().Is6() {
		protocol = unix.IPPROTO_ICMPV6
	}
	f.w.sendPacket(packetIP(f.far.Addr(), f.near.Addr(), protocol, b, 2, false))
}
