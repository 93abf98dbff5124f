package kernel

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCoreName(t *testing.T) {
	k := timedTask(t).k
	task := k.Init().Leader()
	task.SetComm("a/b c")
	for _, c := range []struct {
		pattern string
		usesPID bool
		want    string
	}{
		{"core", false, "core"},
		{"core", true, "core.1"},
		{"", false, ""},
		{"", true, ".1"},
		{"/var/%p/%e.%s", true, "/var/1/a!b c.11"},
		{"%P%i%I%%%q%", false, "111%"},
		{"%u.%g.%c", false, "0.0.4096"},
		{"|/bin/program %p", false, ""},
		{"@/socket", true, ""},
		{strings.Repeat("x", 200), false, strings.Repeat("x", maxCorePattern)},
	} {
		k.SetCorePattern(c.pattern)
		k.SetCoreUsesPID(c.usesPID)
		if got := task.coreName(int32(unix.SIGSEGV), 4096); got != c.want {
			t.Errorf("%q, %t: %q, want %q", c.pattern, c.usesPID, got, c.want)
		}
	}
}
