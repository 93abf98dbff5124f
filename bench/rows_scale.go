package main

import (
	"context"
	"path/filepath"
	"strings"
)

// scaleFamilies are what happens to costs as more is done at once, and as there
// is more of everything.
func scaleFamilies() []family {
	const group = "scale"
	var list []family
	for _, what := range []string{"throughput", "growth"} {
		list = append(list, family{group: group, name: what, once: what == "growth",
			measure: func(ctx context.Context, b *bench, w *wall, _ string) ([]sample, error) {
				o, err := b.run(ctx, w, job{args: []string{filepath.Join(b.work, "scale"), what, "0.1"}})
				samples, parseErr := guestSamples(o.stdout, func(_, name string) row {
					return row{Group: group, Name: groupDigits(name), Unit: nanoseconds, Goals: []goal{notSlower}}
				})
				if err == nil {
					err = parseErr
				}
				return samples, err
			}})
	}
	return list
}

// groupDigits sets commas in the numbers of name.
func groupDigits(name string) string {
	fields := strings.Split(name, " ")
	for i, f := range fields {
		if strings.Trim(f, "0123456789") == "" {
			for n := len(f) - 3; n > 0; n -= 3 {
				f = f[:n] + "," + f[n:]
			}
			fields[i] = f
		}
	}
	return strings.Join(fields, " ")
}
