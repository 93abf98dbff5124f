/* Connections within one host: what connect(2) makes at once, and what it leaves behind. */
#include "inet.h"
#include <linux/tcp.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>

static char buf[1 << 16];

static const int all = POLLIN | POLLOUT | POLLRDHUP | POLLPRI;

static int error_of(int fd) {
	int e = 0;
	socklen_t n = sizeof e;
	OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n));
	return e;
}

/* listed counts the connections of /proc/net/tcp between two ports that are in a state. */
static int listed(int from, int to, int state) {
	char line[300];
	int count = 0;
	FILE *f = fopen("/proc/net/tcp", "r");
	CHECK(f != NULL);
	while (fgets(line, sizeof line, f)) {
		unsigned local, peer, s;
		if (sscanf(line, "%*d: %*x:%x %*x:%x %x", &local, &peer, &s) == 3 && (int)local == from && (int)peer == to && (int)s == state)
			count++;
	}
	fclose(f);
	return count;
}

/* await_listed waits for such a connection: what confirms a FIN may take its time. */
static void await_listed(int from, int to, int state) {
	for (int i = 0; i < 20000 && listed(from, to, state) == 0; i++)
		sleep_ms(1);
	EQUAL(listed(from, to, state), 1);
}

/* client is a socket that is connected to who listens. */
static int client(int l) {
	int c = OK(socket(AF_INET, SOCK_STREAM, 0));
	connect_to(c, l);
	return c;
}

