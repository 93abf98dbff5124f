/* SO_ZEROCOPY and MSG_ZEROCOPY: the queue of errors tells which sends need their memory no more
 * (Documentation/networking/msg_zerocopy.rst). Over loopback Linux copies. */
#include "inet.h"
#include <linux/errqueue.h>
#include <netinet/tcp.h>
#include <sys/un.h>

/* completion takes the next range off the queue. */
static int completion(int fd, struct sock_extended_err *e) {
	char control[256], data[16];
	union addr a;
	struct iovec v = { data, sizeof data };
	struct msghdr m = { .msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	int r = recvmsg(fd, &m, MSG_ERRQUEUE);
	if (r == -1)
		return -1;
	EQUAL(r, 0);
	CHECK(m.msg_flags & MSG_ERRQUEUE);
	EQUAL(m.msg_namelen, 0);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK(c);
	CHECK((c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) || (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR));
	memcpy(e, CMSG_DATA(c), sizeof *e);
	EQUAL(e->ee_errno, 0);
	EQUAL(e->ee_origin, SO_EE_ORIGIN_ZEROCOPY);
	EQUAL(e->ee_type, 0);
	EQUAL(e->ee_code, SO_EE_CODE_ZEROCOPY_COPIED);
	return 0;
}

/* completed waits until all sends from one number to another are told of, in their order. */
static void completed(int fd, uint32_t from, uint32_t to) {
	struct sock_extended_err e;
	while (from <= to) {
		struct pollfd p = { .fd = fd };
		EQUAL(poll(&p, 1, 60000), 1);
		EQUAL(p.revents & ~POLLHUP, POLLERR);
		OK(completion(fd, &e));
		EQUAL(e.ee_info, from);
		CHECK(e.ee_data >= from);
		from = e.ee_data + 1;
	}
	EQUAL(from, to + 1);
	FAILS(completion(fd, &e), EAGAIN);
}

static void drain(int fd, size_t n) {
	static char b[1 << 16];
	while (n > 0)
		n -= OK(recv(fd, b, n < sizeof b ? n : sizeof b, 0));
}

static char big[100000];

TEST(tcp) {
	EACH_FAMILY(f) {
		need_family(f);
		int s[2];
		tcp_pair(f, s);
		OK(set(s[0], SOL_SOCKET, SO_ZEROCOPY, 1));
		EQUAL(option(s[0], SOL_SOCKET, SO_ZEROCOPY), 1);
		EQUAL(send(s[0], "hello", 5, MSG_ZEROCOPY), 5);
		drain(s[1], 5);
		completed(s[0], 0, 0);
		for (int i = 0; i < 3; i++) {
			EQUAL(send(s[0], big, 20000, MSG_ZEROCOPY), 20000);
			drain(s[1], 20000);
		}
		completed(s[0], 1, 3);
		EQUAL(send(s[0], "plain", 5, 0), 5); /* is not told of */
		drain(s[1], 5);
		EQUAL(send(s[0], "last", 4, MSG_ZEROCOPY), 4);
		drain(s[1], 4);
		completed(s[0], 4, 4);
		EQUAL(option(s[0], SOL_SOCKET, SO_ERROR), 0);
		close(s[0]);
		close(s[1]);
	}
}

TEST(a_long_send_is_one) {
	int s[2];
	tcp_pair(AF_INET, s);
	OK(set(s[0], SOL_SOCKET, SO_ZEROCOPY, 1));
	pid_t k = OK(fork());
	if (!k) {
		drain(s[1], sizeof big);
		_exit(0);
	}
	EQUAL(send(s[0], big, sizeof big, MSG_ZEROCOPY), sizeof big);
	completed(s[0], 0, 0);
	int status;
	OK(waitpid(k, &status, 0));
	EQUAL(status, 0);
}

TEST(without_the_option_the_flag_says_nothing) {
	int s[2];
	struct sock_extended_err e;
	tcp_pair(AF_INET, s);
	EQUAL(send(s[0], "hello", 5, MSG_ZEROCOPY), 5);
	drain(s[1], 5);
	FAILS(completion(s[0], &e), EAGAIN);
	await(s[0], POLLOUT, POLLOUT);
}

TEST(what_sends_nothing_has_no_number) {
	int s[2];
	tcp_pair(AF_INET, s);
	OK(set(s[0], SOL_SOCKET, SO_ZEROCOPY, 1));
	OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
	EQUAL(send(s[0], "", 0, MSG_ZEROCOPY), 0);
	uint32_t sends = 0;
	size_t sent = 0;
	ssize_t n;
	while ((n = send(s[0], big, sizeof big, MSG_ZEROCOPY)) >= 0) {
		sends++;
		sent += n;
	}
	CHECK(errno == EAGAIN || errno == ENOBUFS);
	drain(s[1], sent);
	OK(fcntl(s[0], F_SETFL, 0));
	EQUAL(send(s[0], "x", 1, MSG_ZEROCOPY), 1);
	drain(s[1], 1);
	completed(s[0], 0, sends);
}

TEST(udp) {
	EACH_FAMILY(f) {
		need_family(f);
		int s = OK(socket(f, SOCK_DGRAM, 0)), to = bound(f, SOCK_DGRAM);
		char b[3000];
		connect_to(s, to);
		OK(set(s, SOL_SOCKET, SO_ZEROCOPY, 1));
		EQUAL(send(s, "", 0, MSG_ZEROCOPY), 0);
		EQUAL(recv(to, b, sizeof b, 0), 0);
		for (int i = 0; i < 4; i++) {
			EQUAL(send(s, big, sizeof b, MSG_ZEROCOPY), sizeof b);
			EQUAL(recv(to, b, sizeof b, 0), sizeof b);
		}
		completed(s, 0, 4);
		close(s);
		close(to);
	}
}

TEST(epoll_tells) {
	int s[2], e = OK(epoll_create1(0));
	struct epoll_event v = { .events = EPOLLET };
	tcp_pair(AF_INET, s);
	OK(set(s[0], SOL_SOCKET, SO_ZEROCOPY, 1));
	OK(epoll_ctl(e, EPOLL_CTL_ADD, s[0], &v));
	EQUAL(epoll_wait(e, &v, 1, 0), 0);
	EQUAL(send(s[0], "hello", 5, MSG_ZEROCOPY), 5);
	drain(s[1], 5);
	EQUAL(epoll_wait(e, &v, 1, 60000), 1);
	EQUAL(v.events, EPOLLERR);
	completed(s[0], 0, 0);
	EQUAL(epoll_wait(e, &v, 1, 0), 0);
}

TEST(accepted_sockets_have_the_option) {
	int l = bound(AF_INET, SOCK_STREAM), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(l, SOL_SOCKET, SO_ZEROCOPY, 1));
	OK(listen(l, 1));
	connect_to(c, l);
	int s = OK(accept(l, NULL, NULL));
	EQUAL(option(s, SOL_SOCKET, SO_ZEROCOPY), 1);
	EQUAL(send(s, "hello", 5, MSG_ZEROCOPY), 5);
	drain(c, 5);
	completed(s, 0, 0);
}

TEST(others_refuse) {
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	FAILS(set(s[0], SOL_SOCKET, SO_ZEROCOPY, 1), EOPNOTSUPP);
	EQUAL(send(s[0], "hello", 5, MSG_ZEROCOPY), 5);
	int t = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(set(t, SOL_SOCKET, SO_ZEROCOPY, 2), EINVAL);
	FAILS(set(t, SOL_SOCKET, SO_ZEROCOPY, -1), EINVAL);
	int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	if (raw >= 0)
		FAILS(set(raw, SOL_SOCKET, SO_ZEROCOPY, 1), EOPNOTSUPP);
}

