/* Sources of multicast groups: RFC 3678, ip(7), in a network of the test's own. */
#include "netlink.h"
#include <netinet/in.h>

#define PORT 5557

static struct in_addr ip(const char *text) {
	struct in_addr a;
	inet_pton(AF_INET, text, &a);
	return a;
}

/* receiver is a socket for what comes to the port. */
static int receiver(void) {
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), one = 1;
	OK(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	OK(bind(s, (void *)&a, sizeof a));
	return s;
}

/* send_from sends one byte to the group by lo, from an address of lo. */
static void send_from(const char *source, char c) {
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr = ip(source) };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = ip("239.1.2.3") };
	struct ip_mreqn by = { .imr_ifindex = 1 };
	OK(bind(s, (void *)&from, sizeof from));
	OK(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof by));
	EQUAL(sendto(s, &c, 1, 0, (void *)&to, sizeof to), 1);
	close(s);
}

/* next_is expects a byte, or with 0 that there is none. */
#define NEXT_IS(s, c)                                                   \
	do {                                                            \
		char got = 0;                                           \
		if (c)                                                  \
			EQUAL(recv(s, &got, 1, MSG_DONTWAIT), 1);       \
		else                                                    \
			FAILS(recv(s, &got, 1, MSG_DONTWAIT), EAGAIN);  \
		EQUAL(got, c);                                          \
	} while (0)

static struct ip_mreq_source request(const char *source) {
	return (struct ip_mreq_source){ .imr_multiaddr = ip("239.1.2.3"), .imr_interface = ip("127.0.0.1"), .imr_sourceaddr = ip(source) };
}

TEST(only_from_these_sources) {
	own_network_up();
	int s = receiver();
	struct ip_mreq_source one = request("127.0.0.1"), two = request("127.0.0.2");
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &one, sizeof one));
	FAILS(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &one, sizeof one), EADDRNOTAVAIL);
	send_from("127.0.0.2", 'a');
	send_from("127.0.0.1", 'b');
	NEXT_IS(s, 'b');
	NEXT_IS(s, 0);
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &two, sizeof two));
	send_from("127.0.0.2", 'c');
	NEXT_IS(s, 'c');
	OK(setsockopt(s, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &one, sizeof one));
	FAILS(setsockopt(s, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &one, sizeof one), EADDRNOTAVAIL);
	send_from("127.0.0.1", 'd');
	NEXT_IS(s, 0);
	/* with the last source the group has been left */
	OK(setsockopt(s, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &two, sizeof two));
	FAILS(setsockopt(s, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &two, sizeof two), EINVAL);
	send_from("127.0.0.2", 'e');
	NEXT_IS(s, 0);
}

TEST(all_but_these_sources) {
	own_network_up();
	int s = receiver();
	struct ip_mreq m = { ip("239.1.2.3"), ip("127.0.0.1") };
	struct ip_mreq_source two = request("127.0.0.2");
	FAILS(setsockopt(s, IPPROTO_IP, IP_BLOCK_SOURCE, &two, sizeof two), EINVAL);
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	FAILS(setsockopt(s, IPPROTO_IP, IP_UNBLOCK_SOURCE, &two, sizeof two), EADDRNOTAVAIL);
	OK(setsockopt(s, IPPROTO_IP, IP_BLOCK_SOURCE, &two, sizeof two));
	FAILS(setsockopt(s, IPPROTO_IP, IP_BLOCK_SOURCE, &two, sizeof two), EADDRNOTAVAIL);
	send_from("127.0.0.2", 'a');
	send_from("127.0.0.1", 'b');
	NEXT_IS(s, 'b');
	NEXT_IS(s, 0);
	/* a list of those not wanted does not become one of those wanted, even when it is empty */
	FAILS(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &two, sizeof two), EINVAL);
	OK(setsockopt(s, IPPROTO_IP, IP_UNBLOCK_SOURCE, &two, sizeof two));
	FAILS(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &two, sizeof two), EINVAL);
	send_from("127.0.0.2", 'c');
	NEXT_IS(s, 'c');
}

TEST(a_group_joined_before_narrows_to_sources) {
	own_network_up();
	int s = receiver();
	struct ip_mreq m = { ip("239.1.2.3"), ip("127.0.0.1") };
	struct ip_mreq_source two = request("127.0.0.2");
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &two, sizeof two));
	send_from("127.0.0.1", 'a');
	send_from("127.0.0.2", 'b');
	NEXT_IS(s, 'b');
	NEXT_IS(s, 0);
}

TEST(packet_information_only_if_asked_for) {
	own_network_up();
	int s = receiver();
	struct ip_mreq_source one = request("127.0.0.1");
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &one, sizeof one));
	send_from("127.0.0.1", 'a');
	char c, control[100];
	struct iovec v = { &c, 1 };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	EQUAL(recvmsg(s, &h, 0), 1);
	EQUAL(h.msg_controllen, 0);
}

