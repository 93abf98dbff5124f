// Package seccomp turns a table of allowed host calls, each with its reason,
// into a seccomp filter (seccomp(2)) and installs it.
//
// It knows nothing of who is filtered.
package seccomp

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"coffer/internal/bpf"
	"coffer/internal/seccomp/sysno"

	"golang.org/x/sys/unix"
)

// Rule allows one host call. With Args, every condition must hold; several
// Rules for one call are alternatives.
type Rule struct {
	Call   uint32
	Args   []Arg
	Reason string
}

// Arg is a condition on the 64-bit argument Index: (value & Mask) == Value.
// A Mask of zero stands for all bits.
type Arg struct {
	Index       int
	Mask, Value uint64
}

// Equal is the condition that argument i is v.
func Equal(i int, v uint64) Arg { return Arg{Index: i, Value: v} }

// Build assembles the filter: allowed calls return SECCOMP_RET_ALLOW, all
// others action. A call of another architecture kills the process.
func Build(rules []Rule, action uint32) ([]unix.SockFilter, error) {
	byCall := map[uint32][]Rule{}
	var calls []uint32
	for _, r := range rules {
		if r.Reason == "" {
			return nil, fmt.Errorf("seccomp rule for host call %d gives no reason", r.Call)
		}
		if byCall[r.Call] == nil {
			calls = append(calls, r.Call)
		}
		byCall[r.Call] = append(byCall[r.Call], r)
	}
	slices.Sort(calls)
	prog := []unix.SockFilter{
		bpf.Load(bpf.OffArch),
		bpf.Jump(unix.BPF_JEQ, unix.AUDIT_ARCH_X86_64, 1, 0),
		bpf.Return(unix.SECCOMP_RET_KILL_PROCESS),
		bpf.Load(bpf.OffNumber),
		bpf.Jump(unix.BPF_JGE, sysno.X32Bit, 0, 1),
		bpf.Return(action),
	}
	for _, c := range calls {
		body, err := callBody(byCall[c], action)
		if err != nil {
			return nil, fmt.Errorf("seccomp rule for host call %d: %w", c, err)
		}
		if len(body) <= 255 {
			prog = append(prog, bpf.Jump(unix.BPF_JEQ, c, 0, uint8(len(body))))
		} else { // too far for a condition
			prog = append(prog, bpf.Jump(unix.BPF_JEQ, c, 1, 0), bpf.Skip(uint32(len(body))))
		}
		prog = append(prog, body...)
	}
	prog = append(prog, bpf.Return(action))
	if len(prog) > bpf.MaxInstructions {
		return nil, fmt.Errorf("seccomp filter has %d instructions; the host takes %d", len(prog), bpf.MaxInstructions)
	}
	return prog, nil
}

// callBody is what runs once the call number matched; it always returns.
func callBody(rules []Rule, action uint32) ([]unix.SockFilter, error) {
	var out []unix.SockFilter
	for _, r := range rules {
		if len(r.Args) == 0 {
			return []unix.SockFilter{bpf.Return(unix.SECCOMP_RET_ALLOW)}, nil
		}
		var one []unix.SockFilter
		for _, a := range r.Args {
			if a.Index < 0 || a.Index > 5 {
				return nil, fmt.Errorf("argument index %d", a.Index)
			}
			mask := a.Mask
			if mask == 0 {
				mask = ^uint64(0)
			}
			for half := range 2 {
				m, v := uint32(mask>>(32*half)), uint32(a.Value>>(32*half))
				if m == 0 {
					continue
				}
				one = append(one, bpf.Load(uint32(bpf.OffArgs+8*a.Index+4*half)))
				if m != ^uint32(0) {
					one = append(one, bpf.And(m))
				}
				one = append(one, bpf.Jump(unix.BPF_JEQ, v, 0, 0)) // false branch patched below
			}
		}
		one = append(one, bpf.Return(unix.SECCOMP_RET_ALLOW))
		for i := range one {
			if one[i].Code == unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K {
				one[i].Jf = uint8(len(one) - i - 1)
			}
		}
		out = append(out, one...)
	}
	return append(out, bpf.Return(action)), nil
}

// Install puts the filter on all threads of the calling process, for good.
// no_new_privs is set first.
func Install(prog []unix.SockFilter) error {
	// no_new_privs is the thread's. The filter's installation gives it to the
	// others, but asks that the calling one has it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	tid, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return fmt.Errorf("installing a seccomp filter of %d instructions: %w", len(prog), errno)
	}
	if tid != 0 {
		return fmt.Errorf("installing a seccomp filter: thread %d has one that does not agree", tid)
	}
	return nil
}
