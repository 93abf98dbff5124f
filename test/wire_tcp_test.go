package test

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// wireCases are what a peer does that speaks TCP by hand, and what must come of it. All
// holds for Linux; where the kernel wall's stack does otherwise, the case says so, and
// docs/compatibility.md too.
var wireCases = []struct {
	name string
	run  func(*wireCase)
}{
	{"options of a SYN-ACK", func(c *wireCase) {
		c.listen(10, "")
		full := uint16(1460)
		if c.near.Addr().Is6() {
			full = 1440
		}
		k := c.dial(c.far, optionMSS(1000), optionSACKPermitted, optionStamp(1000, 0), optionScale(7))
		if a := k.answer; a.mss != full || !a.sackPermitted || !a.stamped || a.echo != 1000 || a.scale < 0 {
			c.Errorf("the SYN-ACK says %v, scale %d, SACK %v", a, a.scale, a.sackPermitted)
		}
		k = c.dial(netip.AddrPortFrom(c.far.Addr(), 2))
		if a := k.answer; a.mss != full || a.sackPermitted || a.stamped || a.scale >= 0 {
			c.Errorf("without options, the SYN-ACK says %v, scale %d, SACK %v", a, a.scale, a.sackPermitted)
		}
	}},
	{"malformed options of a SYN", func(c *wireCase) {
		c.listen(20, "")
		for i, o := range [][]byte{
			{2, 4, 5}, {2, 0, 0, 0}, {2, 255, 1, 1}, {3, 3, 255, 1}, {8, 10, 1, 1}, {2}, {2, 4, 0, 0}, {2, 4, 0, 1}, {5, 3, 1, 0}, {4, 3, 1, 0}, {99, 1, 0, 0}, {0, 0, 0, 0},
		} {
			c.dial(netip.AddrPortFrom(c.far.Addr(), uint16(100+i)), o)
		}
	}},
	{"small MSS", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted(optionMSS(600))
		c.call("5000", "write", "a", "5000")
		for _, s := range k.take(5000) {
			if len(s.data) > 600 {
				c.Errorf("a segment has %d bytes", len(s.data))
			}
		}
	}},
	{"timestamps take from the MSS", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted(optionMSS(600), optionStamp(1000, 0))
		c.call("5000", "write", "a", "5000")
		for _, s := range k.take(5000) {
			if len(s.data) > 588 || !s.stamped || s.echo != k.clock {
				c.Errorf("a segment is %v", s)
			}
		}
	}},
	{"out of order", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted(optionSACKPermitted)
		k.sendAt(segment{seq: k.next + 3, data: []byte("defg")})
		k.expectWithout("an ACK with a block", func(s segment) bool {
			return s.ack == k.next && len(s.blocks) == 1 && s.blocks[0] == [2]uint32{k.next + 3, k.next + 7}
		}, isReset)
		k.sendAt(segment{seq: k.next + 10, data: []byte("kl")})
		k.expectWithout("an ACK with two blocks", func(s segment) bool {
			return s.ack == k.next && len(s.blocks) == 2 && s.blocks[0] == [2]uint32{k.next + 10, k.next + 12}
		}, isReset)
		k.send(segment{data: []byte("abc")})
		k.next += 4
		k.acked()
		k.send(segment{data: []byte("hij")})
		k.next += 2
		k.acked()
		c.call(`"abcdefghijkl"`, "read", "a", "12")
		k.alive()
	}},
	{"overlaps", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		// What has been acknowledged stays as it was.
		k.send(segment{data: []byte("abcd")})
		k.acked()
		k.sendAt(segment{seq: k.next - 2, data: []byte("XXef")})
		k.next += 2
		k.acked()
		// What came too early, and was spanned later.
		k.sendAt(segment{seq: k.next + 2, data: []byte("ij")})
		k.sendAt(segment{seq: k.next + 1, data: []byte("hijk")})
		k.send(segment{data: []byte("gh")})
		k.next += 3
		k.acked()
		k.sendAt(segment{seq: k.next + 2, data: []byte("no")})
		k.send(segment{data: []byte("lmnopq")})
		k.acked()
		c.call(`"abcdefghijklmnopq"`, "read", "a", "17")
		k.alive()
	}},
	{"data twice", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted(optionSACKPermitted)
		for range 3 {
			k.sendAt(segment{seq: k.next, data: []byte("once")})
			k.expectWithout("an ACK", func(s segment) bool { return s.ack == k.next+4 }, isReset)
		}
		k.next += 4
		c.call(`"once"`, "read", "a", "4")
		k.alive()
	}},
	{"a window that fills", func(c *wireCase) {
		c.listen(10, fmt.Sprintf("%d:%d:4096", unix.SOL_SOCKET, unix.SO_RCVBUF))
		k := c.accepted()
		window, total := uint32(k.answer.window), 0
		for window > 0 {
			n := min(window, 1000)
			total += int(n)
			k.send(segment{data: make([]byte, n)})
			window = uint32(k.acked().window)
			if total > 1<<20 {
				c.Fatalf("the window does not fill:\n%s", k.history())
			}
		}
		// A probe is answered, and what it has is not taken.
		k.sendAt(segment{seq: k.next, data: []byte("p")})
		k.expectWithout("an ACK of a probe", func(s segment) bool { return s.ack == k.next && s.window == 0 }, isReset)
		c.begin("read", "a", "%d", total)()
		k.sendAt(segment{seq: k.next - 1})
		k.expectWithout("a window", func(s segment) bool { return s.ack == k.next && s.window != 0 }, isReset)
		k.say("more")
	}},
	{"a window of the peer's that is 0", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.send(segment{shut: true, data: []byte("x")})
		k.acked()
		c.call("100", "write", "a", "100")
		for range 2 {
			k.expectWithout("a probe", func(s segment) bool {
				return s.seq == k.due-1 && len(s.data) <= 1 || s.seq == k.due && len(s.data) == 1
			}, func(s segment) bool { return isReset(s) || len(s.data) > 1 })
			k.send(segment{shut: true})
		}
		k.send(segment{window: 1000})
		k.take(100)
		c.call(`"x"`, "read", "a", "1")
		k.alive()
	}},
	{"a window of the peer's that is small", func(c *wireCase) {
		c.smallWindow(600, optionMSS(500))
	}},
	{"a window of the peer's that is scaled", func(c *wireCase) {
		c.smallWindow(600>>3, optionMSS(500), optionScale(3))
	}},
	{"data that is not acknowledged", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		c.call("50", "write", "a", "50")
		for range 2 {
			k.expectWithout("data again", func(s segment) bool { return s.seq == k.due && len(s.data) == 50 }, isReset)
		}
		k.due += 50
		k.send(segment{})
		k.alive()
	}},
	{"a hole in what is acknowledged", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted(optionMSS(1000), optionSACKPermitted)
		k.alive()
		start, size := k.due, uint32(0)
		c.call("4000", "write", "a", "4000")
		for at := start; at != start+4000; {
			s := k.expectWithout("a segment", func(s segment) bool { return s.seq == at && len(s.data) > 0 }, isReset)
			at += uint32(len(s.data))
			if size == 0 {
				size = uint32(len(s.data)) // and this one is lost
			} else {
				k.send(segment{options: optionSACK(start+size, at)})
			}
		}
		k.expectWithout("what is missing", func(s segment) bool { return s.seq == start && len(s.data) > 0 },
			func(s segment) bool { return isReset(s) || len(s.data) > 0 && s.seq == start+size })
		k.due += 4000
		k.send(segment{})
		k.alive()
	}},
	{"RST", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		wait := c.begin("read", "a", "1")
		// Beside the window it is nothing, within it a challenge (RFC 5961, 3.2).
		k.sendAt(segment{flags: rst, seq: k.next - 10})
		k.sendAt(segment{flags: rst, seq: k.next + 1<<20})
		k.sendAt(segment{flags: rst, seq: k.next + 5})
		k.expectWithout("a challenge", func(s segment) bool { return s.flags == ack && s.seq == k.due && s.ack == k.next }, isReset)
		k.hear(5)
		k.sendAt(segment{flags: rst, seq: k.next})
		if got := wait(); got != "error ECONNRESET" {
			c.Errorf("read after RST: %s", got)
		}
		k.gone()
	}},
	{"SYN within a connection", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.sendAt(segment{flags: syn, seq: k.next + 5})
		k.expectWithout("a challenge", func(s segment) bool { return s.flags == ack && s.seq == k.due && s.ack == k.next }, isReset)
		k.alive()
	}},
	{"ACK of what was not sent", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.sendAt(segment{seq: k.next, ack: k.due + 5000, data: []byte("forged")})
		if c.h.inside { // its stack takes the data
			k.next += 6
			k.acked()
			c.call(`"forged"`, "read", "a", "6")
		} else {
			k.expectWithout("an ACK", func(s segment) bool { return s.ack == k.next }, isReset)
		}
		k.alive()
	}},
	{"flags that make no sense", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		for _, flags := range []byte{0, fin, psh | urg, fin | psh | urg} {
			k.flow.send(segment{flags: flags, seq: k.next, window: 100, data: []byte("no ACK")})
		}
		k.alive()
	}},
	{"a wrong checksum", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		const which = "Tcp InCsumErrors"
		was := c.h.counter(c.T, "snmp", which)
		k.sendAt(segment{seq: k.next, data: []byte("XXXX"), spoilt: true})
		k.sendAt(segment{flags: rst, seq: k.next, spoilt: true})
		c.h.awaitCounter(c.T, "snmp", which, was)
		k.alive()
	}},
	{"urgent data", func(c *wireCase) {
		c.listen(10, fmt.Sprintf("%d:%d:1", unix.SOL_SOCKET, unix.SO_OOBINLINE))
		k := c.accepted()
		k.send(segment{flags: urg, urgent: 2, data: []byte("abc")})
		k.acked()
		c.call(`"ab"`, "read", "a", "2") // Linux ends a read at the mark
		c.call(`"c"`, "read", "a", "1")
		k.alive()
		// A pointer to what never comes.
		k.send(segment{flags: urg, urgent: 0xffff})
		k.alive()
	}},
	{"urgent data apart", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.send(segment{flags: urg, urgent: 3, data: []byte("abc")})
		k.acked()
		k.send(segment{data: []byte("d")})
		k.acked()
		if c.h.inside { // its stack has no urgent data
			c.call(`"abcd"`, "read", "a", "4")
		} else {
			c.call(`"abd"`, "read", "a", "3")
		}
		k.alive()
	}},
	{"old timestamps", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted(optionStamp(1000, 0))
		k.clock = 2000
		k.alive()
		k.sendAt(segment{seq: k.next, data: []byte("stale"), options: optionStamp(1500, k.echo)})
		s := k.expectWithout("an ACK", func(s segment) bool { return len(s.data) == 0 && int32(s.ack-k.next) >= 0 }, isReset)
		if c.h.inside { // its stack takes them
			if s.ack == k.next {
				c.Error("old timestamps are refused: docs/compatibility.md is to say so")
			}
			k.next += 5
			c.call(`"stale"`, "read", "a", "5")
		}
		k.alive()
	}},
	{"keep-alive probes", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.alive()
		for _, data := range []string{"", "?"} {
			k.sendAt(segment{seq: k.next - 1, data: []byte(data)})
			k.expectWithout("an ACK", func(s segment) bool { return s.seq == k.due && s.ack == k.next && len(s.data) == 0 }, isReset)
		}
		k.alive()
		// Those that the near end sends.
		for option, value := range map[int]int{unix.TCP_KEEPIDLE: 1, unix.TCP_KEEPINTVL: 1, unix.TCP_KEEPCNT: 2} {
			c.call("ok", "set", "a", "%d %d %d", unix.IPPROTO_TCP, option, value)
		}
		c.call("ok", "set", "a", "%d %d 1", unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		wait := c.begin("read", "a", "1")
		probe := func(s segment) bool { return s.seq == k.due-1 && len(s.data) <= 1 }
		k.expectWithout("a probe", probe, isReset)
		k.send(segment{})
		for range 2 {
			k.expectWithout("a probe", probe, isReset)
		}
		if got := wait(); got != "error ETIMEDOUT" {
			c.Errorf("read, after probes without answer: %s", got)
		}
		k.gone()
	}},
}

