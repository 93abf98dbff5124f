package vfs_test

import (
	"testing"
	"time"

	"coffer/internal/sentry/vfs"
)

// TestEpochOfLayers has somebody hold the directory while another file system tells that it has
// changed a name in it: what the cache still says holds in no epoch.
func TestEpochOfLayers(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/up")
	up := w.resolve("/up")
	defer up.DecRef()
	l, err := up.Layer()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	before := vfs.CurrentEpoch()
	if before.Word == nil {
		t.Fatal("no epoch holds though nothing changes")
	}
	release := vfs.HoldNames(up)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Changed(l.Root(), "a")
	}()
	for end := time.Now().Add(2 * time.Minute); vfs.CurrentEpoch().Number == before.Number; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no new epoch begins")
		}
	}
	if vfs.CurrentEpoch().Word != nil {
		t.Error("an epoch holds before the cache has forgotten the name")
	}
	release()
	<-done
	if vfs.CurrentEpoch().Word == nil {
		t.Error("no epoch holds after it")
	}
}
