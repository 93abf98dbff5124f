// Package bpf builds, checks and runs classic BPF programs, in which the filters of
// seccomp(2) and of sockets are written: what Linux refuses is refused, and what it
// computes is computed.
//
// It knows nothing of tasks or of what a verdict leads to.
package bpf

import "golang.org/x/sys/unix"

// MaxInstructions is the longest program that Linux takes (BPF_MAXINSNS).
const MaxInstructions = 4096

// Data is struct seccomp_data: what a filter is run on.
type Data struct {
	Number             int32
	Arch               uint32
	InstructionPointer uint64
	Args               [6]uint64
}

// DataSize is the size of struct seccomp_data in bytes.
const DataSize = 64

// word returns the aligned 32-bit word at byte offset off, which has been
// checked, as a little-endian processor finds it.
func (d *Data) word(off uint32) uint32 {
	switch {
	case off == OffNumber:
		return uint32(d.Number)
	case off == OffArch:
		return d.Arch
	}
	v := d.InstructionPointer
	if off >= OffArgs {
		v = d.Args[(off-OffArgs)/8]
	}
	return uint32(v >> (off % 8 * 8))
}

// Program is a checked program. It does not change.
type Program struct {
	code []unix.SockFilter
}

// New checks a program, as seccomp(2) does: EINVAL if it is empty or too long,
// has an instruction that filters may not have, jumps out of itself, loads
// what is not there, reads scratch memory that was not written, or may end
// without a verdict. Jumps only lead forward, so every program ends. The
// caller must not change code afterwards.
func New(code []unix.SockFilter) (*Program, error) {
	if !sound(code, valid) {
		return nil, unix.EINVAL
	}
	return &Program{code: code}, nil
}

// Len is the number of instructions.
func (p *Program) Len() int { return len(p.code) }

// Instructions are the program's. They must not be changed.
func (p *Program) Instructions() []unix.SockFilter { return p.code }

// Run computes the program's result for d.
func (p *Program) Run(d *Data) uint32 {
	var m machine
	for pc := 0; ; pc++ {
		in := &p.code[pc]
		switch in.Code {
		case ldAbs:
			m.a = d.word(in.K)
		case ldLen:
			m.a = DataSize
		case ldxLen:
			m.x = DataSize
		case retK:
			return in.K
		case retA:
			return m.a
		default:
			if in.Code&classMask == unix.BPF_JMP {
				pc += m.jump(in)
			} else if !m.step(in) {
				return 0
			}
		}
	}
}

// Constant returns the program's result for a call's number and architecture,
// if it shows without a look at the arguments or the instruction pointer.
func (p *Program) Constant(number int32, arch uint32) (result uint32, ok bool) {
	var a uint32
	for pc := 0; ; pc++ {
		in := &p.code[pc]
		switch in.Code {
		case ldAbs:
			switch in.K {
			case OffNumber:
				a = uint32(number)
			case OffArch:
				a = arch
			default:
				return 0, false
			}
		case ldImm:
			a = in.K
		case retK:
			return in.K, true
		case retA:
			return a, true
		case ja:
			pc += int(in.K)
		case andK:
			a &= in.K
		case jeqK, jgtK, jgeK, jsetK:
			if holds(in.Code, a, in.K) {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		default:
			return 0, false
		}
	}
}