// smallWindow has the near end write more than a peer has room for, which is 600 bytes.
func (c *wireCase) smallWindow(window uint16, options ...[]byte) {
	c.Helper()
	c.listen(10, "")
	k := c.accepted(options...)
	k.send(segment{window: window, data: []byte("x")})
	k.acked()
	c.call("3000", "write", "a", "3000")
	edge, most := k.due+600, 0
	for end := k.due + 3000; k.due != end; {
		s := k.expectWithout("data", func(s segment) bool { return s.seq == k.due && len(s.data) > 0 }, isReset)
		k.due += uint32(len(s.data))
		most = max(most, len(s.data))
		if int32(k.due-edge) > 0 {
			c.Fatalf("more comes than the window has room for:\n%s", k.history())
		}
		edge = k.due + 600
		k.send(segment{window: window})
	}
	if most < 400 {
		c.Errorf("segments have at most %d bytes", most)
	}
	c.call(`"x"`, "read", "a", "1")
	k.alive()
}

// TestWire runs the cases with Linux, and behind the kernel wall.
func TestWire(t *testing.T) {
	for _, side := range []struct {
		name   string
		inside bool
	}{{"linux", false}, {"kernel", true}} {
		t.Run(side.name, func(t *testing.T) {
			h := newWireHost(t, side.inside)
			t.Run("cases", func(t *testing.T) {
				var cases sync.WaitGroup
				slots := make(chan struct{}, 40)
				for _, family := range []string{"IPv4", "IPv6"} {
					for _, c := range slices.Concat(wireCases, wireOpenCases, wireCloseCases) {
						// Most wait, and not for a processor: many at once. The stack
						// looks for at most 64 neighbours at a time.
						slots <- struct{}{}
						cases.Go(func() {
							defer func() { <-slots }()
							t.Run(family+" "+c.name, func(t *testing.T) { c.run(h.newCase(t, family == "IPv6")) })
						})
					}
				}
				cases.Wait()
			})
			t.Run("malformed", h.malformed)
		})
	}
}
