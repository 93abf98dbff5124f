package test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostCalls are how many calls of the host the sentry makes for each of a
// guest's operations, which are those of counted/calls.c, and how many copies of
// the guest's memory at most: a copy may also be made by the stub, if that is
// at hand. Where hand-offs sleep depends on the host's scheduler, so futex(2) is
// not among them. Fewer is an improvement: change the number.
var hostCalls = map[string]struct{ calls, copies int }{
	"getppid": {}, "read-zero": {}, "write-null": {},
	"pread-tmp": {}, "pwrite-tmp": {copies: 1}, "pread-root": {calls: 1},
	"fstat": {}, "stat-tmp": {}, "stat-root": {}, "stat-missing": {},
	"open-tmp": {}, "open-root": {},
	"pipe": {}, "epoll": {}, "poll": {}, "ppoll": {}, "select": {}, "pselect": {}, "sendto": {},
	"futex-wake": {}, "mmap": {},
}

// runtimeCalls are those that the sentry's own threads make when they like: to
// sleep, wake each other, manage the heap, and look at the host's descriptors.
var runtimeCalls = map[uint64]bool{
	unix.SYS_FUTEX: true, unix.SYS_NANOSLEEP: true, unix.SYS_SCHED_YIELD: true, unix.SYS_TGKILL: true,
	unix.SYS_GETPID: true, unix.SYS_RT_SIGRETURN: true, unix.SYS_RESTART_SYSCALL: true,
	unix.SYS_MMAP: true, unix.SYS_MUNMAP: true, unix.SYS_MADVISE: true, unix.SYS_PRCTL: true,
	unix.SYS_CLONE: true, unix.SYS_RT_SIGPROCMASK: true, unix.SYS_SIGALTSTACK: true, unix.SYS_GETTID: true,
	unix.SYS_EPOLL_PWAIT: true, unix.SYS_EPOLL_WAIT: true,
	// A look for what has come from the host (waiter.Late), as often as time goes by.
	unix.SYS_PPOLL: true,
}

// TestHostCalls counts the host calls that the sentry makes for operations of
// its guest: numbers that do not depend on the machine, as times do.
func TestHostCalls(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to trace a sentry")
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err != nil || !strings.Contains(string(cpu), " fsgsbase ") {
		t.Skip("this host's CPU does not let calls be rewritten, which bring along what they read")
	}
	program := filepath.Join(t.TempDir(), "calls")
	if msg, err := exec.Command("gcc", "-O1", "-Wall", "-static", "-o", program, "counted/calls.c").CombinedOutput(); err != nil {
		t.Fatalf("counted/calls.c does not compile: %v\n%s", err, msg)
	}
	for _, name := range slices.Sorted(maps.Keys(hostCalls)) {
		t.Run(name, func(t *testing.T) {
			// Beside the operations there are the two lines, and what a timer
			// or a collection of garbage does; this leaves room for them.
			const times, room = 1000, 200
			counts := countHostCalls(t, coffer(t), program, name, times)
			calls, copies := 0, 0
			for nr, n := range counts {
				if nr == unix.SYS_PROCESS_VM_READV || nr == unix.SYS_PROCESS_VM_WRITEV {
					copies += n
				} else {
					calls += n
				}
			}
			want := hostCalls[name]
			if calls < want.calls*times || calls > want.calls*times+room {
				t.Errorf("%d operations took %d host calls, by number %v; want %d each", times, calls, counts, want.calls)
			}
			if copies > want.copies*times+room {
				t.Errorf("%d operations took %d copies; want at most %d each", times, copies, want.copies)
			}
		})
	}
}

// countHostCalls runs one operation of the program many times in a sandbox and
// counts the sentry's host calls by number.
func countHostCalls(t *testing.T, coffer, program, name string, times int) map[uint64]int {
	cmd := exec.Command(coffer, "do", "--cwd", "/", "--bind", program+":/calls", "--", "/calls", name, strconv.Itoa(times))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Without its program's input the sandbox ends, whatever else happens.
	ended := time.AfterFunc(5*time.Minute, func() { cmd.Process.Kill() })
	defer func() {
		stdin.Close()
		io.Copy(io.Discard, stdout)
		cmd.Wait()
		ended.Stop()
	}()
	lines := bufio.NewReader(stdout)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the program printed %q (%v), %s", line, err, said.String())
	}
	pid, err := child(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	c := &callCounter{pid: pid}
	attached, counted := make(chan error, 1), make(chan map[uint64]int, 1)
	go func() { counted <- c.run(attached) }()
	if err := <-attached; err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Skipf("this host lets nobody trace a sentry: %v", err)
		}
		t.Fatal(err)
	}
	c.counting.Store(true)
	if _, err := stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	line, err := lines.ReadString('\n')
	c.counting.Store(false)
	stdin.Close()
	if line != "done\n" {
		t.Fatalf("the program printed %q (%v), %s", line, err, said.String())
	}
	return <-counted
}

// child finds the only child of a process: the sentry is coffer's.
func child(parent int) (int, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	if err != nil {
		return 0, err
	}
	var children []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		children = append(children, strings.Fields(string(text))...)
	}
	for _, c := range children {
		if command, _ := os.ReadFile("/proc/" + c + "/cmdline"); strings.Contains(string(command), "sentry") {
			return strconv.Atoi(c)
		}
	}
	return 0, fmt.Errorf("coffer's children are %v, and none is a sentry", children)
}

// callCounter traces all threads of a process and counts their system calls
// while counting is set.
type callCounter struct {
	pid      int
	counting atomic.Bool
}

// run traces until the process has ended. It says on attached when it has
// begun.
func (c *callCounter) run(attached chan<- error) map[uint64]int {
	// A tracer is a thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	threads := map[int]bool{}
	for again := true; again; {
		again = false
		paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", c.pid))
		for _, path := range paths {
			tid, _ := strconv.Atoi(filepath.Base(path))
			if threads[tid] {
				continue
			}
			again, threads[tid] = true, true
			err := ptrace(unix.PTRACE_SEIZE, tid, 0, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE)
			if err == nil {
				err = ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) {
				attached <- fmt.Errorf("tracing the sentry: %w", err)
				return nil
			}
		}
	}
	close(attached)
	counts := map[uint64]int{}
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return counts // no thread is left
		}
		if !status.Stopped() {
			continue
		}
		signal := 0
		switch status.StopSignal() {
		case unix.SIGTRAP | 0x80:
			if nr, ok := callEntered(tid); ok && c.counting.Load() && !runtimeCalls[nr] {
				counts[nr]++
			}
		case unix.SIGTRAP:
			// An event: a new thread, or the interrupt.
		default:
			if status.TrapCause() <= 0 {
				signal = int(status.StopSignal())
			}
		}
		ptrace(unix.PTRACE_SYSCALL, tid, 0, uintptr(signal))
	}
}

// callEntered is the number of the call that the thread is about to make, if it
// has stopped for that.
func callEntered(tid int) (nr uint64, ok bool) {
	// struct ptrace_syscall_info, ptrace(2).
	var info struct {
		op                               uint8
		_                                [3]uint8
		arch                             uint32
		instructionPointer, stackPointer uint64
		nr                               uint64
		rest                             [7]uint64
	}
	err := ptrace(unix.PTRACE_GET_SYSCALL_INFO, tid, unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)))
	return info.nr, err == nil && info.op == unix.PTRACE_SYSCALL_INFO_ENTRY
}

func ptrace(request, tid int, addr, data uintptr) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
