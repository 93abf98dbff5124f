/* What getsockopt(2) says after setsockopt(2): socket(7), ip(7), ipv6(7), tcp(7), udp(7). */
#include "inet.h"
#include <netinet/tcp.h>
#include <netinet/udp.h>

enum { T4 = 1, U4 = 2, T6 = 4, U6 = 8, T = T4 | T6, U = U4 | U6, SIX = T6 | U6, ALL = T | U };
enum { none = -9999 };

/* Of an option: who has it, its first value, and what becomes of values that are set. A
 * negative result below -1000 stands for an error: -1000 less its number. */
#define NO(e) (-1000 - (e))
static const struct {
	int of, level, name, first;
	struct { int set, get; } try[6];
} table[] = {
	{ ALL, SOL_SOCKET, SO_REUSEADDR, 0, { { 1, 1 }, { 7, 1 }, { -1, 1 }, { 0, 0 }, { none } } },
	{ ALL, SOL_SOCKET, SO_REUSEPORT, 0, { { 1, 1 }, { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, SOL_SOCKET, SO_BROADCAST, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, SOL_SOCKET, SO_KEEPALIVE, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, SOL_SOCKET, SO_OOBINLINE, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, SOL_SOCKET, SO_DONTROUTE, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, SOL_SOCKET, SO_TIMESTAMP, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, SOL_SOCKET, SO_PRIORITY, 0, { { 0, 0 }, { 6, 6 }, { none } } },
	{ ALL, SOL_SOCKET, SO_SNDBUF, none, { { 0, 4608 }, { 1000, 4608 }, { 40000, 80000 }, { none } } },
	{ ALL, SOL_SOCKET, SO_RCVBUF, none, { { 0, 2304 }, { 1000, 2304 }, { 40000, 80000 }, { none } } },
	{ T, SOL_SOCKET, SO_SNDBUF, 16384, { { none } } },
	{ T, SOL_SOCKET, SO_RCVBUF, 131072, { { none } } },
	{ U, SOL_SOCKET, SO_SNDBUF, 212992, { { none } } },
	{ U, SOL_SOCKET, SO_RCVBUF, 212992, { { none } } },
	{ ALL, SOL_SOCKET, SO_RCVLOWAT, 1, { { 0, 1 }, { 100, 100 }, { none } } },
	{ ALL, SOL_SOCKET, SO_SNDLOWAT, 1, { { 2, NO(ENOPROTOOPT) }, { none } } },
	{ ALL, SOL_SOCKET, SO_ERROR, 0, { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ ALL, SOL_SOCKET, SO_ACCEPTCONN, 0, { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ T, SOL_SOCKET, SO_TYPE, SOCK_STREAM, { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ U, SOL_SOCKET, SO_PROTOCOL, IPPROTO_UDP, { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ SIX, SOL_SOCKET, SO_DOMAIN, AF_INET6, { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ ALL, SOL_SOCKET, SO_INCOMING_CPU, -1, { { 0, 0 }, { 3, 3 }, { none } } },
	{ ALL, SOL_SOCKET, SO_BUSY_POLL, 0, { { -1, NO(EINVAL) }, { 0, 0 }, { none } } },
	{ ALL, SOL_SOCKET, SO_ZEROCOPY, 0, { { 2, NO(EINVAL) }, { 0, 0 }, { none } } },
	{ ALL, SOL_SOCKET, SO_TIMESTAMPING, 0, { { 1 << 16, NO(EINVAL) }, { 1 << 15, NO(EOPNOTSUPP) }, { 3, 3 }, { none } } },
	{ T, SOL_SOCKET, SO_TIMESTAMPING, 0, { { 1 << 16 | 1 << 7, NO(EINVAL) }, { none } } }, /* which bytes it numbers from */
	{ U, SOL_SOCKET, SO_TIMESTAMPING, 0, { { 1 << 16 | 1 << 7, 1 << 16 | 1 << 7 }, { none } } },
	{ ALL, SOL_SOCKET, 53 /* SO_CNX_ADVICE */, NO(ENOPROTOOPT), { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ ALL, SOL_SOCKET, SO_NO_CHECK, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, SOL_SOCKET, 9999, NO(ENOPROTOOPT), { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ SIX, 9999, 1, NO(ENOPROTOOPT), { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ T4 | U4, 9999, 1, NO(EOPNOTSUPP), { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ T4, IPPROTO_UDP, UDP_CORK, NO(EOPNOTSUPP), { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ U4, IPPROTO_IPV6, IPV6_V6ONLY, NO(EOPNOTSUPP), { { 1, NO(ENOPROTOOPT) }, { none } } },

	{ T, IPPROTO_IP, IP_TOS, 0, { { 0x10, 0x10 }, { 255, 252 }, { -2, 252 }, { 256, 0 }, { none } } },
	{ U, IPPROTO_IP, IP_TOS, 0, { { 0x10, 0x10 }, { 255, 255 }, { -2, 254 }, { 256, 0 }, { none } } },
	{ ALL, IPPROTO_IP, IP_TTL, 64, { { 1, 1 }, { 255, 255 }, { -1, 64 }, { 0, NO(EINVAL) }, { 256, NO(EINVAL) }, { none } } },
	{ ALL, IPPROTO_IP, IP_MTU_DISCOVER, 1, { { 0, 0 }, { 3, 3 }, { 5, 5 }, { 6, NO(EINVAL) }, { -1, NO(EINVAL) }, { none } } },
	{ ALL, IPPROTO_IP, IP_RECVERR, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, IPPROTO_IP, IP_PKTINFO, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, IPPROTO_IP, IP_RECVTTL, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, IPPROTO_IP, IP_RECVTOS, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, IPPROTO_IP, IP_FREEBIND, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, IPPROTO_IP, IP_MINTTL, 0, { { 255, 255 }, { 256, NO(EINVAL) }, { none } } },
	{ ALL, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ ALL, IPPROTO_IP, IP_MTU, NO(ENOTCONN), { { none } } },
	{ U, IPPROTO_IP, IP_MULTICAST_TTL, 1, { { -1, 1 }, { 0, 0 }, { 255, 255 }, { 256, NO(EINVAL) }, { none } } },
	{ ALL, IPPROTO_IP, IP_MULTICAST_LOOP, 1, { { 0, 0 }, { 7, 1 }, { none } } },
	{ T, IPPROTO_IP, IP_HDRINCL, 0, { { 1, NO(ENOPROTOOPT) }, { none } } },

	{ ALL, IPPROTO_IP, IP_ROUTER_ALERT, 0, { { 1, NO(EINVAL) }, { 0, NO(EINVAL) }, { none } } },
	{ SIX, IPPROTO_IPV6, IPV6_ROUTER_ALERT, 0, { { 1, NO(ENOPROTOOPT) }, { -1, NO(ENOPROTOOPT) }, { none } } },
	{ SIX, IPPROTO_IPV6, IPV6_V6ONLY, none, { { 1, 1 }, { 0, 0 }, { 7, 1 }, { none } } },
	{ SIX, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64, { { 1, 1 }, { -1, 64 }, { 0, 0 }, { 256, NO(EINVAL) }, { none } } },
	{ U6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1, { { 0, 0 }, { -1, 1 }, { 256, NO(EINVAL) }, { none } } },
	{ U6, IPPROTO_IPV6, IPV6_TCLASS, 0, { { 255, 255 }, { -1, 0 }, { 256, NO(EINVAL) }, { none } } },
	{ T6, IPPROTO_IPV6, IPV6_TCLASS, 0, { { 255, 252 }, { none } } },
	{ SIX, IPPROTO_IPV6, IPV6_RECVPKTINFO, 0, { { 7, 1 }, { none } } },
	{ SIX, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0, { { 7, 1 }, { none } } },
	{ SIX, IPPROTO_IPV6, IPV6_RECVTCLASS, 0, { { 7, 1 }, { none } } },
	{ SIX, IPPROTO_IPV6, IPV6_RECVERR, 0, { { 7, 1 }, { none } } },
	{ SIX, IPPROTO_IPV6, IPV6_MTU_DISCOVER, 1, { { 2, 2 }, { 9, NO(EINVAL) }, { none } } },
	{ SIX, IPPROTO_IPV6, IPV6_MTU, NO(ENOTCONN), { { none } } },
	{ SIX, IPPROTO_IPV6, IPV6_DONTFRAG, 0, { { 7, 1 }, { none } } },

	{ T, IPPROTO_TCP, TCP_NODELAY, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ T, IPPROTO_TCP, TCP_CORK, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ T, IPPROTO_TCP, TCP_QUICKACK, 1, { { 1, 1 }, { 0, 0 }, { none } } },
	{ T, IPPROTO_TCP, TCP_MAXSEG, 536, { { 0, 536 }, { 1000, 1000 }, { 87, NO(EINVAL) }, { 40000, NO(EINVAL) }, { none } } },
	{ T, IPPROTO_TCP, TCP_KEEPIDLE, none, { { 1, 1 }, { 32767, 32767 }, { 0, NO(EINVAL) }, { 32768, NO(EINVAL) }, { none } } },
	{ T, IPPROTO_TCP, TCP_KEEPINTVL, none, { { 1, 1 }, { 0, NO(EINVAL) }, { 32768, NO(EINVAL) }, { none } } },
	{ T, IPPROTO_TCP, TCP_KEEPCNT, none, { { 127, 127 }, { 0, NO(EINVAL) }, { 128, NO(EINVAL) }, { none } } },
	{ T, IPPROTO_TCP, TCP_SYNCNT, none, { { 127, 127 }, { 0, NO(EINVAL) }, { 128, NO(EINVAL) }, { none } } },
	{ T, IPPROTO_TCP, TCP_LINGER2, 60, { { 5, 5 }, { -7, -1 }, { 255, 120 }, { none } } },
	{ T, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0, { { 1, 1 }, { 2, 3 }, { 16, 31 }, { 100, 127 }, { 255, 367 }, { 0, 0 } } },
	{ T, IPPROTO_TCP, TCP_WINDOW_CLAMP, 0, { { 1, 1152 }, { 40000, 40000 }, { 0, 0 }, { none } } },
	{ T, IPPROTO_TCP, TCP_USER_TIMEOUT, 0, { { 1000, 1000 }, { -1, NO(EINVAL) }, { none } } },
	{ T, IPPROTO_TCP, TCP_FASTOPEN, 0, { { 5, 5 }, { -1, NO(EINVAL) }, { none } } },
	{ T, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0, { { 5, 5 }, { none } } },
	{ T, IPPROTO_TCP, TCP_INQ, 0, { { 1, 1 }, { 2, NO(EINVAL) }, { none } } },
	{ T, IPPROTO_TCP, 37 /* TCP_TX_DELAY */, 0, { { 1000000, 1000000 }, { 0, 0 }, { none } } },
	{ T, IPPROTO_TCP, 9999, NO(ENOPROTOOPT), { { 1, NO(ENOPROTOOPT) }, { none } } },

	{ U, IPPROTO_UDP, UDP_CORK, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ U, IPPROTO_UDP, UDP_SEGMENT, 0, { { 1400, 1400 }, { -1, NO(EINVAL) }, { 65536, NO(EINVAL) }, { none } } },
	{ U, IPPROTO_UDP, UDP_GRO, 0, { { 7, 1 }, { none } } },
	{ U, IPPROTO_UDP, 9999, NO(ENOPROTOOPT), { { 1, NO(ENOPROTOOPT) }, { none } } },
};

static int got(int s, int level, int name) {
	int v = 0;
	socklen_t n = sizeof v;
	return getsockopt(s, level, name, &v, &n) ? NO(errno) : v;
}

TEST(numbers) {
	need_family(AF_INET6);
	for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
		for (int k = 0; k < 4; k++) {
			if (!(table[i].of & 1 << k))
				continue;
			int level = table[i].level, name = table[i].name;
			int s = OK(socket(k < 2 ? AF_INET : AF_INET6, k % 2 ? SOCK_DGRAM : SOCK_STREAM, 0));
			int v = got(s, level, name);
			if (table[i].first != none && v != table[i].first)
				guest_fail(__FILE__, __LINE__, "option %d of level %d, socket %d: first %d, not %d", name, level, k, v, table[i].first);
			for (int j = 0; j < 6 && table[i].try[j].set != none; j++) {
				int r = set(s, level, name, table[i].try[j].set) ? NO(errno) : got(s, level, name);
				if (r != table[i].try[j].get)
					guest_fail(__FILE__, __LINE__, "option %d of level %d, socket %d: %d becomes %d, not %d", name, level, k,
						   table[i].try[j].set, r, table[i].try[j].get);
			}
			close(s);
		}
}

/* Times that later versions of Linux let choose, in whole ticks of whatever clock it has. */
TEST(times_of_tcp) {
	static const struct { int name, first, good[3], bad[4]; } of[] = {
		{ 44 /* TCP_RTO_MAX_MS */, 120000, { 1000, 20000, 120000 }, { -1, 0, 999, 120001 } },
		{ 45 /* TCP_RTO_MIN_US */, 200000, { 20000, 100000, 200000 }, { -1, 0, 1000, 200001 } },
		{ 46 /* TCP_DELACK_MAX_US */, 200000, { 20000, 100000, 200000 }, { -1, 0, 1000, 200001 } },
	};
	for (unsigned i = 0; i < sizeof of / sizeof *of; i++) {
		int s[2], l = listener(AF_INET), name = of[i].name;
		if (got(l, IPPROTO_TCP, name) == NO(ENOPROTOOPT))
			SKIP("Linux has them since 6.15");
		EQUAL(got(l, IPPROTO_TCP, name), of[i].first);
		for (int j = 0; j < 3; j++) {
			OK(set(l, IPPROTO_TCP, name, of[i].good[j]));
			EQUAL(got(l, IPPROTO_TCP, name), of[i].good[j]);
		}
		for (int j = 0; j < 4; j++)
			FAILS(set(l, IPPROTO_TCP, name, of[i].bad[j]), EINVAL);
		OK(set(l, IPPROTO_TCP, name, of[i].good[0]));
		s[0] = OK(socket(AF_INET, SOCK_STREAM, 0));
		connect_to(s[0], l);
		s[1] = OK(accept(l, NULL, NULL));
		EQUAL(got(s[1], IPPROTO_TCP, name), of[i].good[0]);
	}
}

TEST(router_alert) {
	need_family(AF_INET6);
	int s = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	if (s < 0)
		SKIP("only root can make raw sockets");
	FAILS(set(s, IPPROTO_IP, IP_ROUTER_ALERT, 0), ENOBUFS);
	OK(set(s, IPPROTO_IP, IP_ROUTER_ALERT, 7));
	EQUAL(option(s, IPPROTO_IP, IP_ROUTER_ALERT), 1);
	FAILS(set(s, IPPROTO_IP, IP_ROUTER_ALERT, 1), EADDRINUSE);
	OK(set(s, IPPROTO_IP, IP_ROUTER_ALERT, 0));
	EQUAL(option(s, IPPROTO_IP, IP_ROUTER_ALERT), 0);
	FAILS(set(OK(socket(AF_INET, SOCK_RAW, IPPROTO_RAW)), IPPROTO_IP, IP_ROUTER_ALERT, 1), EINVAL);
	FAILS(set(OK(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)), IPPROTO_IPV6, IPV6_ROUTER_ALERT, 1), ENOPROTOOPT);
	/* of IPv6 it is a number, which is not told, and one below 0 is none */
	s = OK(socket(AF_INET6, SOCK_RAW, IPPROTO_RAW));
	FAILS(set(s, IPPROTO_IPV6, IPV6_ROUTER_ALERT, -1), ENOBUFS);
	OK(set(s, IPPROTO_IPV6, IPV6_ROUTER_ALERT, 0));
	EQUAL(option(s, IPPROTO_IPV6, IPV6_ROUTER_ALERT), 0);
	FAILS(set(s, IPPROTO_IPV6, IPV6_ROUTER_ALERT, 5), EADDRINUSE);
	OK(set(s, IPPROTO_IPV6, IPV6_ROUTER_ALERT, -1));
	EQUAL(option(s, IPPROTO_IPV6, IPV6_ROUTER_ALERT), 1);
	OK(set(s, IPPROTO_IPV6, IPV6_ROUTER_ALERT, 5));
	EQUAL(option(s, IPPROTO_IPV6, IPV6_ROUTER_ALERT), 1);
}

/* Of some options of IPv4 nothing at all is 0, of others it is an error. */
TEST(lengths_of_ipv4) {
	static const struct { int name, shortest, longest; } of[] = {
		{ IP_RECVERR, 0, 9 }, { IP_PKTINFO, 0, 9 }, { IP_BIND_ADDRESS_NO_PORT, 0, 9 },
		{ IP_FREEBIND, 1, 9 }, { IP_TRANSPARENT, 1, 9 }, { IP_MINTTL, 1, 9 }, { IP_MULTICAST_TTL, 1, 9 },
		{ IP_MULTICAST_LOOP, 1, 9 }, { IP_MULTICAST_ALL, 1, 9 }, { IP_UNICAST_IF, 4, 4 }, { 51 /* IP_LOCAL_PORT_RANGE */, 4, 4 },
	};
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	char zero[16] = "";
	for (unsigned i = 0; i < sizeof of / sizeof *of; i++)
		for (int n = 0; n < 10 && got(s, IPPROTO_IP, of[i].name) != NO(ENOPROTOOPT); n++) { /* Linux has the last since 6.3 */
			int r = setsockopt(s, IPPROTO_IP, of[i].name, zero, n), ok = n >= of[i].shortest && n <= of[i].longest;
			if (r != (ok ? 0 : -1) || (!ok && errno != EINVAL))
				guest_fail(__FILE__, __LINE__, "option %d with %d bytes: %d, errno %d", of[i].name, n, r, errno);
		}
}

/* Without a value an option that there is none of is just that to IPv6, and a bad value to others. */
TEST(lengths_of_what_is_not) {
	need_family(AF_INET6);
	int s = OK(socket(AF_INET6, SOCK_STREAM, 0));
	int v[2] = { 0 };
	for (int n = 0; n < 8; n++) {
		FAILS(setsockopt(s, IPPROTO_IPV6, 240, v, n), ENOPROTOOPT);
		FAILS(setsockopt(s, IPPROTO_TCP, 240, v, n), n < 4 ? EINVAL : ENOPROTOOPT);
		FAILS(setsockopt(s, SOL_SOCKET, 240, v, n), n < 4 ? EINVAL : ENOPROTOOPT);
		if (n < 4)
			FAILS(setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, v, n), EINVAL);
	}
}

/* Levels beside a socket's own: UDP's options are at UDP-Lite's too. */
TEST(levels) {
	need_family(AF_INET6);
	for (int k = 0; k < 2; k++) {
		int u = OK(socket(k ? AF_INET6 : AF_INET, SOCK_DGRAM, 0)), v = 0;
		OK(set(u, IPPROTO_UDPLITE, 1 /* UDP_CORK */, 1));
		EQUAL(option(u, IPPROTO_UDP, 1), 1);
		EQUAL(option(u, IPPROTO_UDPLITE, 1), 1);
		socklen_t n = sizeof v;
		FAILS(getsockopt(u, IPPROTO_UDPLITE, 99, &v, &n), ENOPROTOOPT);
		FAILS(setsockopt(u, IPPROTO_UDPLITE, 99, &v, 3), EINVAL);
		FAILS(setsockopt(u, IPPROTO_UDPLITE, 99, &v, 4), ENOPROTOOPT);
		int p = socket(k ? AF_INET6 : AF_INET, SOCK_DGRAM, k ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
		if (p >= 0)
			FAILS(setsockopt(p, k ? IPPROTO_ICMPV6 : 99, 2, &v, 3), ENOPROTOOPT);
		int r = socket(k ? AF_INET6 : AF_INET, SOCK_RAW, 89);
		if (r < 0)
			SKIP("only root can make raw sockets");
		n = sizeof v;
		FAILS(getsockopt(r, SOL_RAW, 2, &v, &n), ENOPROTOOPT);
		FAILS(setsockopt(r, SOL_RAW, 2, &v, 3), k ? EINVAL : ENOPROTOOPT);
		FAILS(setsockopt(r, SOL_RAW, 2, &v, 4), ENOPROTOOPT);
		if (k) {
			int t = OK(socket(AF_INET6, SOCK_STREAM, 0));
			n = sizeof v; /* of what has come a stream tells nothing yet, and others never do */
			OK(getsockopt(t, IPPROTO_IPV6, 6 /* IPV6_2292PKTOPTIONS */, &v, &n));
			EQUAL(n, 0);
			n = sizeof v;
			FAILS(getsockopt(u, IPPROTO_IPV6, 6, &v, &n), ENOPROTOOPT);
			OK(set(r, IPPROTO_IPV6, IPV6_CHECKSUM, -7));
			EQUAL(option(r, IPPROTO_IPV6, IPV6_CHECKSUM), -1);
		}
	}
}

/* There are no programs of bpf(2) among these descriptors. */
TEST(programs) {
	static const int names[] = { SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_EBPF };
	for (int i = 0; i < 2; i++) {
		int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), v[2] = { 999 };
		FAILS(setsockopt(s, SOL_SOCKET, names[i], v, 4), EBADF);
		FAILS(setsockopt(s, SOL_SOCKET, names[i], v, 8), EINVAL);
		FAILS(set(s, SOL_SOCKET, names[i], -1), EBADF);
		FAILS(set(s, SOL_SOCKET, names[i], s), EINVAL);
		OK(set(s, SOL_SOCKET, SO_LOCK_FILTER, 1));
		FAILS(set(s, SOL_SOCKET, names[i], -1), EPERM);
	}
}

/* Of a socket that is not being repaired only lengths and states count. */
TEST(repair) {
	int s = OK(socket(AF_INET, SOCK_STREAM, 0)), v = 0;
	enum { window = 29, queue = 20, sequence = 21 };
	FAILS(setsockopt(s, IPPROTO_TCP, queue, &v, 3), EINVAL);
	FAILS(setsockopt(s, IPPROTO_TCP, queue, &v, 4), EPERM);
	FAILS(setsockopt(s, IPPROTO_TCP, window, &v, 3), EINVAL);
	FAILS(setsockopt(s, IPPROTO_TCP, sequence, &v, 4), EINVAL);
	FAILS(set(listener(AF_INET), IPPROTO_TCP, sequence, 0), EPERM);
}

/* Of IPv6 some take what is too short for 0, others do not. */
TEST(lengths_of_ipv6) {
	need_family(AF_INET6);
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0)), t = OK(socket(AF_INET6, SOCK_STREAM, 0)), v[5] = { 1 };
	for (int n = 0; n < 4; n++) {
		OK(set(s, IPPROTO_IPV6, IPV6_DONTFRAG, 1));
		OK(setsockopt(s, IPPROTO_IPV6, IPV6_DONTFRAG, v, n));
		EQUAL(option(s, IPPROTO_IPV6, IPV6_DONTFRAG), 0);
		FAILS(setsockopt(s, IPPROTO_IPV6, IPV6_RECVTCLASS, v, n), EINVAL);
	}
	FAILS(setsockopt(s, IPPROTO_IPV6, IPV6_UNICAST_IF, v, 8), EINVAL);
	FAILS(setsockopt(t, IPPROTO_IPV6, IPV6_JOIN_GROUP, v, 16), EINVAL);
	FAILS(setsockopt(t, IPPROTO_IPV6, IPV6_JOIN_GROUP, v, 20), EPROTO);
}

TEST(lengths) {
	int s = OK(socket(AF_INET, SOCK_STREAM, 0)), v = 1;
	socklen_t n = 2;
	FAILS(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, 2), EINVAL);
	FAILS(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &v, 1), EINVAL);
	FAILS(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, -1), EINVAL);
	FAILS(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, (void *)1, 4), EFAULT);
	OK(setsockopt(s, IPPROTO_IP, IP_TTL, &v, 1)); /* a byte will do */
	EQUAL(option(s, IPPROTO_IP, IP_TTL), 1);
	v = -1;
	OK(getsockopt(s, IPPROTO_IP, IP_TTL, &v, &n)); /* and one is all that a small number takes */
	EQUAL(n, 1);
	EQUAL(v, -256 + 1);
	FAILS(getsockopt(s, SOL_SOCKET, SO_COOKIE, &v, &n), EINVAL);
	char filter[24] = { 1 };
	FAILS(setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, filter, 16), EINVAL);
	FAILS(setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, filter, 24), EINVAL);
	n = 2;
	v = -1;
	OK(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &n));
	EQUAL(n, 2);
	EQUAL(v & 0xffff, SOCK_STREAM);
	n = -1;
	FAILS(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &n), EINVAL);
}

