/* Threads, of which each has state that nobody else has. */
#include "guest.h"
#include <asm/prctl.h>
#include <cpuid.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/prctl.h>

/* An XSAVE area (Intel's manual, volume 1, 13.4): x87, SSE, AVX and AVX-512. */
#define FEATURES 0xe7
#define AREA 4096
struct area {
	unsigned char bytes[AREA];
} __attribute__((aligned(64)));

static uint64_t features(void) {
	unsigned lo, hi;
	__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (lo | (uint64_t)hi << 32) & FEATURES;
}

/* fill makes a state of which all registers hold n. */
static void fill(struct area *a, unsigned char n) {
	uint64_t f = features();
	memset(a, 0, sizeof *a);
	*(uint16_t *)a->bytes = 0x37f ^ (n & 3) << 10;		 /* rounding */
	*(uint32_t *)(a->bytes + 24) = 0x1f80 ^ (n & 3) << 13; /* likewise */
	for (int i = 0; i < 8; i++)
		memset(a->bytes + 32 + 16 * i, n, 10);
	memset(a->bytes + 160, n, 256);
	for (int i = 2; i < 8; i++) {
		unsigned size, offset, c, d;
		if (!(f >> i & 1))
			continue;
		__cpuid_count(0xd, i, size, offset, c, d);
		CHECK(offset + size <= AREA);
		memset(a->bytes + offset, n, size);
	}
	*(uint64_t *)(a->bytes + 512) = f;
}

static void load(struct area *a) {
	__asm__ volatile("xrstor64 %0" ::"m"(*a), "a"(FEATURES), "d"(0));
}

/* What a thread finds when it begins. */
struct born {
	struct area area;
	uint64_t mask, gs, fs, flags;
	long robust, slack, rseq, priority, cpus, affinity, alt;
	char name[16];
};

#define raw(nr, a, b, c, d)                                                    \
	({                                                                     \
		register long r10_ __asm__("r10") = (long)(d);                 \
		long r_;                                                       \
		__asm__ volatile("syscall"                                     \
				 : "=a"(r_)                                    \
				 : "0"((long)(nr)), "D"((long)(a)), "S"((long)(b)), "d"((long)(c)), "r"(r10_) \
				 : "rcx", "r11", "memory");                    \
		r_;                                                            \
	})

static struct born born;
static uint32_t own_rseq[8] __attribute__((aligned(32)));

/* look is a thread's life. It shares its maker's thread-local storage. */
__attribute__((noinline, used)) static void look(void) {
	struct born *b = &born;
	stack_t alt;
	void *head;
	size_t len;
	raw(SYS_rt_sigprocmask, 0, 0, &b->mask, 8);
	raw(SYS_arch_prctl, ARCH_GET_GS, &b->gs, 0, 0);
	raw(SYS_arch_prctl, ARCH_GET_FS, &b->fs, 0, 0);
	raw(SYS_get_robust_list, 0, &head, &len, 0);
	b->robust = (long)head;
	raw(SYS_sigaltstack, 0, &alt, 0, 0);
	b->alt = alt.ss_flags;
	b->slack = raw(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0);
	raw(SYS_prctl, PR_GET_NAME, b->name, 0, 0);
	b->priority = raw(SYS_getpriority, PRIO_PROCESS, 0, 0, 0);
	b->cpus = raw(SYS_sched_getaffinity, 0, sizeof b->affinity, &b->affinity, 0);
	own_rseq[1] = -1;
	b->rseq = raw(SYS_rseq, own_rseq, sizeof own_rseq, 0, 0x53053053);
	if (b->rseq == 0)
		raw(SYS_rseq, own_rseq, sizeof own_rseq, 1, 0x53053053);
	raw(SYS_exit, 0, 0, 0, 0);
}

static volatile int alive;
static char stack[65536] __attribute__((aligned(64)));

/* make makes a thread whose maker has the registers of a, and waits for its end. */
static void make(struct area *a, unsigned long flags) {
	long r;
	alive = 1;
	memset(&born, 0, sizeof born);
	register long ctid __asm__("r10") = (long)&alive;
	register long tls __asm__("r8") = 0;
	register struct area *theirs __asm__("r12") = &born.area;
	load(a);
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%edx, %%edx\n\t"
			 "mov %[features], %%eax\n\t"
			 "xsave64 (%%r12)\n\t"
			 "fninit\n\t"
			 "pushfq\n\t"
			 "popq %[flags]\n\t"
			 "call look\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(r), [flags] "=m"(born.flags)
			 : "0"((long)SYS_clone), "D"(flags), "S"(stack + sizeof stack), "d"(0L), "r"(ctid), "r"(tls), "r"(theirs), [features] "i"(FEATURES)
			 : "rcx", "r11", "memory", "cc");
	struct area plain;
	fill(&plain, 0);
	load(&plain);
	CHECK(r > 0);
	while (alive)
		raw(SYS_futex, &alive, FUTEX_WAIT, 1, 0);
}

static void nothing(int sig) {}

