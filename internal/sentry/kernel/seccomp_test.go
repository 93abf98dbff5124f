package kernel

import (
	"testing"

	"coffer/internal/bpf"
	"coffer/internal/sentry/shmem"

	"golang.org/x/sys/unix"
)

// answering makes a program that returns v for one call and allows the rest.
func answering(t *testing.T, nr, v uint32) *bpf.Program {
	t.Helper()
	p, err := bpf.New([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: v},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSeccompVerdict(t *testing.T) {
	const nr = 7
	const errno1, errno2 = unix.SECCOMP_RET_ERRNO | 1, unix.SECCOMP_RET_ERRNO | 2
	for _, tt := range []struct {
		name     string
		verdicts []uint32 // of the filters, the oldest first
		want     uint32
		match    int // which filter said so, counted from 1; 0 for none
	}{
		{"one", []uint32{errno1}, errno1, 1},
		{"allowed", []uint32{unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ALLOW}, unix.SECCOMP_RET_ALLOW, 0},
		{"the newest of equals", []uint32{errno1, errno2}, errno2, 2},
		{"error before trace", []uint32{errno1, unix.SECCOMP_RET_TRACE}, errno1, 1},
		{"trap before error", []uint32{unix.SECCOMP_RET_TRAP, errno1}, unix.SECCOMP_RET_TRAP, 1},
		{"notification before trace", []uint32{unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_RET_TRACE}, unix.SECCOMP_RET_USER_NOTIF, 1},
		{"log before allow", []uint32{unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG}, unix.SECCOMP_RET_LOG, 2},
		{"the process before the thread", []uint32{unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_KILL_THREAD}, unix.SECCOMP_RET_KILL_PROCESS, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f *seccompFilter
			for _, v := range tt.verdicts {
				f = newSeccompFilter(answering(t, nr, v), f, nil)
			}
			got, match := f.verdict(&bpf.Data{Number: nr, Arch: unix.AUDIT_ARCH_X86_64})
			depth := 0
			if match != nil {
				depth = match.depth
			}
			if got != tt.want || depth != tt.match {
				t.Errorf("%#x by filter %d, want %#x by %d", got, depth, tt.want, tt.match)
			}
			if f.allows(nr) != (tt.want == unix.SECCOMP_RET_ALLOW) || !f.allows(nr+1) || f.allows(seccompCached) {
				t.Error("what is allowed without a look is wrong")
			}
		})
	}
}

func TestSeccompFilters(t *testing.T) {
	p := answering(t, 1, 0)
	old := newSeccompFilter(p, nil, nil)
	mid := newSeccompFilter(p, old, nil)
	tip := newSeccompFilter(p, mid, nil)
	other := newSeccompFilter(p, old, nil)
	old.users.Add(1) // of other
	if tip.depth != 3 || tip.cost != 3*p.Len()+2*seccompOverhead {
		t.Errorf("depth %d, cost %d", tip.depth, tip.cost)
	}
	if !tip.has(tip) || !tip.has(old) || !tip.has(nil) || tip.has(other) || mid.has(tip) {
		t.Error("which filters come after which is wrong")
	}
	before := shmem.Buffers.Used()
	tip.release()
	if n := before - shmem.Buffers.Used(); n != tip.size()+mid.size() {
		t.Errorf("%d bytes were given back, want %d", n, tip.size()+mid.size())
	}
	shmem.Buffers.Uncharge(-tip.size() - mid.size()) // which nobody had charged
	if tip.users.Load() != 0 || mid.users.Load() != 0 || old.users.Load() != 1 {
		t.Errorf("users %d, %d, %d", tip.users.Load(), mid.users.Load(), old.users.Load())
	}
}
