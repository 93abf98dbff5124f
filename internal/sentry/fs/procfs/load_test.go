package procfs

import (
	"math"
	"testing"
	"time"
)

func TestLoadAverage(t *testing.T) {
	start := time.Unix(1000, 0)
	l := loadAverage{last: start}
	if got := l.update(start, 5); got != [3]float64{} {
		t.Errorf("at the start: %v", got)
	}
	got := l.update(start.Add(time.Minute), 2)
	for i, want := range []float64{2 * (1 - math.Exp(-1)), 2 * (1 - math.Exp(-1./5)), 2 * (1 - math.Exp(-1./15))} {
		if math.Abs(got[i]-want) > 1e-9 {
			t.Errorf("average %d is %v, want %v", i, got[i], want)
		}
	}
	if got := l.update(start.Add(24*time.Hour), 3); math.Abs(got[2]-3) > 1e-3 {
		t.Errorf("after a day: %v", got)
	}
	if got := l.update(start, 100); math.Abs(got[0]-3) > 1e-3 {
		t.Errorf("a clock that goes back: %v", got)
	}
}
