package inet

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// Urgent data (MSG_OOB in tcp(7) and RFC 6093) is there for connections within a
// namespace, whose bytes pass the stack by. What the stack carries has no urgent pointer:
// there the urgent byte comes like others, as with SO_OOBINLINE. It often does in the
// world, since firewalls take the pointer away, so that programs must cope.

// urgency says what has become of the byte that was sent as urgent last.
type urgency uint8

const (
	notUrgent urgency = iota // there is none, or what was read went past it
	urgentThere
	urgentTaken // by MSG_OOB: it is left out of what is read
)

// applyInline is SO_OOBINLINE.
func applyInline(s *Socket, _ tcpip.Endpoint, v int32) { s.oobInline.Store(v != 0) }

// mark makes the byte that comes last urgent, instead of another one. near.mu is held.
func (f *flow) mark() {
	f.urgency, f.urgentAt = urgentThere, f.taken+int64(f.data.Len())-1
}

// passMark forgets the urgent byte if that is the next to be read, since another follows.
// near.mu is held.
func (f *flow) passMark(inline bool) {
	if !inline && f.atMark() && f.data.Len() > 0 {
		f.discard(1)
	}
}

// atMark reports whether the urgent byte is the next one. near.mu is held.
func (f *flow) atMark() bool { return f.urgency != notUrgent && f.urgentAt == f.taken }

// take reads or peeks at what comes before the urgent byte, or, if that is the next one,
// what comes after it. near.mu is held.
func (f *flow) take(p []byte, peek, inline bool) int {
	skip := 0
	p = p[:min(len(p), f.shown())]
	switch {
	case f.urgency == notUrgent:
	case !f.atMark():
		p = p[:min(int64(len(p)), f.urgentAt-f.taken)]
	case !inline && len(p) > 0:
		skip = 1
		p = p[:min(len(p), f.shown()-skip)]
	}
	n := f.data.Peek(p, skip)
	if !peek {
		f.discard(skip + n)
	}
	return n
}

// discard takes bytes off the front. near.mu is held.
func (f *flow) discard(n int) {
	f.data.Discard(n)
	f.hidden = min(f.hidden, f.data.Len())
	if f.taken += int64(n); f.taken > f.urgentAt {
		f.urgency = notUrgent
	}
}

// readable is how many bytes can be read at once, as FIONREAD tells. near.mu is held.
func (f *flow) readable(inline bool) int {
	if f.urgency == notUrgent || inline {
		return f.shown()
	}
	return min(int(f.urgentAt-f.taken), f.shown())
}

// recvUrgent takes the urgent byte: MSG_OOB. EINVAL if there is none, or it comes inline.
func (s *Socket) recvUrgent(p []byte, peek bool) (int, error) {
	n := s.end.Load()
	if n == nil || s.oobInline.Load() {
		return 0, unix.EINVAL
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	in := n.in()
	if in.urgency != urgentThere || in.urgentAt-in.taken >= int64(in.shown()) {
		return 0, unix.EINVAL
	}
	done := in.data.Peek(p[:min(len(p), 1)], int(in.urgentAt-in.taken))
	if !peek {
		in.urgency = urgentTaken
	}
	return done, nil
}

// atMark is sockatmark(3): whether the urgent byte is the next to be read.
func (s *Socket) atMark() bool {
	n := s.end.Load()
	if n == nil || n.viaStack.Load() > 0 {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.in().atMark()
}
