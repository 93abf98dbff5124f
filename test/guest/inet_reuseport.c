/* Programs that say which of several sockets with one name gets what comes (SO_ATTACH_REUSEPORT_CBPF, socket(7)). */
#include "inet.h"
#include "network.h"
#include <linux/filter.h>

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

enum { members = 3 };

/* attach gives a socket a program. */
static int attach(int s, struct sock_filter *code, int n) {
	struct sock_fprog p = { n, code };
	return setsockopt(s, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &p, sizeof p);
}

/* always chooses one, by_digit by the first byte of what is sent, by_source by the lowest bit of the port that
 * it comes from. */
static int always(int s, int which) {
	struct sock_filter c[] = { BPF_STMT(BPF_RET | BPF_K, which) };
	return attach(s, c, 1);
}
static int by_digit(int s) {
	struct sock_filter c[] = { BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, '0'), BPF_STMT(BPF_RET | BPF_A, 0) };
	return attach(s, c, 3);
}
static int by_source(int s, int family) {
	struct sock_filter c[] = { BPF_STMT(BPF_LD | BPF_H | BPF_ABS, SKF_NET_OFF + (family == AF_INET ? 20 : 40)),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 1), BPF_STMT(BPF_RET | BPF_A, 0) };
	return attach(s, c, 3);
}

/* sharer is a socket that shares a port, 0 for any, of the loopback address or of all. */
static int sharer(int family, int type, int port, int all) {
	union addr a;
	int s = OK(socket(family, type, 0));
	socklen_t n = loopback(&a, family, port);
	if (all && family == AF_INET)
		a.in.sin_addr.s_addr = 0;
	if (all && family == AF_INET6)
		a.in6.sin6_addr = in6addr_any;
	OK(set(s, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(bind(s, &a.sa, n));
	return s;
}

static void share(int *s, int family, int type, int all) {
	s[0] = sharer(family, type, 0, all);
	for (int i = 1; i < members; i++)
		s[i] = sharer(family, type, port_of(s[0]), all);
}

/* whose sends something to a port and returns which of n sockets gets it. */
static int whose(int from, int *s, int n, const char *what) {
	struct pollfd p[8];
	union addr a;
	socklen_t size = sizeof a;
	OK(getsockname(s[0], &a.sa, &size));
	a.sa.sa_family == AF_INET ? (a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK)) : (a.in6.sin6_addr = in6addr_loopback, 0);
	EQUAL(sendto(from, what, strlen(what), 0, &a.sa, size), (int)strlen(what));
	for (int i = 0; i < n; i++)
		p[i] = (struct pollfd){ s[i], POLLIN, 0 };
	EQUAL(poll(p, n, 60000), 1);
	for (int i = 0; i < n; i++)
		if (p[i].revents) {
			char b[100];
			EQUAL(recv(s[i], b, sizeof b, 0), (int)strlen(what));
			CHECK(!memcmp(b, what, strlen(what)));
			return i;
		}
	return -1;
}

static void udp(int family, int all) {
	int s[members], from = OK(socket(family, SOCK_DGRAM, 0));
	share(s, family, SOCK_DGRAM, all);
	OK(by_digit(s[1]));
	for (int i = 0; i < 2 * members; i++) {
		char what[] = { '0' + i % members, 'x', 0 };
		EQUAL(whose(from, s, members, what), i % members);
	}
	/* one that is not there, or a program that fails but for the first: the usual choice, which is the same each time */
	int usual = whose(from, s, members, "7");
	for (int i = 0; i < 4; i++)
		EQUAL(whose(from, s, members, "9abc"), usual);
	OK(by_source(s[0], family));
	for (int i = 0; i < 4; i++) {
		int other = bound(family, SOCK_DGRAM);
		EQUAL(whose(other, s, members, "hello"), port_of(other) & 1);
		close(other);
	}
	/* the last takes the place of who leaves */
	OK(by_digit(s[0]));
	close(s[0]);
	EQUAL(whose(from, s + 1, 2, "0"), 1);
	EQUAL(whose(from, s + 1, 2, "1"), 0);
	/* who comes is the next */
	s[0] = s[1];
	s[1] = sharer(family, SOCK_DGRAM, port_of(s[0]), all);
	EQUAL(whose(from, s, members, "2"), 1);
	OK(set(s[1], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0));
	FAILS(set(s[0], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0), ENOENT);
	usual = whose(from, s, members, "0");
	for (int i = 0; i < 4; i++)
		EQUAL(whose(from, s, members, "1"), usual);
	close(from);
	for (int i = 0; i < members; i++)
		close(s[i]);
}

TEST(datagrams) {
	EACH_FAMILY(f) {
		need_family(f);
		udp(f, 0);
		udp(f, 1);
	}
}

TEST(datagrams_that_somebody_captures) {
	if (socket(AF_PACKET, SOCK_RAW, htons(3)) < 0)
		SKIP("only root can make packet sockets");
	EACH_FAMILY(f) {
		need_family(f);
		udp(f, 0);
		udp(f, 1);
	}
}

/* A program may be there before the socket has a name, but of the first socket alone. */
TEST(a_program_before_the_name) {
	int s[2], from = OK(socket(AF_INET, SOCK_DGRAM, 0));
	union addr a;
	for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
		for (int i = 0; i < 2; i++) {
			s[i] = OK(socket(AF_INET, type, 0));
			OK(set(s[i], SOL_SOCKET, SO_REUSEPORT, 1));
		}
		OK(always(s[0], 1));
		OK(bind(s[0], &a.sa, loopback(&a, AF_INET, 0)));
		if (type == SOCK_STREAM)
			OK(listen(s[0], 5));
		OK(always(s[1], 0));
		FAILS(bind(s[1], &a.sa, loopback(&a, AF_INET, port_of(s[0]))), EADDRINUSE);
		close(s[1]);
		s[1] = sharer(AF_INET, type, port_of(s[0]), 0);
		if (type == SOCK_DGRAM)
			EQUAL(whose(from, s, 2, "x"), 1);
	}
}

