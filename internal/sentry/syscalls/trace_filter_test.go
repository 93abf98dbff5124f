package syscalls

import (
	"strings"
	"testing"

	"coffer/internal/sentry/kernel"
)

func filterTable() *Table {
	fn := func(*kernel.Task, kernel.Args) (uintptr, error) { return 0, nil }
	tb, names := new(Table), map[string]bool{}
	for i, r := range []struct {
		row   Row
		group string
	}{
		{full(0, "read", fn, P("fd", FD)), "io"},
		{full(1, "open", fn, P("path", PathStr)).returns(FD), "io"},
		{full(2, "stat", fn, P("path", PathStr)), "io"},
		{full(3, "futex", fn), "ipc"},
		{missing(4, "bpf"), groupOfMissing},
	} {
		row := r.row
		row.Number = uint64(i)
		tb.add(&row, r.group, names)
	}
	return tb
}

func TestFilter(t *testing.T) {
	tests := []struct {
		expr   string
		pass   string // names, or * for unknown numbers
		errors bool
	}{
		{"", "read open stat futex bpf *", false},
		{" read , open ", "read open", false},
		{"@file", "open stat", false},
		{"@file,!stat", "open", false},
		{"@desc", "read open", false},
		{"@io", "read open stat", false},
		{"!futex", "read open stat bpf *", false},
		{"!@io", "futex bpf *", false},
		{"@missing", "bpf *", false},
		{"error", "read open stat futex bpf *", true},
		{"error,@ipc", "futex", true},
		{"read,!read,read", "read", false},
	}
	tb := filterTable()
	for _, tt := range tests {
		f, err := tb.NewFilter(tt.expr)
		if err != nil {
			t.Errorf("%q: %v", tt.expr, err)
			continue
		}
		var got []string
		for _, r := range tb.Rows() {
			if f.passes(r.Number) {
				got = append(got, r.Name)
			}
		}
		if f.passes(99999) {
			got = append(got, "*")
		}
		if s := strings.Join(got, " "); s != tt.pass || f.errorsOnly != tt.errors {
			t.Errorf("%q passes %q (errors only: %v), want %q (%v)", tt.expr, s, f.errorsOnly, tt.pass, tt.errors)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	tests := []struct{ expr, want string }{
		{"opne", `did you mean "open"?`},
		{"read,reed", `did you mean "read"?`},
		{"@fil", `did you mean "file"?`},
		{"@nothing-like-it", "the groups are desc, file, io"},
		{"nothing_like_it", "docs/syscalls.md"},
		{"read,,open", "system call"},
	}
	tb := filterTable()
	for _, tt := range tests {
		_, err := tb.NewFilter(tt.expr)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want one with %q", tt.expr, err, tt.want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "read", "@file,!stat", "error", "!@", ",", "opne"} {
		f.Add(s)
	}
	tb := filterTable()
	f.Fuzz(func(t *testing.T, expr string) {
		if filter, err := tb.NewFilter(expr); err != nil && (filter.pass != nil || filter.errorsOnly) {
			t.Error("an error with a filter")
		}
	})
}
