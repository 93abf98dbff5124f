/* rseq(2): restartable sequences, by which a program works on data of the CPU
 * that it runs on without atomic instructions. */
#include "guest.h"
#include <pthread.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/rseq.h>
#include <sys/time.h>

#define SIG RSEQ_SIG

/* glibc registers an area of its own, unless it is told not to. */
__attribute__((constructor)) static void without_glibc(void) {
	if (!getenv("GLIBC_TUNABLES")) {
		char **argv = NULL, buf[65536];
		size_t n = 0, argc = 0;
		FILE *f = fopen("/proc/self/cmdline", "r");
		if (!f || (n = fread(buf, 1, sizeof buf - 1, f)) == 0)
			_exit(3);
		fclose(f);
		argv = calloc(n + 1, sizeof *argv);
		for (size_t i = 0; i < n; i += strlen(buf + i) + 1)
			argv[argc++] = buf + i;
		setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
		execv("/proc/self/exe", argv);
		_exit(3);
	}
}

static __thread struct rseq area __attribute__((aligned(32)));

static long sys_rseq(volatile void *a, unsigned len, int flags, unsigned sig) {
	return syscall(SYS_rseq, a, len, flags, sig);
}
static void register_area(void) {
	memset((void *)&area, 0, sizeof area);
	area.cpu_id = -1;
	if (sys_rseq(&area, 32, 0, SIG) == -1) {
		if (errno == ENOSYS)
			SKIP("no rseq here");
		CHECK(!"rseq");
	}
}
/* begin_at says that a sequence begins, which a descriptor describes. */
static void begin_at(uintptr_t descriptor) {
	__asm__ volatile("movq %1, %0" : "=m"(area.rseq_cs) : "r"(descriptor));
}
static int cpu_now(void) { return (int)*(volatile unsigned *)&area.cpu_id; }

TEST(registration) {
	register_area();
	CHECK(cpu_now() >= 0 && cpu_now() < 8192);
	EQUAL((int)*(volatile unsigned *)&area.cpu_id_start, cpu_now());
	FAILS(sys_rseq(&area, 32, 0, SIG), EBUSY);
	FAILS(sys_rseq(&area, 32, 0, SIG + 1), EPERM);
	FAILS(sys_rseq((char *)&area + 32, 32, 0, SIG), EINVAL);
	FAILS(sys_rseq(&area, 64, 0, SIG), EINVAL);
	FAILS(sys_rseq(&area, 32, 1, SIG + 1), EPERM);
	FAILS(sys_rseq(&area, 64, 1, SIG), EINVAL);
	FAILS(sys_rseq((char *)&area + 32, 32, 1, SIG), EINVAL);
	FAILS(sys_rseq(&area, 32, 1 | 8, SIG), EINVAL);
	OK(sys_rseq(&area, 32, RSEQ_FLAG_UNREGISTER, SIG));
	EQUAL((int)area.cpu_id, -1);
	FAILS(sys_rseq(&area, 32, RSEQ_FLAG_UNREGISTER, SIG), EINVAL);
	register_area();
	OK(sys_rseq(&area, 32, RSEQ_FLAG_UNREGISTER, SIG));
}

TEST(bad_arguments) {
	FAILS(sys_rseq(&area, 32, 1 << 30, SIG), EINVAL);
	FAILS(sys_rseq(&area, 32, -1, SIG), EINVAL);
	FAILS(sys_rseq(&area, 16, 0, SIG), EINVAL);
	FAILS(sys_rseq((char *)&area + 4, 32, 0, SIG), EINVAL);
	FAILS(sys_rseq((void *)(1UL << 63), 32, 0, SIG), EFAULT);
	FAILS(sys_rseq((void *)(0x7ffffffff000 - 32 + 4096), 32, 0, SIG), EFAULT);
	FAILS(sys_rseq(NULL, 32, RSEQ_FLAG_UNREGISTER, SIG), EINVAL);
}

TEST(auxiliary_vector) {
	unsigned long size = getauxval(27), align = getauxval(28);
	if (!size)
		SKIP("the kernel does not tell");
	CHECK(size >= 20 && size < 4096);
	CHECK(align >= 32 && (align & (align - 1)) == 0);
}

/* count adds to a counter in a restartable sequence, whose two halves are some
 * instructions apart. It returns 0, or -1 if the sequence was aborted. */
static int count(volatile long *counter, long spin) {
	__asm__ goto(
		".pushsection __rseq_cs, \"aw\"\n"
		".balign 32\n"
		"3: .long 0, 0\n"
		".quad 1f, 2f - 1f, 4f\n"
		".popsection\n"
		"leaq 3b(%%rip), %%rax\n"
		"movq %%rax, %c[cs](%[area])\n"
		"1:\n"
		"movq (%[counter]), %%rcx\n"
		"movq %[spin], %%rax\n"
		"5: subq $1, %%rax\n"
		"jnz 5b\n"
		"addq $1, %%rcx\n"
		"movq %%rcx, (%[counter])\n"
		"2:\n"
		".pushsection __rseq_failure, \"ax\"\n"
		".byte 0x0f, 0xb9, 0x3d\n"
		".long %c[sig]\n"
		"4: jmp %l[aborted]\n"
		".popsection\n"
		:
		: [area] "r"(&area), [cs] "i"(offsetof(struct rseq, rseq_cs)),
		  [counter] "r"(counter), [spin] "r"(spin), [sig] "i"(SIG)
		: "rax", "rcx", "memory", "cc"
		: aborted);
	return 0;
aborted:
	return -1;
}

