package link

import (
	"sync"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// TestHold has frames wait, and leave in the order in which they were sent.
func TestHold(t *testing.T) {
	h := new(Hold)
	m, other := pair(t, Config{Hold: h}, Config{})
	l := m.link
	write := func(size int) {
		l.WritePackets(oneFrame(t, size))
	}
	waiting := func(what string, want int) {
		t.Helper()
		l.sender.mu.Lock()
		got := len(l.sender.held)
		l.sender.mu.Unlock()
		if got != want {
			t.Errorf("%s: %d frames wait, want %d", what, got, want)
		}
	}
	// timed says whether the timer may have what waits leave.
	timed := func(is bool) {
		l.sender.mu.Lock()
		l.sender.acks.armed = !is
		l.sender.mu.Unlock()
	}
	timed(false)
	before := other.link.Statistics().ReceivedFrames
	came := func(what string, want uint64) {
		t.Helper()
		await(t, what, func() bool { return other.link.Statistics().ReceivedFrames-before == want })
	}

	write(100)
	waiting("a frame of nobody's", 0)
	came("it", 1)

	h.Begin()
	write(100)
	write(100)
	waiting("two of a task", 2)
	if !h.End() {
		t.Error("none waits at the end of the send")
	}
	h.Do()
	waiting("when they may leave", 0)
	came("both", 3)
	if h.Begin(); h.End() {
		t.Error("one waits though none was sent")
	}

	h.Begin()
	write(100)
	h.End()
	write(100)
	waiting("one behind which nobody's is sent", 0)
	came("both", 5)
	h.Do()

	h.Begin()
	for range holdFrames + 1 {
		write(100)
	}
	waiting("more than leave by one call", 0)
	came("all", 5+holdFrames+1)
	write(queueFrom)
	waiting("a large one", 0)
	came("it", 5+holdFrames+2)
	// It comes before the goroutine that has sent it ends, with which none would wait.
	await(t, "the end of the sending goroutine", func() bool {
		l.sender.mu.Lock()
		defer l.sender.mu.Unlock()
		return !l.sender.busy
	})

	write(100)
	waiting("one", 1)
	if !l.Pending() {
		t.Error("nothing is pending though a frame waits")
	}
	timed(true)
	write(100)
	h.End() // and nobody has it leave
	came("what was forgotten", 5+holdFrames+4)
	h.Do()

	h.Begin()
	write(100)
	if n := l.Statistics().SentFrames; n < 5+holdFrames+5 {
		t.Errorf("%d frames are said to be sent, and one waits", n)
	}
	h.End()
	h.Do()
}

// oneFrame is one for nobody, of which only counts that it comes.
func oneFrame(t *testing.T, size int) (list stack.PacketBufferList) {
	list.PushBack(segment(t, 1, ack|header.TCPFlagPsh, 0, size))
	return list
}

// TestHoldTogether has tasks send, release and forget at the same time as others send: all leaves.
func TestHoldTogether(t *testing.T) {
	h := new(Hold)
	m, other := pair(t, Config{Hold: h}, Config{})
	before := other.link.Statistics().ReceivedFrames
	const senders, each = 4, 200
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() {
			for n := range each {
				if i > 0 {
					h.Begin()
				}
				m.link.WritePackets(oneFrame(t, 10))
				if i > 0 && h.End() && n%4 != 0 {
					h.Do()
				}
			}
		})
	}
	all.Wait()
	await(t, "all frames", func() bool {
		return other.link.Statistics().ReceivedFrames-before == senders*each
	})
}
