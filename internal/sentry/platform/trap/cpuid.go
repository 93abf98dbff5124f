package trap

import (
	"coffer/internal/sentry/platform/stub"
	"coffer/internal/sentry/platform/trap/rewrite"
)

// extendedLeaves is the first of CPUID's extended leaves, and lastConstant the last of
// those that depend on nothing but the processor's model.
const (
	extendedLeaves = 0x8000_0000
	lastConstant   = 0x8000_0008
)

// constantLeaves are the leaves of CPUID whose values rewritten code may hold: none where CPUID
// leaves no virtual machine and is fast, or where there may be processors of several kinds. (See
// CPUID in volume 2A of Intel's manual, and appendix E of volume 3 of AMD's.)
func constantLeaves() map[uint32]rewrite.Registers {
	const (
		hypervisor    = 1 << 31 // leaf 1, ECX
		hybrid        = 1 << 15 // leaf 7, EDX
		topologyLeaf  = 0x8000_0026
		heterogeneous = 1 << 30 // EAX of that
	)
	highest, _, _, _ := stub.CPUID(0, 0)
	_, _, c, _ := stub.CPUID(1, 0)
	if highest < 7 || c&hypervisor == 0 {
		return nil
	}
	if _, _, _, d := stub.CPUID(7, 0); d&hybrid != 0 {
		return nil
	}
	highest, _, _, _ = stub.CPUID(extendedLeaves, 0)
	if highest >= topologyLeaf {
		if a, _, _, _ := stub.CPUID(topologyLeaf, 0); a&heterogeneous != 0 {
			return nil
		}
	}
	leaves := make(map[uint32]rewrite.Registers)
	for leaf := uint32(extendedLeaves); leaf <= min(highest, lastConstant); leaf++ {
		a, b, c, d := stub.CPUID(leaf, 0)
		leaves[leaf] = rewrite.Registers{a, b, c, d}
	}
	return leaves
}