TEST(structures) {
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	struct linger l = { 5, 7 };
	socklen_t n = sizeof l;
	OK(setsockopt(s, SOL_SOCKET, SO_LINGER, &l, n));
	OK(getsockopt(s, SOL_SOCKET, SO_LINGER, &l, &n));
	EQUAL(n, 8);
	EQUAL(l.l_onoff, 1);
	EQUAL(l.l_linger, 7);
	struct timeval t = { 3, 500000 };
	n = sizeof t;
	OK(setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &t, n));
	memset(&t, 0, sizeof t);
	OK(getsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &t, &n));
	EQUAL(t.tv_sec, 3);
	EQUAL(t.tv_usec, 500000);
	t.tv_usec = 1000000;
	FAILS(setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &t, n), EDOM);
	struct { pid_t pid; uid_t uid; gid_t gid; } u;
	n = sizeof u;
	OK(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &u, &n));
	EQUAL(u.pid, 0);
	EQUAL(u.uid, -1u);
	uint64_t rate = 1;
	n = sizeof rate;
	OK(getsockopt(s, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &n));
	EQUAL(n, 8);
	EQUAL(rate, ~0ull);
	uint64_t a = 0, b = 0;
	n = sizeof a;
	OK(getsockopt(s, SOL_SOCKET, SO_COOKIE, &a, &n));
	OK(getsockopt(OK(socket(AF_INET, SOCK_STREAM, 0)), SOL_SOCKET, SO_COOKIE, &b, &n));
	CHECK(a && b && a != b);
}

