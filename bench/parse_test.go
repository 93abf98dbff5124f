package main

import (
	"math"
	"testing"
)

func TestParseStat(t *testing.T) {
	for line, want := range map[string]processStat{
		"17 (sh) S 4 17 4 0 -1":             {17, 4},
		"18 (a b) R (x) S 9 1 1":            {18, 9},
		"19 (coffer-stub\n) 1) Z 7 19 19 0": {19, 7},
	} {
		if got, ok := parseStat(line); !ok || got != want {
			t.Errorf("%q: %v, %v, want %v", line, got, ok, want)
		}
	}
	for _, line := range []string{"", "17", "17 (sh", "x (sh) S 4 1", "17 (sh) S", "17 (sh) S y"} {
		if got, ok := parseStat(line); ok {
			t.Errorf("%q is taken as %v", line, got)
		}
	}
}

func TestParsePSS(t *testing.T) {
	const rollup = "55d6c0a00000-7ffe [rollup]\nRss:    9000 kB\nPss:                1234 kB\nPss_Anon:   1000 kB\n"
	if got := parsePSS(rollup); got != 1234*1024 {
		t.Errorf("%v bytes", got)
	}
	if got := parsePSS(""); got != 0 {
		t.Errorf("a zombie has %v bytes", got)
	}
}

func TestCgroupPath(t *testing.T) {
	const text = "9:name=systemd:/a\n7:cpu,cpuacct:/b/c\n0::/d\n"
	for controller, want := range map[string]string{"cpuacct": "/b/c", "": "/d", "memory": "/"} {
		if got := cgroupPath(text, controller); got != want {
			t.Errorf("%q: %s, want %s", controller, got, want)
		}
	}
}

func TestGuestSamples(t *testing.T) {
	rowOf := func(kind, name string) row { return row{Group: kind, Name: name} }
	got, err := guestSamples("call\tgetppid\t120.50\nmap\ta b\t3\n", rowOf)
	if err != nil || len(got) != 2 || got[0].row.Group != "call" || got[0].row.Name != "getppid" || got[0].value != 120.5 || got[1].row.Name != "a b" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"getppid 12\n", "call\tgetppid\t-1\n", "call\tgetppid\tNaN\n", "call\tgetppid\t0\n", "a\tb\tc\td\n"} {
		if _, err := guestSamples(bad, rowOf); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestSlowShare(t *testing.T) {
	if got := slowShare("a warning\ncoffer: 200 system calls, 5 of them (2.5 %) by a signal\n"); got != 2.5 {
		t.Errorf("%v %%", got)
	}
	for _, text := range []string{"", "coffer: system calls are not counted here", "cat: coffer: 2 system calls, 1 of them "} {
		if got := slowShare(text); !math.IsNaN(got) {
			t.Errorf("%q: %v %%", text, got)
		}
	}
}

func TestGroupDigits(t *testing.T) {
	for name, want := range map[string]string{
		"read, 4 threads": "read, 4 threads", "beside 1000 files": "beside 1,000 files", "100": "100", "": "",
		"beside 10000 files": "beside 10,000 files", "1234567": "1,234,567",
	} {
		if got := groupDigits(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
