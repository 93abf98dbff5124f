/* Where select(2) and pselect(2) find their sets and leave their results. */
#include "guest.h"
#include <sys/eventfd.h>
#include <sys/select.h>

enum { page = 4096 };

/* pages are three; the middle one cannot be read. */
static char *pages(void) {
	char *m = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	OK(mprotect(m + page, page, PROT_NONE));
	return m;
}

static long raw_select(int n, void *r, void *w, void *x, void *tv) { return syscall(SYS_select, n, r, w, x, tv); }
static struct timeval now;

/* files are a descriptor that is writable alone, and one that is readable as well. */
static void files(int *w, int *rw) {
	*w = OK(eventfd(0, 0));
	*rw = OK(eventfd(1, 0));
}

TEST(sets_need_be_no_longer_than_their_words) {
	int w, rw;
	files(&w, &rw);
	char *m = pages();
	fd_set *r = (void *)(m + page - 8); /* its first 64 descriptors end the page */
	FD_SET(w, r);
	FD_SET(rw, r);
	now = (struct timeval){ 0 };
	EQUAL(raw_select(rw + 1, r, NULL, NULL, &now), 1);
	CHECK(!FD_ISSET(w, r) && FD_ISSET(rw, r));
	EQUAL(raw_select(64, r, NULL, NULL, &now), 1);
	OK(dup2(w, 100)); /* bits beyond the table of descriptors are not looked at */
	FAILS(raw_select(101, r, NULL, NULL, &now), EFAULT);
	CHECK(FD_ISSET(rw, r));
}

TEST(one_of_neighbours_is_unreadable) {
	int w, rw;
	files(&w, &rw);
	char *m = pages();
	fd_set *r = (void *)(m + page - 8), *gone = (void *)(m + page);
	FD_SET(rw, r);
	FAILS(raw_select(rw + 1, r, gone, NULL, &now), EFAULT);
	FAILS(raw_select(rw + 1, gone, r, NULL, &now), EFAULT);
	FAILS(raw_select(rw + 1, NULL, r, (void *)-8L, &now), EFAULT);
	FAILS(raw_select(rw + 1, (void *)8, NULL, NULL, &now), EFAULT);
}

TEST(sets_far_from_each_other) {
	int w, rw;
	files(&w, &rw);
	char *m = pages();
	fd_set *r = (void *)m, *wr = (void *)(m + 2 * page), *x = (void *)(m + 3 * page - 8);
	FD_SET(w, r); FD_SET(rw, r);
	FD_SET(w, wr); FD_SET(rw, wr);
	FD_SET(w, x);
	now = (struct timeval){ 0 };
	EQUAL(raw_select(rw + 1, x, wr, r, &now), 2);
	CHECK(!FD_ISSET(w, r) && !FD_ISSET(rw, r) && FD_ISSET(w, wr) && FD_ISSET(rw, wr) && !FD_ISSET(w, x));
}

/* Each set is read before one is written, in their order. */
TEST(one_set_for_all) {
	int w, rw;
	files(&w, &rw);
	fd_set s;
	FD_ZERO(&s);
	FD_SET(w, &s);
	now = (struct timeval){ 0 };
	EQUAL(raw_select(rw + 1, &s, &s, NULL, &now), 1);
	CHECK(FD_ISSET(w, &s));
	EQUAL(raw_select(rw + 1, &s, &s, &s, &now), 1);
	CHECK(!FD_ISSET(w, &s)); /* nothing is exceptional */
}

TEST(whole_words_are_written) {
	int w, rw;
	files(&w, &rw);
	fd_set s;
	FD_ZERO(&s);
	FD_SET(rw, &s);
	FD_SET(63, &s);
	FD_SET(64, &s);
	now = (struct timeval){ 0 };
	EQUAL(raw_select(rw + 1, &s, NULL, NULL, &now), 1);
	CHECK(FD_ISSET(rw, &s) && !FD_ISSET(63, &s) && FD_ISSET(64, &s));
	fd_set before = s;
	EQUAL(raw_select(0, &s, &s, &s, &now), 0);
	CHECK(!memcmp(&s, &before, sizeof s));
}

TEST(high_descriptors) {
	struct rlimit l;
	OK(getrlimit(RLIMIT_NOFILE, &l));
	if (l.rlim_max < 3000)
		SKIP("there may be only few descriptors");
	l.rlim_cur = 3000;
	OK(setrlimit(RLIMIT_NOFILE, &l));
	int w, rw;
	files(&w, &rw);
	OK(dup2(w, 2500));
	OK(dup2(rw, 2900));
	static unsigned long sets[3][3008 / 64];
	const int bits = 64;
	for (int i = 0; i < 3; i++)
		sets[i][2500 / bits] = 1ul << 2500 % bits, sets[i][2900 / bits] = 1ul << 2900 % bits;
	now = (struct timeval){ 0 };
	EQUAL(raw_select(2901, sets[0], sets[1], sets[2], &now), 3);
	EQUAL(sets[0][2500 / bits], 0);
	EQUAL(sets[0][2900 / bits], 1ul << 2900 % bits);
	EQUAL(sets[1][2500 / bits], 1ul << 2500 % bits);
	EQUAL(sets[1][2900 / bits], 1ul << 2900 % bits);
	EQUAL(sets[2][2900 / bits], 0);
}

