/* What else programs and tools learn of sockets: source addresses, broadcasts, ports that a connection
 * leaves behind, the queues of listeners, buffers that cannot be written. */
#include "inet.h"
#include <linux/tcp.h>
#include <sys/mman.h>

/* As include/net/tcp_states.h has them within the kernel. */
enum { TIME_WAIT = 6, CLOSE, LISTEN = 10 };

static char buf[64];

static socklen_t at(union addr *a, uint32_t ip, int port) {
	memset(a, 0, sizeof *a);
	a->in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip) };
	return sizeof a->in;
}

/* mapped is an address of IPv4 for a socket of IPv6. */
static socklen_t mapped(union addr *a, uint32_t ip, int port) {
	memset(a, 0, sizeof *a);
	a->in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
	a->in6.sin6_addr.s6_addr32[2] = htonl(0xffff);
	a->in6.sin6_addr.s6_addr32[3] = htonl(ip);
	return sizeof a->in6;
}

static uint32_t own(int fd) {
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(fd, &a.sa, &n));
	return ntohl(a.sa.sa_family == AF_INET ? a.in.sin_addr.s_addr : a.in6.sin6_addr.s6_addr32[3]);
}

static void disconnect(int fd) {
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	OK(connect(fd, &none, sizeof none));
}

/* Networks as a whole are no peers of streams; to send to one takes SO_BROADCAST. */
TEST(broadcast_of_loopback) {
	union addr a;
	socklen_t n = at(&a, 0x7fffffff, 9);
	FAILS(connect(OK(socket(AF_INET, SOCK_STREAM, 0)), &a.sa, n), ENETUNREACH);
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	FAILS(connect(s, &a.sa, n), EACCES);
	FAILS(sendto(s, "x", 1, 0, &a.sa, n), EACCES);
	OK(set(s, SOL_SOCKET, SO_BROADCAST, 1));
	EQUAL(sendto(s, "x", 1, 0, &a.sa, n), 1);
	OK(connect(s, &a.sa, n));
	EQUAL(own(s), INADDR_LOOPBACK);
}

/* Whatever loopback address they go to, datagrams come from 127.0.0.1, and are answered there. */
TEST(datagrams_from_the_first_loopback_address) {
	union addr a, from;
	socklen_t n = sizeof from;
	int r = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(bind(r, &a.sa, at(&a, INADDR_ANY, 0)));
	at(&a, 0x7f000007, port_of(r));
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	for (int i = 0; i < 3; i++) {
		EQUAL(sendto(s, "x", 1, 0, &a.sa, sizeof a.in), 1);
		EQUAL(recvfrom(r, buf, 9, 0, &from.sa, &n), 1);
		EQUAL(ntohl(from.in.sin_addr.s_addr), INADDR_LOOPBACK);
		EQUAL(ntohs(from.in.sin_port), port_of(s));
	}
	EQUAL(own(s), INADDR_ANY);
	EQUAL(sendto(r, "back", 4, 0, &from.sa, n), 4);
	EQUAL(recv(s, buf, 9, 0), 4);

	int c = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(connect(c, &a.sa, sizeof a.in));
	EQUAL(own(c), INADDR_LOOPBACK);
	EQUAL(send(c, "x", 1, 0), 1);
	EQUAL(recvfrom(r, buf, 9, 0, &from.sa, &n), 1);
	EQUAL(ntohl(from.in.sin_addr.s_addr), INADDR_LOOPBACK);
	EQUAL(ntohs(from.in.sin_port), port_of(c));
	disconnect(c);
	EQUAL(own(c), INADDR_ANY);
	EQUAL(port_of(c), 0);
	/* what has come stays when it is disconnected */
	c = OK(socket(AF_INET, SOCK_DGRAM, 0));
	int answers = OK(socket(AF_INET, SOCK_DGRAM, 0));
	union addr there;
	OK(bind(answers, &there.sa, at(&there, 0x7f000007, 0)));
	OK(connect(c, &there.sa, at(&there, 0x7f000007, port_of(answers))));
	EQUAL(sendto(answers, "back", 4, 0, &there.sa, at(&there, INADDR_LOOPBACK, port_of(c))), 4);
	disconnect(c);
	EQUAL(recv(c, buf, 9, MSG_DONTWAIT), 4);
	/* likewise with a port that it has before */
	int d = OK(socket(AF_INET, SOCK_DGRAM, 0));
	union addr any;
	OK(bind(d, &any.sa, at(&any, INADDR_ANY, 0)));
	int port = port_of(d);
	OK(connect(d, &a.sa, sizeof a.in));
	EQUAL(own(d), INADDR_LOOPBACK);
	EQUAL(port_of(d), port);
	EQUAL(send(d, "x", 1, 0), 1);
	EQUAL(recvfrom(r, buf, 9, 0, &from.sa, &n), 1);
	EQUAL(ntohs(from.in.sin_port), port);
	OK(connect(r, &from.sa, n));
	OK(connect(d, &any.sa, at(&any, INADDR_LOOPBACK, port_of(r))));
	EQUAL(send(r, "back", 4, 0), 4);
	EQUAL(recv(d, buf, 9, 0), 4);
	disconnect(r);
	disconnect(d);
	EQUAL(own(d), INADDR_ANY);
	OK(connect(c, &a.sa, sizeof a.in));
	EQUAL(own(c), INADDR_LOOPBACK);
	/* nobody is there */
	int other = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(connect(other, &a.sa, at(&a, 0x7f000008, 1)));
	EQUAL(send(other, "x", 1, 0), 1);
	FAILS(recv(other, buf, 1, 0), ECONNREFUSED);
}

