/* Time and futexes: clock_gettime(2), nanosleep(2), timers, futex(2). */
#include "guest.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>

static long futex(volatile int *a, int op, int val, const struct timespec *t, volatile int *b, int val3) {
	return syscall(SYS_futex, a, op, val, t, b, val3);
}

TEST(clocks_agree) {
	struct timespec a, b;
	OK(clock_gettime(CLOCK_REALTIME, &a));
	OK(syscall(SYS_clock_gettime, CLOCK_REALTIME, &b));
	/* time(2) tells the clock of the last tick: for as long as a tick it may be
	   the second before that of clock_gettime(2). */
	struct timespec before, after, c;
	OK(clock_gettime(CLOCK_REALTIME_COARSE, &before));
	time_t t = time(NULL);
	OK(clock_gettime(CLOCK_REALTIME_COARSE, &after));
	OK(clock_gettime(CLOCK_REALTIME, &c));
	CHECK(before.tv_sec <= t && t <= after.tv_sec);
	CHECK(a.tv_sec - 1 <= t && t <= c.tv_sec);
	CHECK(a.tv_sec <= b.tv_sec && b.tv_sec <= c.tv_sec);
	long long last = now_ns();
	for (int i = 0; i < 10000; i++) {
		long long n = now_ns();
		CHECK(n >= last);
		last = n;
	}
	/* the vDSO's clock and the kernel's are one */
	for (int i = 0; i < 100; i++) {
		struct timespec k;
		long long before = now_ns();
		OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &k));
		long long mid = k.tv_sec * 1000000000LL + k.tv_nsec;
		CHECK(before <= mid && mid <= now_ns());
	}
	FAILS(clock_gettime(12345, &a), EINVAL);
	OK(clock_getres(CLOCK_MONOTONIC, &a));
	CHECK(a.tv_sec == 0 && a.tv_nsec > 0 && a.tv_nsec <= 10000000);
	FAILS(syscall(SYS_clock_gettime, CLOCK_REALTIME, (void *)8), EFAULT);
}

TEST(cpu_clocks_count_work_only) {
	struct timespec a, b;
	OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a));
	/* it gets there however little time a busy host gives */
	long long used;
	do {
		OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b));
		used = (b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec;
	} while (used < 20000000);
	/* Not always what it counts is the process's own, on a busy host: once is enough. */
	do {
		OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a));
		sleep_ms(100);
		OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b));
		used = (b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec;
	} while (used >= 60000000);
}

static volatile int spinning_ends;
static long long spun_ns[8];
static void *spin(void *arg) {
	struct timespec t, before = { 0, 0 };
	while (!spinning_ends) {
		for (volatile int i = 0; i < 100000; i++) {}
		OK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t));
		CHECK(t.tv_sec > before.tv_sec || (t.tv_sec == before.tv_sec && t.tv_nsec >= before.tv_nsec));
		before = t;
	}
	*(long long *)arg = t.tv_sec * 1000000000LL + t.tv_nsec;
	return arg;
}

/* More threads than processors share what these have. */
TEST(cpu_time_is_what_processors_gave) {
	pthread_t t[8];
	long long start = now_ns(), sum = 0;
	for (int i = 0; i < 8; i++)
		EQUAL(pthread_create(&t[i], NULL, spin, &spun_ns[i]), 0);
	sleep_ms(300);
	spinning_ends = 1;
	for (int i = 0; i < 8; i++) {
		EQUAL(pthread_join(t[i], NULL), 0);
		sum += spun_ns[i];
	}
	struct rusage r;
	OK(getrusage(RUSAGE_SELF, &r));
	long long most = (now_ns() - start + 20000000) * sysconf(_SC_NPROCESSORS_ONLN);
	CHECK((r.ru_utime.tv_sec * 1000000LL + r.ru_utime.tv_usec) * 1000 <= most);
	/* Each thread's share is known as well as what all had by then. */
	CHECK(sum <= 2 * most);
}

