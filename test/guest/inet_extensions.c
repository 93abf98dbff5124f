/* The extension headers of IPv6: RFC 3542, 6 to 9, and ipv6(7). */
#include "inet.h"
#include "network.h"
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/ip6.h>

typedef unsigned char u8;

static u8 buf[65536];

/* Headers of options that do nothing, and one of a routing header of segments (RFC 8754). */
static const u8 small[8] = { 0, 0, 1, 4 }, large[16] = { 0, 1, 0x1e, 12, 1, 2, 3 };
static const u8 segments[40] = { 0, 4, 4, 1, 1, 0, 0, 0, [23] = 1, [24] = 0xfd, [39] = 9 };

#define SIX IPPROTO_IPV6
#define OSPF 89
#ifndef IPV6_FLOWINFO
#define IPV6_FLOWINFO 11
#endif
#ifndef IPV6_AUTOFLOWLABEL
#define IPV6_AUTOFLOWLABEL 70
#endif

static int set_header(int fd, int name, const void *h, int n) { return setsockopt(fd, SIX, name, h, n); }

static int get_header(int fd, int name, void *to, int room) {
	socklen_t n = room;
	OK(getsockopt(fd, SIX, name, to, &n));
	return n;
}

static void say(int from, int to) {
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(to, &a.sa, &n));
	EQUAL(sendto(from, "x", 1, 0, &a.sa, n), 1);
}

static struct cmsghdr *told[8];

/* hear receives one datagram, and returns how many control messages came. */
static int hear(int fd) {
	static union { char b[4096]; struct cmsghdr align; } c;
	struct iovec v = { buf, sizeof buf };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c };
	int n = 0;
	ready(fd, POLLIN);
	OK(recvmsg(fd, &m, 0));
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h && n < 8; h = CMSG_NXTHDR(&m, h))
		told[n++] = h;
	return n;
}

/* is checks a control message: a header before another one. */
static void is(struct cmsghdr *h, int type, const void *want, int n, int next) {
	u8 *d = CMSG_DATA(h);
	EQUAL(h->cmsg_level, SIX);
	EQUAL(h->cmsg_type, type);
	EQUAL((int)(h->cmsg_len - CMSG_LEN(0)), n);
	EQUAL(d[0], next);
	CHECK(!memcmp(d + 1, (const u8 *)want + 1, n - 1));
}

static void want_all(int r) {
	OK(set(r, SIX, IPV6_RECVHOPOPTS, 1));
	OK(set(r, SIX, IPV6_RECVDSTOPTS, 1));
	OK(set(r, SIX, IPV6_RECVRTHDR, 1));
}

static int sender(void) {
	if (geteuid())
		SKIP("not root");
	need_family(AF_INET6);
	return OK(socket(AF_INET6, SOCK_DGRAM, 0));
}

TEST(are_shown) {
	static const int names[] = { IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_DSTOPTS };
	int s = sender();
	u8 got[64], wide[24] = { 9, 1, 1, 20 };
	for (int i = 0; i < 3; i++) {
		EQUAL(get_header(s, names[i], got, sizeof got), 0);
		OK(set_header(s, names[i], small, 8));
		EQUAL(get_header(s, names[i], got, sizeof got), 8);
		CHECK(!memcmp(got, small, 8));
		FAILS(set_header(s, names[i], small, 4), EINVAL);
		FAILS(set_header(s, names[i], large, 12), EINVAL);
		FAILS(set_header(s, names[i], large, 8), EINVAL);
		FAILS(set_header(s, names[i], buf, 2048), EINVAL);
		OK(set_header(s, names[i], wide, 24)); /* what follows it is not kept */
		EQUAL(get_header(s, names[i], got, sizeof got), 16);
		CHECK(!memcmp(got, wide, 16));
		EQUAL(get_header(s, names[i], got, 5), 5);
	}
	OK(set_header(s, IPV6_HOPOPTS, NULL, 0));
	EQUAL(get_header(s, IPV6_HOPOPTS, got, sizeof got), 0);
	EQUAL(get_header(s, IPV6_DSTOPTS, got, sizeof got), 16);
	OK(set_header(s, IPV6_DSTOPTS, small, 0));
	EQUAL(get_header(s, IPV6_DSTOPTS, got, sizeof got), 0);
}

