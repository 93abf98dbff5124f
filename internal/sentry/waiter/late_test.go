package waiter

import "testing"

// looker is one for whom others are late or not.
type looker struct {
	late  bool
	looks int
}

func (l *looker) Look() bool {
	l.looks++
	return l.late
}

// All are asked, as long as they are to be, each time.
func TestLate(t *testing.T) {
	if Late() {
		t.Error("somebody is late where nobody waits")
	}
	var a, b looker
	endA, endB := LookAfter(&a), LookAfter(&b)
	if Late() {
		t.Error("somebody is late, but for whom?")
	}
	a.late = true
	if !Late() {
		t.Error("the first one's are not late")
	}
	endA()
	if Late() {
		t.Error("those are late who are not looked after")
	}
	endB()
	Late()
	if a.looks != 2 || b.looks != 3 {
		t.Errorf("they looked %d and %d times", a.looks, b.looks)
	}
}
