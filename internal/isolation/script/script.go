// Package script makes children that run a list of system calls, and then a
// program. It must not know what for.
package script

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"coffer/internal/nofile"
	"coffer/internal/sysmon"

	"golang.org/x/sys/unix"
)

// A Script is what a child does between its birth and execve(2): a list of
// system calls. Go can't run in such a child, which has one thread of a
// process of many and, mostly, shares their memory; so runSteps in
// script_amd64.s makes the calls. It needs no stack, and therefore none of the
// care that a shared one takes.
//
// The steps lie in memory that children share even if they share nothing else,
// and say afterwards how far they came.
type Script struct {
	memory []byte
	steps  []Step
	used   int
	what   []string // by step, for errors
	// keep holds what steps refer to by address.
	keep []any
}

// Step is one system call. script_amd64.s knows its layout.
type Step struct {
	number uintptr
	args   [6]uintptr
	// Want says which results are no failure: all but errors by default.
	Want   uintptr
	Value  uintptr // with WantValue: the only result that is no failure
	Result uintptr
	// UnlessDone is the address of another step's result: this one is left out if
	// that one succeeded. 0 if there is none.
	UnlessDone uintptr
	// Forker is the address of the step at which the process that called goes on
	// after a fork; the new one goes on with the next. 0 if this is no fork.
	Forker uintptr
	// failed is the address of the script's failure, index what is stored there.
	failed uintptr
	index  uintptr
}

// What a step demands of the result.
const (
	WantSuccess  uintptr = iota // no error
	WantAnything                // an error is taken for a result
	WantValue
)

// failure is where the first words of a script's memory say which step failed,
// by its number from 1; 0 if none did.
type failure struct{ step uintptr }

// maxSteps bounds a script. Each namespace takes two steps, each cgroup
// controller and each file that the process keeps takes one.
const maxSteps = 4096

func New(steps int) (*Script, error) {
	if steps > maxSteps {
		return nil, unix.E2BIG
	}
	size := int(unsafe.Sizeof(failure{})) + steps*int(unsafe.Sizeof(Step{}))
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	first := (*Step)(unsafe.Pointer(&m[unsafe.Sizeof(failure{})]))
	return &Script{memory: m, steps: unsafe.Slice(first, steps)}, nil
}

// Free gives the memory back. No child may be running steps any more.
func (s *Script) Free() { unix.Munmap(s.memory) }

// Call adds a step. what says in an error what was tried.
func (s *Script) Call(what string, number uintptr, args ...uintptr) *Step {
	st := &s.steps[s.used]
	st.number = number
	copy(st.args[:], args)
	st.failed = uintptr(unsafe.Pointer(&s.memory[0]))
	s.used++
	st.index = uintptr(s.used)
	s.what = append(s.what, what)
	return st
}

