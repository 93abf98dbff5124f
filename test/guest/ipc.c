/* Pipes, FIFOs, epoll, poll, select, eventfd, timerfd, signalfd, inotify. */
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static char buf[1 << 17];

TEST(pipe_basics) {
	int p[2];
	FAILS(pipe2(p, 0x1234), EINVAL);
	OK(pipe2(p, O_NONBLOCK | O_CLOEXEC));
	FAILS(read(p[0], buf, 1), EAGAIN);
	EQUAL(write(p[1], "abc", 3), 3);
	int n;
	OK(ioctl(p[0], FIONREAD, &n));
	EQUAL(n, 3);
	EQUAL(read(p[0], buf, 2), 2);
	FAILS(read(p[1], buf, 1), EBADF);
	FAILS(write(p[0], buf, 1), EBADF);
	n = (int)OK(write(p[1], buf, sizeof buf)); /* as much as there is room for */
	CHECK(n >= 61440 && n < 65536);
}

TEST(pipe_fills_and_drains) {
	int p[2];
	OK(pipe2(p, O_NONBLOCK));
	size_t total = 0;
	ssize_t n;
	while ((n = write(p[1], buf, 4096)) > 0)
		total += n;
	EQUAL(errno, EAGAIN);
	EQUAL(total, 65536);
	struct pollfd f = { p[1], POLLOUT, 0 };
	EQUAL(poll(&f, 1, 0), 0);
	EQUAL(read(p[0], buf, 4096), 4096);
	EQUAL(poll(&f, 1, 0), 1);
	EQUAL(f.revents, POLLOUT);
	EQUAL(fcntl(p[1], F_GETPIPE_SZ), 65536);
	EQUAL(fcntl(p[1], F_SETPIPE_SZ, 100000), 131072);
	FAILS(fcntl(p[1], F_SETPIPE_SZ, 4096), EBUSY);
}

TEST(pipe_ends) {
	int p[2];
	OK(pipe(p));
	EQUAL(write(p[1], "x", 1), 1);
	close(p[1]);
	struct pollfd f = { p[0], POLLIN, 0 };
	EQUAL(poll(&f, 1, -1), 1);
	EQUAL(f.revents, POLLIN | POLLHUP);
	EQUAL(read(p[0], buf, 10), 1);
	EQUAL(read(p[0], buf, 10), 0);
	EQUAL(poll(&f, 1, -1), 1);
	EQUAL(f.revents, POLLHUP);
	OK(pipe(p));
	close(p[0]);
	signal(SIGPIPE, SIG_IGN);
	FAILS(write(p[1], "x", 1), EPIPE);
	f.fd = p[1];
	f.events = POLLOUT;
	EQUAL(poll(&f, 1, -1), 1);
	EQUAL(f.revents, POLLOUT | POLLERR);
	signal(SIGPIPE, SIG_DFL);
	int s = IN_CHILD(write(p[1], "x", 1));
	EQUAL(WTERMSIG(s), SIGPIPE);
}

/* The shell's <(command) opens a pipe by its link, maybe after the command has
 * ended: unlike a FIFO's, such an open never waits. */
TEST(pipe_opened_by_its_link) {
	int p[2];
	char name[40];
	OK(pipe(p));
	EQUAL(write(p[1], "x", 1), 1);
	close(p[1]);
	sprintf(name, "/proc/self/fd/%d", p[0]);
	int r = OK(open(name, O_RDONLY));
	struct pollfd f = { r, POLLIN, 0 };
	EQUAL(poll(&f, 1, -1), 1);
	EQUAL(f.revents, POLLIN | POLLHUP);
	EQUAL(read(r, buf, 10), 1);
	EQUAL(read(r, buf, 10), 0);
	EQUAL(poll(&f, 1, -1), 1);
	EQUAL(f.revents, POLLHUP);
	OK(pipe(p));
	close(p[0]);
	sprintf(name, "/dev/fd/%d", p[1]);
	int w = OK(open(name, O_WRONLY));
	OK(open(name, O_WRONLY | O_NONBLOCK));
	signal(SIGPIPE, SIG_IGN);
	FAILS(write(w, "x", 1), EPIPE);
}

