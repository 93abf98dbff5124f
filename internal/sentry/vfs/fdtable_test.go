package vfs_test

import (
	"slices"
	"sync"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// counted is a file that counts what happens to it.
type counted struct {
	vfs.NoFile
	mu                sync.Mutex
	flushed, released int
}

func (c *counted) Flush(vfs.Caller) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushed++
	return unix.EDQUOT
}

func (c *counted) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released++
}

func TestFDTable(t *testing.T) {
	f := &counted{}
	d := vfs.NewDescription(f, nil, vfs.Path{}, unix.O_RDWR)
	table := vfs.NewFDTable()
	install := func(min int32, limit uint64, want int32) {
		t.Helper()
		n, err := table.Install(d, min, limit, min == 5)
		if want < 0 && err != unix.EMFILE || want >= 0 && (n != want || err != nil) {
			t.Fatalf("Install from %d: %d, %v; want %d", min, n, err, want)
		}
	}
	install(0, 10, 0)
	install(0, 10, 1)
	install(5, 10, 5)
	install(0, 10, 2)
	install(0, 3, -1)
	install(5, 6, -1)
	if !table.HasRoom(4) || table.HasRoom(3) {
		t.Error("HasRoom")
	}
	if table.Remove(7) != nil || table.Remove(-1) != nil {
		t.Error("removed what is not there")
	}
	if err := table.Close(root, table.Remove(1)); err != unix.EDQUOT {
		t.Errorf("close does not tell the flush's error: %v", err)
	}
	install(0, 10, 1)
	if set, ok := table.Cloexec(5); !set || !ok {
		t.Error("close-on-exec is lost")
	}
	if _, err := table.InstallAt(d, 10, 10, false); err != unix.EBADF {
		t.Errorf("InstallAt the limit: %v", err)
	}
	old, err := table.InstallAt(d, 1, 10, true)
	if old != d || err != nil {
		t.Errorf("InstallAt: %v, %v", old, err)
	}
	table.Close(root, old)

	child := table.Fork()
	for _, d := range child.RemoveCloexec() {
		child.Close(root, d)
	}
	if n := child.Numbers(); !slices.Equal(n, []int32{0, 2}) {
		t.Errorf("after exec: %v", n)
	}
	if n := table.Numbers(); !slices.Equal(n, []int32{0, 1, 2, 5}) {
		t.Errorf("of the parent: %v", n)
	}
	child.IncRef()
	if child.DecRef() != nil {
		t.Error("a shared table was emptied")
	}
	for _, tb := range []*vfs.FDTable{table, child} {
		for _, d := range tb.DecRef() {
			tb.Close(root, d)
		}
	}
	d.DecRef()
	if f.released != 1 {
		t.Errorf("released %d times", f.released)
	}
}

// TestGetWhileClosing: a description that Get returned lives, even if another
// thread closes the descriptor at once.
func TestGetWhileClosing(t *testing.T) {
	table := vfs.NewFDTable()
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(2)
		go func() {
			defer wg.Done()
			for range 2000 {
				d := vfs.NewDescription(&counted{}, nil, vfs.Path{}, 0)
				table.Install(d, 0, 100, false)
				d.DecRef()
				if d := table.Remove(0); d != nil {
					table.Close(root, d)
				}
			}
		}()
		go func() {
			defer wg.Done()
			for range 2000 {
				if d := table.Get(0); d != nil {
					if d.File.(*counted).released != 0 {
						t.Error("got a released file")
					}
					d.DecRef()
				}
			}
		}()
	}
	wg.Wait()
}

func BenchmarkFDTableGet(b *testing.B) {
	table := vfs.NewFDTable()
	d := vfs.NewDescription(&counted{}, nil, vfs.Path{}, 0)
	table.Install(d, 0, 10, false)
	b.ReportAllocs()
	for b.Loop() {
		table.Get(0).DecRef()
	}
}
