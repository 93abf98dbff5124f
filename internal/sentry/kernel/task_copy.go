package kernel

import (
	"bytes"
	"sync"
	"unsafe"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Credentials, Umask, FSLimit, CopyIn and CopyOut make a Task a vfs.Caller.

// Credentials are the task's identities; the value never changes.
func (t *Task) Credentials() *auth.Credentials { return t.creds.Load() }

// Umask is the file mode creation mask.
func (t *Task) Umask() uint32 { return t.fs.Umask() }

// FSLimit is RLIMIT_FSIZE.
func (t *Task) FSLimit() uint64 { return t.Limit(unix.RLIMIT_FSIZE) }

// CopyIn reads guest memory at addr. It returns how many bytes it read, and
// EFAULT if that is less than len(dst).
func (t *Task) CopyIn(addr uint64, dst []byte) (int, error) {
	n, err := t.ctx.CopyIn(addr, dst)
	if err == nil || !t.mem.HandleFault(t.ctx, addr+uint64(n), unix.PROT_READ) {
		return n, err
	}
	m, err := t.ctx.CopyIn(addr+uint64(n), dst[n:])
	return n + m, err
}

// CameAlong reports whether CopyIn of n bytes at addr costs nothing, since they came along with the call.
func (t *Task) CameAlong(addr uint64, n int) bool { return t.ctx.CameAlong(addr, n) }

// CopyOut writes guest memory, with results like CopyIn's. Like a guest's own
// access it makes a stack grow.
func (t *Task) CopyOut(addr uint64, src []byte) (int, error) {
	n, err := t.ctx.CopyOut(addr, src)
	if err == nil || !t.mem.HandleFault(t.ctx, addr+uint64(n), unix.PROT_WRITE) {
		return n, err
	}
	m, err := t.ctx.CopyOut(addr+uint64(n), src[n:])
	return n + m, err
}

// CopyOutLate writes guest memory on the way back to the guest, which costs
// nothing of its own: for what a call has to tell last. EFAULT at once if no
// memory can be there; a failure on the way makes the call's result EFAULT.
func (t *Task) CopyOutLate(addr uint64, src []byte) error { return t.ctx.CopyOutLate(addr, src) }

// CopyOutResultLate is CopyOutLate for bytes of which the call's result says how many there
// are: src are those after the first before of them. A failure on the way makes the result
// what has been written until there, if that is anything.
func (t *Task) CopyOutResultLate(addr uint64, src []byte, before uint64) error {
	if err := t.CopyOutLate(addr, src); err != nil {
		return err
	}
	if t.ctx.LateFailed() {
		return unix.EFAULT // what comes before it could not be written
	}
	t.noteLate(addr, uint64(len(src)), before)
	return nil
}

// FillResultLate is CopyOutResultLate of what fill puts into n bytes (platform.Context.FillLate).
func (t *Task) FillResultLate(addr uint64, n int, before uint64, fill func(p []byte) int) bool {
	return t.ctx.FillLate(addr, n, func(p []byte) int {
		n := fill(p)
		t.noteLate(addr, uint64(n), before)
		return n
	})
}

// noteLate notes n bytes that are written late.
func (t *Task) noteLate(addr, n, before uint64) {
	if last := len(t.late) - 1; last >= 0 && t.late[last].addr+t.late[last].length == addr && t.late[last].before+t.late[last].length == before {
		t.late[last].length += n
	} else {
		t.late = append(t.late, lateResult{addr, n, before})
	}
}

// LateFailed reports whether something could not be written late, as far as that is known.
func (t *Task) LateFailed() bool { return t.ctx.LateFailed() }

// ReadLate says that the bytes that CopyOutResultLate writes were taken from a file: at its
// position, or from a vfs.Unreader. What cannot be written goes back.
func (t *Task) ReadLate(d *vfs.FileDescription) { t.lateFrom = d }

// lateResult is a part of a call's result that is written late: length bytes at addr, before
// which others come.
type lateResult struct{ addr, length, before uint64 }

// lateFailed writes again what could not be written on the way to the guest: a stack may have
// to grow for it. If it can't be, what has been written until there is the call's result, or
// EFAULT. It reports false if other operations failed than writes.
func (t *Task) lateFailed(op *platform.OpError) (writes bool) {
	writes = op != nil
	good, back := true, uint64(0)
	var rest []byte // the first of the bytes that go back
	for ; op != nil; op = op.Next {
		switch {
		case op.Op.Kind != platform.OpWrite:
			writes = false
		case !good && uint64(len(rest)) < back:
			rest = append(rest, op.Op.Data...)
		case good && op.Errno != nil:
			var n int
			if n, good = t.writeAgain(op.Op.Addr, []byte(op.Op.Data)); !good {
				back = t.lateResult(op.Op.Addr + uint64(n))
				rest = append(rest, op.Op.Data[n:]...)
			}
		}
	}
	// The call is over: the file may be closed.
	if d := t.lateFrom; d != nil && back > 0 && d.TryIncRef() {
		if u, ok := d.File.(vfs.Unreader); ok {
			u.Unread(rest[:min(uint64(len(rest)), back)])
		} else {
			d.Seek(t, -int64(back), unix.SEEK_CUR)
		}
		d.DecRef()
	}
	return writes
}

// writeAgain is CopyOut that reports whether all was written.
func (t *Task) writeAgain(addr uint64, src []byte) (int, bool) {
	n, err := t.CopyOut(addr, src)
	return n, err == nil
}

// lateResult makes what was written before addr the call's result, or EFAULT. It returns how
// many bytes of the result that leaves out.
func (t *Task) lateResult(addr uint64) (back uint64) {
	done := uint64(0)
	for _, l := range t.late {
		if addr-l.addr < l.length {
			last := t.late[len(t.late)-1]
			done = l.before + addr - l.addr
			back = last.before + last.length - done
			break
		}
	}
	if done == 0 {
		done = negative(unix.EFAULT)
	}
	t.ctx.Regs().Rax = done
	return back
}

// stringBuffers are for reading strings of unknown length.
var stringBuffers = sync.Pool{New: func() any { return new([unix.PathMax]byte) }}

const pageSize = 4096

// CopyInString reads a NUL-terminated string of at most max bytes with the
// NUL. ENAMETOOLONG if there is no NUL in them, EFAULT.
func (t *Task) CopyInString(addr uint64, max int) (string, error) {
	buf := stringBuffers.Get().(*[unix.PathMax]byte)
	defer stringBuffers.Put(buf)
	var long []byte
	// The first step is short, since most strings are; none crosses a page,
	// since what lies behind may not be there.
	step := 128
	for n := 0; n < max; {
		want := min(step, max-n, int(pageSize-addr%pageSize))
		got, err := t.CopyIn(addr, buf[:want])
		if i := bytes.IndexByte(buf[:got], 0); i >= 0 {
			if long == nil {
				return string(buf[:i]), nil
			}
			return string(append(long, buf[:i]...)), nil
		}
		if err != nil {
			return "", err
		}
		long = append(long, buf[:got]...)
		n += got
		addr += uint64(got)
		step = len(buf)
	}
	return "", unix.ENAMETOOLONG
}

// CopyInPath reads a path (at most PATH_MAX bytes with the NUL).
func (t *Task) CopyInPath(addr uint64) (string, error) { return t.CopyInString(addr, unix.PathMax) }

// CopyInUint32, CopyInUint64 and their like move one number.
func (t *Task) CopyInUint32(addr uint64) (uint32, error) {
	v := t.scratch32()
	_, err := t.CopyIn(addr, bytesOf(v))
	return *v, err
}

func (t *Task) CopyInUint64(addr uint64) (uint64, error) {
	v := &t.scratch
	_, err := t.CopyIn(addr, bytesOf(v))
	return *v, err
}

func (t *Task) CopyOutUint32(addr uint64, n uint32) error {
	v := t.scratch32()
	*v = n
	_, err := t.CopyOut(addr, bytesOf(v))
	return err
}

func (t *Task) CopyOutUint64(addr uint64, n uint64) error {
	t.scratch = n
	_, err := t.CopyOut(addr, bytesOf(&t.scratch))
	return err
}

// CopyOutUint32Late and CopyOutUint64Late are as CopyOutLate.
func (t *Task) CopyOutUint32Late(addr uint64, n uint32) error {
	v := t.scratch32()
	*v = n
	return t.CopyOutLate(addr, bytesOf(v))
}

func (t *Task) CopyOutUint64Late(addr uint64, n uint64) error {
	t.scratch = n
	return t.CopyOutLate(addr, bytesOf(&t.scratch))
}

func (t *Task) scratch32() *uint32 { return (*uint32)(unsafe.Pointer(&t.scratch)) }

// bytesOf shows a number as the bytes that it has in memory, so that moving it
// needs no buffer. It is only for types without pointers or padding.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// CopyInStruct fills v from guest memory. T must have Linux's layout, and no
// pointers.
func CopyInStruct[T any](t *Task, addr uint64, v *T) error {
	_, err := t.CopyIn(addr, bytesOf(v))
	return err
}

// CopyInSlice fills v, which must not be empty, likewise.
func CopyInSlice[T any](t *Task, addr uint64, v []T) error {
	_, err := t.CopyIn(addr, unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0]))))
	return err
}

// CopyOutStructLate is CopyOutStruct as CopyOutLate does it.
func CopyOutStructLate[T any](t *Task, addr uint64, v *T) error {
	return t.CopyOutLate(addr, bytesOf(v))
}

// CopyOutStruct writes v to guest memory. T must have Linux's layout, with no
// pointers, and padding that is zero.
func CopyOutStruct[T any](t *Task, addr uint64, v *T) error {
	_, err := t.CopyOut(addr, bytesOf(v))
	return err
}
