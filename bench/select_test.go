package main

import (
	"strings"
	"testing"
)

func TestSelectFamilies(t *testing.T) {
	all := []family{
		{group: "operations", quick: true},
		{group: "start", name: "true", quick: true},
		{group: "start", name: "first line of java"},
		{group: "network", name: "sent"},
		{group: "network", name: "sent, far"},
		{group: "network", name: "sent, far, with losses"},
	}
	for _, tt := range []struct {
		patterns string
		quick    bool
		want     string
	}{
		{"", false, "operations;start: true;start: first line of java;network: sent;network: sent, far;network: sent, far, with losses"},
		{"", true, "operations;start: true"},
		{"start", true, "start: true;start: first line of java"},
		{"start/java", false, "start: first line of java"},
		{"operations/pipe,start/true", false, "operations+pipe;start: true"},
		{"operations/pipe,operations/read", false, "operations+pipe;operations+read"},
		{"start/true,start", false, "start: true;start: first line of java"},
		{"network/sent", false, "network: sent"},
		{"network/sent, far,start/true", false, "start: true;network: sent, far"},
		{"network/, far", false, "network: sent, far;network: sent, far, with losses"},
		{"star", false, ""},
		{"true", false, ""},
	} {
		var got []string
		for _, f := range selectFamilies(all, tt.patterns, tt.quick) {
			name := f.title()
			if f.part != "" {
				name += "+" + f.part
			}
			got = append(got, name)
		}
		if s := strings.Join(got, ";"); s != tt.want {
			t.Errorf("%q, quick %v: %s, want %s", tt.patterns, tt.quick, s, tt.want)
		}
	}
}

// TestFamilies checks that a row can be asked for by its name.
func TestFamilies(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range families() {
		if seen[f.title()] {
			t.Errorf("there are two of %s", f.title())
		}
		seen[f.title()] = true
		if strings.ContainsAny(f.group, "/,") || f.measure == nil {
			t.Errorf("%s can't be asked for", f.title())
		}
	}
}

func TestSelectWalls(t *testing.T) {
	for names, want := range map[string]string{
		"":                   "native, runc, runsc systrap, coffer trap, coffer ptrace",
		"coffer":             "coffer trap, coffer ptrace",
		"coffer trap,native": "native, coffer trap",
		"run":                "error",
		"native,trap":        "error",
	} {
		all := []*wall{{name: "native"}, {name: "runc"}, {name: "runsc systrap"}, {name: "coffer trap"}, {name: "coffer ptrace", rare: true}}
		got, err := selectWalls(all, names)
		for _, w := range got {
			if w.rare != (names == "" && w.name == "coffer ptrace") {
				t.Errorf("%q: %s is rare: %v", names, w.name, w.rare)
			}
		}
		if s := wallNames(got); err == nil && s != want || (err != nil) != (want == "error") {
			t.Errorf("%q: %s, %v, want %s", names, s, err, want)
		}
	}
}

// TestTakes checks which walls families are measured behind.
func TestTakes(t *testing.T) {
	all := allWalls(t.TempDir(), "coffer")
	for _, tt := range []struct {
		f    family
		want string
	}{
		{family{}, "native, runsc systrap, runsc ptrace, coffer trap, coffer ptrace"},
		{family{process: true}, "native, runsc systrap, runsc ptrace, coffer trap, coffer ptrace, coffer process"},
		{family{oci: true, bundles: true}, "runc, crun, coffer process, coffer kernel"},
	} {
		var got []*wall
		for _, w := range all {
			if tt.f.takes(w) {
				got = append(got, w)
			}
		}
		if s := wallNames(got); s != tt.want {
			t.Errorf("%+v: %s, want %s", tt.f, s, tt.want)
		}
	}
}
