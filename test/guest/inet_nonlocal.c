/* Names of sockets that no interface has: IP_FREEBIND, IP_TRANSPARENT, ip_nonlocal_bind (ip(7)). */
#include "inet.h"
#include "network.h"

#define FOREIGN "10.99.99.99"
#define FOREIGN6 "fd77::1"
enum { ipv6_transparent = 75, ipv6_freebind = 78 };

static socklen_t foreign(union addr *a, int family, int port) {
	socklen_t n = loopback(a, family, port);
	if (family == AF_INET)
		OK(inet_pton(AF_INET, FOREIGN, &a->in.sin_addr) - 1);
	else
		OK(inet_pton(AF_INET6, FOREIGN6, &a->in6.sin6_addr) - 1);
	return n;
}

static int bind_foreign(int s, int family) {
	union addr a;
	return bind(s, &a.sa, foreign(&a, family, 0));
}

/* come gives the IPv4 address to lo. */
static void come(void) {
	struct ifreq r = { .ifr_name = "lo:1" };
	struct sockaddr_in *in = (struct sockaddr_in *)&r.ifr_addr;
	in->sin_family = AF_INET;
	OK(inet_pton(AF_INET, FOREIGN, &in->sin_addr) - 1);
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(ioctl(s, SIOCSIFADDR, &r));
	close(s);
}

TEST(freely) {
	own_network_up();
	need_family(AF_INET6);
	EACH_FAMILY(f)
		for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
			int s = OK(socket(f, type, 0));
			FAILS(bind_foreign(s, f), EADDRNOTAVAIL);
			OK(set(s, IPPROTO_IP, IP_FREEBIND, 1));
			OK(bind_foreign(s, f));
			union addr a, b;
			socklen_t n = sizeof a;
			OK(getsockname(s, &a.sa, &n));
			CHECK(port_of(s) != 0);
			foreign(&b, f, port_of(s));
			CHECK(f == AF_INET ? a.in.sin_addr.s_addr == b.in.sin_addr.s_addr : !memcmp(&a.in6.sin6_addr, &b.in6.sin6_addr, 16));
			int t = OK(socket(f, type, 0)); /* that makes it nobody else's */
			FAILS(bind_foreign(t, f), EADDRNOTAVAIL);
			OK(set(t, IPPROTO_IP, IP_FREEBIND, 1));
			FAILS(bind(t, &a.sa, n), EADDRINUSE);
			if (type == SOCK_STREAM)
				OK(listen(s, 1));
		}
	int s = OK(socket(AF_INET6, SOCK_STREAM, 0));
	union addr a;
	socklen_t n = loopback(&a, AF_INET6, 0);
	OK(inet_pton(AF_INET6, "::ffff:" FOREIGN, &a.in6.sin6_addr) - 1);
	OK(set(s, IPPROTO_IPV6, ipv6_freebind, 1));
	OK(bind(s, &a.sa, n));
}

TEST(transparently) {
	own_network_up();
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(s, IPPROTO_IP, IP_TRANSPARENT, 1));
	OK(bind_foreign(s, AF_INET));
	OK(listen(s, 1));
}

TEST(one_option_of_both_families) {
	need_family(AF_INET6);
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	OK(set(s, IPPROTO_IPV6, ipv6_freebind, 1));
	EQUAL(option(s, IPPROTO_IP, IP_FREEBIND), 1);
	OK(set(s, IPPROTO_IP, IP_FREEBIND, 0));
	EQUAL(option(s, IPPROTO_IPV6, ipv6_freebind), 0);
	if (set(s, IPPROTO_IPV6, ipv6_transparent, 1))
		return; /* it takes a privilege */
	EQUAL(option(s, IPPROTO_IP, IP_TRANSPARENT), 1);
}

TEST(nothing_leaves_from_nowhere) {
	own_network_up();
	union addr a;
	socklen_t n = loopback(&a, AF_INET, 5555);
	int u = OK(socket(AF_INET, SOCK_DGRAM, 0)), t = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(u, IPPROTO_IP, IP_FREEBIND, 1));
	OK(set(t, IPPROTO_IP, IP_FREEBIND, 1));
	OK(bind_foreign(u, AF_INET));
	OK(bind_foreign(t, AF_INET));
	FAILS(sendto(u, "x", 1, 0, &a.sa, n), ENETUNREACH);
	FAILS(connect(u, &a.sa, n), ENETUNREACH);
	FAILS(connect(t, &a.sa, n), ENETUNREACH);
}

/* What was bound before serves the address once it is there. */
TEST(the_address_comes) {
	own_network_up();
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), u = OK(socket(AF_INET, SOCK_DGRAM, 0)), t = OK(socket(AF_INET, SOCK_STREAM, 0));
	int all[] = { l, u, t };
	for (int i = 0; i < 3; i++) {
		OK(set(all[i], IPPROTO_IP, IP_FREEBIND, 1));
		OK(bind_foreign(all[i], AF_INET));
	}
	OK(listen(l, 5));
	come();
	int c = OK(socket(AF_INET, SOCK_STREAM, 0)), d = bound(AF_INET, SOCK_DGRAM), port = port_of(t);
	connect_to(c, l);
	int s = OK(accept(l, NULL, NULL));
	EQUAL(send(c, "abc", 3, 0), 3);
	char b[8];
	EQUAL(recv(s, b, sizeof b, 0), 3);
	connect_to(t, l);
	EQUAL(port_of(t), port);
	OK(accept(l, NULL, NULL));
	union addr a, from;
	socklen_t n = sizeof a;
	OK(getsockname(u, &a.sa, &n));
	EQUAL(sendto(d, "q", 1, 0, &a.sa, n), 1);
	n = sizeof from;
	EQUAL(recvfrom(u, b, sizeof b, 0, &from.sa, &n), 1);
	EQUAL(sendto(u, "an", 2, 0, &from.sa, n), 2);
	n = sizeof from;
	EQUAL(recvfrom(d, b, sizeof b, 0, &from.sa, &n), 2);
	EQUAL(from.in.sin_addr.s_addr, a.in.sin_addr.s_addr);
	EQUAL(from.in.sin_port, a.in.sin_port);
}

TEST(for_all_sockets) {
	own_network_up();
	int f = open("/proc/sys/net/ipv4/ip_nonlocal_bind", O_WRONLY);
	if (f == -1)
		SKIP("the settings of the network are not there");
	if (write(f, "1", 1) != 1)
		SKIP("the settings of the network are read-only");
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind_foreign(s, AF_INET));
	EQUAL(write(f, "0", 1), 1);
	FAILS(bind_foreign(OK(socket(AF_INET, SOCK_STREAM, 0)), AF_INET), EADDRNOTAVAIL);
}
