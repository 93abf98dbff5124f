package stub

import "testing"

// done counts how often it was done.
type done int

func (d *done) Do() { *d++ }

// TestLater puts off what is done at a rest, and learns whether that pays.
func TestLater(t *testing.T) {
	th := &Thread{proc: &Process{stubs: &Stubs{}}, page: new(page)}
	var one, other done
	th.Later(&one)
	th.Later(&one)
	if one != 0 {
		t.Error("done at once")
	}
	th.Later(&other)
	if one != 1 || other != 0 {
		t.Errorf("done %d and %d times, want the first before the other is put off", one, other)
	}
	th.doLater()
	th.doLater()
	if other != 1 {
		t.Errorf("done %d times", other)
	}
	th.later.failures = 0

	sends, tries := 0, 0
	for ; sends < 3*laterRarely; sends++ {
		if th.PutsOff() {
			tries++
			th.Later(&one)
			th.doLater()
		}
	}
	if tries < 10 || tries > 20 {
		t.Errorf("%d of %d single sends were put off", tries, sends)
	}
	for !th.PutsOff() {
	}
	th.Later(&one)
	th.Later(&one)
	th.doLater()
	for range 100 {
		if !th.PutsOff() {
			t.Error("not put off though it pays")
		}
		th.Later(&one)
		th.Later(&one)
		th.doLater()
	}
	th.traced = true
	if th.PutsOff() {
		t.Error("put off where a tracer takes over")
	}
}
