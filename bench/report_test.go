package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// testReport is of a run with two groups, a wall that is not there and one that
// failed at something.
func testReport() *report {
	res := newResults([]string{"native", "runsc systrap", "coffer trap"})
	quick := row{Group: "operations", Name: "getppid", Unit: nanoseconds, Goals: []goal{{Over: "native", Max: 4}, {Over: "runsc systrap", Max: 1}}}
	slow := row{Group: "operations", Name: "fork <&>", Unit: nanoseconds, Goals: []goal{{Over: "native", Max: 3}}}
	size := row{Group: "memory", Name: "idle", Unit: byteCount, Goals: []goal{{Max: 15e6}}}
	for _, scale := range []float64{1, 3, 2} {
		res.add("native", []sample{{quick, 50 * scale}, {slow, 1e5 * scale}, {size, 1e6}})
		res.add("runsc systrap", []sample{{quick, 2000 * scale}, {slow, 1e6 * scale}})
		res.add("coffer trap", []sample{{quick, 100 * scale}, {slow, 4e5 * scale}, {size, 1.5e6}})
	}
	for range 2 {
		res.fail(failure{"memory: idle", "runsc systrap", "it ended"})
	}
	res.rounds = 3
	return newReport(options{}, res, []*wall{{name: "native"}, {name: "crun", missing: "not installed"}, {name: "runsc systrap"}, {name: "coffer trap"}})
}

func TestVerdicts(t *testing.T) {
	r := testReport()
	want := map[string][]verdict{
		"getppid":  {{goal{Over: "native", Max: 4}, 2, true}, {goal{Over: "runsc systrap", Max: 1}, 0.05, true}},
		"fork <&>": {{goal{Over: "native", Max: 3}, 4, false}},
		"idle":     {{goal{Over: "", Max: 15e6}, 1.5e6, true}},
	}
	for _, row := range r.Rows {
		if !reflect.DeepEqual(row.Verdicts, want[row.Name]) {
			t.Errorf("%s: %v, want %v", row.Name, row.Verdicts, want[row.Name])
		}
	}
	// The mean of 0.05 and 0.4 is 0.14.
	if len(r.Goals) != 1 || !r.Goals[0].Met || r.Goals[0].Reached < 0.141 || r.Goals[0].Reached > 0.142 {
		t.Errorf("the groups' goals are %v", r.Goals)
	}
}

func TestOrder(t *testing.T) {
	res := newResults(nil)
	samples := func(names string) (list []sample) {
		for _, name := range strings.Fields(names) {
			list = append(list, sample{row{Name: name}, 1})
		}
		return list
	}
	res.add("native", samples("a b d"))
	res.add("coffer trap", samples("a b c d e"))
	res.add("native", samples("x"))
	var got []string
	for _, m := range res.rows {
		got = append(got, m.Name)
	}
	if s := strings.Join(got, " "); s != "a b c d e x" {
		t.Errorf("the rows are %s", s)
	}
}

func TestTable(t *testing.T) {
	got := testReport().table()
	for _, want := range []string{
		"medians of 3 rounds",
		"| row            | native | runsc systrap | coffer trap | systrap/native | trap/native | trap/systrap | goals",
		"| getppid        | 100 ns |          4 µs |      200 ns |           40.0 |        2.00 |        0.050 | ≤ 4 × native met; ≤ 1 × runsc systrap met |",
		"| fork <&>       | 200 µs |          2 ms |      800 µs |           10.0 |        4.00 |         0.40 | ≤ 3 × native MISSED",
		"| geometric mean |        |               |             |           20.0 |        2.83 |         0.14 | ≤ 0.33 × runsc systrap met",
		"| idle | 1.0 MB |      1.5 MB |        1.50 | ≤ 15.0 MB met |",
		"- crun: not installed",
		"- memory: idle, runsc systrap: it ended",
		"4 of 5 goals met.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the table lacks %q:\n%s", want, got)
		}
	}
	single := testReport()
	single.Rounds = 1
	if got := single.table(); !strings.Contains(got, "; one round\n") {
		t.Errorf("the table of one round begins\n%s", got[:200])
	}
	if n := strings.Count(got, "it ended"); n != 1 {
		t.Errorf("a failure is named %d times", n)
	}
}

func TestJSON(t *testing.T) {
	r := testReport()
	path := filepath.Join(t.TempDir(), "bench.json")
	if err := os.WriteFile(path, r.json(), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.json(), again.json()) || r.table() != again.table() {
		t.Error("a report that was written and read is another")
	}
	var plain struct {
		Rows []struct {
			Group, Name, Unit string
			Values            map[string]struct {
				Median float64
				Over   map[string]float64
			}
		}
	}
	if err := json.Unmarshal(r.json(), &plain); err != nil {
		t.Fatal(err)
	}
	if p := plain.Rows[0]; p.Name != "getppid" || p.Unit != "ns" || p.Values["coffer trap"].Median != 200 || p.Values["coffer trap"].Over["native"] != 2 {
		t.Errorf("the first row is %+v", p)
	}
}

func TestPlot(t *testing.T) {
	svg := testReport().plot()
	dots, named := 0, false
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "circle" {
				dots++
			}
		case xml.CharData:
			named = named || string(token) == "fork <&>"
		}
	}
	// Two of the legend, five of the rows.
	if dots != 7 || !named {
		t.Errorf("%d dots, and the row's name is there: %v, in %s", dots, named, svg)
	}
	if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) || bytes.Contains(svg, []byte("%!")) {
		t.Errorf("there are bad numbers in %s", svg)
	}
	empty := newReport(options{}, newResults(nil), nil).plot()
	if bytes.Contains(empty, []byte("NaN")) {
		t.Errorf("without rows there are bad numbers in %s", empty)
	}
}

func TestWithNumbers(t *testing.T) {
	page := "text\n" + numbersBegin + "old\n" + numbersEnd + "more\n"
	got, err := withNumbers([]byte(page), "new\n")
	if want := "text\n" + numbersBegin + "\nnew\n\n" + numbersEnd + "more\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if again, err := withNumbers(got, "new\n"); err != nil || !bytes.Equal(again, got) {
		t.Errorf("again: %q, %v", again, err)
	}
	for _, bad := range []string{"", numbersBegin, numbersEnd + numbersBegin} {
		if _, err := withNumbers([]byte(bad), "new\n"); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		unit unit
		v    float64
		want string
	}{
		{nanoseconds, 99.6, "100 ns"},
		{nanoseconds, 1234, "1.23 µs"},
		{nanoseconds, 45_600_000, "45.6 ms"},
		{nanoseconds, 12.5e9, "12.5 s"},
		{nanoseconds, 250e9, "250 s"},
		{byteCount, 11_050_000, "11.1 MB"},
		{share, 0.012, "0.01 %"},
	} {
		if got := tt.unit.format(tt.v); got != tt.want {
			t.Errorf("%v %s is %q, want %q", tt.v, tt.unit, got, tt.want)
		}
	}
}
