// Package test runs guest programs: small C programs (folder guest) and real
// ones, natively first and then in every isolation, and compares.
package test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wall is a way in which a guest program runs; without arguments, natively.
type wall struct {
	name string
	args []string
}

var walls = []wall{
	{"native", nil},
	{"process", []string{"do", "--isolation", "process"}},
	{"trap", []string{"do", "--intercept", "trap"}},
	{"ptrace", []string{"do", "--intercept", "ptrace"}},
}

// kernelWalls are those with a kernel of our own.
var kernelWalls = walls[2:]

// needsRoot skips a test of a wall that only root can have.
func needsRoot(t *testing.T, wall string) {
	t.Helper()
	if wall == "process" && os.Geteuid() != 0 {
		t.Skip("only root can run coffer do --isolation process")
	}
}

// coffer is the binary under test, which `make build` makes.
func coffer(t testing.TB) string {
	t.Helper()
	p, err := filepath.Abs("../bin/coffer")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("%s is not there: run `make build` first", p)
	}
	return p
}

// result is what a program left.
type result struct {
	stdout, stderr string
	code           int
}

// run runs a command with a time limit; stdin may be empty.
func run(t testing.TB, limit time.Duration, dir, stdin string, argv ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.WaitDelay = 30 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Errorf("%s did not end within %v; output:\n%s%s", strings.Join(argv, " "), limit, tail(out.String()), tail(errs.String()))
	}
	if _, ok := err.(*exec.ExitError); err != nil && !ok && ctx.Err() == nil {
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func tail(s string) string {
	const most = 4000
	if len(s) > most {
		return "..." + s[len(s)-most:]
	}
	return s
}

// TestGuest builds each C program in folder guest and runs it behind each
// wall. Every test within it becomes a subtest.
func TestGuest(t *testing.T) {
	sources, err := filepath.Glob("guest/*.c")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no guest tests found: %v", err)
	}
	bin := guestDir(t)
	for _, src := range sources {
		name := strings.TrimSuffix(filepath.Base(src), ".c")
		out := buildGuest(t, bin, name)
		if out == "" {
			continue
		}
		for _, w := range walls {
			t.Run(name+"/"+w.name, func(t *testing.T) {
				needsRoot(t, w.name)
				argv := []string{out}
				if w.args != nil {
					argv = append([]string{coffer(t)}, w.args...)
					argv = append(argv, "--cwd", "/", "--bind", out+":/guest-test", "--", "/guest-test")
				}
				r := run(t, 10*time.Minute, "/", "", argv...)
				report(t, r)
			})
		}
	}
}

// guestDir is where guest programs are built.
func guestDir(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// buildGuest builds one there; "" if it does not compile, which fails the test.
func buildGuest(t *testing.T, dir, name string) string {
	t.Helper()
	out := filepath.Join(dir, name)
	if msg, err := exec.Command("gcc", "-O1", "-g", "-Wall", "-Wno-stringop-overflow", "-Wno-stringop-overread", "-Wno-unused-result", "-static", "-pthread", "-o", out, "guest/"+name+".c", "-lrt").CombinedOutput(); err != nil {
		t.Errorf("%s.c does not compile:\n%s", name, msg)
		return ""
	}
	return out
}

// report turns a guest program's lines into subtests.
func report(t *testing.T, r result) {
	var details []string
	seen := false
	for line := range strings.Lines(r.stdout) {
		line = strings.TrimRight(line, "\n")
		verdict, name, _ := strings.Cut(line, " ")
		switch verdict {
		case "ok", "skip", "FAIL":
			seen = true
			t.Run(strings.TrimSuffix(strings.Fields(name)[0], ":"), func(t *testing.T) {
				switch verdict {
				case "FAIL":
					t.Error(strings.Join(append(details, line), "\n"))
				case "skip":
					t.Skip(strings.Join(details, "\n"))
				}
			})
			details = nil
		default:
			details = append(details, line)
		}
	}
	if !seen || r.code != 0 && !strings.Contains(r.stdout, "FAIL") {
		t.Errorf("exit status %d; output:\n%s%s", r.code, tail(r.stdout), tail(r.stderr))
	}
}
