package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// table renders r for people: a table for each group, in Markdown that reads
// as well on a terminal.
func (r *report) table() string {
	var b strings.Builder
	rounds := "one round"
	if r.Rounds != 1 {
		rounds = fmt.Sprintf("medians of %d rounds", r.Rounds)
	}
	fmt.Fprintf(&b, "%s, Linux %s, %d × %s, load %s at the end; %s\n",
		r.Date.Format("2006-01-02 15:04 MST"), r.Host.Kernel, r.Host.CPUs, r.Host.CPU, r.Host.Load, rounds)
	if r.Busy {
		b.WriteString("\nOne busy loop for each processor ran beside all of it.\n")
	}
	for _, group := range r.groups() {
		fmt.Fprintf(&b, "\n### %s\n\n", group)
		writeAligned(&b, r.groupTable(group))
	}
	r.writeMissing(&b)
	r.writeVerdict(&b)
	return b.String()
}

// groupTable is the cells of a group's table, its header first.
func (r *report) groupTable(group string) [][]string {
	walls := r.wallsOf(group)
	ratios := r.ratioColumns(walls)
	head := append([]string{"row"}, walls...)
	for _, c := range ratios {
		head = append(head, c.title())
	}
	cells := [][]string{append(head, "goals")}
	for _, row := range r.Rows {
		if row.Group != group {
			continue
		}
		line := []string{row.Name}
		for _, wall := range walls {
			line = append(line, row.Unit.format(row.median(wall)))
		}
		for _, c := range ratios {
			line = append(line, formatRatio(row.over(c.wall, c.base)))
		}
		cells = append(cells, append(line, verdictText(row.Verdicts, row.Unit)))
	}
	if !slices.Contains(meanGroups, group) {
		return cells
	}
	mean := []string{"geometric mean"}
	for range walls {
		mean = append(mean, "")
	}
	for _, c := range ratios {
		mean = append(mean, formatRatio(r.mean(group, c)))
	}
	var verdicts []verdict
	for _, g := range r.Goals {
		if g.Group == group {
			verdicts = append(verdicts, g.verdict)
		}
	}
	return append(cells, append(mean, verdictText(verdicts, "")))
}

// A ratioColumn is a wall's ratios over another.
type ratioColumn struct{ wall, base string }

func (c ratioColumn) title() string {
	short := func(wall string) string {
		if first, rest, ok := strings.Cut(wall, " "); ok && first != "coffer" {
			return rest
		}
		return strings.TrimPrefix(wall, "coffer ")
	}
	return short(c.wall) + "/" + short(c.base)
}

// ratioColumns are the ratios that a table shows: all of Coffer's walls over
// the bases that were measured.
func (r *report) ratioColumns(walls []string) []ratioColumn {
	var columns []ratioColumn
	for _, base := range bases {
		for _, wall := range walls {
			if slices.Contains(walls, base) && wall != base && (strings.HasPrefix(wall, "coffer ") || base == "native" && slices.Contains(bases, wall)) {
				columns = append(columns, ratioColumn{wall, base})
			}
		}
	}
	return columns
}

// wallsOf are the walls that have values in the group, in their order.
func (r *report) wallsOf(group string) []string {
	var walls []string
	for _, w := range r.Walls {
		if slices.ContainsFunc(r.Rows, func(row rowReport) bool {
			_, ok := row.Values[w.Name]
			return ok && row.Group == group
		}) {
			walls = append(walls, w.Name)
		}
	}
	return walls
}

// groups lists the rows' groups in order.
func (r *report) groups() []string {
	var list []string
	for _, row := range r.Rows {
		if !slices.Contains(list, row.Group) {
			list = append(list, row.Group)
		}
	}
	return list
}

func (r *report) mean(group string, c ratioColumn) float64 {
	for _, s := range r.Summaries {
		if s.Group == group && s.Wall == c.wall && s.Over == c.base {
			return s.Mean
		}
	}
	return math.NaN()
}

// median is the row's value on a wall, NaN if there is none.
func (row *rowReport) median(wall string) float64 {
	if v, ok := row.Values[wall]; ok {
		return v.Median
	}
	return math.NaN()
}

// over is the row's ratio of a wall over a base, NaN if there is none.
func (row *rowReport) over(wall, base string) float64 {
	if v, ok := row.Values[wall].Over[base]; ok {
		return v
	}
	return math.NaN()
}

func formatRatio(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v < 0.0995:
		return fmt.Sprintf("%.3f", v)
	case v < 9.95:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

// verdictText says what the goals are and whether they are met.
func verdictText(verdicts []verdict, u unit) string {
	var parts []string
	for _, v := range verdicts {
		word := "met"
		if !v.Met {
			word = "MISSED"
		}
		parts = append(parts, v.goal.text(u)+" "+word)
	}
	return strings.Join(parts, "; ")
}

// writeMissing names the walls and rows that were not measured, and why.
func (r *report) writeMissing(b *strings.Builder) {
	var lines []string
	for _, w := range r.Walls {
		if w.Missing != "" {
			lines = append(lines, fmt.Sprintf("- %s: %s", w.Name, w.Missing))
		}
	}
	for _, f := range r.Failures {
		lines = append(lines, fmt.Sprintf("- %s, %s: %s", f.Family, f.Wall, f.Reason))
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\nNot measured:\n\n%s\n", strings.Join(lines, "\n"))
	}
}

// writeVerdict counts the goals that are met.
func (r *report) writeVerdict(b *strings.Builder) {
	met, all := 0, 0
	count := func(v verdict) {
		all++
		if v.Met {
			met++
		}
	}
	for _, row := range r.Rows {
		for _, v := range row.Verdicts {
			count(v)
		}
	}
	for _, g := range r.Goals {
		count(g.verdict)
	}
	if all > 0 {
		fmt.Fprintf(b, "\n%d of %d goals met.\n", met, all)
	}
}

// writeAligned writes cells as a Markdown table whose columns line up: text to
// the left, numbers to the right.
func writeAligned(b *strings.Builder, cells [][]string) {
	width := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell), 3)
		}
	}
	last := len(width) - 1
	for n, line := range cells {
		for i, cell := range line {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i > 0 && i < last {
				cell = pad + cell
			} else {
				cell += pad
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
		if n == 0 {
			for i := range line {
				rule := strings.Repeat("-", width[i]+2)
				if i > 0 && i < last {
					rule = rule[1:] + ":"
				}
				b.WriteString("|" + rule)
			}
			b.WriteString("|\n")
		}
	}
}
