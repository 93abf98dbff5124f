package main

import (
	"math"
	"slices"
)

// goalWall is the wall that goals are about unless they name another one.
const goalWall = "coffer trap"

// results collects what the rounds measured.
type results struct {
	// rounds is how many were begun.
	rounds   int
	walls    []string
	rows     []*measured
	byKey    map[string]*measured
	failures []failure
}

// measured is a row and its samples by wall.
type measured struct {
	row
	samples map[string][]float64
}

// A failure says why a wall has no value for what a family measures.
type failure struct {
	Family string `json:"family"`
	Wall   string `json:"wall"`
	Reason string `json:"reason"`
}

func newResults(walls []string) *results {
	return &results{walls: walls, byKey: make(map[string]*measured)}
}

// add adds what one round measured on a wall. A row that other walls have not
// had comes behind the one that it was measured after.
func (r *results) add(wall string, samples []sample) {
	at := len(r.rows)
	for _, s := range samples {
		m := r.byKey[s.row.key()]
		if m == nil {
			m = &measured{row: s.row, samples: make(map[string][]float64)}
			r.byKey[s.row.key()] = m
			r.rows = slices.Insert(r.rows, at, m)
		}
		m.samples[wall] = append(m.samples[wall], s.value)
		at = slices.Index(r.rows, m) + 1
	}
}

// fail notes a failure, each once.
func (r *results) fail(f failure) {
	if !slices.Contains(r.failures, f) {
		r.failures = append(r.failures, f)
	}
}

// value is the row's median on a wall, NaN if there is none.
func (m *measured) value(wall string) float64 { return median(m.samples[wall]) }

// ratio is the row's median on a wall over that on another, NaN if one of them
// is missing.
func (m *measured) ratio(wall, over string) float64 {
	r := m.value(wall) / m.value(over)
	if math.IsInf(r, 0) {
		return math.NaN()
	}
	return r
}

// A verdict says how a row stands to one of its goals.
type verdict struct {
	goal
	Reached float64 `json:"reached"`
	Met     bool    `json:"met"`
}

// verdicts judges the row's goals, without those that can't be judged for lack
// of a value.
func (m *measured) verdicts() []verdict {
	var list []verdict
	for _, g := range m.Goals {
		reached := m.value(g.wall())
		if g.Over != "" {
			reached = m.ratio(g.wall(), g.Over)
		}
		if !math.IsNaN(reached) {
			list = append(list, verdict{g, reached, reached <= g.Max})
		}
	}
	return list
}

// A summary is a geometric mean of a group's ratios.
type summary struct {
	Group string  `json:"group"`
	Wall  string  `json:"wall"`
	Over  string  `json:"over"`
	Mean  float64 `json:"geomean"`
	Rows  int     `json:"rows"`
}

// meanGroups are the groups whose rows are alike enough for a mean of them to
// say something.
var meanGroups = []string{"operations", "operations-busy", "applications"}

// summaries are the means for each of meanGroups and wall over the walls that
// ratios are taken over.
func (r *results) summaries() []summary {
	var list []summary
	for _, group := range meanGroups {
		for _, over := range bases {
			for _, wall := range r.walls {
				if wall == over {
					continue
				}
				var ratios []float64
				for _, m := range r.rows {
					if v := m.ratio(wall, over); m.Group == group && v > 0 {
						ratios = append(ratios, v)
					}
				}
				if len(ratios) > 0 {
					list = append(list, summary{group, wall, over, geomean(ratios), len(ratios)})
				}
			}
		}
	}
	return list
}
