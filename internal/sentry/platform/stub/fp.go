package stub

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Where in the window the pieces of a signal frame's extended state lie.
const (
	winHeader = 0    // the XSAVE header, of zeros
	winSW     = 64   // struct _fpx_sw_bytes
	winMagic2 = 128  // the number behind the area
	winImage  = 1024 // an XSAVE area, aligned
)

// SaveFP implements platform.Context: it makes an extended state as the host
// would in a signal frame, with its two magic numbers.
func (t *Thread) SaveFP(addr uint64) error {
	t.settle()
	f := &t.proc.stubs.fp
	if addr%64 != 0 {
		return unix.EINVAL
	}
	if !t.inLimits(addr, int(f.frame())) {
		return unix.EFAULT
	}
	t.enter()
	defer t.leave()
	w := t.slotWindow()
	// XSAVE leaves most of the header as it is, which XRSTOR wants to be zero.
	clear(w[winHeader:][:64])
	f.swBytes(w[winSW:])
	binary.LittleEndian.PutUint32(w[winMagic2:], fpMagic2)
	t.add(opCopyOut, addr+fpHeader, 64, windowOffset+winHeader)
	t.add(opXsave, addr, f.mask)
	t.add(opCopyOut, addr+fpSWOffset, fpSWSize, windowOffset+winSW)
	t.add(opCopyOut, addr+f.size, 4, windowOffset+winMagic2)
	if !t.run() || t.page.fault != 0 {
		return unix.EFAULT
	}
	return nil
}

// RestoreFP implements platform.Context. Like the host's sigreturn, it loads
// only the x87 and SSE state from a frame whose magic numbers are wrong.
func (t *Thread) RestoreFP(addr uint64) error {
	f := &t.proc.stubs.fp
	if addr%64 != 0 {
		return unix.EINVAL
	}
	var legacy [fpLegacy]byte
	if _, err := t.CopyIn(addr, legacy[:]); err != nil {
		return err
	}
	sw := legacy[fpSWOffset:]
	size := uint64(binary.LittleEndian.Uint32(sw[16:]))
	if binary.LittleEndian.Uint32(sw) == fpMagic1 && size >= fpMinSize && size <= f.size &&
		uint64(binary.LittleEndian.Uint32(sw[4:])) >= size {
		var magic2 [4]byte
		if _, err := t.CopyIn(addr+size, magic2[:]); err != nil {
			return err
		}
		if binary.LittleEndian.Uint32(magic2[:]) == fpMagic2 {
			return t.loadFP(addr, binary.LittleEndian.Uint64(sw[8:])&f.mask)
		}
	}
	return t.loadLegacy(&legacy)
}

// loadFP loads features from an XSAVE area in guest memory, and gives the
// others the state of a new program.
func (t *Thread) loadFP(addr, features uint64) error {
	if !t.inLimits(addr, int(t.proc.stubs.fp.size)) {
		return unix.EFAULT
	}
	t.enter()
	defer t.leave()
	t.addInit(t.proc.stubs.fp.mask &^ features &^ featurePKRU)
	t.add(opXrstor, addr, features)
	return t.runFP()
}

// loadLegacy loads the x87 and SSE state from an FXSAVE area.
func (t *Thread) loadLegacy(area *[fpLegacy]byte) error {
	t.enter()
	defer t.leave()
	t.addInit(t.proc.stubs.fp.mask &^ 3 &^ featurePKRU)
	w := t.slotWindow()[2*winImage:]
	clear(w[:fpMinSize])
	copy(w, area[:])
	binary.LittleEndian.PutUint64(w[fpHeader:], 3)
	t.add(opXrstor, t.slotAddr()+windowOffset+2*winImage, 3)
	return t.runFP()
}

// ResetFP implements platform.Context.
func (t *Thread) ResetFP() error {
	t.enter()
	defer t.leave()
	t.addInit(t.proc.stubs.fp.mask &^ featurePKRU)
	return t.runFP()
}

// addInit adds an operation that gives features their initial state.
func (t *Thread) addInit(features uint64) {
	initImage(t.slotWindow()[winImage:])
	t.add(opXrstor, t.slotAddr()+windowOffset+winImage, features)
}

// runFP runs the batch. A general protection fault means that the state was
// not one that can be.
func (t *Thread) runFP() error {
	const generalProtection = 13
	switch {
	case !t.run():
		return unix.EFAULT
	case t.page.fault == generalProtection+1:
		return unix.EINVAL
	case t.page.fault != 0:
		return unix.EFAULT
	}
	return nil
}
