/* Finer points of what programs wait for: poll(2)'s answers for every state
 * of a socket, edges, time-outs, and what calls leave behind. */
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>

static char buf[1 << 17];
static void *volatile bad_address = (void *)8;

static int ready(int fd) {
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0 };
	OK(poll(&p, 1, 0));
	return p.revents;
}

static socklen_t name(struct sockaddr_un *a, const char *path) {
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	strcpy(a->sun_path, path);
	return offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1;
}

TEST(poll_of_stream_sockets) {
	int s[2];
	EQUAL(ready(OK(socket(AF_UNIX, SOCK_STREAM, 0))), POLLOUT | POLLHUP);
	EQUAL(ready(OK(socket(AF_UNIX, SOCK_SEQPACKET, 0))), POLLOUT | POLLHUP);
	EQUAL(ready(OK(socket(AF_UNIX, SOCK_DGRAM, 0))), POLLOUT);
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
	EQUAL(ready(s[0]), POLLOUT);
	OK(write(s[0], "x", 1));
	EQUAL(ready(s[1]), POLLIN | POLLOUT);
	OK(shutdown(s[0], SHUT_WR));
	EQUAL(ready(s[0]), POLLOUT);
	EQUAL(ready(s[1]), POLLIN | POLLOUT | POLLRDHUP);
	OK(shutdown(s[1], SHUT_WR));
	EQUAL(ready(s[1]), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	close(s[0]);
	EQUAL(read(s[1], buf, 2), 1);
	EQUAL(read(s[1], buf, 2), 0);
	FAILS(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);

	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
	OK(write(s[1], "unread", 6));
	close(s[0]);
	EQUAL(ready(s[1]), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
	FAILS(read(s[1], buf, 1), ECONNRESET);
	EQUAL(read(s[1], buf, 1), 0);

	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
	while (write(s[0], buf, 4096) > 0) {}
	EQUAL(errno, EAGAIN);
	EQUAL(ready(s[0]), 0);
	while (read(s[1], buf, sizeof buf) > 0) {}
	EQUAL(ready(s[0]), POLLOUT);
}

static void on_signal(int s) { (void)s; }

TEST(sigpipe) {
	int s[2], p[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	close(s[1]);
	int st = IN_CHILD(write(s[0], "x", 1));
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGPIPE);
	st = IN_CHILD(send(s[0], "x", 1, 0));
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGPIPE);
	EXITED_OK(IN_CHILD(FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE)));
	OK(pipe(p));
	close(p[0]);
	st = IN_CHILD(write(p[1], "x", 1));
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGPIPE);
}

TEST(socket_timeouts) {
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	struct timeval tv = { 0, 20000 }, got;
	OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	OK(setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv));
	socklen_t n = sizeof got;
	OK(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &got, &n));
	EQUAL(got.tv_usec, 20000);
	long long t0 = now_ns();
	FAILS(recv(s[0], buf, 1, 0), EAGAIN);
	FAILS(read(s[0], buf, 1), EAGAIN);
	CHECK(now_ns() - t0 >= 20000000); /* in ticks, of which a busy host may count several late at once */
	ssize_t w;
	while ((w = write(s[0], buf, sizeof buf)) > 0) {}
	EQUAL(errno, EAGAIN);
	tv.tv_usec = 1000000;
	FAILS(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv), EDOM);
	/* a call with a time-out is not restarted */
	tv = (struct timeval){ 1000, 0 };
	OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	OK(sigaction(SIGUSR1, &sa, NULL));
	pid_t k = signal_when_asleep(SIGUSR1);
	FAILS(recv(s[0], buf, 1, 0), EINTR);
	OK(waitpid(k, NULL, 0));
}

