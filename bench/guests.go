package main

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// guestSources are the C programs that run behind the walls.
//
//go:embed guest
var guestSources embed.FS

// buildGuests compiles the guest programs into dir: static, so that a row shows
// the wall, not the dynamic linker.
func buildGuests(ctx context.Context, dir string) error {
	sources, err := os.MkdirTemp("", "coffer-bench-guest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(sources)
	if err := os.CopyFS(sources, guestSources); err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(sources, "guest", "*.c"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		program := filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".c"))
		out, err := exec.CommandContext(ctx, "gcc", "-O2", "-static", "-pthread", "-o", program, path).CombinedOutput()
		if err != nil {
			return fmt.Errorf("compiling %s: %w: %s", filepath.Base(path), err, out)
		}
	}
	return nil
}
