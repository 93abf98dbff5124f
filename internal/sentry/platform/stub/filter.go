package stub

import "golang.org/x/sys/unix"

// Flags of the two clones that a stub may make.
const (
	threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
		unix.CLONE_THREAD | unix.CLONE_SYSVSEM | unix.CLONE_CHILD_CLEARTID
	// forkFlags makes the sentry the parent of every stub. The template has
	// no exit signal, so its descendants have none.
	forkFlags = unix.CLONE_PARENT
)

// Offsets in struct seccomp_data.
const (
	dataNr   = 0
	dataArch = 4
	dataIP   = 8
	dataArgs = 16
)

const auditArchX8664 = 0xc000003e

// argCheck bounds the low 32 bits of one argument of a call to the values
// given. The high bits don't matter for those that are checked: they are ints.
type argCheck struct {
	arg    int
	values []uint32
}

// allowedCalls are the host calls that the stub's code can make, with a
// reason for each. Guest code can reach them too, by jumping into the stub's
// code: none of them may reach beyond the stub's own process, but that they wake
// other stubs for nothing, which sleep on (gates.go). The two clones
// make processes and threads without the sentry's knowledge: they are bounded
// by the host's limits on the sandbox, and die with it.
var allowedCalls = []struct {
	nr     uint32
	check  *argCheck
	reason string
}{
	{unix.SYS_FUTEX, &argCheck{1, []uint32{0, 1}}, "wait for the turn, wake the sentry or another stub (FUTEX_WAIT, FUTEX_WAKE)"},
	{unix.SYS_MMAP, nil, "guest mappings"},
	{unix.SYS_MUNMAP, nil, "guest mappings"},
	{unix.SYS_MPROTECT, nil, "guest mappings"},
	{unix.SYS_MREMAP, nil, "guest mappings"},
	{unix.SYS_MADVISE, nil, "guest mappings"},
	{unix.SYS_MSYNC, nil, "guest mappings"},
	{unix.SYS_MLOCK, nil, "guest mappings"},
	{unix.SYS_MUNLOCK, nil, "guest mappings"},
	{unix.SYS_MINCORE, nil, "which guest pages are in memory"},
	{unix.SYS_RECVMSG, &argCheck{0, []uint32{0}}, "receive a descriptor to map"},
	{unix.SYS_CLOSE, nil, "close it"},
	{unix.SYS_CLOSE_RANGE, nil, "close what a fork inherited"},
	{unix.SYS_DUP2, &argCheck{1, []uint32{0}}, "put a fork's own socket in place"},
	{unix.SYS_CLONE, &argCheck{0, []uint32{threadFlags, forkFlags}}, "guest threads and forks"},
	{unix.SYS_EXIT, nil, "end a thread"},
	{unix.SYS_EXIT_GROUP, nil, "end the process"},
	{unix.SYS_SIGALTSTACK, nil, "a new thread's signal stack"},
	{unix.SYS_ARCH_PRCTL, &argCheck{0, []uint32{archSetFS, archSetGS}}, "segment bases"},
	{sysRseq, &argCheck{2, []uint32{0, rseqUnregister}}, "the guest thread's restartable sequences"},
	{unix.SYS_PRCTL, &argCheck{0, []uint32{unix.PR_SET_PDEATHSIG}}, "die with the sentry"},
	{unix.SYS_SCHED_SETAFFINITY, &argCheck{0, []uint32{0}}, "where a fork begins"},
	{unix.SYS_GETPPID, nil, "notice that the sentry died before"},
}

// arch_prctl(2)'s codes.
const (
	archSetGS = 0x1001
	archSetFS = 0x1002
)

// filter returns the stubs' seccomp program: calls are made from the stub's
// code, which is at text, and only those above; all else raises SIGSYS.
func filter(text uint64) []unix.SockFilter {
	load := func(off uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
	}
	jump := func(op uint16, k uint32, t, f uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: t, Jf: f, K: k}
	}
	ret := func(k uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
	}
	trap := ret(unix.SECCOMP_RET_TRAP)
	allow := ret(unix.SECCOMP_RET_ALLOW)

	// The instruction pointer is the one after the instruction, so it may
	// equal the text's end, not its start. The text does not cross 4 GiB.
	p := []unix.SockFilter{
		load(dataArch),
		jump(unix.BPF_JEQ, auditArchX8664, 1, 0),
		trap,
		load(dataIP + 4),
		jump(unix.BPF_JEQ, uint32(text>>32), 1, 0),
		trap,
		load(dataIP),
		jump(unix.BPF_JGT, uint32(text), 1, 0),
		trap,
		jump(unix.BPF_JGT, uint32(text)+textSize, 0, 1),
		trap,
		load(dataNr),
	}
	for _, c := range allowedCalls {
		if c.check == nil {
			p = append(p, jump(unix.BPF_JEQ, c.nr, 0, 1), allow)
			continue
		}
		n := uint8(len(c.check.values))
		p = append(p, jump(unix.BPF_JEQ, c.nr, 0, 3+n), load(dataArgs+8*uint32(c.check.arg)))
		for i, v := range c.check.values {
			p = append(p, jump(unix.BPF_JEQ, v, n-uint8(i), 0))
		}
		p = append(p, trap, allow)
	}
	return append(p, trap)
}
