package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// goPackages are those of Go's standard packages whose tests ask a kernel for
// what it promises.
var goPackages = []string{
	"compress/bzip2", "compress/flate", "compress/gzip", "compress/lzw", "compress/zlib",
	"io", "io/fs", "io/ioutil", "net", "net/http", "os", "os/exec", "os/signal", "os/user", "path", "path/filepath",
	"sort", "strings", "sync", "sync/atomic", "syscall", "time",
}

// differs are the tests that end otherwise behind the kernel wall than on the host, each
// with those within it, and why.
var differs = map[string]string{
	"net TestMultiPathTCP": "the TCP/IP stack has no MPTCP",
}

// TestGoStandard runs the tests of Go's standard packages natively and behind
// each wall: what passes natively must pass there, but for what differs by name.
// Some of these tests measure time and fail now and then on a busy host, so
// that they pass once in three tries is enough.
func TestGoStandard(t *testing.T) {
	needs(t, "go", "unshare", "ip")
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(strings.TrimSpace(string(root)), "src")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range goPackages {
		t.Run(p, func(t *testing.T) {
			here := filepath.Join(src, p)
			if _, err := os.Stat(here); err != nil {
				t.Skipf("this Go has no sources: %v", err)
			}
			program := filepath.Join(dir, strings.ReplaceAll(p, "/", "_")+".test")
			cmd := exec.Command("go", "test", "-c", "-o", program, p)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("building the tests of %s: %v\n%s", p, err, out)
			}
			args := []string{program, "-test.v", "-test.short"}
			// Some leave files where temporary ones go.
			native := append(inNamespaces(), "sh", "-c", `ip link set lo up && exec "$0" "$@"`, "env", "TMPDIR="+t.TempDir())
			want := goResults(run(t, 10*time.Minute, here, "", append(native, args...)...).stdout)
			if len(want) == 0 {
				t.Fatal("natively no test ran")
			}
			for _, w := range walls[1:] {
				t.Run(w.name, func(t *testing.T) {
					needsRoot(t, w.name)
					differs := differs
					if w.name == "process" {
						differs = nil
					}
					argv := append(append([]string{coffer(t)}, w.args...), "--network", "none", "--cwd", here, "--bind", dir, "--")
					var failed []string
					var output string
					for try := range 3 {
						output = run(t, 15*time.Minute, "/", "", append(argv, args...)...).stdout
						got := goResults(output)
						now := failures(p, differs, want, got)
						for name, w := range want {
							if differs[p+" "+name] != "" && w == "PASS" && got[name] == "PASS" {
								t.Errorf("%s passes: it is to be taken off the list of those that differ", name)
							}
						}
						if try == 0 {
							failed = now
						}
						failed = slices.DeleteFunc(failed, func(name string) bool { return !slices.Contains(now, name) })
						if len(failed) == 0 {
							return
						}
					}
					for _, name := range failed {
						t.Errorf("%s passes only natively:\n%s", name, about(output, name))
					}
				})
			}
		})
	}
}

// expected says why a test may end otherwise than natively, or "".
func expected(differs map[string]string, name string) string {
	for {
		if why := differs[name]; why != "" {
			return why
		}
		at := strings.LastIndex(name, "/")
		if at <= strings.Index(name, " ") { // what is left of it is a package
			return ""
		}
		name = name[:at]
	}
}

// goResults are the tests' ends in the output of go test -v: PASS, FAIL or SKIP.
func goResults(output string) map[string]string {
	results := make(map[string]string)
	for line := range strings.Lines(output) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "--- "); ok {
			if end, name, ok := strings.Cut(rest, ": "); ok {
				name, _, _ = strings.Cut(name, " (")
				results[name] = end
			}
		}
	}
	return results
}

// failures lists the tests of package p that passed natively and did not pass
// now, though they should: all but those that differ.
func failures(p string, differs, want, got map[string]string) (names []string) {
	for name, w := range want {
		if w == "PASS" && got[name] != "PASS" && expected(differs, p+" "+name) == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// about is what the output says on a test.
func about(output, test string) string {
	var b strings.Builder
	on := false
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "=== ") {
			on = strings.HasSuffix(strings.TrimSpace(line), " "+test)
		} else if on {
			fmt.Fprint(&b, line)
		}
	}
	return tail(b.String())
}
