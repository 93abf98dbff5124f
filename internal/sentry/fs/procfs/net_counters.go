package procfs

import (
	"fmt"

	"coffer/internal/sentry/network"
)

// counterLines appends two lines for each group: names, and numbers.
func counterLines(b []byte, groups []network.CounterGroup) []byte {
	for _, g := range groups {
		b = append(b, g.Name+":"...)
		for _, c := range g.Counters {
			b = append(b, " "+c.Name...)
		}
		b = append(b, "\n"+g.Name+":"...)
		for _, c := range g.Counters {
			b = fmt.Appendf(b, " %d", int64(c.Value))
		}
		b = append(b, '\n')
	}
	return b
}

func netSNMP(v netView, b []byte) []byte { return counterLines(b, v.IP.Counters()) }

func netNetstat(v netView, b []byte) []byte { return counterLines(b, v.IP.MoreCounters()) }

func netSNMP6(v netView, b []byte) []byte {
	for _, c := range v.IP.CountersIPv6() {
		b = fmt.Appendf(b, "%-32s\t%d\n", c.Name, c.Value)
	}
	return b
}
