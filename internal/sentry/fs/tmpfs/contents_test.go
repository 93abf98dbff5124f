package tmpfs

import (
	"bytes"
	"math"
	"math/rand"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func newTestFile(t testing.TB, fs *FS) (*file, vfs.File) {
	t.Helper()
	ino, err := fs.root.Create(vfs.Owner{}, "f"+string(rune('a'+len(fs.root.byName))), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ino.Open(nil, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	return ino.(*file), f
}

// TestContentsAgainstHost makes the same random changes to a file of ours and
// to a memfd of the host, which is a file of the host's tmpfs, and compares.
func TestContentsAgainstHost(t *testing.T) {
	others := memfds.Load()
	for seed := range int64(12) {
		r := rand.New(rand.NewSource(seed))
		fs := New(Options{Size: -1})
		ino, f := newTestFile(t, fs)
		host, err := unix.MemfdCreate("model", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		// Half of the runs stay on the heap.
		span := int64(heapMax - 20000)
		// What fallocate made and nobody wrote to is data for us and, mostly,
		// a hole for Linux; so where that happens data is not looked for.
		allocates := seed%4 < 2
		if seed%2 == 1 {
			span = 3 * heapMax
		}
		for step := range 400 {
			off := r.Int63n(span)
			if r.Intn(3) == 0 {
				off &^= pageSize - 1
			}
			length := 1 + r.Int63n(20000)
			var got, want error
			switch op := r.Intn(20); {
			case op < 8:
				p := make([]byte, length)
				r.Read(p)
				_, _, got = f.Write(nil, p, off, 0)
				_, want = unix.Pwrite(host, p, off)
			case op < 11:
				got = ino.SetAttr(vfs.SetAttr{Which: vfs.SetSize, Size: off})
				want = unix.Ftruncate(host, off)
			case op < 12:
				got = ino.SetAttr(vfs.SetAttr{Which: vfs.SetSize})
				want = unix.Ftruncate(host, 0)
			case op < 15 && allocates:
				mode := []uint32{0, unix.FALLOC_FL_KEEP_SIZE}[r.Intn(2)]
				got = f.Fallocate(mode, off, length)
				want = unix.Fallocate(host, mode, off, length)
			case op < 18:
				const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
				got = f.Fallocate(mode, off, length)
				want = unix.Fallocate(host, mode, off, length)
			case op < 19:
				if seed%3 == 0 {
					_, got = f.MapFD()
				}
			default:
				// Closed by all and opened again.
				f.Release()
				f, got = ino.Open(nil, unix.O_RDWR)
			}
			if got != want {
				t.Fatalf("seed %d, step %d: %v, host says %v", seed, step, got, want)
			}
			compare(t, fs, ino, f, host, !allocates)
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
		unix.Close(host)
		if err := fs.root.Unlink("fa", ino); err != nil {
			t.Fatal(err)
		}
		f.Release()
		if n := fs.pages.Load(); n != 0 {
			t.Errorf("seed %d: %d pages are left of nothing", seed, n)
		}
	}
	if n := memfds.Load() - others; n != 0 {
		t.Errorf("%d memfds are left", n)
	}
}

func compare(t *testing.T, fs *FS, ino *file, f vfs.File, host int, holes bool) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(host, &st); err != nil {
		t.Fatal(err)
	}
	a, err := ino.Attr()
	if err != nil || a.Size != st.Size {
		t.Errorf("size %d, host has %d (%v)", a.Size, st.Size, err)
	}
	if int64(a.Blocks) != st.Blocks {
		t.Errorf("%d blocks, host has %d", a.Blocks, st.Blocks)
	}
	if n := fs.pages.Load(); n != st.Blocks/8 {
		t.Errorf("%d pages charged, host has %d", n, st.Blocks/8)
	}
	got, want := make([]byte, st.Size+10), make([]byte, st.Size+10)
	n, err := f.Read(nil, got, 0)
	if err != nil || int64(n) != st.Size {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := unix.Pread(host, want, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("contents differ")
	}
	if !holes {
		return
	}
	for _, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE} {
		for _, at := range []int64{0, st.Size / 2, st.Size - 1, st.Size} {
			g, gerr := f.Seek(whence, at, 0)
			h, herr := unix.Seek(host, at, whence)
			if gerr != herr || gerr == nil && g != h {
				t.Errorf("seek %d from %d: %d %v, host says %d %v", whence, at, g, gerr, h, herr)
			}
		}
	}
}

func TestSizeLimit(t *testing.T) {
	for _, size := range []int64{8 * pageSize, heapMax + 8*pageSize} {
		fs := New(Options{Size: size})
		ino, f := newTestFile(t, fs)
		p := make([]byte, size+100)
		n, end, err := f.Write(nil, p, 0, 0)
		for err == nil && n > 0 && end < size {
			n, end, err = f.Write(nil, p[end:], end, 0)
		}
		if err != nil || end != size {
			t.Fatalf("filled to %d: %v", end, err)
		}
		if _, _, err := f.Write(nil, p[:1], size, 0); err != unix.ENOSPC {
			t.Errorf("beyond the limit: %v", err)
		}
		if n, _, err := f.Write(nil, p[:100], size-100, 0); n != 100 || err != nil {
			t.Errorf("overwriting in a full file system: %d, %v", n, err)
		}
		if err := f.Fallocate(0, size, 1); err != unix.ENOSPC {
			t.Errorf("fallocate: %v", err)
		}
		if err := ino.SetXattr("user.x", []byte("y"), 0); err != unix.ENOSPC {
			t.Errorf("xattr: %v", err)
		}
		// A hole costs nothing.
		if err := ino.SetAttr(vfs.SetAttr{Which: vfs.SetSize, Size: 1 << 40}); err != nil {
			t.Errorf("extending: %v", err)
		}
		if err := ino.SetAttr(vfs.SetAttr{Which: vfs.SetSize, Size: pageSize}); err != nil {
			t.Fatal(err)
		}
		if s, _ := fs.StatFS(); s.Free != s.Blocks-1 {
			t.Errorf("%d of %d pages free", s.Free, s.Blocks)
		}
		fs.Release()
		if n := fs.pages.Load(); n != 0 {
			t.Errorf("%d pages after Release", n)
		}
	}
}

func TestInodeLimit(t *testing.T) {
	fs := New(Options{Inodes: 3}) // one is the root's
	ino, err := fs.root.Create(vfs.Owner{}, "a", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.root.Link("b", ino); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"create":  func() error { _, err := fs.root.Create(vfs.Owner{}, "c", 0o600); return err },
		"link":    func() error { return fs.root.Link("c", ino) },
		"tmpfile": func() error { _, err := fs.root.Tmpfile(vfs.Owner{}, 0o600); return err },
		"whiteout": func() error {
			return fs.root.Rename("a", fs.root, "c", unix.RENAME_WHITEOUT)
		},
	} {
		if err := f(); err != unix.ENOSPC {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := fs.root.Unlink("b", ino); err != nil {
		t.Fatal(err)
	}
	tmp, err := fs.root.Tmpfile(vfs.Owner{}, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.root.Link("d", tmp); err != nil {
		t.Errorf("naming it: %v", err)
	}
	if n := fs.inodes.Load(); n != 3 {
		t.Errorf("%d inodes charged, want 3", n)
	}
}

func TestFileLimit(t *testing.T) {
	fs := New(Options{})
	ino, _ := newTestFile(t, fs)
	for _, tt := range []struct {
		off, n int64
		limit  uint64
		wrote  int
		err    error
	}{
		{0, 10, 10, 10, nil}, {5, 10, 10, 5, nil}, {10, 1, 10, 0, unix.EFBIG}, {10, 0, 10, 0, nil},
		{math.MaxInt64, 1, math.MaxUint64, 0, unix.EFBIG},
	} {
		n, _, err := ino.data.write(make([]byte, tt.n), tt.off, false, tt.limit)
		if n != tt.wrote || err != tt.err {
			t.Errorf("%+v: %d, %v", tt, n, err)
		}
	}
}

// TestSparseEnd writes the last byte that a file can have.
func TestSparseEnd(t *testing.T) {
	fs := New(Options{})
	ino, f := newTestFile(t, fs)
	n, _, err := f.Write(nil, []byte("xy"), math.MaxInt64-1, 0)
	if err != nil || n != 1 {
		t.Skipf("the host does not go as far: %d, %v", n, err)
	}
	if a, _ := ino.Attr(); a.Size != math.MaxInt64 || a.Blocks != 8 {
		t.Errorf("size %d, blocks %d", a.Size, a.Blocks)
	}
	b := make([]byte, 10)
	if n, err := f.Read(nil, b, math.MaxInt64-2); n != 2 || err != nil || b[1] != 'x' {
		t.Errorf("read %d, %v, %q", n, err, b[:2])
	}
}

// TestDeletedFile: contents live as long as somebody has the file open.
func TestDeletedFile(t *testing.T) {
	fs := New(Options{})
	ino, f := newTestFile(t, fs)
	f.Write(nil, []byte("hello"), 0, 0)
	if err := fs.root.Unlink("fa", ino); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, _ := f.Read(nil, b, 0); string(b[:n]) != "hello" {
		t.Errorf("read %q", b[:n])
	}
	if fs.pages.Load() != 1 {
		t.Errorf("%d pages charged", fs.pages.Load())
	}
	f.Release()
	if fs.pages.Load() != 0 {
		t.Errorf("%d pages charged after the last close", fs.pages.Load())
	}
}

func TestSeals(t *testing.T) {
	fs := New(Options{})
	open := func(flags uint32) (*openFile, *vfs.FileDescription) {
		d, err := fs.NewMemfd(vfs.Owner{}, "m", flags)
		if err != nil {
			t.Fatal(err)
		}
		d.Write(nil, []byte("0123456789"))
		return d.File.(*openFile), d
	}
	size := func(f *openFile, n int64) error { return f.f.SetAttr(vfs.SetAttr{Which: vfs.SetSize, Size: n}) }
	for _, tt := range []struct {
		name          string
		seals         uint32
		write, append error
		shrink, grow  error
	}{
		{"none", 0, nil, nil, nil, nil},
		{"write", unix.F_SEAL_WRITE, unix.EPERM, unix.EPERM, nil, nil},
		{"grow", unix.F_SEAL_GROW, nil, unix.EPERM, nil, unix.EPERM},
		{"shrink", unix.F_SEAL_SHRINK, nil, nil, unix.EPERM, nil},
	} {
		f, d := open(unix.MFD_ALLOW_SEALING)
		if err := f.AddSeals(tt.seals); err != nil {
			t.Fatal(err)
		}
		_, _, w := f.Write(nil, []byte("x"), 0, 0)
		_, _, ap := f.Write(nil, []byte("x"), 0, unix.O_APPEND)
		sh := size(f, 5)
		gr := size(f, 100)
		if w != tt.write || ap != tt.append || sh != tt.shrink || gr != tt.grow {
			t.Errorf("%s: write %v, append %v, shrink %v, grow %v", tt.name, w, ap, sh, gr)
		}
		if err := f.AddSeals(unix.F_SEAL_SEAL); err != nil {
			t.Error(err)
		}
		if err := f.AddSeals(unix.F_SEAL_GROW); err != unix.EPERM {
			t.Errorf("%s: sealed, but %v", tt.name, err)
		}
		d.DecRef()
	}
	f, d := open(0)
	if err := f.AddSeals(unix.F_SEAL_GROW); err != unix.EPERM {
		t.Errorf("without MFD_ALLOW_SEALING: %v", err)
	}
	d.DecRef()
	f, d = open(mfdNoExecSeal)
	if err := f.f.SetAttr(vfs.SetAttr{Which: vfs.SetMode, Mode: 0o777}); err != unix.EPERM {
		t.Errorf("chmod +x of MFD_NOEXEC_SEAL: %v", err)
	}
	d.DecRef()
	if n, p := fs.inodes.Load(), fs.pages.Load(); n != 1 || p != 0 {
		t.Errorf("%d inodes and %d pages are left", n, p)
	}
}

// TestMemfdBudget: without memfds files stay on the heap, and what is mapped
// goes back to it when memfds get scarce.
func TestMemfdBudget(t *testing.T) {
	defer func(n int64) { memfdBudget = n }(memfdBudget)
	others := memfds.Load()
	memfdBudget = others
	fs := New(Options{Size: -1})
	ino, f := newTestFile(t, fs)
	p := bytes.Repeat([]byte("0123456789abcdef"), 3*heapMax/16)
	if n, _, err := f.Write(nil, p, 0, 0); n != len(p) || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
	if _, err := f.MapFD(); err != unix.ENFILE {
		t.Errorf("MapFD: %v", err)
	}
	if _, _, err := f.Write(nil, p[:1], heapLast, 0); err != unix.ENOSPC {
		t.Errorf("too large for the heap: %v", err)
	}
	memfdBudget = others + 1
	if err := ino.SetAttr(vfs.SetAttr{Which: vfs.SetSize, Size: heapMax}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.MapFD(); err != nil {
		t.Error(err)
	}
	f.Release()
	if n := memfds.Load() - others; n != 0 || ino.data.fd >= 0 {
		t.Errorf("%d memfds after the last close", n)
	}
	f, _ = ino.Open(nil, unix.O_RDONLY)
	got := make([]byte, heapMax+1)
	if n, err := f.Read(nil, got, 0); n != heapMax || err != nil || !bytes.Equal(got[:n], p[:n]) {
		t.Errorf("read %d, %v", n, err)
	}
	if n := fs.pages.Load(); n != heapMax/pageSize {
		t.Errorf("%d pages charged", n)
	}
}

// TestMappedWrites: pages that come up through a mapping are counted.
func TestMappedWrites(t *testing.T) {
	fs := New(Options{})
	ino, f := newTestFile(t, fs)
	if err := ino.SetAttr(vfs.SetAttr{Which: vfs.SetSize, Size: 16 * pageSize}); err != nil {
		t.Fatal(err)
	}
	fd, err := f.MapFD()
	if err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, 16*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	mem[5*pageSize] = 'm'
	b := make([]byte, 1)
	if f.Read(nil, b, 5*pageSize); b[0] != 'm' {
		t.Error("the file does not have what the mapping wrote")
	}
	f.Write(nil, []byte("w"), 5*pageSize, 0)
	if mem[5*pageSize] != 'w' {
		t.Error("the mapping does not have what was written")
	}
	if a, _ := ino.Attr(); a.Blocks != 8 {
		t.Errorf("%d blocks", a.Blocks)
	}
	unix.Munmap(mem)
	f.Release()
}

func BenchmarkRead4K(b *testing.B)       { benchIO(b, heapMax/2, false) }
func BenchmarkWrite4K(b *testing.B)      { benchIO(b, heapMax/2, true) }
func BenchmarkReadMemfd4K(b *testing.B)  { benchIO(b, heapMax*2, false) }
func BenchmarkWriteMemfd4K(b *testing.B) { benchIO(b, heapMax*2, true) }

func benchIO(b *testing.B, size int64, write bool) {
	fs := New(Options{})
	_, f := newTestFile(b, fs)
	f.Write(nil, make([]byte, size), 0, 0)
	p := make([]byte, 4096)
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		if write {
			f.Write(nil, p, 4096, 0)
		} else {
			f.Read(nil, p, 4096)
		}
	}
}
