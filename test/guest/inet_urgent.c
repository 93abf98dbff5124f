/* Urgent data of TCP and the signals that sockets send: tcp(7), socket(7), fcntl(2), sockatmark(3). */
#include "inet.h"
#include <linux/sockios.h>

static char buf[4096];

static const int asked = POLLIN | POLLPRI;

static int at_mark(int fd) {
	int n = -1;
	OK(ioctl(fd, SIOCATMARK, &n));
	return n;
}

static int queued(int fd) {
	int n = -1;
	OK(ioctl(fd, FIONREAD, &n));
	return n;
}

TEST(out_of_band) {
	EACH_FAMILY(f) {
		int s[2];
		need_family(f);
		tcp_pair(f, s);
		FAILS(recv(s[1], buf, 1, MSG_OOB), EINVAL);
		EQUAL(at_mark(s[1]), 0);
		EQUAL(send(s[0], "abU", 3, MSG_OOB), 3);
		await(s[1], asked, POLLIN | POLLPRI);
		EQUAL(send(s[0], "cd", 2, 0), 2);
		EQUAL(queued(s[1]), 2);
		EQUAL(at_mark(s[1]), 0);
		EQUAL(recv(s[1], buf, sizeof buf, 0), 2); /* up to the mark */
		EQUAL(at_mark(s[1]), 1);
		EQUAL(queued(s[1]), 0);
		EQUAL(recv(s[1], buf, 5, MSG_OOB | MSG_PEEK), 1);
		EQUAL(buf[0], 'U');
		struct iovec v = { buf, sizeof buf };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
		buf[0] = 0;
		EQUAL(recvmsg(s[1], &m, MSG_OOB), 1);
		EQUAL(m.msg_flags, MSG_OOB);
		EQUAL(buf[0], 'U');
		FAILS(recv(s[1], buf, 1, MSG_OOB), EINVAL);
		await(s[1], asked, POLLIN);
		EQUAL(at_mark(s[1]), 1);
		EQUAL(recv(s[1], buf, sizeof buf, MSG_PEEK), 2);
		EQUAL(recv(s[1], buf, sizeof buf, 0), 2); /* without the urgent byte */
		CHECK(!memcmp(buf, "cd", 2));
		EQUAL(at_mark(s[1]), 0);
		FAILS(recv(s[1], buf, 1, MSG_DONTWAIT), EAGAIN);
	}
}

TEST(alone) {
	int s[2];
	tcp_pair(AF_INET, s);
	EQUAL(send(s[0], "U", 1, MSG_OOB), 1);
	await(s[1], asked, POLLPRI);
	EQUAL(queued(s[1]), 0);
	EQUAL(at_mark(s[1]), 1);
	EQUAL(recv(s[1], buf, 1, MSG_OOB), 1);
	await(s[1], asked, 0);
	/* Reading past it forgets it. */
	EQUAL(send(s[0], "V", 1, MSG_OOB), 1);
	await(s[1], asked, POLLPRI);
	FAILS(recv(s[1], buf, 1, MSG_DONTWAIT), EAGAIN);
	await(s[1], asked, 0);
	FAILS(recv(s[1], buf, 1, MSG_OOB), EINVAL);
	EQUAL(at_mark(s[1]), 0);
}

TEST(inline_) {
	int s[2];
	tcp_pair(AF_INET, s);
	OK(set(s[1], SOL_SOCKET, SO_OOBINLINE, 1));
	EQUAL(send(s[0], "abU", 3, MSG_OOB), 3);
	await(s[1], asked, POLLIN | POLLPRI);
	EQUAL(send(s[0], "cd", 2, 0), 2);
	for (int i = 0; i < 20000 && queued(s[1]) < 5; i++)
		sleep_ms(1);
	EQUAL(queued(s[1]), 5);
	FAILS(recv(s[1], buf, 1, MSG_OOB), EINVAL);
	EQUAL(read(s[1], buf, sizeof buf), 2);
	EQUAL(at_mark(s[1]), 1);
	EQUAL(read(s[1], buf, sizeof buf), 3);
	CHECK(!memcmp(buf, "Ucd", 3));
	EQUAL(at_mark(s[1]), 0);
	await(s[1], asked, 0);
}

/* There is one urgent byte: one that was not taken becomes a byte like others when the
 * next one comes. */
TEST(twice) {
	int s[2];
	tcp_pair(AF_INET, s);
	EQUAL(send(s[0], "aU", 2, MSG_OOB), 2);
	await(s[1], asked, POLLIN | POLLPRI);
	EQUAL(send(s[0], "bV", 2, MSG_OOB), 2);
	for (int i = 0; i < 20000 && queued(s[1]) < 3; i++)
		sleep_ms(1);
	EQUAL(recv(s[1], buf, 1, MSG_OOB), 1);
	EQUAL(buf[0], 'V');
	EQUAL(read(s[1], buf, sizeof buf), 3);
	CHECK(!memcmp(buf, "aUb", 3));
	EQUAL(at_mark(s[1]), 1);
}

TEST(select_and_epoll) {
	int s[2], e = OK(epoll_create1(0));
	tcp_pair(AF_INET, s);
	struct epoll_event ev = { .events = EPOLLPRI | EPOLLET };
	OK(epoll_ctl(e, EPOLL_CTL_ADD, s[1], &ev));
	EQUAL(epoll_wait(e, &ev, 1, 0), 0);
	EQUAL(send(s[0], "U", 1, MSG_OOB), 1);
	EQUAL(epoll_wait(e, &ev, 1, 60000), 1);
	EQUAL(ev.events, EPOLLPRI);
	fd_set r, x;
	FD_ZERO(&r);
	FD_ZERO(&x);
	FD_SET(s[1], &r);
	FD_SET(s[1], &x);
	struct timeval minute = { 60, 0 };
	EQUAL(select(s[1] + 1, &r, NULL, &x, &minute), 1);
	CHECK(!FD_ISSET(s[1], &r) && FD_ISSET(s[1], &x));
}

TEST(not_of_datagrams) {
	int u = bound(AF_INET, SOCK_DGRAM), v = OK(socket(AF_INET, SOCK_DGRAM, 0));
	connect_to(v, u);
	FAILS(send(v, "a", 1, MSG_OOB), EOPNOTSUPP);
	EQUAL(send(v, "b", 1, 0), 1);
	ready(u, POLLIN);
}
