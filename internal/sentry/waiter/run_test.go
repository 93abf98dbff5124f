package waiter

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// Who was made ready must run each time, not but for each 61st.
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
	for n := int64(1); n <= 500; n++ {
		wake <- struct{}{}
		if LetRun(); ran.Load() != n {
			t.Fatalf("%d of %d times who was woken had run", ran.Load(), n)
		}
	}
	close(wake)
}
