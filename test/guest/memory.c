/* Memory: mmap(2), mprotect(2), mremap(2), brk(2), madvise(2), mincore(2). */
#include "guest.h"
#include <pthread.h>
#include <setjmp.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/uio.h>

static sigjmp_buf back;
static volatile int fault_signal;
static void caught(int s) { fault_signal = s; siglongjmp(back, 1); }

/* fault runs code and returns the signal that it raised, or 0. */
#define FAULT(...)                                                             \
	({                                                                     \
		fault_signal = 0;                                              \
		signal(SIGSEGV, caught);                                       \
		signal(SIGBUS, caught);                                        \
		if (!sigsetjmp(back, 1)) { __VA_ARGS__; }                             \
		signal(SIGSEGV, SIG_DFL);                                      \
		fault_signal;                                                  \
	})

static char *map(size_t n, int prot) {
	char *m = mmap(0, n, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	return m;
}

TEST(mmap_and_protection) {
	char *m = map(8192, PROT_READ | PROT_WRITE);
	m[0] = 1;
	OK(mprotect(m, 4096, PROT_READ));
	EQUAL(FAULT(m[0] = 2), SIGSEGV);
	m[4096] = 3;
	OK(mprotect(m, 4096, PROT_NONE));
	EQUAL(FAULT((void)*(volatile char *)m), SIGSEGV);
	OK(mprotect(m, 8192, PROT_READ | PROT_WRITE));
	EQUAL(m[0], 1);
	OK(munmap(m, 4096));
	EQUAL(FAULT((void)*(volatile char *)m), SIGSEGV);
	EQUAL(m[4096], 3);
	FAILS(mprotect(m, 8192, PROT_READ), ENOMEM);
	FAILS(mprotect(m + 1, 4096, PROT_READ), EINVAL);
	OK(munmap(m, 8192)); /* parts may be gone already */
	FAILS(munmap(m + 1, 4096), EINVAL);
	FAILS(munmap(m, 0), EINVAL);
}

TEST(mmap_errors) {
	CHECK(mmap(0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(0, 4096, PROT_READ, MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED && errno == EBADF);
	CHECK(mmap((void *)1, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(0, (size_t)1 << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
	int f = OK(open("f", O_CREAT | O_RDONLY, 0600));
	CHECK(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0) == MAP_FAILED && errno == EACCES);
	CHECK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, f, 1) == MAP_FAILED && errno == EINVAL);
	int d = OK(open(".", O_RDONLY));
	CHECK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, d, 0) == MAP_FAILED && errno == ENODEV);
	int w = OK(open("f2", O_CREAT | O_WRONLY, 0600));
	CHECK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, w, 0) == MAP_FAILED && errno == EACCES);
}

