package fuse

import (
	"sync"

	"coffer/internal/sentry/fs/pipefs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// file is an open file or directory of the server's.
type file struct {
	vfs.NoFile
	n      *inode
	handle uint64
	// flags are those of open(2), how the server's (FOPEN_*).
	flags, how uint32
	// told says that the server knows of the open file.
	told bool

	mu sync.Mutex
	mapped
}

func newFile(n *inode, handle uint64, flags, how uint32, told bool) *file {
	f := &file{n: n, handle: handle, flags: flags, how: how, told: told}
	f.fd = -1
	return f
}

// open opens the inode. A server without OPEN is asked no more.
func (n *call) open(flags uint32) (vfs.File, error) {
	op, release := uint32(opOpen), uint32(opRelease)
	switch n.kind {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		op, release = opOpendir, opReleasedir
	case unix.S_IFIFO:
		n.fifoOnce.Do(func() { n.fifo = pipefs.NewFIFO() })
		return n.fifo.Open(n.c, flags)
	default:
		return nil, unix.ENXIO
	}
	const notTheServers = unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC
	r, err := n.fs.cn.call(n.c, op, n.inode, body(nil).u32(flags&^notTheServers, 0), func(reply []byte) {
		if handle, _, err := parseOpen(reply); err == nil {
			n.fs.cn.send(release, n.inode, releaseBody(handle, flags))
		}
	})
	if err == unix.ENOSYS && n.mayLack(op) {
		return newFile(n.inode, 0, flags, 0, false), nil
	}
	if err != nil {
		return nil, err
	}
	handle, how, err := parseOpen(r)
	if err != nil {
		return nil, err
	}
	return newFile(n.inode, handle, flags, how, true), nil
}

// mayLack reports whether INIT agreed that a server need not have OPEN or
// OPENDIR.
func (n *call) mayLack(op uint32) bool {
	if op == opOpendir {
		return n.fs.cn.terms().flags&initNoOpendir != 0
	}
	return n.fs.cn.terms().flags&initNoOpen != 0
}

func releaseBody(handle uint64, flags uint32) body {
	return body(nil).u64(handle).u32(flags, 0).u64(0)
}

// For implements vfs.ServedFile.
func (f *file) For(c vfs.Caller) vfs.File { return &fileCall{f, c} }

// fileCall is a file as somebody uses it.
type fileCall struct {
	*file
	c vfs.Caller
}

// call is the file's inode for c.
func (f *file) call(c vfs.Caller) *call { return &call{f.n, c} }

// Read implements vfs.File.
func (f *file) Read(c vfs.Caller, p []byte, off int64) (done int, err error) {
	if f.n.kind == unix.S_IFDIR {
		return 0, unix.EISDIR
	}
	most := int(min(f.n.fs.cn.terms().maxRead, max(f.n.fs.opts.maxRead, 4096)))
	if most == 0 {
		most = maxData // nothing is agreed yet; call waits for that
	}
	for done < len(p) {
		want := min(len(p)-done, most)
		b, err := f.call(c).ask(opRead, body(nil).u64(f.handle, uint64(off)+uint64(done)).u32(uint32(want), 0).u64(0).u32(f.flags, 0))
		if err == nil && len(b) > want {
			err = unix.EIO
		}
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
		done += copy(p[done:], b)
		if len(b) < want {
			break
		}
	}
	return done, nil
}

// Write implements vfs.File.
func (f *file) Write(c vfs.Caller, p []byte, off int64, flags uint32) (int, int64, error) {
	n := f.call(c)
	if flags&unix.O_APPEND != 0 {
		a, err := n.Attr()
		if err != nil {
			return 0, off, err
		}
		off = a.Size
	}
	if off < 0 {
		return 0, off, unix.EINVAL
	}
	if limit := c.FSLimit(); len(p) > 0 {
		if uint64(off) >= limit {
			return 0, off, unix.EFBIG
		}
		p = p[:min(uint64(len(p)), limit-uint64(off))]
	}
	if err := n.dropPrivileges(); err != nil {
		return 0, off, err
	}
	done, err := f.writeAll(n, p, off, flags)
	end := off + int64(done)
	if done > 0 {
		f.n.grown(end)
		f.stale()
		err = nil
	}
	return done, end, err
}

func (f *file) writeAll(n *call, p []byte, off int64, flags uint32) (done int, err error) {
	most := int(n.fs.cn.terms().maxWrite)
	if most == 0 {
		most = 4096
	}
	for done < len(p) {
		step := p[done:min(len(p), done+most)]
		b := make(body, 0, writeInSize+len(step))
		b = b.u64(f.handle, uint64(off)+uint64(done)).u32(uint32(len(step)), 0).u64(0).u32(flags, 0)
		r, err := n.ask(opWrite, append(b, step...))
		if err == nil && (len(r) != 8 || int64(le.Uint32(r)) > int64(len(step))) {
			err = unix.EIO
		}
		if err != nil {
			return done, err
		}
		w := int(le.Uint32(r))
		done += w
		if w < len(step) {
			break
		}
	}
	return done, nil
}

// dropPrivileges takes set-ID bits away before somebody writes who may not keep
// them.
func (n *call) dropPrivileges() error {
	a, _ := n.inode.Attr()
	if m := vfs.WritePrivileges(n.c, a.Mode); m != a.Mode {
		return n.SetAttr(vfs.SetAttr{Which: vfs.SetMode, Mode: m & 0o7777})
	}
	return nil
}

// Seek implements vfs.File, by what is known of the size.
func (f *file) Seek(whence int, off, present int64) (int64, error) {
	return (&fileCall{f, nil}).Seek(whence, off, present)
}

// Seek implements vfs.File.
func (f *fileCall) Seek(whence int, off, present int64) (int64, error) {
	if f.how&(openNonseekable|openStream) != 0 {
		return 0, unix.ESPIPE
	}
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		off += present
	case unix.SEEK_END:
		a, err := f.size()
		if err != nil {
			return 0, err
		}
		off += a
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		return f.seekData(whence, off)
	default:
		return 0, unix.EINVAL
	}
	if off < 0 && f.n.kind != unix.S_IFDIR {
		return 0, unix.EINVAL
	}
	return off, nil
}