TEST(receive_flags) {
	int s[2], n;
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	OK(send(s[0], "0123456789", 10, 0));
	OK(send(s[0], "ab", 2, 0));
	EQUAL(recv(s[1], buf, 4, MSG_PEEK), 4);
	EQUAL(recv(s[1], buf, 4, MSG_PEEK | MSG_TRUNC), 10);
	OK(ioctl(s[1], FIONREAD, &n));
	EQUAL(n, 10);
	struct iovec v[2] = { { buf, 3 }, { buf + 100, 3 } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
	EQUAL(recvmsg(s[1], &m, 0), 6);
	EQUAL(m.msg_flags, MSG_TRUNC);
	CHECK(!memcmp(buf, "012", 3) && !memcmp(buf + 100, "345", 3));
	EQUAL(recvmsg(s[1], &m, 0), 2);
	EQUAL(m.msg_flags, 0);
	FAILS(recv(s[1], buf, 1, MSG_DONTWAIT), EAGAIN);
	FAILS(recv(s[1], buf, 1, MSG_OOB), EOPNOTSUPP);
	m.msg_iovlen = 1025;
	FAILS(sendmsg(s[0], &m, 0), EMSGSIZE);
	OK(send(s[0], "", 0, 0));
	EQUAL(recv(s[1], buf, 1, 0), 0);

	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	OK(send(s[0], "packet", 6, 0));
	m.msg_iovlen = 1;
	EQUAL(recvmsg(s[1], &m, 0), 3);
	EQUAL(m.msg_flags, MSG_TRUNC);

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t k = OK(fork());
	if (!k) {
		for (int i = 0; i < 4; i++) {
			sleep_ms(5);
			OK(write(s[0], "abc", 3));
		}
		_exit(0);
	}
	EQUAL(recv(s[1], buf, 12, MSG_WAITALL), 12);
	OK(waitpid(k, NULL, 0));
}

TEST(many_messages) {
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	struct iovec v[3] = { { "one", 3 }, { "four", 4 }, { "fiver", 5 } };
	struct mmsghdr mm[5];
	memset(mm, 0, sizeof mm);
	for (int i = 0; i < 3; i++) {
		mm[i].msg_hdr.msg_iov = &v[i];
		mm[i].msg_hdr.msg_iovlen = 1;
	}
	EQUAL(sendmmsg(s[0], mm, 3, 0), 3);
	EQUAL(mm[2].msg_len, 5);
	struct iovec in[5];
	memset(mm, 0, sizeof mm);
	for (int i = 0; i < 5; i++) {
		in[i] = (struct iovec){ buf + i * 10, 10 };
		mm[i].msg_hdr.msg_iov = &in[i];
		mm[i].msg_hdr.msg_iovlen = 1;
	}
	EQUAL(recvmmsg(s[1], mm, 5, MSG_WAITFORONE, NULL), 3);
	EQUAL(mm[1].msg_len, 4);
	CHECK(!memcmp(buf + 20, "fiver", 5));
}

TEST(socket_options) {
	int s[2], v;
	socklen_t n = sizeof v;
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
#define GET(o) ({ n = sizeof v; OK(getsockopt(s[0], SOL_SOCKET, o, &v, &n)); EQUAL(n, 4); v; })
	EQUAL(GET(SO_TYPE), SOCK_STREAM);
	EQUAL(GET(SO_DOMAIN), AF_UNIX);
	EQUAL(GET(SO_PROTOCOL), 0);
	EQUAL(GET(SO_ERROR), 0);
	EQUAL(GET(SO_ACCEPTCONN), 0);
	EQUAL(GET(SO_SNDBUF), 212992);
	v = 10000;
	OK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v));
	EQUAL(GET(SO_SNDBUF), 20000);
	v = 1;
	OK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v));
	EQUAL(GET(SO_SNDBUF), 4608);
	OK(setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, &v, sizeof v));
	EQUAL(GET(SO_REUSEADDR), 1);
	FAILS(setsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, sizeof v), ENOPROTOOPT);
	FAILS(setsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, &v, 2), EINVAL);
	FAILS(setsockopt(s[0], 6, 1, &v, sizeof v), EOPNOTSUPP);
	FAILS(getsockopt(s[0], 6, 1, &v, &n), EOPNOTSUPP);
	struct ucred u;
	n = sizeof u;
	OK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &u, &n));
	EQUAL(u.pid, getpid());
	n = 1;
	char c;
	OK(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &c, &n));
	EQUAL(c, SOCK_STREAM);
}