TEST(routing_headers_are_checked) {
	int s = sender();
	u8 got[64], h[40];
	EQUAL(get_header(s, IPV6_RTHDR, got, sizeof got), 0);
	OK(set_header(s, IPV6_RTHDR, segments, 40));
	EQUAL(get_header(s, IPV6_RTHDR, got, sizeof got), 40);
	CHECK(!memcmp(got, segments, 40));
#define WITH(at, v) (memcpy(h, segments, 40), h[at] = v, set_header(s, IPV6_RTHDR, h, 40))
	FAILS(WITH(2, 0), EINVAL); /* type */
	FAILS(WITH(2, 3), EINVAL);
	FAILS(WITH(3, 2), EINVAL); /* segments left */
	FAILS(WITH(4, 2), EINVAL); /* last entry */
	FAILS(WITH(1, 3), EINVAL); /* length */
	FAILS(WITH(1, 5), EINVAL);
	OK(WITH(3, 0));
	EQUAL(get_header(s, IPV6_RTHDR, got, sizeof got), 40);
	EQUAL(got[3], 0);
	OK(set_header(s, IPV6_RTHDR, NULL, 0));
	EQUAL(get_header(s, IPV6_RTHDR, got, sizeof got), 0);
}

TEST(options_take_a_capability) {
	int s = sender(), r = bound(AF_INET6, SOCK_DGRAM);
	struct __user_cap_header_struct c = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { 0 } };
	OK(set_header(s, IPV6_HOPOPTS, small, 8));
	OK(syscall(SYS_capset, &c, d));
	FAILS(set_header(s, IPV6_HOPOPTS, small, 8), EPERM);
	FAILS(set_header(s, IPV6_HOPOPTS, small, 3), EPERM);
	FAILS(set_header(s, IPV6_HOPOPTS, NULL, 0), EPERM);
	FAILS(set_header(s, IPV6_DSTOPTS, small, 8), EPERM);
	FAILS(set_header(s, IPV6_RTHDRDSTOPTS, small, 8), EPERM);
	OK(set_header(s, IPV6_RTHDR, segments, 40));
	OK(set_header(s, IPV6_RTHDR, NULL, 0));
	want_all(r);
	say(s, r);
	EQUAL(hear(r), 1);
	is(told[0], IPV6_HOPOPTS, small, 8, IPPROTO_UDP);
}

TEST(are_told) {
	int s = sender(), r = bound(AF_INET6, SOCK_DGRAM);
	want_all(r);
	OK(set(r, SIX, IPV6_RECVHOPLIMIT, 1));
	say(s, r);
	EQUAL(hear(r), 1);
	OK(set_header(s, IPV6_DSTOPTS, large, 16));
	OK(set_header(s, IPV6_HOPOPTS, small, 8));
	OK(set_header(s, IPV6_RTHDRDSTOPTS, small, 8)); /* goes before a routing header only */
	say(s, r);
	EQUAL(hear(r), 3);
	EQUAL(told[0]->cmsg_type, IPV6_HOPLIMIT);
	is(told[1], IPV6_HOPOPTS, small, 8, IPPROTO_DSTOPTS);
	is(told[2], IPV6_DSTOPTS, large, 16, IPPROTO_UDP);
	OK(set(r, SIX, IPV6_RECVHOPLIMIT, 0));
	OK(set(r, SIX, IPV6_RECVHOPOPTS, 0));
	connect_to(s, r);
	EQUAL(send(s, "x", 1, 0), 1);
	EQUAL(hear(r), 1);
	is(told[0], IPV6_DSTOPTS, large, 16, IPPROTO_UDP);
	OK(set_header(s, IPV6_DSTOPTS, NULL, 0));
	say(s, r);
	EQUAL(hear(r), 0);
}

TEST(are_told_as_once) {
	int s = sender(), r = bound(AF_INET6, SOCK_DGRAM);
	OK(set(r, SIX, IPV6_2292HOPOPTS, 1));
	OK(set(r, SIX, IPV6_2292DSTOPTS, 1));
	OK(set_header(s, IPV6_HOPOPTS, small, 8));
	OK(set_header(s, IPV6_DSTOPTS, large, 16));
	say(s, r);
	EQUAL(hear(r), 2);
	is(told[0], IPV6_2292HOPOPTS, small, 8, IPPROTO_DSTOPTS);
	is(told[1], IPV6_2292DSTOPTS, large, 16, IPPROTO_UDP);
}