func (f *fileCall) size() (int64, error) {
	if f.c == nil {
		a, err := f.n.Attr()
		return a.Size, err
	}
	a, err := f.call(f.c).Attr()
	return a.Size, err
}

// seekData asks the server, or takes the file for one without holes.
func (f *fileCall) seekData(whence int, off int64) (int64, error) {
	if off < 0 {
		return 0, unix.ENXIO
	}
	b, err := f.call(f.c).ask(opLseek, body(nil).u64(f.handle, uint64(off)).u32(uint32(whence), 0))
	switch {
	case err == nil && (len(b) != 8 || int64(le.Uint64(b)) < 0):
		return 0, unix.EIO
	case err == nil:
		return int64(le.Uint64(b)), nil
	case err != unix.ENOSYS:
		return 0, err
	}
	size, err := f.size()
	if err != nil {
		return 0, err
	}
	if off >= size {
		return 0, unix.ENXIO
	}
	if whence == unix.SEEK_HOLE {
		off = size
	}
	return off, nil
}

// readdirSize is how much of a directory is asked for at a time.
const readdirSize = 4096

// Readdir implements vfs.File. The entries and their offsets are the server's.
func (f *file) Readdir(c vfs.Caller, off int64, emit func(vfs.DirEntry) bool) error {
	if f.n.kind != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	for {
		b, err := f.call(c).ask(opReaddir, body(nil).u64(f.handle, uint64(off)).u32(readdirSize, 0).u64(0).u32(f.flags, 0))
		if err != nil {
			return err
		}
		if len(b) > readdirSize {
			return unix.EIO
		}
		n, next, more, err := parseDirents(b, emit)
		if err != nil || !more || n == 0 {
			return err
		}
		off = next
	}
}

// Fsync implements vfs.File. A server that does not know it has nothing to write back.
func (f *fileCall) Fsync(dataOnly bool) error {
	op, flags := uint32(opFsync), uint32(0)
	if f.n.kind == unix.S_IFDIR {
		op = opFsyncdir
	}
	if dataOnly {
		flags = fsyncData
	}
	_, err := f.call(f.c).ask(op, body(nil).u64(f.handle).u32(flags, 0))
	if err == unix.ENOSYS {
		return nil
	}
	return err
}

// Fallocate implements vfs.File.
func (f *fileCall) Fallocate(mode uint32, off, length int64) error {
	if mode&^(unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 {
		return unix.EOPNOTSUPP
	}
	_, err := f.call(f.c).ask(opFallocate, body(nil).u64(f.handle, uint64(off), uint64(length)).u32(mode, 0))
	f.n.changed()
	f.stale()
	return unsupported(err)
}

// Flush implements vfs.File.
func (f *file) Flush(c vfs.Caller) error {
	if !f.told || f.n.kind == unix.S_IFDIR || f.how&openNoFlush != 0 {
		return nil
	}
	_, err := f.call(c).ask(opFlush, body(nil).u64(f.handle).u32(0, 0).u64(0))
	if err == unix.ENOSYS {
		return nil
	}
	return err
}

// Release implements vfs.File. Nobody waits for the server.
func (f *file) Release() {
	f.unmap()
	if !f.told {
		return
	}
	op := uint32(opRelease)
	if f.n.kind == unix.S_IFDIR {
		op = opReleasedir
	}
	f.n.fs.cn.send(op, f.n, releaseBody(f.handle, f.flags))
}