TEST(names) {
	struct sockaddr_un a, b;
	socklen_t n = name(&a, "sock");
	int s = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), c = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	OK(bind(s, (void *)&a, n));
	struct stat st;
	OK(stat("sock", &st));
	CHECK(S_ISSOCK(st.st_mode));
	FAILS(open("sock", O_RDONLY), ENXIO);
	socklen_t m = sizeof b;
	OK(getsockname(s, (void *)&b, &m));
	EQUAL(m, n);
	CHECK(!strcmp(b.sun_path, "sock"));
	OK(rename("sock", "moved"));
	FAILS(connect(c, (void *)&a, n), ENOENT);
	n = name(&a, "moved");
	OK(connect(c, (void *)&a, n));
	OK(write(c, "hi", 2));
	m = sizeof b;
	EQUAL(recvfrom(s, buf, 10, 0, (void *)&b, &m), 2);
	EQUAL(m, 0); /* the sender has no name */
	OK(chmod("moved", 0400));
	if (getuid() == 0) {
		EXITED_OK(IN_CHILD({
			OK(chmod(".", 0777));
			OK(setuid(12345));
			FAILS(connect(OK(socket(AF_UNIX, SOCK_DGRAM, 0)), (void *)&a, n), EACCES);
		}));
	}
	close(s);
	FAILS(write(c, "hi", 2), ECONNREFUSED);
	FAILS(connect(c, (void *)&a, n), ECONNREFUSED);
	OK(unlink("moved"));
	int f = OK(open("plain", O_CREAT | O_RDWR, 0600));
	n = name(&a, "plain");
	FAILS(connect(c, (void *)&a, n), ECONNREFUSED);
	s = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	FAILS(bind(s, (void *)&a, n), EADDRINUSE);
	n = name(&a, "no/such");
	FAILS(bind(s, (void *)&a, n), ENOENT);
	a.sun_family = AF_INET;
	FAILS(bind(s, (void *)&a, n), EINVAL);
	m = sizeof b;
	FAILS(getpeername(s, (void *)&b, &m), ENOTCONN);
	close(f);
}

TEST(accept_addresses) {
	struct sockaddr_un a, b;
	socklen_t n = name(&a, "srv"), m;
	int l = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	FAILS(accept(l, NULL, NULL), EINVAL);
	OK(bind(l, (void *)&a, n));
	FAILS(connect(c, (void *)&a, n), ECONNREFUSED);
	OK(listen(l, 5));
	FAILS(accept(l, NULL, NULL), EAGAIN);
	EQUAL(ready(l), 0);
	socklen_t cn = name(&b, "cli");
	OK(bind(c, (void *)&b, cn));
	OK(connect(c, (void *)&a, n));
	EQUAL(ready(l), POLLIN);
	FAILS(connect(c, (void *)&a, n), EISCONN);
	FAILS(accept4(l, NULL, NULL, 0x1234), EINVAL);
	m = sizeof b;
	int s = OK(accept4(l, (void *)&b, &m, SOCK_CLOEXEC | SOCK_NONBLOCK));
	EQUAL(m, cn);
	CHECK(!strcmp(b.sun_path, "cli"));
	EQUAL(fcntl(s, F_GETFD), FD_CLOEXEC);
	CHECK(fcntl(s, F_GETFL) & O_NONBLOCK);
	m = sizeof b;
	OK(getsockname(s, (void *)&b, &m));
	CHECK(!strcmp(b.sun_path, "srv"));
	m = 4;
	OK(getpeername(c, (void *)&b, &m));
	EQUAL(m, n); /* the whole length, though it was cut */
	FAILS(listen(c, 1), EINVAL);
	FAILS(send(l, "x", 1, MSG_NOSIGNAL), ENOTCONN);
	FAILS(recv(l, buf, 1, 0), EINVAL);
}

TEST(select_sets) {
	int p[2], s[2];
	OK(pipe(p));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	fd_set r, w, x;
	FD_ZERO(&r); FD_ZERO(&w); FD_ZERO(&x);
	FD_SET(p[0], &r); FD_SET(p[1], &w); FD_SET(s[0], &r); FD_SET(s[0], &w); FD_SET(s[0], &x);
	struct timeval tv = { 1000, 0 };
	EQUAL(select(s[1] + 1, &r, &w, &x, &tv), 2);
	CHECK(!FD_ISSET(p[0], &r) && FD_ISSET(p[1], &w) && !FD_ISSET(s[0], &r) && FD_ISSET(s[0], &w) && !FD_ISSET(s[0], &x));
	CHECK(tv.tv_sec >= 800 && tv.tv_sec <= 1000);
	tv = (struct timeval){ 0, 1500 };
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	EQUAL(select(p[0] + 1, &r, NULL, NULL, &tv), 0);
	EQUAL(tv.tv_sec + tv.tv_usec, 0);
	CHECK(!FD_ISSET(p[0], &r));
	close(s[0]);
	FD_SET(s[0], &r);
	FAILS(select(s[0] + 1, &r, NULL, NULL, &tv), EBADF);
	FAILS(select(-1, NULL, NULL, NULL, &tv), EINVAL);
	tv.tv_sec = -1;
	FAILS(select(0, NULL, NULL, NULL, &tv), EINVAL);
	/* the end of a pipe makes it readable */
	close(p[1]);
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	EQUAL(select(p[0] + 1, &r, NULL, NULL, NULL), 1);
	struct pollfd f[2] = { { -1, POLLIN, 7 }, { s[0], POLLIN, 0 } };
	EQUAL(poll(f, 2, -1), 1);
	EQUAL(f[0].revents, 0);
	EQUAL(f[1].revents, POLLNVAL);
}

