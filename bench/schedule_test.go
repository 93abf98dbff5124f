package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// measuredBy has families measured behind two walls, one of them rare, and returns in
// which order.
func measuredBy(t *testing.T, o options, families []family) (order []string, res *results) {
	t.Helper()
	for i := range families {
		f := &families[i]
		f.measure = func(_ context.Context, _ *bench, w *wall, _ string) ([]sample, error) {
			order = append(order, f.name+w.name)
			return []sample{{row{Name: f.name}, 1}}, nil
		}
	}
	b := &bench{options: o, descendants: &descendants{}, tmp: t.TempDir(), started: time.Now()}
	res = newResults(nil)
	if err := b.measureRounds(t.Context(), res, families, []*wall{{}, {name: "-slow", rare: true}}); err != nil {
		t.Fatal(err)
	}
	return order, res
}

func TestRounds(t *testing.T) {
	prepared := 0
	families := func() []family {
		return []family{
			{name: "a", prepare: func(context.Context, *bench) error { prepared++; return nil }},
			{name: "once", once: true},
			{name: "rare", rare: true},
			{name: "broken", prepare: func(context.Context, *bench) error { return errors.New("it is not there") }},
			{name: "b"},
		}
	}
	order, res := measuredBy(t, options{rounds: 3}, families())
	if s := strings.Join(order, " "); s != "a once rare rare-slow b a rare b a rare b" {
		t.Errorf("the order was %s", s)
	}
	if prepared != 1 || res.rounds != 3 || len(res.failures) != 1 {
		t.Errorf("prepared %d times, %d rounds, failures %v", prepared, res.rounds, res.failures)
	}
	// The first round takes more than there is: it is the last one.
	order, res = measuredBy(t, options{rounds: 3, within: 1}, families())
	if s := strings.Join(order, " "); s != "a once rare rare-slow b" || res.rounds != 1 {
		t.Errorf("the order was %s in %d rounds", s, res.rounds)
	}
}

func TestLeft(t *testing.T) {
	s := newSchedule([]family{{name: "a"}, {name: "once", once: true}, {name: "broken"}, {name: "b"}})
	for i, took := range []time.Duration{time.Second, time.Minute, 0, 2 * time.Second} {
		s[i].took = took
	}
	s[2].dropped = true
	for _, tt := range []struct {
		i, round int
		want     string
	}{{0, 0, ""}, {0, 1, ", 6s left"}, {3, 1, ", 5s left"}, {3, 2, ", 2s left"}} {
		if got := s.left(tt.i, tt.round, 3); got != tt.want {
			t.Errorf("family %d of round %d: %q, want %q", tt.i, tt.round, got, tt.want)
		}
	}
}
