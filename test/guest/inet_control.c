/* Control messages of a send: what they change for one datagram: ip(7), ipv6(7). */
#include "inet.h"
#include <netinet/ip.h>

static char buf[65536];

/* send_with sends "x" to a socket's address with one control message. */
static ssize_t send_with(int fd, union addr *to, socklen_t n, int level, int type, void *data, int size) {
	union { char b[128]; struct cmsghdr align; } c = { { 0 } };
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_name = to, .msg_namelen = n, .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = CMSG_SPACE(size) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = level;
	h->cmsg_type = type;
	h->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(h), data, size);
	return sendmsg(fd, &m, 0);
}

/* control_of receives one datagram, its sender, and the control message of a type; its value is the length, -1 for none. */
static int control_of(int fd, union addr *from, int level, int type, void *data) {
	union { char b[512]; struct cmsghdr align; } c;
	struct iovec v = { buf, sizeof buf };
	struct msghdr m = { .msg_name = from, .msg_namelen = sizeof *from, .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c };
	ready(fd, POLLIN);
	OK(recvmsg(fd, &m, 0));
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
		if (h->cmsg_level == level && h->cmsg_type == type) {
			memcpy(data, CMSG_DATA(h), h->cmsg_len - CMSG_LEN(0));
			return h->cmsg_len - CMSG_LEN(0);
		}
	return -1;
}

/* receive gets one datagram, its sender, and the control message of a type as a number. */
static int receive(int fd, union addr *from, int level, int type) {
	union { unsigned char byte; int number; char room[512]; } u;
	int n = control_of(fd, from, level, type, &u);
	return n == -1 ? -1 : n == 1 ? u.byte : u.number;
}

TEST(type_of_service) {
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	union addr from, to;
	socklen_t n = sizeof to;
	OK(getsockname(r, &to.sa, &n));
	OK(set(r, IPPROTO_IP, IP_RECVTOS, 1));
	OK(set(s, IPPROTO_IP, IP_TOS, 0x10));
	int tos = 0x28;
	EQUAL(send_with(s, &to, n, IPPROTO_IP, IP_TOS, &tos, 4), 1);
	EQUAL(receive(r, &from, IPPROTO_IP, IP_TOS), 0x28);
	unsigned char byte = 0x48;
	EQUAL(send_with(s, &to, n, IPPROTO_IP, IP_TOS, &byte, 1), 1);
	EQUAL(receive(r, &from, IPPROTO_IP, IP_TOS), 0x48);
	EQUAL(sendto(s, "x", 1, 0, &to.sa, n), 1);
	EQUAL(receive(r, &from, IPPROTO_IP, IP_TOS), 0x10);
	EQUAL(option(s, IPPROTO_IP, IP_TOS), 0x10);
	tos = 256;
	FAILS(send_with(s, &to, n, IPPROTO_IP, IP_TOS, &tos, 4), EINVAL);
	FAILS(send_with(s, &to, n, IPPROTO_IP, IP_TOS, &tos, 2), EINVAL);
}

TEST(traffic_class) {
	need_family(AF_INET6);
	int r = bound(AF_INET6, SOCK_DGRAM), s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	union addr from, to;
	socklen_t n = sizeof to;
	OK(getsockname(r, &to.sa, &n));
	OK(set(r, IPPROTO_IPV6, IPV6_RECVTCLASS, 1));
	int class = 0x28;
	EQUAL(send_with(s, &to, n, IPPROTO_IPV6, IPV6_TCLASS, &class, 4), 1);
	EQUAL(receive(r, &from, IPPROTO_IPV6, IPV6_TCLASS), 0x28);
	EQUAL(sendto(s, "x", 1, 0, &to.sa, n), 1);
	EQUAL(receive(r, &from, IPPROTO_IPV6, IPV6_TCLASS), 0);
	class = 256;
	FAILS(send_with(s, &to, n, IPPROTO_IPV6, IPV6_TCLASS, &class, 4), EINVAL);
}

