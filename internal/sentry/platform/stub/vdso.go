package stub

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// special is the host's vDSO and, below it, its data, as they are mapped in
// the sentry: [vvar, vdso) and [vdso, end).
type special struct{ vvar, vdso, end uint64 }

const (
	auxSysinfoEHDR  = 33
	specialPagesMax = 32
	madvDoDump      = 17
)

// findSpecial finds them without /proc: the host refuses MADV_DODUMP on its
// special mappings (EINVAL), and on nothing else that may lie beside them.
func findSpecial() (special, bool) {
	var s special
	aux, err := unix.Auxv()
	if err != nil {
		return s, false
	}
	for _, a := range aux {
		if a[0] == auxSysinfoEHDR {
			s.vdso = uint64(a[1])
		}
	}
	if s.vdso == 0 || !isSpecial(s.vdso) {
		return s, false
	}
	s.vvar, s.end = s.vdso, s.vdso+PageSize
	for i := 0; i < specialPagesMax && isSpecial(s.vvar-PageSize); i++ {
		s.vvar -= PageSize
	}
	for i := 0; i < specialPagesMax && isSpecial(s.end); i++ {
		s.end += PageSize
	}
	return s, true
}

// isSpecial reports whether the page at addr is one of the host's own.
func isSpecial(addr uint64) bool {
	_, _, e := syscall.RawSyscall(syscall.SYS_MADVISE, uintptr(addr), PageSize, madvDoDump)
	return e == syscall.EINVAL
}

// moveSpecial moves the mappings to end at end, in the template. The host
// moves only whole mappings, whose bounds are not known, so sizes are tried
// from the largest.
func moveSpecial(t *Thread, s special, end uint64) (special, error) {
	delta := end - s.end
	for at := s.vvar; at < s.end; {
		moved := false
		for size := s.end - at; size > 0; size -= PageSize {
			const fixed = unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED
			if _, err := t.call(unix.SYS_MREMAP, at, size, size, fixed, at+delta); err == nil {
				at += size
				moved = true
				break
			} else if err == errGone {
				return s, err
			}
		}
		if !moved {
			return s, unix.EINVAL
		}
	}
	return special{s.vvar + delta, s.vdso + delta, end}, nil
}
