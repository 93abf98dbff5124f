package fuse

import (
	"bytes"
	"testing"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// caller is a task of the tests'. killed, once closed, ends its waits.
type caller struct {
	cred   *auth.Credentials
	killed chan struct{}
	files  []*vfs.FileDescription
}

func newCaller() *caller { return &caller{cred: auth.New(0, 0, nil), killed: make(chan struct{})} }

func (c *caller) Credentials() *auth.Credentials    { return c.cred }
func (*caller) Umask() uint32                       { return 0o22 }
func (*caller) FSLimit() uint64                     { return ^uint64(0) }
func (*caller) CopyIn(uint64, []byte) (int, error)  { return 0, unix.EFAULT }
func (*caller) CopyOut(uint64, []byte) (int, error) { return 0, unix.EFAULT }
func (*caller) TID() int32                          { return 7 }
func (c *caller) Block(ch <-chan struct{}, _ time.Time) error {
	select {
	case <-ch:
		return nil
	case <-c.killed:
		return unix.EINTR
	}
}
func (c *caller) BlockKillable(ch <-chan struct{}) error { return c.Block(ch, time.Time{}) }
func (c *caller) File(fd int32) (*vfs.FileDescription, error) {
	if int(fd) >= len(c.files) {
		return nil, unix.EBADF
	}
	c.files[fd].IncRef()
	return c.files[fd], nil
}

// serve mounts a file system for c that answer serves: it returns a request's
// body or an errno.
func serve(t testing.TB, c *caller, answer func(h header, b []byte) ([]byte, unix.Errno)) (*FileSystem, *device) {
	t.Helper()
	dev := &device{ns: auth.Initial}
	c.files = append(c.files, vfs.NewDescription(dev, nil, vfs.Path{}, unix.O_RDWR))
	fs, err := mount(vfs.MountRequest{Caller: c, Subtype: "x", Data: "fd=0,rootmode=40755,user_id=0,group_id=0"})
	if err != nil {
		t.Fatal(err)
	}
	wake := waiter.NewChannel()
	e := &waiter.Entry{Mask: waiter.All, Listener: wake}
	dev.Register(e)
	go func() {
		buf := make([]byte, 1<<20)
		for {
			n, err := dev.Read(c, buf, 0)
			if err == unix.EAGAIN {
				<-wake
				continue
			}
			if err != nil {
				return
			}
			h := header{op: le.Uint32(buf[4:]), unique: le.Uint64(buf[8:]), node: le.Uint64(buf[16:]), uid: le.Uint32(buf[24:]), pid: le.Uint32(buf[32:])}
			out, errno := initAnswer, unix.Errno(0)
			if h.op != opInit {
				out, errno = answer(h, buf[inHeaderSize:n])
			}
			if errno != noAnswer {
				dev.Write(c, answerTo(h.unique, errno, out), 0, 0)
			}
		}
	}()
	t.Cleanup(fs.Release)
	return fs.(*FileSystem), dev
}

// noAnswer has serve not answer.
const noAnswer = unix.Errno(4000)

var initAnswer = func() []byte {
	b := body(nil).u32(7, 31, 0, offered, 0, 1<<20, 0, 8)
	return append(b, make([]byte, initOutSize-len(b))...)
}()

func answerTo(unique uint64, errno unix.Errno, b []byte) []byte {
	if errno != 0 {
		b = nil
	}
	return append(body(nil).u32(uint32(outHeaderSize+len(b)), uint32(-int32(errno))).u64(unique), b...)
}

// attrBody is a struct fuse_attr.
func attrBody(ino uint64, mode uint32, size uint64) body {
	return body(nil).u64(ino, size, 0, 1, 2, 3).u32(0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
}

func entryBody(node uint64, mode uint32) body {
	return append(body(nil).u64(node, 0, 10, 10).u32(0, 0), attrBody(node, mode, 5)...)
}

func TestLookup(t *testing.T) {
	c := newCaller()
	forgotten := make(chan uint64, 10)
	fs, _ := serve(t, c, func(h header, b []byte) ([]byte, unix.Errno) {
		switch {
		case h.op == opForget:
			forgotten <- le.Uint64(b)
			return nil, noAnswer
		case h.op != opLookup || h.uid != 0 || h.pid != 7:
			return nil, unix.EBADMSG
		}
		switch string(bytes.TrimRight(b, "\x00")) {
		case "file":
			return entryBody(2, unix.S_IFREG|0o600), 0
		case "absent":
			return make([]byte, entryOutSize), 0
		case "short":
			return make([]byte, 8), 0
		case "long":
			return append(entryBody(3, unix.S_IFREG), 0), 0
		case "notype":
			return entryBody(3, 0o600), 0
		case "root":
			return entryBody(rootID, unix.S_IFDIR), 0
		}
		return nil, unix.ENOENT
	})
	root := fs.Root().(vfs.ServedInode).For(c)
	for name, want := range map[string]error{
		"none": unix.ENOENT, "absent": unix.ENOENT, "short": unix.EIO, "long": unix.EIO, "notype": unix.EIO, "root": unix.EIO,
	} {
		if ino, err := root.Lookup(name); err != want || ino != nil {
			t.Errorf("%s: %v, %v, want %v", name, ino, err, want)
		}
	}
	ino, err := root.Lookup("file")
	if err != nil {
		t.Fatal(err)
	}
	again, err := root.Lookup("file")
	if err != nil || again != ino {
		t.Fatalf("a second lookup gives %v, %v", again, err)
	}
	if a, _ := ino.Attr(); a.Size != 5 || a.Mode != unix.S_IFREG|0o600 || a.DevMinor != fs.dev {
		t.Errorf("attributes are %+v", a)
	}
	r := ino.(vfs.Referenced)
	r.IncRef()
	r.IncRef()
	r.DecRef()
	r.DecRef()
	if n := <-forgotten; n != 2 {
		t.Errorf("%d references were given back, not 2", n)
	}
}

// A name whose lookup and release cross must not be forgotten in between.
func TestForgetWaitsForLoans(t *testing.T) {
	c := newCaller()
	fs, _ := serve(t, c, func(header, []byte) ([]byte, unix.Errno) { return nil, noAnswer })
	e, err := parseEntry(entryBody(2, unix.S_IFREG))
	if err != nil {
		t.Fatal(err)
	}
	n := fs.intern(&e)
	n.IncRef()
	if fs.intern(&e) != n {
		t.Fatal("one node has two inodes")
	}
	n.DecRef() // the first holder leaves; the second has not come yet
	if fs.nodes[2] != n {
		t.Fatal("forgotten while somebody is about to hold it")
	}
	n.giveUp()
	if fs.nodes[2] != nil {
		t.Fatal("not forgotten")
	}
	e.generation = 5
	if m := fs.intern(&e); m == n {
		t.Error("another generation is the same inode")
	}
}

func TestKilledCallersLeave(t *testing.T) {
	c := newCaller()
	asked, release := make(chan uint64, 1), make(chan uint64, 1)
	fs, dev := serve(t, c, func(h header, b []byte) ([]byte, unix.Errno) {
		switch h.op {
		case opOpen:
			asked <- h.unique
			return nil, noAnswer
		case opRelease:
			release <- le.Uint64(b)
		}
		return nil, 0
	})
	victim := newCaller()
	n := &inode{fs: fs, id: 2, kind: unix.S_IFREG}
	failed := make(chan error)
	go func() {
		_, err := n.Open(victim, unix.O_RDONLY)
		failed <- err
	}()
	unique := <-asked
	close(victim.killed)
	if err := <-failed; err != unix.EINTR {
		t.Errorf("open: %v, want EINTR", err)
	}
	if _, _, err := dev.Write(c, answerTo(unique, 0, body(nil).u64(99).u32(0, 0)), 0, 0); err != nil {
		t.Errorf("the late answer: %v", err)
	}
	if got := <-release; got != 99 {
		t.Errorf("handle %d was released, not 99", got)
	}
}

func TestAbort(t *testing.T) {
	c := newCaller()
	asked := make(chan struct{})
	fs, dev := serve(t, c, func(h header, _ []byte) ([]byte, unix.Errno) {
		close(asked)
		return nil, noAnswer
	})
	root := fs.Root().(vfs.ServedInode).For(c)
	failed := make(chan error)
	go func() {
		_, err := root.Lookup("x")
		failed <- err
	}()
	<-asked
	dev.Release()
	if err := <-failed; err != unix.ECONNABORTED {
		t.Errorf("a lookup on its way: %v", err)
	}
	if _, err := root.Lookup("y"); err != unix.ENOTCONN {
		t.Errorf("a later one: %v", err)
	}
	if _, err := dev.Read(c, make([]byte, 1<<20), 0); err != unix.ENODEV {
		t.Errorf("the device: %v", err)
	}
	if m := dev.Readiness(waiter.All); m&waiter.Err == 0 {
		t.Errorf("readiness is %#x", m)
	}
}

func TestRead(t *testing.T) {
	c := newCaller()
	var give, asked int
	fs, _ := serve(t, c, func(h header, b []byte) ([]byte, unix.Errno) {
		asked = int(le.Uint32(b[16:]))
		return make([]byte, give), 0
	})
	fs.cn.call(c, opRead, fs.root, body(nil).u64(0, 0).u32(1, 0), nil) // INIT is answered then
	const step = 8 * 4096                                              // initAnswer's max_pages
	f := newFile(&inode{fs: fs, id: 2, kind: unix.S_IFREG}, 0, 0, 0, false)
	for _, tt := range []struct {
		give, size, want int
		err              error
	}{
		{3, 10, 3, nil},
		{0, 10, 0, nil},
		{11, 10, 0, unix.EIO}, // more than was asked for
		{step, 2 * step, 2 * step, nil},
		{step - 1, 2 * step, step - 1, nil}, // the end of the file
	} {
		give = tt.give
		n, err := f.Read(c, make([]byte, tt.size), 0)
		if n != tt.want || err != tt.err || asked > step {
			t.Errorf("answers of %d bytes to a read of %d: %d, %v; %d were asked for", tt.give, tt.size, n, err, asked)
		}
	}
}

func TestParseOptions(t *testing.T) {
	const base = "fd=3,rootmode=40755,user_id=1,group_id=2"
	o, err := parseOptions(base + ",allow_other,default_permissions,max_read=4096")
	want := options{fd: 3, rootMode: 0o40755, uid: 1, gid: 2, allowOther: true, defaultPermissions: true, maxRead: 4096,
		hasFD: true, hasMode: true, hasUser: true, hasGroup: true}
	if err != nil || o != want {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, bad := range []string{"", "fd=3", base + ",x", base + ",max_read", base + ",max_read=", base + ",allow_other=1",
		base + ",fd=-1", base + ",fd=4294967295", "rootmode=755,fd=3,user_id=1,group_id=2", base + ",user_id=4294967295"} {
		if _, err := parseOptions(bad); err != unix.EINVAL {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestDeviceNumbers(t *testing.T) {
	for _, d := range [][2]uint32{{1, 3}, {10, 229}, {259, 70000}, {4095, 1<<20 - 1}} {
		if got := decodeDevice(encodeDevice(d[0], d[1])); got != d {
			t.Errorf("%v becomes %v", d, got)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	c := newCaller()
	fs, _ := serve(b, c, func(h header, _ []byte) ([]byte, unix.Errno) {
		if h.op == opForget {
			return nil, noAnswer
		}
		return entryBody(2, unix.S_IFREG), 0
	})
	root := fs.Root().(vfs.ServedInode).For(c)
	b.ReportAllocs()
	for b.Loop() {
		ino, err := root.Lookup("x")
		if err != nil {
			b.Fatal(err)
		}
		ino.(*inode).giveUp()
	}
}

// Servers that use several threads crash if they hear that a node is forgotten
// before they are done with what was asked about it.
func TestForgetFollowsRelease(t *testing.T) {
	c := newCaller()
	dev := &device{ns: auth.Initial}
	c.files = []*vfs.FileDescription{vfs.NewDescription(dev, nil, vfs.Path{}, unix.O_RDWR)}
	m, err := mount(vfs.MountRequest{Caller: c, Data: "fd=0,rootmode=40755,user_id=0,group_id=0"})
	if err != nil {
		t.Fatal(err)
	}
	fs := m.(*FileSystem)
	defer fs.Release()
	fs.cn.begin(initAnswer, nil)
	buf := make([]byte, 1<<20)
	next := func() (op uint32, unique uint64) {
		if _, err := dev.Read(c, buf, 0); err != nil {
			return 0, 0
		}
		return le.Uint32(buf[4:]), le.Uint64(buf[8:])
	}
	next() // INIT
	e, err := parseEntry(entryBody(2, unix.S_IFREG))
	if err != nil {
		t.Fatal(err)
	}
	n := fs.intern(&e)
	newFile(n, 9, 0, 0, true).Release()
	n.giveUp()
	op, unique := next()
	if op != opRelease {
		t.Fatalf("operation %d, not RELEASE", op)
	}
	if op, _ := next(); op != 0 {
		t.Errorf("operation %d comes before the answer", op)
	}
	if _, _, err := dev.Write(c, answerTo(unique, 0, nil), 0, 0); err != nil {
		t.Fatal(err)
	}
	if op, _ := next(); op != opForget {
		t.Errorf("operation %d comes after the answer, not FORGET", op)
	}
}