/* bound_to is a socket of a port that it shares with those that ask for that too. */
static int bound_to(int port) {
	union addr a;
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(s, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(bind(s, &a.sa, loopback(&a, AF_INET, port)));
	return s;
}

/* A connection is there, in each list of them, before anybody accepts it. */
TEST(there_before_accept) {
	int l = listener(AF_INET), c = client(l), from = port_of(c), to = port_of(l);
	EQUAL(listed(from, to, 1), 1);
	EQUAL(listed(to, from, 1), 1);
	EQUAL(write(c, "text", 4), 4);
	OK(shutdown(c, SHUT_WR));
	await_listed(from, to, 5);
	await_listed(to, from, 8);
	int s = OK(accept(l, NULL, NULL));
	await(s, all, POLLIN | POLLOUT | POLLRDHUP);
	EQUAL(read(s, buf, 9), 4);
	EQUAL(read(s, buf, 9), 0);
	EQUAL(write(s, "back", 4), 4);
	EQUAL(read(c, buf, 9), 4);
	OK(close(s));
	EQUAL(read(c, buf, 9), 0);
	EQUAL(listed(to, from, 8) + listed(to, from, 9), 0);
	OK(close(c));
	await_listed(from, to, 6);
}

/* In the order in which they came, of whichever family. */
TEST(accepted_in_order) {
	int l = OK(socket(AF_INET6, SOCK_STREAM, 0)), c[6];
	union addr a;
	OK(set(l, IPPROTO_IPV6, IPV6_V6ONLY, 0));
	memset(&a, 0, sizeof a);
	a.in6.sin6_family = AF_INET6;
	if (bind(l, &a.sa, sizeof a.in6))
		SKIP("the host has no IPv6");
	OK(listen(l, 10));
	for (int i = 0; i < 6; i++) {
		int family = i % 2 ? AF_INET6 : AF_INET;
		socklen_t n = loopback(&a, family, port_of(l));
		c[i] = OK(socket(family, SOCK_STREAM, 0));
		OK(connect(c[i], &a.sa, n));
	}
	for (int i = 0; i < 6; i++) {
		socklen_t n = sizeof a;
		int s = OK(accept(l, &a.sa, &n));
		EQUAL(a.sa.sa_family, AF_INET6);
		EQUAL(ntohs(a.in6.sin6_port), port_of(c[i]));
		EQUAL(IN6_IS_ADDR_V4MAPPED(&a.in6.sin6_addr) != 0, i % 2 == 0);
		OK(getsockname(s, &a.sa, &n));
		EQUAL(IN6_IS_ADDR_V4MAPPED(&a.in6.sin6_addr) != 0, i % 2 == 0);
		close(s);
	}
}

/* A connection has the options that the listener had when it was made. */
TEST(options_as_they_were) {
	int l = listener(AF_INET);
	OK(set(l, SOL_SOCKET, SO_KEEPALIVE, 1));
	OK(set(l, IPPROTO_TCP, TCP_NODELAY, 1));
	OK(set(l, IPPROTO_TCP, TCP_KEEPIDLE, 77));
	int c = client(l), s = OK(accept(l, NULL, NULL));
	EQUAL(option(s, SOL_SOCKET, SO_KEEPALIVE), 1);
	EQUAL(option(s, IPPROTO_TCP, TCP_NODELAY), 1);
	EQUAL(option(s, IPPROTO_TCP, TCP_KEEPIDLE), 77);
	OK(close(c));
	OK(close(s));
	c = client(l);
	OK(set(l, IPPROTO_TCP, TCP_KEEPIDLE, 78));
	s = OK(accept(l, NULL, NULL));
	EQUAL(option(s, IPPROTO_TCP, TCP_KEEPIDLE), 77);
}

/* Who sends to a socket that is closed is told by the next call. */
TEST(sent_to_nobody) {
	int s[2];
	tcp_pair(AF_INET, s);
	OK(close(s[0]));
	await(s[1], all, POLLIN | POLLOUT | POLLRDHUP);
	EQUAL(send(s[1], "x", 1, MSG_NOSIGNAL), 1);
	await(s[1], all, POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
	EQUAL(read(s[1], buf, 1), 0);
	EQUAL(error_of(s[1]), EPIPE);
	FAILS(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
	socklen_t n = sizeof buf;
	FAILS(getpeername(s[1], (void *)buf, &n), ENOTCONN);
}

/* A reset after the end of what the other one sends is not ECONNRESET. */
TEST(reset_after_the_end) {
	int s[2];
	tcp_pair(AF_INET, s);
	EQUAL(write(s[1], "unread", 6), 6);
	OK(shutdown(s[0], SHUT_WR));
	OK(close(s[0]));
	await(s[1], all, POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
	EQUAL(read(s[1], buf, 1), 0);
	EQUAL(error_of(s[1]), EPIPE);
	FAILS(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
}

/* Who sends to a socket that has been shut down in both directions is reset, and so is that one. */
static void sent_to_the_deaf(int l, int first, int then, int error) {
	int c = client(l);
	EQUAL(write(c, "x", 1), 1);
	int s = OK(accept(l, NULL, NULL));
	EQUAL(read(s, buf, 1), 1);
	OK(shutdown(s, first));
	if (then >= 0)
		OK(shutdown(s, then));
	await(c, all, POLLIN | POLLOUT | POLLRDHUP);
	EQUAL(send(c, "x", 1, MSG_NOSIGNAL), 1);
	await(c, all, POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
	EQUAL(read(c, buf, 1), 0);
	EQUAL(error_of(c), EPIPE);
	FAILS(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
	await(s, all, POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
	if (error)
		EQUAL(error_of(s), error);
	EQUAL(listed(port_of(c), port_of(l), 8), 0);
	OK(close(s));
	OK(close(c));
}

TEST(sent_to_who_is_shut_down) {
	int l = listener(AF_INET);
	sent_to_the_deaf(l, SHUT_RDWR, -1, ECONNRESET);
	sent_to_the_deaf(l, SHUT_RD, SHUT_WR, ECONNRESET);
	sent_to_the_deaf(l, SHUT_WR, SHUT_RD, ECONNRESET);
	OK(set(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5)); /* the stack makes such connections */
	sent_to_the_deaf(l, SHUT_RDWR, -1, 0);
}

/* What the other end had no room for does not keep a sender once nobody is to receive it. */
TEST(full_and_shut_down) {
	int s[2];
	tcp_pair(AF_INET, s);
	do
		while (send(s[0], buf, sizeof buf, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
			;
	while (writable(s[0])); /* what is confirmed late makes room */
	OK(shutdown(s[1], SHUT_WR));
	OK(shutdown(s[1], SHUT_RD));
	struct pollfd p = { s[0], POLLOUT, 0 };
	EQUAL(poll(&p, 1, 60000), 1);
	for (int i = 0; i < 2 && send(s[0], buf, 1, MSG_NOSIGNAL) == 1; i++)
		;
	FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
}

/* Who has heard of the end of both directions hears nothing of the close. */
TEST(told_once) {
	int s[2], e = OK(epoll_create1(0));
	struct epoll_event want = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET }, got;
	tcp_pair(AF_INET, s);
	OK(shutdown(s[0], SHUT_WR));
	await(s[1], all, POLLIN | POLLOUT | POLLRDHUP);
	OK(shutdown(s[1], SHUT_WR));
	await(s[0], all, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	OK(epoll_ctl(e, EPOLL_CTL_ADD, s[0], &want));
	EQUAL(epoll_wait(e, &got, 1, 60000), 1);
	OK(close(s[1]));
	EQUAL(epoll_wait(e, &got, 1, 100), 0);
}

/* Whatever loopback address it goes to, a connection comes from 127.0.0.1. */
TEST(from_the_first_loopback_address) {
	union addr a, from;
	socklen_t n = sizeof from;
	memset(&a, 0, sizeof a);
	a.in.sin_family = AF_INET;
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(l, &a.sa, sizeof a.in));
	OK(listen(l, 1));
	a.in.sin_addr.s_addr = htonl(0x7f000101);
	a.in.sin_port = htons(port_of(l));
	OK(connect(c, &a.sa, sizeof a.in));
	OK(accept(l, &from.sa, &n));
	EQUAL(ntohl(from.in.sin_addr.s_addr), INADDR_LOOPBACK);
	OK(getsockname(c, &from.sa, &n));
	EQUAL(ntohl(from.in.sin_addr.s_addr), INADDR_LOOPBACK);
	OK(getpeername(c, &from.sa, &n));
	EQUAL(ntohl(from.in.sin_addr.s_addr), 0x7f000101);
}

/* A socket that connects to its own name does so, whoever listens at that too. */
TEST(to_itself) {
	union addr a;
	socklen_t n = loopback(&a, AF_INET, 0);
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(l, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(set(c, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(bind(l, &a.sa, n));
	n = loopback(&a, AF_INET, port_of(l));
	OK(bind(c, &a.sa, n));
	OK(listen(l, 1));
	OK(connect(c, &a.sa, n));
	await(l, all, 0);
	EQUAL(write(c, "x", 1), 1);
	EQUAL(read(c, buf, 9), 1);
}

/* A reset ends it at once: nothing is left of it. */
TEST(nothing_after_a_reset) {
	struct linger now = { 1, 0 };
	/* A port that connect chooses may be another connection's too, which does not share it. */
	int l = listener(AF_INET), to = port_of(l), c = bound_to(0), from = port_of(c);
	connect_to(c, l);
	int s = OK(accept(l, NULL, NULL));
	OK(setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(close(c));
	FAILS(read(s, buf, 1), ECONNRESET);
	EQUAL(read(s, buf, 1), 0);
	for (int state = 1; state < 12; state++)
		EQUAL(listed(from, to, state) + listed(to, from, state), 0);
	c = bound_to(from);
	connect_to(c, l);
	OK(close(OK(accept(l, NULL, NULL))));
}

/* Whose port it is. */
TEST(ports_of_connections) {
	int l = listener(AF_INET), c = client(l), from = port_of(c);
	union addr a;
	socklen_t n = loopback(&a, AF_INET, from);
	int s = OK(accept(l, NULL, NULL)), other = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(bind(other, &a.sa, n), EADDRINUSE);
	OK(close(other));
	/* Those that share a port go to different addresses. */
	int first = bound_to(0), second = bound_to(port_of(first)), m = listener(AF_INET);
	connect_to(first, l);
	n = loopback(&a, AF_INET, port_of(l));
	FAILS(connect(second, &a.sa, n), EADDRNOTAVAIL);
	connect_to(second, m);
	EQUAL(port_of(second), port_of(first));
	OK(close(s));
	OK(close(c));
}

/* TIME_WAIT of the side that connected keeps its port from others. */
TEST(time_wait_of_the_caller) {
	int l = listener(AF_INET), to = port_of(l), c = bound_to(0), from = port_of(c);
	connect_to(c, l);
	int s = OK(accept(l, NULL, NULL));
	OK(close(c));
	EQUAL(read(s, buf, 1), 0);
	await_listed(from, to, 5);
	OK(close(s));
	await_listed(from, to, 6);
	union addr a;
	socklen_t n = loopback(&a, AF_INET, from);
	int other = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(bind(other, &a.sa, n), EADDRINUSE);
	OK(set(other, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(bind(other, &a.sa, n));
	n = loopback(&a, AF_INET, to);
	sleep_ms(1100);
	OK(connect(other, &a.sa, n)); /* net.ipv4.tcp_tw_reuse */
	EQUAL(listed(from, to, 6), 0);
	EQUAL(listed(from, to, 1), 1);
}

/* TIME_WAIT of the side that accepted is in the way of nobody who connects. */
TEST(time_wait_of_the_listener) {
	int l = listener(AF_INET), to = port_of(l), c = bound_to(0), from = port_of(c);
	connect_to(c, l);
	OK(close(OK(accept(l, NULL, NULL))));
	EQUAL(read(c, buf, 1), 0);
	OK(close(c));
	await_listed(to, from, 6);
	c = bound_to(from);
	connect_to(c, l);
	EQUAL(listed(to, from, 6), 0);
	EQUAL(write(c, "x", 1), 1);
	EQUAL(read(OK(accept(l, NULL, NULL)), buf, 1), 1);
}

/* The same socket connects again once it has no connection any more. */
TEST(one_socket_after_another) {
	int l = listener(AF_INET), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr none = { AF_UNSPEC };
	for (int i = 0; i < 10; i++) {
		connect_to(c, l);
		int s = OK(accept(l, NULL, NULL));
		EQUAL(write(c, "x", 1), 1);
		EQUAL(read(s, buf, 9), 1);
		OK(connect(c, &none, sizeof none));
		FAILS(read(s, buf, 9), ECONNRESET);
		OK(close(s));
	}
	OK(close(l));
	socklen_t n = sizeof none;
	FAILS(getpeername(c, &none, &n), ENOTCONN);
}

/* Without waiting it is in progress, and made when poll(2) says so. */
TEST(in_progress) {
	int l = listener(AF_INET), c = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)), e = OK(epoll_create1(0));
	struct epoll_event want = { .events = EPOLLIN | EPOLLOUT | EPOLLET }, got;
	union addr a;
	socklen_t n = loopback(&a, AF_INET, port_of(l));
	OK(epoll_ctl(e, EPOLL_CTL_ADD, c, &want));
	EQUAL(epoll_wait(e, &got, 1, 0), 1);
	EQUAL(got.events, EPOLLOUT | EPOLLHUP);
	FAILS(connect(c, &a.sa, n), EINPROGRESS);
	EQUAL(epoll_wait(e, &got, 1, 60000), 1);
	EQUAL(got.events, EPOLLOUT);
	EQUAL(error_of(c), 0);
	OK(connect(c, &a.sa, n));
	FAILS(connect(c, &a.sa, n), EISCONN);
	EQUAL(epoll_wait(e, &got, 1, 0), 0);
}

/* Both ends move all bytes, however small their buffers are. */
TEST(small_buffers) {
	int l = listener(AF_INET), c = OK(socket(AF_INET, SOCK_STREAM, 0)), st;
	OK(set(c, SOL_SOCKET, SO_SNDBUF, 4096));
	OK(set(l, SOL_SOCKET, SO_RCVBUF, 4096));
	connect_to(c, l);
	pid_t k = OK(fork());
	if (k == 0) {
		OK(close(c));
		int s = OK(accept(l, NULL, NULL));
		long total = 0;
		for (ssize_t n; (n = OK(read(s, buf, sizeof buf))) > 0; total += n)
			for (ssize_t i = 0; i < n; i++)
				EQUAL((unsigned char)buf[i], (total + i) % 251);
		EQUAL(total, 1 << 20);
		_exit(0);
	}
	for (int done = 0; done < 1 << 20;) {
		int n = (1 << 20) - done < 10000 ? (1 << 20) - done : 10000;
		for (int i = 0; i < n; i++)
			buf[i] = (done + i) % 251;
		EQUAL(write(c, buf, n), n);
		done += n;
	}
	OK(close(c));
	EQUAL(waitpid(k, &st, 0), k);
	EXITED_OK(st);
}

static void up(const char *name) {
	struct ifreq r = { .ifr_flags = IFF_UP };
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	strcpy(r.ifr_name, name);
	OK(ioctl(s, SIOCSIFFLAGS, &r));
	OK(close(s));
}

/* Each namespace has listeners of its own. */
TEST(not_from_another_namespace) {
	int l = listener(AF_INET);
	union addr a;
	socklen_t n = loopback(&a, AF_INET, port_of(l));
	if (unshare(CLONE_NEWNET) == -1)
		SKIP("no right to make network namespaces");
	int c = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(connect(c, &a.sa, n), ENETUNREACH);
	OK(close(c));
	up("lo");
	c = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(connect(c, &a.sa, n), ECONNREFUSED);
	OK(close(c));
	int m = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(m, &a.sa, n));
	OK(listen(m, 1));
	c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(c, &a.sa, n));
	await(l, all, 0);
	await(m, all, POLLIN);
}

/* Threads connect to one listener, and none of the connections is lost. */
static int of_many;

static void *connects(void *arg) {
	for (int i = 0; i < 200; i++) {
		int c = client(of_many), n = i;
		EQUAL(write(c, &n, sizeof n), sizeof n);
		EQUAL(read(c, &n, sizeof n), sizeof n);
		EQUAL(n, i + 1);
		OK(close(c));
	}
	return NULL;
}

TEST(many_at_once) {
	pthread_t t[4];
	of_many = listener(AF_INET);
	for (int i = 0; i < 4; i++)
		EQUAL(pthread_create(&t[i], NULL, connects, NULL), 0);
	for (int i = 0; i < 4 * 200; i++) {
		int s = OK(accept(of_many, NULL, NULL)), n;
		EQUAL(read(s, &n, sizeof n), sizeof n);
		n++;
		EQUAL(write(s, &n, sizeof n), sizeof n);
		EQUAL(read(s, &n, sizeof n), 0);
		OK(close(s));
	}
	for (int i = 0; i < 4; i++)
		EQUAL(pthread_join(t[i], NULL), 0);
	await(of_many, all, 0);
}
