package kernel

import (
	"os"
	"strings"
	"testing"

	"coffer/internal/isolation"
	"coffer/internal/sentry/boot"
)

// TestDirectoriesAreNoStreams: no directory of the host's gets to a sentry but as
// a mount by itself.
func TestDirectoriesAreNoStreams(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, s := range map[string]*isolation.Streams{
		"descriptor 1": {Stdio: [3]*os.File{null, dir, null}},
		"descriptor 4": {Stdio: [3]*os.File{null, null, null}, Extra: []*os.File{null, dir}},
	} {
		var d donation
		_, err := d.streams(new(boot.Process), nil, s)
		d.close()
		if err == nil || !strings.Contains(err.Error(), name+" of the program: it is a directory") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = Start(Config{Root: dir, Stdio: [3]*os.File{dir, null, null}})
	if err == nil || !strings.Contains(err.Error(), "descriptor 0 of the program: it is a directory") {
		t.Errorf("a sandbox starts: %v", err)
	}
}
