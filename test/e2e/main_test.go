// Package e2e puts coffer where runc stands: behind containerd, Docker and
// Podman as Debian has them. Everything runs in a room of its own (package
// room), so that what is left behind is seen, and nothing of it stays.
//
// make e2e runs all of it; without COFFER_E2E=full only what is quick runs, as
// make test has it.
package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"coffer/test/room"

	"golang.org/x/sys/unix"
)

// Variables of the environment by which the test is told what to do.
const (
	envLevel    = "COFFER_E2E"          // "full" for more than what is quick
	envRuntimes = "COFFER_E2E_RUNTIMES" // paths of runtimes, instead of both walls
)

// tmp is a directory for files, in memory.
var tmp = room.Tmp()

func TestMain(m *testing.M) {
	room.Main()
	room.Tests(m.Run)
}

// defaultFiles is the limit of open files in the specs that engines make. Not
// every root may raise its own.
const defaultFiles = 1024

// need skips the test unless it can run here.
func need(t *testing.T, full bool, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containerd and Docker need root")
	}
	if room.Forbidden != nil {
		t.Skip(room.Forbidden)
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	} else if files.Max < defaultFiles {
		t.Skipf("the engines' containers may open %d files, and this process %d (ulimit -Hn)", defaultFiles, files.Max)
	}
	if full && os.Getenv(envLevel) != "full" {
		t.Skip("it takes long: make e2e runs it")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed: scripts/e2e-deps does it on a Debian", p)
		}
	}
}

// runtime is an OCI runtime that is tested.
type runtime struct{ name, path string }

// isolated reports whether the runtime's containers have a kernel of their
// own.
func (r runtime) isolated() bool { return strings.HasSuffix(r.name, "-kernel") }

// eachRuntime runs a test for every runtime.
func eachRuntime(t *testing.T, test func(t *testing.T, r runtime)) {
	paths := strings.Fields(os.Getenv(envRuntimes))
	if len(paths) == 0 {
		binary, err := filepath.Abs("../../bin/coffer")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(binary); err != nil {
			t.Fatalf("bin/coffer is not there: make build: %v", err)
		}
		// Called by these names, the binary has that wall.
		dir := filepath.Join(tmp, "runtimes")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"coffer-process", "coffer-kernel"} {
			path := filepath.Join(dir, name)
			if err := os.Symlink(binary, path); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		r := runtime{filepath.Base(path), path}
		t.Run(r.name, func(t *testing.T) { test(t, r) })
	}
}
