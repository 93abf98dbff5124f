package syscalls

import (
	"strconv"

	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// appendWaitStatus renders what wait4(2) tells of a child.
func (g *guestView) appendWaitStatus(b []byte, mem *[]byte, addr, _ uint64) []byte {
	s := g.read(mem, addr, 4)
	if len(s) < 4 || g.result == 0 { // nothing was stored
		return appendPtr(b, addr)
	}
	return appendStatus(b, native.Uint32(s))
}

// appendWaitRusage renders what wait4(2) tells of a child's usage.
func (g *guestView) appendWaitRusage(b []byte, mem *[]byte, addr, _ uint64) []byte {
	size := layouts()[OutRusage].size
	s := g.read(mem, addr, size)
	if len(s) < size || g.result == 0 { // nothing was stored
		return appendPtr(b, addr)
	}
	return appendRusage(b, s)
}

// appendStatus renders a wait status as the macros of wait(2) take it apart.
func appendStatus(b []byte, s uint32) []byte {
	sig := int32(s & 0x7f)
	switch {
	case s == 0xffff:
		return append(b, "[{WIFCONTINUED(s)}]"...)
	case s&0xff == 0x7f:
		b = append(b, "[{WIFSTOPPED(s) && WSTOPSIG(s) == "...)
		b = appendSignal(b, int32(s>>8&0xff))
	case sig == 0:
		b = append(b, "[{WIFEXITED(s) && WEXITSTATUS(s) == "...)
		b = strconv.AppendUint(b, uint64(s>>8&0xff), 10)
	default:
		b = append(b, "[{WIFSIGNALED(s) && WTERMSIG(s) == "...)
		b = appendSignal(b, sig)
		if s&0x80 != 0 {
			b = append(b, " && WCOREDUMP(s)"...)
		}
	}
	return append(b, "}]"...)
}

// appendCloneArgs renders struct clone_args of n bytes, but for what is 0.
func (g *guestView) appendCloneArgs(b []byte, mem *[]byte, addr, n uint64) []byte {
	fields := [...]string{1: "pidfd", 2: "child_tid", 3: "parent_tid", 5: "stack", 6: "stack_size", 7: "tls", "set_tid", "set_tid_size", "cgroup"}
	size := int(min(max(n, clone3MinSize), uint64(8*len(fields))))
	s := g.read(mem, addr, size)
	if len(s) < size {
		return appendPtr(b, addr)
	}
	b = append(b, "{flags="...)
	b = cloneFlags.append(b, native.Uint64(s)|native.Uint64(s[32:])&0xff, true)
	for i, name := range fields[:size/8] {
		if v := native.Uint64(s[8*i:]); name != "" && v != 0 {
			b = append(append(append(b, ", "...), name...), '=')
			b = appendHex(b, v)
		}
	}
	return append(b, '}')
}

// appendTID renders what clone(2) stored at its third argument, if its flags
// ask for that.
func (g *guestView) appendTID(b []byte, mem *[]byte, addr, _ uint64) []byte {
	s := g.read(mem, addr, 4)
	if len(s) < 4 || g.args[0]&(unix.CLONE_PARENT_SETTID|unix.CLONE_PIDFD) == 0 {
		return appendPtr(b, addr)
	}
	return appendInt(b, s)
}

var lsmCtxLayout = layout{size: lsmCtxSize, more: true, fields: []field{
	{name: "id", size: 8, kind: Unsigned}, {name: "flags", offset: 8, size: 8, kind: Hex},
	{name: "len", offset: 16, size: 8, kind: Unsigned}, {name: "ctx_len", offset: 24, size: 8, kind: Unsigned},
}}

// appendAddrs renders n addresses.
func (g *guestView) appendAddrs(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendArray(b, mem, addr, n, 8, appendAddr)
}

// appendInts renders n ints.
func (g *guestView) appendInts(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendArray(b, mem, addr, n, 4, appendInt)
}

// appendIDs renders n user or group IDs.
func (g *guestView) appendIDs(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendArray(b, mem, addr, n, 4, func(b, s []byte) []byte {
		return strconv.AppendUint(b, uint64(native.Uint32(s)), 10)
	})
}

var capHeaderLayout = layout{size: 8, fields: []field{
	{name: "version", size: 4, kind: Enum, flags: &FlagSet{Names: []FlagName{
		{0x19980330, "_LINUX_CAPABILITY_VERSION_1"}, {0x20071026, "_LINUX_CAPABILITY_VERSION_2"},
		{capVersion3, "_LINUX_CAPABILITY_VERSION_3"},
	}}},
	{name: "pid", offset: 4, size: 4},
}}

// appendCapData renders the capability sets of capset(2), of 32 bits if the
// version in the header says so and of 64 else.
func (g *guestView) appendCapData(b []byte, mem *[]byte, addr, header uint64) []byte {
	parts := 0
	if h := g.read(mem, header, 4); len(h) == 4 {
		parts = capVersions[native.Uint32(h)]
	}
	const size = 12 // of struct __user_cap_data_struct
	s := g.read(mem, addr, parts*size)
	if parts == 0 || len(s) < parts*size {
		return appendPtr(b, addr)
	}
	for i, name := range [...]string{"{effective=", ", permitted=", ", inheritable="} {
		v := uint64(native.Uint32(s[4*i:]))
		if parts == 2 {
			v |= uint64(native.Uint32(s[size+4*i:])) << 32
		}
		b = append(b, name...)
		b = appendHex(b, v)
	}
	return append(b, '}')
}

var robustListLayout = layout{size: 24, fields: []field{
	{name: "list", size: 8, kind: Addr}, {name: "futex_offset", offset: 8, size: 8},
	{name: "list_op_pending", offset: 16, size: 8, kind: Addr},
}}

var rseqLayout = layout{size: 32, more: true, fields: []field{
	{name: "cpu_id_start", size: 4}, {name: "cpu_id", offset: 4, size: 4},
	{name: "rseq_cs", offset: 8, size: 8, kind: Addr}, {name: "flags", offset: 16, size: 4, kind: Hex},
}}

// futexWaitLayout is that of struct futex_waitv.
var futexWaitLayout = layout{size: 24, fields: []field{
	{name: "val", size: 8, kind: Hex}, {name: "uaddr", offset: 8, size: 8, kind: Addr},
	{name: "flags", offset: 16, size: 4, kind: Flags, flags: futex2Flags},
}}

// appendFutexWaiters renders n struct futex_waitv.
func (g *guestView) appendFutexWaiters(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendArray(b, mem, addr, uint64(uint32(n)), futexWaitLayout.size, futexWaitLayout.append)
}

// appendFutexPair renders the two struct futex_waitv of futex_requeue(2).
func (g *guestView) appendFutexPair(b []byte, mem *[]byte, addr, _ uint64) []byte {
	return g.appendFutexWaiters(b, mem, addr, 2)
}

func appendRLimit(b, s []byte) []byte {
	b = append(b, "{rlim_cur="...)
	b = appendLimit(b, native.Uint64(s))
	b = append(b, ", rlim_max="...)
	b = appendLimit(b, native.Uint64(s[8:]))
	return append(b, '}')
}

func appendLimit(b []byte, v uint64) []byte {
	if v == kernel.Infinity {
		return append(b, "RLIM64_INFINITY"...)
	}
	return strconv.AppendUint(b, v, 10)
}
