package profile

import (
	"cmp"
	"fmt"
	"slices"

	"coffer/internal/bpf"
	"coffer/internal/seccomp/sysno"

	"golang.org/x/sys/unix"
)

// badArch is the verdict for calls of architectures that the profile does not
// list.
const badArch = unix.SECCOMP_RET_KILL_THREAD

// leaf is what is done about the calls from number from up to the next leaf's:
// code, or ret if there is none.
type leaf struct {
	from uint32
	ret  uint32
	code []unix.SockFilter
}

// assemble makes the program: it finds the architecture, then the call's number
// in a balanced tree of ranges with the same verdict, then tries the rules of
// the call. These stand at the end, once for all calls that have the same.
func assemble(sections []*section, def uint32, deny bool) ([]unix.SockFilter, error) {
	var prog []unix.SockFilter
	var shared blocks
	prog = append(prog, bpf.Load(bpf.OffArch))
	done := map[uint32]bool{}
	for _, s := range sections {
		audit := s.arch.Audit()
		if done[audit] {
			continue
		}
		done[audit] = true
		all := leaves(sections, audit, def, deny)
		prog = branch(prog, unix.BPF_JEQ, audit, 1+treeSize(len(all)))
		prog = append(prog, bpf.Load(bpf.OffNumber))
		prog = shared.tree(prog, all)
	}
	prog = append(prog, bpf.Return(badArch))
	prog = shared.link(prog)
	if len(prog) > bpf.MaxInstructions {
		return nil, fmt.Errorf("linux.seccomp: the profile makes a filter of %d instructions, and Linux takes %d; give it fewer rules, or fewer conditions on arguments", len(prog), bpf.MaxInstructions)
	}
	return prog, nil
}

// branch adds a jump behind the next n instructions if a comparison does not
// hold.
func branch(prog []unix.SockFilter, op uint16, k uint32, n int) []unix.SockFilter {
	if n <= 255 {
		return append(prog, bpf.Jump(op, k, 0, uint8(n)))
	}
	return append(prog, bpf.Jump(op, k, 1, 0), bpf.Skip(uint32(n)))
}

// leaves are the verdicts for all numbers of the sections with an architecture
// of seccomp(2)'s, in order.
func leaves(sections []*section, audit uint32, def uint32, deny bool) []leaf {
	var out []leaf
	end := uint32(0)
	for _, s := range slices.SortedFunc(slices.Values(sections), func(a, b *section) int { return cmp.Compare(a.arch, b.arch) }) {
		if s.arch.Audit() != audit {
			continue
		}
		base := uint32(0)
		if s.arch == sysno.X32 {
			base = sysno.X32Bit
		}
		if base > end || len(out) == 0 && base > 0 {
			out = append(out, leaf{from: end, ret: badArch})
		}
		out = append(out, s.leaves(base, def, deny)...)
		end = base + sysno.X32Bit
	}
	if audit == unix.AUDIT_ARCH_X86_64 && end == sysno.X32Bit {
		out = append(out, leaf{from: end, ret: badArch})
	}
	if audit == unix.AUDIT_ARCH_X86_64 {
		// Tracers set the number to -1 to have no call made.
		out = append(out, leaf{from: ^uint32(0), ret: def})
	}
	return slices.CompactFunc(out, func(a, b leaf) bool { return a.ret == b.ret && a.code == nil && b.code == nil })
}

// leaves are the verdicts for the numbers of one architecture from base on.
func (s *section) leaves(base, def uint32, deny bool) []leaf {
	slices.Sort(s.entries)
	out := make([]leaf, 1, 2+2*len(s.entries))
	out[0] = leaf{from: base, ret: def}
	var rules []*rule
	for from := 0; from < len(s.entries); {
		nr, to := uint32(s.entries[from]>>32), from
		rules = rules[:0]
		for to < len(s.entries) && uint32(s.entries[to]>>32) == nr {
			rules = append(rules, s.rules[uint32(s.entries[to])])
			to++
		}
		l := callLeaf(nr, rules, def, s.arch.Wide())
		if last := &out[len(out)-1]; last.from == nr {
			*last = l
		} else {
			out = append(out, l)
		}
		out = append(out, leaf{from: nr + 1, ret: def})
		from = to
	}
	if deny && s.listed && s.named {
		// The last leaf is the default's, and begins behind the last call
		// that has a rule.
		enosys := leaf{from: s.last + 1, ret: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}
		if out[len(out)-1].from == enosys.from {
			out = out[:len(out)-1]
		}
		out = append(out, enosys)
	}
	return out
}

// callLeaf is what is done about the call nr with these rules.
func callLeaf(nr uint32, rules []*rule, def uint32, wide bool) leaf {
	var code []unix.SockFilter
	for _, r := range rules {
		if len(r.conditions) == 0 {
			return leaf{from: nr, ret: r.ret}
		}
		code = append(code, r.code(wide)...)
	}
	return leaf{from: nr, code: append(code, bpf.Return(def))}
}

// blocks are pieces of code that several leaves lead to.
type blocks [][]unix.SockFilter

// toBlock marks a jump, in a field that it does not use, whose distance is the
// number of a block for now.
const toBlock = 1

// jump returns a jump to a block with that code.
func (b *blocks) jump(code []unix.SockFilter) unix.SockFilter {
	i := slices.IndexFunc(*b, func(other []unix.SockFilter) bool { return slices.Equal(other, code) })
	if i < 0 {
		i = len(*b)
		*b = append(*b, code)
	}
	in := bpf.Skip(uint32(i))
	in.Jt = toBlock
	return in
}

// link puts the blocks behind a program and the distances into its jumps.
func (b blocks) link(prog []unix.SockFilter) []unix.SockFilter {
	starts := make([]int, len(b))
	end := len(prog)
	for i, code := range b {
		starts[i] = end
		end += len(code)
	}
	for pc := range prog {
		if in := &prog[pc]; in.Code == bpf.Skip(0).Code && in.Jt == toBlock {
			*in = bpf.Skip(uint32(starts[in.K] - pc - 1))
		}
	}
	return slices.Concat(append([][]unix.SockFilter{prog}, b...)...)
}

// tree adds what finds the leaf of the number in the accumulator.
func (b *blocks) tree(prog []unix.SockFilter, leaves []leaf) []unix.SockFilter {
	if len(leaves) == 1 {
		if l := leaves[0]; l.code != nil {
			return append(prog, b.jump(l.code))
		}
		return append(prog, bpf.Return(leaves[0].ret))
	}
	half := len(leaves) / 2
	prog = branch(prog, unix.BPF_JGE, leaves[half].from, treeSize(len(leaves)-half))
	prog = b.tree(prog, leaves[half:])
	return b.tree(prog, leaves[:half])
}

// treeSize is how many instructions the tree of n leaves has.
func treeSize(n int) int {
	if n == 1 {
		return 1
	}
	below, above := treeSize(n/2), treeSize(n-n/2)
	if above > 255 {
		above++
	}
	return 1 + above + below
}
