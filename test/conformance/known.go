package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A runtime's known failures are in a file with a line for each:
//
//	PROGRAM [CONDITION] REASON
//
// The condition may be missing; with one, the line counts only on hosts where
// it holds, and the condition "sometimes" says that the program passes or
// fails by chance. Empty lines and those that begin with # don't count.
//
// A file may take over the lines of another one, but for some programs:
//
//	include FILE [except PROGRAM...]

// failure is why a program is known to fail.
type failure struct {
	reason string
	// sometimes says that it may pass too.
	sometimes bool
}

// sometimes is the condition of failures that don't always happen.
const sometimes = "sometimes"

// conditions are what a host may be like.
var conditions = map[string]func() bool{
	"no-sys-resource": func() bool {
		// Root may lack it in virtual machines and containers.
		var caps [2]unix.CapUserData
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		return unix.Capget(&h, &caps[0]) == nil && caps[0].Permitted&(1<<unix.CAP_SYS_RESOURCE) == 0
	},
	"no-apparmor": func() bool {
		_, err := os.Stat("/sys/kernel/security/apparmor")
		return err != nil
	},
	"cgroup-v2": func() bool {
		_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
		return err == nil
	},
}

// readKnown reads a runtime's known failures. A runtime without a file has
// none.
func readKnown(path string) (map[string]failure, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	known, err := parseKnown(f, func(name string) (map[string]failure, error) {
		return readKnown(filepath.Join(filepath.Dir(path), name))
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return known, nil
}

// parseKnown reads lines of known failures, and those of other files by include.
func parseKnown(in io.Reader, include func(name string) (map[string]failure, error)) (map[string]failure, error) {
	known := map[string]failure{}
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		program, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		if program == "include" {
			words := strings.Fields(rest)
			if len(words) == 0 || len(words) > 1 && words[1] != "except" {
				return nil, fmt.Errorf("line %d: include FILE [except PROGRAM...]", n)
			}
			others, err := include(words[0])
			if err != nil {
				return nil, err
			}
			for p, f := range others {
				if !slices.Contains(words[1:], p) {
					known[p] = f
				}
			}
			continue
		}
		condition := ""
		if strings.HasPrefix(rest, "[") {
			var closed bool
			if condition, rest, closed = strings.Cut(rest[1:], "]"); !closed {
				return nil, fmt.Errorf("line %d: the condition has no end", n)
			}
			rest = strings.TrimSpace(rest)
		}
		if rest == "" {
			return nil, fmt.Errorf("line %d: %s is known to fail, but for what reason?", n, program)
		}
		if condition != "" && condition != sometimes {
			holds, ok := conditions[condition]
			if !ok {
				return nil, fmt.Errorf("line %d: there is no condition %q", n, condition)
			}
			if !holds() {
				continue
			}
		}
		if _, twice := known[program]; twice {
			return nil, fmt.Errorf("line %d: %s is there twice", n, program)
		}
		known[program] = failure{reason: rest, sometimes: condition == sometimes}
	}
	return known, lines.Err()
}
