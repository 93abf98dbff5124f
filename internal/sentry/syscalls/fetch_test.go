package syscalls

import (
	"slices"
	"testing"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

func TestFetches(t *testing.T) {
	got := New().Fetches()
	for nr, f := range got {
		parts := 0
		for i, p := range f.Also {
			if p.Max%8 != 0 || p.Max > platform.FetchMax || p.Arg < 0 || p.Arg > 5 || p.Max != 0 && i > 0 && f.Also[i-1].Max == 0 {
				t.Errorf("call %d: part %d: %+v", nr, i, p)
			}
			if p.Max != 0 {
				parts++
			}
			if p.Points {
				parts++
			}
		}
		if parts > platform.AlsoMax {
			t.Errorf("call %d has %d parts", nr, parts)
		}
		if f.Max <= 0 || f.Max > platform.FetchMax || f.Arg < 0 || f.Arg > 5 || (f.Counted || f.Vector) && f.Arg != 1 {
			t.Errorf("call %d: %+v", nr, f)
		}
	}
	type parts = [platform.AlsoMax]platform.Part
	set := func(arg int) platform.Part { return platform.Part{Arg: arg, Max: 128, Bits: true} }
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
		{"sets and a time", unix.SYS_SELECT, platform.Fetch{Arg: 4, Max: 16, Also: parts{set(1), set(2), set(3)}}},
		{"a mask's address", unix.SYS_PSELECT6, platform.Fetch{Arg: 4, Max: 16,
			Also: parts{set(1), set(2), set(3), {Arg: 5, Max: 16, Points: true}}}},
		{"a time and a mask", unix.SYS_PPOLL, platform.Fetch{Arg: 0, Max: 128, Also: parts{{Arg: 2, Max: 16}, {Arg: 3, Max: 8}}}},
		{"an address behind bytes", unix.SYS_SENDTO, platform.Fetch{Arg: 1, Max: 128, Counted: true, Also: parts{{Arg: 4, Max: 128}}}},
		{"two paths", unix.SYS_RENAMEAT, platform.Fetch{Arg: 1, Max: 128, Also: parts{{Arg: 3, Max: 128}}}},
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

// TestFetchesRoom has a mask's address, which takes the room of two parts, come where there is room for one.
func TestFetchesRoom(t *testing.T) {
	first, set, mask := Param{Kind: Timespec}, Param{Kind: InOutFDSet}, Param{Kind: SigSetArg}
	for sets, want := range []int{1, 2, 3, 4, 4} {
		f := fetchOf(slices.Concat([]Param{first}, slices.Repeat([]Param{set}, sets), []Param{mask}))
		if n := slices.IndexFunc(f.Also[:], func(p platform.Part) bool { return p.Max == 0 }); n != want {
			t.Errorf("behind %d sets %d parts come, want %d", sets, n, want)
		}
	}
}
