/* Signals: signal(7), sigaction(2), sigaltstack(2), sigqueue(3), frames. */
#include "guest.h"
#include <pthread.h>
#include <ucontext.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/syscall.h>

static volatile int count, last, code, value;
static void count_it(int s) { count++; last = s; }
static void info_it(int s, siginfo_t *i, void *c) {
	(void)c;
	count++;
	last = s;
	code = i->si_code;
	value = i->si_value.sival_int;
}
static void handle(int sig, void (*f)(int), int flags) {
	struct sigaction a;
	memset(&a, 0, sizeof a);
	a.sa_handler = f;
	a.sa_flags = flags;
	OK(sigaction(sig, &a, NULL));
}
static void handle_info(int sig, void (*f)(int, siginfo_t *, void *), int flags) {
	struct sigaction a;
	memset(&a, 0, sizeof a);
	a.sa_sigaction = f;
	a.sa_flags = flags | SA_SIGINFO;
	OK(sigaction(sig, &a, NULL));
}

TEST(handler_runs_at_once) {
	handle(SIGUSR1, count_it, 0);
	OK(raise(SIGUSR1));
	EQUAL(count, 1);
	EQUAL(last, SIGUSR1);
	for (int i = 0; i < 1000; i++)
		OK(kill(getpid(), SIGUSR1));
	EQUAL(count, 1001);
}

TEST(blocked_signals_wait_and_merge) {
	handle(SIGUSR1, count_it, 0);
	sigset_t set, old, pend;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &set, &old));
	raise(SIGUSR1);
	raise(SIGUSR1);
	EQUAL(count, 0);
	OK(sigpending(&pend));
	EQUAL(sigismember(&pend, SIGUSR1), 1);
	OK(sigprocmask(SIG_SETMASK, &old, NULL));
	EQUAL(count, 1);
}

TEST(realtime_signals_queue_in_order) {
	static int order[10], n;
	handle_info(SIGRTMIN + 1, info_it, 0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGRTMIN + 2);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	for (int i = 0; i < 5; i++) {
		union sigval v = { .sival_int = i };
		OK(sigqueue(getpid(), SIGRTMIN + 2, v));
		OK(sigqueue(getpid(), SIGRTMIN + 1, v));
	}
	for (int i = 0; i < 10; i++) {
		siginfo_t info;
		int s = OK(sigwaitinfo(&set, &info));
		EQUAL(s, i < 5 ? SIGRTMIN + 1 : SIGRTMIN + 2);
		EQUAL(info.si_value.sival_int, i % 5);
		EQUAL(info.si_code, SI_QUEUE);
		EQUAL(info.si_pid, getpid());
		order[n++] = s;
	}
	struct timespec zero = { 0, 0 };
	FAILS(sigtimedwait(&set, NULL, &zero), EAGAIN);
	(void)order;
}

TEST(restart_and_eintr) {
	int p[2];
	OK(pipe(p));
	char c;
	handle(SIGUSR1, count_it, 0);
	pid_t k = signal_when_asleep(SIGUSR1);
	FAILS(read(p[0], &c, 1), EINTR);
	EQUAL(count, 1);
	OK(waitpid(k, NULL, 0));
	/* with SA_RESTART the read goes on until there is data */
	handle(SIGUSR1, count_it, SA_RESTART);
	k = OK(fork());
	if (!k) {
		await_sleep(getppid());
		OK(kill(getppid(), SIGUSR1));
		sleep_ms(50);
		OK(write(p[1], "x", 1));
		_exit(0);
	}
	EQUAL(read(p[0], &c, 1), 1);
	EQUAL(count, 2);
	OK(waitpid(k, NULL, 0));
	/* never restarted, whatever the flag: pause, sleep, sigsuspend, poll, select */
	k = signal_when_asleep(SIGUSR1);
	FAILS(pause(), EINTR);
	OK(waitpid(k, NULL, 0));
	k = signal_when_asleep(SIGUSR1);
	struct timespec t = { 1000, 0 }, rem = { 0, 0 };
	FAILS(nanosleep(&t, &rem), EINTR);
	CHECK(rem.tv_sec >= 800 && rem.tv_sec <= 1000); /* a timer's slack may come on top */
	OK(waitpid(k, NULL, 0));
}

TEST(reset_and_nodefer) {
	handle(SIGUSR1, count_it, SA_RESETHAND);
	raise(SIGUSR1);
	EQUAL(count, 1);
	struct sigaction a;
	OK(sigaction(SIGUSR1, NULL, &a));
	CHECK(a.sa_handler == SIG_DFL);
	int s = IN_CHILD(raise(SIGUSR1));
	EQUAL(WTERMSIG(s), SIGUSR1);
}

