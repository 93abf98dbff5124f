package main

import (
	"fmt"
	"time"
)

// A schedule is the families of a run, and how long each takes in a round.
type schedule []entry

type entry struct {
	*family
	// took is how long it took the last time, 0 before.
	took time.Duration
	// dropped says that it can't be measured.
	dropped bool
}

func newSchedule(families []family) schedule {
	var s schedule
	for i := range families {
		s = append(s, entry{family: &families[i]})
	}
	return s
}

// in reports whether the family is measured in a round, the first of which is 0.
func (e *entry) in(round int) bool { return !e.dropped && (round == 0 || !e.once) }

// rest is how long those from the i-th family on take in a round that is not the
// first, as far as that is known.
func (s schedule) rest(i int) (d time.Duration) {
	for ; i < len(s); i++ {
		if s[i].in(1) {
			d += s[i].took
		}
	}
	return d
}

// left says how long the run will take from the i-th family of a round on; nothing in
// the first round, which is what shows it.
func (s schedule) left(i, round, rounds int) string {
	if round == 0 {
		return ""
	}
	d := s.rest(i) + time.Duration(rounds-round-1)*s.rest(0)
	return fmt.Sprintf(", %v left", d.Round(time.Second))
}
