package tmpfs

import (
	"testing"

	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// newAccounted returns a file system on an account of its own.
func newAccounted(a *shmem.Account) *FS {
	fs := New(Options{Size: -1, Inodes: -1})
	fs.account.Uncharge(inodeSize) // the root's, which New has charged
	fs.account = a
	fs.account.Uncharge(-inodeSize)
	return fs
}

// TestAccount fills two file systems without limits of their own: together
// they hold what the sandbox may have, and each way to free contents gives it
// back.
func TestAccount(t *testing.T) {
	for _, size := range []int64{heapMax / 2, 4 * heapMax} { // on the heap; in a memfd
		var a shmem.Account
		one, other := newAccounted(&a), newAccounted(&a)
		first, f := newTestFile(t, one)
		_, g := newTestFile(t, other)
		a.SetLimit(a.Used() + size)
		used := a.Used()
		data := make([]byte, size)

		if n, _, err := f.Write(nil, data, 0, 0); int64(n) != size || err != nil {
			t.Fatalf("filling the account: %d, %v", n, err)
		}
		full := func(what string) {
			t.Helper()
			if n, _, err := g.Write(nil, data[:1], 0, 0); err != unix.ENOSPC {
				t.Errorf("%s: writing: %d, %v", what, n, err)
			}
			if err := g.Fallocate(0, 0, 1<<62); err != unix.ENOSPC {
				t.Errorf("%s: fallocate: %v", what, err)
			}
			if _, err := other.root.Create(vfs.Owner{}, "x", 0o600); err != unix.ENOSPC {
				t.Errorf("%s: creating: %v", what, err)
			}
			if a.Used() != used+size {
				t.Errorf("%s: %d are counted, want %d", what, a.Used()-used, size)
			}
		}
		full("full")
		for what, free := range map[string]func() error{
			"truncating": func() error { return first.SetAttr(vfs.SetAttr{Which: vfs.SetSize}) },
			"a hole": func() error {
				return f.Fallocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, size)
			},
		} {
			if err := free(); err != nil || a.Used() != used {
				t.Errorf("%s: %v, %d are counted", what, err, a.Used()-used)
			}
			if n, _, err := f.Write(nil, data, 0, 0); int64(n) != size || err != nil {
				t.Errorf("%s, and writing again: %d, %v", what, n, err)
			}
			full(what)
		}
		if s, _ := New(Options{}).StatFS(); s.Free == 0 {
			t.Error("another account is full too")
		}
		// The last link and the last user.
		if err := one.root.Unlink("fa", first); err != nil {
			t.Fatal(err)
		}
		used -= inodeSize
		if a.Used() != used+size {
			t.Errorf("an open file without a name: %d are counted", a.Used()-used)
		}
		f.Release()
		if a.Used() != used {
			t.Errorf("removed: %d are left", a.Used()-used)
		}
		if n, _, err := g.Write(nil, data, 0, 0); int64(n) != size || err != nil {
			t.Errorf("the other's turn: %d, %v", n, err)
		}
		one.Release()
		other.Release()
		if a.Used() != 0 {
			t.Errorf("%d are counted of nothing", a.Used())
		}
	}
}

// TestMappedAccount has pages come up by a mapping: the host gives them, and
// they count all the same.
func TestMappedAccount(t *testing.T) {
	var a shmem.Account
	fs := newAccounted(&a)
	ino, f := newTestFile(t, fs)
	used := a.Used()
	a.SetLimit(used + 2*pageSize)
	const size = 8 * pageSize
	if err := ino.SetAttr(vfs.SetAttr{Which: vfs.SetSize, Size: size}); err != nil {
		t.Fatal(err)
	}
	fd, err := f.MapFD()
	if err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	for i := range mem {
		mem[i] = 1
	}
	unix.Munmap(mem)
	if at, err := ino.Attr(); err != nil || at.Blocks != size/512 || a.Used() != used+size || a.Room() != 0 {
		t.Errorf("%v: %d blocks, %d counted, %d left", err, at.Blocks, a.Used()-used, a.Room())
	}
	if n, _, err := f.Write(nil, []byte("x"), 0, 0); n != 1 || err != nil {
		t.Errorf("writing to a page that is there: %d, %v", n, err)
	}
	if _, _, err := f.Write(nil, []byte("x"), size, 0); err != unix.ENOSPC {
		t.Errorf("writing to one that is not: %v", err)
	}
	f.Release()
	fs.Release()
	if a.Used() != 0 {
		t.Errorf("%d are counted of nothing", a.Used())
	}
}
