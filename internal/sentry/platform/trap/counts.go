package trap

import (
	"sync/atomic"

	"coffer/internal/sentry/platform"
)

// counts sums up what contexts count for themselves, so that they need not
// share a cache line for each call.
type counts struct{ calls, trapped atomic.Uint64 }

var _ platform.Counter = (*trap)(nil)

// Counts implements platform.Counter.
func (p *trap) Counts() platform.Counts {
	return platform.Counts{Calls: p.counts.calls.Load(), Trapped: p.counts.trapped.Load()}
}

// Release implements platform.Context.
func (c *context) Release() {
	c.space.sums.calls.Add(c.counts.Calls + c.Kept())
	c.space.sums.trapped.Add(c.counts.Trapped)
	c.counts = platform.Counts{}
	c.Thread.Release()
}
