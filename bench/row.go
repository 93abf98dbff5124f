package main

import (
	"fmt"
	"math"
	"time"
)

// A unit says what a row's values are. Less is better in all of them.
type unit string

const (
	nanoseconds unit = "ns"
	byteCount   unit = "B"
	share       unit = "%"
)

// format renders v for people.
func (u unit) format(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case u == byteCount:
		return fmt.Sprintf("%.1f MB", v/1e6)
	case u == share:
		return fmt.Sprintf("%.2f %%", v)
	case v < 1e3:
		return fmt.Sprintf("%.0f ns", v)
	}
	d := time.Duration(v)
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", v/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", v/1e6)
	}
	return fmt.Sprintf("%.3g s", v/1e9)
}

// A goal bounds the value of a row for a wall.
type goal struct {
	// Wall is the wall's name, if it is not goalWall.
	Wall string `json:"wall,omitempty"`
	// Over names the wall whose value is the bound's unit. If it is empty the
	// bound is absolute, in the row's unit.
	Over string  `json:"over,omitempty"`
	Max  float64 `json:"max"`
}

// text renders g for the row's unit.
func (g goal) text(u unit) string {
	text := "≤ " + u.format(g.Max)
	if g.Over != "" {
		text = fmt.Sprintf("≤ %g × %s", g.Max, g.Over)
	}
	if g.Wall != "" {
		text = g.Wall + " " + text
	}
	return text
}

// wall is the wall that the goal is about.
func (g goal) wall() string {
	if g.Wall != "" {
		return g.Wall
	}
	return goalWall
}

// A row is one line of the table.
type row struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	Unit  unit   `json:"unit"`
	Goals []goal `json:"goals,omitempty"`
}

// key identifies a row: its group and its name.
func (r row) key() string { return r.Group + "/" + r.Name }

// A sample is what one round measured for a row.
type sample struct {
	row   row
	value float64
}
