/* Options of SOL_SOCKET that each socket has, whatever its family: what getsockopt(2) says after
 * setsockopt(2), of local, netlink and packet sockets; and newer ones of IP sockets. */
#include "inet.h"
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <linux/netlink.h>
#include <sys/un.h>

#ifndef SO_RESERVE_MEM
#define SO_RESERVE_MEM 73
#endif
#define NO(e) (-1000 - (e))
enum { none = -9999, most = 0x7fffffff };

static const struct {
	int name, first;
	struct { int set, get; } try[4];
} table[] = {
	{ SO_DEBUG, 0, { { 0, 0 }, { none } } },
	{ SO_DONTROUTE, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ SO_BROADCAST, 0, { { 7, 1 }, { 0, 0 }, { none } } },
	{ SO_KEEPALIVE, 0, { { -1, 1 }, { 0, 0 }, { none } } },
	{ SO_NO_CHECK, 0, { { 7, 1 }, { none } } },
	{ SO_PRIORITY, 0, { { 6, 6 }, { 0, 0 }, { none } } },
	{ SO_BSDCOMPAT, 0, { { 1, 0 }, { none } } },
	{ SO_RCVLOWAT, 1, { { 0, 1 }, { 100, 100 }, { -1, most }, { none } } },
	{ SO_SNDLOWAT, 1, { { 2, NO(ENOPROTOOPT) }, { none } } },
	{ SO_RXQ_OVFL, 0, { { 7, 1 }, { none } } },
	{ SO_WIFI_STATUS, 0, { { 7, 1 }, { none } } },
	{ SO_NOFCS, 0, { { 7, 1 }, { none } } },
	{ SO_SELECT_ERR_QUEUE, 0, { { 7, 1 }, { none } } },
	{ SO_BUSY_POLL, 0, { { -1, NO(EINVAL) }, { 0, 0 }, { none } } },
	{ SO_BPF_EXTENSIONS, 64, { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ SO_INCOMING_CPU, -1, { { 0, 0 }, { 3, 3 }, { none } } },
	{ SO_INCOMING_NAPI_ID, 0, { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ SO_ZEROCOPY, 0, { { 1, NO(EOPNOTSUPP) }, { none } } },
	{ SO_BINDTOIFINDEX, 0, { { -1, NO(EINVAL) }, { 0, 0 }, { none } } },
	{ SO_BUF_LOCK, 0, { { 3, 3 }, { 4, NO(EINVAL) }, { none } } },
	{ SO_RESERVE_MEM, 0, { { 1, NO(EOPNOTSUPP) }, { none } } },
	{ SO_ACCEPTCONN, 0, { { 1, NO(ENOPROTOOPT) }, { none } } },
	{ 9999, NO(ENOPROTOOPT), { { 1, NO(ENOPROTOOPT) }, { none } } },
};

static int got(int s, int name) {
	int v = 0;
	socklen_t n = sizeof v;
	return getsockopt(s, SOL_SOCKET, name, &v, &n) ? NO(errno) : v;
}

static int sockets(int which) {
	switch (which) {
	case 0: return OK(socket(AF_UNIX, SOCK_STREAM, 0));
	case 1: return OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	case 2: return OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	case 3: return socket(AF_PACKET, SOCK_RAW, 0);
	}
	return -1;
}

TEST(numbers) {
	for (int k = 0, s; (s = sockets(k)) >= 0; k++, close(s))
		for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
			int name = table[i].name, v = got(s, name);
			if (v != table[i].first)
				guest_fail(__FILE__, __LINE__, "option %d, socket %d: first %d, not %d", name, k, v, table[i].first);
			for (int j = 0; j < 4 && table[i].try[j].set != none; j++) {
				int r = set(s, SOL_SOCKET, name, table[i].try[j].set) ? NO(errno) : got(s, name);
				if (r != table[i].try[j].get)
					guest_fail(__FILE__, __LINE__, "option %d, socket %d: %d becomes %d, not %d", name, k, table[i].try[j].set, r, table[i].try[j].get);
			}
			FAILS(setsockopt(s, SOL_SOCKET, name, &v, 3), EINVAL);
		}
}

/* The lengths of SO_GET_FILTER count instructions. */
TEST(filters) {
	struct sock_filter drop[] = { BPF_STMT(BPF_LD | BPF_IMM, 0), BPF_STMT(BPF_RET | BPF_A, 0) }, back[3];
	struct sock_fprog p = { 2, drop };
	for (int k = -1, s; (s = k < 0 ? OK(socket(AF_INET, SOCK_DGRAM, 0)) : sockets(k)) >= 0; k++, close(s)) {
		socklen_t n = sizeof back;
		OK(getsockopt(s, SOL_SOCKET, SO_GET_FILTER, back, &n));
		EQUAL(n, 0);
		FAILS(set(s, SOL_SOCKET, SO_DETACH_FILTER, 0), ENOENT);
		OK(setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof p));
		n = 0;
		OK(getsockopt(s, SOL_SOCKET, SO_GET_FILTER, NULL, &n));
		EQUAL(n, 2);
		n = 1;
		FAILS(getsockopt(s, SOL_SOCKET, SO_GET_FILTER, back, &n), EINVAL);
		n = 3;
		OK(getsockopt(s, SOL_SOCKET, SO_GET_FILTER, back, &n));
		EQUAL(n, 2);
		CHECK(!memcmp(back, drop, sizeof drop));
		OK(set(s, SOL_SOCKET, SO_LOCK_FILTER, 1));
		EQUAL(got(s, SO_LOCK_FILTER), 1);
		FAILS(set(s, SOL_SOCKET, SO_LOCK_FILTER, 0), EPERM);
		FAILS(set(s, SOL_SOCKET, SO_DETACH_FILTER, 0), EPERM);
		FAILS(setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof p), EPERM);
		FAILS(setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, &p, 8), EINVAL);
	}
}