TEST(fixed_mappings) {
	char *m = map(3 * 4096, PROT_READ | PROT_WRITE);
	memset(m, 7, 3 * 4096);
	char *n = mmap(m + 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(n == m + 4096);
	EQUAL(m[0], 7);
	EQUAL(m[4096], 0);
	EQUAL(m[8192], 7);
	CHECK(mmap(m, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST);
	OK(munmap(m, 4096));
	CHECK(mmap(m, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == m);
	/* a hint that is free is taken */
	OK(munmap(m, 3 * 4096));
	CHECK(mmap(m, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == m);
}

TEST(files_private_and_shared) {
	int f = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQUAL(write(f, "hello", 5), 5);
	char *s = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
	char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, f, 0);
	CHECK(!memcmp(s, "hello", 5) && !memcmp(p, "hello", 5));
	p[0] = 'j';
	EQUAL(s[0], 'h');
	s[0] = 'H';
	char c;
	EQUAL(pread(f, &c, 1, 0), 1);
	EQUAL(c, 'H');
	EQUAL(pwrite(f, "E", 1, 1), 1);
	EQUAL(s[1], 'E');
	OK(msync(s, 4096, MS_SYNC));
	FAILS(msync(s, 4096, MS_SYNC | MS_ASYNC), EINVAL);
	FAILS(msync((char *)0x10000000000, 4096, MS_SYNC), ENOMEM);
	EQUAL(s[100], 0); /* the rest of the last page is zero */
	OK(close(f));
	EQUAL(s[0], 'H');
	/* a child shares the shared one */
	EXITED_OK(IN_CHILD(s[0] = 'C'));
	EQUAL(s[0], 'C');
	EQUAL(p[0], 'j');
}

TEST(mremap_moves_and_grows) {
	char *m = map(4096, PROT_READ | PROT_WRITE);
	strcpy(m, "keep");
	char *n = mremap(m, 4096, 1 << 20, MREMAP_MAYMOVE);
	CHECK(n != MAP_FAILED && !strcmp(n, "keep"));
	n[(1 << 20) - 1] = 1;
	char *o = mremap(n, 1 << 20, 4096, 0);
	CHECK(o == n);
	EQUAL(FAULT((void)*(volatile char *)(n + 4096)), SIGSEGV);
	char *target = map(8192, PROT_READ);
	char *q = mremap(n, 4096, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, target);
	CHECK(q == target && !strcmp(q, "keep"));
	EQUAL(FAULT((void)*(volatile char *)n), SIGSEGV);
	CHECK(mremap(q + 1, 4096, 4096, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mremap((void *)0x10000000000, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
	CHECK(mremap(q, 4096, 4096, MREMAP_FIXED, target) == MAP_FAILED && errno == EINVAL);
}

TEST(brk_grows_and_shrinks) {
	char *start = sbrk(0);
	CHECK(sbrk(1 << 20) == start);
	start[0] = 1;
	start[(1 << 20) - 1] = 2;
	CHECK(sbrk(-(1 << 20)) == start + (1 << 20));
	EQUAL(FAULT((void)*(volatile char *)(start + 8192)), SIGSEGV);
	CHECK(sbrk(8192) == start);
	EQUAL(start[4096], 0);
	EQUAL(syscall(SYS_brk, 8), (long)sbrk(0)); /* refused: nothing changes */
}

TEST(madvise_dontneed_zeroes) {
	char *m = map(8192, PROT_READ | PROT_WRITE);
	memset(m, 5, 8192);
	OK(madvise(m, 4096, MADV_DONTNEED));
	EQUAL(m[0], 0);
	EQUAL(m[4096], 5);
	FAILS(madvise(m + 1, 4096, MADV_DONTNEED), EINVAL);
	FAILS(madvise(m, 4096, 12345), EINVAL);
	OK(munmap(m + 4096, 4096));
	FAILS(madvise(m, 8192, MADV_DONTNEED), ENOMEM);
	OK(madvise(m, 4096, MADV_DONTFORK));
	int s = IN_CHILD((void)*(volatile char *)m);
	EQUAL(WTERMSIG(s), SIGSEGV);
}

static void grow(int n) {
	volatile char big[4096];
	big[0] = (char)n;
	if (n > big[0] - big[0])
		grow(n - 1);
}

TEST(stack_grows) {
	grow(1200); /* almost 5 MiB */
	struct rlimit r = { 1 << 20, RLIM_INFINITY };
	getrlimit(RLIMIT_STACK, &r);
	CHECK(r.rlim_cur >= 5 << 20);
	int s = IN_CHILD(grow(100000));
	EQUAL(WTERMSIG(s), SIGSEGV);
}

TEST(mincore_tells_what_is_there) {
	char *m = map(8192, PROT_READ | PROT_WRITE);
	madvise(m, 8192, MADV_NOHUGEPAGE); /* a huge page would bring both; EINVAL where there are none */
	unsigned char v[3] = { 7, 7, 7 };
	OK(mincore(m, 8192, v));
	EQUAL(v[0] & 1, 0);
	EQUAL(v[1] & 1, 0);
	m[4096] = 1;
	OK(mincore(m, 4097, v)); /* a part counts as a page */
	EQUAL(v[0] & 1, 0);
	EQUAL(v[1] & 1, 1);
	EQUAL(v[2], 7);
	OK(madvise(m + 4096, 4096, MADV_DONTNEED));
	OK(mincore(m + 4096, 4096, v));
	EQUAL(v[0] & 1, 0);
	OK(mlock(m, 4096));
	OK(mincore(m, 8192, v));
	EQUAL(v[0] & 1, 1);
	EQUAL(v[1] & 1, 0);
	OK(munlock(m, 4096));
	OK(mincore((void *)getauxval(AT_SYSINFO_EHDR), 4096, v));
	FAILS(mincore(m + 1, 4096, v), EINVAL);
	FAILS(mincore(m, 4096, (unsigned char *)-1), EFAULT);
	FAILS(mincore(m, 4096, (unsigned char *)8), EFAULT);
	OK(munmap(m + 4096, 4096));
	v[0] = 0;
	FAILS(mincore(m, 8192, v), ENOMEM);
	char *f = mmap(0, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	CHECK(f != MAP_FAILED);
	OK(mincore(f, 8192, v));
	EQUAL(v[0] & 1, 0);
}

TEST(mincore_of_much) {
	/* more than a page of answers, with something near the end */
	size_t n = 10000;
	char *m = mmap(0, n * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(m != MAP_FAILED);
	madvise(m, n * 4096, MADV_NOHUGEPAGE);
	m[9998 * 4096] = 1;
	unsigned char *v = malloc(n);
	memset(v, 7, n);
	OK(mincore(m, n * 4096, v));
	for (size_t i = 0; i < n; i++)
		EQUAL(v[i] & 1, i == 9998);
	free(v);
}

TEST(address_space_limit) {
	int s = IN_CHILD({
		struct rlimit r = { 64 << 20, 64 << 20 };
		OK(setrlimit(RLIMIT_AS, &r));
		CHECK(mmap(0, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
		EQUAL(errno, ENOMEM);
		CHECK(mmap(0, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	});
	EXITED_OK(s);
}

TEST(huge_reservations_cost_nothing) {
	size_t size = (size_t)1 << 40;
	char *m = mmap(0, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(m != MAP_FAILED);
	OK(mprotect(m + (size / 2), 4096, PROT_READ | PROT_WRITE));
	m[size / 2] = 1;
	EXITED_OK(IN_CHILD(EQUAL(m[size / 2], 1)));
	OK(munmap(m, size));
}

TEST(code_can_be_written_and_run) {
	unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov $42,%eax; ret */
	char *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(m, code, sizeof code);
	OK(mprotect(m, 4096, PROT_READ | PROT_EXEC));
	EQUAL(((int (*)(void))m)(), 42);
	OK(mprotect(m, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
	m[1] = 43;
	EQUAL(((int (*)(void))m)(), 43);
}

static char *volatile shared_map;
static volatile int stop;
static void *mapper(void *a) {
	while (!stop) {
		char *m = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (m == MAP_FAILED)
			return (void *)1;
		for (int i = 0; i < 65536; i += 4096) {
			if (m[i] != 0)
				return (void *)2;
			m[i] = 1;
		}
		if (munmap(m, 65536))
			return (void *)3;
	}
	(void)a;
	return NULL;
}

TEST(threads_map_at_once) {
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		EQUAL(pthread_create(&t[i], NULL, mapper, NULL), 0);
	sleep_ms(300);
	stop = 1;
	for (int i = 0; i < 4; i++) {
		void *r;
		pthread_join(t[i], &r);
		EQUAL((long)r, 0);
	}
}

TEST(vm_readv_of_a_child) {
	static volatile int x = 77;
	pid_t k = OK(fork());
	if (!k) {
		x = 78;
		for (;;)
			pause();
	}
	await_sleep(k);
	int got = 0;
	struct iovec l = { &got, sizeof got }, r = { (void *)&x, sizeof x };
	EQUAL(process_vm_readv(k, &l, 1, &r, 1, 0), sizeof got);
	EQUAL(got, 78);
	r.iov_base = (void *)8;
	FAILS(process_vm_readv(k, &l, 1, &r, 1, 0), EFAULT);
	FAILS(process_vm_readv(0x3fffffff, &l, 1, &r, 1, 0), ESRCH);
	OK(kill(k, SIGKILL));
	OK(waitpid(k, NULL, 0));
}

TEST(many_mappings) {
	/* alternate protections, so that neighbours cannot merge */
	size_t n = 2000;
	char *m = map(n * 4096, PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < n; i += 2)
		OK(mprotect(m + i * 4096, 4096, PROT_READ));
	for (size_t i = 1; i < n; i += 2)
		m[i * 4096] = 1;
	EQUAL(FAULT(m[0] = 1), SIGSEGV);
	OK(mprotect(m, n * 4096, PROT_READ | PROT_WRITE));
	m[0] = 1;
	OK(munmap(m, n * 4096));
}

TEST(the_top_of_user_space) {
	/* Addresses up to the end can be named, whether or not they can be mapped. */
	char *end = (char *)0x7ffffffff000, *m = end - 8192;
	unsigned char vec[2];
	OK(munmap(m, 8192));
	FAILS(mprotect(m, 8192, PROT_READ), ENOMEM);
	FAILS(madvise(m, 8192, MADV_DONTNEED), ENOMEM);
	FAILS(mincore(m, 8192, vec), ENOMEM);
	FAILS(msync(m, 8192, MS_SYNC), ENOMEM);
	FAILS(mremap(m, 8192, 4096, 0), EFAULT);
	FAILS(munmap(m, 12288), EINVAL);
	FAILS(munmap(end, 4096), EINVAL);
	FAILS(mincore(end, 4096, vec), ENOMEM);
	errno = 0;
	CHECK(mmap(end, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == ENOMEM);
	CHECK(mmap(NULL, 0x7ffffffff000, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED && errno == ENOMEM);
}
