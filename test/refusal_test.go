package test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A host that lacks a call, or forbids it, is made of this one by a seccomp
// filter: the test binary executes itself, installs it, and executes the
// program under test.

// refusal is a host call that fails.
type refusal struct {
	call  int
	errno unix.Errno
	// arg, if mask is not 0, restricts the refusal to calls whose argument
	// has one of these bits; if equal is set, that is just this value.
	arg   int
	mask  uint32
	equal bool
}

// refusalsVariable names the variable that tells the test binary to be the
// launcher: refusals, as String has them, with spaces between them.
const refusalsVariable = "COFFER_TEST_REFUSALS"

func (r refusal) String() string {
	return fmt.Sprintf("%d,%d,%d,%d,%t", r.call, int(r.errno), r.arg, r.mask, r.equal)
}

func parseRefusal(s string) (r refusal) {
	n, err := fmt.Sscanf(strings.ReplaceAll(s, ",", " "), "%d %d %d %d %t", &r.call, &r.errno, &r.arg, &r.mask, &r.equal)
	if n != 5 {
		panic(fmt.Sprintf("refusal %q: %v", s, err))
	}
	return r
}

func TestMain(m *testing.M) {
	if list, ok := os.LookupEnv(refusalsVariable); ok {
		fmt.Fprintln(os.Stderr, "launcher:", launch(strings.Fields(list), os.Args[1:]))
		os.Exit(99)
	}
	resetEnvironment()
	os.Exit(m.Run())
}

// launch executes argv on a host that refuses. It returns only if it can't.
func launch(list, argv []string) error {
	const (
		offsetNr   = 0
		offsetArgs = 16 // the low half of the first; each has 8 bytes
	)
	var prog []unix.SockFilter
	add := func(code uint16, k uint32, t, f uint8) {
		prog = append(prog, unix.SockFilter{Code: code, K: k, Jt: t, Jf: f})
	}
	const load, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_RET | unix.BPF_K
	for _, s := range list {
		r := parseRefusal(s)
		add(load, offsetNr, 0, 0)
		if r.mask == 0 && !r.equal {
			add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, uint32(r.call), 0, 1)
		} else {
			test := uint16(unix.BPF_JSET)
			if r.equal {
				test = unix.BPF_JEQ
			}
			add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, uint32(r.call), 0, 3)
			add(load, uint32(offsetArgs+8*r.arg), 0, 0)
			add(unix.BPF_JMP|test|unix.BPF_K, r.mask, 0, 1)
		}
		add(ret, unix.SECCOMP_RET_ERRNO|uint32(r.errno), 0, 0)
	}
	add(ret, unix.SECCOMP_RET_ALLOW, 0, 0)

	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	f := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&f))); e != 0 {
		return e
	}
	env := []string{}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, refusalsVariable+"=") {
			env = append(env, v)
		}
	}
	return unix.Exec(argv[0], argv, env)
}