TEST(poll_goes_on_after_stop) {
	/* stopping and continuing is no EINTR for poll, but is for epoll_wait */
	int p[2], q[2];
	OK(pipe(p));
	OK(pipe(q));
	pid_t k = OK(fork());
	if (!k) {
		struct pollfd f = { p[0], POLLIN, 0 };
		EQUAL(poll(&f, 1, -1), 1);
		int e = OK(epoll_create1(0));
		struct epoll_event ev;
		OK(write(q[1], "x", 1));
		FAILS(epoll_wait(e, &ev, 1, -1), EINTR);
		_exit(0);
	}
	int st;
	for (int i = 0; i < 2; i++) {
		await_sleep(k);
		OK(kill(k, SIGSTOP));
		EQUAL(waitpid(k, &st, WUNTRACED), k);
		CHECK(WIFSTOPPED(st));
		OK(kill(k, SIGCONT));
		if (i == 0) {
			await_sleep(k); /* in poll again */
			OK(write(p[1], "x", 1));
			EQUAL(read(q[0], buf, 1), 1);
		}
	}
	OK(waitpid(k, &st, 0));
	EQUAL(st, 0);
}

TEST(epoll_errors) {
	int e = OK(epoll_create1(EPOLL_CLOEXEC)), ev = OK(eventfd(0, 0));
	struct epoll_event x = { EPOLLIN, { .u64 = 1 } };
	FAILS(epoll_create(0), EINVAL);
	FAILS(epoll_create1(1), EINVAL);
	FAILS(epoll_ctl(e, EPOLL_CTL_ADD, 99, &x), EBADF);
	FAILS(epoll_ctl(99, EPOLL_CTL_ADD, ev, &x), EBADF);
	FAILS(epoll_ctl(ev, EPOLL_CTL_ADD, e, &x), EINVAL);
	FAILS(epoll_ctl(e, EPOLL_CTL_ADD, e, &x), EINVAL);
	FAILS(epoll_ctl(e, EPOLL_CTL_ADD, ev, (void *)8), EFAULT);
	FAILS(epoll_ctl(e, 77, ev, &x), EINVAL);
	int f = OK(open("file", O_CREAT | O_RDWR, 0600));
	FAILS(epoll_ctl(e, EPOLL_CTL_ADD, f, &x), EPERM);
	FAILS(epoll_ctl(e, EPOLL_CTL_ADD, OK(open("/dev/null", O_RDONLY)), &x), EPERM);
	OK(epoll_ctl(e, EPOLL_CTL_ADD, ev, &x));
	FAILS(epoll_ctl(e, EPOLL_CTL_ADD, ev, &x), EEXIST);
	OK(epoll_ctl(e, EPOLL_CTL_ADD, dup(ev), &x)); /* another number is another entry */
	FAILS(epoll_wait(e, &x, 0, 0), EINVAL);
	FAILS(epoll_wait(e, bad_address, 1 << 30, 0), EINVAL);
	FAILS(epoll_wait(ev, &x, 1, 0), EINVAL);
	OK(eventfd_write(ev, 1));
	struct epoll_event out[4];
	EQUAL(epoll_wait(e, out, 4, 0), 2);
	FAILS(epoll_wait(e, bad_address, 1, 0), EFAULT);
	/* an open duplicate keeps the entry of a closed number */
	close(ev);
	EQUAL(epoll_wait(e, out, 4, 0), 2);
	/* sets in sets */
	int outer = OK(epoll_create1(0));
	OK(epoll_ctl(outer, EPOLL_CTL_ADD, e, &x));
	EQUAL(epoll_wait(outer, out, 4, 0), 1);
	FAILS(epoll_ctl(e, EPOLL_CTL_ADD, outer, &x), ELOOP);
	EQUAL(ready(outer), POLLIN);
}

