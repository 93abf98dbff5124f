package test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestShortPrograms: programs that are too short for their calls' sites to be
// rewritten have them rewritten in the image of the libraries' code, from some
// run on. Only the first ones and what they do for the first time traps.
func TestShortPrograms(t *testing.T) {
	var fs unix.Statfs_t
	if err := unix.Statfs("/bin/true", &fs); err != nil {
		t.Fatal(err)
	}
	switch fs.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
	default:
		t.Skipf("the host's programs are in a file system of type %#x, which may not note each change", fs.Type)
	}
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err != nil || !strings.Contains(string(cpu), " fsgsbase ") {
		t.Skip("this host's CPU does not let calls be rewritten")
	}
	const runs = 100
	r := run(t, time.Minute, ".", "", coffer(t), "do", "--stats", "--", "sh", "-c",
		"i=0; while [ $i -lt "+strconv.Itoa(runs)+" ]; do /bin/true; i=$((i+1)); done")
	m := regexp.MustCompile(`(\d+) system calls, (\d+) of them`).FindStringSubmatch(r.stderr)
	if r.code != 0 || m == nil {
		t.Fatalf("%+v", r)
	}
	calls, _ := strconv.Atoi(m[1])
	slow, _ := strconv.Atoi(m[2])
	if calls < 20*runs || slow > calls/4 {
		t.Errorf("%d of %d calls took a signal, more than a quarter", slow, calls)
	}
}
