package process

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A script is what a child does between its birth and execve(2): a list of
// system calls. Go can't run in such a child, which has one thread of a
// process of many and, mostly, shares their memory; so runSteps in
// script_amd64.s makes the calls. It needs no stack, and therefore none of the
// care that a shared one takes.
//
// The steps lie in memory that children share even if they share nothing else,
// and say afterwards how far they came.
type script struct {
	memory []byte
	steps  []step
	used   int
	what   []string // by step, for errors
	// keep holds what steps refer to by address.
	keep []any
}

// step is one system call. script_amd64.s knows its layout.
type step struct {
	number uintptr
	args   [6]uintptr
	want   uintptr
	value  uintptr // with wantValue: the only result that is no failure
	result uintptr
	// unlessDone is the address of another step's result: this one is left out if
	// that one succeeded. 0 if there is none.
	unlessDone uintptr
	// forker is the address of the step at which the process that called goes on
	// after a fork; the new one goes on with the next. 0 if this is no fork.
	forker uintptr
	// failed is the address of the script's failure, index what is stored there.
	failed uintptr
	index  uintptr
}

// What a step demands of the result.
const (
	wantSuccess  uintptr = iota // no error
	wantAnything                // an error is taken for a result
	wantValue
)

// failure is where the first words of a script's memory say which step failed,
// by its number from 1; 0 if none did.
type failure struct{ step uintptr }

// maxSteps bounds a script. Each namespace takes two steps, each cgroup
// controller and each file that the process keeps takes one.
const maxSteps = 4096

func newScript(steps int) (*script, error) {
	if steps > maxSteps {
		return nil, unix.E2BIG
	}
	size := int(unsafe.Sizeof(failure{})) + steps*int(unsafe.Sizeof(step{}))
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	first := (*step)(unsafe.Pointer(&m[unsafe.Sizeof(failure{})]))
	return &script{memory: m, steps: unsafe.Slice(first, steps)}, nil
}

// free gives the memory back. No child may be running steps any more.
func (s *script) free() { unix.Munmap(s.memory) }

// call adds a step. what says in an error what was tried.
func (s *script) call(what string, number uintptr, args ...uintptr) *step {
	st := &s.steps[s.used]
	st.number = number
	copy(st.args[:], args)
	st.failed = uintptr(unsafe.Pointer(&s.memory[0]))
	s.used++
	st.index = uintptr(s.used)
	s.what = append(s.what, what)
	return st
}

// bytes returns the address of b, which stays where it is as long as s does.
func (s *script) bytes(b []byte) uintptr {
	s.keep = append(s.keep, b)
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// text returns the address of a C string.
func (s *script) text(t string) uintptr { return s.bytes(append([]byte(t), 0)) }

// texts returns the address of a list of C strings, as execve(2) takes them.
func (s *script) texts(list []string) uintptr {
	addresses := make([]uintptr, len(list)+1)
	for i, t := range list {
		addresses[i] = s.text(t)
	}
	s.keep = append(s.keep, addresses)
	return uintptr(unsafe.Pointer(unsafe.SliceData(addresses)))
}

// cloneArgs returns the address of what clone3(2) takes.
func (s *script) cloneArgs(a *cloneArgs) uintptr {
	s.keep = append(s.keep, a)
	return uintptr(unsafe.Pointer(a))
}

// stepError is a step that failed.
type stepError struct {
	what  string
	errno unix.Errno
}

func (e *stepError) Error() string { return e.what + ": " + e.errno.Error() }
func (e *stepError) Unwrap() error { return e.errno }

// err says which step failed, if one did.
func (s *script) err() error {
	n := (*failure)(unsafe.Pointer(&s.memory[0])).step
	if n == 0 {
		return nil
	}
	st := &s.steps[n-1]
	e := &stepError{what: s.what[n-1]}
	if r := int(st.result); r < 0 {
		e.errno = unix.Errno(-r)
	} else {
		e.errno = unix.ECANCELED // a gate whose keeper has gone
	}
	return e
}

// cloneArgs is struct clone_args of clone3(2), the first version that has
// CLONE_INTO_CGROUP (Linux 5.7).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// start makes a child that runs the steps. Signals stay blocked in it until a
// step lets them through: a handler of Go's must not run there.
func (s *script) start(a *cloneArgs) (pid int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return 0, err
	}
	r := cloneAndRun(a, unsafe.Sizeof(*a), &s.steps[0])
	unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	runtime.KeepAlive(s)
	if n := int(r); n < 0 {
		return 0, unix.Errno(-n)
	}
	return int(r), nil
}

// cloneAndRun calls clone3(2); the child runs the steps and never returns.
//
//go:noescape
func cloneAndRun(a *cloneArgs, size uintptr, first *step) uintptr

// address is where the step lies, for another one's forker.
func (st *step) address() uintptr { return uintptr(unsafe.Pointer(st)) }

// resultAddress is where its result will be, for another one's unlessDone.
func (st *step) resultAddress() uintptr { return uintptr(unsafe.Pointer(&st.result)) }

// addressOf returns the address of a slice's elements, which the script's keep
// must hold.
func addressOf(s []uint64) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(s))) }