static volatile int depth, deepest;
static void nest(int s) {
	if (++depth > deepest)
		deepest = depth;
	if (depth < 3)
		raise(s);
	depth--;
}

TEST(nesting_only_with_nodefer) {
	handle(SIGUSR1, nest, SA_NODEFER);
	raise(SIGUSR1);
	EQUAL(deepest, 3);
	deepest = 0;
	depth = 2; /* one raise, held back until the handler returns */
	handle(SIGUSR2, nest, 0);
	raise(SIGUSR2);
	EQUAL(deepest, 3);
}

static volatile uintptr_t altstack_seen;
static void where(int s) { volatile char x = (char)s; altstack_seen = (uintptr_t)&x; }

TEST(altstack) {
	size_t size = 65536;
	uintptr_t st = (uintptr_t)mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t s = { .ss_sp = (void *)st, .ss_size = size }, old;
	OK(sigaltstack(&s, NULL));
	handle(SIGUSR1, where, SA_ONSTACK);
	raise(SIGUSR1);
	CHECK(altstack_seen > st && altstack_seen < st + size);
	OK(sigaltstack(NULL, &old));
	CHECK(old.ss_sp == (void *)st && old.ss_size == size && old.ss_flags == 0);
	handle(SIGUSR1, where, 0);
	raise(SIGUSR1);
	CHECK(altstack_seen < st || altstack_seen > st + size);
	s.ss_size = 100;
	FAILS(sigaltstack(&s, NULL), ENOMEM);
	s.ss_size = size;
	s.ss_flags = 77;
	FAILS(sigaltstack(&s, NULL), EINVAL);
}

static volatile uintptr_t fault_addr;
static volatile int fault_code;
static void on_fault(int s, siginfo_t *i, void *ctx) {
	(void)s;
	fault_addr = (uintptr_t)i->si_addr;
	fault_code = i->si_code;
	ucontext_t *u = ctx;
	u->uc_mcontext.gregs[REG_RIP] = u->uc_mcontext.gregs[REG_RBX];
}

TEST(fault_information_and_register_changes) {
	handle_info(SIGSEGV, on_fault, 0);
	void *ro = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	asm volatile("lea 1f(%%rip), %%rbx; movl $1, (%0); 1:" ::"r"(ro) : "rbx", "memory");
	EQUAL(fault_addr, (uintptr_t)ro);
	EQUAL(fault_code, SEGV_ACCERR);
	asm volatile("lea 1f(%%rip), %%rbx; movl $1, (%0); 1:" ::"r"(0x123000UL) : "rbx", "memory");
	EQUAL(fault_addr, 0x123000);
	EQUAL(fault_code, SEGV_MAPERR);
	handle_info(SIGILL, on_fault, 0);
	asm volatile("lea 1f(%%rip), %%rbx; ud2; 1:" ::: "rbx", "memory");
	EQUAL(fault_code, ILL_ILLOPN);
	handle_info(SIGFPE, on_fault, 0);
	asm volatile("lea 1f(%%rip), %%rbx; xor %%edx, %%edx; mov $1, %%eax; xor %%ecx, %%ecx; div %%ecx; 1:" ::: "rbx", "rax", "rcx", "rdx", "memory");
	EQUAL(fault_code, FPE_INTDIV);
	handle_info(SIGTRAP, info_it, 0);
	asm volatile("int3");
	EQUAL(last, SIGTRAP);
	EQUAL(code, SI_KERNEL);
	handle_info(SIGSEGV, on_fault, 0);
	asm volatile("lea 1f(%%rip), %%rbx; movabs $0x8000000000000000, %%rax; movl $1, (%%rax); 1:" ::: "rbx", "rax", "memory");
	EQUAL(fault_code, SI_KERNEL); /* a non-canonical address is no page fault */
}

TEST(bus_error_beyond_the_end) {
	handle_info(SIGBUS, on_fault, 0);
	int f = OK(open("f", O_RDWR | O_CREAT, 0600));
	OK(ftruncate(f, 4096));
	char *m = mmap(0, 8192, PROT_READ, MAP_SHARED, f, 0);
	EQUAL(m[0], 0);
	asm volatile("lea 1f(%%rip), %%rbx; movb (%0), %%al; 1:" ::"r"(m + 4096) : "rbx", "rax", "memory");
	EQUAL(fault_addr, (uintptr_t)m + 4096);
	EQUAL(fault_code, BUS_ADRERR);
	OK(ftruncate(f, 8192));
	EQUAL(m[4096], 0);
	OK(ftruncate(f, 0));
	fault_addr = 0;
	asm volatile("lea 1f(%%rip), %%rbx; movb (%0), %%al; 1:" ::"r"(m) : "rbx", "rax", "memory");
	EQUAL(fault_addr, (uintptr_t)m);
}

