package boot

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheckHost(t *testing.T) {
	if err := CheckHost(); err != nil {
		t.Errorf("the host that passes the other tests: %v", err)
	}
}

// TestNeededOnce keeps rows from hiding one another, and each from asking for
// a call whose name an error could not give.
func TestNeededOnce(t *testing.T) {
	seen := map[uintptr]bool{}
	for _, n := range needed {
		if seen[n.call] || n.what == "" || strings.HasPrefix(callName(n.call), "system call") {
			t.Errorf("call %d (%s): twice, or without name or purpose", n.call, callName(n.call))
		}
		seen[n.call] = true
	}
}

func TestAdvise(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("mounting: %w", unix.EPERM), "mounting: operation not permitted: allow it"},
		{fmt.Errorf("mounting: %w", unix.EACCES), "mounting: permission denied: allow it"},
		{fmt.Errorf("opening: %w", unix.ENOSYS), "opening: function not implemented: the kernel must be"},
		{fmt.Errorf("opening: %w", unix.ENOENT), "opening: no such file or directory"},
		{&programError{exitNotExecutable, "x cannot be run"}, "x cannot be run"},
	} {
		got := Advise(c.err)
		if s := got.Error(); !strings.HasPrefix(s, c.want) || !errors.Is(got, c.err) {
			t.Errorf("%q, want %q", s, c.want)
		}
	}
}