/* What a connection leaves of a name: its port. */
TEST(port_of_a_failed_connection) {
	union addr a;
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	EQUAL(port_of(s), 0);
	FAILS(connect(s, &a.sa, at(&a, 0x7f000009, 1)), ECONNREFUSED);
	EQUAL(own(s), INADDR_ANY);
	CHECK(port_of(s) != 0);
	OK(bind(s, &a.sa, at(&a, INADDR_LOOPBACK, 0)));
	EQUAL(own(s), INADDR_LOOPBACK);

	int t = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	FAILS(connect(t, &a.sa, at(&a, 0x7f000009, 1)), EINPROGRESS);
	ready(t, POLLOUT);
	EQUAL(own(t), INADDR_LOOPBACK);
	CHECK(port_of(t) != 0);
	EQUAL(option(t, SOL_SOCKET, SO_ERROR), ECONNREFUSED);

	int p[2];
	tcp_pair(AF_INET, p);
	int port = port_of(p[0]);
	disconnect(p[0]);
	EQUAL(own(p[0]), INADDR_ANY);
	EQUAL(port_of(p[0]), port);
}

static struct tcp_info info(int fd) {
	struct tcp_info i;
	socklen_t n = sizeof i;
	OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &n));
	return i;
}

/* listed finds a socket in /proc/net/tcp: the state, or 0; its queues and its inode. */
static unsigned listed(int port, int peer, unsigned *tx, unsigned *rx, unsigned long *ino) {
	char line[300];
	unsigned found = 0;
	FILE *f = fopen("/proc/net/tcp", "r");
	CHECK(f && fgets(line, sizeof line, f));
	while (!found && fgets(line, sizeof line, f)) {
		unsigned a, b, st;
		if (sscanf(line, "%*d: %*x:%x %*x:%x %x %x:%x %*s %*s %*s %*s %lu", &a, &b, &st, tx, rx, ino) == 6 && a == port && b == peer)
			found = st;
	}
	fclose(f);
	return found;
}

/* Tools see how many connections wait to be accepted, and for how many there is room. */
TEST(queue_of_a_listener) {
	unsigned tx, rx;
	unsigned long ino;
	int l = listener(AF_INET), c[3];
	EQUAL(info(l).tcpi_unacked, 0);
	EQUAL(info(l).tcpi_sacked, 5);
	for (int i = 0; i < 3; i++) {
		connect_to(c[i] = OK(socket(AF_INET, SOCK_STREAM, 0)), l);
		EQUAL(info(l).tcpi_unacked, i + 1);
	}
	EQUAL(listed(port_of(l), 0, &tx, &rx, &ino), LISTEN);
	EQUAL(tx, 0);
	EQUAL(rx, 3);
	OK(accept(l, NULL, NULL));
	OK(accept(l, NULL, NULL));
	EQUAL(info(l).tcpi_unacked, 1);
	OK(accept(l, NULL, NULL));
	EQUAL(info(l).tcpi_unacked, 0);
}

/* TIME_WAIT is nobody's, and outlives that its socket is disconnected. */
TEST(time_wait_is_nobodys) {
	int p[2];
	unsigned tx, rx;
	unsigned long ino = 1;
	tcp_pair(AF_INET, p);
	int from = port_of(p[0]), to = port_of(p[1]);
	OK(shutdown(p[0], SHUT_WR));
	OK(shutdown(p[1], SHUT_WR));
	EQUAL(read(p[0], buf, 1), 0);
	for (int i = 0; i < 20000 && listed(from, to, &tx, &rx, &ino) != TIME_WAIT; i++)
		sleep_ms(1);
	EQUAL(ino, 0);
	EQUAL(info(p[0]).tcpi_state, CLOSE);
	disconnect(p[0]);
	EQUAL(listed(from, to, &tx, &rx, &ino), TIME_WAIT);
	int l = listener(AF_INET);
	connect_to(p[0], l);
	EQUAL(write(p[0], "x", 1), 1);
	EQUAL(read(OK(accept(l, NULL, NULL)), buf, 9), 1);
	EQUAL(listed(from, to, &tx, &rx, &ino), TIME_WAIT);
}