TEST(devices) {
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	char name[16] = "x";
	socklen_t n = sizeof name;
	OK(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
	EQUAL(n, 0);
	FAILS(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "nothere", 8), ENODEV);
	OK(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	n = sizeof name;
	OK(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
	EQUAL(n, 3);
	CHECK(!strcmp(name, "lo"));
	CHECK(option(s, SOL_SOCKET, SO_BINDTOIFINDEX) > 0);
}

TEST(names) {
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	char name[16] = "";
	socklen_t n = sizeof name;
	OK(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	OK(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &n));
	EQUAL(n, 16);
	CHECK(!strcmp(name, "reno"));
	FAILS(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "nothere", 7), ENOENT);
	FAILS(setsockopt(s, IPPROTO_TCP, TCP_ULP, "nothere", 7), ENOENT);
}

TEST(tcp_info) {
	struct tcp_info i;
	socklen_t n = sizeof i;
	int s[2], l = listener(AF_INET);
	OK(getsockopt(l, IPPROTO_TCP, TCP_INFO, &i, &n));
	EQUAL(n, sizeof i);
	EQUAL(i.tcpi_state, TCP_LISTEN);
	EQUAL(option(l, SOL_SOCKET, SO_ACCEPTCONN), 1);
	tcp_pair(AF_INET, s);
	OK(getsockopt(s[0], IPPROTO_TCP, TCP_INFO, &i, &n));
	EQUAL(i.tcpi_state, TCP_ESTABLISHED);
	CHECK(i.tcpi_rto > 0 && i.tcpi_snd_mss >= 536 && i.tcpi_snd_cwnd > 0);
	CHECK(option(s[0], IPPROTO_TCP, TCP_MAXSEG) > 536);
	CHECK(option(s[0], IPPROTO_IP, IP_MTU) >= 16000);
	FAILS(set(s[0], IPPROTO_TCP, TCP_WINDOW_CLAMP, 0), EINVAL);
	FAILS(set(listener(AF_INET), IPPROTO_TCP, TCP_WINDOW_CLAMP, 0), EINVAL);
	EQUAL(option(s[0], SOL_SOCKET, SO_ACCEPTCONN), 0);
}

/* Once there is a connection some options tell of it, and its segments stay as they are. */
TEST(of_a_connection) {
	int s[2];
	tcp_pair(AF_INET, s);
	for (int i = 0; i < 2; i++) {
		CHECK(option(s[i], SOL_SOCKET, SO_INCOMING_CPU) >= 0);
		CHECK(option(s[i], IPPROTO_TCP, TCP_WINDOW_CLAMP) > 1000);
		int size = option(s[i], IPPROTO_TCP, TCP_MAXSEG);
		OK(set(s[i], IPPROTO_TCP, TCP_MAXSEG, 500));
		FAILS(set(s[i], IPPROTO_TCP, TCP_MAXSEG, 87), EINVAL);
		EQUAL(option(s[i], IPPROTO_TCP, TCP_MAXSEG), size);
	}
}

/* A connection has the options of its listener. */
TEST(inherited) {
	int l = bound(AF_INET, SOCK_STREAM), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(l, IPPROTO_TCP, TCP_NODELAY, 1));
	OK(set(l, SOL_SOCKET, SO_KEEPALIVE, 1));
	OK(set(l, IPPROTO_TCP, TCP_KEEPIDLE, 77));
	OK(set(l, IPPROTO_IP, IP_TOS, 0x10));
	struct linger g = { 1, 3 };
	OK(setsockopt(l, SOL_SOCKET, SO_LINGER, &g, sizeof g));
	OK(listen(l, 1));
	connect_to(c, l);
	int s = OK(accept(l, NULL, NULL));
	EQUAL(option(s, IPPROTO_TCP, TCP_NODELAY), 1);
	EQUAL(option(s, SOL_SOCKET, SO_KEEPALIVE), 1);
	EQUAL(option(s, IPPROTO_TCP, TCP_KEEPIDLE), 77);
	EQUAL(option(s, IPPROTO_IP, IP_TOS), 0x10);
	EQUAL(option(s, SOL_SOCKET, SO_LINGER), 1);
}

