package main

import (
	"strings"
	"testing"
)

func TestTAP(t *testing.T) {
	for _, c := range []struct {
		name, report string
		ok           bool
		complaint    string
	}{
		{"passes", "TAP version 13\nok 1 - a\nok 2 # SKIP b\n1..2\n", true, ""},
		{"plan first", "1..1\nok 1\n", true, ""},
		{"fails", "ok 1 - a\nnot ok 2 - has b\n1..2\n", false, "has b"},
		{"fails twice", "not ok 1 - a\nnot ok 2 - b\n1..2\n", false, "a (and 1 more)"},
		{"a report in a diagnostic", "ok 1 - a\n  ---\n  not ok 1 - inner\n  ...\n1..1\n", true, ""},
		{"still to be done", "not ok 1 - a # TODO later\n1..1\n", true, ""},
		{"no plan", "ok 1\n", false, "its report has no plan: it ended early"},
		{"no points", "TAP version 13\n1..0\n", true, ""},
		{"no report", "WARNING: as expected\n", true, ""},
		{"an error instead of points", "TAP version 13\n  ---\n  {\n    \"error\": \"a hook MUST\\nRefer to\"\n  }\n  ...\n1..0\n", false, "a hook MUST"},
		{"an error at a point that passes", "ok 1\n  ---\n  {\n    \"error\": \"as expected\"\n  }\n  ...\n1..1\n", true, ""},
		{"ends early", "1..3\nok 1\n", false, "it tested 1 of 3 points"},
		{"no last newline", "ok 1\n1..1", true, ""},
		{"bails out", "ok 1\nBail out! no disk\n", false, "it bailed out: no disk"},
		{"a failure without a name", "not ok 1\n1..1\n", false, "a test without a name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := parseTAP(strings.NewReader(c.report))
			if err != nil {
				t.Fatal(err)
			}
			if r.ok() != c.ok || r.complaint() != c.complaint {
				t.Errorf("ok %v, complaint %q; want %v, %q", r.ok(), r.complaint(), c.ok, c.complaint)
			}
		})
	}
}

func FuzzTAP(f *testing.F) {
	f.Add("TAP version 13\nok 1 - a\nnot ok 2 - b # TODO\n1..2\n")
	f.Fuzz(func(t *testing.T, report string) {
		r, err := parseTAP(strings.NewReader(report))
		if err != nil {
			t.Fatal(err)
		}
		if r.ok() != (r.complaint() == "") {
			t.Errorf("ok %v, but the complaint is %q", r.ok(), r.complaint())
		}
	})
}
