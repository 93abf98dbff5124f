package syscalls

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// TestTable makes the real table: New panics if rows contradict each other.
func TestTable(t *testing.T) {
	tb := New()
	answered := 0
	for _, r := range tb.Rows() {
		if r.Fn != nil {
			answered++
		}
		if r.Support != Full && r.Caveat == "" {
			t.Errorf("%s: %v without a caveat", r.Name, r.Support)
		}
		if strings.ToLower(r.Name) != r.Name {
			t.Errorf("%s: name is not in lower case", r.Name)
		}
		for i, p := range r.Params {
			if p.Name == "" {
				t.Errorf("%s: parameter %d has no name", r.Name, i)
			}
			counted := []Kind{Buf, IOVec, RangeVec, OutIOVec, Mmsghdrs, Sockaddr, OutSockaddr, Option, OutOption, PollFDs, CloneArgs,
				IDs, CapData, OutCapData, CPUSet, NodeSet, OutNodeSet, FutexWaiters, SemOps, MsgBuf, InOutFDSet, OutPages}
			if at := i + cmp.Or(p.Count, 1); slices.Contains(counted, p.Kind) && (at < 0 || at >= len(r.Params)) {
				t.Errorf("%s: parameter %s needs a length", r.Name, p.Name)
			}
		}
	}
	const promised = 180
	if answered < promised {
		t.Errorf("%d calls are answered; %d at least is what we promise", answered, promised)
	}
}

// TestMissingRows keeps the list of missing calls from naming others.
// TestDescriptors checks that traces show what new descriptors are.
func TestDescriptors(t *testing.T) {
	tb := New()
	for _, name := range []string{
		"open", "creat", "openat", "openat2", "dup", "dup2", "dup3", "socket", "accept", "accept4", "epoll_create",
		"epoll_create1", "eventfd", "eventfd2", "signalfd", "signalfd4", "timerfd_create", "inotify_init",
		"inotify_init1", "memfd_create", "pidfd_open", "pidfd_getfd", "mq_open",
	} {
		found := false
		for nr := range uint64(512) {
			if r := tb.Row(nr); r != nil && r.Name == name {
				found = true
				if r.Result != FD {
					t.Errorf("%s does not return a descriptor", name)
				}
			}
		}
		if !found {
			t.Errorf("no %s", name)
		}
	}
}

func TestMissingRows(t *testing.T) {
	claimed := map[uint64]string{}
	for _, f := range families {
		for _, r := range f.rows() {
			claimed[r.Number] = r.Name
		}
	}
	last := -1
	for _, r := range missingRows() {
		if name, ok := claimed[r.Number]; ok {
			t.Errorf("missingRows has %s (%d), which a family answers as %s", r.Name, r.Number, name)
		}
		if int(r.Number) <= last {
			t.Errorf("missingRows is out of order at %s", r.Name)
		}
		last = int(r.Number)
	}
}

func TestAddPanics(t *testing.T) {
	fn := func(*kernel.Task, kernel.Args) (uintptr, error) { return 0, nil }
	base := full(1, "one", fn)
	tests := []struct {
		name string
		row  Row
		ok   bool
	}{
		{"another", full(2, "two", fn), true},
		{"number twice", full(1, "two", fn), false},
		{"name twice", full(2, "one", fn), false},
		{"beyond the table", full(tableSize, "two", fn), false},
		{"no function", full(2, "two", nil), false},
		{"partial without caveat", partial(2, "two", fn, ""), false},
		{"seven parameters", full(2, "two", fn, make([]Param, 7)...), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if r := recover(); (r == nil) != tt.ok {
					t.Errorf("panic: %v, want one: %v", r, !tt.ok)
				}
			}()
			tb, names := new(Table), map[string]bool{}
			tb.add(&base, "x", names)
			tb.add(&tt.row, "x", names)
		})
	}
}

func testTable(rows ...Row) *Table {
	tb, names := new(Table), map[string]bool{}
	for i := range rows {
		tb.add(&rows[i], "test", names)
	}
	return tb
}

func TestDispatch(t *testing.T) {
	tb := testTable(
		full(3, "three", func(_ *kernel.Task, a kernel.Args) (uintptr, error) { return uintptr(a[0]) + 1, nil }),
		missing(4, "four"),
	)
	tests := []struct {
		name string
		nr   uint64
		want uintptr
		err  error
	}{
		{"answered", 3, 8, nil},
		{"high half of the register is ignored", 3 | 1<<32, 8, nil},
		{"missing", 4, 0, unix.ENOSYS},
		{"hole", 5, 0, unix.ENOSYS},
		{"beyond", 100000, 0, unix.ENOSYS},
		{"x32", 3 | 0x40000000, 0, unix.ENOSYS},
		{"minus one", ^uint64(0), 0, unix.ENOSYS},
	}
	for _, tt := range tests {
		got, err := tb.Dispatch(new(kernel.Task), tt.nr, kernel.Args{7})
		if got != tt.want || err != tt.err {
			t.Errorf("%s: %d, %v; want %d, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
	want := []Unanswered{{4, "four", 1}, {5, "syscall_0x5", 1}, {-1, "unknown", 3}}
	got := tb.Unanswered()
	if len(got) != len(want) {
		t.Fatalf("unanswered: %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("unanswered %d: %v, want %v", i, got[i], want[i])
		}
	}
}

func TestDispatchDoesNotAllocate(t *testing.T) {
	tb := testTable(full(3, "three", func(*kernel.Task, kernel.Args) (uintptr, error) { return 0, nil }))
	task := new(kernel.Task)
	if n := testing.AllocsPerRun(100, func() { tb.Dispatch(task, 3, kernel.Args{}) }); n != 0 {
		t.Errorf("dispatch allocates %v times", n)
	}
}

func BenchmarkDispatch(b *testing.B) {
	tb := testTable(full(3, "three", func(*kernel.Task, kernel.Args) (uintptr, error) { return 0, nil }))
	task := new(kernel.Task)
	for b.Loop() {
		tb.Dispatch(task, 3, kernel.Args{})
	}
}
