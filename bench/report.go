package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A report is a run's results as JSON has them; the table, the plot and the
// page in docs are made from it.
type report struct {
	Date time.Time `json:"date"`
	// Coffer is the SHA-256 of the executable.
	Coffer    string       `json:"coffer,omitempty"`
	Host      host         `json:"host"`
	Rounds    int          `json:"rounds"`
	Quick     bool         `json:"quick,omitempty"`
	Busy      bool         `json:"busy,omitempty"`
	Walls     []wallReport `json:"walls"`
	Rows      []rowReport  `json:"rows"`
	Summaries []summary    `json:"summaries"`
	Goals     []groupGoal  `json:"group_goals"`
	Failures  []failure    `json:"failures,omitempty"`
}

// host is what the run was on.
type host struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Load   string `json:"load"`
}

// wallReport is a wall, and why it was not measured if it was not.
type wallReport struct {
	Name    string `json:"name"`
	Missing string `json:"missing,omitempty"`
}

// rowReport is a row and what was measured for it by wall.
type rowReport struct {
	row
	Values   map[string]valueReport `json:"values"`
	Verdicts []verdict              `json:"verdicts,omitempty"`
}

// valueReport is a row's value on one wall: the median of samples, and its
// ratios over the bases.
type valueReport struct {
	Median  float64            `json:"median"`
	Samples []float64          `json:"samples"`
	Over    map[string]float64 `json:"over,omitempty"`
}

// groupGoal is a goal for a group's geometric mean.
type groupGoal struct {
	Group string `json:"group"`
	verdict
}

// groupGoals are the goals for geometric means.
var groupGoals = map[string]goal{"operations": {Over: "runsc systrap", Max: 0.33}}

func newReport(o options, res *results, walls []*wall) *report {
	r := &report{Date: time.Now().UTC().Truncate(time.Second), Coffer: digest(o.coffer), Host: thisHost(), Rounds: res.rounds, Quick: o.quick, Busy: o.busy,
		Summaries: res.summaries(), Failures: res.failures}
	for _, w := range walls {
		r.Walls = append(r.Walls, wallReport{w.name, w.missing})
	}
	for _, m := range res.rows {
		rr := rowReport{row: m.row, Values: make(map[string]valueReport), Verdicts: m.verdicts()}
		for wall, samples := range m.samples {
			v := valueReport{Median: m.value(wall), Samples: samples, Over: make(map[string]float64)}
			for _, base := range bases {
				if ratio := m.ratio(wall, base); wall != base && !math.IsNaN(ratio) {
					v.Over[base] = ratio
				}
			}
			rr.Values[wall] = v
		}
		r.Rows = append(r.Rows, rr)
	}
	for _, s := range r.Summaries {
		if g, ok := groupGoals[s.Group]; ok && s.Wall == goalWall && s.Over == g.Over {
			r.Goals = append(r.Goals, groupGoal{s.Group, verdict{g, s.Mean, s.Mean <= g.Max}})
		}
	}
	return r
}

// json renders r for programs.
func (r *report) json() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		panic(err) // medians of finite samples are finite
	}
	return b.Bytes()
}

// readReport reads what json rendered.
func readReport(path string) (*report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the results, which make bench writes: %w", err)
	}
	r := new(report)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// digest is a file's SHA-256, in hexadecimal; nothing if it can't be read.
func digest(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

func thisHost() host {
	h := host{CPUs: runtime.NumCPU(), CPU: "unknown", Load: "unknown"}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				h.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		h.Load, _, _ = strings.Cut(string(b), " ")
	}
	return h
}
