package seccomp

import (
	"testing"

	"coffer/internal/bpf"

	"coffer/internal/seccomp/sysno"

	"golang.org/x/sys/unix"
)

// run returns the filter's verdict, once it is checked as the host would.
func run(t *testing.T, prog []unix.SockFilter, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	p, err := bpf.New(prog)
	if err != nil {
		t.Fatalf("the host would refuse the filter: %v", err)
	}
	d := bpf.Data{Number: int32(nr), Arch: arch}
	copy(d.Args[:], args)
	return p.Run(&d)
}

func TestBuild(t *testing.T) {
	const deny = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	prog, err := Build([]Rule{
		{Call: unix.SYS_READ, Reason: "r"},
		{Call: unix.SYS_MMAP, Args: []Arg{{Index: 2, Mask: unix.PROT_EXEC, Value: 0}}, Reason: "no code"},
		{Call: unix.SYS_FCNTL, Args: []Arg{Equal(1, unix.F_GETFL)}, Reason: "flags"},
		{Call: unix.SYS_FCNTL, Args: []Arg{Equal(1, unix.F_DUPFD_CLOEXEC), Equal(2, 1<<40|7)}, Reason: "dup"},
	}, deny)
	if err != nil {
		t.Fatal(err)
	}
	const amd64 = unix.AUDIT_ARCH_X86_64
	for _, c := range []struct {
		name string
		arch uint32
		nr   uint32
		args []uint64
		want uint32
	}{
		{"allowed", amd64, unix.SYS_READ, nil, unix.SECCOMP_RET_ALLOW},
		{"not listed", amd64, unix.SYS_EXECVE, nil, deny},
		{"other architecture", unix.AUDIT_ARCH_I386, unix.SYS_READ, nil, unix.SECCOMP_RET_KILL_PROCESS},
		{"x32", amd64, sysno.X32Bit | unix.SYS_READ, nil, deny},
		{"mask holds", amd64, unix.SYS_MMAP, []uint64{0, 0, unix.PROT_READ | unix.PROT_WRITE}, unix.SECCOMP_RET_ALLOW},
		{"mask fails", amd64, unix.SYS_MMAP, []uint64{0, 0, unix.PROT_READ | unix.PROT_EXEC}, deny},
		{"first alternative", amd64, unix.SYS_FCNTL, []uint64{9, unix.F_GETFL}, unix.SECCOMP_RET_ALLOW},
		{"second alternative", amd64, unix.SYS_FCNTL, []uint64{9, unix.F_DUPFD_CLOEXEC, 1<<40 | 7}, unix.SECCOMP_RET_ALLOW},
		{"high half differs", amd64, unix.SYS_FCNTL, []uint64{9, unix.F_DUPFD_CLOEXEC, 7}, deny},
		{"no alternative", amd64, unix.SYS_FCNTL, []uint64{9, unix.F_SETFL}, deny},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(t, prog, c.arch, c.nr, c.args...); got != c.want {
				t.Errorf("verdict %#x, want %#x", got, c.want)
			}
		})
	}
}

func TestBuildWantsReasons(t *testing.T) {
	if _, err := Build([]Rule{{Call: unix.SYS_READ}}, unix.SECCOMP_RET_TRAP); err == nil {
		t.Error("a rule without a reason was taken")
	}
}