// Bytes returns the address of b, which stays where it is as long as s does.
func (s *Script) Bytes(b []byte) uintptr {
	s.keep = append(s.keep, b)
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// Words returns the address of b, which stays where it is as long as s does.
func (s *Script) Words(b []uint64) uintptr {
	s.keep = append(s.keep, b)
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// Text returns the address of a C string.
func (s *Script) Text(t string) uintptr { return s.Bytes(append([]byte(t), 0)) }

// Texts returns the address of a list of C strings, as execve(2) takes them.
func (s *Script) Texts(list []string) uintptr {
	addresses := make([]uintptr, len(list)+1)
	for i, t := range list {
		addresses[i] = s.Text(t)
	}
	s.keep = append(s.keep, addresses)
	return uintptr(unsafe.Pointer(unsafe.SliceData(addresses)))
}

// CloneArgs returns the address of what clone3(2) takes.
func (s *Script) CloneArgs(a *CloneArgs) uintptr {
	s.keep = append(s.keep, a)
	return uintptr(unsafe.Pointer(a))
}

// StepError is a step that failed.
type StepError struct {
	What  string
	Errno unix.Errno
}

func (e *StepError) Error() string { return e.What + ": " + e.Errno.Error() }
func (e *StepError) Unwrap() error { return e.Errno }

// Err says which step failed, if one did.
func (s *Script) Err() error {
	n := (*failure)(unsafe.Pointer(&s.memory[0])).step
	if n == 0 {
		return nil
	}
	st := &s.steps[n-1]
	e := &StepError{What: s.what[n-1]}
	if r := int(st.Result); r < 0 {
		e.Errno = unix.Errno(-r)
	} else {
		e.Errno = unix.ECANCELED // a gate whose keeper has gone
	}
	return e
}

// CloneArgs is struct clone_args of clone3(2), the first version that has
// CLONE_INTO_CGROUP (Linux 5.7).
type CloneArgs struct {
	Flags, PIDFD, ChildTID, ParentTID, ExitSignal, Stack, StackSize, TLS, SetTID, SetTIDSize, Cgroup uint64
}

// UnblockSignals adds the step that lets signals through: for just before a
// program is executed.
func (s *Script) UnblockSignals() {
	s.Call("unblocking signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, s.Bytes(make([]byte, 8)), 0, 8)
}

// GiveBackFileLimit adds the step that lowers the limit on open files again,
// which Go raises for itself.
func (s *Script) GiveBackFileLimit() {
	limit := s.Words([]uint64{nofile.Original.Soft, nofile.Original.Hard})
	s.Call("giving back the limit on open files", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, limit, 0).Want = WantAnything
}

// Arrange adds the steps, one for each and one more, that make a list of descriptors the child's first ones,
// and close all others once it executes a program. What is to be moved out of the
// way for that has been duplicated: the caller closes the duplicates once the
// child has executed. others are further descriptors that steps after this use.
func (s *Script) Arrange(list []int, others ...*int) (duplicates []int, err error) {
	list = slices.Clone(list)
	above := len(list)
	places := slices.Clone(others)
	for i := range list {
		places = append(places, &list[i])
	}
	for _, fd := range places {
		if *fd >= above {
			continue
		}
		high, err := unix.FcntlInt(uintptr(*fd), unix.F_DUPFD_CLOEXEC, above)
		if err != nil {
			return duplicates, fmt.Errorf("duplicating a descriptor: %w", err)
		}
		duplicates = append(duplicates, high)
		*fd = high
	}
	for i, fd := range list {
		s.Call("arranging descriptors", unix.SYS_DUP3, uintptr(fd), uintptr(i), 0)
	}
	s.Call("closing the other descriptors (Linux 5.11 or later can)", unix.SYS_CLOSE_RANGE, uintptr(above), ^uintptr(0)>>32, unix.CLOSE_RANGE_CLOEXEC)
	return duplicates, nil
}

// PassGate adds the steps that have the child wait until KeepGate, at the other
// end of a socket, has done its part.
func (s *Script) PassGate(fd int) {
	b := s.Bytes(make([]byte, 1))
	s.Call("coming to the gate", unix.SYS_WRITE, uintptr(fd), b, 1)
	open := s.Call("waiting for the calling process", unix.SYS_READ, uintptr(fd), b, 1)
	open.Want, open.Value = WantValue, 1
}

// KeepGate waits until a child has executed its program or failed. When it comes
// to its gate, that is opened once do has returned without an error; an error
// ends the child. keeper is the other end of the gate's socket, which only the
// child has by now.
func KeepGate(keeper int, do func() error) error {
	var b [1]byte
	for {
		n, err := unix.Read(keeper, b[:])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return nil
		}
		if err := do(); err != nil {
			// The child takes the end of its keeper for a failure.
			unix.Shutdown(keeper, unix.SHUT_RDWR)
			unix.Read(keeper, b[:])
			return err
		}
		if _, err := unix.Write(keeper, b[:]); err != nil && err != unix.EPIPE {
			return fmt.Errorf("letting a new process go on: %w", err)
		}
	}
}

// Start makes a child that runs the steps. Signals stay blocked in it until a
// step lets them through: a handler of Go's must not run there.
func (s *Script) Start(a *CloneArgs) (pid int, err error) {
	number, args := s.clone(a)
	var r uintptr
	if err := WithoutSignals(func() { r = cloneAndRun(number, args, &s.steps[0]) }); err != nil {
		return 0, err
	}
	runtime.KeepAlive(s)
	if n := int(r); n < 0 {
		return 0, unix.Errno(-n)
	}
	return int(r), nil
}

// WithoutSignals calls f on a thread that blocks all signals, to make a process that
// shares Go's code and has none of its runtime: there no handler of Go's may run.
func WithoutSignals(f func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return fmt.Errorf("blocking signals: %w", err)
	}
	sysmon.Restore() // which the process inherits
	f()
	return unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
}

// clone is the system call for a: clone(2) where that will do, since the filters
// around some containers hide clone3(2).
func (s *Script) clone(a *CloneArgs) (number uintptr, args [2]uintptr) {
	const signalBits = 0xff // of clone(2)'s flags, some of clone3's lie there
	simple := CloneArgs{Flags: a.Flags, ExitSignal: a.ExitSignal}
	if *a == simple && a.Flags&signalBits == 0 && a.Flags>>32 == 0 {
		return unix.SYS_CLONE, [2]uintptr{uintptr(a.Flags | a.ExitSignal), 0}
	}
	return unix.SYS_CLONE3, [2]uintptr{s.CloneArgs(a), unsafe.Sizeof(*a)}
}

// cloneAndRun makes a call that creates a process; the child runs the steps and
// never returns.
//
//go:noescape
func cloneAndRun(call uintptr, with [2]uintptr, first *Step) uintptr

// Address is where the step lies, for another one's Forker.
func (st *Step) Address() uintptr { return uintptr(unsafe.Pointer(st)) }

// ResultAddress is where its result will be, for another one's UnlessDone.
func (st *Step) ResultAddress() uintptr { return uintptr(unsafe.Pointer(&st.Result)) }
