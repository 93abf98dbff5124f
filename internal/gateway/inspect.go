package gateway

import (
	"bytes"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// restMax is how much of the rest of a flow is put to the policy at once.
const restMax = 32 << 10

// inspectFirst puts the first bytes to the policy. None leave before it says that they may. If it
// has a say in the rest as well, that is carried here: over is the connection's end.
func (c *connection) inspectFirst() (inOrder, over bool) {
	var first bytes.Buffer
	late := time.NewTimer(inspectTime)
	defer late.Stop()
	until := late.C
	left := 0 // how many of the first bytes have
	for {
		err := c.readSome(&first, inspectMax-first.Len(), until)
		last := first.Len() >= inspectMax
		switch err.(type) {
		case nil:
		case *tcpip.ErrClosedForReceive:
			if first.Len() == 0 {
				return true, false // it has nothing to say, which is no secret
			}
			last = true
		case *tcpip.ErrTimeout:
			// What may not be silent is refused. Else the other side may be to speak first, or
			// somebody is typing: the first bytes are looked at whenever they come.
			if c.inspect(first.Bytes(), true) != Permit {
				return false, false
			}
			until = nil
			continue
		default:
			return false, false
		}
		switch decision := c.inspect(first.Bytes(), last); {
		case decision == Permit:
			if rest := c.rest(first.Bytes()); rest != nil {
				return c.inspectRest(rest, first.Bytes(), left)
			}
			return c.outer.sendAll(first.Bytes()[left:]) == nil, false
		case decision == Pass && !last:
			if c.outer.sendAll(first.Bytes()[left:]) != nil {
				return false, false
			}
			left = first.Len()
		case decision != Inspect || last:
			return false, false
		}
	}
}

// inspectRest carries what the sandbox sends, and its end, as far as the policy permits, and for as
// long as it has a say in it. Of the first bytes so many have left. It reports whether the
// connection is in order.
func (c *connection) inspectRest(rest Rest, first []byte, left int) (inOrder, over bool) {
	come := first
	for {
		pass, decision := rest.Next(come)
		again := min(left, len(pass))
		left -= again
		if decision != Permit || c.outer.sendAll(pass[again:]) != nil {
			return false, true
		}
		if rest.Over() {
			return true, false
		}
		var b bytes.Buffer // none is kept while the connection waits
		switch c.readSome(&b, restMax, nil).(type) {
		case nil:
			come = b.Bytes()
		case *tcpip.ErrClosedForReceive:
			c.outer.endSending()
			return true, true
		default:
			return false, true
		}
	}
}

// readSome waits for bytes from the sandbox, and appends some of them, no more than room.
func (c *connection) readSome(b *bytes.Buffer, room int, until <-chan time.Time) tcpip.Error {
	w := tcpip.LimitedWriter{W: b, N: int64(room)}
	return c.wait(waiter.ReadableEvents, until, func() tcpip.Error {
		_, err := c.inner.Read(&w, tcpip.ReadOptions{})
		return c.orCut(err)
	})
}