/* The vector registers survive system calls and handlers that use them. */
static void clobber(int s) {
	(void)s;
	count++;
	asm volatile("pcmpeqb %%xmm0, %%xmm0; pcmpeqb %%xmm7, %%xmm7; pcmpeqb %%xmm15, %%xmm15" ::: "xmm0", "xmm7", "xmm15");
}

TEST(vector_registers_survive) {
	handle(SIGUSR1, clobber, 0);
	unsigned long in[2] = { 0x1122334455667788, 0x99aabbccddeeff00 }, out[2], out7[2];
	long pid = getpid();
	for (int i = 0; i < 300; i++) {
		long nr = i % 3 == 0 ? SYS_kill : i % 3 == 1 ? SYS_sched_yield : SYS_getppid, rax = nr;
		asm volatile("movdqu (%[in]), %%xmm0; movdqu (%[in]), %%xmm7; syscall;"
			     "movdqu %%xmm0, (%[out]); movdqu %%xmm7, (%[out7])"
			     : "+a"(rax)
			     : [in] "r"(in), [out] "r"(out), [out7] "r"(out7), "D"(pid), "S"((long)SIGUSR1)
			     : "rcx", "r11", "xmm0", "xmm7", "memory");
		CHECK(out[0] == in[0] && out[1] == in[1] && out7[0] == in[0] && out7[1] == in[1]);
	}
	EQUAL(count, 100);
}

