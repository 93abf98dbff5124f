package syscalls

import (
	"encoding/binary"
	"math"
	"time"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// flockSize is the size of struct flock: l_type and l_whence (16 bits each),
// 4 bytes of padding, l_start, l_len, l_pid, 4 bytes of padding.
const flockSize = 32

// parseFlock reads a struct flock. base is what l_whence counts from.
func parseFlock(b []byte, base func(whence int16) (int64, error)) (r vfs.RecordLock, err error) {
	r.Type = int16(binary.LittleEndian.Uint16(b))
	whence := int16(binary.LittleEndian.Uint16(b[2:]))
	start := int64(binary.LittleEndian.Uint64(b[8:]))
	length := int64(binary.LittleEndian.Uint64(b[16:]))
	r.PID = int32(binary.LittleEndian.Uint32(b[24:]))
	from, err := base(whence)
	if err != nil {
		return r, err
	}
	if start > 0 && from > math.MaxInt64-start {
		return r, unix.EOVERFLOW
	}
	start += from
	if start < 0 {
		return r, unix.EINVAL
	}
	r.Start, r.End = start, math.MaxInt64
	switch {
	case length > 0:
		if start > math.MaxInt64-(length-1) {
			return r, unix.EOVERFLOW
		}
		r.End = start + length - 1
	case length < 0:
		if length == math.MinInt64 || start+length < 0 {
			return r, unix.EINVAL
		}
		r.Start, r.End = start+length, start-1
	}
	switch r.Type {
	case unix.F_RDLCK, unix.F_WRLCK, unix.F_UNLCK:
		return r, nil
	}
	return r, unix.EINVAL
}

// putFlock writes a lock as struct flock, from the start of the file.
func putFlock(b []byte, r vfs.RecordLock) {
	clear(b)
	binary.LittleEndian.PutUint16(b, uint16(r.Type))
	binary.LittleEndian.PutUint64(b[8:], uint64(r.Start))
	if r.End != math.MaxInt64 {
		binary.LittleEndian.PutUint64(b[16:], uint64(r.End-r.Start+1))
	}
	binary.LittleEndian.PutUint32(b[24:], uint32(r.PID))
}

// recordLock is F_GETLK, F_SETLK and F_SETLKW, for the process or, with ofd,
// for the open file description.
func recordLock(t *kernel.Task, d *vfs.FileDescription, cmd int32, addr uint64, ofd bool) error {
	buf := getBuffer(flockSize)
	defer buf.put()
	if _, err := t.CopyIn(addr, buf.b); err != nil {
		return err
	}
	lock, err := parseFlock(buf.b, func(whence int16) (int64, error) {
		switch whence {
		case unix.SEEK_SET:
			return 0, nil
		case unix.SEEK_CUR:
			return d.Offset(), nil
		case unix.SEEK_END:
			if d.Inode == nil {
				return 0, nil
			}
			a, err := d.Attr(t)
			return a.Size, err
		}
		return 0, unix.EINVAL
	})
	if err != nil {
		return err
	}
	if d.Inode == nil {
		return unix.EINVAL
	}
	r := vfs.RecordRequest{Lock: lock, Owner: t.FDs(), Wait: cmd == unix.F_SETLKW}
	if ofd {
		if lock.PID != 0 {
			return unix.EINVAL
		}
		r.Owner, r.Lock.PID = d, -1
	} else {
		r.Lock.PID = t.FirstPID()
	}
	l := vfs.LocksOf(d)
	defer l.Release()
	if cmd == unix.F_GETLK {
		got := l.Get(&r)
		if lock.Type == unix.F_UNLCK {
			return unix.EINVAL
		}
		if got.Type == unix.F_UNLCK {
			// Nothing but the type changes.
			binary.LittleEndian.PutUint16(buf.b, uint16(unix.F_UNLCK))
		} else {
			got.PID = t.PIDs().Renumber(got.PID)
			putFlock(buf.b, got)
		}
		_, err := t.CopyOut(addr, buf.b)
		return err
	}
	if lock.Type == unix.F_RDLCK && !d.CanRead() || lock.Type == unix.F_WRLCK && !d.CanWrite() {
		return unix.EBADF
	}
	if !r.Wait {
		return l.Set(d, &r)
	}
	defer l.Done(&r)
	return waitFor(t, l, waiter.In, time.Time{}, func() error { return l.Set(d, &r) })
}

func sysFlock(t *kernel.Task, a kernel.Args) (uintptr, error) {
	how := int(a.Int(1)) &^ unix.LOCK_NB
	switch how {
	case unix.LOCK_SH, unix.LOCK_EX, unix.LOCK_UN:
	default:
		return 0, unix.EINVAL
	}
	d, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if d.Flags()&unix.O_PATH != 0 || d.Inode == nil {
		return 0, unix.EBADF
	}
	l := vfs.LocksOf(d)
	defer l.Release()
	if a.Int(1)&unix.LOCK_NB != 0 {
		return 0, l.Flock(d, how)
	}
	return 0, waitFor(t, l, waiter.In, time.Time{}, func() error { return l.Flock(d, how) })
}