TEST(privileges) {
	if (geteuid())
		SKIP("only root can give up privileges");
	EXITED_OK(IN_CHILD(
		OK(setresuid(12345, 12345, 12345));
		int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
		FAILS(set(s, SOL_SOCKET, SO_MARK, 1), EPERM);
		FAILS(set(s, SOL_SOCKET, SO_PRIORITY, 7), EPERM);
		FAILS(set(s, SOL_SOCKET, SO_DEBUG, 1), EACCES);
		FAILS(set(s, SOL_SOCKET, SO_RCVBUFFORCE, 1), EPERM);
		FAILS(set(s, IPPROTO_IP, IP_TRANSPARENT, 1), EPERM);
		OK(set(s, SOL_SOCKET, SO_PRIORITY, 6));
	));
}

/* A socket that is bound to an address of IPv6's own is only IPv6's. */
TEST(v6only_by_address) {
	need_family(AF_INET6);
	EQUAL(option(bound(AF_INET6, SOCK_STREAM), IPPROTO_IPV6, IPV6_V6ONLY), 1);
	EQUAL(option(bound(AF_INET6, SOCK_DGRAM), IPPROTO_IPV6, IPV6_V6ONLY), 1);
	struct sockaddr_in6 any = { AF_INET6 };
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	OK(bind(s, (void *)&any, sizeof any));
	EQUAL(option(s, IPPROTO_IPV6, IPV6_V6ONLY), 0);
	s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	connect_to(s, bound(AF_INET6, SOCK_DGRAM));
	EQUAL(option(s, IPPROTO_IPV6, IPV6_V6ONLY), 0);
}
