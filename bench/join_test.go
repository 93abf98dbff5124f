package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// saved writes a report to a file.
func saved(t *testing.T, name string, r *report) string {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, r.json(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestJoined(t *testing.T) {
	one := testReport()
	slow := row{Group: "operations", Name: "getppid", Unit: nanoseconds, Goals: one.Rows[0].Goals}
	res := newResults([]string{"native", "crun"})
	res.add("native", []sample{{slow, 999}, {row{Group: "operations", Name: "new", Unit: nanoseconds}, 7}})
	res.rounds = 1
	two := newReport(options{}, res, []*wall{{name: "native"}, {name: "crun"}})
	got, err := joined([]string{saved(t, "one", one), saved(t, "two", two)})
	if err != nil {
		t.Fatal(err)
	}
	if got.Rounds != 4 || len(got.Rows) != len(one.Rows)+1 || got.Rows[len(one.Rows)].Name != "new" {
		t.Errorf("%d rounds of %d rows", got.Rounds, len(got.Rows))
	}
	if v := got.Rows[0].Values["native"]; !reflect.DeepEqual(v.Samples, []float64{50, 150, 100, 999}) || v.Median != 125 {
		t.Errorf("getppid natively is %+v", v)
	}
	if v := got.Rows[0].Values["coffer trap"]; v.Over["native"] != 200.0/125 {
		t.Errorf("getppid in trap is %+v", v)
	}
	if want := []wallReport{{"native", ""}, {"crun", ""}, {"runsc systrap", ""}, {"coffer trap", ""}}; !reflect.DeepEqual(got.Walls, want) {
		t.Errorf("the walls are %v", got.Walls)
	}
	if !reflect.DeepEqual(got.Failures, one.Failures) {
		t.Errorf("the failures are %v", got.Failures)
	}
}

func TestNotJoined(t *testing.T) {
	for want, change := range map[string]func(*report){
		"builds of coffer": func(r *report) { r.Coffer = "other" },
		"different hosts":  func(r *report) { r.Host.CPUs++ },
		"--quick":          func(r *report) { r.Quick = true },
	} {
		other := testReport()
		change(other)
		if _, err := joined([]string{saved(t, "one", testReport()), saved(t, "two", other)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := joined([]string{filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a file that is not there is joined")
	}
}
