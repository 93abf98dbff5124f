/* UDP over loopback: udp(7), ip(7), ipv6(7), socket(7). */
#include "inet.h"
#include "network.h"
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/udp.h>

static char buf[1 << 17];

TEST(datagrams_both_families) {
	EACH_FAMILY(f) {
		need_family(f);
		union addr a, from;
		socklen_t n, fn = sizeof from;
		int r = bound(f, SOCK_DGRAM), s = OK(socket(f, SOCK_DGRAM, 0));
		n = loopback(&a, f, port_of(r));
		EQUAL(sendto(s, "hello", 5, 0, &a.sa, n), 5);
		ready(r, POLLIN);
		EQUAL(recvfrom(r, buf, 100, 0, &from.sa, &fn), 5);
		EQUAL(fn, n);
		CHECK(!memcmp(buf, "hello", 5));
		EQUAL(ntohs(f == AF_INET ? from.in.sin_port : from.in6.sin6_port), port_of(s)); /* it has got one */
		EQUAL(sendto(r, "back", 4, 0, &from.sa, fn), 4);
		EQUAL(recv(s, buf, 2, MSG_PEEK), 2);
		EQUAL(recv(s, buf, 2, MSG_PEEK | MSG_TRUNC), 4);
		EQUAL(recv(s, buf, 2, 0), 2); /* the rest is lost */
		FAILS(recv(s, buf, 2, MSG_DONTWAIT), EAGAIN);
		EQUAL(sendto(s, NULL, 0, 0, &a.sa, n), 0);
		EQUAL(recv(r, buf, 100, 0), 0);
		FAILS(send(s, "x", 1, 0), EDESTADDRREQ);
		await(s, POLLIN | POLLOUT, POLLOUT);
	}
}

/* read(2) too gives no more than there is room for. */
TEST(longer_than_the_room) {
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	connect_to(s, r);
	memset(buf, 'x', 50000);
	for (int i = 0; i < 2; i++) {
		EQUAL(send(s, buf, 50000, 0), 50000);
		buf[10] = 'y';
		EQUAL(i ? recv(r, buf, 10, 0) : read(r, buf, 10), 10);
		CHECK(buf[9] == 'x' && buf[10] == 'y');
		FAILS(recv(r, buf, 10, MSG_DONTWAIT), EAGAIN);
	}
}

TEST(connected) {
	union addr a, none = { .sa.sa_family = AF_UNSPEC };
	socklen_t n = sizeof a;
	int r = bound(AF_INET, SOCK_DGRAM), s = bound(AF_INET, SOCK_DGRAM), other = bound(AF_INET, SOCK_DGRAM);
	FAILS(getpeername(s, &a.sa, &n), ENOTCONN);
	connect_to(s, r);
	OK(getpeername(s, &a.sa, &n));
	EQUAL(ntohs(a.in.sin_port), port_of(r));
	EQUAL(write(s, "one", 3), 3);
	EQUAL(read(r, buf, 9), 3);
	/* Only the peer's datagrams come in. */
	EQUAL(sendto(other, "no", 2, 0, &a.sa, loopback(&a, AF_INET, port_of(s))), 2);
	EQUAL(sendto(r, "yes", 3, 0, &a.sa, sizeof a.in), 3);
	EQUAL(read(s, buf, 9), 3);
	FAILS(recv(s, buf, 9, MSG_DONTWAIT), EAGAIN);
	/* A destination given goes before the peer. */
	EQUAL(sendto(s, "x", 1, 0, &a.sa, loopback(&a, AF_INET, port_of(other))), 1);
	EQUAL(read(other, buf, 9), 1);
	connect_to(s, other);
	OK(connect(s, &none.sa, sizeof none.in));
	FAILS(send(s, "x", 1, 0), EDESTADDRREQ);
	n = sizeof a;
	FAILS(getpeername(s, &a.sa, &n), ENOTCONN);
}

