/* The processor's state over everything that interrupts a program, and storms
 * of threads, forks, execs and signals. */
#include "guest.h"
#include <cpuid.h>
#include <immintrin.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <ucontext.h>

/* The stress tests stop after this long each. */
#define STORM_MS 1200

static int have_avx(void) { return __builtin_cpu_supports("avx"); }
static int have_avx512(void) { return __builtin_cpu_supports("avx512f"); }

/* state is what the vector registers hold, from a seed. */
struct state {
	uint64_t z[32][8];
	uint64_t k[8];
	uint32_t mxcsr;
	uint16_t fcw;
};

static void fill(struct state *s, uint64_t seed) {
	uint64_t *p = (uint64_t *)s->z;
	for (unsigned i = 0; i < sizeof s->z / 8; i++)
		p[i] = seed = seed * 6364136223846793005u + 1442695040888963407u;
	for (int i = 0; i < 8; i++)
		s->k[i] = seed = seed * 6364136223846793005u + 1442695040888963407u;
	s->mxcsr = 0x1f80 | (seed >> 8 & 0x6000);
	s->fcw = 0x37f ^ (seed >> 20 & 0xc00);
}

#define EACH8(f, b) f(b##0) f(b##1) f(b##2) f(b##3) f(b##4) f(b##5) f(b##6) f(b##7)
#define EACH32(f) EACH8(f, ) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15) f(16) f(17) f(18) f(19) f(20) f(21) f(22) f(23) f(24) f(25) f(26) f(27) f(28) f(29) f(30) f(31)
#define EACH16(f) EACH8(f, ) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define LOADX(n) "movups " #n "*64(%0), %%xmm" #n "\n"
#define SAVEX(n) "movups %%xmm" #n ", " #n "*64(%1)\n"
#define LOADY(n) "vmovups " #n "*64(%0), %%ymm" #n "\n"
#define SAVEY(n) "vmovups %%ymm" #n ", " #n "*64(%1)\n"
#define LOADZ(n) "vmovups " #n "*64(%0), %%zmm" #n "\n"
#define SAVEZ(n) "vmovups %%zmm" #n ", " #n "*64(%1)\n"
#define LOADK(n) "kmovw " #n "*8(%2), %%k" #n "\n"
#define SAVEK(n) "kmovw %%k" #n ", " #n "*8(%3)\n"

/* between is what runs with the registers full: a loop that the storm
 * interrupts, or a system call in each round. */
#define BETWEEN                                                                \
	"1: test %[call], %[call]\n jz 2f\n mov $39, %%eax\n syscall\n"         \
	"2: pause\n dec %[n]\n jnz 1b\n"

/* hold puts a into the registers, does something for n rounds, and stores what
 * is in them then into b. */
__attribute__((noinline)) static void hold(const struct state *a, struct state *b, long n, long call) {
	uint32_t mx0;
	uint16_t cw0;
	memset(b, 0, sizeof *b);
	asm volatile("stmxcsr %0; fnstcw %1" : "=m"(mx0), "=m"(cw0));
	asm volatile("ldmxcsr %0; fldcw %1" ::"m"(a->mxcsr), "m"(a->fcw));
	const void *from = a->z, *kf = a->k;
	void *to = b->z, *kt = b->k;
	if (have_avx512())
		asm volatile(EACH32(LOADZ) EACH8(LOADK, ) BETWEEN EACH32(SAVEZ) EACH8(SAVEK, ) "vzeroall\n"
			     : "+r"(from), "+r"(to), "+r"(kf), "+r"(kt), [n] "+r"(n) : [call] "r"(call)
			     : "rax", "rcx", "r11", "memory", "cc");
	else if (have_avx())
		asm volatile(EACH16(LOADY) BETWEEN EACH16(SAVEY) "vzeroall\n"
			     : "+r"(from), "+r"(to), "+r"(kf), "+r"(kt), [n] "+r"(n) : [call] "r"(call)
			     : "rax", "rcx", "r11", "memory", "cc");
	else
		asm volatile(EACH16(LOADX) BETWEEN EACH16(SAVEX)
			     : "+r"(from), "+r"(to), "+r"(kf), "+r"(kt), [n] "+r"(n) : [call] "r"(call)
			     : "rax", "rcx", "r11", "memory", "cc");
	asm volatile("stmxcsr %0; fnstcw %1" : "=m"(b->mxcsr), "=m"(b->fcw));
	asm volatile("ldmxcsr %0; fldcw %1" ::"m"(mx0), "m"(cw0));
}

/* same checks what the processor at hand has of two states. */
static void same(const struct state *a, const struct state *b) {
	int regs = have_avx512() ? 32 : 16, words = have_avx512() ? 8 : have_avx() ? 4 : 2;
	for (int i = 0; i < regs; i++)
		for (int j = 0; j < words; j++)
			if (a->z[i][j] != b->z[i][j])
				guest_fail(__FILE__, __LINE__, "word %d of vector register %d is %llx, not %llx", j, i,
					   (long long)b->z[i][j], (long long)a->z[i][j]);
	if (have_avx512())
		for (int i = 0; i < 8; i++)
			EQUAL(b->k[i] & 0xffff, a->k[i] & 0xffff);
	EQUAL(b->mxcsr & ~0x3fu, a->mxcsr & ~0x3fu);
	EQUAL(b->fcw, a->fcw);
}

static volatile long handled;

/* scramble is a handler that leaves nothing as it was. */
static void scramble(int n) {
	(void)n;
	struct state a, b;
	handled++;
	fill(&a, handled * 77 + gettid());
	hold(&a, &b, 1, 1);
	same(&a, &b);
}

