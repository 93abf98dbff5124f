package kernel_test

import (
	"sync"
	"testing"

	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"
)

// TestDirectoriesOfAnEndedTask asks for a context's directories while its
// last task ends: references come with them, or nothing does.
func TestDirectoriesOfAnEndedTask(t *testing.T) {
	ns := vfs.NewMountNamespace(tmpfs.New(tmpfs.Options{Mode: 0o755}), 0)
	for range 1000 {
		f := kernel.NewFSContext(ns, ns.Root(), ns.Root(), 0)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for p := f.Root(); p.Valid(); p = f.Cwd() {
					if _, err := p.Attr(); err != nil {
						t.Error(err)
					}
					p.DecRef()
				}
			})
		}
		f.DecRef()
		wg.Wait()
	}
	root := ns.Root()
	defer root.DecRef()
	if _, err := root.Attr(); err != nil {
		t.Error(err)
	}
}
