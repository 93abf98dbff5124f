// Package crash lets goroutines that belong to no task of a guest have it told,
// when a bug makes them panic, what the guests did before. The Go runtime then
// ends the process and shows all stacks, as it does for tasks.
//
// It must not know what is told, and takes no locks.
package crash

import "sync/atomic"

var report atomic.Pointer[func()]

// Tell has f called once if a guarded function panics. f must not panic, and
// must not wait for locks for long: who panicked may hold any.
func Tell(f func()) { report.Store(&f) }

// Told reports whether somebody would be told.
func Told() bool { return report.Load() != nil }

// Guard returns a function that does what f does and tells if that panics.
func Guard(f func()) func() {
	return func() {
		sound := false
		defer func() {
			if sound {
				return
			}
			if tell := report.Swap(nil); tell != nil {
				(*tell)()
			}
		}()
		f()
		sound = true
	}
}
