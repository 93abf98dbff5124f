package syscalls

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/pipefs"
	"coffer/internal/sentry/fs/tmpfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/mm/mmtest"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// The memory of a test's process: memPages writable pages at memBase, then one
// that can only be read, then nothing.
const (
	memBase  = 0x100000
	memPages = 600
	memEnd   = memBase + memPages*mm.PageSize
	readOnly = memEnd
	nowhere  = memEnd + mm.PageSize
)

// process is a task with memory and a tmpfs, that runs no code.
type process struct {
	*kernel.Task
	t      testing.TB
	mounts *vfs.MountNamespace
}

func newProcess(t testing.TB) *process {
	t.Helper()
	k := kernel.New(kernel.Config{Platform: mmtest.Platform{}})
	mounts := vfs.NewMountNamespace(tmpfs.New(tmpfs.Options{}), 0)
	task, err := k.CreateProcess(kernel.ProcessConfig{
		Credentials: auth.New(0, 0, nil), FDs: vfs.NewFDTable(),
		FS: kernel.NewFSContext(mounts, mounts.Root(), mounts.Root(), 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	m, ctx, err := task.ReplaceMemory(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []mm.MMapArgs{
		{Addr: memBase, Length: memEnd - memBase, Prot: unix.PROT_READ | unix.PROT_WRITE},
		{Addr: readOnly, Length: mm.PageSize, Prot: unix.PROT_READ},
	} {
		v.Flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED
		if _, err := m.MMap(ctx, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := ctx.Flush(); err != nil {
		t.Fatal(err)
	}
	return &process{task, t, mounts}
}

// install gives a description a number and takes it over.
func (p *process) install(d *vfs.FileDescription) int32 {
	p.t.Helper()
	fd, err := p.FDs().Install(d, 0, 1000, false)
	if err != nil {
		p.t.Fatal(err)
	}
	d.DecRef()
	return fd
}

func (p *process) open(path string, flags uint32) int32 {
	p.t.Helper()
	r := p.mounts.Root()
	defer r.DecRef()
	d, err := p.mounts.OpenAt(p, vfs.Origin{Root: r, Start: r}, path, vfs.OpenHow{Flags: flags, Mode: 0600})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.install(d)
}

func (p *process) pipe(flags uint32) (r, w int32) {
	rd, wd := pipefs.New(nil, flags)
	return p.install(rd), p.install(wd)
}

func (p *process) put(addr uint64, b []byte) {
	p.t.Helper()
	if _, err := p.CopyOut(addr, b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) get(addr uint64, n int) []byte {
	p.t.Helper()
	b := make([]byte, n)
	if _, err := p.CopyIn(addr, b); err != nil {
		p.t.Fatal(err)
	}
	return b
}

// call makes a system call by its function.
func (p *process) call(fn Fn, args ...uint64) (int, error) {
	var a kernel.Args
	copy(a[:], args)
	n, err := fn(p.Task, a)
	return int(n), err
}

// want makes a call and checks its outcome.
func (p *process) want(what string, n int, err error, fn Fn, args ...uint64) {
	p.t.Helper()
	gotN, gotErr := p.call(fn, args...)
	if gotErr != err || err == nil && gotN != n {
		p.t.Errorf("%s: %d, %v; want %d, %v", what, gotN, gotErr, n, err)
	}
}

func minus(n int64) uint64 { return uint64(n) }

func TestReadWrite(t *testing.T) {
	p := newProcess(t)
	p.put(memBase, []byte("hello, world"))
	fd := uint64(p.open("/f", unix.O_RDWR|unix.O_CREAT))
	ro, dir := uint64(p.open("/f", unix.O_RDONLY)), uint64(p.open("/", unix.O_RDONLY|unix.O_DIRECTORY))
	path := uint64(p.open("/f", unix.O_PATH))
	pr, pw := p.pipe(0)
	const buf = memBase + 8192

	p.want("write", 12, nil, sysWrite, fd, memBase, 12)
	p.want("read at the end", 0, nil, sysRead, fd, buf, 10)
	p.want("lseek", 7, nil, sysLseek, fd, 7, unix.SEEK_SET)
	p.want("read", 5, nil, sysRead, fd, buf, 100)
	if got := p.get(buf, 5); string(got) != "world" {
		t.Errorf("read %q", got)
	}
	p.want("pread", 3, nil, sysPread64, fd, buf, 3, 1)
	p.want("pread beyond the end", 0, nil, sysPread64, fd, buf, 3, 100)
	p.want("pwrite", 1, nil, sysPwrite64, fd, memBase, 1, 11)
	p.want("the offset stays", 12, nil, sysLseek, fd, 0, unix.SEEK_CUR)

	p.want("no such descriptor", 0, unix.EBADF, sysRead, 99, buf, 1)
	p.want("negative descriptor", 0, unix.EBADF, sysWrite, minus(-1), buf, 1)
	p.want("write to what is open for reading", 0, unix.EBADF, sysWrite, ro, memBase, 1)
	p.want("read of O_PATH", 0, unix.EBADF, sysRead, path, buf, 1)
	p.want("lseek of O_PATH", 0, unix.EBADF, sysLseek, path, 0, 0)
	p.want("read of a directory", 0, unix.EISDIR, sysRead, dir, buf, 1)
	p.want("negative length", 0, unix.EINVAL, sysRead, fd, buf, minus(-1))
	p.want("negative offset", 0, unix.EINVAL, sysPread64, fd, buf, 1, minus(-1))
	p.want("bad whence", 0, unix.EINVAL, sysLseek, fd, 0, 5)
	p.want("before the start", 0, unix.EINVAL, sysLseek, fd, minus(-1), unix.SEEK_SET)
	p.want("pread of a pipe", 0, unix.ESPIPE, sysPread64, uint64(pr), buf, 1, 0)
	p.want("pwrite of a pipe", 0, unix.ESPIPE, sysPwrite64, uint64(pw), buf, 1, 0)
	p.want("lseek of a pipe", 0, unix.ESPIPE, sysLseek, uint64(pr), 0, 0)
	p.want("nothing from a pipe", 0, nil, sysRead, uint64(pr), buf, 0)
}

// Bad buffers: what can be moved is moved, a stream loses nothing.
func TestFaults(t *testing.T) {
	p := newProcess(t)
	fd := uint64(p.open("/f", unix.O_RDWR|unix.O_CREAT))
	p.want("write", 100, nil, sysWrite, fd, memBase, 100)
	p.want("write from nowhere", 0, unix.EFAULT, sysWrite, fd, nowhere, 1)
	p.want("write that runs out of memory", 8, nil, sysPwrite64, fd, nowhere-8, 100, 0)
	p.want("lseek", 0, nil, sysLseek, fd, 0, 0)
	p.want("read to nowhere", 0, unix.EFAULT, sysRead, fd, nowhere, 1)
	p.want("read to read-only memory", 0, unix.EFAULT, sysRead, fd, readOnly, 1)
	p.want("read that runs out of memory", 10, nil, sysRead, fd, memEnd-10, 100)
	p.want("the offset says so", 10, nil, sysLseek, fd, 0, unix.SEEK_CUR)
	p.want("read over the end of the address space", 0, unix.EFAULT, sysRead, fd, math.MaxUint64-3, 100)

	r, w := p.pipe(0)
	p.put(memBase, []byte("0123456789"))
	p.want("write to a pipe", 10, nil, sysWrite, uint64(w), memBase, 10)
	p.want("read of a pipe to nowhere", 0, unix.EFAULT, sysRead, uint64(r), nowhere, 5)
	p.want("read of a pipe to a short buffer", 4, nil, sysRead, uint64(r), memEnd-4, 100)
	p.want("the rest", 6, nil, sysRead, uint64(r), memBase+100, 100)
	if got := p.get(memBase+100, 6); string(got) != "456789" {
		t.Errorf("left in the pipe: %q", got)
	}
}

// putIovecs writes struct iovecs.
func (p *process) putIovecs(addr uint64, ranges ...memRange) {
	var b []byte
	for _, r := range ranges {
		b = binary.LittleEndian.AppendUint64(b, r.addr)
		b = binary.LittleEndian.AppendUint64(b, r.length)
	}
	p.put(addr, b)
}

func TestVectors(t *testing.T) {
	p := newProcess(t)
	fd := uint64(p.open("/f", unix.O_RDWR|unix.O_CREAT))
	const iov, data = memBase, memBase + 4096
	p.put(data, []byte("abcdefgh"))
	p.putIovecs(iov, memRange{data, 3}, memRange{nowhere, 0}, memRange{data + 5, 3}, memRange{data, 1})
	p.want("writev", 7, nil, sysWritev, fd, iov, 4)
	p.want("preadv", 7, nil, sysPreadv, fd, iov, 4, 0)
	// "abc" and "fgh" came back where they were, and the last byte over the first.
	if got := p.get(data, 8); string(got) != "abcdefgh" {
		t.Errorf("%q", got)
	}
	p.want("pwritev", 7, nil, sysPwritev, fd, iov, 4, 3)
	p.want("size", 10, nil, sysLseek, fd, 0, unix.SEEK_END)
	p.want("preadv2 at the offset", 0, nil, sysPreadv2, fd, iov, 4, minus(-1), 0, 0)
	p.want("preadv2 at 0", 7, nil, sysPreadv2, fd, iov, 4, 0, 0, rwfHipri)
	p.want("pwritev2 appends", 7, nil, sysPwritev2, fd, iov, 4, 0, 0, rwfAppend)
	p.want("size", 17, nil, sysLseek, fd, 0, unix.SEEK_END)

	p.want("none", 0, nil, sysReadv, fd, iov, 0)
	p.want("too many", 0, unix.EINVAL, sysReadv, fd, iov, maxIovecs+1)
	p.want("negative count", 0, unix.EINVAL, sysWritev, fd, iov, minus(-1))
	p.want("vector nowhere", 0, unix.EFAULT, sysReadv, fd, nowhere, 1)
	p.want("bad offset", 0, unix.EINVAL, sysPreadv, fd, iov, 1, minus(-1))
	p.want("bad offset", 0, unix.EINVAL, sysPreadv2, fd, iov, 1, minus(-2))
	p.want("unknown flag", 0, unix.EOPNOTSUPP, sysPreadv2, fd, iov, 1, 0, 0, 0x1000)
	p.want("RWF_APPEND for reading", 0, unix.EOPNOTSUPP, sysPreadv2, fd, iov, 1, 0, 0, rwfAppend)
	p.putIovecs(iov, memRange{data, 1 << 63})
	p.want("negative length", 0, unix.EINVAL, sysWritev, fd, iov, 1)
	p.putIovecs(iov, memRange{data, 4}, memRange{nowhere, 4})
	p.want("the second is bad", 4, nil, sysWritev, fd, iov, 2)
}

// A read or write larger than a step is still one call.
func TestLargerThanAStep(t *testing.T) {
	p := newProcess(t)
	fd := uint64(p.open("/f", unix.O_RDWR|unix.O_CREAT))
	const n = maxStep + maxStep/2 + 77
	want := make([]byte, n)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	p.put(memBase, want)
	p.want("write", n, nil, sysWrite, fd, memBase, n)
	p.put(memBase, make([]byte, n))
	p.want("lseek", 0, nil, sysLseek, fd, 0, 0)
	p.want("read", n, nil, sysRead, fd, memBase, n+1000)
	if !bytes.Equal(p.get(memBase, n), want) {
		t.Error("other contents")
	}
}

func TestBlocking(t *testing.T) {
	p := newProcess(t)
	r, w := p.pipe(0)
	const n = 300 << 10 // more than a pipe holds
	done := make(chan bool)
	go func() {
		defer close(done)
		d := p.FDs().Get(r)
		defer d.DecRef()
		buf := make([]byte, 1000)
		for total := 0; total < n; {
			time.Sleep(10 * time.Microsecond)
			m, err := d.Read(p, buf)
			if err != nil && err != unix.EAGAIN {
				t.Error(err)
				return
			}
			total += m
		}
	}()
	p.want("write of more than fits", n, nil, sysWrite, uint64(w), memBase, n)
	<-done
	go func() {
		time.Sleep(time.Millisecond)
		d := p.FDs().Get(w)
		defer d.DecRef()
		d.Write(p, []byte("late"))
	}()
	p.want("read that waits", 4, nil, sysRead, uint64(r), memBase, 100)
}

func TestNonblocking(t *testing.T) {
	p := newProcess(t)
	r, w := p.pipe(unix.O_NONBLOCK)
	p.want("nothing to read", 0, unix.EAGAIN, sysRead, uint64(r), memBase, 1)
	p.want("what fits", pipefs.DefaultSize, nil, sysWrite, uint64(w), memBase, 300<<10)
	p.want("nothing fits", 0, unix.EAGAIN, sysWrite, uint64(w), memBase, 1)
	br, _ := p.pipe(0)
	p.putIovecs(memBase, memRange{memBase + 100, 1})
	p.want("RWF_NOWAIT", 0, unix.EAGAIN, sysPreadv2, uint64(br), memBase, 1, minus(-1), 0, rwfNowait)
}

func TestSendfile(t *testing.T) {
	p := newProcess(t)
	in, out := uint64(p.open("/in", unix.O_RDWR|unix.O_CREAT)), uint64(p.open("/out", unix.O_RDWR|unix.O_CREAT))
	app := uint64(p.open("/out", unix.O_WRONLY|unix.O_APPEND))
	r, w := p.pipe(0)
	p.put(memBase, []byte("0123456789"))
	p.want("write", 10, nil, sysWrite, in, memBase, 10)
	const off = memBase + 4096
	p.put(off, []byte{3, 0, 0, 0, 0, 0, 0, 0})
	p.want("sendfile at an offset", 5, nil, sysSendfile, out, in, off, 5)
	if got := p.get(off, 8); got[0] != 8 {
		t.Errorf("offset is %d", got[0])
	}
	p.want("at the end", 0, nil, sysSendfile, out, in, 0, 5)
	p.want("back", 1, nil, sysLseek, in, 1, 0)
	p.want("sendfile to a pipe", 9, nil, sysSendfile, uint64(w), in, 0, 100)
	p.want("the offset moved", 10, nil, sysLseek, in, 0, unix.SEEK_CUR)
	p.want("from a pipe", 0, unix.EINVAL, sysSendfile, out, uint64(r), 0, 5)
	p.want("with O_APPEND", 0, unix.EINVAL, sysSendfile, app, in, 0, 5)

	p.put(off, make([]byte, 16))
	p.want("copy_file_range", 4, nil, sysCopyFileRange, in, off, out, off+8, 4, 0)
	if got := p.get(off, 16); got[0] != 4 || got[8] != 4 {
		t.Errorf("offsets are %v", got)
	}
	p.want("read back", 5, nil, sysPread64, out, memBase+100, 100, 0)
	if got := p.get(memBase+100, 5); string(got) != "01237" {
		t.Errorf("%q", got)
	}
	p.want("overlap", 0, unix.EINVAL, sysCopyFileRange, in, off, in, off+8, 4, 0)
	p.want("flags", 0, unix.EINVAL, sysCopyFileRange, in, off, out, off+8, 4, 1)
	p.want("of a pipe", 0, unix.EINVAL, sysCopyFileRange, uint64(r), 0, out, 0, 4, 0)
	p.want("O_APPEND", 0, unix.EBADF, sysCopyFileRange, in, 0, app, 0, 4, 0)
}

func TestSplice(t *testing.T) {
	p := newProcess(t)
	f := uint64(p.open("/f", unix.O_RDWR|unix.O_CREAT))
	r, w := p.pipe(0)
	r2, w2 := p.pipe(0)
	p.put(memBase, []byte("0123456789"))
	p.want("write", 10, nil, sysWrite, f, memBase, 10)
	const off = memBase + 4096
	p.put(off, make([]byte, 8))
	p.want("file to pipe", 10, nil, sysSplice, f, off, uint64(w), 0, 100, 0)
	p.want("tee", 4, nil, sysTee, uint64(r), uint64(w2), 4, 0)
	p.want("pipe to pipe", 6, nil, sysSplice, uint64(r), 0, uint64(w2), 0, 6, 0)
	p.want("read", 10, nil, sysRead, uint64(r2), memBase+100, 100)
	if got := p.get(memBase+100, 10); string(got) != "0123012345" {
		t.Errorf("%q", got)
	}
	p.want("pipe to file", 4, nil, sysSplice, uint64(r), 0, f, 0, 100, 0)
	p.want("would wait", 0, unix.EAGAIN, sysSplice, uint64(r), 0, f, 0, 100, unix.SPLICE_F_NONBLOCK)
	p.want("offset of a pipe", 0, unix.ESPIPE, sysSplice, uint64(r), off, f, 0, 1, 0)
	p.want("no pipe", 0, unix.EINVAL, sysSplice, f, 0, f, 0, 1, 0)
	p.want("one pipe", 0, unix.EINVAL, sysTee, uint64(r), uint64(w), 1, 0)
	p.want("flags", 0, unix.EINVAL, sysSplice, f, 0, uint64(w), 0, 1, 0x100)
	p.putIovecs(off, memRange{memBase, 3})
	p.want("vmsplice in", 3, nil, sysVmsplice, uint64(w), off, 1, 0)
	p.want("vmsplice out", 3, nil, sysVmsplice, uint64(r), off, 1, 0)
	p.want("vmsplice of a file", 0, unix.EBADF, sysVmsplice, f, off, 1, 0)
	p.FDs().Remove(w).DecRef()
	p.want("end of the pipe", 0, nil, sysSplice, uint64(r), 0, f, 0, 100, 0)
}

func TestSyncCalls(t *testing.T) {
	p := newProcess(t)
	f, ro := uint64(p.open("/f", unix.O_RDWR|unix.O_CREAT)), uint64(p.open("/f", unix.O_RDONLY))
	dir := uint64(p.open("/", unix.O_RDONLY))
	r, _ := p.pipe(0)
	p.want("fsync", 0, nil, sysFsync, f)
	p.want("fdatasync", 0, nil, sysFdatasync, f)
	p.want("fsync of a pipe", 0, unix.EINVAL, sysFsync, uint64(r))
	p.want("fsync of nothing", 0, unix.EBADF, sysFsync, 99)
	p.want("syncfs of a pipe", 0, nil, sysSyncfs, uint64(r))
	p.want("fallocate", 0, nil, sysFallocate, f, 0, 0, 100)
	p.want("size", 100, nil, sysLseek, f, 0, unix.SEEK_END)
	p.want("fallocate of nothing", 0, unix.EINVAL, sysFallocate, f, 0, 0, 0)
	p.want("fallocate before the start", 0, unix.EINVAL, sysFallocate, f, 0, minus(-1), 1)
	p.want("fallocate beyond numbers", 0, unix.EFBIG, sysFallocate, f, 0, math.MaxInt64, 1)
	p.want("fallocate of what is open for reading", 0, unix.EBADF, sysFallocate, ro, 0, 0, 1)
	p.want("punch without keep", 0, unix.EOPNOTSUPP, sysFallocate, f, unix.FALLOC_FL_PUNCH_HOLE, 0, 1)
	p.want("sync_file_range", 0, nil, sysSyncFileRange, f, 0, 0, syncRangeWrite)
	p.want("sync_file_range flags", 0, unix.EINVAL, sysSyncFileRange, f, 0, 0, 8)
	p.want("sync_file_range of a pipe", 0, unix.ESPIPE, sysSyncFileRange, uint64(r), 0, 0, 0)
	p.want("fadvise", 0, nil, sysFadvise64, f, 0, 0, unix.FADV_DONTNEED)
	p.want("fadvise of a pipe", 0, unix.ESPIPE, sysFadvise64, uint64(r), 0, 0, 0)
	p.want("fadvise of what", 0, unix.EINVAL, sysFadvise64, f, 0, 0, 99)
	p.want("readahead", 0, nil, sysReadahead, f, 0, 100)
	p.want("readahead of a directory", 0, unix.EINVAL, sysReadahead, dir, 0, 100)
}

func TestIoctl(t *testing.T) {
	p := newProcess(t)
	f := p.open("/f", unix.O_RDWR|unix.O_CREAT)
	path := p.open("/f", unix.O_PATH)
	p.want("write", 10, nil, sysWrite, uint64(f), memBase, 10)
	p.want("lseek", 4, nil, sysLseek, uint64(f), 4, 0)
	const arg = memBase + 64
	p.want("FIONREAD", 0, nil, sysIoctl, uint64(f), fionread, arg)
	if got := p.get(arg, 4); got[0] != 6 {
		t.Errorf("FIONREAD says %v", got)
	}
	p.want("FIOCLEX", 0, nil, sysIoctl, uint64(f), fioclex)
	if set, _ := p.FDs().Cloexec(f); !set {
		t.Error("FIOCLEX did nothing")
	}
	p.want("FIONCLEX", 0, nil, sysIoctl, uint64(f), fionclex)
	if set, _ := p.FDs().Cloexec(f); set {
		t.Error("FIONCLEX did nothing")
	}
	p.put(arg, []byte{1, 0, 0, 0})
	p.want("FIONBIO", 0, nil, sysIoctl, uint64(f), fionbio, arg)
	d := p.FDs().Get(f)
	defer d.DecRef()
	if !d.Nonblocking() {
		t.Error("FIONBIO did nothing")
	}
	p.want("FIONBIO from nowhere", 0, unix.EFAULT, sysIoctl, uint64(f), fionbio, nowhere)
	p.want("TCGETS of a file", 0, unix.ENOTTY, sysIoctl, uint64(f), unix.TCGETS, arg)
	p.want("FICLONE", 0, unix.EOPNOTSUPP, sysIoctl, uint64(f), fiClone, 0)
	p.want("O_PATH", 0, unix.EBADF, sysIoctl, uint64(path), fionread, arg)
}

func TestGetdents(t *testing.T) {
	p := newProcess(t)
	for i := range 50 {
		p.open(fmt.Sprintf("/file-%d", i), unix.O_CREAT)
	}
	for _, c := range []struct {
		old  bool // getdents, not getdents64
		size uint64
	}{{false, 32 << 10}, {false, 40}, {true, 32 << 10}, {true, 100}} {
		fn := Fn(sysGetdents64)
		if c.old {
			fn = sysGetdents
		}
		d := uint64(p.open("/", unix.O_RDONLY|unix.O_DIRECTORY))
		names := map[string]bool{}
		for {
			n, err := p.call(fn, d, memBase, c.size)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			for b := p.get(memBase, n); len(b) > 0; {
				length := binary.LittleEndian.Uint16(b[16:])
				rec := b[:length]
				kind, name := rec[18], rec[19:]
				if c.old {
					kind, name = rec[length-1], rec[18:length-1]
				}
				name, _, _ = bytes.Cut(name, []byte{0})
				if want := kindOfName(string(name)); kind != want {
					t.Errorf("%q has type %d", name, kind)
				}
				names[string(name)] = true
				b = b[length:]
			}
		}
		if len(names) != 52 {
			t.Errorf("%d names", len(names))
		}
	}
	d, f := uint64(p.open("/", unix.O_RDONLY)), uint64(p.open("/file-1", unix.O_RDONLY))
	p.want("no room", 0, unix.EINVAL, sysGetdents64, d, memBase, 10)
	p.want("nowhere", 0, unix.EFAULT, sysGetdents64, d, nowhere, 1000)
	p.want("of a file", 0, unix.ENOTDIR, sysGetdents64, f, memBase, 1000)
}

func kindOfName(name string) byte {
	if name == "." || name == ".." {
		return unix.DT_DIR
	}
	return unix.DT_REG
}

func FuzzIovec(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef"))
	f.Add(bytes.Repeat([]byte{0xff}, 48))
	f.Add(bytes.Repeat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 8))
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = raw[:min(len(raw), maxIovecs*sizeIovec)]
		ranges, total, err := parseIovecs(raw, nil)
		if err != nil {
			return
		}
		if len(ranges) != len(raw)/sizeIovec || total > maxRW {
			t.Fatalf("%d ranges, %d bytes", len(ranges), total)
		}
		var sum uint64
		for _, r := range ranges {
			sum += r.length
		}
		if sum != total {
			t.Fatalf("total %d, sum %d", total, sum)
		}
		g := guestBuffer{rest: ranges, total: total}
		for r := g.next(); r.length > 0; r = g.next() {
			g.advance(int(r.length+1) / 2)
		}
		if g.total != 0 {
			t.Fatalf("%d left", g.total)
		}
	})
}

// Calls that programs make all the time allocate nothing.
func TestNoAllocation(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector, which is run with -short, makes pools forget at random")
	}
	p := newProcess(t)
	f := uint64(p.open("/f", unix.O_RDWR|unix.O_CREAT))
	p.want("write", 4096, nil, sysWrite, f, memBase, 4096)
	r, w := p.pipe(0)
	made := func(fn Fn, args ...uint64) uint64 {
		fd, err := p.call(fn, args...)
		if err != nil {
			t.Fatal(err)
		}
		return uint64(fd)
	}
	// What the calls read lies apart from what others of them write: they
	// come in any order.
	const one, event, poll, path, iovecs, out, data = memBase + 300, memBase + 310, memBase + 330, memBase + 340,
		memBase + 350, memBase + 400, memBase + 8192
	p.put(one, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	p.put(event, []byte{unix.EPOLLIN, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	p.put(poll, []byte{byte(w), 0, 0, 0, unix.POLLOUT, 0, 0, 0})
	p.put(path, []byte("/f\x00"))
	ev, set := made(sysEventfd2, 0, 0), made(sysEpollCreate1, 0)
	made(sysEpollCtl, set, unix.EPOLL_CTL_ADD, ev, event)
	p.put(one, []byte{1})
	p.putIovecs(iovecs, memRange{data + 100, 10}, memRange{data + 200, 10})
	expect := func(what string, want int) func(int, error) {
		return func(n int, err error) {
			if n != want || err != nil {
				t.Fatalf("%s: %d, %v", what, n, err)
			}
		}
	}
	wrote, waited, polled, found := expect("write", 8), expect("epoll_wait", 1), expect("poll", 1), expect("stat", 0)
	for name, run := range map[string]func(){
		"epoll": func() {
			wrote(p.call(sysWrite, ev, one, 8))
			waited(p.call(sysEpollWait, set, out, 8, minus(-1)))
			wrote(p.call(sysRead, ev, out, 8))
		},
		"poll":   func() { polled(p.call(sysPoll, poll, 1, minus(-1))) },
		"fstat":  func() { found(p.call(sysFstat, f, out)) },
		"stat":   func() { found(p.call(sysStat, path, out)) },
		"pread":  func() { p.call(sysPread64, f, data, 4096, 0) },
		"pwrite": func() { p.call(sysPwrite64, f, data, 4096, 0) },
		"preadv": func() { p.call(sysPreadv, f, iovecs, 2, 0) },
		"pipe": func() {
			p.call(sysWrite, uint64(w), data, 1)
			p.call(sysRead, uint64(r), data, 1)
		},
	} {
		allowed := 0.0
		if name == "stat" {
			allowed = 1 // its path
		}
		if n := testing.AllocsPerRun(200, run); n >= allowed+1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPread4K(b *testing.B) {
	p := newProcess(b)
	f := uint64(p.open("/f", unix.O_RDWR|unix.O_CREAT))
	p.want("write", 4096, nil, sysWrite, f, memBase, 4096)
	a := kernel.Args{f, memBase, 4096, 0}
	b.ReportAllocs()
	for b.Loop() {
		sysPread64(p.Task, a)
	}
}

func BenchmarkPipe1(b *testing.B) {
	p := newProcess(b)
	r, w := p.pipe(0)
	b.ReportAllocs()
	for b.Loop() {
		sysWrite(p.Task, kernel.Args{uint64(w), memBase, 1})
		sysRead(p.Task, kernel.Args{uint64(r), memBase, 1})
	}
}
