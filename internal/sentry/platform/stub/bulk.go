package stub

// What a call moves is copied by both sides, by way of the window. If they are on two
// processors, each copy fetches all from the other one's cache, which takes four times as long as
// to copy what is in the own one; and while one side copies the other spins. For a thread that
// moves much at each call that costs more than to switch sides on one processor. So in a crowd,
// where the other processors have something else to do, such a thread does not take the floor: it
// sleeps at each turn, and both sides go together (placement.go). Alone it goes on apart, since
// the host would wake each side on an idle processor.

const (
	// bulkFrom is how much a turn moves on average if a thread is in bulk. Turns that move
	// nothing, as of poll(2), count.
	bulkFrom = 16 << 10
	// bulkTurn is how much one turn counts for at most, and bulkTurns of how many the average
	// is, so that a few make none.
	bulkTurn  = 4 * bulkFrom
	bulkTurns = 8
	// bulkMost is how much of the window stays in a processor's cache. A turn that moves more
	// counts for nothing: it gains little, and spins pay beside what it takes.
	bulkMost = 256 << 10
)

// bulk is how much a Thread moves, since it last waited for something else.
type bulk struct {
	moved   int // in this turn
	average int
	written int // to the guest's memory
}

// turn ends one.
func (b *bulk) turn() {
	counts := min(b.moved, bulkTurn)
	if b.moved > bulkMost {
		counts = 0
	}
	b.average += (counts - b.average) / bulkTurns
	b.moved = 0
}

// inBulk reports whether the thread moves much, and others are at work: for such a thread who reads
// in bulk from the host is one (inflow.go).
func (t *Thread) inBulk() bool {
	if t.bulk.average < bulkFrom {
		return false
	}
	s := t.proc.stubs
	n := s.working.Load()
	if s.inflow.inBulk() {
		n++
	}
	return n > s.spin.workers
}
