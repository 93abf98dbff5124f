/* ptrace(2): what debuggers and tracers do. */
#include "guest.h"
#include <elf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#define P(req, pid, addr, data) ptrace((enum __ptrace_request)(req), pid, (void *)(long)(addr), (void *)(long)(data))
#define EVENT(s) ((s) >> 16)

/* wait_for returns the status that one thread has to tell. */
static int wait_for(pid_t k) {
	int s;
	EQUAL(OK(waitpid(k, &s, __WALL)), k);
	return s;
}

/* STOPPED waits for a stop by a signal. */
#define STOPPED(k, sig)                                                        \
	do {                                                                   \
		int s_ = wait_for(k);                                          \
		CHECK(WIFSTOPPED(s_));                                         \
		EQUAL(WSTOPSIG(s_), sig);                                      \
	} while (0)
/* STOP_EVENT waits for a stop with an event. */
#define STOP_EVENT(k, sig, event)                                              \
	do {                                                                   \
		int s_ = wait_for(k);                                          \
		CHECK(WIFSTOPPED(s_));                                         \
		EQUAL(s_ >> 8, (sig) | (event) << 8);                          \
	} while (0)
#define EXITED(k, code)                                                        \
	do {                                                                   \
		int s_ = wait_for(k);                                          \
		CHECK(WIFEXITED(s_));                                          \
		EQUAL(WEXITSTATUS(s_), code);                                  \
	} while (0)

/* TRACED starts a child that is traced, stopped by SIGSTOP before body. */
#define TRACED(...)                                                            \
	({                                                                     \
		pid_t k_ = OK(fork());                                         \
		if (!k_) {                                                     \
			OK(P(PTRACE_TRACEME, 0, 0, 0));                        \
			raise(SIGSTOP);                                        \
			__VA_ARGS__;                                           \
			_exit(0);                                              \
		}                                                              \
		STOPPED(k_, SIGSTOP);                                          \
		k_;                                                            \
	})

static volatile long variable = 42;

/* need_strangers skips a test where only one's own children can be attached to
 * (Yama's ptrace_scope). */
static void need_strangers(void) {
	int scope = 0;
	FILE *f = fopen("/proc/sys/kernel/yama/ptrace_scope", "r");
	if (!f)
		return;
	if (fscanf(f, "%d", &scope) != 1)
		scope = 0;
	fclose(f);
	if (scope && geteuid() != 0)
		SKIP("this host lets only parents trace");
}

TEST(memory_is_read_and_written) {
	static const long constant = 7;
	volatile const long *c = &constant;
	pid_t k = TRACED({ _exit(variable == 1234 && *c == 99 ? 0 : 1); });
	long v;
	errno = 0;
	EQUAL(ptrace(PTRACE_PEEKDATA, k, &variable, 0), 42);
	OK(ptrace(PTRACE_POKEDATA, k, &variable, 1234));
	EQUAL(syscall(SYS_ptrace, PTRACE_PEEKDATA, k, &variable, &v), 0);
	EQUAL(v, 1234);
	/* Also where the program may not write. */
	OK(ptrace(PTRACE_POKETEXT, k, c, 99));
	FAILS(ptrace(PTRACE_PEEKDATA, k, 8, 0), EIO);
	FAILS(ptrace(PTRACE_POKEDATA, k, 8, 0), EIO);
	FAILS(syscall(SYS_ptrace, PTRACE_PEEKDATA, k, &variable, 8), EFAULT);
	EQUAL(variable, 42);
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
}

TEST(errors) {
	FAILS(P(PTRACE_PEEKDATA, getpid(), &variable, 0), ESRCH);
	FAILS(P(PTRACE_ATTACH, getpid(), 0, 0), EPERM);
	FAILS(P(PTRACE_ATTACH, 0x3fffff, 0, 0), ESRCH);
	pid_t k = TRACED({ FAILS(P(PTRACE_TRACEME, 0, 0, 0), EPERM); });
	FAILS(P(PTRACE_ATTACH, k, 0, 0), EPERM);
	FAILS(P(PTRACE_SEIZE, k, 0, 0), EPERM);
	FAILS(P(PTRACE_INTERRUPT, k, 0, 0), EIO);
	FAILS(P(PTRACE_LISTEN, k, 0, 0), EIO);
	FAILS(P(0x9999, k, 0, 0), EIO);
	FAILS(P(PTRACE_CONT, k, 0, 100), EIO);
	FAILS(P(PTRACE_SETOPTIONS, k, 0, 1 << 30), EINVAL);
	FAILS(P(PTRACE_PEEKUSER, k, 3, 0), EIO);
	FAILS(P(PTRACE_PEEKUSER, k, 1 << 20, 0), EIO);
	struct iovec v = { &v, 8 };
	FAILS(P(PTRACE_GETREGSET, k, 0x7777, &v), EINVAL);
	OK(P(PTRACE_CONT, k, 0, 0));
	FAILS(P(PTRACE_CONT, k + 1000, 0, 0), ESRCH);
	EXITED(k, 0);
	FAILS(P(PTRACE_CONT, k, 0, 0), ESRCH);
}

