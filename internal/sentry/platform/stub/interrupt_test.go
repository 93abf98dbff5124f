package stub

import (
	"testing"
	"time"
)

// TestUnanswered has a stub ended that does not answer, sooner if its guest is to end.
func TestUnanswered(t *testing.T) {
	for _, c := range []struct {
		name  string
		last  bool
		ticks int
	}{{"to go on", false, answerTicks}, {"to end", true, lastTicks}} {
		t.Run(c.name, func(t *testing.T) {
			s := quietStubs(t)
			s.answerTick = time.Hour // the test has it look
			th := newGuest(t, s, nil)
			th.state.Store(stateGuest)
			th.Interrupt(false)
			th.Interrupt(c.last)
			for range c.ticks {
				th.unanswered()
			}
			answers(t, th)
			th.unanswered()
			for !th.Gone() {
				time.Sleep(time.Millisecond)
			}
		})
	}
}
