package rewrite

import (
	"encoding/binary"
	"math"
)

// In a virtual machine each CPUID is an exit to the host, of some microseconds, and
// glibc's dynamic linker runs forty of them in every program. So a move of a leaf's number
// into EAX with a CPUID right behind it may become a jump to a trampoline that loads what
// the two would leave in the registers:
//
//	site:                          trampoline:
//	    jmp trampoline                 mov $..., %eax; the same for EBX, ECX, EDX
//	    cpuid (for who jumps here)     jmp back
//
// It is the same wherever in the trampoline a thread is stopped: all of it can be done again.

const (
	moveLen  = 5
	cpuidLen = 2
)

// Registers are what CPUID leaves in EAX, EBX, ECX and EDX.
type Registers [4]uint32

// CPUIDs returns where in code there are moves of leaves with a CPUID right behind them, and
// the leaves: some of those that leaves has, and the first most of them. These are seven bytes that are nothing else but by
// accident, if their leaves are none of small numbers.
func CPUIDs(code []byte, leaves map[uint32]Registers, most int) map[uint64]uint32 {
	found := make(map[uint64]uint32)
	for at := 0; at+moveLen+cpuidLen <= len(code) && len(found) < most; at++ {
		if code[at] != 0xb8 || code[at+moveLen] != 0x0f || code[at+moveLen+1] != 0xa2 {
			continue
		}
		leaf := binary.LittleEndian.Uint32(code[at+1:])
		if _, ok := leaves[leaf]; ok && leaf > math.MaxInt32 {
			found[uint64(at)] = leaf
		}
	}
	return found
}

// PlanCPUID plans the rewriting of a move that CPUIDs has found; its address is the
// site's. Entry is not used.
func PlanCPUID(s Site, r Registers) (*Patch, bool) {
	off := int(s.Addr - s.Base)
	end := s.Addr + moveLen
	p := &Patch{Addr: s.Addr, Old: append([]byte(nil), s.Code[off:off+moveLen]...), Call: end, Return: end, Kept: true}
	for i, load := range [...]byte{0xb8, 0xbb, 0xb9, 0xba} {
		p.Trampoline = binary.LittleEndian.AppendUint32(append(p.Trampoline, load), r[i])
	}
	p.Trampoline = append(p.Trampoline, 0xe9, 0, 0, 0, 0)
	n := len(p.Trampoline)
	p.New = []byte{0xe9, 0, 0, 0, 0}
	return p, putDisp(p.Trampoline[n-4:], s.Trampoline+uint64(n), end+cpuidLen) && putDisp(p.New[1:], end, s.Trampoline)
}