/* A server of all addresses answers from the one that it was asked at. */
TEST(source_address) {
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	union addr from, to, any = { .in = { .sin_family = AF_INET } };
	socklen_t n = sizeof any.in;
	OK(bind(s, &any.sa, n));
	n = sizeof to;
	OK(getsockname(r, &to.sa, &n));
	struct in_pktinfo info = { .ipi_spec_dst.s_addr = htonl(0x7f000102) };
	EQUAL(send_with(s, &to, n, IPPROTO_IP, IP_PKTINFO, &info, sizeof info), 1);
	receive(r, &from, 0, 0);
	EQUAL(from.in.sin_addr.s_addr, htonl(0x7f000102));
	EQUAL(ntohs(from.in.sin_port), port_of(s));
	EQUAL(buf[0], 'x');
	/* The interface alone changes no address here. */
	info = (struct in_pktinfo){ .ipi_ifindex = 1 };
	EQUAL(send_with(s, &to, n, IPPROTO_IP, IP_PKTINFO, &info, sizeof info), 1);
	receive(r, &from, 0, 0);
	EQUAL(from.in.sin_addr.s_addr, htonl(0x7f000001));
	/* Of a connected socket too; one that only receives knows it by that. */
	OK(connect(s, &to.sa, n));
	info = (struct in_pktinfo){ .ipi_spec_dst.s_addr = htonl(0x7f000103) };
	EQUAL(send_with(s, NULL, 0, IPPROTO_IP, IP_PKTINFO, &info, sizeof info), 1);
	receive(r, &from, 0, 0);
	EQUAL(from.in.sin_addr.s_addr, htonl(0x7f000103));
	EQUAL(send(s, "y", 1, 0), 1);
	receive(r, &from, 0, 0);
	EQUAL(from.in.sin_addr.s_addr, htonl(0x7f000001));
	/* An address that is not one's own, and a structure of another size. */
	info.ipi_spec_dst.s_addr = htonl(0xc0000201);
	CHECK(send_with(s, NULL, 0, IPPROTO_IP, IP_PKTINFO, &info, sizeof info) == -1);
	CHECK(errno == ENETUNREACH || errno == EINVAL); /* by version */
	FAILS(send_with(s, NULL, 0, IPPROTO_IP, IP_PKTINFO, &info, sizeof info - 1), EINVAL);
}

TEST(source_address_of_no_port) {
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	union addr from, to;
	socklen_t n = sizeof to;
	OK(getsockname(r, &to.sa, &n));
	struct in_pktinfo info = { .ipi_spec_dst.s_addr = htonl(0x7f000102) };
	EQUAL(send_with(s, &to, n, IPPROTO_IP, IP_PKTINFO, &info, sizeof info), 1);
	receive(r, &from, 0, 0);
	EQUAL(from.in.sin_addr.s_addr, htonl(0x7f000102));
	EQUAL(ntohs(from.in.sin_port), port_of(s));
	EQUAL(sendto(r, "z", 1, 0, &from.sa, sizeof from.in), 1);
	ready(s, POLLIN);
}

/* Whoever gives up a connection may have another name then, unless he asked for a port. */
TEST(name_after_disconnect) {
	EACH_FAMILY(f) {
		need_family(f);
		int r = bound(f, SOCK_DGRAM), s = OK(socket(f, SOCK_DGRAM, 0));
		union addr a, none = { .sa = { .sa_family = AF_UNSPEC } };
		connect_to(s, r);
		CHECK(port_of(s) != 0);
		OK(connect(s, &none.sa, sizeof none.sa));
		EQUAL(port_of(s), 0);
		int port = bind_by_number(s, f);
		EQUAL(port_of(s), port);
		connect_to(s, r);
		OK(connect(s, &none.sa, sizeof none.sa));
		EQUAL(port_of(s), port);
		FAILS(bind(s, &a.sa, loopback(&a, f, 0)), EINVAL);
		/* A port that was had by sending stays. */
		int u = OK(socket(f, SOCK_DGRAM, 0));
		socklen_t n = sizeof a;
		OK(getsockname(r, &a.sa, &n));
		EQUAL(sendto(u, "x", 1, 0, &a.sa, n), 1);
		CHECK(port_of(u) != 0);
		FAILS(bind(u, &a.sa, loopback(&a, f, 0)), EINVAL);
	}
}