TEST(registers) {
	pid_t k = TRACED({
		register long r15 __asm__("r15") = 0x1515;
		long r;
		__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_getppid), "r"(r15) : "rcx", "r11", "memory");
		_exit(r == 77 ? 0 : 1);
	});
	struct user_regs_struct regs, set;
	OK(P(PTRACE_SETOPTIONS, k, 0, PTRACE_O_TRACESYSGOOD));
	OK(P(PTRACE_SYSCALL, k, 0, 0));
	/* Of raise's the call's end may come, and its like. */
	for (;;) {
		STOPPED(k, SIGTRAP | 0x80);
		OK(P(PTRACE_GETREGS, k, 0, &regs));
		if (regs.orig_rax == SYS_getppid)
			break;
		OK(P(PTRACE_SYSCALL, k, 0, 0));
	}
	EQUAL(regs.rax, -ENOSYS);
	EQUAL(regs.r15, 0x1515);
	EQUAL(regs.cs, 0x33);
	EQUAL(regs.ss, 0x2b);
	struct iovec v = { &set, sizeof set };
	OK(P(PTRACE_GETREGSET, k, NT_PRSTATUS, &v));
	EQUAL(v.iov_len, sizeof set);
	CHECK(!memcmp(&regs, &set, sizeof set));
	v.iov_len = 16;
	OK(P(PTRACE_GETREGSET, k, NT_PRSTATUS, &v));
	EQUAL(v.iov_len, 16);
	EQUAL(P(PTRACE_PEEKUSER, k, offsetof(struct user, regs.r15), 0), 0x1515);
	EQUAL(P(PTRACE_PEEKUSER, k, offsetof(struct user, u_debugreg[7]), 0), 0);
	OK(P(PTRACE_SYSCALL, k, 0, 0));
	STOPPED(k, SIGTRAP | 0x80);
	EQUAL(P(PTRACE_PEEKUSER, k, offsetof(struct user, regs.rax), 0), getpid());
	OK(P(PTRACE_POKEUSER, k, offsetof(struct user, regs.rax), 77));
	OK(P(PTRACE_GETREGS, k, 0, &regs));
	set = regs;
	set.fs_base = 1UL << 62;
	FAILS(P(PTRACE_SETREGS, k, 0, &set), EIO);
	OK(P(PTRACE_SETREGS, k, 0, &regs));
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
}

TEST(floating_point_registers) {
	pid_t k = TRACED({
		double d = 2.5;
		__asm__ volatile("movsd %0, %%xmm7; mov %1, %%eax; mov %2, %%edi; mov %3, %%esi; syscall; movsd %%xmm7, %0"
				 : "+m"(d) : "i"(SYS_kill), "r"(getpid()), "i"(SIGUSR1) : "rax", "rdi", "rsi", "rcx", "r11", "xmm7", "memory");
		_exit(d == 10.25 ? 0 : 1);
	});
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGUSR1);
	struct user_fpregs_struct fp, again;
	OK(P(PTRACE_GETFPREGS, k, 0, &fp));
	double d;
	memcpy(&d, &fp.xmm_space[4 * 7], 8);
	CHECK(d == 2.5);
	d = 5.125;
	memcpy(&fp.xmm_space[4 * 7], &d, 8);
	OK(P(PTRACE_SETFPREGS, k, 0, &fp));
	struct iovec v = { &again, sizeof again };
	OK(P(PTRACE_GETREGSET, k, NT_PRFPREG, &v));
	CHECK(!memcmp(&fp.xmm_space, &again.xmm_space, sizeof fp.xmm_space));
	static char area[16384] __attribute__((aligned(64)));
	v = (struct iovec){ area, sizeof area };
	OK(P(PTRACE_GETREGSET, k, NT_X86_XSTATE, &v));
	CHECK(v.iov_len >= 576 && v.iov_len < sizeof area);
	unsigned long features;
	memcpy(&features, area + 464, 8);
	EQUAL(features & 3, 3);
	memcpy(&d, area + 160 + 16 * 7, 8);
	CHECK(d == 5.125);
	d = 10.25;
	memcpy(area + 160 + 16 * 7, &d, 8);
	area[512] |= 2;
	OK(P(PTRACE_SETREGSET, k, NT_X86_XSTATE, &v));
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
}

TEST(signals_are_shown_first) {
	static volatile int got;
	pid_t k = TRACED({
		void handler(int sig) { got = sig; }
		signal(SIGUSR1, handler);
		signal(SIGUSR2, handler);
		kill(getpid(), SIGUSR1); /* suppressed */
		if (got)
			_exit(1);
		kill(getpid(), SIGUSR1); /* replaced */
		if (got != SIGUSR2)
			_exit(2);
		kill(getpid(), SIGCHLD); /* ignored, but shown */
		kill(getpid(), SIGTERM); /* deadly, but shown */
		union sigval v = { .sival_int = 5 };
		got = 0;
		sigqueue(getpid(), SIGUSR1, v); /* changed */
		_exit(got == SIGUSR1 ? 0 : 3);
	});
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGUSR1);
	siginfo_t si;
	OK(P(PTRACE_GETSIGINFO, k, 0, &si));
	EQUAL(si.si_signo, SIGUSR1);
	EQUAL(si.si_code, SI_USER);
	EQUAL(si.si_pid, k);
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGUSR1);
	OK(P(PTRACE_CONT, k, 0, SIGUSR2));
	STOPPED(k, SIGCHLD);
	OK(P(PTRACE_CONT, k, 0, SIGCHLD));
	STOPPED(k, SIGTERM);
	unsigned long mask = 0;
	OK(P(PTRACE_GETSIGMASK, k, 8, &mask));
	EQUAL(mask, 0);
	FAILS(P(PTRACE_GETSIGMASK, k, 4, &mask), EINVAL);
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGUSR1);
	OK(P(PTRACE_GETSIGINFO, k, 0, &si));
	EQUAL(si.si_value.sival_int, 5);
	si.si_value.sival_int = 6;
	OK(P(PTRACE_SETSIGINFO, k, 0, &si));
	OK(P(PTRACE_CONT, k, 0, SIGUSR1));
	EXITED(k, 0);
}

