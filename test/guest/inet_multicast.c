/* Multicast groups: ip(7), ipv6(7), on lo of a network of the test's own. */
#include "network.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int bound(int port, const char *at) {
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, at, &a.sin_addr);
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), one = 1;
	OK(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	OK(bind(s, (void *)&a, sizeof a));
	return s;
}

static struct ip_mreqn request(const char *group, int index) {
	struct ip_mreqn m = { .imr_ifindex = index };
	inet_pton(AF_INET, group, &m.imr_multiaddr);
	return m;
}

/* sends to a group by lo. */
static void send_to(const char *group, int port, const char *text) {
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct ip_mreqn m = request("0.0.0.0", 1);
	OK(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof m));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, group, &a.sin_addr);
	EQUAL(sendto(s, text, strlen(text), 0, (void *)&a, sizeof a), strlen(text));
	close(s);
}

TEST(joining_and_leaving) {
	own_network_up();
	int s = bound(0, "0.0.0.0");
	struct ip_mreqn m = request("239.1.2.3", 1);
	FAILS(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof m), EADDRNOTAVAIL);
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	FAILS(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m), EADDRINUSE);
	OK(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof m));
	m = request("10.1.2.3", 1);
	FAILS(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m), EINVAL);
	FAILS(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof m), EADDRNOTAVAIL);
	m = request("239.1.2.3", 77);
	FAILS(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m), ENODEV);
	FAILS(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof m), EADDRNOTAVAIL);
	m = request("239.1.2.3", 0);
	FAILS(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m), ENODEV);
	FAILS(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 4), EINVAL);
	/* an interface is known by its address too */
	struct ip_mreq q = { .imr_interface.s_addr = htonl(INADDR_LOOPBACK) };
	inet_pton(AF_INET, "239.1.2.4", &q.imr_multiaddr);
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &q, sizeof q));
	int t = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(setsockopt(t, IPPROTO_IP, IP_ADD_MEMBERSHIP, &q, sizeof q), EPROTO);
	/* there can be so many */
	int i;
	for (i = 0; i < 100; i++) {
		struct ip_mreqn more = request("239.9.9.9", 1);
		((unsigned char *)&more.imr_multiaddr)[3] = i;
		if (setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &more, sizeof more) == -1)
			break;
	}
	EQUAL(errno, ENOBUFS);
	EQUAL(i, 19);
}

TEST(protocol_independent_names) {
	own_network_up();
	int s = bound(0, "0.0.0.0");
	struct group_req g = { .gr_interface = 1 };
	struct sockaddr_in *a = (void *)&g.gr_group;
	a->sin_family = AF_INET;
	inet_pton(AF_INET, "239.1.2.3", &a->sin_addr);
	OK(setsockopt(s, IPPROTO_IP, MCAST_JOIN_GROUP, &g, sizeof g));
	FAILS(setsockopt(s, IPPROTO_IP, MCAST_JOIN_GROUP, &g, sizeof g), EADDRINUSE);
	OK(setsockopt(s, IPPROTO_IP, MCAST_LEAVE_GROUP, &g, sizeof g));
	FAILS(setsockopt(s, IPPROTO_IP, MCAST_LEAVE_GROUP, &g, sizeof g), EADDRNOTAVAIL);
	a->sin_family = AF_INET6;
	FAILS(setsockopt(s, IPPROTO_IP, MCAST_JOIN_GROUP, &g, sizeof g), EINVAL);
	FAILS(setsockopt(s, IPPROTO_IP, MCAST_LEAVE_GROUP, &g, sizeof g), EINVAL);
	int s6 = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	struct sockaddr_in6 *a6 = (void *)&g.gr_group;
	a6->sin6_family = AF_INET6;
	inet_pton(AF_INET6, "ff05::77", &a6->sin6_addr);
	OK(setsockopt(s6, IPPROTO_IPV6, MCAST_JOIN_GROUP, &g, sizeof g));
	OK(setsockopt(s6, IPPROTO_IPV6, MCAST_LEAVE_GROUP, &g, sizeof g));
	a6->sin6_family = AF_INET;
	FAILS(setsockopt(s6, IPPROTO_IPV6, MCAST_JOIN_GROUP, &g, sizeof g), EADDRNOTAVAIL);
	FAILS(setsockopt(s6, IPPROTO_IPV6, MCAST_LEAVE_GROUP, &g, sizeof g), EADDRNOTAVAIL);
	struct ip_mreq nowhere = { { htonl(0xef010101) }, { 0 } }; /* no interface leads there */
	FAILS(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &nowhere, sizeof nowhere), ENODEV);
}

