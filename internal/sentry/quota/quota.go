// Package quota counts what a user has in use of a kind of kernel object, so
// that nobody makes the sentry hold more of it than Linux would.
//
// It must not know what is counted, and has no locks.
package quota

import (
	"math"
	"sync/atomic"
)

// Count is how many of something are in use. The zero Count is none. Safe for
// concurrent use.
type Count struct{ n atomic.Int64 }

// Take counts one more, or reports false if limit are in use already.
func (c *Count) Take(limit uint64) bool { return c.TakeMany(1, limit) }

// TakeMany counts n more, or reports false if that would be more than limit, or
// n is negative.
func (c *Count) TakeMany(n int64, limit uint64) bool {
	for {
		used := c.n.Load()
		if n < 0 || used > math.MaxInt64-n || uint64(max(used+n, 0)) > limit {
			return false
		}
		if c.n.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// Add counts n more whatever the limit, or fewer if n is negative, and returns
// how many are in use then.
func (c *Count) Add(n int64) int64 { return c.n.Add(n) }

// Used is how many are in use.
func (c *Count) Used() int64 { return c.n.Load() }
