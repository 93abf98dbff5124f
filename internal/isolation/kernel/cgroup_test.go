package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestRemoveCgroup has the removal of a cgroup given up at once where waiting would not help, as with a file system
// that is read-only.
func TestRemoveCgroup(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := removeCgroup(dir); !errors.Is(err, syscall.ENOTEMPTY) {
			t.Errorf("removing it: %v, want %v", err, syscall.ENOTEMPTY)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it was tried for %v", waited)
		}
	})
}