TEST(sleeping) {
	long long t0 = now_ns();
	sleep_ms(20);
	CHECK(now_ns() - t0 >= 20000000);
	struct timespec bad = { 0, 1000000000 };
	FAILS(nanosleep(&bad, NULL), EINVAL);
	struct timespec at;
	OK(clock_gettime(CLOCK_MONOTONIC, &at));
	at.tv_nsec += 20000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	EQUAL(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL), 0);
	CHECK(now_ns() >= at.tv_sec * 1000000000LL + at.tv_nsec);
	EQUAL(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL), 0);
}

static volatile int ticks;
static void tick(int s) { (void)s; ticks++; }

TEST(interval_timers) {
	signal(SIGALRM, tick);
	struct itimerval it = { { 0, 5000 }, { 0, 5000 } }, old;
	OK(setitimer(ITIMER_REAL, &it, NULL));
	while (ticks < 5)
		pause();
	memset(&it, 0, sizeof it);
	OK(setitimer(ITIMER_REAL, &it, &old));
	EQUAL(old.it_interval.tv_usec, 5000);
	EQUAL(alarm(1000), 0);
	unsigned left = alarm(0);
	CHECK(left > 900 && left <= 1000);
	signal(SIGVTALRM, tick);
	ticks = 0;
	it.it_value.tv_usec = 10000;
	OK(setitimer(ITIMER_VIRTUAL, &it, NULL));
	while (!ticks) {}
	FAILS(setitimer(9, &it, NULL), EINVAL);
}

static volatile int got_value;
static void timer_info(int s, siginfo_t *i, void *c) {
	(void)s;
	(void)c;
	ticks++;
	got_value = i->si_value.sival_int;
}

TEST(posix_timers) {
	struct sigaction a;
	memset(&a, 0, sizeof a);
	a.sa_sigaction = timer_info;
	a.sa_flags = SA_SIGINFO;
	OK(sigaction(SIGRTMIN, &a, NULL));
	struct sigevent e;
	memset(&e, 0, sizeof e);
	e.sigev_notify = SIGEV_SIGNAL;
	e.sigev_signo = SIGRTMIN;
	e.sigev_value.sival_int = 99;
	timer_t t;
	OK(timer_create(CLOCK_MONOTONIC, &e, &t));
	struct itimerspec it = { { 0, 3000000 }, { 0, 3000000 } }, cur;
	OK(timer_settime(t, 0, &it, NULL));
	while (ticks < 5)
		pause();
	EQUAL(got_value, 99);
	OK(timer_gettime(t, &cur));
	EQUAL(cur.it_interval.tv_nsec, 3000000);
	CHECK(timer_getoverrun(t) >= 0);
	OK(timer_delete(t));
	FAILS(syscall(SYS_timer_delete, 12345), EINVAL);
}

