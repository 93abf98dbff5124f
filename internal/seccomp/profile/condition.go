package profile

import (
	"fmt"
	"strings"

	"coffer/internal/bpf"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// operator is how an argument is compared.
type operator int

const (
	notEqual operator = iota
	lessThan
	lessEqual
	equal
	greaterEqual
	greaterThan
	maskedEqual
)

// condition is a comparison of argument index with value; with maskedEqual the
// bits of the mask count.
type condition struct {
	index       int
	op          operator
	value, mask uint64
}

func parseConditions(args []specs.LinuxSeccompArg, rule int) ([]condition, error) {
	out := make([]condition, 0, len(args))
	for i, a := range args {
		field := fmt.Sprintf("linux.seccomp.syscalls[%d].args[%d]", rule, i)
		if a.Index > 5 {
			return nil, fmt.Errorf("%s.index is %d; a call has arguments 0 to 5", field, a.Index)
		}
		found := false
		for _, o := range operators {
			if o.name != a.Op {
				continue
			}
			found = true
			c := condition{index: int(a.Index), op: o.op, value: a.Value, mask: ^uint64(0)}
			if c.op == maskedEqual {
				// Bits outside of the mask don't count on either side.
				c.mask, c.value = a.Value, a.ValueTwo&a.Value
			}
			out = append(out, c)
		}
		if !found {
			return nil, fmt.Errorf("%s.op is %q, which is no operator; the operators are %s", field, a.Op, strings.Join(operatorNames(), ", "))
		}
	}
	return out, nil
}

// Where a jump of a condition leads before its distance is known.
const (
	toNext = iota // the instruction after it
	toHold        // where the condition holds
	toFail        // where it does not
)

// step is an instruction of a condition; yes and no are where a jump leads.
type step struct {
	unix.SockFilter
	yes, no int
}

// steps compiles c for arguments of 64 bits or, if not wide, of 32. What comes
// last leads to toHold or toFail only.
func (c *condition) steps(wide bool) []step {
	hi, lo := uint32(c.value>>32), uint32(c.value)
	maskHi, maskLo := uint32(c.mask>>32), uint32(c.mask)
	at := uint32(bpf.OffArgs + 8*c.index)
	var out []step
	word := func(off, mask uint32) {
		out = append(out, step{SockFilter: bpf.Load(off)})
		if mask != ^uint32(0) {
			out = append(out, step{SockFilter: bpf.And(mask)})
		}
	}
	jump := func(op uint16, k uint32, yes, no int) {
		out = append(out, step{SockFilter: bpf.Jump(op, k, 0, 0), yes: yes, no: no})
	}
	if wide {
		word(at+4, maskHi)
		switch c.op {
		case equal, maskedEqual:
			jump(unix.BPF_JEQ, hi, toNext, toFail)
		case notEqual:
			jump(unix.BPF_JEQ, hi, toNext, toHold)
		case greaterThan, greaterEqual:
			jump(unix.BPF_JGT, hi, toHold, toNext)
			jump(unix.BPF_JEQ, hi, toNext, toFail)
		case lessThan, lessEqual:
			jump(unix.BPF_JGT, hi, toFail, toNext)
			jump(unix.BPF_JEQ, hi, toNext, toHold)
		}
	}
	word(at, maskLo)
	switch c.op {
	case equal, maskedEqual:
		jump(unix.BPF_JEQ, lo, toHold, toFail)
	case notEqual:
		jump(unix.BPF_JEQ, lo, toFail, toHold)
	case greaterThan:
		jump(unix.BPF_JGT, lo, toHold, toFail)
	case greaterEqual:
		jump(unix.BPF_JGE, lo, toHold, toFail)
	case lessThan:
		jump(unix.BPF_JGE, lo, toFail, toHold)
	case lessEqual:
		jump(unix.BPF_JGT, lo, toFail, toHold)
	}
	return out
}

// code compiles a rule: it returns the verdict if all conditions hold, and goes
// on with what follows if not.
func (r *rule) code(wide bool) []unix.SockFilter {
	var steps []step
	var ends []int // of each condition: where the next one begins
	for i := range r.conditions {
		steps = append(steps, r.conditions[i].steps(wide)...)
		ends = append(ends, len(steps))
	}
	out := make([]unix.SockFilter, 0, len(steps)+1)
	end := 0
	for i, s := range steps {
		if i == ends[end] {
			end++
		}
		if s.Code&7 == unix.BPF_JMP {
			distance := func(to int) uint8 {
				switch to {
				case toHold:
					return uint8(ends[end] - i - 1)
				case toFail:
					return uint8(len(steps) - i) // past the verdict
				}
				return 0
			}
			// A rule has six conditions of six instructions at most.
			s.Jt, s.Jf = distance(s.yes), distance(s.no)
		}
		out = append(out, s.SockFilter)
	}
	return append(out, bpf.Return(r.ret))
}