TEST(epoll_edges_of_a_pipe) {
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe2(p, O_NONBLOCK));
	struct epoll_event x = { EPOLLIN | EPOLLET, { .fd = p[0] } }, out[4];
	OK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &x));
	EQUAL(epoll_wait(e, out, 4, 0), 0);
	OK(write(p[1], "a", 1));
	EQUAL(epoll_wait(e, out, 4, 0), 1);
	EQUAL(epoll_wait(e, out, 4, 0), 0);
	OK(write(p[1], "b", 1)); /* more data is a new edge, though the first was not read */
	EQUAL(epoll_wait(e, out, 4, 0), 1);
	x.events = EPOLLIN | EPOLLET;
	OK(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &x)); /* so is a MOD */
	EQUAL(epoll_wait(e, out, 4, 0), 1);
	EQUAL(read(p[0], buf, 10), 2);
	close(p[1]);
	EQUAL(epoll_wait(e, out, 4, 0), 1);
	EQUAL(out[0].events, EPOLLHUP);
	close(p[0]);
	EQUAL(epoll_wait(e, out, 4, 0), 0);
}

static int shared_set, woken;
static void *waits(void *arg) {
	struct epoll_event out;
	int n = epoll_wait(shared_set, &out, 1, -1);
	if (n == 1)
		__atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
	return arg;
}

TEST(oneshot_wakes_one_thread) {
	int ev = OK(eventfd(0, 0));
	shared_set = OK(epoll_create1(0));
	struct epoll_event x = { EPOLLIN | EPOLLONESHOT, { .u64 = 1 } };
	OK(epoll_ctl(shared_set, EPOLL_CTL_ADD, ev, &x));
	pthread_t th[4];
	for (int i = 0; i < 4; i++)
		EQUAL(pthread_create(&th[i], NULL, waits, NULL), 0);
	sleep_ms(20);
	OK(eventfd_write(ev, 1));
	while (__atomic_load_n(&woken, __ATOMIC_SEQ_CST) == 0)
		sleep_ms(1);
	sleep_ms(20);
	EQUAL(woken, 1);
	for (int i = 1; i < 4; i++) {
		OK(epoll_ctl(shared_set, EPOLL_CTL_MOD, ev, &x));
		while (__atomic_load_n(&woken, __ATOMIC_SEQ_CST) == i)
			sleep_ms(1);
	}
	for (int i = 0; i < 4; i++)
		EQUAL(pthread_join(th[i], NULL), 0);
	EQUAL(woken, 4);
}

TEST(timerfd_points) {
	int t = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	uint64_t v;
	FAILS(timerfd_create(99, 0), EINVAL);
	FAILS(timerfd_create(CLOCK_MONOTONIC, 0x33), EINVAL);
	struct itimerspec it = { { 0, 0 }, { 0, 1000000000 } }, cur;
	FAILS(timerfd_settime(t, 0, &it, NULL), EINVAL);
	struct pollfd p = { t, POLLIN, 0 };
	it = (struct itimerspec){ { 0, 5000000 }, { 0, 1 } };
	long long begin = now_ns();
	OK(timerfd_settime(t, 0, &it, NULL));
	uint64_t times = 0;
	do {
		sleep_ms(23);
		EQUAL(poll(&p, 1, -1), 1);
		EQUAL(read(t, &v, 8), 8);
		times += v;
	} while (times < 5);
	CHECK(times <= (now_ns() - begin) / 5000000 + 1);
	it = (struct itimerspec){ { 500, 0 }, { 0, 1 } };
	OK(timerfd_settime(t, 0, &it, NULL));
	EQUAL(poll(&p, 1, -1), 1);
	OK(timerfd_gettime(t, &cur));
	EQUAL(cur.it_interval.tv_sec, 500);
	CHECK(cur.it_value.tv_sec > 0 && cur.it_value.tv_sec <= 500);
	EQUAL(read(t, &v, 8), 8);
	EQUAL(v, 1);
	it = (struct itimerspec){ { 0, 0 }, { 1, 0 } }; /* long past */
	OK(timerfd_settime(t, TFD_TIMER_ABSTIME, &it, &cur));
	EQUAL(cur.it_interval.tv_sec, 500);
	EQUAL(poll(&p, 1, -1), 1);
	EQUAL(read(t, &v, 8), 8);
	EQUAL(v, 1);
	FAILS(read(t, &v, 8), EAGAIN);
	OK(timerfd_gettime(t, &cur));
	EQUAL(cur.it_value.tv_sec + cur.it_value.tv_nsec, 0);
	FAILS(timerfd_gettime(0, &cur), EINVAL);
}