/* Raw sockets are told too, and get what follows the headers. */
TEST(are_told_to_raw_sockets) {
	close(sender());
	own_network_up();
	int s = OK(socket(AF_INET6, SOCK_RAW, OSPF)), r = OK(socket(AF_INET6, SOCK_RAW, OSPF));
	union addr a;
	socklen_t n = loopback(&a, AF_INET6, 0);
	OK(bind(r, &a.sa, n));
	want_all(r);
	OK(set(r, SIX, IPV6_FLOWINFO, 1));
	OK(set(s, SIX, IPV6_AUTOFLOWLABEL, 0));
	EQUAL(sendto(s, "abc", 3, 0, &a.sa, n), 3);
	EQUAL(hear(r), 0);
	OK(set_header(s, IPV6_DSTOPTS, large, 16));
	OK(set_header(s, IPV6_HOPOPTS, small, 8));
	for (int i = 0; i < 3; i++)
		EQUAL(sendto(s, "abc", 3, 0, &a.sa, n), 3);
	for (int i = 0; i < 3; i++) {
		EQUAL(hear(r), 2);
		CHECK(!memcmp(buf, "abc", 3));
		is(told[0], IPV6_HOPOPTS, small, 8, IPPROTO_DSTOPTS);
		is(told[1], IPV6_DSTOPTS, large, 16, OSPF);
	}
	OK(set_header(s, IPV6_HOPOPTS, NULL, 0));
	OK(set(s, SIX, IPV6_TCLASS, 0x48));
	EQUAL(sendto(s, "abc", 3, 0, &a.sa, n), 3);
	EQUAL(hear(r), 2);
	EQUAL(told[0]->cmsg_type, IPV6_FLOWINFO);
	is(told[1], IPV6_DSTOPTS, large, 16, OSPF);
	OK(set(r, SIX, IPV6_RECVDSTOPTS, 0));
	OK(set(r, SIX, IPV6_FLOWINFO, 0));
	EQUAL(sendto(s, "abc", 3, 0, &a.sa, n), 3);
	EQUAL(hear(r), 0);
}

static int send_with(int s, int to, int type, const void *h, int n) {
	union { char b[256]; struct cmsghdr align; } c = { { 0 } };
	struct iovec v = { "x", 1 };
	union addr a;
	socklen_t size = sizeof a;
	OK(getsockname(to, &a.sa, &size));
	struct msghdr m = { .msg_name = &a, .msg_namelen = size, .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = CMSG_SPACE(n) };
	struct cmsghdr *q = CMSG_FIRSTHDR(&m);
	q->cmsg_level = SIX;
	q->cmsg_type = type;
	q->cmsg_len = CMSG_LEN(n);
	memcpy(CMSG_DATA(q), h, n);
	return sendmsg(s, &m, 0);
}

/* Headers of one datagram stand in the place of all others. */
TEST(of_one_datagram) {
	int s = sender(), r = bound(AF_INET6, SOCK_DGRAM);
	want_all(r);
	OK(set_header(s, IPV6_HOPOPTS, small, 8));
	EQUAL(send_with(s, r, IPV6_DSTOPTS, large, 16), 1);
	EQUAL(hear(r), 1);
	is(told[0], IPV6_DSTOPTS, large, 16, IPPROTO_UDP);
	EQUAL(send_with(s, r, IPV6_HOPOPTS, large, 16), 1);
	EQUAL(hear(r), 1);
	is(told[0], IPV6_HOPOPTS, large, 16, IPPROTO_UDP);
	EQUAL(send_with(s, r, IPV6_RTHDRDSTOPTS, large, 16), 1);
	EQUAL(hear(r), 0);
	EQUAL(send_with(s, r, IPV6_2292DSTOPTS, large, 16), 1);
	EQUAL(hear(r), 1);
	EQUAL(send_with(s, r, IPV6_2292HOPOPTS, large, 16), 1);
	EQUAL(hear(r), 1);
	FAILS(send_with(s, r, IPV6_HOPOPTS, large, 8), EINVAL);
	FAILS(send_with(s, r, IPV6_DSTOPTS, small, 1), EINVAL);
	FAILS(send_with(s, r, IPV6_RTHDR, segments, 40), EINVAL);
	say(s, r);
	EQUAL(hear(r), 1);
	is(told[0], IPV6_HOPOPTS, small, 8, IPPROTO_UDP);
	struct __user_cap_header_struct c = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { 0 } };
	OK(syscall(SYS_capset, &c, d));
	FAILS(send_with(s, r, IPV6_HOPOPTS, small, 8), EPERM);
	FAILS(send_with(s, r, IPV6_DSTOPTS, small, 8), EPERM);
}

/* sender_that_fragments is a sender in a network of its own, whose loopback takes no more than an Ethernet. */
static int sender_that_fragments(void) {
	close(sender());
	own_network();
	struct ifreq q = { .ifr_name = "lo", .ifr_mtu = 1500 };
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	OK(ioctl(s, SIOCSIFMTU, &q));
	set_lo(1);
	return s;
}

