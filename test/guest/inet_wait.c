/* How long calls on TCP sockets wait, and for what: socket(7), recv(2), signal(7), close(2). */
#include "inet.h"
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <pthread.h>
#include <sys/resource.h>

static char buf[1 << 20];

static void nothing(int sig) {}

/* on_signal has a handler run at SIGUSR1. */
static void on_signal(int flags) {
	struct sigaction a = { .sa_handler = nothing, .sa_flags = flags };
	OK(sigaction(SIGUSR1, &a, NULL));
}

/* in_two sends "abcdef" in two halves once this process is asleep. (Linux may forget
 * SO_RCVLOWAT's sleeper that has taken the first half already.) */
static pid_t in_two(int fd) {
	pid_t self = getpid(), k = (pid_t)OK(fork());
	if (k)
		return k;
	await_sleep(self);
	EQUAL(send(fd, "abc", 3, 0), 3);
	await_sleep(self);
	EQUAL(send(fd, "def", 3, 0), 3);
	_exit(0);
}

static void over(pid_t k) {
	int status;
	EQUAL(waitpid(k, &status, 0), k);
	EQUAL(status, 0);
}

TEST(low_water_mark) {
	EACH_FAMILY(f) {
		int s[2];
		need_family(f);
		tcp_pair(f, s);
		OK(set(s[0], SOL_SOCKET, SO_RCVLOWAT, 6));
		pid_t k = in_two(s[1]);
		EQUAL(recv(s[0], buf, 100, 0), 6);
		over(k);
		k = in_two(s[1]);
		EQUAL(read(s[0], buf, 100), 6);
		over(k);
		/* No more than there is room for, and nothing where it must not wait. */
		EQUAL(send(s[1], "abc", 3, 0), 3);
		EQUAL(recv(s[0], buf, 2, 0), 2);
		EQUAL(recv(s[0], buf, 100, MSG_DONTWAIT), 1);
		EQUAL(send(s[1], "abc", 3, 0), 3);
		OK(shutdown(s[1], SHUT_WR));
		EQUAL(read(s[0], buf, 100), 3);
		EQUAL(read(s[0], buf, 100), 0);
	}
}

TEST(wait_for_all) {
	int s[2];
	struct timeval t = { 0, 20000 }, never = { 0 };
	tcp_pair(AF_INET, s);
	pid_t k = in_two(s[1]);
	EQUAL(recv(s[0], buf, 6, MSG_WAITALL | MSG_PEEK), 6);
	CHECK(!memcmp(buf, "abcdef", 6));
	over(k);
	EQUAL(recv(s[0], buf, 6, MSG_WAITALL), 6);
	CHECK(!memcmp(buf, "abcdef", 6));
	/* A signal ends the wait with what there is, also where calls restart. */
	on_signal(SA_RESTART);
	for (int flags = 0; flags <= MSG_PEEK; flags += MSG_PEEK) {
		EQUAL(send(s[1], "abc", 3, 0), 3);
		k = signal_when_asleep(SIGUSR1);
		EQUAL(recv(s[0], buf, 6, MSG_WAITALL | flags), 3);
		over(k);
	}
	OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	EQUAL(recv(s[0], buf, 6, MSG_WAITALL | MSG_PEEK), 3);
	EQUAL(recv(s[0], buf, 6, MSG_WAITALL), 3);
	FAILS(recv(s[0], buf, 6, MSG_WAITALL), EAGAIN);
	EQUAL(send(s[1], "abc", 3, 0), 3);
	EQUAL(recv(s[0], buf, 6, MSG_WAITALL | MSG_DONTWAIT), 3);
	OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &never, sizeof never));
	EQUAL(send(s[1], "abc", 3, 0), 3);
	OK(shutdown(s[1], SHUT_WR));
	EQUAL(recv(s[0], buf, 6, MSG_WAITALL | MSG_PEEK), 3);
	EQUAL(recv(s[0], buf, 6, MSG_WAITALL), 3);
	EQUAL(recv(s[0], buf, 6, MSG_WAITALL), 0);
}

TEST(signals_and_time_limits) {
	int s[2];
	struct timeval t = { 600, 0 };
	tcp_pair(AF_INET, s);
	/* A call with a time limit is not restarted: signal(7). */
	on_signal(SA_RESTART);
	OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	pid_t k = signal_when_asleep(SIGUSR1);
	FAILS(read(s[0], buf, 1), EINTR);
	over(k);
	int l = listener(AF_INET);
	OK(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	k = signal_when_asleep(SIGUSR1);
	FAILS(accept(l, NULL, NULL), EINTR);
	over(k);
	OK(setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t));
	ssize_t n;
	int error;
	do { /* what is confirmed late makes room, also while this waits */
		OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
		while (write(s[0], buf, sizeof buf) > 0) {}
		EQUAL(errno, EAGAIN);
		OK(fcntl(s[0], F_SETFL, 0));
		k = signal_when_asleep(SIGUSR1);
		n = write(s[0], buf, 1), error = errno;
		over(k);
	} while (n == 1);
	EQUAL(n, -1);
	EQUAL(error, EINTR);
}

/* writes more than there is room for, gets a signal, and tells how much it was. */
TEST(interrupted_write_tells_how_much) {
	int s[2];
	tcp_pair(AF_INET, s);
	on_signal(0);
	size_t size = 64 << 20;
	char *much = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(much != MAP_FAILED);
	pid_t k = signal_when_asleep(SIGUSR1);
	ssize_t n = OK(write(s[0], much, size));
	over(k);
	CHECK(n > 0 && (size_t)n < size);
	OK(shutdown(s[0], SHUT_WR));
	ssize_t got = 0, r;
	while ((r = OK(read(s[1], buf, sizeof buf))) > 0)
		got += r;
	EQUAL(got, n);
}

