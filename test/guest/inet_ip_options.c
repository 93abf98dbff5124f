/* The options of IPv4's header: IP_OPTIONS, IP_RECVOPTS, IP_RETOPTS in ip(7), RFC 791. */
#include "inet.h"
#include "network.h"
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

typedef unsigned char u8;

static u8 buf[65536];

static int get_options(int fd, void *to, int room) {
	socklen_t n = room;
	OK(getsockopt(fd, IPPROTO_IP, IP_OPTIONS, to, &n));
	return n;
}

static int set_options(int fd, const void *o, int n) { return setsockopt(fd, IPPROTO_IP, IP_OPTIONS, o, n); }

/* keeps says that options are taken, and shown as want. */
static void keeps(const void *o, int n, const void *want, int shown) {
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	u8 got[64];
	memset(got, 0xee, sizeof got);
	OK(set_options(s, o, n));
	EQUAL(get_options(s, got, sizeof got), shown);
	CHECK(!memcmp(got, want, shown));
	EQUAL(get_options(s, got, 2), shown < 2 ? shown : 2);
	OK(set_options(s, NULL, 0));
	EQUAL(get_options(s, got, sizeof got), 0);
	close(s);
}

#define KEEPS(...) do { static const u8 o[] = { __VA_ARGS__ }; keeps(o, sizeof o, o, sizeof o); } while (0)
#define SHOWS(want, ...) do { static const u8 o[] = { __VA_ARGS__ }; keeps(o, sizeof o, want, sizeof want - 1); } while (0)
#define REFUSES(...) do { \
		static const u8 o[] = { __VA_ARGS__ }; \
		int s = OK(socket(AF_INET, SOCK_DGRAM, 0)); \
		FAILS(set_options(s, o, sizeof o), EINVAL); \
		close(s); \
	} while (0)

TEST(are_shown) {
	u8 many[44] = { 0 };
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	EQUAL(get_options(s, many, sizeof many), 0);
	memset(many, IPOPT_NOP, sizeof many);
	FAILS(set_options(s, many, 41), EINVAL);
	OK(set_options(s, many, 40));
	EQUAL(get_options(s, buf, sizeof buf), 40);
	KEEPS(1, 1, 1, 1);
	SHOWS("\1\0\0\0", 1);
	SHOWS("\1\1\1\1\1\0\0\0", 1, 1, 1, 1, 1);
	SHOWS("\1\0\0\0\0\0\0\0", 1, 0, 7, 7, 7);
	SHOWS("\0\0\0\0", 0, 9);
}

TEST(recorded_routes_are_checked) {
	SHOWS("\7\7\4\0\0\0\0\0", 7, 7, 4, 0, 0, 0, 0);
	SHOWS("\7\7\4\0\0\0\0\0", 7, 7, 4, 1, 2, 3, 4);                      /* the place to fill is emptied */
	SHOWS("\7\13\10\1\2\3\4\0\0\0\0\0", 7, 11, 8, 1, 2, 3, 4, 5, 6, 7, 8);
	SHOWS("\1\7\7\4\0\0\0\0", 1, 7, 7, 4, 0, 0, 0, 0);
	KEEPS(7, 7, 8, 1, 2, 3, 4, 1);                                       /* full */
	KEEPS(7, 3, 4, 1);
	REFUSES(7);
	REFUSES(7, 1, 1, 1);
	REFUSES(7, 2, 1, 1);
	REFUSES(7, 5, 4, 0);
	REFUSES(7, 7, 3, 0, 0, 0, 0);
	REFUSES(7, 7, 5, 0, 0, 0, 0);
	REFUSES(7, 7, 0, 0, 0, 0, 0);
	SHOWS("\7\10\4\0\0\0\0\0", 7, 8, 4, 9, 9, 9, 9);                   /* what is missing is the end */
	REFUSES(7, 9, 4, 0, 0, 0, 0);
	REFUSES(7, 7, 4, 0, 0, 0, 0, 7, 7, 4, 0, 0, 0, 0);
	REFUSES(7, 0, 4, 0);
}