TEST(what_is_refused) {
	own_network_up();
	int s = receiver();
	struct ip_mreq_source r = request("127.0.0.1");
	FAILS(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &r, sizeof r - 1), EINVAL);
	r.imr_multiaddr = ip("10.1.2.3");
	FAILS(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &r, sizeof r), EINVAL);
	FAILS(setsockopt(s, IPPROTO_IP, IP_BLOCK_SOURCE, &r, sizeof r), EINVAL);
	r = request("127.0.0.1");
	r.imr_interface = ip("10.9.9.9");
	FAILS(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &r, sizeof r), ENODEV);
	int i;
	for (i = 1; i < 100; i++) {
		r = request("127.0.0.1");
		((unsigned char *)&r.imr_sourceaddr)[3] = i;
		if (setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &r, sizeof r) == -1)
			break;
	}
	EQUAL(errno, ENOBUFS);
	EQUAL(i, 11);
	int t = OK(socket(AF_INET, SOCK_STREAM, 0));
	r = request("127.0.0.1");
	OK(setsockopt(t, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &r, sizeof r));
}

TEST(whole_lists) {
	own_network_up();
	int s = receiver();
	char room[IP_MSFILTER_SIZE(12)] = "";
	struct ip_msfilter *f = (void *)room;
	f->imsf_multiaddr = ip("239.1.2.3");
	f->imsf_interface = ip("127.0.0.1");
	f->imsf_fmode = MCAST_INCLUDE;
	f->imsf_numsrc = 2;
	f->imsf_slist[0] = ip("127.0.0.2");
	(&f->imsf_slist[0])[1] = ip("127.0.0.3");
	FAILS(setsockopt(s, IPPROTO_IP, IP_MSFILTER, f, IP_MSFILTER_SIZE(2)), EINVAL);
	socklen_t n = sizeof room;
	FAILS(getsockopt(s, IPPROTO_IP, IP_MSFILTER, f, &n), EADDRNOTAVAIL);
	struct ip_mreq m = { ip("239.1.2.3"), ip("127.0.0.1") };
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	FAILS(setsockopt(s, IPPROTO_IP, IP_MSFILTER, f, IP_MSFILTER_SIZE(1)), EINVAL);
	f->imsf_fmode = 2;
	FAILS(setsockopt(s, IPPROTO_IP, IP_MSFILTER, f, IP_MSFILTER_SIZE(2)), EINVAL);
	f->imsf_fmode = MCAST_INCLUDE;
	OK(setsockopt(s, IPPROTO_IP, IP_MSFILTER, f, IP_MSFILTER_SIZE(2)));
	send_from("127.0.0.1", 'a');
	send_from("127.0.0.3", 'b');
	NEXT_IS(s, 'b');
	NEXT_IS(s, 0);
	/* as many come back as there is room for, and how many there are */
	f->imsf_fmode = 9;
	f->imsf_numsrc = 1;
	f->imsf_slist[0].s_addr = 0;
	n = sizeof room;
	OK(getsockopt(s, IPPROTO_IP, IP_MSFILTER, f, &n));
	EQUAL(n, IP_MSFILTER_SIZE(1));
	EQUAL(f->imsf_numsrc, 2);
	EQUAL(f->imsf_fmode, MCAST_INCLUDE);
	EQUAL(f->imsf_slist[0].s_addr, ip("127.0.0.2").s_addr);
	/* no source that is not wanted: all are */
	f->imsf_fmode = MCAST_EXCLUDE;
	f->imsf_numsrc = 0;
	OK(setsockopt(s, IPPROTO_IP, IP_MSFILTER, f, IP_MSFILTER_SIZE(0)));
	send_from("127.0.0.1", 'c');
	NEXT_IS(s, 'c');
	/* none that is wanted: the group is left */
	f->imsf_fmode = MCAST_INCLUDE;
	OK(setsockopt(s, IPPROTO_IP, IP_MSFILTER, f, IP_MSFILTER_SIZE(0)));
	FAILS(setsockopt(s, IPPROTO_IP, IP_MSFILTER, f, IP_MSFILTER_SIZE(0)), EADDRNOTAVAIL);
	f->imsf_numsrc = 11;
	FAILS(setsockopt(s, IPPROTO_IP, IP_MSFILTER, f, IP_MSFILTER_SIZE(11)), ENOBUFS);
}

static void at4(struct sockaddr_storage *to, const char *text) {
	struct sockaddr_in *a = (void *)to;
	a->sin_family = AF_INET;
	a->sin_addr = ip(text);
}

static void at6(struct sockaddr_storage *to, const char *text) {
	struct sockaddr_in6 *a = (void *)to;
	a->sin6_family = AF_INET6;
	inet_pton(AF_INET6, text, &a->sin6_addr);
}