struct sleeper {
	int fd;
	pid_t tid;
	int error;
	ssize_t n;
};

static void *reads(void *p) {
	struct sleeper *s = p;
	char c;
	__atomic_store_n(&s->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	s->n = read(s->fd, &c, 1);
	s->error = errno;
	return NULL;
}

static void *accepts(void *p) {
	struct sleeper *s = p;
	__atomic_store_n(&s->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	s->n = accept(s->fd, NULL, NULL);
	s->error = errno;
	return NULL;
}

static pthread_t asleep(struct sleeper *s, void *(*run)(void *)) {
	pthread_t t;
	EQUAL(pthread_create(&t, NULL, run, s), 0);
	while (!__atomic_load_n(&s->tid, __ATOMIC_SEQ_CST))
		sleep_ms(1);
	await_sleep(s->tid);
	return t;
}

/* A close in another thread ends no wait: the call has the connection until it ends. */
TEST(closed_in_another_thread) {
	int p[2];
	tcp_pair(AF_INET, p);
	struct sleeper s = { .fd = p[0] };
	pthread_t t = asleep(&s, reads);
	OK(close(p[0]));
	EQUAL(write(p[1], "x", 1), 1);
	EQUAL(pthread_join(t, NULL), 0);
	EQUAL(s.n, 1);
	ready(p[1], POLLIN);
	EQUAL(read(p[1], buf, 1), 0);
}

TEST(shut_down_in_another_thread) {
	int p[2];
	tcp_pair(AF_INET, p);
	struct sleeper s = { .fd = p[0] };
	pthread_t t = asleep(&s, reads);
	OK(shutdown(p[0], SHUT_RD));
	EQUAL(pthread_join(t, NULL), 0);
	EQUAL(s.n, 0);
	struct sleeper l = { .fd = listener(AF_INET) };
	t = asleep(&l, accepts);
	OK(shutdown(l.fd, SHUT_RD));
	EQUAL(pthread_join(t, NULL), 0);
	EQUAL(l.n, -1);
	EQUAL(l.error, EINVAL);
}

/* full is a connection whose first end has sent all that there is room for, and lingers. */
static long full(int s[2], int seconds) {
	struct linger l = { 1, seconds };
	long sent = 0;
	tcp_pair(AF_INET, s);
	OK(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, sizeof l));
	OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
	for (ssize_t n; (n = write(s[0], buf, sizeof buf)) > 0;)
		sent += n;
	return sent;
}

/* without forks a child that has not the first end, and waits until this process sleeps. */
static pid_t without(int s[2]) {
	int p[2];
	char c;
	OK(pipe(p));
	pid_t self = getpid(), k = (pid_t)OK(fork());
	if (k) {
		close(p[1]);
		EQUAL(read(p[0], &c, 1), 0);
		close(p[0]);
		return k;
	}
	close(s[0]);
	close(p[1]);
	await_sleep(self);
	sleep_ms(20);
	await_sleep(self);
	return 0;
}

/* SO_LINGER has close wait until the peer's kernel has all, even where O_NONBLOCK is set. */
TEST(close_lingers) {
	int s[2];
	full(s, 1);
	long long begin = now_ns();
	OK(close(s[0]));
	CHECK(now_ns() - begin >= 900000000LL);
	close(s[1]);
}

TEST(close_lingers_until_all_is_received) {
	int s[2];
	long sent = full(s, 1000);
	pid_t k = without(s);
	if (k == 0) {
		long got = 0;
		for (ssize_t n; (n = OK(read(s[1], buf, sizeof buf))) > 0;)
			got += n;
		EQUAL(got, sent);
		_exit(0);
	}
	OK(close(s[1]));
	OK(close(s[0]));
	over(k);
}

TEST(close_lingers_until_a_signal) {
	int s[2];
	volatile int *closed = mmap(NULL, sizeof *closed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(closed != MAP_FAILED);
	full(s, 1000);
	on_signal(0);
	pid_t self = getpid(), k = without(s);
	if (k == 0) {
		/* The first one may come before the close. */
		for (; !*closed; sleep_ms(20))
			kill(self, SIGUSR1);
		_exit(0);
	}
	OK(close(s[0]));
	*closed = 1;
	signal(SIGUSR1, SIG_IGN);
	over(k);
	FAILS(fcntl(s[0], F_GETFD), EBADF);
	/* The end of a process waits for nothing, nor does a descriptor that is not the last. */
	EXITED_OK(IN_CHILD(full(s, 1000)));
	full(s, 1000);
	OK(close(dup(s[0])));
}

TEST(unsent_bytes) {
	int s[2], n = -1;
	tcp_pair(AF_INET, s);
	OK(ioctl(s[0], SIOCOUTQ, &n));
	EQUAL(n, 0);
	OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
	long sent = 0;
	for (ssize_t w; (w = write(s[0], buf, sizeof buf)) > 0;)
		sent += w;
	OK(ioctl(s[0], SIOCOUTQ, &n));
	CHECK(n > 0 && n <= sent);
	for (long got = 0; got < sent;)
		got += OK(read(s[1], buf, sizeof buf));
	for (int i = 0; i < 20000 && n; i++, sleep_ms(1))
		OK(ioctl(s[0], SIOCOUTQ, &n));
	EQUAL(n, 0);
}
