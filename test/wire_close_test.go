package test

// States of connections, as TCP_INFO has them (tcp(7)).
const (
	finWait1  = 4
	finWait2  = 5
	closed    = 7
	closeWait = 8
	lastACK   = 9
	closing   = 11
)

// wireCloseCases are about how connections end.
var wireCloseCases = []struct {
	name string
	run  func(*wireCase)
}{
	{"data with FIN", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.send(segment{flags: fin, data: []byte("last")})
		k.acked()
		c.call(`"last" end`, "read", "a", "5")
		k.hear(10)
	}},
	{"FIN before data", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.sendAt(segment{flags: fin, seq: k.next + 4})
		k.send(segment{data: []byte("last")})
		if c.h.inside { // its stack forgets a FIN without data that comes too early
			k.acked()
			k.send(segment{flags: fin})
		} else {
			k.next++
		}
		k.acked()
		c.call(`"last" end`, "read", "a", "5")
	}},
	{"FIN twice", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.send(segment{flags: fin})
		k.acked()
		times := 3
		if c.h.inside { // its stack does not answer those that come within half a second
			times = 1
		}
		for range times {
			k.sendAt(segment{flags: fin, seq: k.next - 1})
			k.acked()
		}
		// And what comes after it is none.
		k.sendAt(segment{seq: k.next, data: []byte("late")})
		c.await("a", closeWait)
		c.call(`"" end`, "read", "a", "5")
		c.call("10", "write", "a", "10")
		k.take(10)
	}},
	{"half closed by the peer", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.send(segment{flags: fin})
		k.acked()
		k.hear(3000)
		c.call("ok", "shutdown", "a", "1")
		for range 2 {
			k.expect("a FIN, and again", func(s segment) bool { return s.flags&fin != 0 && s.seq == k.due })
		}
		c.await("a", lastACK)
		k.due++
		k.send(segment{})
		c.await("a", closed)
		k.gone()
	}},
	{"half closed by the near end", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		c.call("10", "write", "a", "10")
		c.call("ok", "shutdown", "a", "1")
		k.take(10)
		k.expect("a FIN", func(s segment) bool { return s.flags&fin != 0 && s.seq+uint32(len(s.data)) == k.due })
		c.await("a", finWait1)
		k.due++
		k.send(segment{})
		c.await("a", finWait2)
		k.say("still here")
		k.send(segment{flags: fin, data: []byte("end")})
		k.acked()
		c.call(`"end" end`, "read", "a", "4")
		c.await("a", closed)
	}},
	{"simultaneous close", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		c.call("ok", "shutdown", "a", "1")
		f := k.expect("a FIN", func(s segment) bool { return s.flags&fin != 0 })
		k.send(segment{flags: fin}) // which does not acknowledge it
		k.acked()
		c.await("a", closing)
		k.due = f.seq + 1
		k.send(segment{})
		c.await("a", closed)
		// It answers in TIME_WAIT.
		k.sendAt(segment{flags: fin, seq: k.next - 1})
		k.acked()
	}},
	{"TIME_WAIT", func(c *wireCase) {
		k := c.inTimeWait()
		for range 2 {
			k.sendAt(segment{flags: fin, seq: k.next - 1})
			k.acked()
		}
		// An old SYN is answered with what is expected,
		k.sendAt(segment{flags: rst, seq: k.next + 100}) // beside
		k.flow.send(segment{flags: syn, seq: k.next - 50, window: 1000, options: optionStamp(900, 0)})
		if c.h.inside { // it begins anew
			k.expect("a SYN-ACK", func(s segment) bool { return s.flags == syn|ack && s.ack == k.next-49 })
			k.sendAt(segment{flags: rst, seq: k.next - 49})
		} else {
			k.expectWithout("an ACK", func(s segment) bool { return s.flags == ack && s.ack == k.next }, isReset)
		}
		// and a new one begins anew.
		k.clock = 5000
		k.flow.send(segment{flags: syn, seq: k.next + 100000, window: 1000, options: optionStamp(k.clock, 0)})
		s := k.expect("a SYN-ACK", func(s segment) bool { return s.flags == syn|ack && s.ack == k.next+100001 })
		k.next, k.due, k.echo = s.ack, s.seq+1, s.stamp
		k.send(segment{})
		c.call("ok", "accept", "l", "%sa", c.name)
		k.alive()
	}},
	{"SYN with lower numbers in TIME_WAIT", func(c *wireCase) {
		k := c.inTimeWait()
		// Who has forgotten the connection resets it if he is told of it, and tries again.
		first, window := k.next-1<<20, uint16(1000)
		k.flow.send(segment{flags: syn, seq: first, window: window, options: optionStamp(500, 0)})
		s := k.expect("an answer", func(s segment) bool { return true })
		if s.flags == ack {
			k.sendAt(segment{flags: rst, seq: s.ack})
			k.flow.send(segment{flags: syn, seq: first, window: window, options: optionStamp(600, 0)})
			s = k.expect("an answer", func(s segment) bool { return true })
		}
		if s.flags != syn|ack || s.ack != first+1 {
			c.Fatalf("the answer is %v", s)
		}
		k.clock, k.next, k.due, k.echo = 700, s.ack, s.seq+1, s.stamp
		k.send(segment{})
		c.call("ok", "accept", "l", "%sa", c.name)
		k.alive()
	}},
	{"RST in TIME_WAIT", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		c.call("ok", "shutdown", "a", "1")
		k.expect("a FIN", func(s segment) bool { return s.flags&fin != 0 })
		k.due++
		k.send(segment{flags: fin})
		k.acked()
		k.sendAt(segment{flags: rst, seq: k.next})
		k.sendAt(segment{flags: fin, seq: k.next - 1})
		s := k.expect("an answer", func(s segment) bool { return true })
		if isReset(s) == c.h.inside { // its stack keeps RFC 1337
			c.Errorf("the answer is %v", s)
		}
	}},
	{"close with something unread", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.send(segment{data: []byte("unread")})
		k.acked()
		c.call("ok", "close", "a", "")
		k.expect("an RST", func(s segment) bool { return s.flags&rst != 0 && s.seq == k.due })
	}},
	{"close that does not linger", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		c.call("ok", "linger", "a", "")
		c.call("ok", "close", "a", "")
		k.expect("an RST", func(s segment) bool { return s.flags&rst != 0 && s.seq == k.due })
		k.gone()
	}},
	{"data after close", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		c.call("ok", "close", "a", "")
		k.expect("a FIN", func(s segment) bool { return s.flags&fin != 0 })
		k.due++
		k.send(segment{data: []byte("nobody reads this")})
		k.expect("an RST", isReset)
		k.gone()
	}},
	{"RST after FIN", func(c *wireCase) {
		c.listen(10, "")
		k := c.accepted()
		k.send(segment{flags: fin})
		k.acked()
		c.await("a", closeWait)
		k.sendAt(segment{flags: rst, seq: k.next})
		c.await("a", closed)
		c.call("error EPIPE", "write", "a", "10")
	}},
	{"close of who listens", func(c *wireCase) {
		c.listen(10, "")
		k := c.dial(c.far)
		k.send(segment{data: []byte("unread")})
		k.acked()
		c.call("ok", "close", "l", "")
		k.expect("an RST", isReset)
	}},
}

// inTimeWait is a connection that the program has closed first, and the peer then. Its port is that of a socket
// without SO_REUSEADDR.
func (c *wireCase) inTimeWait() *conn {
	c.listen(10, "1:2:0")
	k := c.accepted(optionStamp(1000, 0))
	k.alive()
	c.call("ok", "close", "a", "")
	k.expect("a FIN", func(s segment) bool { return s.flags&fin != 0 })
	k.due++
	k.send(segment{flags: fin})
	k.acked()
	return k
}
