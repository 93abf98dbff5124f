package link

import (
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// helper accepts work, if it has time, and does it when told.
type helper struct {
	inflow
	has  bool
	work []func()
}

func (h *helper) Aside(work func()) bool {
	if h.has {
		h.work = append(h.work, work)
	}
	return h.has
}

// TestAside leaves what only acknowledges to who helps, once for all that waits, and sends all else itself.
func TestAside(t *testing.T) {
	h := &helper{has: true}
	a, _ := pair(t, Config{Inflow: h}, Config{})
	before := a.link.Statistics().SentFrames
	number := uint32(0)
	sends := func(what string, flags header.TCPFlags, data int, want uint64, work int) {
		t.Helper()
		number += 1 << 20 // more than may wait for an answer
		var list stack.PacketBufferList
		pkt := segment(t, 1, flags, number, data)
		pkt.LinkHeader().Push(header.EthernetMinimumSize)
		list.PushBack(pkt)
		a.link.WritePackets(list)
		if got := a.link.Statistics().SentFrames - before; got != want || len(h.work) != work {
			t.Errorf("%s: %d frames are sent, and %d times is help asked for; want %d, %d", what, got, len(h.work), want, work)
		}
	}
	sends("data", ack, 100, 1, 0)
	sends("an acknowledgement", ack, 0, 1, 1)
	sends("a second one", ack, 0, 1, 1)
	sends("the end", ack|header.TCPFlagFin, 0, 2, 1)
	if !a.link.Pending() {
		t.Error("nothing waits to be sent")
	}
	h.work[0]()
	if got := a.link.Statistics().SentFrames - before; got != 4 || a.link.Pending() {
		t.Errorf("%d frames are sent, and more wait: %v; want 4 and none", got, a.link.Pending())
	}
	sends("one more", ack, 0, 4, 2)
	h.work[1]()
	h.has = false
	sends("one without help", ack, 0, 6, 2)
}

// Meanwhile implements Outflow.
func (h *helper) Meanwhile(work func()) bool { return h.Aside(work) }

// TestMeanwhile leaves frames of a transfer in bulk to who helps, once for all that wait. What the socket does not take then
// leaves all the same, and so does what comes without help.
func TestMeanwhile(t *testing.T) {
	h := &helper{has: true}
	a, b := pair(t, Config{Outflow: h}, Config{})
	before := b.link.Statistics().ReceivedFrames
	const frames = 60 // more than the socket holds
	send := func() {
		for range frames {
			var list stack.PacketBufferList
			pkt := segment(t, 1, ack, 1, queueFrom)
			pkt.LinkHeader().Push(header.EthernetMinimumSize)
			list.PushBack(pkt)
			a.link.WritePackets(list)
		}
	}
	arrive := func(want uint64) {
		t.Helper()
		await(t, "the frames to come", func() bool { return b.link.Statistics().ReceivedFrames-before == want && !a.link.Pending() })
	}
	send()
	if len(h.work) != 1 {
		t.Fatalf("help is asked for %d times", len(h.work))
	}
	if got := b.link.Statistics().ReceivedFrames; got != before {
		t.Errorf("%d frames have come without help", got-before)
	}
	h.work[0]()
	arrive(frames)
	h.has = false
	send()
	arrive(2 * frames)
}