TEST(timestamps_are_checked) {
	SHOWS("\104\10\5\0\0\0\0\0", 68, 8, 5, 0, 9, 9, 9, 9);
	SHOWS("\104\14\5\1\0\0\0\0\0\0\0\0", 68, 12, 5, 1, 9, 9, 9, 9, 9, 9, 9, 9);
	SHOWS("\104\14\5\3\177\0\0\1\0\0\0\0", 68, 12, 5, 3, 127, 0, 0, 1, 9, 9, 9, 9);
	KEEPS(68, 12, 5, 3, 192, 0, 2, 1, 9, 9, 9, 9);
	SHOWS("\104\14\5\3\340\0\0\1\0\0\0\0", 68, 12, 5, 3, 224, 0, 0, 1, 9, 9, 9, 9); /* no single host */
	SHOWS("\104\14\5\3\377\377\377\377\0\0\0\0", 68, 12, 5, 3, 255, 255, 255, 255, 9, 9, 9, 9);
	SHOWS("\104\14\5\3\0\0\0\0\0\0\0\0", 68, 12, 5, 3, 0, 0, 0, 0, 9, 9, 9, 9);
	KEEPS(68, 12, 5, 3, 0, 1, 2, 3, 9, 9, 9, 9);
	SHOWS("\104\14\5\3\177\377\377\377\0\0\0\0", 68, 12, 5, 3, 127, 255, 255, 255, 9, 9, 9, 9);
	KEEPS(68, 12, 5, 3, 240, 0, 0, 1, 9, 9, 9, 9);
	KEEPS(68, 8, 9, 0, 9, 9, 9, 9);                                      /* full */
	KEEPS(68, 8, 9, 0xe1, 9, 9, 9, 9);
	KEEPS(68, 8, 9, 0xf3, 9, 9, 9, 9);
	REFUSES(68, 8, 9, 0xf0, 9, 9, 9, 9);
	REFUSES(68, 3, 5, 0);
	REFUSES(68, 8, 4, 0, 0, 0, 0, 0);
	REFUSES(68, 8, 6, 0, 0, 0, 0, 0);
	REFUSES(68, 8, 5, 1, 0, 0, 0, 0);
	REFUSES(68, 8, 5, 3, 0, 0, 0, 0);
	REFUSES(68, 4, 5, 0, 68, 4, 5, 0);
}

TEST(source_routes_are_checked) {
	KEEPS(131, 7, 4, 127, 0, 0, 1, 1);
	KEEPS(137, 11, 4, 127, 0, 0, 1, 127, 0, 0, 2, 1);
	REFUSES(131, 3, 4, 1);
	REFUSES(131, 7, 8, 127, 0, 0, 1, 1);
	REFUSES(131, 8, 4, 127, 0, 0, 1, 1);
	REFUSES(131, 7, 3, 127, 0, 0, 1, 1);
	REFUSES(131, 7, 4, 127, 0, 0, 1, 137, 7, 4, 127, 0, 0, 1);
}

TEST(others_take_a_capability) {
	if (geteuid())
		SKIP("not root");
	KEEPS(148, 4, 0, 0);                        /* router alert takes none */
	KEEPS(130, 4, 1, 2);
	KEEPS(20, 4, 1, 2, 20, 4, 1, 2);
	KEEPS(68, 8, 5, 7, 1, 2, 3, 4);
	REFUSES(20, 5, 1, 2);
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { 0 } };
	OK(syscall(SYS_capset, &h, d));
	KEEPS(148, 4, 0, 0);
	KEEPS(148, 4, 1, 0);
	KEEPS(7, 7, 4, 0, 0, 0, 0, 1);
	static const u8 source[8] = { 131, 7, 4, 127, 0, 0, 1, 1 };
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	errno = 0;
	if (set_options(s, source, sizeof source) && errno != EPERM) /* since some version of Linux */
		FAILS(set_options(s, source, sizeof source), EPERM);
	REFUSES(131, 7, 8, 127, 0, 0, 1, 1);
	REFUSES(148, 3, 0, 0);
	REFUSES(130, 4, 1, 2);
	REFUSES(20, 4, 1, 2);
	REFUSES(68, 8, 5, 7, 1, 2, 3, 4);
}

