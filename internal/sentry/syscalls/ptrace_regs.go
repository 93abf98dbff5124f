package syscalls

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

const (
	// regsSize is the size of struct user_regs_struct.
	regsSize = int(unsafe.Sizeof(abi.Regs{}))
	// userSize is the size of struct user, and userDebug and userDebugEnd where
	// in it u_debugreg lies (sys/user.h).
	userSize     = 912
	userDebug    = 848
	userDebugEnd = userDebug + 8*8
	// fpRegsSize is the size of struct user_fpregs_struct.
	fpRegsSize = 512
	// userFlags are the bits of RFLAGS that a tracer may change (FLAG_MASK).
	userFlags = 1<<0 | 1<<2 | 1<<4 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11 | 1<<14 | 1<<16 | 1<<18
)

func regsBytes(r *abi.Regs) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(r)), regsSize)
}

// readRegs returns the registers of a stopped task.
func readRegs(o kernel.StoppedTask) (r abi.Regs, err error) {
	err = o.Do(func() error {
		r = *o.Context().Regs()
		return nil
	})
	return r, err
}

// writeRegs sets the registers of a stopped task. EIO if the segments are
// others than a 64-bit program's or a base is not in user space.
func writeRegs(o kernel.StoppedTask, r *abi.Regs) error {
	return o.Do(func() error {
		now := o.Context().Regs()
		if r.Cs != now.Cs || r.Ss != now.Ss || r.Ds|r.Es|r.Fs|r.Gs != 0 || r.Fs_base >= mm.TaskSize || r.Gs_base >= mm.TaskSize {
			return unix.EIO
		}
		flags := now.Eflags&^userFlags | r.Eflags&userFlags
		*now = *r
		now.Eflags = flags
		o.CheckRip()
		return nil
	})
}

func ptraceGetRegs(t *kernel.Task, o kernel.StoppedTask, _, data uint64) (uintptr, error) {
	r, err := readRegs(o)
	if err != nil {
		return 0, err
	}
	return 0, kernel.CopyOutStruct(t, data, &r)
}

func ptraceSetRegs(t *kernel.Task, o kernel.StoppedTask, _, data uint64) (uintptr, error) {
	var r abi.Regs
	if err := kernel.CopyInStruct(t, data, &r); err != nil {
		return 0, err
	}
	return 0, writeRegs(o, &r)
}

// ptracePeekUser reads a word of struct user to where data points: registers
// and, always 0, the rest.
func ptracePeekUser(t *kernel.Task, o kernel.StoppedTask, addr, data uint64) (uintptr, error) {
	if addr%8 != 0 || addr >= userSize {
		return 0, unix.EIO
	}
	word := uint64(0)
	if addr < uint64(regsSize) {
		r, err := readRegs(o)
		if err != nil {
			return 0, err
		}
		word = binary.NativeEndian.Uint64(regsBytes(&r)[addr:])
	}
	return 0, t.CopyOutUint64(data, word)
}

// ptracePokeUser writes a register. The debug registers take only 0: the
// host's are not for guests.
func ptracePokeUser(_ *kernel.Task, o kernel.StoppedTask, addr, data uint64) (uintptr, error) {
	switch {
	case addr%8 != 0 || addr >= userSize:
		return 0, unix.EIO
	case addr >= userDebug && addr < userDebugEnd:
		if data != 0 {
			return 0, unix.EINVAL
		}
		return 0, nil
	case addr >= uint64(regsSize):
		return 0, unix.EIO
	}
	r, err := readRegs(o)
	if err != nil {
		return 0, err
	}
	binary.NativeEndian.PutUint64(regsBytes(&r)[addr:], data)
	return 0, writeRegs(o, &r)
}

// readFP returns the extended state of a stopped task; EIO if its platform
// does not let it be seen.
func readFP(o kernel.StoppedTask) (area []byte, err error) {
	err = o.Do(func() error {
		d, ok := o.Context().(platform.Debuggable)
		if !ok {
			return unix.EIO
		}
		area, err = d.ReadFP()
		return err
	})
	return area, err
}

// writeFP sets it, or with legacy the x87 and SSE part.
func writeFP(o kernel.StoppedTask, area []byte, legacy bool) error {
	return o.Do(func() error {
		d, ok := o.Context().(platform.Debuggable)
		switch {
		case !ok:
			return unix.EIO
		case legacy:
			return d.WriteLegacyFP(area)
		}
		return d.WriteFP(area)
	})
}

