package waiter

import (
	"runtime"
	"testing"
)

// Who was made ready must run each time, not but for each 61st.
func TestLetRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	wake, ran := make(chan struct{}, 1), 0
	go func() {
		for range wake {
			ran++
		}
	}()
	runtime.Gosched()
	for n := 1; n <= 500; n++ {
		wake <- struct{}{}
		if LetRun(); ran != n {
			t.Fatalf("%d of %d times who was woken had run", ran, n)
		}
	}
	close(wake)
}
