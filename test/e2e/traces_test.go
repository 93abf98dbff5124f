package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/test/room"
	"coffer/test/screen"
)

// traces are what containers and their runtimes can leave on a host: each a
// line that names it.
type traces map[string]bool

// leavesNothing fails the test if, after it and what was cleaned up later than
// this call, there is more on the host than now: processes, mounts, cgroups,
// files in /run. Lines that match one of the patterns (path.Match) are what the
// servers leave, whatever the runtime.
func leavesNothing(t *testing.T, servers ...string) {
	t.Helper()
	before := look(t)
	t.Cleanup(func() {
		if more := settle(t, before, servers); len(more) > 0 {
			t.Errorf("left behind:\n%s", strings.Join(more, "\n"))
		}
		// The next test begins with a clean host.
		room.KillOthers()
	})
}

// settle waits until there is no more on the host than before, but for what
// matches one of the patterns, and returns what stays.
func settle(t *testing.T, before traces, patterns []string) (more []string) {
	t.Helper()
	// Servers end before all that they have started.
	for until := time.Now().Add(screen.Patience / 4); ; time.Sleep(50 * time.Millisecond) {
		more = more[:0]
		for line := range look(t) {
			if !before[line] && !belongs(line, patterns) {
				more = append(more, line)
			}
		}
		if len(more) == 0 || time.Now().After(until) {
			slices.Sort(more)
			return more
		}
	}
}

// belongs reports whether a line matches a pattern.
func belongs(line string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, _ := filepath.Match(pattern, line)
		return ok
	})
}

// look finds what there is.
func look(t *testing.T) traces {
	t.Helper()
	found := traces{}
	for _, pid := range room.Others() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && len(b) > 0 { // a zombie has none
			found[fmt.Sprintf("process %d: %s", pid, strings.ReplaceAll(strings.TrimRight(string(b), "\x00"), "\x00", " "))] = true
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			found["mount on "+fields[4]] = true
		}
	}
	for _, root := range []string{"/sys/fs/cgroup", "/run"} {
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
			case root == "/run":
				found["file "+path] = true
			case d.IsDir():
				found["cgroup "+path] = true
			}
			return nil
		})
	}
	return found
}
