package syscalls

import (
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func rseqRows() []Row {
	return []Row{
		partial(unix.SYS_RSEQ, "rseq", sysRseq, "the CPU is the host's, which sched_setaffinity does not choose; a process whose area is gone ends by SIGKILL, not SIGSEGV; ENOSYS if the host has no rseq",
			P("rseq", Rseq), P("rseq_len", Unsigned), PF("flags", Flags, rseqFlags), P("sig", Hex)),
	}
}

var rseqFlags = &FlagSet{Names: []FlagName{{1, "RSEQ_FLAG_UNREGISTER"}}}

// sysRseq is rseq(2), which has no manual page; see Linux's
// include/uapi/linux/rseq.h.
func sysRseq(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.Rseq(a[0], a.Uint(1), a.Uint(2), a.Uint(3))
}
