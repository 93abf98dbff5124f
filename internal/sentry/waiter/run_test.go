package waiter

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// Who was made ready must run each time, not but for each 61st: unless the host has the test
// wait, so that Go's scheduler has that one give up its turn.
func TestLetRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	wake := make(chan struct{}, 1)
	var ran atomic.Int64
	go func() {
		for range wake {
			ran.Add(1)
		}
	}()
	runtime.Gosched()
	const times = 61 * 50
	late := 0
	for n := range int64(times) {
		wake <- struct{}{}
		if LetRun(); ran.Load() != n+1 {
			late++
		}
		for ran.Load() != n+1 {
			runtime.Gosched()
		}
	}
	close(wake)
	if late > times/61/2 {
		t.Errorf("%d of %d times who was woken had not run", late, times)
	}
}