TEST(injected_signal_kills) {
	pid_t k = TRACED({ pause(); });
	OK(P(PTRACE_CONT, k, 0, SIGUSR1));
	int s = wait_for(k);
	CHECK(WIFSIGNALED(s));
	EQUAL(WTERMSIG(s), SIGUSR1);
}

TEST(waiting_tells_sigchld_and_waitid) {
	pid_t k = TRACED({ raise(SIGUSR1); });
	OK(P(PTRACE_CONT, k, 0, 0));
	siginfo_t si = { 0 };
	OK(waitid(P_PID, k, &si, WSTOPPED | WNOWAIT));
	EQUAL(si.si_code, CLD_TRAPPED);
	EQUAL(si.si_status, SIGUSR1);
	EQUAL(si.si_pid, k);
	OK(waitid(P_ALL, 0, &si, WSTOPPED));
	si.si_pid = 1;
	OK(waitid(P_ALL, 0, &si, WSTOPPED | WNOHANG));
	EQUAL(si.si_pid, 0);
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
	FAILS(waitpid(-1, NULL, __WALL), ECHILD);
}

TEST(system_calls_are_told_of) {
	pid_t k = TRACED({
		syscall(SYS_dup2, 1000, 1001);
		if (syscall(SYS_getuid) != 4711)
			_exit(1);
		if (syscall(SYS_getgid) != -1 || errno != EXFULL)
			_exit(2);
		_exit(0);
	});
	OK(P(PTRACE_SETOPTIONS, k, 0, PTRACE_O_TRACESYSGOOD));
	struct __ptrace_syscall_info info;
	memset(&info, 0, sizeof info);
	EQUAL(P(PTRACE_GET_SYSCALL_INFO, k, sizeof info, &info), offsetof(struct __ptrace_syscall_info, entry));
	EQUAL(info.op, PTRACE_SYSCALL_INFO_NONE);
	for (;;) {
		OK(P(PTRACE_SYSCALL, k, 0, 0));
		STOPPED(k, SIGTRAP | 0x80);
		OK(P(PTRACE_GET_SYSCALL_INFO, k, sizeof info, &info));
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_dup2)
			break;
	}
	EQUAL(info.arch, 0xc000003e);
	EQUAL(info.entry.args[0], 1000);
	EQUAL(info.entry.args[1], 1001);
	CHECK(info.instruction_pointer && info.stack_pointer);
	siginfo_t si;
	OK(P(PTRACE_GETSIGINFO, k, 0, &si));
	EQUAL(si.si_code, SIGTRAP | 0x80);
	OK(P(PTRACE_SYSCALL, k, 0, 0));
	STOPPED(k, SIGTRAP | 0x80);
	EQUAL(P(PTRACE_GET_SYSCALL_INFO, k, sizeof info, &info), offsetof(struct __ptrace_syscall_info, exit.is_error) + 1);
	EQUAL(info.op, PTRACE_SYSCALL_INFO_EXIT);
	EQUAL(info.exit.is_error, 1);
	EQUAL(info.exit.rval, -EBADF);
	/* Another result. */
	OK(P(PTRACE_SYSCALL, k, 0, 0));
	STOPPED(k, SIGTRAP | 0x80);
	OK(P(PTRACE_SYSCALL, k, 0, 0));
	STOPPED(k, SIGTRAP | 0x80);
	OK(P(PTRACE_POKEUSER, k, offsetof(struct user, regs.rax), 4711));
	/* A call that is not made. */
	OK(P(PTRACE_SYSCALL, k, 0, 0));
	STOPPED(k, SIGTRAP | 0x80);
	OK(P(PTRACE_POKEUSER, k, offsetof(struct user, regs.orig_rax), -1));
	OK(P(PTRACE_POKEUSER, k, offsetof(struct user, regs.rax), -EXFULL));
	OK(P(PTRACE_SYSCALL, k, 0, 0));
	STOPPED(k, SIGTRAP | 0x80);
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
}

TEST(system_calls_are_emulated) {
	pid_t k = TRACED({ _exit(syscall(SYS_mkdir, "x", 0777) == 33 && access("x", F_OK) ? 0 : 1); });
	struct user_regs_struct regs;
	for (;;) {
		OK(P(PTRACE_SYSEMU, k, 0, 0));
		STOPPED(k, SIGTRAP);
		OK(P(PTRACE_GETREGS, k, 0, &regs));
		if (regs.orig_rax == SYS_mkdir)
			break;
		/* Other calls are of the library: have them made after all. */
		regs.rip -= 2, regs.rax = regs.orig_rax;
		OK(P(PTRACE_SETREGS, k, 0, &regs));
		OK(P(PTRACE_SYSCALL, k, 0, 0));
		STOPPED(k, SIGTRAP);
		OK(P(PTRACE_SYSCALL, k, 0, 0));
		STOPPED(k, SIGTRAP);
	}
	regs.rax = 33;
	OK(P(PTRACE_SETREGS, k, 0, &regs));
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
}

