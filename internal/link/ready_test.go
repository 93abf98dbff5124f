package link

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A look ends a wait for something that was there at the last look already, and no other.
func TestLook(t *testing.T) {
	var pair [2]int
	var err error
	if pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	r, err := newReady(0, unix.EPOLLIN)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := r.watch(uintptr(pair[0])); err != nil {
		t.Fatal(err)
	}
	look := func(when string, want bool) {
		t.Helper()
		if got := r.look(); got != want {
			t.Errorf("%s, a look says %t", when, got)
		}
	}
	if _, err := unix.Write(pair[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	look("where nobody waits", false)
	look("where nobody waits still", false)
	// Go's poller tells of that once, which may have been before: the wait ends by a look.
	tries := 0
	if err := r.wait(func() bool {
		if tries++; tries == 1 {
			r.asleep.Store(100)
			look("with something new", false)
			look("with something old", true)
			r.asleep.Store(101)
			look("in another wait", false)
		}
		return tries > 1
	}); err != nil || tries != 2 {
		t.Errorf("after %d tries: %v", tries, err)
	}
	var b [1]byte
	if _, err := unix.Read(pair[0], b[:]); err != nil {
		t.Fatal(err)
	}
	r.asleep.Store(102)
	look("with nothing there", false)
	look("with nothing there still", false)
	r.close()
	look("once that is closed", false)
}
