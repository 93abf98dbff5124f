package syscalls

import (
	"testing"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

func TestFetches(t *testing.T) {
	got := New().Fetches()
	for nr, f := range got {
		if f.Max <= 0 || f.Max > platform.FetchMax || f.Arg < 0 || f.Arg > 5 || (f.Counted || f.Vector) && f.Arg != 1 {
			t.Errorf("call %d: %+v", nr, f)
		}
	}
	for _, tt := range []struct {
		name string
		nr   uint64
		want platform.Fetch
	}{
		{"a path", unix.SYS_OPEN, platform.Fetch{Arg: 0, Max: 128}},
		{"a path after a descriptor", unix.SYS_OPENAT, platform.Fetch{Arg: 1, Max: 128}},
		{"bytes with a count", unix.SYS_WRITE, platform.Fetch{Arg: 1, Max: 128, Counted: true}},
		{"buffers", unix.SYS_WRITEV, platform.Fetch{Arg: 1, Max: 128, Vector: true}},
		{"buffers that are filled", unix.SYS_READV, platform.Fetch{Arg: 1, Max: 128}},
		{"a signal set", unix.SYS_RT_SIGPROCMASK, platform.Fetch{Arg: 1, Max: 8}},
		{"an event", unix.SYS_EPOLL_CTL, platform.Fetch{Arg: 3, Max: 12}},
		{"an array that is changed", unix.SYS_POLL, platform.Fetch{Arg: 0, Max: 128}},
		{"a header", unix.SYS_RECVMSG, platform.Fetch{Arg: 1, Max: 56}},
		{"a size behind results", unix.SYS_RECVFROM, platform.Fetch{Arg: 5, Max: 4}},
		{"an option's value, whatever its name", unix.SYS_SETSOCKOPT, platform.Fetch{Arg: 3, Max: 16}},
		{"an option's length", unix.SYS_GETSOCKOPT, platform.Fetch{Arg: 4, Max: 4}},
		{"headers whose number varies", unix.SYS_RECVMMSG, platform.Fetch{}},
		{"nothing", unix.SYS_GETPID, platform.Fetch{}},
		{"a result", unix.SYS_READ, platform.Fetch{}},
		{"what depends on the operation", unix.SYS_FUTEX, platform.Fetch{}},
		{"a call that is not there", unix.SYS_IO_URING_SETUP, platform.Fetch{}},
	} {
		if got[tt.nr] != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got[tt.nr], tt.want)
		}
	}
}