/* Of local sockets a filter is for messages, and their sender is not told. */
TEST(filters_of_local_sockets) {
	struct sock_filter code[] = { BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, '0'), BPF_STMT(BPF_RET | BPF_A, 0) };
	struct sock_fprog p = { 3, code };
	static const int types[] = { SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM };
	for (int i = 0; i < 3; i++) {
		int s[2];
		char b[9];
		OK(socketpair(AF_UNIX, types[i], 0, s));
		OK(setsockopt(s[1], SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof p));
		EQUAL(send(s[0], "0abc", 4, 0), 4);
		EQUAL(send(s[0], "2abc", 4, 0), 4);
		EQUAL(send(s[0], "9abc", 4, 0), 4);
		EQUAL(recv(s[1], b, 4, 0), i < 2 ? 2 : 4);
		EQUAL(b[0], i < 2 ? '2' : '0');
		EQUAL(recv(s[1], b, 4, 0), 4);
		EQUAL(send(s[1], "0abc", 4, 0), 4); /* not of what is sent */
		EQUAL(recv(s[0], b, 9, 0), 4);
		static char long_one[1 << 20] = "0"; /* which is too long, whatever is left of it */
		if (i < 2)
			FAILS(send(s[0], long_one, sizeof long_one, 0), EMSGSIZE);
		long_one[0] = '2';
		if (i < 2)
			FAILS(send(s[0], long_one, sizeof long_one, 0), EMSGSIZE);
	}
}

TEST(memory) {
	for (int k = 0, s; (s = sockets(k)) >= 0; k++, close(s)) {
		uint32_t m[12];
		socklen_t n = sizeof m;
		OK(getsockopt(s, SOL_SOCKET, SO_MEMINFO, m, &n));
		EQUAL(n, 36);
		EQUAL(m[0], 0);
		EQUAL(m[1], option(s, SOL_SOCKET, SO_RCVBUF));
		EQUAL(m[2], 0);
		EQUAL(m[3], option(s, SOL_SOCKET, SO_SNDBUF));
	}
	int p[2];
	uint32_t m[9];
	socklen_t n = sizeof m;
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	EQUAL(send(p[0], "abc", 3, 0), 3);
	OK(getsockopt(p[0], SOL_SOCKET, SO_MEMINFO, m, &n));
	CHECK(m[2] >= 3);
	OK(getsockopt(p[1], SOL_SOCKET, SO_MEMINFO, m, &n));
	EQUAL(m[0], 0);
}

