package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// The plot's measures, in pixels.
const (
	plotWidth   = 1000
	plotLabels  = 330 // the width of the rows' names
	plotMargin  = 30
	plotRow     = 18
	plotHeading = 30
	plotLegend  = 50
)

// wallColours are the dots' colours: related walls have related ones, and dark
// ones are on platforms that intercept without ptrace.
var wallColours = map[string]string{
	"coffer trap": "#0b7a4b", "coffer ptrace": "#7fcfa8",
	"runsc systrap": "#c2410c", "runsc ptrace": "#f5b38a",
	"runc": "#1d4ed8", "crun": "#8fb0f5",
}

// plot draws the ratios of all rows over the host itself, on a logarithmic
// scale, as SVG: a line for each row, a dot for each wall.
func (r *report) plot() []byte {
	rows := slices.DeleteFunc(slices.Clone(r.Rows), func(row rowReport) bool { return len(row.ratiosOver("native")) == 0 })
	low, high := 1.0, 10.0
	for _, row := range rows {
		for _, v := range row.ratiosOver("native") {
			low, high = min(low, v), max(high, v)
		}
	}
	low, high = math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	x := func(ratio float64) float64 {
		return plotLabels + (math.Log10(ratio)-low)/(high-low)*(plotWidth-plotLabels-plotMargin)
	}
	groups := (&report{Rows: rows}).groups()
	height := plotLegend + len(groups)*plotHeading + len(rows)*plotRow + plotMargin

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height)
	b.WriteString("<title>Times and sizes over those without a wall; less is better</title>\n")
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, height)
	r.plotLegend(&b)
	for e := low; e <= high; e++ {
		at := x(math.Pow(10, e))
		colour := "#dddddd"
		if e == 0 {
			colour = "#333333"
		}
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>`+"\n", at, plotLegend, at, height-plotMargin, colour)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#555555">× %g</text>`+"\n", at, plotLegend-4, math.Pow(10, e))
	}
	y := plotLegend
	for _, group := range groups {
		y += plotHeading
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", plotMargin/2, y-8, escapeXML(group))
		for _, row := range rows {
			if row.Group != group {
				continue
			}
			row.plot(&b, r.Walls, x, y)
			y += plotRow
		}
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// plotLegend writes the names of the walls that were measured.
func (r *report) plotLegend(b *strings.Builder) {
	x := plotMargin / 2
	for _, w := range r.Walls {
		colour, ok := wallColours[w.Name]
		if !ok || w.Missing != "" {
			continue
		}
		fmt.Fprintf(b, `<circle cx="%d" cy="16" r="5" fill="%s"/><text x="%d" y="20">%s</text>`+"\n", x+5, colour, x+14, escapeXML(w.Name))
		x += 30 + 7*len(w.Name)
	}
	fmt.Fprintf(b, `<text x="%d" y="20" text-anchor="end" fill="#555555">over native; less is better</text>`+"\n", plotWidth-plotMargin)
}

// plot draws the row at height y.
func (row *rowReport) plot(b *strings.Builder, walls []wallReport, x func(float64) float64, y int) {
	ratios := row.ratiosOver("native")
	middle := y + plotRow/2 - 2
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", plotLabels-10, middle+4, escapeXML(row.Name))
	least, most := math.Inf(1), math.Inf(-1)
	for _, v := range ratios {
		least, most = min(least, v), max(most, v)
	}
	fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%[2]d" stroke="#eeeeee" stroke-width="4"/>`+"\n", x(least), middle, x(most))
	for _, w := range walls {
		if v, ok := ratios[w.Name]; ok {
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%d" r="5" fill="%s"><title>%s: × %s</title></circle>`+"\n",
				x(v), middle, wallColours[w.Name], escapeXML(w.Name), formatRatio(v))
		}
	}
}

// ratiosOver are the row's positive ratios over base by wall, of walls that
// have a colour.
func (row *rowReport) ratiosOver(base string) map[string]float64 {
	ratios := make(map[string]float64)
	for wall, v := range row.Values {
		if ratio, ok := v.Over[base]; ok && ratio > 0 && wallColours[wall] != "" {
			ratios[wall] = ratio
		}
	}
	return ratios
}

func escapeXML(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err) // a Builder takes everything
	}
	return b.String()
}