TEST(pipe_blocks_both_ways) {
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		memset(buf, 'z', sizeof buf);
		EQUAL(write(p[1], buf, sizeof buf), sizeof buf); /* more than fits */
		_exit(0);
	}
	close(p[1]);
	size_t total = 0;
	ssize_t n;
	while ((n = read(p[0], buf, 1000)) > 0)
		total += n;
	EQUAL(total, 1 << 17);
	int s;
	OK(waitpid(k, &s, 0));
	EXITED_OK(s);
}

TEST(small_writes_are_atomic) {
	int p[2];
	OK(pipe(p));
	for (int k = 0; k < 3; k++)
		if (!fork()) {
			char line[100];
			memset(line, 'a' + k, sizeof line);
			for (int i = 0; i < 2000; i++)
				if (write(p[1], line, sizeof line) != sizeof line)
					_exit(1);
			_exit(0);
		}
	close(p[1]);
	size_t have = 0, total = 0;
	ssize_t n;
	while ((n = read(p[0], buf + have, 1000)) > 0) {
		have += n;
		total += n;
		size_t at = 0;
		for (; have - at >= 100; at += 100)
			for (int i = 1; i < 100; i++)
				EQUAL(buf[at + i], buf[at]);
		memmove(buf, buf + at, have - at);
		have -= at;
	}
	EQUAL(total, 3 * 2000 * 100);
	while (wait(NULL) > 0) {}
}

TEST(fifos) {
	OK(mkfifo("f", 0600));
	FAILS(open("f", O_WRONLY | O_NONBLOCK), ENXIO);
	int r = OK(open("f", O_RDONLY | O_NONBLOCK));
	EQUAL(read(r, buf, 1), 0); /* no writer yet */
	int w = OK(open("f", O_WRONLY | O_NONBLOCK));
	FAILS(read(r, buf, 1), EAGAIN);
	EQUAL(write(w, "x", 1), 1);
	EQUAL(read(r, buf, 1), 1);
	close(r);
	close(w);
	pid_t k = OK(fork());
	if (!k) {
		sleep_ms(30);
		int f = OK(open("f", O_WRONLY));
		EQUAL(write(f, "late", 4), 4);
		_exit(0);
	}
	r = OK(open("f", O_RDONLY)); /* waits for the writer */
	EQUAL(read(r, buf, 10), 4);
	OK(waitpid(k, NULL, 0));
}

TEST(eventfds) {
	int e = OK(eventfd(3, EFD_NONBLOCK));
	uint64_t v;
	FAILS(read(e, &v, 4), EINVAL);
	EQUAL(read(e, &v, 8), 8);
	EQUAL(v, 3);
	FAILS(read(e, &v, 8), EAGAIN);
	v = ~0ull;
	FAILS(write(e, &v, 8), EINVAL);
	v = ~0ull - 1;
	EQUAL(write(e, &v, 8), 8);
	v = 1;
	FAILS(write(e, &v, 8), EAGAIN);
	int s = OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
	EQUAL(read(s, &v, 8), 8);
	EQUAL(v, 1);
	EQUAL(read(s, &v, 8), 8);
	FAILS(read(s, &v, 8), EAGAIN);
}