static void every_us(int us) {
	struct sigaction sa = { .sa_handler = scramble, .sa_flags = SA_RESTART };
	OK(sigaction(SIGALRM, &sa, NULL));
	struct itimerval t = { { 0, us }, { 0, us } };
	OK(setitimer(ITIMER_REAL, &t, NULL));
}

TEST(state_over_calls_and_handlers) {
	struct state a, b;
	every_us(300);
	long long end = now_ns() + 500000000;
	for (uint64_t i = 0; now_ns() < end || handled <= 10; i++) {
		fill(&a, i);
		hold(&a, &b, i % 2 ? 200 : 20, i % 2 == 0);
		same(&a, &b);
	}
}

static void *holder(void *p) {
	struct state a, b;
	for (uint64_t i = 0; !*(volatile int *)p; i++) {
		fill(&a, i ^ (uint64_t)gettid() << 32);
		hold(&a, &b, i % 2 ? 300 : 20, i % 2 == 0);
		same(&a, &b);
	}
	return NULL;
}

TEST(state_of_threads_and_forks) {
	volatile int stop = 0;
	pthread_t t[3];
	every_us(500);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, holder, (void *)&stop);
	long long end = now_ns() + STORM_MS * 1000000LL;
	for (int i = 0; now_ns() < end; i++) {
		pid_t k = OK(fork());
		if (!k) {
			struct state a, b;
			every_us(200);
			for (int j = 0; j < 20; j++) {
				fill(&a, j + i);
				hold(&a, &b, 100, j & 1);
				same(&a, &b);
			}
			_exit(0);
		}
		int s;
		EQUAL(waitpid(k, &s, 0), k);
		EXITED_OK(s);
	}
	stop = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
}

/* A new program starts with fresh registers. */
TEST(state_after_exec) {
	if (getenv("STATE_AFTER_EXEC"))
		SKIP("called by itself");
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		struct state a, b;
		fill(&a, 1);
		dup2(p[1], 1);
		hold(&a, &b, 1, 1);
		asm volatile("ldmxcsr %0; fldcw %1" ::"m"(a.mxcsr), "m"(a.fcw));
		execl("/proc/self/exe", "state", "@fresh", NULL);
		_exit(1);
	}
	close(p[1]);
	char buf[64];
	int n = OK(read(p[0], buf, sizeof buf - 1));
	buf[n < 0 ? 0 : n] = 0;
	if (strcmp(buf, "1f80 37f\n"))
		guest_fail(__FILE__, __LINE__, "a new program's MXCSR and control word are %s", buf);
	OK(waitpid(k, NULL, 0));
}

__attribute__((constructor)) static void fresh(int argc, char **argv) {
	if (argc != 2 || strcmp(argv[1], "@fresh"))
		return;
	uint32_t mx;
	uint16_t cw;
	asm volatile("stmxcsr %0; fnstcw %1" : "=m"(mx), "=m"(cw));
	printf("%x %x\n", mx, cw);
	fflush(stdout);
	_exit(0);
}

static void *signal_all(void *p) {
	pid_t *tids = p;
	while (!__atomic_load_n(&tids[0], __ATOMIC_ACQUIRE))
		sched_yield();
	unsigned seed = 1;
	while (tids[0] > 0) {
		seed = seed * 1103515245 + 12345;
		syscall(SYS_tgkill, getpid(), tids[1 + (seed >> 16) % 3], SIGUSR1 + (seed >> 8) % 2 * 2);
		if (seed % 7 == 0)
			sched_yield();
	}
	return NULL;
}

static void *worker(void *p) {
	volatile pid_t *tids = p;
	int me = __atomic_add_fetch((pid_t *)&tids[5], 1, __ATOMIC_SEQ_CST);
	tids[me] = gettid();
	struct state a, b;
	char buf[64];
	int fds[2];
	OK(pipe(fds));
	for (unsigned i = 0; tids[0] >= 0; i++) {
		fill(&a, i);
		hold(&a, &b, 10, 1);
		same(&a, &b);
		EQUAL(write(fds[1], "0123456789", 10), 10);
		EQUAL(read(fds[0], buf, 64), 10);
		char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(m != MAP_FAILED);
		m[i % 8192] = 1;
		OK(munmap(m, 8192));
		if (i % 64 == 0) {
			pid_t k = OK(fork());
			if (!k) {
				if (i % 128)
					_exit(7);
				execl("/proc/self/exe", "state", "@exit", NULL);
				_exit(1);
			}
			int s;
			pid_t r;
			while ((r = waitpid(k, &s, 0)) == -1 && errno == EINTR) {}
			EQUAL(r, k);
			EQUAL(WEXITSTATUS(s), 7);
		}
	}
	return NULL;
}

__attribute__((constructor)) static void exit_at_once(int argc, char **argv) {
	if (argc == 2 && !strcmp(argv[1], "@exit"))
		_exit(7);
}

TEST(storm_of_everything) {
	static volatile pid_t tids[8];
	struct sigaction sa = { .sa_handler = scramble, .sa_flags = SA_RESTART };
	OK(sigaction(SIGUSR1, &sa, NULL));
	OK(sigaction(SIGUSR2, &sa, NULL));
	pthread_t t[4];
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, worker, (void *)tids);
	while (tids[1] == 0 || tids[2] == 0 || tids[3] == 0)
		sched_yield();
	pthread_create(&t[3], NULL, signal_all, (void *)tids);
	__atomic_store_n(&tids[0], 1, __ATOMIC_RELEASE);
	sleep_ms(STORM_MS);
	while (handled <= 10)
		sleep_ms(10);
	tids[0] = -1;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}