/* Whether a datagram may be fragmented it says itself, or else the socket's option. */
TEST(no_fragments) {
	need_family(AF_INET6);
	int r = bound(AF_INET6, SOCK_DGRAM), s = OK(socket(AF_INET6, SOCK_DGRAM, 0)), no = 0, yes = 1, two = 2;
	union addr to;
	socklen_t n = sizeof to;
	struct iovec v = { buf, 65500 }; /* lo takes 65536 with the headers */
	union { char b[CMSG_SPACE(4)]; struct cmsghdr h; } c = { .h = { CMSG_LEN(4), IPPROTO_IPV6, IPV6_DONTFRAG } };
	struct msghdr m = { .msg_name = &to, .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	OK(getsockname(r, &to.sa, &n));
	m.msg_namelen = n;
	OK(set(s, SOL_SOCKET, SO_SNDBUF, 200000));
	memcpy(CMSG_DATA(&c.h), &yes, 4);
	FAILS(sendmsg(s, &m, 0), EMSGSIZE);
	EQUAL(sendto(s, buf, 65500, 0, &to.sa, n), 65500);
	OK(set(s, IPPROTO_IPV6, IPV6_DONTFRAG, 1));
	FAILS(sendto(s, buf, 65500, 0, &to.sa, n), EMSGSIZE);
	memcpy(CMSG_DATA(&c.h), &no, 4);
	EQUAL(sendmsg(s, &m, 0), 65500);
	FAILS(sendto(s, buf, 65500, 0, &to.sa, n), EMSGSIZE);
	memcpy(CMSG_DATA(&c.h), &two, 4);
	FAILS(sendmsg(s, &m, 0), EINVAL);
}

/* The interface that datagrams of IPv6 leave by for good. The address beside it is of no account to Linux. */
TEST(interface_of_a_socket) {
	need_family(AF_INET6);
	int r = bound(AF_INET6, SOCK_DGRAM), s = OK(socket(AF_INET6, SOCK_DGRAM, 0)), t = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	union addr to, from;
	socklen_t n = sizeof to;
	OK(getsockname(r, &to.sa, &n));
	struct in6_pktinfo i = { .ipi6_ifindex = 12345 };
	FAILS(setsockopt(s, IPPROTO_IPV6, IPV6_PKTINFO, &i, sizeof i - 1), EINVAL);
	FAILS(setsockopt(s, IPPROTO_IPV6, IPV6_PKTINFO, &i, 0), EINVAL);
	FAILS(getsockopt(s, IPPROTO_IPV6, IPV6_PKTINFO, &i, &(socklen_t){ sizeof i }), ENOPROTOOPT);
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_PKTINFO, &i, sizeof i));
	FAILS(sendto(s, "x", 1, 0, &to.sa, n), ENETUNREACH);
	FAILS(connect(s, &to.sa, n), ENETUNREACH);
	i.ipi6_ifindex = 1;
	inet_pton(AF_INET6, "2001:db8::77", &i.ipi6_addr);
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_PKTINFO, &i, sizeof i));
	EQUAL(sendto(s, "x", 1, 0, &to.sa, n), 1);
	receive(r, &from, 0, 0);
	CHECK(!memcmp(&from.in6.sin6_addr, &in6addr_loopback, 16));
	i.ipi6_ifindex = 0;
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_PKTINFO, &i, sizeof i));
	EQUAL(sendto(s, "x", 1, 0, &to.sa, n), 1);
	OK(setsockopt(t, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	i.ipi6_ifindex = 2;
	FAILS(setsockopt(t, IPPROTO_IPV6, IPV6_PKTINFO, &i, sizeof i), EINVAL);
}

/* Where control messages cannot be written to the bytes come all the same. */
TEST(no_room_for_what_comes) {
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0)), p[2];
	struct iovec v = { buf, sizeof buf };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	connect_to(s, r);
	OK(set(r, IPPROTO_IP, IP_PKTINFO, 1));
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	OK(set(p[1], SOL_SOCKET, SO_PASSCRED, 1));
	for (int i = 0; i < 2; i++) {
		EQUAL(send(i ? p[0] : s, "abc", 3, 0), 3);
		m.msg_control = (void *)8;
		m.msg_controllen = 100;
		EQUAL(recvmsg(i ? p[1] : r, &m, 0), 3);
		EQUAL(m.msg_controllen, 0);
		EQUAL(m.msg_flags, 0);
		FAILS(recv(i ? p[1] : r, buf, 9, MSG_DONTWAIT), EAGAIN);
	}
}

/* six_for_all is a socket of AF_INET6 that receives IPv4 too, and where it is reached so. */
static int six_for_all(union addr *at, socklen_t *n) {
	struct sockaddr_in6 any = { AF_INET6 };
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	OK(bind(s, (void *)&any, sizeof any));
	*n = loopback(at, AF_INET, port_of(s));
	return s;
}