/* All general registers but rax, rcx and r11 survive a system call. */
TEST(registers_survive_a_call) {
	for (int i = 0; i < 100; i++) {
		unsigned long bad = 0;
		asm volatile("push %%rbp; mov $0x1111, %%rbx; mov $0x2222, %%rbp; mov $0x3333, %%r12; mov $0x4444, %%r13;"
			     "mov $0x5555, %%r14; mov $0x6666, %%r15; mov $0x7777, %%r8; mov $0x8888, %%r9; mov $0x9999, %%r10;"
			     "mov $0xaaaa, %%rdi; mov $0xbbbb, %%rsi; mov $0xcccc, %%rdx; mov $110, %%eax; syscall;"
			     "xor %%eax, %%eax;"
			     "cmp $0x1111, %%rbx; setne %%cl; or %%cl, %%al; cmp $0x2222, %%rbp; setne %%cl; or %%cl, %%al;"
			     "cmp $0x3333, %%r12; setne %%cl; or %%cl, %%al; cmp $0x4444, %%r13; setne %%cl; or %%cl, %%al;"
			     "cmp $0x5555, %%r14; setne %%cl; or %%cl, %%al; cmp $0x6666, %%r15; setne %%cl; or %%cl, %%al;"
			     "cmp $0x7777, %%r8; setne %%cl; or %%cl, %%al; cmp $0x8888, %%r9; setne %%cl; or %%cl, %%al;"
			     "cmp $0x9999, %%r10; setne %%cl; or %%cl, %%al; cmp $0xaaaa, %%rdi; setne %%cl; or %%cl, %%al;"
			     "cmp $0xbbbb, %%rsi; setne %%cl; or %%cl, %%al; cmp $0xcccc, %%rdx; setne %%cl; or %%cl, %%al;"
			     "pop %%rbp"
			     : "=a"(bad)::"rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
		EQUAL(bad & 0xff, 0);
	}
}

static volatile int got_thread_signal;
static pthread_t main_thread;
static void in_thread(int s) { (void)s; got_thread_signal = pthread_equal(pthread_self(), main_thread) ? 1 : 2; }
static void *pausing(void *a) {
	sigset_t none;
	sigemptyset(&none);
	sigsuspend(&none);
	return a;
}

TEST(signals_to_threads) {
	main_thread = pthread_self();
	handle(SIGUSR1, in_thread, 0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	pthread_t t;
	EQUAL(pthread_create(&t, NULL, pausing, NULL), 0);
	sleep_ms(20);
	EQUAL(pthread_kill(t, SIGUSR1), 0);
	pthread_join(t, NULL);
	EQUAL(got_thread_signal, 2);
	FAILS(syscall(SYS_tgkill, getpid(), 0x3fffffff, SIGUSR1), ESRCH);
	FAILS(syscall(SYS_tgkill, 1, getpid(), SIGUSR1), ESRCH);
	FAILS(syscall(SYS_tgkill, getpid(), getpid(), 65), EINVAL);
}

TEST(kill_errors) {
	FAILS(kill(0x3fffffff, 0), ESRCH);
	FAILS(kill(getpid(), 65), EINVAL);
	FAILS(kill(-0x3fffffff, SIGTERM), ESRCH);
	OK(kill(getpid(), 0));
	struct sigaction a;
	memset(&a, 0, sizeof a);
	FAILS(sigaction(SIGKILL, &a, NULL), EINVAL);
	FAILS(syscall(SYS_rt_sigaction, SIGUSR1, &a, NULL, 4), EINVAL);
	FAILS(syscall(SYS_rt_sigaction, SIGUSR1, (void *)8, NULL, 8), EFAULT);
}

TEST(sigchld_says_who_and_why) {
	static siginfo_t got;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	pid_t k = OK(fork());
	if (!k)
		_exit(3);
	EQUAL(sigwaitinfo(&set, &got), SIGCHLD);
	EQUAL(got.si_pid, k);
	EQUAL(got.si_status, 3);
	EQUAL(got.si_code, CLD_EXITED);
	OK(waitpid(k, NULL, 0));
	handle(SIGCHLD, SIG_IGN, 0);
	k = OK(fork());
	if (!k)
		_exit(0);
	FAILS(waitpid(k, NULL, 0), ECHILD); /* ignored: reaped by itself */
}

TEST(bad_frames_kill) {
	/* rt_sigreturn on a stack that is no frame */
	int s = IN_CHILD({
		asm volatile("mov $0x1000, %%rsp; mov $15, %%eax; syscall" ::: "memory");
	});
	EQUAL(WTERMSIG(s), SIGSEGV);
	/* a handler whose stack cannot take a frame */
	s = IN_CHILD({
		handle(SIGUSR1, count_it, 0);
		long pid = getpid();
		asm volatile("mov $0x1000, %%rsp; mov $62, %%eax; mov %0, %%rdi; mov $10, %%esi; syscall" ::"r"(pid) : "rax", "rdi", "rsi", "memory");
	});
	EQUAL(WTERMSIG(s), SIGSEGV);
}

TEST(interrupting_a_busy_loop) {
	handle(SIGALRM, count_it, 0);
	struct itimerval it = { { 0, 2000 }, { 0, 2000 } };
	OK(setitimer(ITIMER_REAL, &it, NULL));
	volatile unsigned long x = 0;
	while (count < 50)
		x++;
	struct itimerval off = { { 0, 0 }, { 0, 0 } };
	OK(setitimer(ITIMER_REAL, &off, NULL));
}

static void longjmp_like(int s) { (void)s; count++; }

TEST(storm_between_two_processes) {
	handle(SIGUSR1, longjmp_like, SA_RESTART);
	pid_t parent = getpid();
	pid_t k = OK(fork());
	if (!k) {
		for (int i = 0; i < 2000; i++)
			kill(parent, SIGUSR1);
		_exit(0);
	}
	int s;
	while (waitpid(k, &s, 0) != k) {}
	EXITED_OK(s);
	CHECK(count > 0);
}

/* breed makes children, who only wait, as fast as it can. */
__attribute__((noreturn)) static void breed(void) {
	for (;;) {
		pid_t k = fork();
		if (k == 0) /* a stray one ends by itself, long after it was missed */
			sleep(100), _exit(0);
		if (k == -1)
			usleep(1000); /* too many */
	}
}

/* A signal to a whole group reaches children too that are being made. */
TEST(a_group_is_killed_while_it_forks) {
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	for (int i = 0; i < 20; i++) {
		int ready[2];
		OK(pipe(ready));
		pid_t leader = OK(fork());
		if (leader == 0) {
			OK(setpgid(0, 0));
			OK(write(ready[1], "x", 1));
			fork();
			breed();
		}
		char b;
		EQUAL(read(ready[0], &b, 1), 1);
		usleep(2000 + i * 311);
		OK(kill(-leader, i % 2 ? SIGKILL : SIGTERM));
		int status;
		while (waitpid(-1, &status, 0) > 0) /* hangs if there is one left */
			CHECK(WIFSIGNALED(status));
		EQUAL(errno, ECHILD);
		OK(close(ready[0])), OK(close(ready[1]));
	}
}

/* So it is with kill(-1), which is for the PID namespace's processes. */
TEST(all_are_killed_while_they_fork) {
	if (unshare(CLONE_NEWPID) == -1)
		SKIP("no PID namespaces here, or not root");
	pid_t init = OK(fork());
	if (init == 0) {
		if (getpid() != 1 || getppid() != 0)
			_exit(1); /* kill(-1) would be for others */
		for (int i = 0; i < 20; i++) {
			for (int k = 0; k < 2; k++)
				if (OK(fork()) == 0)
					breed();
			usleep(2000 + i * 311);
			OK(kill(-1, SIGKILL));
			while (waitpid(-1, NULL, 0) > 0) {}
			EQUAL(errno, ECHILD);
		}
		_exit(0);
	}
	int status;
	EQUAL(waitpid(init, &status, 0), init);
	EQUAL(status, 0);
}