/* Also not of one that is connected, nor where the port is left open and there is but one. */
TEST(not_of_another_user_who_is_connected) {
	if (geteuid())
		SKIP("only root can become another user");
	union addr a;
	int peer = bound(AF_INET, SOCK_DGRAM), any = sharer(AF_INET, SOCK_DGRAM, 0, 0), port = port_of(any);
	int s = sharer(AF_INET, SOCK_DGRAM, port, 0); /* which keeps a port that it has named */
	close(any);
	for (int step = 0; step < 3; step++) {
		if (step == 1)
			connect_to(s, peer);
		if (step == 2)
			OK(connect(s, &(struct sockaddr){ AF_UNSPEC }, sizeof(struct sockaddr)));
		OK(setresuid(-1, 1234, 0));
		int other = OK(socket(AF_INET, SOCK_DGRAM, 0));
		OK(setresuid(-1, 0, 0));
		OK(set(other, SOL_SOCKET, SO_REUSEPORT, 1));
		socklen_t n = loopback(&a, AF_INET, port);
		FAILS(bind(other, &a.sa, n), EADDRINUSE);
		if (!set(other, IPPROTO_IP, IP_LOCAL_PORT_RANGE, port << 16 | port)) {
			n = loopback(&a, AF_INET, 0);
			FAILS(bind(other, &a.sa, n), EADDRINUSE);
		}
		close(other);
		close(sharer(AF_INET, SOCK_DGRAM, port, 0));
	}
}