TEST(protocol_independent_names) {
	own_network_up();
	int s = receiver();
	struct group_source_req r = { .gsr_interface = 1 };
	at4(&r.gsr_group, "239.1.2.3");
	FAILS(setsockopt(s, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &r, sizeof r), EADDRNOTAVAIL);
	at4(&r.gsr_source, "127.0.0.2");
	FAILS(setsockopt(s, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &r, sizeof r - 1), EINVAL);
	OK(setsockopt(s, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &r, sizeof r));
	send_from("127.0.0.1", 'a');
	send_from("127.0.0.2", 'b');
	NEXT_IS(s, 'b');
	NEXT_IS(s, 0);
	FAILS(setsockopt(s, IPPROTO_IP, MCAST_BLOCK_SOURCE, &r, sizeof r), EINVAL);
	OK(setsockopt(s, IPPROTO_IP, MCAST_LEAVE_SOURCE_GROUP, &r, sizeof r));
	struct group_req g = { .gr_interface = 1 };
	at4(&g.gr_group, "239.1.2.3");
	OK(setsockopt(s, IPPROTO_IP, MCAST_JOIN_GROUP, &g, sizeof g));
	OK(setsockopt(s, IPPROTO_IP, MCAST_BLOCK_SOURCE, &r, sizeof r));
	send_from("127.0.0.2", 'c');
	NEXT_IS(s, 0);
	char room[GROUP_FILTER_SIZE(3)] = "";
	struct group_filter *f = (void *)room;
	f->gf_interface = 1;
	f->gf_numsrc = 3;
	at4(&f->gf_group, "239.1.2.3");
	socklen_t n = sizeof room;
	OK(getsockopt(s, IPPROTO_IP, MCAST_MSFILTER, f, &n));
	EQUAL(n, GROUP_FILTER_SIZE(1));
	EQUAL(f->gf_fmode, MCAST_EXCLUDE);
	EQUAL(f->gf_numsrc, 1);
	EQUAL(((struct sockaddr_in *)&f->gf_slist[0])->sin_addr.s_addr, ip("127.0.0.2").s_addr);
	OK(setsockopt(s, IPPROTO_IP, MCAST_UNBLOCK_SOURCE, &r, sizeof r));
	send_from("127.0.0.2", 'd');
	NEXT_IS(s, 'd');
}

/* add_address gives an interface an address of IPv6 that is good at once. */
static void add_address(int n, int index, const char *text) {
	struct request r;
	struct ifaddrmsg a = { .ifa_family = AF_INET6, .ifa_prefixlen = 64, .ifa_index = index, .ifa_flags = IFA_F_NODAD };
	begin(&r, RTM_NEWADDR, NLM_F_CREATE, &a, sizeof a);
	attr_ip(&r, IFA_LOCAL, text);
	EQUAL(ask(n, &r), 0);
}

/* send6_from sends one byte to the group of IPv6. */
static void send6_from(const char *source, char c, int index) {
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	struct sockaddr_in6 from = { .sin6_family = AF_INET6 }, to = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	inet_pton(AF_INET6, source, &from.sin6_addr);
	inet_pton(AF_INET6, "ff05::77", &to.sin6_addr);
	OK(bind(s, (void *)&from, sizeof from));
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index));
	EQUAL(sendto(s, &c, 1, 0, (void *)&to, sizeof to), 1);
	close(s);
}