static volatile long shared_count;
static volatile long in_handler;
static void also_count(int sig) {
	(void)sig;
	shared_count++;
	in_handler++;
}

/* A handler that changes the counter in the middle of a sequence is not lost. */
TEST(signals_abort) {
	register_area();
	signal(SIGALRM, also_count);
	struct itimerval it = { { 0, 500 }, { 0, 500 } };
	OK(setitimer(ITIMER_REAL, &it, NULL));
	long done = 0, aborted = 0;
	while (in_handler < 200 || aborted < 20) {
		for (int i = 0; i < 100; i++) {
			if (count(&shared_count, 5000) == 0)
				done++;
			else
				aborted++;
		}
	}
	memset(&it, 0, sizeof it);
	OK(setitimer(ITIMER_REAL, &it, NULL));
	EQUAL(shared_count, done + in_handler);
}

/* Threads that share one CPU's counter: no count is lost to preemption. The
 * CPU's number is looked at within the sequence. */
#define CPUS 8192
static struct { volatile long n; char pad[120]; } per_cpu[CPUS];

static int count_here(volatile long *counters, int cpu) {
	__asm__ goto(
		".pushsection __rseq_cs, \"aw\"\n"
		".balign 32\n"
		"3: .long 0, 0\n"
		".quad 1f, 2f - 1f, 4f\n"
		".popsection\n"
		"leaq 3b(%%rip), %%rax\n"
		"movq %%rax, %c[cs](%[area])\n"
		"1:\n"
		"cmpl %[cpu], %c[id](%[area])\n"
		"jnz 4f\n"
		"movq (%[counter]), %%rcx\n"
		"movl $200, %%eax\n"
		"5: subq $1, %%rax\n"
		"jnz 5b\n"
		"addq $1, %%rcx\n"
		"movq %%rcx, (%[counter])\n"
		"2:\n"
		".pushsection __rseq_failure, \"ax\"\n"
		".byte 0x0f, 0xb9, 0x3d\n"
		".long %c[sig]\n"
		"4: jmp %l[aborted]\n"
		".popsection\n"
		:
		: [area] "r"(&area), [cs] "i"(offsetof(struct rseq, rseq_cs)),
		  [id] "i"(offsetof(struct rseq, cpu_id)), [cpu] "r"(cpu),
		  [counter] "r"(counters), [sig] "i"(SIG)
		: "rax", "rcx", "memory", "cc"
		: aborted);
	return 0;
aborted:
	return -1;
}

#define EACH 100000
static void *counter_thread(void *arg) {
	(void)arg;
	register_area();
	for (int i = 0; i < EACH;) {
		int cpu = cpu_now();
		CHECK(cpu >= 0 && cpu < CPUS);
		if (count_here(&per_cpu[cpu].n, cpu) == 0)
			i++;
		if (i % 1000 == 0)
			getppid();
	}
	return NULL;
}

TEST(per_cpu_counters) {
	pthread_t t[6];
	for (int i = 0; i < 6; i++)
		EQUAL(pthread_create(&t[i], NULL, counter_thread, NULL), 0);
	for (int i = 0; i < 6; i++)
		EQUAL(pthread_join(t[i], NULL), 0);
	long sum = 0;
	for (int i = 0; i < CPUS; i++)
		sum += per_cpu[i].n;
	EQUAL(sum, 6L * EACH);
}

/* fork keeps the registration, a new thread has none, and exec ends it. */
TEST(fork_keeps) {
	register_area();
	EXITED_OK(IN_CHILD({
		FAILS(sys_rseq(&area, 32, 0, SIG), EBUSY);
		CHECK(cpu_now() >= 0);
		OK(sys_rseq(&area, 32, RSEQ_FLAG_UNREGISTER, SIG));
	}));
	FAILS(sys_rseq(&area, 32, 0, SIG), EBUSY);
}

static void *fresh_thread(void *arg) {
	(void)arg;
	FAILS(sys_rseq(&area, 32, RSEQ_FLAG_UNREGISTER, SIG), EINVAL);
	register_area();
	return NULL;
}
TEST(threads_start_without) {
	register_area();
	/* Each leaves its area behind in a stack that is unmapped. */
	for (int i = 0; i < 50; i++) {
		pthread_t t;
		pthread_attr_t a;
		size_t size = 256 << 10;
		char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(stack != MAP_FAILED);
		pthread_attr_init(&a);
		EQUAL(pthread_attr_setstack(&a, stack, size), 0);
		EQUAL(pthread_create(&t, &a, fresh_thread, NULL), 0);
		EQUAL(pthread_join(t, NULL), 0);
		OK(munmap(stack, size));
	}
}

