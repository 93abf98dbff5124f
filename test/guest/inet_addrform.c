/* Sockets of AF_INET6 that become ones of AF_INET (IPV6_ADDRFORM): ipv6(7). */
#include "inet.h"
#include <netinet/tcp.h>
#include <netinet/udp.h>

static const int types[] = { SOCK_STREAM, SOCK_DGRAM };

/* mapped is a port of 127.0.0.1 as AF_INET6 has it. */
static socklen_t mapped(union addr *a, int port) {
	memset(a, 0, sizeof *a);
	a->in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
	EQUAL(inet_pton(AF_INET6, "::ffff:127.0.0.1", &a->in6.sin6_addr), 1);
	return sizeof a->in6;
}

/* receiver is a socket of AF_INET that can be connected to. */
static int receiver(int type) { return type == SOCK_STREAM ? listener(AF_INET) : bound(AF_INET, type); }

/* connected is a socket of AF_INET6 that is connected to one of AF_INET. */
static int connected(int type, int to) {
	union addr a;
	int s = OK(socket(AF_INET6, type, 0));
	socklen_t n = mapped(&a, port_of(to));
	OK(connect(s, &a.sa, n));
	return s;
}

static int convert(int s) { return set(s, IPPROTO_IPV6, IPV6_ADDRFORM, AF_INET); }

static void is_of_ipv4(int s, int peer) {
	union addr a;
	socklen_t n = sizeof a;
	EQUAL(option(s, SOL_SOCKET, SO_DOMAIN), AF_INET);
	OK(getsockname(s, &a.sa, &n));
	EQUAL(n, sizeof a.in);
	EQUAL(a.sa.sa_family, AF_INET);
	if (!peer)
		return;
	n = sizeof a;
	OK(getpeername(s, &a.sa, &n));
	EQUAL(n, sizeof a.in);
	EQUAL(a.sa.sa_family, AF_INET);
	EQUAL(a.in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	EQUAL(ntohs(a.in.sin_port), peer);
}

TEST(what_is_refused) {
	need_family(AF_INET6);
	for (int i = 0; i < 2; i++) {
		int s = OK(socket(AF_INET6, types[i], 0)), v = AF_INET;
		socklen_t n = sizeof v;
		FAILS(convert(s), ENOTCONN);
		FAILS(set(s, IPPROTO_IPV6, IPV6_ADDRFORM, AF_INET6), EINVAL);
		FAILS(setsockopt(s, IPPROTO_IPV6, IPV6_ADDRFORM, &v, 3), EINVAL);
		FAILS(getsockopt(s, IPPROTO_IPV6, IPV6_ADDRFORM, &v, &n), ENOTCONN);
		int l = types[i] == SOCK_STREAM ? listener(AF_INET6) : bound(AF_INET6, types[i]);
		FAILS(convert(l), ENOTCONN);
		connect_to(s, l);
		EQUAL(option(s, IPPROTO_IPV6, IPV6_ADDRFORM), AF_INET6);
		FAILS(convert(s), EADDRNOTAVAIL);
		FAILS(set(OK(socket(AF_INET, types[i], 0)), IPPROTO_IPV6, IPV6_ADDRFORM, AF_INET), ENOPROTOOPT);
	}
	int raw = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	if (raw >= 0)
		FAILS(convert(raw), ENOPROTOOPT);
}

/* A datagram that is not complete yet stays one, unless it goes where the socket cannot send any more. */
TEST(corked) {
	need_family(AF_INET6);
	union addr a;
	char buf[20];
	int r = receiver(SOCK_DGRAM), s = connected(SOCK_DGRAM, r);
	OK(set(s, IPPROTO_UDP, UDP_CORK, 1));
	OK(set(s, IPPROTO_UDP, UDP_CORK, 0));
	socklen_t n = mapped(&a, port_of(r));
	EQUAL(sendto(s, "one ", 4, MSG_MORE, &a.sa, n), 4);
	OK(convert(s));
	OK(connect(s, &(struct sockaddr){ AF_UNSPEC }, sizeof(struct sockaddr)));
	FAILS(recv(r, buf, 9, MSG_DONTWAIT), EAGAIN);
	n = loopback(&a, AF_INET, port_of(r));
	EQUAL(sendto(s, "two", 3, 0, &a.sa, n), 3);
	EQUAL(recv(r, buf, sizeof buf, 0), 7);
	CHECK(!memcmp(buf, "one two", 7));

	s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	n = loopback(&a, AF_INET6, 9);
	EQUAL(sendto(s, "x", 1, MSG_MORE, &a.sa, n), 1);
	n = mapped(&a, port_of(r));
	OK(connect(s, &a.sa, n));
	FAILS(convert(s), EBUSY);
}

TEST(names_and_options) {
	need_family(AF_INET6);
	for (int i = 0; i < 2; i++) {
		int l = receiver(types[i]), s = connected(types[i], l), v, before = port_of(s);
		socklen_t n = sizeof v;
		OK(set(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33));
		OK(set(s, IPPROTO_IP, IP_TTL, 44));
		EQUAL(option(s, IPPROTO_IPV6, IPV6_ADDRFORM), AF_INET6);
		OK(convert(s));
		is_of_ipv4(s, port_of(l));
		EQUAL(port_of(s), before);
		EQUAL(option(s, IPPROTO_IP, IP_TTL), 44);
		FAILS(convert(s), ENOPROTOOPT);
		FAILS(getsockopt(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &v, &n), EOPNOTSUPP);
	}
}

TEST(streams_go_on) {
	need_family(AF_INET6);
	char b[8];
	int l = listener(AF_INET), s = connected(SOCK_STREAM, l), c = OK(accept(l, NULL, NULL));
	EQUAL(send(s, "before", 6, 0), 6);
	OK(convert(s));
	EQUAL(send(s, "!", 1, 0), 1);
	EQUAL(recv(c, b, 7, MSG_WAITALL), 7);
	CHECK(!memcmp(b, "before!", 7));
	EQUAL(send(c, "back", 4, 0), 4);
	EQUAL(recv(s, b, sizeof b, 0), 4);
	close(c);
	EQUAL(recv(s, b, sizeof b, 0), 0);
	/* the next connection is IPv4's from the beginning */
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	OK(connect(s, &none, sizeof none));
	is_of_ipv4(s, 0);
	connect_to(s, l);
	is_of_ipv4(s, port_of(l));
	OK(accept(l, NULL, NULL));
}

TEST(accepted_ones_too) {
	need_family(AF_INET6);
	union addr a;
	struct sockaddr_in6 any = { AF_INET6 };
	int l = OK(socket(AF_INET6, SOCK_STREAM, 0)), s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(l, (void *)&any, sizeof any));
	OK(listen(l, 1));
	OK(connect(s, &a.sa, loopback(&a, AF_INET, port_of(l))));
	int c = OK(accept(l, NULL, NULL));
	EQUAL(option(c, SOL_SOCKET, SO_DOMAIN), AF_INET6);
	OK(convert(c));
	is_of_ipv4(c, port_of(s));
	EQUAL(option(l, SOL_SOCKET, SO_DOMAIN), AF_INET6);
	char b;
	EQUAL(send(s, "x", 1, 0), 1);
	EQUAL(recv(c, &b, 1, 0), 1);
}