/* told receives one datagram, and the control message of IPv4 of a type; its value is the length, -1 for none. */
static int told(int fd, int type, void *data) {
	union { char b[512]; struct cmsghdr align; } c;
	struct iovec v = { buf, sizeof buf };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c };
	ready(fd, POLLIN);
	OK(recvmsg(fd, &m, 0));
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
		if (h->cmsg_level == IPPROTO_IP && h->cmsg_type == type) {
			memcpy(data, CMSG_DATA(h), h->cmsg_len - CMSG_LEN(0));
			return h->cmsg_len - CMSG_LEN(0);
		}
	return -1;
}

static void say(int from, int to) {
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(to, &a.sa, &n));
	EQUAL(sendto(from, "x", 1, 0, &a.sa, n), 1);
}

static const u8 record[12] = { 7, 11, 4 };

TEST(a_route_is_recorded) {
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	static const u8 want[12] = { 7, 11, 12, 127, 0, 0, 1, 127, 0, 0, 1 };
	OK(set(r, IPPROTO_IP, IP_RECVOPTS, 1));
	say(s, r);
	EQUAL(told(r, IP_RECVOPTS, buf), -1);
	OK(set_options(s, record, sizeof record));
	say(s, r);
	EQUAL(told(r, IP_RECVOPTS, buf), 12);
	CHECK(!memcmp(buf, want, 12));
	u8 again[12];
	EQUAL(get_options(s, again, 12), 12);
	CHECK(!memcmp(again, record, 12));
	say(s, r);
	OK(set(r, IPPROTO_IP, IP_RECVOPTS, 0));
	EQUAL(told(r, IP_RECVOPTS, buf), -1);
	OK(set_options(s, NULL, 0));
	OK(set(r, IPPROTO_IP, IP_RECVOPTS, 1));
	say(s, r);
	EQUAL(told(r, IP_RECVOPTS, buf), -1);
}

/* Each datagram keeps its own, also when they are looked at before and when others come between. */
TEST(each_datagram_has_its_own) {
	int r = bound(AF_INET, SOCK_DGRAM), s[2];
	u8 o[4] = { 1, 1, 1, 0 }, got[64];
	OK(set(r, IPPROTO_IP, IP_RECVOPTS, 1));
	for (int i = 0; i < 2; i++)
		s[i] = OK(socket(AF_INET, SOCK_DGRAM, 0));
	for (int i = 0; i < 20; i++) {
		o[0] = i & 1, o[1] = i >> 1 & 1, o[2] = i >> 2 & 1;
		OK(set_options(s[0], o, i % 3 ? 4 : 0));
		say(s[0], r);
		say(s[1], r);
	}
	for (int i = 0; i < 20; i++) {
		o[0] = i & 1, o[1] = i >> 1 & 1, o[2] = i >> 2 & 1;
		o[1] &= o[0], o[2] &= o[1]; /* what follows the end is the end */
		if (i % 5 == 4)
			OK(recv(r, buf, sizeof buf, 0));
		else {
			if (i % 5 == 1)
				EQUAL(recv(r, buf, sizeof buf, MSG_PEEK), 1);
			EQUAL(told(r, IP_RECVOPTS, got), i % 3 ? 4 : -1);
			CHECK(i % 3 == 0 || !memcmp(got, o, 4));
		}
		EQUAL(told(r, IP_RECVOPTS, got), -1);
	}
}

TEST(options_come_back) {
	int r = bound(AF_INET, SOCK_DGRAM), s = bound(AF_INET, SOCK_DGRAM);
	static const u8 o[16] = { 1, 7, 15, 4 }, back[16] = { 7, 15, 12, 127, 0, 0, 1, 127, 0, 0, 1 };
	OK(set(r, IPPROTO_IP, IP_RETOPTS, 1));
	OK(set_options(s, o, sizeof o));
	say(s, r);
	EQUAL(told(r, IP_RETOPTS, buf), 16);
	CHECK(!memcmp(buf, back, 16));
}