TEST(vfork_starts_without) {
	register_area();
	pid_t k = vfork();
	if (k == 0)
		_exit(sys_rseq(&area, 32, RSEQ_FLAG_UNREGISTER, SIG) == -1 && errno == EINVAL ? 0 : 1);
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
	FAILS(sys_rseq(&area, 32, 0, SIG), EBUSY);
}

TEST(exec_ends) {
	register_area();
	EXITED_OK(IN_CHILD(execl("/proc/self/exe", "rseq", "registration", NULL); _exit(9)));
	/* With glibc's own registration, before and after. */
	EXITED_OK(IN_CHILD({
		setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=1", 1);
		execl("/bin/sh", "sh", "-c", "exec /bin/sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; exit 0'", NULL);
		_exit(9);
	}));
}

/* A thread that another's exec ends is registered in memory that goes. */
static void *spinning_thread(void *arg) {
	register_area();
	*(volatile int *)arg = 1;
	for (;;)
		count(&shared_count, 1000);
	return NULL;
}
TEST(exec_among_threads) {
	for (int n = 0; n < 10; n++) {
		int s = IN_CHILD({
			volatile int ready[3] = { 0 };
			register_area();
			for (int i = 0; i < 3; i++) {
				pthread_t t;
				pthread_create(&t, NULL, spinning_thread, (void *)&ready[i]);
			}
			while (!ready[0] || !ready[1] || !ready[2])
				sched_yield();
			execl("/bin/sh", "sh", "-c", "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; exit 0", NULL);
			_exit(9);
		});
		EXITED_OK(s);
	}
}

/* What the kernel can't write to, or a wrong descriptor, ends the process. */
static int status_of_broken(void (*breaks)(void)) {
	return IN_CHILD({
		breaks();
		for (;;)
			usleep(1000);
	});
}
static void unmaps_area(void) {
	struct rseq *a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(a != MAP_FAILED);
	OK(sys_rseq(a, 32, 0, SIG));
	OK(munmap(a, 4096));
}
static void protects_area(void) {
	struct rseq *a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(a != MAP_FAILED);
	OK(sys_rseq(a, 32, 0, SIG));
	OK(mprotect(a, 4096, PROT_READ));
}
static void points_nowhere(void) {
	register_area();
	for (;;)
		begin_at(0x1000);
}
static struct rseq_cs bad_cs __attribute__((aligned(32)));
static unsigned char no_signature[16];
static void lacks_signature(void) {
	register_area();
	bad_cs.start_ip = 0x1000;
	bad_cs.post_commit_offset = 0x7f0000000000;
	bad_cs.abort_ip = (unsigned long)&no_signature[8];
	if (bad_cs.abort_ip < bad_cs.start_ip + bad_cs.post_commit_offset)
		bad_cs.post_commit_offset = 0x500000000000;
	for (;;)
		begin_at((uintptr_t)&bad_cs);
}

TEST(broken_areas_kill) {
	register_area();
	OK(sys_rseq(&area, 32, RSEQ_FLAG_UNREGISTER, SIG));
	void (*all[])(void) = { unmaps_area, protects_area, points_nowhere, lacks_signature };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		int s = status_of_broken(all[i]);
		/* By SIGSEGV on Linux. */
		if (!WIFSIGNALED(s))
			guest_fail(__FILE__, __LINE__, "case %zu: status %#x, not a signal", i, s);
	}
}

/* A descriptor that covers all but the abort handler, and so whatever else is
 * in the address space, at any time. The process may die; nothing else. */
extern void everything_aborted(void);
__asm__(".text\n.byte 0x0f, 0xb9, 0x3d\n.long 0x53053053\neverything_aborted:\n"
	"movl $39, %eax\nsyscall\njmp everything_aborted\n");
static struct rseq_cs everything __attribute__((aligned(32)));

TEST(descriptor_over_everything) {
	register_area();
	OK(sys_rseq(&area, 32, RSEQ_FLAG_UNREGISTER, SIG));
	for (int n = 0; n < 8; n++) {
		pid_t k = OK(fork());
		if (k == 0) {
			alarm(1);
			register_area();
			everything.start_ip = (unsigned long)everything_aborted + 64;
			everything.post_commit_offset = 0x7fffffffe000 - everything.start_ip;
			everything.abort_ip = (unsigned long)everything_aborted;
			if (n & 1)
				OK(setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 1000 }, { 0, 1000 } }, NULL));
			for (;;) {
				begin_at((uintptr_t)&everything);
				syscall(n & 2 ? SYS_sched_yield : SYS_getppid);
				if (n & 4 && syscall(SYS_fork) == 0) {
					alarm(1);
					_exit(0);
				}
			}
		}
		sleep_ms(200);
		OK(kill(k, SIGKILL));
		int s;
		EQUAL(waitpid(k, &s, 0), k);
		CHECK(WIFSIGNALED(s) || WIFEXITED(s));
	}
	EXITED_OK(IN_CHILD(usleep(1000)));
}