/* A port is shared only by sockets of one user: nobody gets what is sent to another. */
TEST(not_of_other_users) {
	if (geteuid())
		SKIP("only root can become another user");
	own_network_up(); /* where a port that is free at one address is so at all */
	static const struct in_addr all;
	for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++)
		for (int family = 0; family < 4; family++)
			for (int addresses = 0; addresses < 4; addresses++)
				for (int v6only = 0; v6only < 2; v6only++)
					for (int reuse = 0; reuse < 2; reuse++)
						for (int user = 0; user < 2; user++) {
		int s[2], port = 0, refused = 0, at[2], f[2];
		for (int i = 0; i < 2; i++) {
			union addr a;
			f[i] = family >> i & 1 ? AF_INET6 : AF_INET;
			at[i] = addresses >> i & 1;
			need_family(f[i]);
			socklen_t n = loopback(&a, f[i], port);
			if (!at[i]) f[i] == AF_INET ? (a.in.sin_addr = all) : (a.in6.sin6_addr = in6addr_any, all);
			if (i && user) OK(setresuid(-1, 1234, 0));
			s[i] = OK(socket(f[i], type, 0));
			if (i && user) OK(setresuid(-1, 0, 0));
			OK(set(s[i], SOL_SOCKET, SO_REUSEPORT, 1));
			OK(set(s[i], SOL_SOCKET, SO_REUSEADDR, reuse));
			if (f[i] == AF_INET6 && v6only) OK(set(s[i], IPPROTO_IPV6, IPV6_V6ONLY, 1));
			if (bind(s[i], &a.sa, n)) refused = errno;
			else if (type == SOCK_STREAM) OK(listen(s[i], 5));
			port = port_of(s[0]);
		}
		/* all of IPv6 is all of IPv4 too, unless it is to be apart */
		int overlap = f[0] == f[1] ? at[0] == at[1] || !at[0] || !at[1] : !v6only && !at[f[0] == AF_INET6 ? 0 : 1];
		EQUAL(refused, user && overlap && !(reuse && type == SOCK_DGRAM) ? EADDRINUSE : 0);
		close(s[0]);
		close(s[1]);
	}
	/* of who does not listen yet, the first to do so has it */
	int l[2];
	for (int i = 0; i < 2; i++) {
		union addr a;
		if (i) OK(setresuid(-1, 1234, 0));
		l[i] = OK(socket(AF_INET, SOCK_STREAM, 0));
		OK(setresuid(-1, 0, 0));
		OK(set(l[i], SOL_SOCKET, SO_REUSEPORT, 1));
		OK(set(l[i], SOL_SOCKET, SO_REUSEADDR, 1));
		OK(bind(l[i], &a.sa, loopback(&a, AF_INET, i ? port_of(l[0]) : 0)));
	}
	OK(listen(l[0], 5));
	FAILS(listen(l[1], 5), EADDRINUSE);
	OK(listen(l[0], 6));
}

/* SO_REUSEADDR is not for a port of who listens, at whatever address of those that overlap. */
TEST(not_of_who_listens) {
	if (unshare(CLONE_NEWNET) == 0) /* likewise */
		set_lo(1);
	for (int first = 0; first < 2; first++)
		for (int second = 0; second < 2; second++)
			for (int later = 0; later < 2; later++) {
				int s[2];
				for (int i = 0; i < 2; i++) {
					union addr a;
					s[i] = OK(socket(AF_INET, SOCK_STREAM, 0));
					OK(set(s[i], SOL_SOCKET, SO_REUSEADDR, 1));
					socklen_t n = loopback(&a, AF_INET, i ? port_of(s[0]) : 0);
					if (!(i ? second : first))
						a.in.sin_addr.s_addr = 0;
					if (!i || later)
						OK(bind(s[i], &a.sa, n));
					else
						FAILS(bind(s[i], &a.sa, n), EADDRINUSE);
					if (!i && !later)
						OK(listen(s[0], 5));
				}
				if (later) {
					OK(listen(s[0], 5));
					FAILS(listen(s[1], 5), EADDRINUSE);
					OK(listen(s[0], 6));
					close(s[0]);
					OK(listen(s[1], 5));
				}
				close(s[0]);
				close(s[1]);
			}
}

/* accepted_by connects, with a port of bind(2) or of connect(2), and returns which of the listeners has the connection,
 * and the port that it is from. */