TEST(nobody_there) {
	union addr a;
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	socklen_t n = loopback(&a, AF_INET, port_of(deaf(AF_INET)));
	EQUAL(sendto(s, "x", 1, 0, &a.sa, n), 1); /* nobody is told */
	EQUAL(option(s, SOL_SOCKET, SO_ERROR), 0);
	OK(connect(s, &a.sa, n));
	EQUAL(send(s, "x", 1, 0), 1);
	await(s, POLLIN | POLLOUT, POLLOUT | POLLERR);
	FAILS(recv(s, buf, 1, 0), ECONNREFUSED);
	await(s, POLLIN | POLLOUT, POLLOUT);
	EQUAL(send(s, "x", 1, 0), 1);
	await(s, POLLIN | POLLOUT, POLLOUT | POLLERR);
	FAILS(send(s, "x", 1, 0), ECONNREFUSED);
	EQUAL(send(s, "x", 1, 0), 1);
	await(s, POLLIN | POLLOUT, POLLOUT | POLLERR);
	EQUAL(option(s, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	EQUAL(option(s, SOL_SOCKET, SO_ERROR), 0);
}

TEST(bad_arguments) {
	union addr a;
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	socklen_t n = loopback(&a, AF_INET, 9);
	FAILS(sendto(s, buf, 65508, 0, &a.sa, n), EMSGSIZE);
	FAILS(sendto(s, buf, 1, 0, &a.sa, 8), EINVAL);
	FAILS(sendto(s, buf, 1, MSG_OOB, &a.sa, n), EOPNOTSUPP);
	FAILS(listen(s, 1), EOPNOTSUPP);
	FAILS(accept(s, NULL, NULL), EOPNOTSUPP);
	a.in.sin_port = 0;
	FAILS(sendto(s, buf, 1, 0, &a.sa, n), EINVAL);
	a.in.sin_port = htons(9);
	a.in.sin_family = AF_UNIX;
	FAILS(sendto(s, buf, 1, 0, &a.sa, n), EAFNOSUPPORT);
	FAILS(connect(s, &a.sa, n), EAFNOSUPPORT);
	FAILS(shutdown(s, SHUT_RD), ENOTCONN);
	loopback(&a, AF_INET, 9);
	a.in.sin_addr.s_addr = htonl(INADDR_BROADCAST);
	FAILS(sendto(OK(socket(AF_INET, SOCK_DGRAM, 0)), buf, 1, MSG_DONTWAIT, &a.sa, n) == -1 && (errno == EACCES || errno == ENETUNREACH) ? (errno = EACCES, -1) : 0, EACCES);
}

TEST(shut_down) {
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	connect_to(s, r);
	OK(shutdown(s, SHUT_WR));
	FAILS(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
	OK(shutdown(s, SHUT_RD));
	EQUAL(recv(s, buf, 1, 0), 0);
	EQUAL(read(s, buf, 1), 0);
	FAILS(recv(s, buf, 1, MSG_DONTWAIT), EAGAIN); /* who would not wait is not told of the end */
	FAILS(recv(s, buf, 1, MSG_DONTWAIT | MSG_PEEK), EAGAIN);
	OK(fcntl(s, F_SETFL, O_NONBLOCK));
	FAILS(recv(s, buf, 1, 0), EAGAIN);
	FAILS(read(s, buf, 1), EAGAIN);
	OK(fcntl(s, F_SETFL, 0));
	OK(set(s, SOL_SOCKET, SO_PEEK_OFF, 0));
	EQUAL(recv(s, buf, 1, MSG_PEEK), 0);
	FAILS(recv(s, buf, 1, MSG_PEEK | MSG_DONTWAIT), EAGAIN);
	await(s, POLLIN | POLLOUT | POLLRDHUP, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

TEST(shut_down_for_reading) {
	EACH_FAMILY(f) {
		need_family(f);
		int s = bound(f, SOCK_DGRAM), r = bound(f, SOCK_DGRAM);
		connect_to(r, s);
		connect_to(s, r);
		EQUAL(send(s, "before", 6, 0), 6);
		OK(shutdown(r, SHUT_RD));
		EQUAL(send(s, "after", 5, 0), 5);
		EQUAL(recv(r, buf, 9, 0), 6);
		EQUAL(recv(r, buf, 9, MSG_DONTWAIT), 5);
		EQUAL(recv(r, buf, 9, 0), 0);
		OK(shutdown(r, SHUT_RDWR));
		EQUAL(send(s, "more", 4, 0), 4);
		EQUAL(recv(r, buf, 9, 0), 4);
		connect_to(r, s);
		EQUAL(send(s, "again", 5, 0), 5);
		EQUAL(recv(r, buf, 9, 0), 5);
		FAILS(recv(r, buf, 9, MSG_DONTWAIT), EAGAIN);
	}
}

TEST(largest) {
	union addr a;
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	socklen_t n = loopback(&a, AF_INET, port_of(r));
	memset(buf, 'z', sizeof buf);
	EQUAL(sendto(s, buf, 65507, 0, &a.sa, n), 65507);
	memset(buf, 0, sizeof buf);
	int size;
	ready(r, POLLIN);
	OK(ioctl(r, FIONREAD, &size));
	EQUAL(size, 65507);
	EQUAL(recv(r, buf, sizeof buf, 0), 65507);
	CHECK(buf[0] == 'z' && buf[65506] == 'z' && buf[65507] == 0);
}

TEST(dual_stack) {
	need_family(AF_INET6);
	union addr a, from;
	socklen_t n = sizeof from;
	memset(&a, 0, sizeof a);
	a.in6.sin6_family = AF_INET6;
	int r = OK(socket(AF_INET6, SOCK_DGRAM, 0)), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(bind(r, &a.sa, sizeof a.in6));
	EQUAL(sendto(s, "4", 1, 0, &a.sa, loopback(&a, AF_INET, port_of(r))), 1);
	EQUAL(recvfrom(r, buf, 9, 0, &from.sa, &n), 1);
	EQUAL(n, sizeof from.in6);
	CHECK(IN6_IS_ADDR_V4MAPPED(&from.in6.sin6_addr));
	EQUAL(sendto(r, "6", 1, 0, &from.sa, n), 1); /* back by the mapped address */
	EQUAL(read(s, buf, 9), 1);
	EQUAL(sendto(r, "7", 1, 0, &a.sa, loopback(&a, AF_INET, port_of(s))), 1); /* and by IPv4's own */
	EQUAL(read(s, buf, 9), 1);
	int only = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	OK(set(only, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	FAILS(sendto(only, "8", 1, 0, &from.sa, n), ENETUNREACH);
}

/* next is the control message of recvmsg(2) with that type. */
static void *control(struct msghdr *m, int level, int type) {
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == level && c->cmsg_type == type)
			return CMSG_DATA(c);
	return NULL;
}

TEST(control_messages) {
	union addr a, from;
	char space[512];
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	socklen_t n = loopback(&a, AF_INET, port_of(r));
	OK(set(r, IPPROTO_IP, IP_PKTINFO, 1));
	OK(set(r, IPPROTO_IP, IP_RECVTTL, 1));
	OK(set(r, IPPROTO_IP, IP_RECVTOS, 1));
	OK(set(r, SOL_SOCKET, SO_TIMESTAMPNS, 1));
	OK(set(s, IPPROTO_IP, IP_TOS, 0x10));
	OK(set(s, IPPROTO_IP, IP_TTL, 33));
	EQUAL(sendto(s, "abc", 3, 0, &a.sa, n), 3);
	struct iovec v = { buf, 2 };
	struct msghdr m = { &from, sizeof from, &v, 1, space, sizeof space, 0 };
	EQUAL(recvmsg(r, &m, 0), 2);
	EQUAL(m.msg_flags, MSG_TRUNC);
	EQUAL(m.msg_namelen, sizeof from.in);
	struct in_pktinfo *info = control(&m, IPPROTO_IP, IP_PKTINFO);
	CHECK(info);
	EQUAL(ntohl(info->ipi_addr.s_addr), INADDR_LOOPBACK);
	CHECK(info->ipi_ifindex > 0);
	int *ttl = control(&m, IPPROTO_IP, IP_TTL);
	CHECK(ttl && *ttl == 33);
	unsigned char *tos = control(&m, IPPROTO_IP, IP_TOS);
	CHECK(tos && *tos == 0x10);
	struct timespec *at = control(&m, SOL_SOCKET, SO_TIMESTAMPNS), now;
	OK(clock_gettime(CLOCK_REALTIME, &now));
	CHECK(at && at->tv_sec >= now.tv_sec - 300 && at->tv_sec <= now.tv_sec + 1);
	/* Too little room cuts them. */
	EQUAL(sendto(s, "abc", 3, 0, &a.sa, n), 3);
	m.msg_controllen = 20, v.iov_len = 9;
	EQUAL(recvmsg(r, &m, 0), 3);
	EQUAL(m.msg_flags, MSG_CTRUNC);
	/* A sender's: one datagram's time to live, and what is none. */
	struct cmsghdr *c = (void *)space;
	v = (struct iovec){ "ttl", 3 };
	struct msghdr out = { &a, n, &v, 1, space, CMSG_SPACE(sizeof(int)), 0 };
	*c = (struct cmsghdr){ CMSG_LEN(sizeof(int)), IPPROTO_IP, IP_TTL };
	*(int *)CMSG_DATA(c) = 7;
	EQUAL(sendmsg(s, &out, 0), 3);
	v = (struct iovec){ buf, 9 };
	m.msg_controllen = sizeof space;
	EQUAL(recvmsg(r, &m, 0), 3);
	ttl = control(&m, IPPROTO_IP, IP_TTL);
	CHECK(ttl && *ttl == 7);
	*c = (struct cmsghdr){ CMSG_LEN(sizeof(int)), IPPROTO_IP, IP_TTL };
	*(int *)CMSG_DATA(c) = 256;
	FAILS(sendmsg(s, &out, 0), EINVAL);
	c->cmsg_type = 99;
	FAILS(sendmsg(s, &out, 0), EINVAL);
	c->cmsg_len = 1000;
	FAILS(sendmsg(s, &out, 0), EINVAL);
}

TEST(control_messages_ipv6) {
	need_family(AF_INET6);
	union addr a;
	char space[512];
	int r = bound(AF_INET6, SOCK_DGRAM), s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	OK(set(r, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
	OK(set(r, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
	OK(set(r, IPPROTO_IPV6, IPV6_RECVTCLASS, 1));
	OK(set(s, IPPROTO_IPV6, IPV6_TCLASS, 0x20));
	OK(set(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9));
	EQUAL(sendto(s, "abc", 3, 0, &a.sa, loopback(&a, AF_INET6, port_of(r))), 3);
	struct iovec v = { buf, 9 };
	struct msghdr m = { NULL, 0, &v, 1, space, sizeof space, 0 };
	EQUAL(recvmsg(r, &m, 0), 3);
	struct in6_pktinfo *info = control(&m, IPPROTO_IPV6, IPV6_PKTINFO);
	CHECK(info && IN6_IS_ADDR_LOOPBACK(&info->ipi6_addr) && info->ipi6_ifindex > 0);
	int *hops = control(&m, IPPROTO_IPV6, IPV6_HOPLIMIT), *class = control(&m, IPPROTO_IPV6, IPV6_TCLASS);
	CHECK(hops && *hops == 9);
	CHECK(class && *class == 0x20);
}

TEST(stamps) {
	union addr a;
	struct timeval t;
	struct timespec n, now;
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	FAILS(ioctl(r, SIOCGSTAMP, &t), ENOENT); /* it begins with the first call */
	EQUAL(sendto(s, "x", 1, 0, &a.sa, loopback(&a, AF_INET, port_of(r))), 1);
	EQUAL(recv(r, buf, 9, 0), 1);
	OK(ioctl(r, SIOCGSTAMP, &t));
	OK(ioctl(r, SIOCGSTAMPNS, &n));
	OK(clock_gettime(CLOCK_REALTIME, &now));
	CHECK(t.tv_sec == n.tv_sec && t.tv_usec == n.tv_nsec / 1000);
	CHECK(now.tv_sec - t.tv_sec >= 0 && now.tv_sec - t.tv_sec < 300);
	s = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(ioctl(s, SIOCGSTAMP, &t), ENOENT);
}

TEST(corked) {
	union addr a;
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	socklen_t n = loopback(&a, AF_INET, port_of(r));
	EQUAL(sendto(s, "one ", 4, MSG_MORE, &a.sa, n), 4);
	FAILS(recv(r, buf, 9, MSG_DONTWAIT), EAGAIN);
	EQUAL(sendto(s, "two", 3, 0, &a.sa, n), 3);
	EQUAL(recv(r, buf, 20, 0), 7);
	CHECK(!memcmp(buf, "one two", 7));
	connect_to(s, r);
	OK(set(s, IPPROTO_UDP, UDP_CORK, 1));
	EQUAL(write(s, "ab", 2), 2);
	EQUAL(write(s, "cd", 2), 2);
	FAILS(recv(r, buf, 9, MSG_DONTWAIT), EAGAIN);
	OK(set(s, IPPROTO_UDP, UDP_CORK, 0));
	EQUAL(recv(r, buf, 20, 0), 4);
}

/* What has no address goes to the peer, wherever the datagram before went. */
TEST(corked_for_the_peer) {
	union addr a;
	int other = bound(AF_INET, SOCK_DGRAM), r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	socklen_t n = loopback(&a, AF_INET, port_of(other));
	FAILS(send(s, "x", 1, MSG_MORE), EDESTADDRREQ);
	EQUAL(sendto(s, "other", 5, 0, &a.sa, n), 5);
	EQUAL(recv(other, buf, 20, 0), 5);
	connect_to(s, r);
	EQUAL(send(s, "pe", 2, MSG_MORE), 2);
	EQUAL(send(s, "er", 2, 0), 2);
	EQUAL(recv(r, buf, 20, 0), 4);
	CHECK(!memcmp(buf, "peer", 4));
	FAILS(recv(other, buf, 9, MSG_DONTWAIT), EAGAIN);
}

/* Of IPv6 the first part says where it goes. Of IPv4 a peer that comes later does, but that it goes does not. */
TEST(corked_and_connected) {
	EACH_FAMILY(f) {
		need_family(f);
		union addr first, second;
		int r[2] = { bound(f, SOCK_DGRAM), bound(f, SOCK_DGRAM) };
		socklen_t n = loopback(&first, f, port_of(r[0]));
		loopback(&second, f, port_of(r[1]));
		for (int i = 0; i < 8; i++) {
			int named = i & 1, moves = i & 2, ends = i & 4, s = OK(socket(f, SOCK_DGRAM, 0));
			if (!named)
				OK(connect(s, &first.sa, n));
			OK(set(s, IPPROTO_UDP, UDP_CORK, 1));
			EQUAL(sendto(s, "ab", 2, 0, named ? &first.sa : NULL, named ? n : 0), 2);
			if (ends)
				OK(connect(s, &(struct sockaddr){ AF_UNSPEC }, sizeof(struct sockaddr)));
			if (moves)
				OK(connect(s, &second.sa, n));
			EQUAL(send(s, "cd", 2, 0), 2);
			OK(set(s, IPPROTO_UDP, UDP_CORK, 0));
			int at = moves && f == AF_INET;
			EQUAL(recv(r[at], buf, 9, 0), 4);
			CHECK(!memcmp(buf, "abcd", 4));
			FAILS(recv(r[!at], buf, 9, MSG_DONTWAIT), EAGAIN);
			close(s);
		}
		close(r[0]);
		close(r[1]);
	}
}

TEST(segments) {
	union addr a;
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	socklen_t n = loopback(&a, AF_INET, port_of(r));
	OK(set(s, IPPROTO_UDP, UDP_SEGMENT, 1000));
	EQUAL(sendto(s, buf, 2500, 0, &a.sa, n), 2500);
	EQUAL(recv(r, buf, sizeof buf, 0), 1000);
	EQUAL(recv(r, buf, sizeof buf, 0), 1000);
	EQUAL(recv(r, buf, sizeof buf, 0), 500);
	OK(set(s, IPPROTO_UDP, UDP_SEGMENT, 1));
	FAILS(sendto(s, buf, 2500, 0, &a.sa, n), EINVAL);
}

TEST(many_messages) {
	union addr a, from[3];
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	socklen_t n = loopback(&a, AF_INET, port_of(r));
	struct iovec v[3] = { { "a", 1 }, { "bb", 2 }, { "ccc", 3 } }, w[3] = { { buf, 10 }, { buf + 10, 10 }, { buf + 20, 10 } };
	struct mmsghdr out[3] = { 0 }, in[3] = { 0 };
	for (int i = 0; i < 3; i++) {
		out[i].msg_hdr = (struct msghdr){ &a, n, &v[i], 1 };
		in[i].msg_hdr = (struct msghdr){ &from[i], sizeof from[i], &w[i], 1 };
	}
	EQUAL(sendmmsg(s, out, 3, 0), 3);
	EQUAL(out[2].msg_len, 3);
	EQUAL(recvmmsg(r, in, 3, 0, NULL), 3);
	for (int i = 0; i < 3; i++) {
		EQUAL(in[i].msg_len, i + 1);
		EQUAL(ntohs(from[i].in.sin_port), port_of(s));
	}
	EQUAL(sendmmsg(s, out, 1, 0), 1);
	EQUAL(recvmmsg(r, in, 3, MSG_WAITFORONE, NULL), 1);
	FAILS(recvmmsg(r, in, 3, MSG_DONTWAIT, NULL), EAGAIN);
	/* What came before a message that has nowhere to go counts, and its error is told next. */
	char name[] = "/tmp/many_messagesXXXXXX";
	int file = OK(mkstemp(name));
	char *beyond = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(beyond != MAP_FAILED);
	unlink(name);
	w[1].iov_base = beyond;
	EQUAL(sendmmsg(s, out, 3, 0), 3);
	EQUAL(recvmmsg(r, in, 3, 0, NULL), 1);
	EQUAL(in[0].msg_len, 1);
	EQUAL(option(r, SOL_SOCKET, SO_ERROR), EFAULT);
	EQUAL(recv(r, buf, sizeof buf, MSG_DONTWAIT), 3);
}

TEST(what_is_sent_while_lo_is_down_is_lost) {
	own_network_up(); /* which gives it its address */
	set_lo(0);
	union addr a;
	socklen_t n = loopback(&a, AF_INET, 9);
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), r = OK(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	EQUAL(sendto(s, "x", 1, 0, &a.sa, n), 1);
	EQUAL(sendto(r, buf, 8, 0, &a.sa, n), 8);
	OK(connect(s, &a.sa, n));
	EQUAL(send(s, "x", 1, 0), 1);
	set_lo(1);
	s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(connect(s, &a.sa, n));
	set_lo(0);
	EQUAL(send(s, "x", 1, 0), 1);
	EQUAL(option(s, SOL_SOCKET, SO_ERROR), 0);
	a.in.sin_addr.s_addr = htonl(0xc6336401); /* no way leads there */
	FAILS(sendto(s, "x", 1, 0, &a.sa, n), ENETUNREACH);
}

TEST(names_and_ports) {
	union addr a;
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), t = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(bind(s, &a.sa, loopback(&a, AF_INET, 0)));
	socklen_t n = loopback(&a, AF_INET, port_of(s));
	FAILS(bind(t, &a.sa, n), EADDRINUSE);
	FAILS(bind(s, &a.sa, loopback(&a, AF_INET, 0)), EINVAL);
	/* Any address takes in the loopback one. */
	n = loopback(&a, AF_INET, port_of(s));
	a.in.sin_addr.s_addr = 0;
	FAILS(bind(t, &a.sa, n), EADDRINUSE);
	int x = OK(socket(AF_INET, SOCK_DGRAM, 0)), y = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(set(x, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(set(y, SOL_SOCKET, SO_REUSEADDR, 1));
	a.in.sin_port = 0;
	OK(bind(x, &a.sa, n));
	a.in.sin_port = htons(port_of(x));
	OK(bind(y, &a.sa, n));
	a.sa.sa_family = AF_UNSPEC; /* which 0.0.0.0 may have */
	a.in.sin_port = 0;
	OK(bind(t, &a.sa, n));
}

/* A filter that takes datagrams whose first byte is 'y', and three bytes of them. */
TEST(filtered) {
	union addr a;
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8), /* behind the header */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 8 + 3),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog p = { 4, code };
	OK(setsockopt(r, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof p));
	socklen_t n = loopback(&a, AF_INET, port_of(r));
	EQUAL(sendto(s, "no", 2, 0, &a.sa, n), 2);
	FAILS(recv(r, buf, 9, MSG_DONTWAIT), EAGAIN);
	await(r, POLLIN, 0);
	EQUAL(sendto(s, "yes sir", 7, 0, &a.sa, n), 7);
	await(r, POLLIN, POLLIN);
	EQUAL(recv(r, buf, 9, 0), 3);
	OK(set(r, SOL_SOCKET, SO_DETACH_FILTER, 0));
	FAILS(set(r, SOL_SOCKET, SO_DETACH_FILTER, 0), ENOENT);
	EQUAL(sendto(s, "no", 2, 0, &a.sa, n), 2);
	EQUAL(recv(r, buf, 9, 0), 2);
}

/* A receiver that is slow loses datagrams, and nobody is held up. */
TEST(flooded) {
	union addr a;
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)), got = 0;
	socklen_t n = loopback(&a, AF_INET, port_of(r));
	OK(set(r, SOL_SOCKET, SO_RCVBUF, 5000));
	for (int i = 0; i < 1000; i++)
		EQUAL(sendto(s, buf, 1000, 0, &a.sa, n), 1000);
	while (recv(r, buf, 1000, MSG_DONTWAIT) == 1000)
		got++;
	CHECK(got >= 1 && got < 1000);
}

/* How many it has lost the receiver can be told with each datagram, by SO_MEMINFO and by /proc/net/udp. */
TEST(lost_datagrams_are_counted) {
	enum { sent = 100 };
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0)), got = 0;
	OK(set(r, SOL_SOCKET, SO_RXQ_OVFL, 1));
	OK(set(r, SOL_SOCKET, SO_RCVBUF, 5000));
	connect_to(s, r);
	for (int i = 0; i < sent; i++)
		EQUAL(send(s, buf, 1000, 0), 1000);
	while (recv(r, buf, 1000, MSG_DONTWAIT) == 1000)
		got++;
	EQUAL(send(s, "x", 1, 0), 1);
	union { char b[64]; struct cmsghdr align; } c;
	struct iovec v = { buf, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c };
	EQUAL(recvmsg(r, &m, 0), 1);
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	CHECK(h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SO_RXQ_OVFL && h->cmsg_len == CMSG_LEN(4));
	EQUAL(*(int *)CMSG_DATA(h), sent - got);
	unsigned memory[9] = { 0 };
	socklen_t n = sizeof memory;
	OK(getsockopt(r, SOL_SOCKET, 55 /* SO_MEMINFO */, memory, &n));
	EQUAL(n, sizeof memory);
	EQUAL(memory[8], sent - got);
	FILE *f = fopen("/proc/net/udp", "r");
	char line[256];
	int port, drops, found = 0;
	CHECK(f && fgets(line, sizeof line, f));
	while (!found && fgets(line, sizeof line, f)) {
		EQUAL(sscanf(line, "%*d: %*[^:]:%x %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %d", &port, &drops), 2);
		found = port == port_of(r);
	}
	CHECK(found);
	EQUAL(drops, sent - got);
}