TEST(futex_basics) {
	static volatile int w = 1;
	FAILS(futex(&w, FUTEX_WAIT, 0, NULL, NULL, 0), EAGAIN);
	struct timespec t = { 0, 10000000 };
	long long t0 = now_ns();
	FAILS(futex(&w, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 1, &t, NULL, 0), ETIMEDOUT);
	CHECK(now_ns() - t0 >= 10000000);
	EQUAL(futex(&w, FUTEX_WAKE, 10, NULL, NULL, 0), 0);
	FAILS(futex((int *)8, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
	FAILS(futex((int *)((char *)&w + 1), FUTEX_WAIT, 0, NULL, NULL, 0), EINVAL);
	FAILS(futex(&w, FUTEX_WAIT_BITSET, 1, NULL, NULL, 0), EINVAL);
	FAILS(futex(&w, 99, 1, NULL, NULL, 0), ENOSYS);
	t.tv_nsec = 1000000000;
	FAILS(futex(&w, FUTEX_WAIT, 1, &t, NULL, 0), EINVAL);
}

static volatile int gate, passed;
static volatile pid_t waiters[8];
static volatile int nwaiters;

/* waiting says that this thread is about to wait. */
static void waiting(void) { waiters[__atomic_fetch_add(&nwaiters, 1, __ATOMIC_SEQ_CST)] = gettid(); }

/* await_waiters waits until so many threads do. */
static void await_waiters(int n) {
	for (int i = 0; i < n; i++) {
		while (!waiters[i])
			sleep_ms(1);
		await_sleep(waiters[i]);
	}
}

static void *waits(void *a) {
	waiting();
	while (!gate)
		futex(&gate, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	__atomic_add_fetch(&passed, 1, __ATOMIC_SEQ_CST);
	return a;
}

TEST(futex_wakes_all) {
	pthread_t t[8];
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, waits, NULL);
	await_waiters(8);
	gate = 1;
	EQUAL(futex(&gate, FUTEX_WAKE_PRIVATE, 1000, NULL, NULL, 0), 8);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	EQUAL(passed, 8);
}

TEST(futex_requeue) {
	static volatile int other;
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, waits, NULL);
	await_waiters(4);
	FAILS(futex(&gate, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)10, &other, 5), EAGAIN);
	gate = 1;
	EQUAL(futex(&gate, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)10, &other, 1), 4);
	EQUAL(futex(&other, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 3);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

static volatile int pi_lock, inside;
static void *waits_for_pi(void *a) {
	waiting();
	EQUAL(futex(&gate, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &pi_lock, 0), 0);
	EQUAL(pi_lock & FUTEX_TID_MASK, gettid());
	EQUAL(inside++, 0);
	sleep_ms(2);
	passed++;
	inside--;
	OK(futex(&pi_lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	return a;
}

TEST(futex_requeue_pi) {
	for (int held = 0; held < 2; held++) {
		pthread_t t[4];
		gate = passed = nwaiters = 0;
		memset((void *)waiters, 0, sizeof waiters);
		for (int i = 0; i < 4; i++)
			pthread_create(&t[i], NULL, waits_for_pi, NULL);
		await_waiters(4);
		/* Only the call that goes with theirs moves them, and only to where they said. */
		static volatile int other;
		FAILS(futex(&gate, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EINVAL);
		FAILS(futex(&gate, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)10, &other, 0), EINVAL);
		FAILS(futex(&gate, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)10, &other, 0), EINVAL);
		FAILS(futex(&gate, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)10, &pi_lock, 5), EAGAIN);
		FAILS(futex(&gate, FUTEX_CMP_REQUEUE_PI_PRIVATE, 2, (void *)10, &pi_lock, 0), EINVAL);
		FAILS(futex(&gate, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)-1, &pi_lock, 0), EINVAL);
		if (held)
			OK(futex(&pi_lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
		EQUAL(futex(&gate, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)1, &pi_lock, 0), 2);
		EQUAL(futex(&gate, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)10, &pi_lock, 0), 2);
		EQUAL(futex(&gate, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)10, &pi_lock, 0), 0);
		if (held) {
			sleep_ms(10);
			EQUAL(passed, 0);
			OK(futex(&pi_lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
		}
		for (int i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
		EQUAL(passed, 4);
		EQUAL(pi_lock, 0);
	}
}

static void *is_interrupted(void *a) {
	waiting();
	FAILS(futex(&gate, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &pi_lock, 0), EAGAIN);
	return a;
}
static volatile sig_atomic_t interrupted;
static void interrupts(int s) { (void)s; interrupted++; }

TEST(futex_wait_requeue_pi_fails) {
	struct timespec past = { 0, 1 };
	FAILS(futex(&gate, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 1, NULL, &pi_lock, 0), EAGAIN);
	FAILS(futex(&gate, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &gate, 0), EINVAL);
	FAILS(futex(&gate, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &past, &pi_lock, 0), ETIMEDOUT);
	FAILS(futex(&gate, FUTEX_WAIT_REQUEUE_PI_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &past, &pi_lock, 0), ETIMEDOUT);
	FAILS(futex(&gate, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, (int *)1, 0), EINVAL);
	FAILS(futex(&gate, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, &gate, 0), EINVAL);
	EQUAL(futex(&gate, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, &pi_lock, 0), 0);
	EQUAL(pi_lock, 0);
	/* After a signal the call is made again, but not once it was moved. */
	struct sigaction sa = { .sa_handler = interrupts };
	sigaction(SIGUSR1, &sa, NULL);
	pthread_t t;
	OK(futex(&pi_lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	pthread_create(&t, NULL, is_interrupted, NULL);
	await_waiters(1);
	pthread_kill(t, SIGUSR1);
	while (!interrupted)
		sleep_ms(1);
	await_waiters(1);
	EQUAL(futex(&gate, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, &pi_lock, 0), 1);
	pthread_kill(t, SIGUSR1);
	pthread_join(t, NULL);
	OK(futex(&pi_lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}

TEST(futex_between_processes) {
	volatile int *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t k = OK(fork());
	if (!k) {
		await_sleep(getppid());
		*m = 1;
		EQUAL(futex(m, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
		_exit(0);
	}
	EQUAL(futex(m, FUTEX_WAIT, 0, NULL, NULL, 0), 0);
	EQUAL(*m, 1);
	int s;
	OK(waitpid(k, &s, 0));
	EXITED_OK(s);
}

static pthread_mutex_t mu;
static long counter;
static void *adds(void *a) {
	for (int i = 0; i < 3000; i++) {
		pthread_mutex_lock(&mu);
		counter++;
		pthread_mutex_unlock(&mu);
	}
	return a;
}

static void mutex_test(int protocol) {
	pthread_mutexattr_t at;
	pthread_mutexattr_init(&at);
	EQUAL(pthread_mutexattr_setprotocol(&at, protocol), 0);
	pthread_mutex_init(&mu, &at);
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, adds, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	EQUAL(counter, 12000);
}

TEST(mutexes) { mutex_test(PTHREAD_PRIO_NONE); }
TEST(priority_inheriting_mutexes) { mutex_test(PTHREAD_PRIO_INHERIT); }

TEST(robust_mutexes) {
	pthread_mutex_t *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t at;
	pthread_mutexattr_init(&at);
	pthread_mutexattr_setrobust(&at, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&at, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(m, &at);
	volatile int *locked = (int *)(m + 1);
	pid_t k = OK(fork());
	if (!k) {
		pthread_mutex_lock(m);
		*locked = 1;
		sleep_ms(30);
		_exit(0);
	}
	while (!*locked)
		sleep_ms(1);
	EQUAL(pthread_mutex_lock(m), EOWNERDEAD);
	EQUAL(pthread_mutex_consistent(m), 0);
	EQUAL(pthread_mutex_unlock(m), 0);
	OK(waitpid(k, NULL, 0));
}

static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn;
static void *ping(void *a) {
	int me = (int)(long)a;
	for (int i = 0; i < 500; i++) {
		pthread_mutex_lock(&mu);
		while (turn != me)
			pthread_cond_wait(&cond, &mu);
		turn = !me;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&mu);
	}
	return NULL;
}

TEST(condition_variables) {
	pthread_mutex_init(&mu, NULL);
	pthread_t t[2];
	for (long i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, ping, (void *)i);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

TEST(limits) {
	struct rlimit r, s;
	OK(getrlimit(RLIMIT_NOFILE, &r));
	r.rlim_cur = 10;
	OK(setrlimit(RLIMIT_NOFILE, &r));
	int f = OK(open("/dev/null", O_RDONLY));
	EQUAL(fcntl(f, F_DUPFD, 9), 9);
	FAILS(fcntl(f, F_DUPFD, 10), EINVAL);
	FAILS(dup2(f, 10), EBADF);
	while (open("/dev/null", O_RDONLY) >= 0) {}
	EQUAL(errno, EMFILE);
	s.rlim_cur = 20;
	s.rlim_max = 10;
	FAILS(setrlimit(RLIMIT_NOFILE, &s), EINVAL);
	FAILS(getrlimit(99, &r), EINVAL);
	struct tms tm;
	CHECK(times(&tm) != -1);
}