TEST(written_buffers_are_there_at_the_exit) {
	/* What a call writes shows when the tracer looks, not later. */
	static volatile struct timespec ts;
	pid_t k = TRACED({
		for (int i = 0; i < 50; i++)
			syscall(SYS_clock_getres, CLOCK_MONOTONIC, &ts);
	});
	OK(P(PTRACE_SETOPTIONS, k, 0, PTRACE_O_TRACESYSGOOD));
	int seen = 0;
	while (seen < 50) {
		OK(P(PTRACE_SYSCALL, k, 0, 0));
		STOPPED(k, SIGTRAP | 0x80);
		if (P(PTRACE_PEEKUSER, k, offsetof(struct user, regs.orig_rax), 0) != SYS_clock_getres)
			continue;
		OK(P(PTRACE_POKEDATA, k, &ts.tv_nsec, 0xdead));
		OK(P(PTRACE_SYSCALL, k, 0, 0));
		STOPPED(k, SIGTRAP | 0x80);
		EQUAL(P(PTRACE_PEEKDATA, k, &ts.tv_nsec, 0), 1);
		seen++;
	}
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
}

TEST(interrupted_calls_are_restarted) {
	int p[2];
	OK(pipe(p));
	pid_t k = TRACED({
		char c;
		_exit(read(p[0], &c, 1) == 1 ? 0 : 1);
	});
	OK(P(PTRACE_SETOPTIONS, k, 0, PTRACE_O_TRACESYSGOOD));
	struct user_regs_struct regs;
	do {
		OK(P(PTRACE_SYSCALL, k, 0, 0));
		STOPPED(k, SIGTRAP | 0x80);
		OK(P(PTRACE_GETREGS, k, 0, &regs));
	} while (regs.orig_rax != SYS_read);
	OK(P(PTRACE_SYSCALL, k, 0, 0));
	await_sleep(k);
	OK(kill(k, SIGUSR1));
	STOPPED(k, SIGTRAP | 0x80);
	EQUAL(P(PTRACE_PEEKUSER, k, offsetof(struct user, regs.rax), 0), -512); /* ERESTARTSYS */
	OK(P(PTRACE_SYSCALL, k, 0, 0));
	STOPPED(k, SIGUSR1);
	EQUAL(P(PTRACE_PEEKUSER, k, offsetof(struct user, regs.rax), 0), -512);
	OK(P(PTRACE_SYSCALL, k, 0, 0));
	STOPPED(k, SIGTRAP | 0x80); /* the call again */
	OK(P(PTRACE_GETREGS, k, 0, &regs));
	EQUAL(regs.orig_rax, SYS_read);
	EQUAL(regs.rax, -ENOSYS);
	OK(P(PTRACE_CONT, k, 0, 0));
	OK(write(p[1], "x", 1));
	EXITED(k, 0);
}

__attribute__((noinline)) static long breakpoint_here(long x) {
	__asm__ volatile("" : "+r"(x));
	return x + 1;
}

TEST(breakpoints) {
	pid_t k = TRACED({
		long sum = 0;
		for (int i = 0; i < 5; i++)
			sum += breakpoint_here(i);
		_exit(sum == 15 ? 0 : 1);
	});
	errno = 0;
	long text = P(PTRACE_PEEKTEXT, k, breakpoint_here, 0);
	EQUAL(errno, 0);
	OK(P(PTRACE_POKETEXT, k, breakpoint_here, (text & ~0xffL) | 0xcc));
	OK(P(PTRACE_CONT, k, 0, 0));
	for (int i = 0; i < 5; i++) {
		STOPPED(k, SIGTRAP);
		struct user_regs_struct regs;
		siginfo_t si;
		OK(P(PTRACE_GETREGS, k, 0, &regs));
		EQUAL(regs.rip, (long)breakpoint_here + 1);
		EQUAL(regs.rdi, i);
		EQUAL((long)regs.orig_rax, -1);
		OK(P(PTRACE_GETSIGINFO, k, 0, &si));
		EQUAL(si.si_code, SI_KERNEL);
		/* Over the instruction, and the breakpoint back. */
		regs.rip--;
		OK(P(PTRACE_SETREGS, k, 0, &regs));
		OK(P(PTRACE_POKETEXT, k, breakpoint_here, text));
		OK(P(PTRACE_SINGLESTEP, k, 0, 0));
		STOPPED(k, SIGTRAP);
		OK(P(PTRACE_GETSIGINFO, k, 0, &si));
		EQUAL(si.si_code, TRAP_TRACE);
		OK(P(PTRACE_GETREGS, k, 0, &regs));
		CHECK(regs.rip != (unsigned long)breakpoint_here && regs.rip - (unsigned long)breakpoint_here < 16);
		EQUAL(regs.eflags & 0x100, 0);
		OK(P(PTRACE_POKETEXT, k, breakpoint_here, (text & ~0xffL) | 0xcc));
		OK(P(PTRACE_CONT, k, 0, 0));
	}
	EXITED(k, 0);
}