TEST(datagrams_go_on) {
	need_family(AF_INET6);
	union addr a, from;
	char b[64];
	int r = bound(AF_INET, SOCK_DGRAM), s = connected(SOCK_DGRAM, r);
	OK(set(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)); /* of which nothing is left */
	OK(set(s, IPPROTO_IP, IP_RECVTTL, 1));
	OK(convert(s));
	EQUAL(send(s, "out", 3, 0), 3);
	socklen_t n = sizeof from;
	EQUAL(recvfrom(r, b, sizeof b, 0, &from.sa, &n), 3);
	EQUAL(ntohs(from.in.sin_port), port_of(s));
	EQUAL(sendto(r, "in", 2, 0, &from.sa, n), 2);
	char control[256];
	struct iovec v = { b, sizeof b };
	struct msghdr m = { .msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	EQUAL(recvmsg(s, &m, 0), 2);
	EQUAL(m.msg_namelen, sizeof a.in);
	EQUAL(a.in.sin_family, AF_INET);
	EQUAL(ntohs(a.in.sin_port), port_of(r));
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	CHECK(h && h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_TTL && !CMSG_NXTHDR(&m, h));
	/* only addresses of IPv4 are left to it */
	n = mapped(&a, port_of(r));
	FAILS(connect(s, &a.sa, n), EAFNOSUPPORT);
	FAILS(sendto(s, "x", 1, 0, &a.sa, n), EAFNOSUPPORT);
	int other = bound(AF_INET, SOCK_DGRAM);
	n = loopback(&a, AF_INET, port_of(other));
	EQUAL(sendto(s, "x", 1, 0, &a.sa, n), 1);
	EQUAL(recv(other, b, sizeof b, 0), 1);
	connect_to(s, other);
	is_of_ipv4(s, port_of(other));
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	OK(connect(s, &none, sizeof none));
	is_of_ipv4(s, 0);
}

/* A name that was bound stays. */
TEST(bound_ones_keep_their_port) {
	need_family(AF_INET6);
	union addr a;
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET6, SOCK_DGRAM, 0)), port;
	socklen_t n;
	do { /* somebody else on this host may be faster */
		int free = bound(AF_INET, SOCK_DGRAM);
		port = port_of(free);
		close(free);
		n = mapped(&a, port);
	} while (bind(s, &a.sa, n) == -1 && errno == EADDRINUSE);
	EQUAL(port_of(s), port);
	n = mapped(&a, port_of(r));
	OK(connect(s, &a.sa, n));
	OK(convert(s));
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	OK(connect(s, &none, sizeof none));
	is_of_ipv4(s, 0);
	EQUAL(port_of(s), port);
	n = loopback(&a, AF_INET, port);
	EQUAL(sendto(r, "x", 1, 0, &a.sa, n), 1);
	char b;
	EQUAL(recv(s, &b, 1, 0), 1);
}
