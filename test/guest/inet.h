/* inet.h: what the tests of AF_INET and AF_INET6 share. They use loopback only. */
#ifndef INET_H
#define INET_H
#include "guest.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

union addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_storage ss;
};

/* loopback is a port of the loopback address of a family; its value is the length. */
__attribute__((unused)) static socklen_t loopback(union addr *a, int family, int port) {
	memset(a, 0, sizeof *a);
	a->sa.sa_family = family;
	if (family == AF_INET) {
		a->in.sin_port = htons(port);
		a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof a->in;
	}
	a->in6.sin6_port = htons(port);
	a->in6.sin6_addr = in6addr_loopback;
	return sizeof a->in6;
}

__attribute__((unused)) static int port_of(int fd) {
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(fd, &a.sa, &n));
	return ntohs(a.sa.sa_family == AF_INET ? a.in.sin_port : a.in6.sin6_port);
}

/* need_family skips the test where there is no loopback address of the family. */
__attribute__((unused)) static void need_family(int family) {
	union addr a;
	int s = socket(family, SOCK_STREAM, 0);
	if (s < 0 || bind(s, &a.sa, loopback(&a, family, 0)))
		SKIP("the host has no IPv6 loopback address");
	close(s);
}

/* bound is a socket with a port of the loopback address. */
__attribute__((unused)) static int bound(int family, int type) {
	union addr a;
	int s = OK(socket(family, type, 0));
	OK(bind(s, &a.sa, loopback(&a, family, 0)));
	return s;
}

__attribute__((unused)) static int listener(int family) {
	int s = bound(family, SOCK_STREAM);
	OK(listen(s, 5));
	return s;
}

__attribute__((unused)) static void connect_to(int fd, int to) {
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(to, &a.sa, &n));
	OK(connect(fd, &a.sa, n));
}

/* tcp_pair connects two sockets. */
__attribute__((unused)) static void tcp_pair(int family, int s[2]) {
	int l = listener(family);
	s[0] = OK(socket(family, SOCK_STREAM, 0));
	connect_to(s[0], l);
	s[1] = OK(accept(l, NULL, NULL));
	close(l);
}

/* bind_by_number gives a socket a port of the loopback address that nobody has, by its number, and returns it. */
__attribute__((unused)) static int bind_by_number(int fd, int family) {
	int type;
	socklen_t n = sizeof type;
	OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n));
	for (;;) {
		union addr a;
		int free = bound(family, type), port = port_of(free);
		close(free);
		if (bind(fd, &a.sa, loopback(&a, family, port)) == 0)
			return port;
		EQUAL(errno, EADDRINUSE); /* somebody else on this host was faster */
	}
}

/* deaf is a socket for datagrams that hears only itself: to others it is as if nobody had its port, which nobody
 * else gets meanwhile. */
__attribute__((unused)) static int deaf(int family) {
	int s = bound(family, SOCK_DGRAM);
	connect_to(s, s);
	return s;
}

/* await waits until poll(2) says exactly that. */
__attribute__((unused)) static void await(int fd, int asked, int want) {
	struct pollfd p = { fd, asked, 0 };
	for (int i = 0; i < 20000; i++) {
		OK(poll(&p, 1, 0));
		if (p.revents == want)
			return;
		sleep_ms(1);
	}
	EQUAL(p.revents, want);
}

/* ready waits until a descriptor is ready, whatever else it is. */
__attribute__((unused)) static void ready(int fd, int events) {
	struct pollfd p = { fd, events, 0 };
	EQUAL(poll(&p, 1, 60000), 1);
}

__attribute__((unused)) static int writable(int fd) {
	struct pollfd p = { fd, POLLOUT, 0 };
	return OK(poll(&p, 1, 0));
}

__attribute__((unused)) static int option(int fd, int level, int name) {
	int v = -12345;
	socklen_t n = sizeof v;
	OK(getsockopt(fd, level, name, &v, &n));
	return v;
}

__attribute__((unused)) static int set(int fd, int level, int name, int v) {
	return setsockopt(fd, level, name, &v, sizeof v);
}

__attribute__((unused)) static const int families[] = { AF_INET, AF_INET6 };
#define EACH_FAMILY(f) for (int f##_i = 0, f; f##_i < 2 && (f = families[f##_i], 1); f##_i++)
#endif
