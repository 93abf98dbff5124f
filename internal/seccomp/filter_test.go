package seccomp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// run interprets the few BPF instructions that Build uses.
func run(t *testing.T, prog []unix.SockFilter, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	var data [64]byte
	binary.LittleEndian.PutUint32(data[offNr:], nr)
	binary.LittleEndian.PutUint32(data[offArch:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[offArgs+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[in.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			hit := acc == in.K
			if in.Code == unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K {
				hit = acc >= in.K
			}
			if hit {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d has unknown code %#x", pc, in.Code)
		}
	}
	t.Fatal("the filter ends without a verdict")
	return 0
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
		{"x32", amd64, x32Bit | unix.SYS_READ, nil, deny},
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
