package waiter

import "runtime"

// LetRun runs the goroutines that the caller has just made ready. It is for who sleeps in the
// host next, which keeps Go's processor, with all that wait for it, until sysmon takes that
// away, after up to 10 ms and more while all processors are in use. No lock may be held.
//
// Each 61st time Go's scheduler looks into the queue of all processors first, where Gosched
// puts the caller, who would go on. Not twice in a row.
func LetRun() {
	runtime.Gosched()
	runtime.Gosched()
}