/* A control message has options for one datagram. */
TEST(of_one_datagram) {
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	union { char b[128]; struct cmsghdr align; } c = { { 0 } };
	struct iovec v = { "x", 1 };
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(r, &a.sa, &n));
	OK(set(r, IPPROTO_IP, IP_RECVOPTS, 1));
	struct msghdr m = { .msg_name = &a, .msg_namelen = n, .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = CMSG_SPACE(3) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = IPPROTO_IP;
	h->cmsg_type = IP_RETOPTS;
	h->cmsg_len = CMSG_LEN(3);
	memcpy(CMSG_DATA(h), "\1\1\1", 3);
	OK(set_options(s, record, sizeof record));
	EQUAL(sendmsg(s, &m, 0), 1);
	EQUAL(told(r, IP_RECVOPTS, buf), 4);
	CHECK(!memcmp(buf, "\1\1\1\0", 4));
	say(s, r);
	EQUAL(told(r, IP_RECVOPTS, buf), 12);
	memcpy(CMSG_DATA(h), "\7\2\1", 3);
	FAILS(sendmsg(s, &m, 0), EINVAL);
}

TEST(time_is_stamped) {
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	static const u8 only[12] = { 68, 12, 5, 0 }, with[20] = { 68, 20, 5, 1 };
	struct timespec t;
	u8 got[64];
	OK(set(r, IPPROTO_IP, IP_RECVOPTS, 1));
	OK(set_options(s, only, sizeof only));
	clock_gettime(CLOCK_REALTIME, &t);
	uint32_t before = t.tv_sec % 86400 * 1000 + t.tv_nsec / 1000000;
	say(s, r);
	clock_gettime(CLOCK_REALTIME, &t);
	uint32_t after = t.tv_sec % 86400 * 1000 + t.tv_nsec / 1000000, stamp[2];
	EQUAL(told(r, IP_RECVOPTS, got), 12);
	EQUAL(got[2], 13);
	memcpy(stamp, got + 4, 8);
	if (after >= before) /* it is not midnight */
		for (int i = 0; i < 2; i++)
			CHECK(ntohl(stamp[i]) >= before && ntohl(stamp[i]) <= after);
	OK(set_options(s, with, sizeof with));
	say(s, r);
	EQUAL(told(r, IP_RECVOPTS, got), 20);
	EQUAL(got[2], 21);
	CHECK(!memcmp(got + 4, "\177\0\0\1", 4) && !memcmp(got + 12, "\177\0\0\1", 4));
}

/* Who has the peer by connect(2), or another address by a control message, sends them too. */
TEST(of_a_connected_socket) {
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(set(r, IPPROTO_IP, IP_RECVOPTS, 1));
	connect_to(s, r);
	OK(send(s, "x", 1, 0));
	EQUAL(told(r, IP_RECVOPTS, buf), -1);
	OK(set_options(s, record, sizeof record));
	OK(send(s, "x", 1, 0));
	EQUAL(told(r, IP_RECVOPTS, buf), 12);
}

TEST(of_a_socket_of_ipv6) {
	need_family(AF_INET6);
	int r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	union addr a = { .in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port_of(r)) } };
	OK(inet_pton(AF_INET6, "::ffff:127.0.0.1", &a.in6.sin6_addr));
	OK(set(r, IPPROTO_IP, IP_RECVOPTS, 1));
	OK(set_options(s, record, sizeof record));
	EQUAL(sendto(s, "x", 1, 0, &a.sa, sizeof a.in6), 1);
	EQUAL(told(r, IP_RECVOPTS, buf), 12);
}

