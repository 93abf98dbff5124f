package bpf

import "golang.org/x/sys/unix"

// machine is the state of a program that runs: what the filters of calls and those of
// sockets have alike. They differ in what they load from.
type machine struct {
	a, x uint32
	mem  [memWords]uint32
}

// jump is how many instructions one of class BPF_JMP passes over.
func (m *machine) jump(in *unix.SockFilter) int {
	switch {
	case in.Code == ja:
		return int(in.K)
	case holds(in.Code, m.a, m.operand(in)):
		return int(in.Jt)
	}
	return int(in.Jf)
}

func (m *machine) operand(in *unix.SockFilter) uint32 {
	if in.Code&unix.BPF_X != 0 {
		return m.x
	}
	return in.K
}

// step runs an instruction that neither jumps nor ends nor looks at what the filter is
// run on. It reports false for a division by zero, which ends the program with 0.
func (m *machine) step(in *unix.SockFilter) bool {
	switch in.Code {
	case ldImm:
		m.a = in.K
	case ldxImm:
		m.x = in.K
	case ldMem:
		m.a = m.mem[in.K]
	case ldxMem:
		m.x = m.mem[in.K]
	case st:
		m.mem[in.K] = m.a
	case stx:
		m.mem[in.K] = m.x
	case tax:
		m.x = m.a
	case txa:
		m.a = m.x
	case divX, modX:
		if m.x == 0 {
			return false
		}
		m.a = compute(in.Code, m.a, m.x)
	default:
		m.a = compute(in.Code, m.a, m.operand(in))
	}
	return true
}

// holds is the condition of a jump.
func holds(code uint16, a, operand uint32) bool {
	switch code & opMask {
	case unix.BPF_JEQ:
		return a == operand
	case unix.BPF_JGT:
		return a > operand
	case unix.BPF_JGE:
		return a >= operand
	}
	return a&operand != 0 // BPF_JSET
}

// compute is the result of an instruction of class BPF_ALU. A divisor is not
// 0. Of a shift's width the low five bits count, as in Linux.
func compute(code uint16, a, operand uint32) uint32 {
	switch code & opMask {
	case unix.BPF_ADD:
		return a + operand
	case unix.BPF_SUB:
		return a - operand
	case unix.BPF_MUL:
		return a * operand
	case unix.BPF_DIV:
		return a / operand
	case unix.BPF_MOD:
		return a % operand
	case unix.BPF_OR:
		return a | operand
	case unix.BPF_AND:
		return a & operand
	case unix.BPF_XOR:
		return a ^ operand
	case unix.BPF_LSH:
		return a << (operand & 31)
	case unix.BPF_RSH:
		return a >> (operand & 31)
	}
	return -a // BPF_NEG
}