TEST(structures) {
	for (int k = 0, s; (s = sockets(k)) >= 0; k++, close(s)) {
		struct linger l = { 5, 7 };
		socklen_t n = sizeof l;
		OK(setsockopt(s, SOL_SOCKET, SO_LINGER, &l, n));
		FAILS(setsockopt(s, SOL_SOCKET, SO_LINGER, &l, 7), EINVAL);
		OK(getsockopt(s, SOL_SOCKET, SO_LINGER, &l, &n));
		EQUAL(n, 8);
		EQUAL(l.l_onoff, 1);
		EQUAL(l.l_linger, 7);
		struct { int pid, uid, gid; } peer = { 1, 1, 1 };
		n = sizeof peer;
		OK(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &peer, &n));
		EQUAL(n, sizeof peer);
		CHECK(peer.pid == 0 && peer.uid == -1 && peer.gid == -1);
		uint64_t rate = 1;
		n = sizeof rate;
		OK(getsockopt(s, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &n));
		EQUAL(n, 8);
		EQUAL(rate, ~0ull);
		OK(set(s, SOL_SOCKET, SO_MAX_PACING_RATE, 1000));
		OK(getsockopt(s, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &n));
		EQUAL(rate, 1000);
		OK(set(s, SOL_SOCKET, SO_MAX_PACING_RATE, -1));
		OK(getsockopt(s, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &n));
		EQUAL(rate, ~0ull);
	}
}

/* Options that mean something to other families only, and those that cannot be asked for. */
TEST(of_other_families) {
	enum { advice = 53, detach = 68, budget = 70 };
	for (int k = 0, s; (s = sockets(k)) >= 0; k++, close(s)) {
		OK(set(s, SOL_SOCKET, advice, 1));
		EQUAL(got(s, advice), NO(ENOPROTOOPT));
		OK(set(s, SOL_SOCKET, budget, 0)); /* more takes a privilege on the host */
		FAILS(set(s, SOL_SOCKET, budget, -1), EINVAL);
		FAILS(set(s, SOL_SOCKET, detach, 0), EINVAL);
		FAILS(set(s, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, 0), EINVAL);
		struct sock_txtime t = { CLOCK_MONOTONIC, 1 };
		socklen_t n = sizeof t;
		OK(setsockopt(s, SOL_SOCKET, SO_TXTIME, &t, n));
		FAILS(setsockopt(s, SOL_SOCKET, SO_TXTIME, &t, 4), EINVAL);
		t.flags = 0;
		OK(getsockopt(s, SOL_SOCKET, SO_TXTIME, &t, &n));
		CHECK(n == 8 && t.clockid == CLOCK_MONOTONIC && t.flags == 1);
	}
}

TEST(privileges) {
	if (geteuid())
		SKIP("only root can give up privileges");
	EXITED_OK(IN_CHILD(
		OK(setresuid(12345, 12345, 12345));
		int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		FAILS(set(s, SOL_SOCKET, SO_MARK, 1), EPERM);
		FAILS(set(s, SOL_SOCKET, SO_PRIORITY, 7), EPERM);
		FAILS(set(s, SOL_SOCKET, SO_DEBUG, 1), EACCES);
		OK(set(s, SOL_SOCKET, SO_PRIORITY, 6));
		int u = OK(socket(AF_INET, SOCK_DGRAM, 0));
		struct sock_txtime t = { CLOCK_REALTIME, 0 };
		FAILS(setsockopt(u, SOL_SOCKET, SO_TXTIME, &t, sizeof t), EPERM);
		t.clockid = CLOCK_MONOTONIC;
		OK(setsockopt(u, SOL_SOCKET, SO_TXTIME, &t, sizeof t));
	));
}

TEST(packet_options) {
	int s = socket(AF_PACKET, SOCK_RAW, 0);
	if (s < 0)
		SKIP("only root can make packet sockets");
	static const int names[] = { PACKET_ORIGDEV, PACKET_QDISC_BYPASS, PACKET_LOSS, PACKET_TX_HAS_OFF };
	for (int i = 0; i < 4; i++) {
		EQUAL(option(s, SOL_PACKET, names[i]), 0);
		OK(set(s, SOL_PACKET, names[i], 7));
		EQUAL(option(s, SOL_PACKET, names[i]), 1);
	}
	OK(set(s, SOL_PACKET, PACKET_COPY_THRESH, 7));
	EQUAL(option(s, SOL_PACKET, PACKET_COPY_THRESH), 7);
	OK(set(s, SOL_PACKET, PACKET_TIMESTAMP, 16));
	EQUAL(option(s, SOL_PACKET, PACKET_TIMESTAMP), 16);
	OK(set(s, SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_SOFTWARE));
	EQUAL(option(s, SOL_SOCKET, SO_TIMESTAMPING), SOF_TIMESTAMPING_SOFTWARE);
}