/* They are part of what has to fit into a packet, and those for the way are in each fragment. */
TEST(take_room) {
	int s = sender_that_fragments(), r, p;
	r = bound(AF_INET6, SOCK_DGRAM);
	p = OK(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IPV6)));
	want_all(r);
	OK(set_header(s, IPV6_HOPOPTS, small, 8));
	OK(set_header(s, IPV6_DSTOPTS, large, 16));
	connect_to(s, r);
	memset(buf, 'y', sizeof buf);
	EQUAL(send(s, buf, 4000, 0), 4000);
	EQUAL(hear(r), 2);
	is(told[0], IPV6_HOPOPTS, small, 8, IPPROTO_DSTOPTS);
	is(told[1], IPV6_DSTOPTS, large, 16, IPPROTO_UDP); /* as if it had come whole */
	for (int i = 0; i < 4000; i++)
		CHECK(buf[i] == 'y');
	for (int i = 0, n; i < 3; i++) {
		ready(p, POLLIN);
		n = OK(recv(p, buf, sizeof buf, 0));
		CHECK(n <= 1500);
		EQUAL(buf[6], IPPROTO_HOPOPTS);
		EQUAL(buf[40], IPPROTO_DSTOPTS);
		EQUAL(buf[48], IPPROTO_FRAGMENT);
		EQUAL(buf[64], IPPROTO_UDP);
	}
	OK(set(s, SIX, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO));
	EQUAL(send(s, buf, 1500 - 40 - 8 - 2 * 16 - 8, 0), 1412); /* Linux counts options of the end twice */
	EQUAL(hear(r), 2);
	FAILS(send(s, buf, 1413, 0), EMSGSIZE);
	OK(set_header(s, IPV6_DSTOPTS, NULL, 0));
	EQUAL(send(s, buf, 1444, 0), 1444);
	FAILS(send(s, buf, 1445, 0), EMSGSIZE);
	EQUAL(hear(r), 1);
}

/* A routing header leads to a segment first; the first entry is where the packet is to go. */
TEST(routes_leave) {
	int s = sender(), r, p;
	own_network_up();
	close(s);
	s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	r = bound(AF_INET6, SOCK_DGRAM);
	p = OK(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IPV6)));
	u8 h[40];
	memcpy(h, segments, 40);
	memset(h + 24, 0, 16);
	h[39] = 1;
	OK(set_header(s, IPV6_RTHDR, h, 40));
	OK(set_header(s, IPV6_RTHDRDSTOPTS, small, 8));
	say(s, r);
	ready(p, POLLIN);
	OK(recv(p, buf, sizeof buf, 0));
	EQUAL(buf[6], IPPROTO_DSTOPTS);
	EQUAL(buf[40], IPPROTO_ROUTING);
	EQUAL(buf[48], IPPROTO_UDP);
	EQUAL(buf[51], 1);
	EQUAL(buf[48 + 23], 1);
	EQUAL(buf[39], 1);
}

/* A routing header of which nothing is left is one more header: options that are for the end come after fragments' then. */
TEST(with_a_route_that_is_over) {
	int s = sender_that_fragments(), r, p;
	r = bound(AF_INET6, SOCK_DGRAM);
	p = OK(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IPV6)));
	u8 h[40];
	memcpy(h, segments, 40);
	memset(h + 24, 0, 16);
	h[3] = 0, h[39] = 1;
	OK(set_header(s, IPV6_RTHDR, h, 40));
	OK(set_header(s, IPV6_RTHDRDSTOPTS, small, 8));
	OK(set_header(s, IPV6_DSTOPTS, large, 16));
	connect_to(s, r);
	EQUAL(send(s, buf, 2000, 0), 2000);
	for (int i = 0; i < 2; i++) {
		ready(p, POLLIN);
		OK(recv(p, buf, sizeof buf, 0));
		EQUAL(buf[6], IPPROTO_DSTOPTS);
		EQUAL(buf[40], IPPROTO_ROUTING);
		EQUAL(buf[48], IPPROTO_FRAGMENT);
		EQUAL(buf[88], IPPROTO_DSTOPTS);
	}
}

/* chain_of is which extension headers the next segment of TCP to a port has that carries data, or answers who connects:
 * their numbers, the last one's in the lowest byte. */
static unsigned chain_of(int capture, int port) {
	for (;;) {
		ready(capture, POLLIN);
		int n = OK(recv(capture, buf, sizeof buf, 0)), at = 40;
		unsigned chain = 0;
		u8 next = buf[6];
		while (next == IPPROTO_HOPOPTS || next == IPPROTO_DSTOPTS || next == IPPROTO_ROUTING) {
			chain = chain << 8 | (next == IPPROTO_HOPOPTS ? 0xff : next);
			next = buf[at];
			at += (buf[at + 1] + 1) * 8;
		}
		if (next == IPPROTO_TCP && (buf[at + 2] << 8 | buf[at + 3]) == port && (n > at + (buf[at + 12] >> 4) * 4 || (buf[at + 13] & 0x12) == 0x12))
			return chain;
	}
}

