package bpf

import "golang.org/x/sys/unix"

// The instructions of filters that are named below. Those of classes BPF_ALU
// and BPF_JMP that are not here are put together from their parts.
const (
	ldAbs  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	ldLen  = unix.BPF_LD | unix.BPF_W | unix.BPF_LEN
	ldImm  = unix.BPF_LD | unix.BPF_IMM
	ldMem  = unix.BPF_LD | unix.BPF_MEM
	ldxLen = unix.BPF_LDX | unix.BPF_W | unix.BPF_LEN
	ldxImm = unix.BPF_LDX | unix.BPF_IMM
	ldxMem = unix.BPF_LDX | unix.BPF_MEM
	st     = unix.BPF_ST
	stx    = unix.BPF_STX
	tax    = unix.BPF_MISC | unix.BPF_TAX
	txa    = unix.BPF_MISC | unix.BPF_TXA
	retK   = unix.BPF_RET | unix.BPF_K
	retA   = unix.BPF_RET | unix.BPF_A
	ja     = unix.BPF_JMP | unix.BPF_JA
	jeqK   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jgtK   = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jgeK   = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	jsetK  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	andK   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	divK   = unix.BPF_ALU | unix.BPF_DIV | unix.BPF_K
	divX   = unix.BPF_ALU | unix.BPF_DIV | unix.BPF_X
	lshK   = unix.BPF_ALU | unix.BPF_LSH | unix.BPF_K
	rshK   = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
	neg    = unix.BPF_ALU | unix.BPF_NEG

	classMask = 0x07
	opMask    = 0xf0
)

// memWords is the size of a program's scratch memory (BPF_MEMWORDS).
const memWords = unix.BPF_MEMWORDS

// valid reports whether instruction pc is one that a filter may have there.
func valid(code []unix.SockFilter, pc int) bool {
	in := &code[pc]
	behind := uint32(len(code) - pc - 1) // how many instructions follow
	switch in.Code {
	case ldAbs:
		return in.K < DataSize && in.K%4 == 0
	case ldLen, ldxLen, ldImm, ldxImm, tax, txa, retK, retA, neg:
		return true
	case ldMem, ldxMem, st, stx:
		return in.K < memWords
	case ja:
		return in.K < behind
	case divK:
		return in.K != 0
	case lshK, rshK:
		return in.K < 32
	}
	rest := in.Code &^ (classMask | opMask)
	if rest != unix.BPF_K && rest != unix.BPF_X {
		return false
	}
	op := in.Code & opMask
	switch in.Code & classMask {
	case unix.BPF_JMP:
		switch op {
		case unix.BPF_JEQ, unix.BPF_JGT, unix.BPF_JGE, unix.BPF_JSET:
			return uint32(in.Jt) < behind && uint32(in.Jf) < behind
		}
	case unix.BPF_ALU:
		switch op {
		case unix.BPF_ADD, unix.BPF_SUB, unix.BPF_MUL, unix.BPF_DIV, unix.BPF_OR, unix.BPF_AND, unix.BPF_XOR,
			unix.BPF_LSH, unix.BPF_RSH:
			return true
		}
	}
	return false
}

// sound reports whether a program has a length that Linux takes, instructions that are
// valid, a verdict in the end, and no load of scratch memory that was not written.
func sound(code []unix.SockFilter, valid func(code []unix.SockFilter, pc int) bool) bool {
	if len(code) == 0 || len(code) > MaxInstructions {
		return false
	}
	for pc := range code {
		if !valid(code, pc) {
			return false
		}
	}
	if last := code[len(code)-1].Code; last != retK && last != retA {
		return false
	}
	return initialized(code)
}

// initialized reports whether every path to a load from scratch memory stores
// to that word before. Since jumps only lead forward, one pass finds out.
func initialized(code []unix.SockFilter) bool {
	// known[pc] are the words that all paths to pc through a jump have
	// written; now are those of the path from the instruction before.
	known := make([]uint16, len(code))
	for i := range known {
		known[i] = ^uint16(0)
	}
	now := uint16(0)
	for pc := range code {
		in := &code[pc]
		now &= known[pc]
		switch in.Code {
		case st, stx:
			now |= 1 << in.K
		case ldMem, ldxMem:
			if now&(1<<in.K) == 0 {
				return false
			}
		case ja:
			known[pc+1+int(in.K)] &= now
			now = ^uint16(0)
		default:
			if in.Code&classMask == unix.BPF_JMP {
				known[pc+1+int(in.Jt)] &= now
				known[pc+1+int(in.Jf)] &= now
				now = ^uint16(0)
			}
		}
	}
	return true
}