TEST(raw_sockets) {
	own_network_up(); /* in which nobody else sends by this protocol */
	int r = socket(AF_INET, SOCK_RAW, 253), s = socket(AF_INET, SOCK_RAW, 253);
	if (r < 0 && errno == EPERM)
		SKIP("not allowed raw sockets");
	union addr a;
	u8 got[64];
	socklen_t n = loopback(&a, AF_INET, 0);
	OK(set_options(s, record, sizeof record));
	OK(set(r, IPPROTO_IP, IP_RECVOPTS, 1));
	EQUAL(sendto(s, "x", 1, 0, &a.sa, n), 1);
	EQUAL(told(r, IP_RECVOPTS, got), 12);
	EQUAL(buf[0], 0x48);
	EQUAL(buf[32], 'x');
	CHECK(!memcmp(buf + 20, got, 12));
	EQUAL(got[2] >= 8, 1);
	/* A header that is given whole has its own. */
	OK(set(s, IPPROTO_IP, IP_HDRINCL, 1));
	FAILS(sendto(s, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 28, 0, &a.sa, n), EINVAL);
}

/* The answer to an echo request has recorded the whole way. */
TEST(echo) {
	own_network_up();
	int f = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY), s;
	write(f, "0 2147483647", 12);
	if ((s = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)) < 0)
		SKIP("not allowed ping sockets");
	static const u8 long_record[40] = { 1, 7, 39, 4 };
	struct icmphdr h = { .type = ICMP_ECHO };
	union addr a;
	u8 got[64];
	socklen_t n = loopback(&a, AF_INET, 0);
	OK(set(s, IPPROTO_IP, IP_RECVOPTS, 1));
	OK(set_options(s, long_record, sizeof long_record));
	EQUAL(sendto(s, &h, sizeof h, 0, &a.sa, n), sizeof h);
	EQUAL(told(s, IP_RECVOPTS, got), 40);
	u8 *o = got[0] == 7 ? got : got + 1;
	EQUAL(o[0], 7);
	CHECK(o[2] >= 16);
	for (int i = 3; i < 15; i += 4)
		CHECK(!memcmp(o + i, "\177\0\0\1", 4));
}