/* streamed sends and receives much, so that segments are full. */
static void streamed(int from, int to) {
	static u8 out[100000], in[sizeof out];
	for (int i = 0; i < sizeof out; i++)
		out[i] = i * 5 >> 2;
	if (!fork()) {
		for (int done = 0; done < sizeof out;)
			done += OK(send(from, out + done, sizeof out - done, 0));
		_exit(0);
	}
	for (int done = 0; done < sizeof in;) {
		int n = OK(recv(to, in + done, sizeof in - done, 0));
		CHECK(n > 0);
		done += n;
	}
	CHECK(!memcmp(in, out, sizeof in));
	OK(wait(NULL));
}

TEST(of_streams) {
	close(sender_that_fragments());
	int p = OK(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IPV6))), l = listener(AF_INET6), c, s;
	u8 got[64];
	OK(set_header(l, IPV6_DSTOPTS, large, 16));
	c = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(set_header(c, IPV6_HOPOPTS, small, 8));
	connect_to(c, l);
	s = OK(accept(l, NULL, NULL));
	EQUAL(chain_of(p, port_of(c)), IPPROTO_DSTOPTS);
	EQUAL(get_header(s, IPV6_DSTOPTS, got, sizeof got), 16); /* those of who listens */
	EQUAL(get_header(s, IPV6_HOPOPTS, got, sizeof got), 0);
	EQUAL(send(c, "x", 1, 0), 1);
	EQUAL(chain_of(p, port_of(l)), 0xff);
	EQUAL(recv(s, got, 1, 0), 1);
	EQUAL(send(s, "x", 1, 0), 1);
	EQUAL(chain_of(p, port_of(c)), IPPROTO_DSTOPTS);
	EQUAL(recv(c, got, 1, 0), 1);
	streamed(c, s);
	streamed(s, c);
	OK(set_header(c, IPV6_DSTOPTS, large, 16)); /* also later */
	OK(set_header(s, IPV6_DSTOPTS, NULL, 0));
	close(p);
	p = OK(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IPV6)));
	EQUAL(send(c, "x", 1, 0), 1);
	EQUAL(chain_of(p, port_of(l)), 0xff << 8 | IPPROTO_DSTOPTS);
	EQUAL(recv(s, got, 1, 0), 1);
	EQUAL(send(s, "x", 1, 0), 1);
	EQUAL(chain_of(p, port_of(c)), 0);
	EQUAL(recv(c, got, 1, 0), 1);
	streamed(c, s);
	streamed(s, c);
}

TEST(of_streams_past_the_stack) {
	int s = sender(), pair[2];
	close(s);
	int l = listener(AF_INET6);
	OK(set_header(l, IPV6_DSTOPTS, large, 16));
	pair[0] = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(set_header(pair[0], IPV6_HOPOPTS, small, 8));
	connect_to(pair[0], l);
	pair[1] = OK(accept(l, NULL, NULL));
	EQUAL(get_header(pair[1], IPV6_DSTOPTS, buf, sizeof buf), 16);
	streamed(pair[0], pair[1]);
	streamed(pair[1], pair[0]);
	OK(set_header(pair[0], IPV6_HOPOPTS, NULL, 0));
	EQUAL(get_header(pair[0], IPV6_HOPOPTS, buf, sizeof buf), 0);
}

/* Long headers take none of the room that a receiver has offered. */
TEST(of_streams_that_are_long) {
	close(sender_that_fragments());
	int p = OK(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IPV6))), l = listener(AF_INET6), c = OK(socket(AF_INET6, SOCK_STREAM, 0)), s;
	static u8 long_options[1024] = { 0, 127 };
	for (int i = 2; i < sizeof long_options; i += 2 + long_options[i + 1]) {
		int left = sizeof long_options - i - 2;
		long_options[i] = 0x1e;
		long_options[i + 1] = left > 255 ? 253 : left;
	}
	OK(set_header(c, IPV6_HOPOPTS, long_options, sizeof long_options));
	connect_to(c, l);
	s = OK(accept(l, NULL, NULL));
	EQUAL(chain_of(p, port_of(c)), 0);
	time_t begin = time(NULL);
	for (int i = 0; i < 40; i++)
		streamed(c, s);
	CHECK(time(NULL) - begin < 10);
}
