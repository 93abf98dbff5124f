package stub

import (
	"bytes"
	"encoding/binary"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// winDebug is where in the window a debugger's XSAVE area lies: a power of
// two behind winImage, which loading needs too.
const winDebug = 2 * winImage

var _ platform.Debuggable = (*Thread)(nil)

// BeginDebug implements platform.Debuggable: the stub itself rewrites nothing.
func (t *Thread) BeginDebug() {}

// ReadFP implements platform.Debuggable.
func (t *Thread) ReadFP() ([]byte, error) {
	t.settle()
	f := &t.proc.stubs.fp
	if f.size > windowSize-winDebug {
		return nil, unix.EFAULT
	}
	t.enter()
	defer t.leave()
	w := t.slotWindow()[winDebug:][:f.size]
	// What XSAVE leaves as it is shall not show what was there.
	clear(w)
	t.add(opXsave, t.slotAddr()+windowOffset+winDebug, f.mask)
	if !t.run() || t.page.fault != 0 {
		return nil, unix.EFAULT
	}
	area := bytes.Clone(w)
	binary.LittleEndian.PutUint64(area[fpSWOffset:], f.mask)
	return area, nil
}

// WriteFP implements platform.Debuggable.
func (t *Thread) WriteFP(area []byte) error {
	f := &t.proc.stubs.fp
	if uint64(len(area)) < f.size || f.size > windowSize-winDebug {
		return unix.EFAULT
	}
	if binary.LittleEndian.Uint64(area[fpHeader:])&^f.mask != 0 {
		return unix.EINVAL
	}
	t.enter()
	defer t.leave()
	w := t.slotWindow()[winDebug:]
	copy(w, area[:f.size])
	clear(w[fpSWOffset:][:fpSWSize])
	t.add(opXrstor, t.slotAddr()+windowOffset+winDebug, f.mask)
	return t.runFP()
}

// WriteLegacyFP implements platform.Debuggable.
func (t *Thread) WriteLegacyFP(area []byte) error {
	if len(area) < fpLegacy {
		return unix.EFAULT
	}
	t.enter()
	defer t.leave()
	w := t.slotWindow()[winDebug:]
	clear(w[:fpMinSize])
	copy(w, area[:fpLegacy])
	clear(w[fpSWOffset:][:fpSWSize])
	binary.LittleEndian.PutUint64(w[fpHeader:], featuresLegacy)
	t.add(opXrstor, t.slotAddr()+windowOffset+winDebug, featuresLegacy)
	return t.runFP()
}