/* A source route leads to its first address; the last one is where the packet is to go. */
TEST(source_routes_leave) {
	own_network_up();
	int p = OK(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP))), r = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	static const u8 o[12] = { 131, 11, 4, 127, 0, 0, 3, 127, 0, 0, 4 };
	OK(set(r, IPPROTO_IP, IP_RECVOPTS, 1));
	OK(set_options(s, o, sizeof o));
	say(s, r);
	ready(p, POLLIN);
	CHECK(recv(p, buf, sizeof buf, 0) == 41);
	CHECK(!memcmp(buf + 16, "\177\0\0\3", 4));
	CHECK(!memcmp(buf + 20, "\203\13\4\177\0\0\4\177\0\0\1", 11));
	/* Nobody takes what comes so (accept_source_route). */
	FAILS(recv(r, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
}

/* Options are part of what has to fit into a packet. */
TEST(take_room) {
	own_network();
	struct ifreq q = { .ifr_name = "lo", .ifr_mtu = 1500 };
	int r, s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(ioctl(s, SIOCSIFMTU, &q));
	set_lo(1);
	r = bound(AF_INET, SOCK_DGRAM);
	u8 o[40] = { 7, 39, 4 }, got[64];
	OK(set(r, IPPROTO_IP, IP_RECVOPTS, 1));
	OK(set_options(s, o, 40));
	connect_to(s, r);
	memset(buf, 'y', sizeof buf);
	EQUAL(send(s, buf, 4000, 0), 4000); /* in fragments */
	EQUAL(told(r, IP_RECVOPTS, got), 40);
	EQUAL(got[2], 12);
	OK(set(s, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	EQUAL(send(s, buf, 1500 - 20 - 40 - 8, 0), 1432);
	EQUAL(told(r, IP_RECVOPTS, got), 40);
	FAILS(send(s, buf, 1433, 0), EMSGSIZE);
	OK(set_options(s, NULL, 0));
	EQUAL(send(s, buf, 1472, 0), 1472);
}

/* call connects to a listener, with options of both. */
static void call(int s[2], const void *mine, int n, const void *theirs, int m) {
	int l = listener(AF_INET);
	OK(set_options(l, theirs, m));
	s[0] = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set_options(s[0], mine, n));
	connect_to(s[0], l);
	s[1] = OK(accept(l, NULL, NULL));
	EQUAL(get_options(l, buf, sizeof buf), m);
	close(l);
}

/* Who is called answers with the options that the call came with, whatever its listener has. */
TEST(connections_begin_with_them) {
	static const u8 answer[12] = { 7, 11, 12, 127, 0, 0, 1, 127, 0, 0, 1 }, nop[4] = { 1, 1, 1 };
	int s[2];
	call(s, record, sizeof record, nop, sizeof nop);
	EQUAL(get_options(s[1], buf, sizeof buf), 12);
	CHECK(!memcmp(buf, answer, 12));
	EQUAL(get_options(s[0], buf, sizeof buf), 12);
	CHECK(!memcmp(buf, record, 12));
	EQUAL(write(s[0], "x", 1), 1);
	EQUAL(read(s[1], buf, 9), 1);
	EQUAL(write(s[1], "x", 1), 1);
	EQUAL(read(s[0], buf, 9), 1);
	OK(set_options(s[1], NULL, 0));
	EQUAL(get_options(s[1], buf, sizeof buf), 0);
	call(s, nop, sizeof nop, record, sizeof record);
	EQUAL(get_options(s[1], buf, sizeof buf), 0);
	call(s, NULL, 0, record, sizeof record);
	EQUAL(get_options(s[1], buf, sizeof buf), 0);
	EQUAL(get_options(s[0], buf, sizeof buf), 0);
}

/* answered checks which options the answer to a call on a port has. */
static void answered(int p, int port, const void *want, int n) {
	for (;;) {
		ready(p, POLLIN);
		OK(recv(p, buf, sizeof buf, 0));
		int size = (buf[0] & 15) * 4;
		if ((buf[size] << 8 | buf[size + 1]) == port && (buf[size + 13] & 0x12) == 0x12) {
			EQUAL(size - 20, n);
			CHECK(!memcmp(buf + 20, want, n));
			return;
		}
	}
}

/* So has the answer itself, also if who listens had no options, or others. */
TEST(the_answer_has_them) {
	static const u8 answer[12] = { 7, 11, 12, 127, 0, 0, 1, 127, 0, 0, 1 }, nop[4] = { 1, 1, 1 };
	own_network_up();
	int p = OK(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP))), s[2];
	call(s, record, sizeof record, NULL, 0);
	answered(p, port_of(s[1]), answer, sizeof answer);
	call(s, record, sizeof record, nop, sizeof nop);
	answered(p, port_of(s[1]), answer, sizeof answer);
	call(s, nop, sizeof nop, record, sizeof record);
	answered(p, port_of(s[1]), NULL, 0);
	call(s, NULL, 0, record, sizeof record);
	answered(p, port_of(s[1]), NULL, 0);
}

/* All segments have them, and leave room. */
TEST(segments_have_them) {
	own_network();
	struct ifreq q = { .ifr_name = "lo", .ifr_mtu = 1500 };
	int p = OK(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP))), s[2], segments = 0, n, got = 0, room = 4 << 20;
	OK(ioctl(p, SIOCSIFMTU, &q));
	set_lo(1);
	setsockopt(p, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	u8 o[40] = { 7, 39, 4 };
	call(s, o, sizeof o, NULL, 0);
	int port = port_of(s[0]);
	memset(buf, 'z', sizeof buf);
	EQUAL(write(s[0], buf, 20000), 20000);
	while (got < 20000)
		got += OK(read(s[1], buf, sizeof buf));
	while ((n = recv(p, buf, sizeof buf, MSG_DONTWAIT)) > 0) {
		struct iphdr *h = (void *)buf;
		if (h->ihl == 15 && buf[60] << 8 == (port & 0xff00) && buf[61] == (port & 255)) {
			segments++;
			CHECK(!memcmp(buf + 23, "\177\0\0\1", 4));
		}
		CHECK(!(h->frag_off & htons(0x3fff)));
	}
	CHECK(segments > 3);
}