extern char site[], after_site[];
__attribute__((noinline)) static long call_at_site(void) {
	long r;
	__asm__ volatile(".globl site, after_site\n\tmov %1, %%eax\nsite:\n\tsyscall\nafter_site:\n\tmov %%rax, %%rdx\n\tnop"
			 : "=a"(r) : "i"(SYS_getppid) : "rcx", "r11", "rdx", "memory");
	return r;
}

TEST(breakpoints_at_calls_that_ran_often) {
	int p[2], go[2];
	OK(pipe(p));
	OK(pipe(go));
	pid_t k = OK(fork());
	if (!k) {
		char c;
		for (int i = 0; i < 1000; i++)
			call_at_site();
		OK(write(p[1], "x", 1));
		OK(read(go[0], &c, 1));
		for (int i = 0; i < 1000; i++)
			call_at_site();
		raise(SIGUSR2);
		_exit(call_at_site() == getppid() ? 0 : 1);
	}
	char c;
	EQUAL(read(p[0], &c, 1), 1);
	OK(P(PTRACE_ATTACH, k, 0, 0));
	STOPPED(k, SIGSTOP);
	OK(P(PTRACE_CONT, k, 0, 0));
	OK(write(go[1], "x", 1));
	STOPPED(k, SIGUSR2);
	/* The code is as it was compiled, before and behind the call too. */
	CHECK((P(PTRACE_PEEKTEXT, k, site, 0) & 0xffffffffff) == 0xc28948050f);
	CHECK(P(PTRACE_PEEKTEXT, k, site - 5, 0) == *(long *)(site - 5));
	long text = P(PTRACE_PEEKTEXT, k, after_site, 0);
	OK(P(PTRACE_POKETEXT, k, after_site, (text & ~0xffL) | 0xcc));
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGTRAP);
	EQUAL(P(PTRACE_PEEKUSER, k, offsetof(struct user, regs.rip), 0), (long)after_site + 1);
	EQUAL(P(PTRACE_PEEKUSER, k, offsetof(struct user, regs.rax), 0), getpid());
	OK(P(PTRACE_POKETEXT, k, after_site, text));
	OK(P(PTRACE_POKEUSER, k, offsetof(struct user, regs.rip), after_site));
	OK(P(PTRACE_DETACH, k, 0, 0));
	EXITED(k, 0);
}

TEST(single_steps_over_calls) {
	pid_t k = TRACED({ call_at_site(); });
	long text = P(PTRACE_PEEKTEXT, k, site, 0);
	OK(P(PTRACE_POKETEXT, k, site, (text & ~0xffL) | 0xcc));
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGTRAP);
	OK(P(PTRACE_POKETEXT, k, site, text));
	OK(P(PTRACE_POKEUSER, k, offsetof(struct user, regs.rip), site));
	OK(P(PTRACE_SINGLESTEP, k, 0, 0));
	STOPPED(k, SIGTRAP);
	EQUAL(P(PTRACE_PEEKUSER, k, offsetof(struct user, regs.rip), 0), (long)after_site);
	EQUAL(P(PTRACE_PEEKUSER, k, offsetof(struct user, regs.rax), 0), getpid());
	OK(P(PTRACE_SINGLESTEP, k, 0, 0));
	STOPPED(k, SIGTRAP);
	EQUAL(P(PTRACE_PEEKUSER, k, offsetof(struct user, regs.rip), 0), (long)after_site + 3);
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
}

TEST(steps_into_handlers) {
	void handler(int sig) {}
	pid_t k = TRACED({
		signal(SIGUSR1, handler);
		raise(SIGUSR1);
	});
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGUSR1);
	OK(P(PTRACE_SINGLESTEP, k, 0, SIGUSR1));
	STOPPED(k, SIGTRAP);
	EQUAL(P(PTRACE_PEEKUSER, k, offsetof(struct user, regs.rip), 0), (long)handler);
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
}

static unsigned long message(pid_t k) {
	unsigned long m = 0;
	OK(P(PTRACE_GETEVENTMSG, k, 0, &m));
	return m;
}

