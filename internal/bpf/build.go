package bpf

import "golang.org/x/sys/unix"

// Offsets of the fields of struct seccomp_data, for Load. Arguments have eight
// bytes each, the lower half first on little-endian processors.
const (
	OffNumber = 0
	OffArch   = 4
	OffArgs   = 16
)

// Load loads the 32-bit word at an offset in struct seccomp_data.
func Load(off uint32) unix.SockFilter {
	return unix.SockFilter{Code: ldAbs, K: off}
}

// Jump compares what was loaded with k by an operation (unix.BPF_JEQ...), and
// skips t instructions if that holds and f if not.
func Jump(op uint16, k uint32, t, f uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: t, Jf: f, K: k}
}

// Skip skips n instructions.
func Skip(n uint32) unix.SockFilter {
	return unix.SockFilter{Code: ja, K: n}
}

// And clears the bits of what was loaded that mask has not.
func And(mask uint32) unix.SockFilter {
	return unix.SockFilter{Code: andK, K: mask}
}

// Return ends the program with a verdict (unix.SECCOMP_RET_*).
func Return(verdict uint32) unix.SockFilter {
	return unix.SockFilter{Code: retK, K: verdict}
}
