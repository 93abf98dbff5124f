/* Results that a call writes to memory last of all, and memory where that
 * cannot be done, or only by growing the stack.
 */
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/utsname.h>

/* nowhere returns an address where nothing is, behind a page that is there. */
static char *nowhere(void) {
	char *p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	OK(munmap(p + 4096, 4096));
	return p + 4096;
}

TEST(results_nowhere) {
	char *bad = nowhere();
	int fd = open("/dev/zero", O_RDWR);
	OK(fd);
	for (int i = 0; i < 30; i++) { /* often enough for every way in */
		FAILS(syscall(SYS_fstat, fd, bad), EFAULT);
		FAILS(syscall(SYS_fstat, fd, bad - 100), EFAULT);
		FAILS(syscall(SYS_newfstatat, AT_FDCWD, "/", bad, 0), EFAULT);
		FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad, 8), EFAULT);
		FAILS(syscall(SYS_rt_sigaction, SIGUSR1, NULL, bad, 8), EFAULT);
		FAILS(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, bad), EFAULT);
		FAILS(syscall(SYS_getrusage, RUSAGE_SELF, bad), EFAULT);
		FAILS(syscall(SYS_uname, bad), EFAULT);
		FAILS(read(fd, bad, 1), EFAULT);
		EQUAL(getppid() > 0, 1); /* and the next call is none the worse */
	}
	struct stat st;
	OK(fstat(fd, &st));
	EQUAL(S_ISCHR(st.st_mode), 1);
}

TEST(results_of_wait_nowhere) {
	char *bad = nowhere();
	pid_t k = fork();
	OK(k);
	if (!k)
		_exit(3);
	siginfo_t si;
	OK(waitid(P_PID, k, &si, WEXITED | WNOWAIT));
	FAILS(syscall(SYS_wait4, k, bad, 0, bad), EFAULT);
	FAILS(syscall(SYS_wait4, k, NULL, 0, NULL), ECHILD); /* it was reaped all the same */
}

TEST(results_read_only) {
	char *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	FAILS(syscall(SYS_fstat, 0, p), EFAULT);
	EQUAL(p[0], 0);
	OK(mprotect(p, 4096, PROT_READ | PROT_WRITE));
	OK(syscall(SYS_uname, p));
	CHECK(strcmp(p, "Linux") == 0);
}

/* Both results of a call lie where the stack has not grown to yet. */
TEST(results_grow_the_stack) {
	pid_t k = fork();
	OK(k);
	if (!k)
		_exit(3);
	char here;
	char *low = (char *)(((uintptr_t)&here - (1 << 20)) & ~(uintptr_t)4095);
	int *status = (int *)(low + 100);
	struct rusage *ru = (struct rusage *)(low - 8000);
	EQUAL(syscall(SYS_wait4, k, status, 0, ru), k);
	EQUAL(WEXITSTATUS(*status), 3);
	CHECK(ru->ru_maxrss >= 0);
	struct stat *st = (struct stat *)(low - (1 << 20));
	OK(syscall(SYS_fstat, 0, st));
	CHECK(st->st_mode != 0);
}

static volatile sig_atomic_t caught;
static void on_signal(int sig) { caught = sig; }

/* A failure shows though a signal's handler runs before the call returns. */
TEST(results_fail_before_a_handler) {
	char *bad = nowhere();
	struct sigaction sa = { .sa_handler = on_signal };
	OK(sigaction(SIGUSR1, &sa, NULL));
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	for (int i = 0; i < 20; i++) {
		OK(sigprocmask(SIG_BLOCK, &set, NULL));
		OK(raise(SIGUSR1));
		caught = 0;
		/* The mask is set even so. */
		FAILS(syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, bad, 8), EFAULT);
		EQUAL(caught, SIGUSR1);
	}
}

/* A buffer that ends in the middle: what fits is read, and the rest is there
 * for the next who reads. */
TEST(results_of_read_cut_off) {
	char *end = nowhere(), rest[16];
	int p[2];
	OK(pipe(p));
	EQUAL(write(p[1], "0123456789", 10), 10);
	ssize_t n = read(p[0], end - 4, 10);
	if (n == -1) { /* as the host has it */
		EQUAL(errno, EFAULT);
		return;
	}
	EQUAL(n, 4);
	CHECK(memcmp(end - 4, "0123", 4) == 0);
	OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
	n = read(p[0], rest, sizeof rest);
	EQUAL(n, 6);
	CHECK(memcmp(rest, "456789", 6) == 0);
}

/* Memory operations that follow each other see each other's effect, and the
 * results written between them. */
TEST(results_between_mappings) {
	for (int i = 0; i < 100; i++) {
		char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(p != MAP_FAILED);
		OK(syscall(SYS_uname, p));
		OK(mprotect(p, 4096, PROT_READ));
		CHECK(strcmp(p, "Linux") == 0);
		FAILS(syscall(SYS_uname, p), EFAULT);
		OK(munmap(p, 4096));
		FAILS(syscall(SYS_uname, p), EFAULT);
		OK(munmap(p + 4096, 4096));
	}
}

static void *make_calls(void *arg) {
	struct stat st;
	for (int i = 0; i < 2000; i++) {
		memset(&st, 0xff, sizeof st);
		if (fstat(0, &st) != 0 || (unsigned)st.st_mode == 0xffffffff)
			return "fstat";
		char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED || p[0] != 0)
			return "mmap";
		p[0] = 1;
		if (munmap(p, 4096) != 0)
			return "munmap";
	}
	return arg;
}

TEST(results_among_threads) {
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		EQUAL(pthread_create(&t[i], NULL, make_calls, NULL), 0);
	for (int i = 0; i < 4; i++) {
		void *r;
		EQUAL(pthread_join(t[i], &r), 0);
		CHECK(r == NULL);
	}
}