TEST(signalfd_queues) {
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN);
	sigaddset(&s, SIGCHLD);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
	int f = OK(signalfd(-1, &s, SFD_NONBLOCK));
	EQUAL(ready(f), 0);
	for (int i = 0; i < 3; i++)
		OK(sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 40 + i }));
	EQUAL(ready(f), POLLIN);
	struct signalfd_siginfo in[5];
	EQUAL(read(f, in, sizeof in), 3 * sizeof in[0]);
	for (int i = 0; i < 3; i++) {
		EQUAL(in[i].ssi_signo, SIGRTMIN);
		EQUAL(in[i].ssi_int, 40 + i);
		EQUAL(in[i].ssi_pid, getpid());
		EQUAL(in[i].ssi_code, SI_QUEUE);
	}
	FAILS(read(f, in, sizeof in), EAGAIN);
	int st = IN_CHILD(_exit(5));
	EQUAL(WEXITSTATUS(st), 5);
	EQUAL(read(f, in, sizeof in), sizeof in[0]);
	EQUAL(in[0].ssi_signo, SIGCHLD);
	EQUAL(in[0].ssi_status, 5);
	EQUAL(in[0].ssi_code, CLD_EXITED);
}

TEST(names_of_descriptors) {
	char link[64];
	const struct { int fd; const char *starts; } c[] = {
		{ OK(eventfd(0, 0)), "anon_inode:[eventfd]" },
		{ OK(epoll_create1(0)), "anon_inode:[eventpoll]" },
		{ OK(timerfd_create(CLOCK_MONOTONIC, 0)), "anon_inode:[timerfd]" },
		{ OK(socket(AF_UNIX, SOCK_STREAM, 0)), "socket:[" },
	};
	for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
		char p[32];
		snprintf(p, sizeof p, "/proc/self/fd/%d", c[i].fd);
		ssize_t n = readlink(p, link, sizeof link - 1);
		if (n < 0 && errno == ENOENT)
			SKIP("there is no /proc");
		CHECK(n > 0);
		link[n] = 0;
		CHECK(!strncmp(link, c[i].starts, strlen(c[i].starts)));
	}
	struct stat st;
	OK(fstat(c[0].fd, &st));
	EQUAL(st.st_mode & 07777, 0600);
	OK(fstat(c[3].fd, &st));
	CHECK(S_ISSOCK(st.st_mode));
	EQUAL(lseek(c[0].fd, 5, SEEK_SET), 0);
	FAILS(lseek(c[3].fd, 0, SEEK_SET), ESPIPE);
}

TEST(descriptors_in_a_circle) {
	/* sockets that hold only each other must not hold anything else for ever */
	int p[2];
	OK(pipe(p));
	for (int i = 0; i < 200; i++) {
		int s[2];
		OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
		for (int j = 0; j < 2; j++) {
			int fds[3] = { s[0], s[1], p[1] };
			char c[CMSG_SPACE(sizeof fds)];
			memset(c, 0, sizeof c);
			struct iovec v = { "x", 1 };
			struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c };
			struct cmsghdr *h = CMSG_FIRSTHDR(&m);
			h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof fds);
			memcpy(CMSG_DATA(h), fds, sizeof fds);
			EQUAL(sendmsg(s[j], &m, 0), 1);
		}
		close(s[0]);
		close(s[1]);
	}
	close(p[1]);
	close(OK(socket(AF_UNIX, SOCK_STREAM, 0))); /* collects what is left */
	struct pollfd f = { p[0], POLLIN, 0 };
	EQUAL(poll(&f, 1, -1), 1);
	EQUAL(f.revents, POLLHUP);
}
