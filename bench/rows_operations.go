package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// operationGoals are the goals for kinds of operations, beside notSlower,
// which is every operation's.
var operationGoals = map[string]goal{
	"call":  {Over: "native", Max: 4},
	"fault": {Over: "native", Max: 1.2},
	"map":   {Over: "native", Max: 3},
	"fork":  {Over: "native", Max: 3},
	"exec":  {Over: "native", Max: 2},
}

var notSlower = goal{Over: "runsc systrap", Max: 1}

// operationFamilies are single operations, on a quiet host and on one whose
// processors all have something else to do.
func operationFamilies() []family {
	const quiet, busy = "operations", "operations-busy"
	return []family{
		{group: quiet, quick: true, rare: true, process: true, measure: func(ctx context.Context, b *bench, w *wall, part string) ([]sample, error) {
			return b.operations(ctx, w, quiet, part)
		}},
		{group: busy, measure: func(ctx context.Context, b *bench, w *wall, part string) ([]sample, error) {
			stop, err := b.keepBusy(ctx)
			if err != nil {
				return nil, err
			}
			defer stop()
			return b.operations(ctx, w, busy, part)
		}},
	}
}

func (b *bench) operations(ctx context.Context, w *wall, group, part string) ([]sample, error) {
	seconds := "0.2"
	if b.quick {
		seconds = "0.05"
	}
	o, err := b.run(ctx, w, job{args: []string{filepath.Join(b.work, "operations"), seconds, part}})
	samples, parseErr := guestSamples(o.stdout, func(kind, name string) row {
		r := row{Group: group, Name: name, Unit: nanoseconds}
		if g, ok := operationGoals[kind]; ok && group == "operations" {
			r.Goals = append(r.Goals, g)
		}
		r.Goals = append(r.Goals, notSlower)
		return r
	})
	if err == nil {
		err = parseErr
	}
	return append(samples, o.slowSamples("all "+group)...), err
}

// guestSamples reads what a guest program printed: lines of a kind, a name and
// nanoseconds, separated by tabs.
func guestSamples(text string, rowOf func(kind, name string) row) ([]sample, error) {
	var samples []sample
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 {
			return samples, fmt.Errorf("the guest program printed %q", line)
		}
		v, err := strconv.ParseFloat(f[2], 64)
		if err != nil || !(v > 0) {
			return samples, fmt.Errorf("the guest program measured %q for %s", f[2], f[1])
		}
		samples = append(samples, sample{rowOf(f[0], f[1]), v})
	}
	return samples, nil
}
