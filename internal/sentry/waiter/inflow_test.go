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

// TestInflowAside: others do work while much comes in several streams, and only then.
func TestInflowAside(t *testing.T) {
	var i Inflow
	asked := 0
	i.HelpedBy(func(func()) bool {
		asked++
		return true
	})
	now := time.Now()
	for _, several := range []bool{false, true, false, true} {
		// Again if the host has the test wait so long that it may have ended by itself.
		for begin, took := time.Now(), inflowLasts; took >= inflowLasts; took = time.Since(begin) {
			begin = time.Now()
			for range 3 {
				now = now.Add(inflowSpan)
				i.read(inflowFrom, several, now)
			}
			asked = 0
			if did := i.Aside(func() {}); i.InBulk() && (did != several || did != (asked == 1)) {
				t.Errorf("several streams %v: does %v, asked %d times", several, did, asked)
			}
		}
	}
	i.timer.Stop()
	i.end()
	if i.Aside(func() {}) {
		t.Error("others do work where nothing comes")
	}
	i.bulk.Store(true)
	i.helper.Store(nil)
	if i.Aside(func() {}) {
		t.Error("somebody does work where nobody helps")
	}
}