/* other is a thread that changes all that is its own, and leaves it so. */
static void *other(void *arg) {
	static __thread char alt[65536];
	struct area a;
	sigset_t all;
	cpu_set_t one;
	stack_t s = { .ss_sp = alt, .ss_size = sizeof alt };
	OK(sigaltstack(&s, NULL));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	OK(prctl(PR_SET_NAME, "other"));
	OK(prctl(PR_SET_TIMERSLACK, 77777));
	OK(setpriority(PRIO_PROCESS, syscall(SYS_gettid), 5));
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof one, &one);
	OK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0x1234000));
	fill(&a, (long)arg);
	load(&a);
	/* Not by way of the library, which clears some of it. */
	__asm__ volatile("pushfq\n\torq $0x40000, (%%rsp)\n\tpopfq\n\tsyscall" ::"a"((long)SYS_exit), "D"(0L));
	return NULL;
}

static void same(unsigned long flags) {
	static struct area mine;
	struct born before = {};
	signal(SIGUSR1, nothing);
	before.affinity = 0;
	before.cpus = raw(SYS_sched_getaffinity, 0, sizeof before.affinity, &before.affinity, 0);
	raw(SYS_rt_sigprocmask, 0, 0, &before.mask, 8);
	raw(SYS_arch_prctl, ARCH_GET_FS, &before.fs, 0, 0);
	for (int round = 1; round <= 12; round++) {
		pthread_t others[6];
		int n = round % 7;
		for (long i = 0; i < n; i++)
			CHECK(!pthread_create(&others[i], NULL, other, (void *)(round * 7 + i)));
		for (int i = 0; i < n; i++)
			CHECK(!pthread_join(others[i], NULL));
		OK(syscall(SYS_arch_prctl, ARCH_SET_GS, round % 2 ? 0L : 0x5678000L));
		fill(&mine, 100 + round);
		make(&mine, flags);
		uint64_t has = *(uint64_t *)(born.area.bytes + 512) & FEATURES;
		CHECK((has & features()) == features());
		/* Of the legacy area not what x87 tells of its last instruction. */
		CHECK(!memcmp(born.area.bytes, mine.bytes, 4));
		CHECK(!memcmp(born.area.bytes + 24, mine.bytes + 24, 4));
		CHECK(!memcmp(born.area.bytes + 32, mine.bytes + 32, 384));
		CHECK(!memcmp(born.area.bytes + 576, mine.bytes + 576, AREA - 576));
		EQUAL(born.flags & 0x40500, 0); /* AC, DF, TF */
		EQUAL(born.mask, before.mask);
		EQUAL(born.gs, round % 2 ? 0 : 0x5678000);
		EQUAL(born.fs, before.fs);
		EQUAL(born.robust, 0);
		EQUAL(born.alt, SS_DISABLE);
		CHECK(born.slack != 77777);
		EQUAL(born.priority, 20);
		EQUAL(born.affinity, before.affinity);
		CHECK(strcmp(born.name, "other"));
		CHECK(born.rseq == 0 || born.rseq == -ENOSYS);
	}
}

/* A thread begins as who makes it is, whatever threads before it were. */
TEST(threads_begin_as_their_makers) {
	same(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID);
}

/* So does a process that shares its maker's memory. */
TEST(processes_in_the_same_memory_begin_as_their_makers) {
	signal(SIGCHLD, SIG_IGN);
	same(CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD);
}


/* turns passes a byte to a thread and back: one of both is at work at a time. */
static int to[2], fro[2];

static void *answer(void *arg) {
	char c;
	while (read(to[0], &c, 1) == 1)
		EQUAL(write(fro[1], &c, 1), 1);
	return NULL;
}

static void turns(int n) {
	for (int i = 0; i < n; i++) {
		char c = i, back;
		EQUAL(write(to[1], &c, 1), 1);
		EQUAL(read(fro[0], &back, 1), 1);
		EQUAL(back, c);
	}
}

static volatile int met;

/* meet waits, without a call, until as many have come as it is told. */
static void *meet(void *all) {
	__atomic_add_fetch(&met, 1, __ATOMIC_SEQ_CST);
	while (met < *(int *)all)
		;
	return NULL;
}

TEST(one_at_work_then_several) {
	pthread_t answers, t[3];
	OK(pipe(to));
	OK(pipe(fro));
	EQUAL(pthread_create(&answers, NULL, answer, NULL), 0);
	for (int round = 0; round < 50; round++) {
		turns(200);
		/* Who computes must not keep the next one from its start, nor a process or a timer. */
		int all = 4;
		met = 0;
		for (int i = 0; i < 3; i++)
			EQUAL(pthread_create(&t[i], NULL, meet, &all), 0);
		meet(&all);
		for (int i = 0; i < 3; i++)
			EQUAL(pthread_join(t[i], NULL), 0);
		turns(100);
		pid_t child = OK(fork());
		if (child == 0)
			_exit(0);
		usleep(100);
		EQUAL(waitpid(child, NULL, 0), child);
	}
	close(to[1]);
	EQUAL(pthread_join(answers, NULL), 0);
}
