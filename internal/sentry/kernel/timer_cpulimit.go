package kernel

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// cpuLimit enforces RLIMIT_CPU (getrlimit(2)): SIGXCPU at the soft limit and
// each second after, SIGKILL at the hard limit.
type cpuLimit struct {
	mu    sync.Mutex
	alarm *alarm // made when there is a limit
}

// CPULimitChanged is to be called when RLIMIT_CPU has changed, and when a
// process was made that has such a limit.
func (g *ThreadGroup) CPULimitChanged() {
	limit := g.limits.Get(unix.RLIMIT_CPU)
	c := &g.timers.cpuLimit
	source := cpuSource{group: g}
	now := source.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	next := min(limit.Cur, limit.Max)
	if next == Infinity {
		if c.alarm != nil {
			c.alarm.disarm()
		}
		return
	}
	if c.alarm == nil {
		c.alarm = &alarm{source: source, fire: g.cpuLimitReached}
	}
	c.alarm.arm(seconds(next), now)
}

// seconds turns seconds into a duration, or the longest that there is.
func seconds(n uint64) time.Duration {
	const most = uint64(1<<63-1) / uint64(time.Second)
	return time.Duration(min(n, most)) * time.Second
}

func (g *ThreadGroup) cpuLimitReached(now time.Duration) {
	limit := g.limits.Get(unix.RLIMIT_CPU)
	if now >= seconds(limit.Max) {
		g.Kill()
		return
	}
	if now < seconds(limit.Cur) {
		g.CPULimitChanged()
		return
	}
	g.Signal(KernelSignal(unix.SIGXCPU))
	c := &g.timers.cpuLimit
	c.mu.Lock()
	defer c.mu.Unlock()
	next := min(now.Truncate(time.Second)+time.Second, seconds(limit.Max))
	c.alarm.arm(next, now)
}

func (c *cpuLimit) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alarm != nil {
		c.alarm.disarm()
	}
}
