package procfs

import (
	"math"
	"sync"
	"time"
)

// loadPeriods are the times over which load averages are taken.
var loadPeriods = [3]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}

// loadAverage keeps the exponentially damped averages of proc_loadavg(5). They
// are brought up to date when somebody looks, as if as many threads as run
// then had run all the time since the last look: a timer would wake an idle
// sandbox for nobody.
type loadAverage struct {
	mu   sync.Mutex
	last time.Time
	avg  [3]float64
}

// update takes running as the load since the last call and returns the
// averages.
func (l *loadAverage) update(now time.Time, running int) [3]float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := now.Sub(l.last); d > 0 {
		for i, period := range loadPeriods {
			keep := math.Exp(-d.Seconds() / period.Seconds())
			l.avg[i] = l.avg[i]*keep + float64(running)*(1-keep)
		}
		l.last = now
	}
	return l.avg
}
