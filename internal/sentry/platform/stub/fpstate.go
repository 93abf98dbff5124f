package stub

import "encoding/binary"

// Bits of XCR0 that are treated in their own way.
const (
	featurePKRU = 1 << 9
	// featuresLegacy are x87 and SSE.
	featuresLegacy = 3
	// featuresAMX are not offered: a thread must ask the host for them.
	featuresAMX = 3 << 17
)

// Numbers from the host's asm/sigcontext.h, which a signal frame's XSAVE area
// is marked with.
const (
	fpMagic1   = 0x46505853
	fpMagic2   = 0x46505845
	fpSWOffset = 464 // struct _fpx_sw_bytes in the legacy area
	fpSWSize   = 48
	fpHeader   = 512
	fpLegacy   = 512
	fpMinSize  = 576
)

// fpFormat is the layout of the extended state on this CPU.
type fpFormat struct {
	mask uint64 // the XSAVE features of guests
	size uint64 // of an XSAVE area with them, standard format
}

// findFPFormat asks the CPU.
func findFPFormat() fpFormat {
	f := fpFormat{mask: xgetbv() &^ featuresAMX, size: fpMinSize}
	for i := uint32(2); i < 63; i++ {
		if f.mask&(1<<i) == 0 {
			continue
		}
		size, offset, _, _ := CPUID(0xd, i)
		f.size = max(f.size, uint64(offset)+uint64(size))
	}
	return f
}

// frame is the size of an XSAVE area in a signal frame: with the second magic
// number after it.
func (f fpFormat) frame() uint64 { return f.size + 4 }

// swBytes fills in struct _fpx_sw_bytes.
func (f fpFormat) swBytes(dst []byte) {
	clear(dst[:fpSWSize])
	binary.LittleEndian.PutUint32(dst, fpMagic1)
	binary.LittleEndian.PutUint32(dst[4:], uint32(f.frame()))
	binary.LittleEndian.PutUint64(dst[8:], f.mask)
	binary.LittleEndian.PutUint32(dst[16:], uint32(f.size))
}

// initImage fills in an XSAVE area whose loading gives the state that a new
// program starts with.
func initImage(dst []byte) {
	clear(dst[:fpMinSize])
	binary.LittleEndian.PutUint16(dst, 0x37f)       // FCW
	binary.LittleEndian.PutUint32(dst[24:], 0x1f80) // MXCSR
}
