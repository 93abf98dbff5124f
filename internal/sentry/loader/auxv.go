package loader

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Auxiliary vector entries; see getauxval(3).
const (
	atNull         = 0
	atPHDR         = 3
	atPHEnt        = 4
	atPHNum        = 5
	atPageSize     = 6
	atBase         = 7
	atFlags        = 8
	atEntry        = 9
	atUID          = 11
	atEUID         = 12
	atGID          = 13
	atEGID         = 14
	atPlatform     = 15
	atHWCap        = 16
	atClockTick    = 17
	atSecure       = 23
	atRandom       = 25
	atHWCap2       = 26
	atRseqFeatures = 27
	atRseqAlign    = 28
	atExecFn       = 31
	atSysinfoEhdr  = 33
	atMinSigStkSz  = 51
	auxSize        = 2 * 8 * 24 // room for all entries, in bytes
	clockTicks     = 100        // a second, as sysconf(_SC_CLK_TCK) has it
	hwcap2FSGSBase = 1 << 1
	// flagsPreserveArgv0 is AT_FLAGS_PRESERVE_ARGV0 of AT_FLAGS.
	flagsPreserveArgv0 = 1 << 0
	minSigStkSz        = 2048 // if the host does not tell
)

// hostAux are the entries that describe the processor, from the host's own
// vector.
var hostAux = sync.OnceValue(func() map[uint64]uint64 {
	m := map[uint64]uint64{atMinSigStkSz: minSigStkSz}
	pairs, err := unix.Auxv()
	if err != nil {
		return m
	}
	for _, p := range pairs {
		m[uint64(p[0])] = uint64(p[1])
	}
	return m
})

// auxPointers are the addresses of what entries point to.
type auxPointers struct{ execfn, platform, random uint64 }

// auxv returns the vector in pairs of words, with the AT_NULL entry.
func (l *load) auxv(id Identity, at auxPointers) []uint64 {
	host := hostAux()
	e := l.image.elf
	var phdr, secure, flags uint64
	if e.phdr != 0 {
		phdr = e.phdr + l.bias
	}
	if id.Secure {
		secure = 1
	}
	if l.image.emulated {
		flags = flagsPreserveArgv0
	}
	c := id.Creds
	v := make([]uint64, 0, auxSize/8)
	if vdso := l.m.PlatformLimits().VDSO; vdso != 0 {
		v = append(v, atSysinfoEhdr, vdso)
	}
	if size, align := host[atRseqFeatures], host[atRseqAlign]; size != 0 && align != 0 {
		v = append(v, atRseqFeatures, size, atRseqAlign, align)
	}
	return append(v,
		atMinSigStkSz, host[atMinSigStkSz],
		atHWCap, host[atHWCap],
		atPageSize, pageSize,
		atClockTick, clockTicks,
		atPHDR, phdr,
		atPHEnt, phdrSize,
		atPHNum, e.phnum,
		atBase, l.interpBase,
		atFlags, flags,
		atEntry, e.entry+l.bias,
		atUID, uint64(c.UserNS.FromUID(c.RUID)),
		atEUID, uint64(c.UserNS.FromUID(c.EUID)),
		atGID, uint64(c.UserNS.FromGID(c.RGID)),
		atEGID, uint64(c.UserNS.FromGID(c.EGID)),
		atSecure, secure,
		atRandom, at.random,
		// The platform needs the segment bases for itself, so programs must
		// set theirs through arch_prctl(2).
		atHWCap2, host[atHWCap2]&^hwcap2FSGSBase,
		atExecFn, at.execfn,
		atPlatform, at.platform,
		atNull, 0,
	)
}