TEST(receiving_from_a_group) {
	own_network_up();
	int a = bound(5555, "0.0.0.0"), b = bound(5555, "239.1.2.3");
	struct ip_mreqn m = request("239.1.2.3", 1);
	OK(setsockopt(a, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	OK(setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	send_to("239.1.2.3", 5555, "all");
	char got[10];
	EQUAL(recv(a, got, sizeof got, 0), 3);
	EQUAL(recv(b, got, sizeof got, 0), 3);
}

TEST(options_read_back) {
	own_network_up();
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), v;
	socklen_t n = sizeof v;
	OK(getsockopt(s, IPPROTO_IP, IP_MULTICAST_TTL, &v, &n));
	EQUAL(v, 1);
	n = sizeof v;
	OK(getsockopt(s, IPPROTO_IP, IP_MULTICAST_LOOP, &v, &n));
	EQUAL(v, 1);
	n = sizeof v;
	OK(getsockopt(s, IPPROTO_IP, IP_MULTICAST_ALL, &v, &n));
	EQUAL(v, 1);
	n = sizeof v;
	OK(getsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &v, &n));
	EQUAL(v, 0);
	struct in_addr lo = { htonl(INADDR_LOOPBACK) };
	OK(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof lo));
	n = sizeof v;
	OK(getsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &v, &n));
	EQUAL(v, lo.s_addr);
	lo.s_addr = htonl(0x0a000001);
	FAILS(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof lo), EADDRNOTAVAIL);
	v = 2;
	FAILS(setsockopt(s, IPPROTO_IP, IP_MULTICAST_ALL, &v, sizeof v), EINVAL);
}

TEST(only_what_was_joined) {
	own_network_up();
	int a = bound(5555, "0.0.0.0"), b = bound(5555, "0.0.0.0"), off = 0;
	struct ip_mreqn m = request("239.1.2.3", 1);
	OK(setsockopt(a, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	OK(setsockopt(b, IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof off));
	send_to("239.1.2.3", 5555, "one");
	char got[10];
	EQUAL(recv(a, got, sizeof got, 0), 3);
	FAILS(recv(b, got, sizeof got, MSG_DONTWAIT), EAGAIN);
	OK(setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	send_to("239.1.2.3", 5555, "two");
	EQUAL(recv(b, got, sizeof got, 0), 3);
	CHECK(!memcmp(got, "two", 3));
}

TEST(groups_of_ipv6) {
	own_network_up();
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0)), lo = 1, v;
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(5556) };
	OK(bind(s, (void *)&a, sizeof a));
	struct ipv6_mreq m = { .ipv6mr_interface = 1 };
	inet_pton(AF_INET6, "ff05::77", &m.ipv6mr_multiaddr);
	FAILS(setsockopt(s, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &m, sizeof m), EADDRNOTAVAIL);
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof m));
	FAILS(setsockopt(s, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof m), EADDRINUSE);
	int c = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	OK(setsockopt(c, IPPROTO_IPV6, IPV6_MULTICAST_IF, &lo, sizeof lo));
	socklen_t n = sizeof v;
	OK(getsockopt(c, IPPROTO_IPV6, IPV6_MULTICAST_IF, &v, &n));
	EQUAL(v, 1);
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &m, sizeof m));
	m.ipv6mr_interface = 77;
	FAILS(setsockopt(s, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof m), ENODEV);
}
