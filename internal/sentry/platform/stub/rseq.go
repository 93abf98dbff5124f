package stub

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Numbers of rseq(2) as glibc uses it.
const (
	sysRseq        = 334
	rseqSize       = 32
	rseqAlign      = 32
	rseqSignature  = 0x53053053
	rseqUnregister = 1
	rseqSearch     = 8 << 10
	archGetFS      = 0x1003
)

// dropRseq undoes the registration of restartable sequences that the template
// inherits from a sentry that is linked with glibc, as the race detector has
// it: the host ends a process whose area is gone. Where glibc keeps the area,
// which is near the thread pointer, only trying tells; without glibc, which is
// how Coffer is built, the thread pointer is Go's and nothing is found.
func dropRseq(t *Thread) error {
	if !cgo {
		return nil
	}
	if _, err := t.call(unix.SYS_ARCH_PRCTL, archGetFS, t.slotAddr()+windowOffset); err != nil {
		return err
	}
	fs := binary.LittleEndian.Uint64(t.window())
	for at := fs &^ (rseqAlign - 1); at < fs+rseqSearch; at += rseqAlign {
		switch _, err := t.call(sysRseq, at, rseqSize, rseqUnregister, rseqSignature); err {
		case nil:
			return nil
		case errGone:
			return err
		}
	}
	return nil
}