TEST(cookies_of_networks) {
	uint64_t a = 0, b = 0;
	socklen_t n = sizeof a;
	OK(getsockopt(OK(socket(AF_INET, SOCK_STREAM, 0)), SOL_SOCKET, SO_NETNS_COOKIE, &a, &n));
	EQUAL(n, 8);
	OK(getsockopt(OK(socket(AF_INET6, SOCK_DGRAM, 0)), SOL_SOCKET, SO_NETNS_COOKIE, &b, &n));
	CHECK(a && a == b);
	if (unshare(CLONE_NEWNET) == -1)
		SKIP("only root can make network namespaces");
	OK(getsockopt(OK(socket(AF_INET, SOCK_STREAM, 0)), SOL_SOCKET, SO_NETNS_COOKIE, &b, &n));
	CHECK(b && a != b);
	n = 16; /* it is asked for by its size */
	FAILS(getsockopt(OK(socket(AF_INET, SOCK_STREAM, 0)), SOL_SOCKET, SO_NETNS_COOKIE, &a, &n), EINVAL);
	n = 8;
	OK(getsockopt(OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)), SOL_SOCKET, SO_NETNS_COOKIE, &a, &n));
	CHECK(a == b);
}

/* What is to be sent at a time, where nothing waits for that, is sent. */
TEST(times_to_send_at) {
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), to = bound(AF_INET, SOCK_DGRAM);
	connect_to(s, to);
	struct sock_txtime t = { CLOCK_MONOTONIC, SOF_TXTIME_REPORT_ERRORS };
	union { char b[CMSG_SPACE(8)]; struct cmsghdr h; } c = { .h = { CMSG_LEN(8), SOL_SOCKET, SCM_TXTIME } };
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b };
	FAILS(sendmsg(s, &m, 0), EINVAL);
	FAILS(setsockopt(s, SOL_SOCKET, SO_TXTIME, &t, 4), EINVAL);
	OK(setsockopt(s, SOL_SOCKET, SO_TXTIME, &t, sizeof t));
	memset(&t, 0, sizeof t);
	socklen_t n = sizeof t;
	OK(getsockopt(s, SOL_SOCKET, SO_TXTIME, &t, &n));
	EQUAL(n, 8);
	EQUAL(t.clockid, CLOCK_MONOTONIC);
	EQUAL(t.flags, SOF_TXTIME_REPORT_ERRORS);
	OK(sendmsg(s, &m, 0));
	char b[4];
	EQUAL(recv(to, b, sizeof b, 0), 1);
	t.flags = 4;
	FAILS(setsockopt(s, SOL_SOCKET, SO_TXTIME, &t, sizeof t), EINVAL);
}

TEST(wishes_for_addresses) {
	need_family(AF_INET6);
	enum { preferences = 72, temporary = 1, public = 2, care_of = 4, generated = 8, by_default = 0x100, home = 0x400, plain = 0x800 };
	int s = OK(socket(AF_INET6, SOCK_STREAM, 0));
	EQUAL(option(s, IPPROTO_IPV6, preferences), by_default | home);
	OK(set(s, IPPROTO_IPV6, preferences, temporary));
	EQUAL(option(s, IPPROTO_IPV6, preferences), temporary | home);
	OK(set(s, IPPROTO_IPV6, preferences, care_of)); /* forgets what was before */
	EQUAL(option(s, IPPROTO_IPV6, preferences), by_default | care_of);
	OK(set(s, IPPROTO_IPV6, preferences, public | home | plain));
	EQUAL(option(s, IPPROTO_IPV6, preferences), public | home);
	FAILS(set(s, IPPROTO_IPV6, preferences, public | temporary), EINVAL);
	FAILS(set(s, IPPROTO_IPV6, preferences, home | care_of), EINVAL);
	FAILS(set(s, IPPROTO_IPV6, preferences, generated | plain), EINVAL);
	OK(set(s, IPPROTO_IPV6, preferences, by_default));
	EQUAL(option(s, IPPROTO_IPV6, preferences), by_default | home);
}

