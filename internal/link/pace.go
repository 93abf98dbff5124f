package link

import "time"

// Pace is a token bucket: so many bytes a second, and at once what the bucket holds.
// One goroutine uses it.
type Pace struct {
	Rate uint64 // bytes a second; 0 is no limit
	next time.Time
}

// Bursts are what a hundredth of a second allows, and a large segment at least.
const (
	burst    = 10 * time.Millisecond
	burstMin = 64 << 10 // bytes
)

// Wait waits until bytes that have crossed, or are to, are within the rate, or stop is closed.
func (p *Pace) Wait(bytes int, stop <-chan struct{}) {
	if d := p.take(bytes, time.Now()); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-stop:
		}
	}
}

// take takes bytes out of the bucket, and returns how long it takes to have them.
func (p *Pace) take(bytes int, now time.Time) time.Duration {
	if p.Rate == 0 {
		return 0
	}
	holds := max(burst, p.lasts(burstMin))
	if earliest := now.Add(-holds); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(p.lasts(bytes))
	return p.next.Sub(now)
}

// lasts is how long bytes take at the rate.
func (p *Pace) lasts(bytes int) time.Duration {
	return time.Duration(float64(bytes) / float64(p.Rate) * float64(time.Second))
}
