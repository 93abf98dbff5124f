package crash

import "testing"

// panics runs f, and returns what it panicked with.
func panics(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

func TestGuard(t *testing.T) {
	told := 0
	Tell(func() { told++ })
	if v := panics(Guard(func() {})); v != nil || told != 0 || !Told() {
		t.Errorf("a sound function: %v, told %d times", v, told)
	}
	for range 2 { // only the first bug is told
		if v := panics(Guard(func() { panic("bug") })); v != "bug" || told != 1 || Told() {
			t.Errorf("a panic: %v, told %d times", v, told)
		}
	}
}
