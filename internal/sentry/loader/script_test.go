package loader

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseScript(t *testing.T) {
	for _, c := range []struct {
		line, interp, arg string
		err               error
	}{
		{"#!/bin/sh\n", "/bin/sh", "", nil},
		{"#!/bin/sh", "/bin/sh", "", nil},
		{"#! \t/bin/sh \t\nmore", "/bin/sh", "", nil},
		{"#!/usr/bin/env  python3 -u  \n", "/usr/bin/env", "python3 -u", nil},
		{"#!/bin/sh\t-e\x00x\n", "/bin/sh", "-e", nil},
		{"#!/bin/sh\x00-e\n", "/bin/sh", "", nil},
		{"#!\n", "", "", unix.ENOEXEC},
		{"#!   \n", "", "", unix.ENOEXEC},
		{"#!" + strings.Repeat(" ", 300), "", "", unix.ENOEXEC},
		{"#!/" + strings.Repeat("a", 300), "", "", unix.ENOEXEC},
		{"#!/" + strings.Repeat("a", 200) + " " + strings.Repeat("b", 100), "/" + strings.Repeat("a", 200), strings.Repeat("b", 51), nil},
	} {
		head := make([]byte, scriptLine)
		copy(head, c.line)
		interp, arg, err := parseScript(head)
		if interp != c.interp || arg != c.arg || err != c.err {
			t.Errorf("%.40q: got %q, %q, %v", c.line, interp, arg, err)
		}
	}
}

func FuzzScript(f *testing.F) {
	f.Add("#!/bin/sh -e\n")
	f.Add("#! \x00")
	f.Add("#!" + strings.Repeat("\t", 254))
	f.Fuzz(func(t *testing.T, s string) {
		head := make([]byte, scriptLine)
		copy(head, "#!")
		copy(head[2:], s)
		interp, arg, err := parseScript(head)
		if err == nil && (interp == "" || len(interp)+len(arg) >= scriptLine || strings.ContainsAny(interp, " \t\n\x00") ||
			strings.ContainsAny(arg, "\n\x00")) {
			t.Errorf("%q gives %q and %q", s, interp, arg)
		}
	})
}
