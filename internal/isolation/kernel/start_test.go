package kernel

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDyingThread(t *testing.T) {
	want := errors.New("as it should")
	for range 100 {
		var tid int
		if err := onDyingThread(func() error { tid = unix.Gettid(); return want }); err != want {
			t.Fatal(err)
		}
		if tid == unix.Getpid() {
			t.Error("the first thread was used, which does not end")
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("thread %d is there yet: %v", tid, err)
		}
	}
}