TEST(results_that_cannot_be_written) {
	int w, rw;
	files(&w, &rw);
	char *m = pages();
	fd_set *r = (void *)m, *wr = (void *)(m + 2 * page);
	FD_SET(w, r);
	FD_SET(rw, wr);
	OK(mprotect(m, page, PROT_READ));
	now = (struct timeval){ 0 };
	FAILS(raw_select(rw + 1, r, wr, NULL, &now), EFAULT);
	CHECK(FD_ISSET(w, r));
	/* a time that cannot be written is no error */
	struct timeval *tv = (void *)(m + 64);
	OK(mprotect(m, page, PROT_READ | PROT_WRITE));
	*tv = (struct timeval){ 1000, 0 };
	OK(mprotect(m, page, PROT_READ));
	EQUAL(raw_select(rw + 1, NULL, wr, NULL, tv), 1);
	EQUAL(tv->tv_sec, 1000);
	FAILS(raw_select(0, NULL, NULL, NULL, m + page), EFAULT);
}

static volatile int caught;
static void catch(int sig) { caught = sig; }

static void block_usr1(sigset_t *none) {
	struct sigaction a = { .sa_handler = catch, .sa_flags = SA_RESTART };
	sigset_t s;
	OK(sigaction(SIGUSR1, &a, NULL));
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
	sigemptyset(none);
	raise(SIGUSR1);
}

TEST(pselect_has_a_mask_of_its_own) {
	sigset_t none, s;
	block_usr1(&none);
	struct timespec t = { 0 };
	EQUAL(pselect(0, NULL, NULL, NULL, &t, NULL), 0); /* it stays blocked */
	EQUAL(caught, 0);
	FAILS(pselect(0, NULL, NULL, NULL, NULL, &none), EINTR); /* whatever SA_RESTART says */
	EQUAL(caught, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, NULL, &s));
	CHECK(sigismember(&s, SIGUSR1));
}

/* What is ready goes before the signal, which waits then. */
TEST(pselect_ready_and_a_signal) {
	sigset_t none;
	int w, rw;
	files(&w, &rw);
	block_usr1(&none);
	fd_set r;
	FD_ZERO(&r);
	FD_SET(rw, &r);
	EQUAL(pselect(rw + 1, &r, NULL, NULL, NULL, &none), 1);
	CHECK(FD_ISSET(rw, &r));
	EQUAL(caught, 0);
	sigpending(&none);
	CHECK(sigismember(&none, SIGUSR1));
}

static long raw_pselect(int n, void *r, void *tv, void *mask) { return syscall(SYS_pselect6, n, r, NULL, NULL, tv, mask); }

TEST(pselect_arguments) {
	unsigned long set = 0;
	struct { void *mask; size_t size; } m = { &set, 8 };
	struct timespec t = { 0 };
	EQUAL(raw_pselect(0, NULL, &t, &m), 0);
	m.size = 4;
	FAILS(raw_pselect(0, NULL, &t, &m), EINVAL);
	m.mask = NULL; /* then the size does not matter */
	EQUAL(raw_pselect(0, NULL, &t, &m), 0);
	m.mask = (void *)8;
	m.size = 8;
	FAILS(raw_pselect(0, NULL, &t, &m), EFAULT);
	FAILS(raw_pselect(0, NULL, &t, (void *)8), EFAULT);
	FAILS(raw_pselect(0, NULL, (void *)8, NULL), EFAULT);
	t.tv_nsec = 1000000000;
	FAILS(raw_pselect(0, NULL, &t, NULL), EINVAL);
	t = (struct timespec){ -1, 0 };
	FAILS(raw_pselect(0, NULL, &t, NULL), EINVAL);
	FAILS(raw_pselect(-1, NULL, NULL, NULL), EINVAL);
	/* the system call tells what was left of the time */
	unsigned long r;
	int w, rw;
	files(&w, &rw);
	r = 1ul << rw;
	t = (struct timespec){ 1000, 0 };
	EQUAL(raw_pselect(rw + 1, &r, &t, NULL), 1);
	CHECK(t.tv_sec < 1000 || !t.tv_nsec);
	CHECK(t.tv_sec > 0 && t.tv_sec <= 1000);
	t = (struct timespec){ 0, 1000 };
	r = 1ul << w;
	EQUAL(raw_pselect(rw + 1, &r, &t, NULL), 0);
	EQUAL(r, 0);
	EQUAL(t.tv_sec + t.tv_nsec, 0);
}