TEST(forks_are_followed) {
	pid_t k = TRACED({
		pid_t g = fork();
		if (!g)
			_exit(5);
		int s;
		waitpid(g, &s, 0);
		g = vfork();
		if (!g)
			_exit(6);
		waitpid(g, &s, 0);
		_exit(WEXITSTATUS(s));
	});
	OK(P(PTRACE_SETOPTIONS, k, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXIT));
	OK(P(PTRACE_CONT, k, 0, 0));
	STOP_EVENT(k, SIGTRAP, PTRACE_EVENT_FORK);
	pid_t g = message(k);
	STOPPED(g, SIGSTOP);
	OK(P(PTRACE_CONT, g, 0, 0));
	STOP_EVENT(g, SIGTRAP, PTRACE_EVENT_EXIT);
	EQUAL(message(g), 5 << 8);
	OK(P(PTRACE_CONT, g, 0, 0));
	EXITED(g, 5);
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGCHLD);
	OK(P(PTRACE_CONT, k, 0, SIGCHLD));
	STOP_EVENT(k, SIGTRAP, PTRACE_EVENT_VFORK);
	pid_t v = message(k);
	STOPPED(v, SIGSTOP);
	OK(P(PTRACE_CONT, k, 0, 0));
	OK(P(PTRACE_CONT, v, 0, 0));
	STOP_EVENT(v, SIGTRAP, PTRACE_EVENT_EXIT);
	OK(P(PTRACE_CONT, v, 0, 0));
	/* The end of the child and of vfork come in either order. */
	int done = 0, gone = 0;
	while (!done || !gone) {
		int s;
		pid_t w = OK(waitpid(-1, &s, __WALL));
		if (w == v) {
			EQUAL(WEXITSTATUS(s), 6);
			gone = 1;
		} else {
			EQUAL(w, k);
			EQUAL(s >> 8, SIGTRAP | PTRACE_EVENT_VFORK_DONE << 8);
			EQUAL(message(k), v);
			done = 1;
		}
	}
	OK(P(PTRACE_CONT, k, 0, 0));
	for (;;) {
		int s = wait_for(k);
		if (s >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8))
			break;
		CHECK(WIFSTOPPED(s));
		EQUAL(WSTOPSIG(s), SIGCHLD);
		OK(P(PTRACE_CONT, k, 0, SIGCHLD));
	}
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 6);
}

static void *thread_run(void *arg) {
	syscall(SYS_exit, 0);
	return NULL;
}

TEST(threads_are_followed) {
	int p[2];
	OK(pipe(p));
	pid_t k = TRACED({
		pthread_t t;
		char c;
		pthread_create(&t, NULL, thread_run, NULL);
		pthread_join(t, NULL);
		/* Once the process ends its threads show its code. */
		_exit(read(p[0], &c, 1) == 1 ? 9 : 1);
	});
	OK(P(PTRACE_SETOPTIONS, k, 0, PTRACE_O_TRACECLONE));
	OK(P(PTRACE_CONT, k, 0, 0));
	STOP_EVENT(k, SIGTRAP, PTRACE_EVENT_CLONE);
	pid_t t = message(k);
	STOPPED(t, SIGSTOP);
	char path[64], line[128];
	snprintf(path, sizeof path, "/proc/%d/status", t);
	FILE *f = fopen(path, "r");
	CHECK(f);
	int tracer = 0, state = 0;
	while (fgets(line, sizeof line, f)) {
		sscanf(line, "TracerPid: %d", &tracer);
		state |= !strncmp(line, "State:\tt", 8);
	}
	fclose(f);
	EQUAL(tracer, getpid());
	CHECK(state);
	OK(P(PTRACE_CONT, t, 0, 0));
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(t, 0);
	OK(write(p[1], "x", 1));
	EXITED(k, 9);
}

TEST(programs_are_told_of) {
	pid_t k = TRACED({ execl("/bin/true", "true", NULL); });
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGTRAP);
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
	k = TRACED({ execl("/bin/true", "true", NULL); });
	OK(P(PTRACE_SETOPTIONS, k, 0, PTRACE_O_TRACEEXEC));
	OK(P(PTRACE_CONT, k, 0, 0));
	STOP_EVENT(k, SIGTRAP, PTRACE_EVENT_EXEC);
	EQUAL(message(k), k);
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
}

static void *exec_run(void *arg) {
	execl("/bin/true", "true", NULL);
	_exit(1);
}

TEST(a_threads_program_takes_the_leaders_number) {
	pid_t k = TRACED({
		pthread_t t;
		pthread_create(&t, NULL, exec_run, NULL);
		pause();
	});
	OK(P(PTRACE_SETOPTIONS, k, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC));
	OK(P(PTRACE_CONT, k, 0, 0));
	STOP_EVENT(k, SIGTRAP, PTRACE_EVENT_CLONE);
	pid_t t = message(k);
	STOPPED(t, SIGSTOP);
	OK(P(PTRACE_CONT, k, 0, 0));
	OK(P(PTRACE_CONT, t, 0, 0));
	STOP_EVENT(k, SIGTRAP, PTRACE_EVENT_EXEC);
	EQUAL(message(k), t);
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
	FAILS(waitpid(-1, NULL, __WALL), ECHILD);
}

TEST(attached_by_another_than_the_parent) {
	need_strangers();
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		char c;
		read(p[0], &c, 1);
		_exit(3);
	}
	pid_t tracer = OK(fork());
	if (!tracer) {
		OK(P(PTRACE_ATTACH, k, 0, 0));
		STOPPED(k, SIGSTOP);
		OK(P(PTRACE_CONT, k, 0, 0));
		OK(write(p[1], "x", 1));
		EXITED(k, 3);
		FAILS(waitpid(-1, NULL, __WALL), ECHILD);
		_exit(0);
	}
	EXITED(tracer, 0);
	EXITED(k, 3);
}