/* IPV6_PKTINFO tells a socket of AF_INET6 where a datagram of IPv4 was sent to, and has the answer come from there. */
TEST(mapped_destination_and_source) {
	need_family(AF_INET6);
	union addr at, from, answered;
	socklen_t n;
	struct in6_pktinfo info;
	int r = six_for_all(&at, &n), s = bound(AF_INET, SOCK_DGRAM);
	OK(set(r, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
	at.in.sin_addr.s_addr = htonl(0x7f000005);
	EQUAL(sendto(s, "x", 1, 0, &at.sa, n), 1);
	EQUAL(control_of(r, &from, IPPROTO_IPV6, IPV6_PKTINFO, &info), sizeof info);
	CHECK(IN6_IS_ADDR_V4MAPPED(&info.ipi6_addr));
	CHECK(!memcmp(&info.ipi6_addr.s6_addr[12], &at.in.sin_addr, 4));
	EQUAL(info.ipi6_ifindex, 1);
	EQUAL(send_with(r, &from, sizeof from.in6, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info), 1);
	EQUAL(receive(s, &answered, IPPROTO_IP, IP_TTL), -1);
	EQUAL(answered.in.sin_addr.s_addr, at.in.sin_addr.s_addr);
	info.ipi6_addr = in6addr_loopback;
	FAILS(send_with(r, &from, sizeof from.in6, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info), EINVAL);
	FAILS(send_with(r, &from, sizeof from.in6, IPPROTO_IPV6, IPV6_PKTINFO, &info, 19), EINVAL);
}

/* Where it was sent to in the first place is told of each family by its own option. */
TEST(original_destinations) {
	need_family(AF_INET6);
	union addr at, from, original;
	socklen_t n;
	int r = six_for_all(&at, &n), s = bound(AF_INET, SOCK_DGRAM), s6 = bound(AF_INET6, SOCK_DGRAM);
	for (int six = 0; six < 2; six++) {
		OK(set(r, IPPROTO_IP, IP_RECVORIGDSTADDR, !six));
		OK(set(r, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, six));
		EQUAL(sendto(s, "x", 1, 0, &at.sa, n), 1);
		EQUAL(control_of(r, &from, IPPROTO_IP, IP_ORIGDSTADDR, &original), six ? -1 : (int)sizeof original.in);
		union addr at6;
		socklen_t n6 = loopback(&at6, AF_INET6, port_of(r));
		EQUAL(sendto(s6, "x", 1, 0, &at6.sa, n6), 1);
		EQUAL(control_of(r, &from, IPPROTO_IPV6, IPV6_ORIGDSTADDR, &original), six ? (int)sizeof original.in6 : -1);
	}
}

/* Messages of the family that the datagram is not of are not looked at. */
TEST(messages_of_the_other_family) {
	need_family(AF_INET6);
	union addr to;
	int bad = -5, s = OK(socket(AF_INET6, SOCK_DGRAM, 0)), r = bound(AF_INET, SOCK_DGRAM), r6 = bound(AF_INET6, SOCK_DGRAM);
	socklen_t n = loopback(&to, AF_INET6, port_of(r6));
	EQUAL(send_with(s, &to, n, IPPROTO_IP, IP_TTL, &bad, 4), 1);
	FAILS(send_with(s, &to, n, IPPROTO_IPV6, IPV6_HOPLIMIT, &bad, 4), EINVAL);
	struct in6_pktinfo elsewhere = { .ipi6_addr = { { { 0x20, 1, 0xd, 0xb8, [15] = 1 } } } };
	FAILS(send_with(s, &to, n, IPPROTO_IPV6, IPV6_PKTINFO, &elsewhere, sizeof elsewhere), EINVAL);
	to.in6.sin6_port = htons(port_of(r));
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &to.in6.sin6_addr);
	EQUAL(send_with(s, &to, n, IPPROTO_IPV6, IPV6_HOPLIMIT, &bad, 4), 1);
	FAILS(send_with(s, &to, n, IPPROTO_IP, IP_TTL, &bad, 4), EINVAL);
}

TEST(messages_that_there_are_none_of) {
	union addr to;
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0)), v = 1, pair[2];
	socklen_t n = loopback(&to, AF_INET, port_of(r));
	FAILS(send_with(s, &to, n, IPPROTO_UDP, 1, &v, 4), EINVAL);
	FAILS(send_with(s, &to, n, IPPROTO_UDP, 103 /* UDP_SEGMENT */, &v, 4), EINVAL);
	FAILS(send_with(s, &to, n, SOL_SOCKET, SO_REUSEADDR + 100, &v, 4), EINVAL);
	tcp_pair(AF_INET, pair);
	FAILS(send_with(pair[0], NULL, 0, SOL_SOCKET, SO_REUSEADDR + 100, &v, 4), EINVAL);
	EQUAL(send_with(pair[0], NULL, 0, IPPROTO_IP, IP_TTL, &v, 1), 1);
	EQUAL(recv(pair[1], buf, 2, 0), 1);
}