static int accepted_by(int family, int *l, int n, int binds, int *port) {
	struct pollfd p[members];
	int s = binds ? bound(family, SOCK_STREAM) : OK(socket(family, SOCK_STREAM, 0)), c, which = -1;
	connect_to(s, l[0]);
	*port = port_of(s);
	for (int i = 0; i < n; i++)
		p[i] = (struct pollfd){ l[i], POLLIN, 0 };
	EQUAL(poll(p, n, 60000), 1);
	for (int i = 0; i < n; i++)
		if (p[i].revents)
			which = i;
	c = OK(accept(l[which], NULL, NULL));
	EQUAL(send(s, "hello", 5, 0), 5);
	char b[9];
	EQUAL(recv(c, b, 9, 0), 5);
	struct linger reset = { 1, 0 };
	OK(setsockopt(s, SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
	close(s);
	close(c);
	return which;
}

TEST(connections) {
	EACH_FAMILY(f) {
		need_family(f);
		int l[members], port;
		share(l, f, SOCK_STREAM, 0);
		for (int i = 0; i < members; i++)
			OK(listen(l[i], 5));
		for (int i = 0; i < members; i++) {
			OK(always(l[0], i));
			EQUAL(accepted_by(f, l, members, 1, &port), i);
		}
		OK(by_source(l[1], f));
		for (int i = 0, seen = 0; seen != 3; i++) { /* Linux has bind(2) and connect(2) begin with odd or even ones */
			int which = accepted_by(f, l, members, i % 2, &port);
			EQUAL(which, port & 1);
			seen |= 1 << which;
		}
		OK(always(l[0], 0));
		close(l[0]);
		EQUAL(accepted_by(f, l + 1, 2, 1, &port), 1);
		close(l[1]);
		close(l[2]);
	}
}

/* A port that a send has chosen is one to share, too. */
TEST(port_of_a_send) {
	EACH_FAMILY(f) {
		need_family(f);
		union addr a;
		int r = bound(f, SOCK_DGRAM), s = OK(socket(f, SOCK_DGRAM, 0));
		socklen_t n = loopback(&a, f, port_of(r));
		OK(set(s, SOL_SOCKET, SO_REUSEPORT, 1));
		EQUAL(sendto(s, "x", 1, 0, &a.sa, n), 1);
		OK(always(s, 1));
		int other = sharer(f, SOCK_DGRAM, port_of(s), 1);
		n = loopback(&a, f, port_of(s));
		EQUAL(sendto(r, "1", 1, 0, &a.sa, n), 1);
		ready(other, POLLIN);
		close(s);
		close(other);
	}
}

TEST(what_is_refused) {
	struct sock_filter bad[] = { BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0) }, good[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog p = { 1, good };
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), n = 4;
	FAILS(always(s, 0), EINVAL);
	FAILS(set(s, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0), EINVAL);
	OK(set(s, SOL_SOCKET, SO_REUSEPORT, 1));
	FAILS(set(s, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0), ENOENT);
	FAILS(attach(s, bad, 1), EINVAL);
	FAILS(attach(s, good, 0), EINVAL);
	FAILS(attach(s, NULL, 1), EINVAL);
	FAILS(attach(s, (void *)8, 1), EFAULT);
	FAILS(setsockopt(s, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &p, 8), EINVAL);
	FAILS(getsockopt(s, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &p, (socklen_t *)&n), ENOPROTOOPT);
	OK(always(s, 0));
	OK(set(s, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0));
	OK(set(s, SOL_SOCKET, SO_LOCK_FILTER, 1));
	FAILS(always(s, 0), EPERM);
	/* who got its name without SO_REUSEPORT shares it with nobody */
	s = bound(AF_INET, SOCK_DGRAM);
	OK(set(s, SOL_SOCKET, SO_REUSEPORT, 1));
	FAILS(always(s, 0), EINVAL);
	FAILS(set(s, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0), ENOENT);
	s = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	if (s >= 0) {
		OK(set(s, SOL_SOCKET, SO_REUSEPORT, 1));
		FAILS(always(s, 0), EINVAL);
	}
}