TEST(tracers_end) {
	need_strangers();
	int p[2];
	OK(pipe(p));
	for (int kill_too = 0; kill_too < 2; kill_too++) {
		pid_t k = OK(fork());
		if (!k) {
			char c;
			read(p[0], &c, 1);
			_exit(3);
		}
		pid_t tracer = OK(fork());
		if (!tracer) {
			OK(P(PTRACE_ATTACH, k, 0, 0));
			STOPPED(k, SIGSTOP);
			if (kill_too)
				OK(P(PTRACE_SETOPTIONS, k, 0, PTRACE_O_EXITKILL));
			_exit(0);
		}
		EXITED(tracer, 0);
		if (kill_too) {
			EQUAL(wait_for(k), SIGKILL);
			break;
		}
		OK(write(p[1], "x", 1));
		EXITED(k, 3);
	}
}

TEST(seized) {
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		char c;
		read(p[0], &c, 1);
		_exit(4);
	}
	await_sleep(k);
	FAILS(P(PTRACE_SEIZE, k, 1, 0), EIO);
	FAILS(P(PTRACE_SEIZE, k, 0, 1 << 30), EIO);
	OK(P(PTRACE_SEIZE, k, 0, PTRACE_O_TRACESYSGOOD));
	FAILS(P(PTRACE_CONT, k, 0, 0), ESRCH);
	OK(P(PTRACE_INTERRUPT, k, 0, 0));
	STOP_EVENT(k, SIGTRAP, PTRACE_EVENT_STOP);
	OK(P(PTRACE_CONT, k, 0, 0));
	await_sleep(k);
	/* A group-stop, from which it does not go on by itself. */
	OK(kill(k, SIGSTOP));
	STOPPED(k, SIGSTOP);
	OK(P(PTRACE_CONT, k, 0, SIGSTOP));
	STOP_EVENT(k, SIGSTOP, PTRACE_EVENT_STOP);
	OK(P(PTRACE_LISTEN, k, 0, 0));
	FAILS(P(PTRACE_CONT, k, 0, 0), ESRCH);
	OK(kill(k, SIGCONT));
	STOP_EVENT(k, SIGTRAP, PTRACE_EVENT_STOP);
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGCONT);
	OK(P(PTRACE_CONT, k, 0, SIGCONT));
	OK(write(p[1], "x", 1));
	EXITED(k, 4);
}

TEST(group_stops_of_attached_tasks) {
	pid_t k = TRACED({ raise(SIGTSTP); _exit(7); });
	OK(setpgid(k, k));
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGTSTP);
	siginfo_t si;
	OK(P(PTRACE_GETSIGINFO, k, 0, &si));
	OK(P(PTRACE_CONT, k, 0, SIGSTOP));
	STOPPED(k, SIGSTOP);
	FAILS(P(PTRACE_GETSIGINFO, k, 0, &si), EINVAL);
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 7);
}

TEST(seizing_a_stopped_process) {
	pid_t k = OK(fork());
	if (!k) {
		raise(SIGSTOP);
		_exit(8);
	}
	int s;
	EQUAL(OK(waitpid(k, &s, WUNTRACED)), k);
	CHECK(WIFSTOPPED(s));
	OK(P(PTRACE_SEIZE, k, 0, 0));
	STOP_EVENT(k, SIGSTOP, PTRACE_EVENT_STOP);
	OK(P(PTRACE_LISTEN, k, 0, 0));
	OK(kill(k, SIGCONT));
	STOP_EVENT(k, SIGTRAP, PTRACE_EVENT_STOP);
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGCONT);
	OK(P(PTRACE_DETACH, k, 0, 0));
	EXITED(k, 8);
}

TEST(detached_tasks_stay_stopped_if_their_process_is) {
	pid_t k = TRACED({ _exit(2); });
	OK(P(PTRACE_DETACH, k, 0, SIGSTOP));
	int s;
	EQUAL(OK(waitpid(k, &s, WUNTRACED)), k);
	CHECK(WIFSTOPPED(s));
	FAILS(P(PTRACE_CONT, k, 0, 0), ESRCH);
	OK(kill(k, SIGCONT));
	EXITED(k, 2);
}

TEST(filters_ask_tracers) {
	pid_t k = TRACED({
		struct sock_filter f[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 123),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog p = { 4, f };
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p);
		if (syscall(SYS_getppid) != getpid())
			_exit(1);
		if (syscall(SYS_getppid) != 55)
			_exit(2);
		_exit(0);
	});
	OK(P(PTRACE_SETOPTIONS, k, 0, PTRACE_O_TRACESECCOMP));
	OK(P(PTRACE_CONT, k, 0, 0));
	STOP_EVENT(k, SIGTRAP, PTRACE_EVENT_SECCOMP);
	EQUAL(message(k), 123);
	struct __ptrace_syscall_info info;
	OK(P(PTRACE_GET_SYSCALL_INFO, k, sizeof info, &info));
	EQUAL(info.op, PTRACE_SYSCALL_INFO_SECCOMP);
	EQUAL(info.seccomp.nr, SYS_getppid);
	EQUAL(info.seccomp.ret_data, 123);
	if (geteuid() == 0) {
		struct sock_filter f[8];
		long n = P(PTRACE_SECCOMP_GET_FILTER, k, 0, f);
		/* Kernels without checkpointing do not tell. */
		if (n >= 0) {
			EQUAL(n, 4);
			EQUAL(f[1].k, SYS_getppid);
			FAILS(P(PTRACE_SECCOMP_GET_FILTER, k, 1, f), ENOENT);
		}
	}
	/* Another call instead, then none at all. */
	OK(P(PTRACE_POKEUSER, k, offsetof(struct user, regs.orig_rax), SYS_getpid));
	OK(P(PTRACE_CONT, k, 0, 0));
	STOP_EVENT(k, SIGTRAP, PTRACE_EVENT_SECCOMP);
	OK(P(PTRACE_POKEUSER, k, offsetof(struct user, regs.orig_rax), -1));
	OK(P(PTRACE_POKEUSER, k, offsetof(struct user, regs.rax), 55));
	OK(P(PTRACE_CONT, k, 0, 0));
	EXITED(k, 0);
}