TEST(sources_of_ipv6) {
	own_network_up();
	int n = netlink(NETLINK_ROUTE);
	EQUAL(add_pair(n, "one", "two"), 0);
	int index = if_nametoindex("one");
	EQUAL(set_up(n, index, 1), 0);
	EQUAL(set_up(n, if_nametoindex("two"), 1), 0);
	add_address(n, index, "2001:db8::1");
	add_address(n, index, "2001:db8::2");
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0)), off = 0, v;
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	OK(bind(s, (void *)&a, sizeof a));
	struct group_source_req r = { .gsr_interface = index };
	at6(&r.gsr_group, "ff05::77");
	at6(&r.gsr_source, "2001:db8::1");
	FAILS(setsockopt(s, IPPROTO_IPV6, MCAST_BLOCK_SOURCE, &r, sizeof r), EINVAL);
	OK(setsockopt(s, IPPROTO_IPV6, MCAST_JOIN_SOURCE_GROUP, &r, sizeof r));
	send6_from("2001:db8::2", 'a', index);
	send6_from("2001:db8::1", 'b', index);
	NEXT_IS(s, 'b');
	NEXT_IS(s, 0);
	at6(&r.gsr_source, "2001:db8::2");
	OK(setsockopt(s, IPPROTO_IPV6, MCAST_JOIN_SOURCE_GROUP, &r, sizeof r));
	send6_from("2001:db8::2", 'c', index);
	NEXT_IS(s, 'c');
	char room[GROUP_FILTER_SIZE(2)] = "";
	struct group_filter *f = (void *)room;
	f->gf_interface = index;
	f->gf_numsrc = 2;
	at6(&f->gf_group, "ff05::77");
	socklen_t size = sizeof room;
	OK(getsockopt(s, IPPROTO_IPV6, MCAST_MSFILTER, f, &size));
	EQUAL(size, GROUP_FILTER_SIZE(2));
	EQUAL(f->gf_fmode, MCAST_INCLUDE);
	EQUAL(f->gf_slist[1].ss_family, AF_INET6);
	f->gf_fmode = MCAST_EXCLUDE;
	OK(setsockopt(s, IPPROTO_IPV6, MCAST_MSFILTER, f, GROUP_FILTER_SIZE(2)));
	send6_from("2001:db8::2", 'd', index);
	NEXT_IS(s, 0);
	f->gf_fmode = MCAST_INCLUDE;
	f->gf_numsrc = 0;
	OK(setsockopt(s, IPPROTO_IPV6, MCAST_MSFILTER, f, GROUP_FILTER_SIZE(0)));
	/* another socket has joined: only what was joined here is received here */
	int other = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	struct ipv6_mreq m = { .ipv6mr_interface = index };
	inet_pton(AF_INET6, "ff05::77", &m.ipv6mr_multiaddr);
	OK(setsockopt(other, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof m));
	send6_from("2001:db8::2", 'e', index);
	NEXT_IS(s, 'e');
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_ALL, &off, sizeof off));
	size = sizeof v;
	OK(getsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_ALL, &v, &size));
	EQUAL(v, 0);
	send6_from("2001:db8::2", 'f', index);
	NEXT_IS(s, 0);
}

/* A socket of IPv6 that takes IPv4 too judges groups of IPv4 by IPv4's option. */
TEST(groups_of_ipv4_at_a_socket_of_ipv6) {
	own_network_up();
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0)), other = receiver(), on = 1, off = 0, v;
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	struct ip_mreq m = { ip("239.1.2.3"), ip("127.0.0.1") };
	OK(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	OK(bind(s, (void *)&a, sizeof a));
	OK(setsockopt(other, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	OK(setsockopt(s, IPPROTO_IP, IP_MULTICAST_ALL, &on, sizeof on)); /* at first Linux has it off here */
	send_from("127.0.0.1", 'a');
	NEXT_IS(s, 'a');
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_ALL, &off, sizeof off));
	send_from("127.0.0.1", 'b');
	NEXT_IS(s, 'b');
	OK(setsockopt(s, IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof off));
	socklen_t n = sizeof v;
	OK(getsockopt(s, IPPROTO_IP, IP_MULTICAST_ALL, &v, &n));
	EQUAL(v, 0);
	send_from("127.0.0.1", 'c');
	NEXT_IS(s, 0);
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	send_from("127.0.0.1", 'd');
	NEXT_IS(s, 'd');
}

/* send_as sends one byte to the group with the interface and the source that it is told. */
static int send_as(int s, int index, const char *source) {
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = ip("239.1.2.3") };
	union { char b[CMSG_SPACE(sizeof(struct in_pktinfo))]; struct cmsghdr h; } c = { .h = { CMSG_LEN(sizeof(struct in_pktinfo)), IPPROTO_IP, IP_PKTINFO } };
	struct in_pktinfo i = { .ipi_ifindex = index, .ipi_spec_dst = ip(source) };
	memcpy(CMSG_DATA(&c.h), &i, sizeof i);
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	return sendmsg(s, &m, 0);
}

/* A datagram to a group may name its source, and need not name the interface then. */
TEST(source_of_a_datagram_to_a_group) {
	own_network_up();
	int r = receiver(), s = OK(socket(AF_INET, SOCK_DGRAM, 0)), on = 1, ttl = 7;
	struct ip_mreq m = { ip("239.1.2.3"), ip("127.0.0.1") };
	OK(setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	OK(setsockopt(r, IPPROTO_IP, IP_RECVTTL, &on, sizeof on));
	for (int i = 0; i < 3; i++) {
		struct sockaddr_in from;
		char b[9], control[100];
		struct iovec v = { b, 9 };
		struct msghdr h = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		EQUAL(send_as(s, i != 1, "127.0.0.2"), 1);
		EQUAL(recvmsg(r, &h, MSG_DONTWAIT), 1);
		EQUAL(from.sin_addr.s_addr, ip("127.0.0.2").s_addr);
		EQUAL(*(int *)CMSG_DATA(CMSG_FIRSTHDR(&h)), i < 2 ? 1 : 7);
		if (i == 1)
			OK(setsockopt(s, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof ttl));
	}
}
