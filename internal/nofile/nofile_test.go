package nofile_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"coffer/internal/nofile"
)

// TestOriginal starts this test with a limit, and looks whether it is known
// though Go has raised it.
func TestOriginal(t *testing.T) {
	if os.Getenv("NOFILE_CHILD") != "" {
		fmt.Printf("<%d %d>", nofile.Original.Soft, nofile.Original.Hard)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `ulimit -Sn 77 && ulimit -Hn 128 && exec "$0" -test.run='^TestOriginal$'`, self)
	cmd.Env = append(os.Environ(), "NOFILE_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "<77 128>") {
		t.Errorf("a process started with 77 of 128 open files says %s", out)
	}
}
