package socket

import (
	"encoding/binary"
	"sync/atomic"

	"coffer/internal/bpf"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// Filter is the program that says how much of what comes a socket receives (SO_ATTACH_FILTER in socket(7)).
// The zero value has none.
type Filter struct {
	program atomic.Pointer[bpf.SocketFilter]
	locked  atomic.Bool
}

// FilterProgram returns it, or nil.
func (f *Filter) FilterProgram() *bpf.SocketFilter { return f.program.Load() }

// InheritFilter has the socket have a program, locked as another one's is.
func (f *Filter) InheritFilter(program *bpf.SocketFilter, from *Filter) {
	f.program.Store(program)
	f.locked.Store(from.locked.Load())
}

// FilterLocked is SO_LOCK_FILTER: the program stays.
func (f *Filter) FilterLocked() bool { return f.locked.Load() }

// SetFilterOption sets an option of SOL_SOCKET; ok is false if it is no filter's. EPERM for a program that is
// locked, ENOENT for none to take away.
func (f *Filter) SetFilterOption(c vfs.Caller, name int32, value []byte) (ok bool, err error) {
	if name == unix.SO_ATTACH_FILTER {
		program, err := f.CopyInFilter(c, value)
		if err == nil {
			f.program.Store(program)
		}
		return true, err
	}
	if name != unix.SO_DETACH_FILTER && name != unix.SO_LOCK_FILTER {
		return false, nil
	}
	if len(value) < 4 {
		return true, unix.EINVAL
	}
	switch on := binary.LittleEndian.Uint32(value) != 0; {
	case f.locked.Load() && (name == unix.SO_DETACH_FILTER || !on):
		return true, unix.EPERM
	case name == unix.SO_LOCK_FILTER:
		f.locked.Store(on)
	case f.program.Swap(nil) == nil:
		return true, unix.ENOENT
	}
	return true, nil
}

// FilterOption returns the value of one that getsockopt(2) has; ok is false if it is none.
func (f *Filter) FilterOption(name int32) (value []byte, ok bool) {
	if name == unix.SO_LOCK_FILTER {
		return Boolean(f.locked.Load()), true
	}
	return nil, false
}

// FilterCode is SO_GET_FILTER: the instructions, of SizeofInstruction bytes each.
func (f *Filter) FilterCode() (code []byte) {
	program := f.program.Load()
	if program == nil {
		return nil
	}
	for _, i := range program.Instructions() {
		code = binary.LittleEndian.AppendUint16(code, i.Code)
		code = append(code, i.Jt, i.Jf)
		code = binary.LittleEndian.AppendUint32(code, i.K)
	}
	return code
}

// SizeofInstruction is that of struct sock_filter.
const SizeofInstruction = 8

// CopyInFilter reads the program that a struct sock_fprog, the value of
// SO_ATTACH_FILTER and its kin, leads to. EINVAL if it is not one that a socket may have, EPERM for one whose
// program is locked.
func (f *Filter) CopyInFilter(c vfs.Caller, value []byte) (*bpf.SocketFilter, error) {
	const sizeofProgram = 16
	if len(value) != sizeofProgram {
		return nil, unix.EINVAL
	}
	if f.locked.Load() {
		return nil, unix.EPERM
	}
	if binary.LittleEndian.Uint64(value[8:]) == 0 {
		return nil, unix.EINVAL
	}
	n := int(binary.LittleEndian.Uint16(value))
	if n == 0 || n > bpf.MaxInstructions {
		return nil, unix.EINVAL
	}
	raw := make([]byte, n*SizeofInstruction)
	if _, err := c.CopyIn(binary.LittleEndian.Uint64(value[8:]), raw); err != nil {
		return nil, err
	}
	code := make([]unix.SockFilter, n)
	for i := range code {
		b := raw[i*SizeofInstruction:]
		code[i] = unix.SockFilter{Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])}
	}
	return bpf.NewSocketFilter(code)
}