TEST(pending_signals_are_told) {
	pid_t k = TRACED({
		sigset_t s;
		sigemptyset(&s);
		sigaddset(&s, SIGUSR1);
		sigaddset(&s, SIGRTMIN);
		sigprocmask(SIG_BLOCK, &s, NULL);
		union sigval v = { .sival_int = 1 };
		sigqueue(getpid(), SIGRTMIN, v);
		v.sival_int = 2;
		sigqueue(getpid(), SIGRTMIN, v);
		raise(SIGUSR1);
		raise(SIGUSR2);
	});
	OK(P(PTRACE_CONT, k, 0, 0));
	STOPPED(k, SIGUSR2);
	siginfo_t si[4];
	struct { __u64 off; __u32 flags; __s32 nr; } a = { 0, 1, 4 };
	EQUAL(P(PTRACE_PEEKSIGINFO, k, &a, si), 2);
	EQUAL(si[0].si_value.sival_int, 1);
	EQUAL(si[1].si_value.sival_int, 2);
	a.off = 1;
	EQUAL(P(PTRACE_PEEKSIGINFO, k, &a, si), 1);
	EQUAL(si[0].si_value.sival_int, 2);
	a.off = 0, a.flags = 0;
	EQUAL(P(PTRACE_PEEKSIGINFO, k, &a, si), 1);
	EQUAL(si[0].si_signo, SIGUSR1);
	a.flags = 8;
	FAILS(P(PTRACE_PEEKSIGINFO, k, &a, si), EINVAL);
	unsigned long mask;
	OK(P(PTRACE_GETSIGMASK, k, 8, &mask));
	CHECK(mask & 1UL << (SIGUSR1 - 1));
	OK(P(PTRACE_KILL, k, 0, 0));
	EQUAL(wait_for(k), SIGKILL);
}

TEST(killed_while_stopped) {
	pid_t k = TRACED({ pause(); });
	OK(kill(k, SIGKILL));
	EQUAL(wait_for(k), SIGKILL);
}

TEST(others_are_not_traced_without_right) {
	if (geteuid() != 0)
		SKIP("needs root to be two users");
	pid_t k = OK(fork());
	if (!k) {
		pause();
		_exit(0);
	}
	pid_t other = OK(fork());
	if (!other) {
		OK(setgid(12345));
		OK(setuid(12345));
		FAILS(P(PTRACE_ATTACH, k, 0, 0), EPERM);
		FAILS(P(PTRACE_SEIZE, k, 0, 0), EPERM);
		_exit(0);
	}
	EXITED(other, 0);
	OK(kill(k, SIGKILL));
	EQUAL(wait_for(k), SIGKILL);
}

/* spin_calls makes calls and threads until it is killed. */
static void spin_calls(void) {
	for (;;) {
		pthread_t t;
		getppid();
		if (pthread_create(&t, NULL, thread_run, NULL) == 0)
			pthread_join(t, NULL);
		pid_t k = fork();
		if (!k)
			_exit(0);
		while (waitpid(k, NULL, 0) == -1 && errno == EINTR) {}
	}
}

/* trace_all lets all that stops go on until nothing is left. */
static void trace_all(void) {
	int s;
	for (pid_t k; (k = waitpid(-1, &s, __WALL)) > 0;)
		if (WIFSTOPPED(s)) {
			int sig = WSTOPSIG(s);
			/* It may have been killed since. */
			P(PTRACE_SYSCALL, k, 0, EVENT(s) || sig == SIGTRAP || sig == (SIGTRAP | 0x80) || sig == SIGSTOP ? 0 : sig);
		}
}

TEST(tracers_and_traced_die_at_any_time) {
	for (int i = 0; i < 30; i++) {
		int p[2];
		OK(pipe(p));
		pid_t tracer = OK(fork());
		if (!tracer) {
			pid_t k = fork();
			if (!k)
				spin_calls();
			OK(write(p[1], &k, sizeof k));
			P(PTRACE_SEIZE, k, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXIT |
			  (i % 2 ? PTRACE_O_EXITKILL : 0));
			P(PTRACE_INTERRUPT, k, 0, 0);
			trace_all();
			_exit(0);
		}
		pid_t k;
		EQUAL(read(p[0], &k, sizeof k), sizeof k);
		sleep_ms(i % 10);
		if (i % 3) {
			OK(kill(k, SIGKILL));
			int s = wait_for(tracer);
			CHECK(WIFEXITED(s) || WIFSIGNALED(s));
		} else {
			OK(kill(tracer, SIGKILL));
			EQUAL(wait_for(tracer), SIGKILL);
			kill(k, SIGKILL);
		}
		close(p[0]), close(p[1]);
	}
}