TEST(epoll_level_edge_oneshot) {
	int ep = OK(epoll_create1(EPOLL_CLOEXEC)), e = OK(eventfd(0, EFD_NONBLOCK));
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 0x1122334455667788 }, got[4];
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
	FAILS(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev), EEXIST);
	EQUAL(epoll_wait(ep, got, 4, 0), 0);
	uint64_t one = 1;
	EQUAL(write(e, &one, 8), 8);
	for (int i = 0; i < 3; i++) {
		EQUAL(epoll_wait(ep, got, 4, -1), 1);
		CHECK(got[0].events == EPOLLIN && got[0].data.u64 == ev.data.u64);
	}
	ev.events = EPOLLIN | EPOLLET;
	OK(epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev));
	EQUAL(epoll_wait(ep, got, 4, 0), 1);
	EQUAL(epoll_wait(ep, got, 4, 0), 0);
	EQUAL(write(e, &one, 8), 8);
	EQUAL(epoll_wait(ep, got, 4, 0), 1);
	ev.events = EPOLLIN | EPOLLONESHOT;
	OK(epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev));
	EQUAL(epoll_wait(ep, got, 4, 0), 1);
	EQUAL(write(e, &one, 8), 8);
	EQUAL(epoll_wait(ep, got, 4, 0), 0);
	OK(epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev));
	EQUAL(epoll_wait(ep, got, 4, 0), 1);
	OK(epoll_ctl(ep, EPOLL_CTL_DEL, e, NULL));
	FAILS(epoll_ctl(ep, EPOLL_CTL_DEL, e, NULL), ENOENT);
	FAILS(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &ev), EINVAL);
	FAILS(epoll_ctl(ep, EPOLL_CTL_ADD, 99, &ev), EBADF);
	FAILS(epoll_wait(ep, got, 0, 0), EINVAL);
	FAILS(epoll_wait(e, got, 1, 0), EINVAL);
	int f = OK(open("f", O_CREAT | O_RDWR, 0600));
	FAILS(epoll_ctl(ep, EPOLL_CTL_ADD, f, &ev), EPERM);
	int ep2 = OK(epoll_create1(0));
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, ep2, &ev));
	FAILS(epoll_ctl(ep2, EPOLL_CTL_ADD, ep, &ev), ELOOP);
}

static int wake_fd;
static void *waker(void *a) {
	uint64_t one = 1;
	sleep_ms(20);
	write(wake_fd, &one, 8);
	return a;
}

TEST(epoll_wakes_a_sleeper) {
	int ep = OK(epoll_create1(0));
	wake_fd = OK(eventfd(0, 0));
	struct epoll_event ev = { .events = EPOLLIN }, got;
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, wake_fd, &ev));
	pthread_t t;
	pthread_create(&t, NULL, waker, NULL);
	EQUAL(epoll_wait(ep, &got, 1, -1), 1);
	pthread_join(t, NULL);
	long long t0 = now_ns();
	uint64_t v;
	read(wake_fd, &v, 8);
	EQUAL(epoll_wait(ep, &got, 1, 30), 0);
	CHECK(now_ns() - t0 >= 29000000);
	/* a closed file leaves the set */
	close(wake_fd);
	EQUAL(epoll_wait(ep, &got, 1, 0), 0);
}

TEST(poll_and_select) {
	int p[2];
	OK(pipe(p));
	struct pollfd f[3] = { { p[0], POLLIN, 0 }, { -1, POLLIN, 0 }, { 99, POLLIN, 0 } };
	EQUAL(poll(f, 2, 0), 0);
	EQUAL(poll(f, 3, 0), 1);
	EQUAL(f[2].revents, POLLNVAL);
	long long t0 = now_ns();
	EQUAL(poll(f, 1, 20), 0);
	CHECK(now_ns() - t0 >= 19000000);
	fd_set r;
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	struct timeval tv = { 0, 10000 };
	EQUAL(select(p[0] + 1, &r, NULL, NULL, &tv), 0);
	CHECK(!FD_ISSET(p[0], &r));
	EQUAL(tv.tv_usec, 0);
	EQUAL(write(p[1], "x", 1), 1);
	FD_SET(p[0], &r);
	EQUAL(select(p[0] + 1, &r, NULL, NULL, NULL), 1);
	CHECK(FD_ISSET(p[0], &r));
	/* Linux ignores bits beyond its descriptor table's size, which has at
	 * least 64 places: so a closed descriptor below that. */
	int closed = OK(dup(p[0]));
	close(closed);
	CHECK(closed < 64);
	FD_ZERO(&r);
	FD_SET(closed, &r);
	FAILS(select(closed + 1, &r, NULL, NULL, NULL), EBADF);
	FAILS(select(-1, &r, NULL, NULL, NULL), EINVAL);
	FAILS(poll((void *)8, 1, 0), EFAULT);
}

