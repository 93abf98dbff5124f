package seccomp

import "golang.org/x/sys/unix"

// noCode holds for a protection argument without PROT_EXEC.
var noCode = Arg{Index: 2, Mask: unix.PROT_EXEC, Value: 0}

// ThreadFlags are clone(2)'s for a thread of this process, as Go's runtime
// makes them. No other process can be made.
const ThreadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD

// GoRuntime are the host calls that Go's runtime needs, whatever the program does.
var GoRuntime = []Rule{
	{Call: unix.SYS_FUTEX, Reason: "threads wake each other, and what they share memory with"},
	{Call: unix.SYS_MMAP, Args: []Arg{noCode}, Reason: "the heap, stacks, and shared pages; never code"},
	{Call: unix.SYS_MUNMAP, Reason: "gives memory back"},
	{Call: unix.SYS_MADVISE, Reason: "gives memory back"},
	{Call: unix.SYS_MPROTECT, Args: []Arg{noCode}, Reason: "guard pages; never code"},
	{Call: unix.SYS_CLONE, Args: []Arg{{Index: 0, Mask: ^uint64(unix.CLONE_SETTLS), Value: ThreadFlags}}, Reason: "a thread of this process"},
	{Call: unix.SYS_EXIT, Reason: "ends a thread"},
	{Call: unix.SYS_EXIT_GROUP, Reason: "ends this process"},
	{Call: unix.SYS_SCHED_YIELD, Reason: "the scheduler's spinning"},
	{Call: unix.SYS_SCHED_GETAFFINITY, Reason: "counts processors"},
	{Call: unix.SYS_NANOSLEEP, Reason: "the runtime's monitor sleeps"},
	{Call: unix.SYS_CLOCK_GETTIME, Reason: "clocks that the vDSO doesn't have"},
	{Call: unix.SYS_CLOCK_GETRES, Reason: "the resolution of coarse clocks"},
	{Call: unix.SYS_RT_SIGACTION, Reason: "the runtime's signal handlers"},
	{Call: unix.SYS_RT_SIGPROCMASK, Reason: "the runtime's signal masks"},
	{Call: unix.SYS_RT_SIGRETURN, Reason: "returns from its handlers"},
	{Call: unix.SYS_SIGALTSTACK, Reason: "its signal stacks"},
	{Call: unix.SYS_RESTART_SYSCALL, Reason: "a sleep that was interrupted"},
	{Call: unix.SYS_TGKILL, Reason: "preempts goroutines and interrupts stubs; other processes are out of sight in the PID namespace"},
	{Call: unix.SYS_GETPID, Reason: "for tgkill"},
	{Call: unix.SYS_GETTID, Reason: "for tgkill"},
	{Call: unix.SYS_PRCTL, Args: []Arg{Equal(0, unix.PR_SET_VMA)}, Reason: "names the heap's mappings"},
	{Call: unix.SYS_GETRANDOM, Reason: "seeds and random numbers"},
	{Call: unix.SYS_EPOLL_CREATE1, Reason: "the network poller"},
	{Call: unix.SYS_EPOLL_CTL, Reason: "the network poller, and readiness of descriptors"},
	{Call: unix.SYS_EPOLL_PWAIT, Reason: "likewise"},
	{Call: unix.SYS_EPOLL_WAIT, Reason: "likewise"},
	{Call: unix.SYS_EVENTFD2, Reason: "wakes the network poller"},
}