TEST(extension_headers) {
	need_family(AF_INET6);
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	static const int names[] = { IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_RTHDR, IPV6_DSTOPTS };
	char b[64];
	for (int i = 0; i < 4; i++) {
		socklen_t n = sizeof b;
		OK(getsockopt(s, IPPROTO_IPV6, names[i], b, &n));
		EQUAL(n, 0);
		int r = setsockopt(s, IPPROTO_IPV6, names[i], NULL, 0);
		CHECK(r == 0 || errno == EPERM);
		r = setsockopt(s, IPPROTO_IPV6, names[i], "1234", 4);
		CHECK(r == -1 && (errno == EINVAL || errno == EPERM));
	}
}

TEST(mtu_of_a_path) {
	need_family(AF_INET6);
	struct ip6_mtuinfo i;
	socklen_t n = sizeof i;
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	FAILS(getsockopt(s, IPPROTO_IPV6, IPV6_PATHMTU, &i, &n), ENOTCONN);
	connect_to(s, bound(AF_INET6, SOCK_DGRAM));
	OK(getsockopt(s, IPPROTO_IPV6, IPV6_PATHMTU, &i, &n));
	EQUAL(n, sizeof i);
	EQUAL(i.ip6m_mtu, option(s, IPPROTO_IPV6, IPV6_MTU));
	CHECK(i.ip6m_mtu >= 1280);
	n = 4;
	FAILS(getsockopt(s, IPPROTO_IPV6, IPV6_PATHMTU, &i, &n), EINVAL);
	s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	connect_to(s, bound(AF_INET, SOCK_DGRAM));
	CHECK(option(s, IPPROTO_IP, IP_MTU) <= 65535); /* whatever lo has */
}

TEST(protocol_of_raw_sockets) {
	int s = socket(AF_INET, SOCK_RAW, 89);
	if (s < 0)
		SKIP("only root can make raw sockets");
	EQUAL(option(s, IPPROTO_IP, 52 /* IP_PROTOCOL */), 89);
	FAILS(set(s, IPPROTO_IP, 52, 1), ENOPROTOOPT);
	OK(set(s, IPPROTO_IP, 22 /* IP_NODEFRAG */, 7));
	EQUAL(option(s, IPPROTO_IP, 22), 1);
}

/* The time-out of a socket is one for all waits of a call, however often a little comes. */
TEST(time_out_of_a_whole_call) {
	static char b[1 << 23];
	struct timeval soon = { 0, 100000 };
	for (int k = 0; k < 2; k++) {
		int p[2];
		if (k)
			tcp_pair(AF_INET, p);
		else
			OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
		pid_t child = OK(fork());
		if (child == 0) {
			close(p[0]);
			while (send(p[1], "x", 1, MSG_NOSIGNAL) == 1)
				usleep(5000);
			_exit(0);
		}
		OK(setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon));
		ssize_t n = recv(p[0], b, sizeof b, MSG_WAITALL);
		CHECK(n == -1 ? errno == EAGAIN : n > 0 && n < (ssize_t)sizeof b);
		OK(kill(child, SIGKILL));
		OK(waitpid(child, NULL, 0));
	}
}

/* That of a send over a local stream begins anew with each part that finds room, however little: a peer that
 * reads slowly makes so much room that it wakes who waits for it only after half a second. */
TEST(time_out_of_parts) {
	static char b[400000];
	struct timeval soon = { 0, 400000 };
	for (int k = 0; k < 2;) {
		int p[2];
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
		pid_t child = OK(fork());
		if (child == 0) {
			close(p[0]);
			while (read(p[1], b, 8192) > 0)
				usleep(30000);
			_exit(0);
		}
		OK(setsockopt(p[0], SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon));
		ssize_t n = k ? write(p[0], b, sizeof b) : send(p[0], b, sizeof b, 0);
		CHECK(n > 0);
		k += n == sizeof b; /* a busy host may have kept the peer from reading for that long: then again */
		OK(kill(child, SIGKILL));
		OK(waitpid(child, NULL, 0));
		close(p[0]);
		close(p[1]);
	}
}
