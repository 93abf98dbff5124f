package waiter

import (
	"testing"
	"time"
)

// TestInflow: it is in bulk once much has come within a short time, and only then has who reads step
// aside.
func TestInflow(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes int
		every time.Duration
		want  bool
	}{
		{"64 KiB every 100 µs", 64 << 10, 100 * time.Microsecond, true},
		{"128 KiB every ms", 128 << 10, time.Millisecond, true},
		{"64 bytes every 10 µs", 64, 10 * time.Microsecond, false},
		{"1 MiB every second", 1 << 20, time.Second, false},
	} {
		var i *Inflow
		var bulk bool
		stepped := 0
		// Again if the host has the test wait so long that it may have ended by itself.
		for begin, took := time.Now(), inflowLasts; took >= inflowLasts; took = time.Since(begin) {
			i, stepped = new(Inflow), 0
			step := func() { stepped++ }
			i.Avoid(&step)
			i.Begin()
			if stepped != 0 {
				t.Errorf("%s: who reads steps aside before anything came", c.name)
			}
			begin = time.Now()
			now := begin
			for range 100 {
				now = now.Add(c.every)
				i.read(c.bytes, false, now)
			}
			i.Avoid(&step)
			i.Begin()
			bulk = i.InBulk()
		}
		if bulk != c.want || (stepped == 1) != c.want {
			t.Errorf("%s: in bulk %v, stepped aside %d times, want %v", c.name, bulk, stepped, c.want)
		}
		i.end()
		i.Begin()
		if i.InBulk() || stepped > 1 {
			t.Errorf("%s: in bulk after its end %v, stepped aside %d times", c.name, i.InBulk(), stepped)
		}
		if i.timer != nil {
			i.timer.Stop()
		}
	}
}

// TestInflowOne: what comes is one stream's until frames of several have come, and again once they no longer do.
func TestInflowOne(t *testing.T) {
	var i Inflow
	now := time.Now()
	comes := func(several bool) {
		for range 3 {
			now = now.Add(inflowSpan)
			i.read(inflowFrom, several, now)
		}
	}
	for _, several := range []bool{false, true, false} {
		// Again if the host has the test wait so long that it may have ended by itself.
		for begin, took := time.Now(), inflowLasts; took >= inflowLasts; took = time.Since(begin) {
			begin = time.Now()
			comes(several)
			if i.InBulk() && i.IsOne() == several {
				t.Errorf("several streams %v: one %v", several, i.IsOne())
			}
		}
	}
	i.end()
	if i.IsOne() {
		t.Error("nothing comes, in one stream")
	}
	i.timer.Stop()
}