/* A datagram that its receiver's buffer does not take is lost, bytes of a stream are not. */
TEST(buffers_that_cannot_be_written) {
	char *half = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *end = half + 4096;
	OK(munmap(end, 4096));
	int u[2], d[2], t[2];
	tcp_pair(AF_INET, t);
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, d));
	u[1] = bound(AF_INET, SOCK_DGRAM);
	connect_to(u[0] = OK(socket(AF_INET, SOCK_DGRAM, 0)), u[1]);
	for (int i = 0; i < 2; i++) {
		int *s = i ? d : u;
		struct iovec v = { end, 10 };
		struct mmsghdr m = { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } };
		EQUAL(write(s[0], "one", 3), 3);
		EQUAL(write(s[0], "two", 3), 3);
		EQUAL(write(s[0], "three", 5), 5);
		FAILS(recv(s[1], end, 10, MSG_PEEK), EFAULT);
		FAILS(recv(s[1], end, 10, 0), EFAULT);
		FAILS(recvmmsg(s[1], &m, 1, 0, NULL), EFAULT);
		EQUAL(recv(s[1], end - 2, 2, MSG_PEEK | MSG_TRUNC), 5);
		FAILS(recv(s[1], end - 4, 10, 0), EFAULT);
		FAILS(recv(s[1], buf, 10, MSG_DONTWAIT), EAGAIN);
		EQUAL(write(s[0], "fits", 4), 4);
		EQUAL(recv(s[1], end - 4, 10, 0), 4);
		EQUAL(write(s[0], "", 0), 0);
		EQUAL(recv(s[1], end, 10, 0), 0);
	}
	EQUAL(write(t[0], "stream", 6), 6);
	FAILS(recv(t[1], end, 10, 0), EFAULT);
	EQUAL(recv(t[1], buf, 10, 0), 6);
}

/* IP_BIND_ADDRESS_NO_PORT leaves the port to connect(2), and to listen(2). */
TEST(bound_without_a_port) {
	union addr a;
	for (int i = 0; i < 3; i++) {
		int v6 = i == 1, s = OK(socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0)), l = OK(socket(AF_INET, SOCK_STREAM, 0));
		OK(bind(l, &a.sa, at(&a, INADDR_ANY, 0)));
		OK(listen(l, 5));
		OK(set(s, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
		FAILS(bind(s, &a.sa, v6 ? mapped(&a, 0xc0000201, 0) : at(&a, 0xc0000201, 0)), EADDRNOTAVAIL);
		OK(bind(s, &a.sa, v6 ? mapped(&a, 0x7f000002, 0) : at(&a, 0x7f000002, 0)));
		EQUAL(port_of(s), 0);
		EQUAL(own(s), 0x7f000002);
		OK(bind(s, &a.sa, v6 ? mapped(&a, 0x7f000003, 0) : at(&a, 0x7f000003, 0))); /* without a port it may change */
		EQUAL(own(s), 0x7f000003);
		if (i == 2) {
			OK(listen(s, 1));
			EQUAL(own(s), 0x7f000003);
			CHECK(port_of(s) != 0);
			continue;
		}
		OK(connect(s, &a.sa, v6 ? mapped(&a, INADDR_LOOPBACK, port_of(l)) : at(&a, INADDR_LOOPBACK, port_of(l))));
		EQUAL(own(s), 0x7f000003);
		int port = port_of(s);
		CHECK(port != 0);
		socklen_t n = sizeof a;
		OK(accept(l, &a.sa, &n));
		EQUAL(ntohl(a.in.sin_addr.s_addr), 0x7f000003);
		EQUAL(ntohs(a.in.sin_port), port);
	}
	/* nobody listens there */
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(s, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
	OK(bind(s, &a.sa, at(&a, 0x7f000002, 0)));
	FAILS(bind(s, &a.sa, at(&a, 0xc0000201, 0)), EADDRNOTAVAIL);
	EQUAL(own(s), 0x7f000002);
	FAILS(connect(s, &a.sa, at(&a, INADDR_LOOPBACK, 1)), ECONNREFUSED);
	int l = listener(AF_INET);
	connect_to(s, l);
	EQUAL(own(s), 0x7f000002);
	/* a way that is not there takes no port */
	s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(s, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
	OK(bind(s, &a.sa, at(&a, 0x7f000002, 0)));
	FAILS(connect(s, &a.sa, at(&a, 0x7fffffff, 1)), ENETUNREACH); /* to all of the network */
	CHECK(connect(s, &a.sa, at(&a, 0xc0000201, 1)) < 0); /* ENETUNREACH or EINVAL, by routes */
	EQUAL(port_of(s), 0);
	OK(bind(s, &a.sa, at(&a, 0x7f000003, 0)));
	EQUAL(own(s), 0x7f000003);
	/* any address will do */
	s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(s, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
	OK(bind(s, &a.sa, at(&a, INADDR_ANY, 0)));
	FAILS(connect(s, &a.sa, at(&a, 0x7f000009, 1)), ECONNREFUSED);
	OK(connect(s, &a.sa, at(&a, 0x7f000001, port_of(l))));
	EQUAL(own(s), INADDR_LOOPBACK);
}