func ptraceGetFPRegs(t *kernel.Task, o kernel.StoppedTask, _, data uint64) (uintptr, error) {
	area, err := readFP(o)
	if err != nil {
		return 0, err
	}
	_, err = t.CopyOut(data, legacyFP(area))
	return 0, err
}

// legacyFP is the x87 and SSE part of an area, without what the XSAVE format
// has in its unused bytes.
func legacyFP(area []byte) []byte {
	const unused = 464
	legacy := bytes.Clone(area[:fpRegsSize])
	clear(legacy[unused:])
	return legacy
}

func ptraceSetFPRegs(t *kernel.Task, o kernel.StoppedTask, _, data uint64) (uintptr, error) {
	var area [fpRegsSize]byte
	if _, err := t.CopyIn(data, area[:]); err != nil {
		return 0, err
	}
	return 0, writeFP(o, area[:], true)
}

// Register sets, by the ELF notes that hold them in core files (elf.h).
const (
	ntPRStatus  = 1
	ntPRFPReg   = 2
	ntX86XState = 0x202
)

// ptraceGetRegset copies as much of a register set as the struct iovec at data
// has room for, and puts into that how much it was.
func ptraceGetRegset(t *kernel.Task, o kernel.StoppedTask, note, data uint64) (uintptr, error) {
	var iov span
	if err := kernel.CopyInStruct(t, data, &iov); err != nil {
		return 0, err
	}
	var set []byte
	var err error
	switch uint32(note) {
	case ntPRStatus:
		var r abi.Regs
		r, err = readRegs(o)
		set = regsBytes(&r)
	case ntPRFPReg:
		if set, err = readFP(o); err == nil {
			set = legacyFP(set)
		}
	case ntX86XState:
		set, err = readFP(o)
	default:
		err = unix.EINVAL
	}
	if err != nil {
		return 0, err
	}
	if iov.length%8 != 0 {
		return 0, unix.EINVAL
	}
	iov.length = min(iov.length, uint64(len(set)))
	if _, err := t.CopyOut(iov.addr, set[:iov.length]); err != nil {
		return 0, err
	}
	return 0, t.CopyOutUint64(data+8, iov.length)
}

// ptraceSetRegset is its inverse; of the general registers there may be fewer.
func ptraceSetRegset(t *kernel.Task, o kernel.StoppedTask, note, data uint64) (uintptr, error) {
	var iov span
	if err := kernel.CopyInStruct(t, data, &iov); err != nil {
		return 0, err
	}
	if iov.length%8 != 0 {
		return 0, unix.EINVAL
	}
	set := make([]byte, min(iov.length, pageSize))
	if _, err := t.CopyIn(iov.addr, set); err != nil {
		return 0, err
	}
	var err error
	switch uint32(note) {
	case ntPRStatus:
		var r abi.Regs
		if r, err = readRegs(o); err == nil {
			set = set[:copy(regsBytes(&r), set)]
			err = writeRegs(o, &r)
		}
	case ntPRFPReg:
		set = set[:min(len(set), fpRegsSize)]
		err = writeFP(o, set, true)
	case ntX86XState:
		err = writeFP(o, set, false)
	default:
		err = unix.EINVAL
	}
	if err != nil {
		return 0, err
	}
	return 0, t.CopyOutUint64(data+8, uint64(len(set)))
}

// ptraceArch is PTRACE_ARCH_PRCTL: arch_prctl(2) for the FS and GS bases of the
// stopped task, with the tracer's memory.
func ptraceArch(t *kernel.Task, o kernel.StoppedTask, addr, data uint64) (uintptr, error) {
	r, err := readRegs(o)
	if err != nil {
		return 0, err
	}
	switch data {
	case archGetFS:
		return 0, t.CopyOutUint64(addr, r.Fs_base)
	case archGetGS:
		return 0, t.CopyOutUint64(addr, r.Gs_base)
	case archSetFS:
		r.Fs_base = addr
	case archSetGS:
		r.Gs_base = addr
	default:
		return 0, unix.EINVAL
	}
	if addr >= mm.TaskSize {
		return 0, unix.EPERM
	}
	return 0, writeRegs(o, &r)
}