static void nothing(int s) { (void)s; }

TEST(ppoll_swaps_the_mask) {
	signal(SIGUSR1, nothing);
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	raise(SIGUSR1);
	sigemptyset(&set);
	FAILS(ppoll(NULL, 0, NULL, &set), EINTR);
	OK(sigprocmask(SIG_BLOCK, NULL, &old));
	EQUAL(sigismember(&old, SIGUSR1), 1);
}

TEST(timerfds) {
	int t = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	uint64_t n;
	FAILS(read(t, &n, 8), EAGAIN);
	struct itimerspec in = { { 0, 10000000 }, { 0, 10000000 } }, out;
	long long begin = now_ns();
	OK(timerfd_settime(t, 0, &in, NULL));
	struct pollfd f = { t, POLLIN, 0 };
	uint64_t times = 0;
	do {
		sleep_ms(55);
		EQUAL(poll(&f, 1, -1), 1);
		EQUAL(read(t, &n, 8), 8);
		times += n;
	} while (times < 4);
	CHECK(times <= (uint64_t)(now_ns() - begin) / 10000000);
	OK(timerfd_gettime(t, &out));
	EQUAL(out.it_interval.tv_nsec, 10000000);
	EQUAL(poll(&f, 1, -1), 1);
	in.it_value.tv_nsec = 2000000000;
	FAILS(timerfd_settime(t, 0, &in, NULL), EINVAL);
	FAILS(timerfd_create(77, 0), EINVAL);
}

TEST(signalfds) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	int f = OK(signalfd(-1, &set, SFD_NONBLOCK));
	struct signalfd_siginfo i;
	FAILS(read(f, &i, sizeof i), EAGAIN);
	union sigval v = { .sival_int = 5 };
	OK(sigqueue(getpid(), SIGUSR2, v));
	struct pollfd p = { f, POLLIN, 0 };
	EQUAL(poll(&p, 1, -1), 1);
	EQUAL(read(f, &i, sizeof i), sizeof i);
	EQUAL(i.ssi_signo, SIGUSR2);
	EQUAL(i.ssi_int, 5);
	EQUAL(i.ssi_pid, getpid());
	FAILS(read(f, &i, 10), EINVAL);
}

TEST(inotify_events) {
	int n = OK(inotify_init1(IN_NONBLOCK));
	OK(mkdir("d", 0755));
	int wd = OK(inotify_add_watch(n, "d", IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE));
	FAILS(read(n, buf, 1000), EAGAIN);
	close(OK(open("d/a", O_CREAT | O_WRONLY, 0600)));
	OK(rename("d/a", "d/b"));
	OK(unlink("d/b"));
	uint32_t want[] = { IN_CREATE, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE };
	ssize_t have = OK(read(n, buf, 4096));
	char *at = buf;
	uint32_t cookie = 0;
	for (int i = 0; i < 5; i++) {
		CHECK(at < buf + have);
		struct inotify_event *e = (void *)at;
		EQUAL(e->wd, wd);
		EQUAL(e->mask, want[i]);
		CHECK(!strcmp(e->name, i < 3 ? "a" : "b"));
		if (i == 2)
			cookie = e->cookie;
		if (i == 3)
			EQUAL(e->cookie, cookie);
		at += sizeof *e + e->len;
	}
	OK(inotify_rm_watch(n, wd));
	FAILS(inotify_rm_watch(n, wd), EINVAL);
}
