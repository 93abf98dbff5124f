/* AF_NETLINK sockets and NETLINK_ROUTE: netlink(7), rtnetlink(7). */
#include "netlink.h"
#include <ifaddrs.h>
#include <linux/genetlink.h>

TEST(kinds_of_sockets) {
	FAILS(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE), ESOCKTNOSUPPORT);
	FAILS(socket(AF_NETLINK, SOCK_SEQPACKET, NETLINK_ROUTE), ESOCKTNOSUPPORT);
	FAILS(socket(AF_NETLINK, SOCK_RAW, 31), EPROTONOSUPPORT);
	int s = netlink(NETLINK_ROUTE), v;
	socklen_t n = sizeof v;
	OK(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &n));
	EQUAL(v, SOCK_RAW);
	OK(getsockopt(s, SOL_SOCKET, SO_DOMAIN, &v, &n));
	EQUAL(v, AF_NETLINK);
	OK(getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &v, &n));
	EQUAL(v, NETLINK_ROUTE);
	FAILS(listen(s, 1), EOPNOTSUPP);
	FAILS(accept(s, NULL, NULL), EOPNOTSUPP);
	FAILS(shutdown(s, SHUT_RD), EOPNOTSUPP);
	int pair[2];
	FAILS(socketpair(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, pair), EOPNOTSUPP);
	char c;
	FAILS(recv(s, &c, 1, MSG_DONTWAIT), EAGAIN);
	FAILS(recv(s, &c, 1, MSG_OOB), EOPNOTSUPP);
}

static struct sockaddr_nl name_of(int s) {
	struct sockaddr_nl a;
	socklen_t n = sizeof a;
	OK(getsockname(s, (void *)&a, &n));
	EQUAL(n, sizeof a);
	EQUAL(a.nl_family, AF_NETLINK);
	return a;
}

TEST(port_ids) {
	int a = netlink(NETLINK_ROUTE), b = netlink(NETLINK_ROUTE);
	EQUAL(name_of(a).nl_pid, 0);
	struct sockaddr_nl n = { .nl_family = AF_NETLINK };
	OK(bind(a, (void *)&n, sizeof n));
	EQUAL(name_of(a).nl_pid, getpid());
	n.nl_pid = getpid();
	FAILS(bind(b, (void *)&n, sizeof n), EADDRINUSE);
	n.nl_pid = 0;
	OK(bind(b, (void *)&n, sizeof n));
	CHECK((int)name_of(b).nl_pid < 0);
	n.nl_pid = 1;
	FAILS(bind(a, (void *)&n, sizeof n), EINVAL);
	n.nl_pid = getpid();
	n.nl_groups = RTMGRP_LINK;
	OK(bind(a, (void *)&n, sizeof n));
	EQUAL(name_of(a).nl_groups, RTMGRP_LINK);
	n.nl_family = AF_UNIX;
	FAILS(bind(a, (void *)&n, sizeof n), EINVAL);
	FAILS(bind(a, (void *)&n, 4), EINVAL);
	/* Another protocol has numbers of its own. */
	int c = netlink(NETLINK_GENERIC);
	OK(connect(c, (void *)&(struct sockaddr_nl){ .nl_family = AF_NETLINK }, sizeof n));
	EQUAL(name_of(c).nl_pid, getpid());
	close(a);
	int d = netlink(NETLINK_ROUTE);
	n = (struct sockaddr_nl){ .nl_family = AF_NETLINK };
	OK(bind(d, (void *)&n, sizeof n));
	EQUAL(name_of(d).nl_pid, getpid());
}

TEST(memberships) {
	int s = netlink(NETLINK_ROUTE), g = RTNLGRP_LINK;
	unsigned list[4] = { 0 };
	socklen_t n = sizeof list;
	OK(getsockopt(s, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, list, &n));
	EQUAL(n, 0); /* nobody has asked for any */
	OK(setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &g, sizeof g));
	EQUAL(name_of(s).nl_groups, RTMGRP_LINK);
	EQUAL(name_of(s).nl_pid, 0);
	g = RTNLGRP_NEXTHOP;
	OK(setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &g, sizeof g));
	n = sizeof list;
	OK(getsockopt(s, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, list, &n));
	CHECK(list[0] == (1u << (RTNLGRP_LINK - 1) | 1u << (RTNLGRP_NEXTHOP - 1)));
	g = RTNLGRP_LINK;
	OK(setsockopt(s, SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, &g, sizeof g));
	EQUAL(name_of(s).nl_groups, 1u << (RTNLGRP_NEXTHOP - 1));
	g = 0;
	FAILS(setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &g, sizeof g), EINVAL);
	g = 1000;
	FAILS(setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &g, sizeof g), EINVAL);
	FAILS(setsockopt(s, SOL_NETLINK, 999, &g, sizeof g), ENOPROTOOPT);
	int on = 1, v = 0;
	n = sizeof v;
	OK(setsockopt(s, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on));
	OK(getsockopt(s, SOL_NETLINK, NETLINK_EXT_ACK, &v, &n));
	EQUAL(v, 1);
	OK(setsockopt(s, SOL_SOCKET, SO_PASSSEC, &on, sizeof on));
	v = 0;
	OK(getsockopt(s, SOL_SOCKET, SO_PASSSEC, &v, &n));
	EQUAL(v, 1);
}

static int seen_lo;
static void is_lo(struct nlmsghdr *h) {
	struct ifinfomsg *i = NLMSG_DATA(h);
	EQUAL(h->nlmsg_type, RTM_NEWLINK);
	if (i->ifi_index != 1)
		return;
	seen_lo = 1;
	EQUAL(i->ifi_type, ARPHRD_LOOPBACK);
	EQUAL(i->ifi_flags, IFF_LOOPBACK);
	struct rtattr *a = find(h, sizeof *i, IFLA_IFNAME);
	CHECK(a && !strcmp(RTA_DATA(a), "lo"));
	a = find(h, sizeof *i, IFLA_MTU);
	CHECK(a && *(unsigned *)RTA_DATA(a) == 65536);
	a = find(h, sizeof *i, IFLA_ADDRESS);
	CHECK(a && RTA_PAYLOAD(a) == 6);
	a = find(h, sizeof *i, IFLA_OPERSTATE);
	CHECK(a && *(unsigned char *)RTA_DATA(a) == 2);
	CHECK(find(h, sizeof *i, IFLA_STATS64) && find(h, sizeof *i, IFLA_TXQLEN) && find(h, sizeof *i, IFLA_QDISC));
}

TEST(dump_of_links) {
	own_network();
	int s = netlink(NETLINK_ROUTE);
	struct request r;
	struct ifinfomsg i = { 0 };
	begin(&r, RTM_GETLINK, 0, &i, sizeof i);
	CHECK(dump(s, &r, is_lo) >= 1);
	CHECK(seen_lo);
	/* With no more than a family, as old programs do. */
	struct rtgenmsg g = { .rtgen_family = AF_UNSPEC };
	begin(&r, RTM_GETLINK, 0, &g, sizeof g);
	CHECK(dump(s, &r, is_lo) >= 1);
	struct ifaddrmsg a = { 0 };
	begin(&r, RTM_GETADDR, 0, &a, sizeof a);
	EQUAL(dump(s, &r, NULL), 0);
}

TEST(peek_tells_the_size) {
	own_network();
	int s = netlink(NETLINK_ROUTE);
	struct request r;
	struct ifinfomsg i = { 0 };
	begin(&r, RTM_GETLINK, NLM_F_DUMP, &i, sizeof i);
	send_to_kernel(s, &r);
	struct sockaddr_nl from = { 0 };
	char b[32768];
	struct iovec none = { NULL, 0 }, all = { b, sizeof b };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &none, .msg_iovlen = 1 };
	int n = OK(recvmsg(s, &m, MSG_PEEK | MSG_TRUNC));
	CHECK(n > 100);
	CHECK(m.msg_flags & MSG_TRUNC);
	EQUAL(from.nl_family, AF_NETLINK);
	EQUAL(from.nl_pid, 0);
	m.msg_iov = &all;
	EQUAL(recvmsg(s, &m, 0), n);
	CHECK(!(m.msg_flags & MSG_TRUNC));
	/* The end comes in a datagram of its own. What does not fit is lost. */
	EQUAL(recv(s, b, 4, MSG_TRUNC), 20);
	FAILS(recv(s, b, sizeof b, MSG_DONTWAIT), EAGAIN);
}

TEST(one_dump_at_a_time) {
	int s = netlink(NETLINK_ROUTE);
	struct request r;
	struct ifinfomsg i = { 0 };
	begin(&r, RTM_GETLINK, NLM_F_DUMP, &i, sizeof i);
	send_to_kernel(s, &r);
	send_to_kernel(s, &r);
	char b[32768];
	for (int busy = 0; !busy;) {
		int n = OK(recv(s, b, sizeof b, 0));
		for (struct nlmsghdr *h = (void *)b; NLMSG_OK(h, (unsigned)n); h = NLMSG_NEXT(h, n))
			if (h->nlmsg_type == NLMSG_ERROR) {
				EQUAL(((struct nlmsgerr *)NLMSG_DATA(h))->error, -EBUSY);
				busy = 1;
			}
	}
}

TEST(errors_and_acknowledgements) {
	own_network();
	int s = netlink(NETLINK_ROUTE), on = 1;
	struct request r;
	struct ifinfomsg i = { .ifi_index = 99 };
	char b[4096];
	begin(&r, RTM_GETLINK, 0, &i, sizeof i);
	EQUAL(answer(s, &r, b, sizeof b), -ENODEV);
	struct nlmsghdr *h = (void *)b;
	struct nlmsgerr *e = NLMSG_DATA(h);
	EQUAL(h->nlmsg_seq, 7);
	EQUAL(h->nlmsg_len, NLMSG_LENGTH(sizeof e->error) + r.h.nlmsg_len);
	CHECK(!memcmp(&e->msg, &r.h, sizeof r.h));
	/* A success has the header alone. */
	i.ifi_index = 1;
	begin(&r, RTM_NEWLINK, NLM_F_ACK, &i, sizeof i);
	EQUAL(answer(s, &r, b, sizeof b), 0);
	EQUAL(h->nlmsg_type, NLMSG_ERROR);
	EQUAL(h->nlmsg_len, NLMSG_LENGTH(sizeof *e));
	EQUAL(h->nlmsg_flags, NLM_F_CAPPED);
	/* So has an error, if that is wanted. */
	OK(setsockopt(s, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on));
	i.ifi_index = 99;
	begin(&r, RTM_GETLINK, 0, &i, sizeof i);
	EQUAL(answer(s, &r, b, sizeof b), -ENODEV);
	EQUAL(h->nlmsg_len, NLMSG_LENGTH(sizeof *e));
	/* And a sentence. */
	OK(setsockopt(s, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on));
	struct rtmsg m = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_type = RTN_UNICAST, .rtm_protocol = RTPROT_BOOT };
	begin(&r, RTM_NEWROUTE, NLM_F_CREATE, &m, sizeof m);
	attr_ip(&r, RTA_GATEWAY, "192.0.2.1");
	EQUAL(answer(s, &r, b, sizeof b), -ENETUNREACH);
	CHECK(h->nlmsg_flags & NLM_F_ACK_TLVS);
	struct rtattr *a = (void *)(b + NLMSG_LENGTH(sizeof *e));
	EQUAL(a->rta_type, NLMSGERR_ATTR_MSG);
	CHECK(strlen(RTA_DATA(a)) > 0);
	/* There is nothing of that type. */
	begin(&r, RTM_BASE + 1000, 0, &i, sizeof i);
	EQUAL(answer(s, &r, b, sizeof b), -EOPNOTSUPP);
	/* What is no request does nothing. */
	i = (struct ifinfomsg){ .ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	begin(&r, RTM_NEWLINK, 0, &i, sizeof i);
	r.h.nlmsg_flags = NLM_F_ACK;
	EQUAL(answer(s, &r, b, sizeof b), 0);
	struct ifreq q = { .ifr_name = "lo" };
	OK(ioctl(s, SIOCGIFFLAGS, &q));
	EQUAL(q.ifr_flags, IFF_LOOPBACK);
	/* What is no whole message is not answered. */
	begin(&r, RTM_GETLINK, NLM_F_ACK, &i, sizeof i);
	struct sockaddr_nl k = { .nl_family = AF_NETLINK };
	OK(sendto(s, &r, r.h.nlmsg_len - 1, 0, (void *)&k, sizeof k));
	OK(sendto(s, &r, 4, 0, (void *)&k, sizeof k));
	FAILS(recv(s, b, sizeof b, MSG_DONTWAIT), EAGAIN);
	/* A message of no meaning is acknowledged. */
	begin(&r, NLMSG_NOOP, NLM_F_ACK, NULL, 0);
	EQUAL(answer(s, &r, b, sizeof b), 0);
	EQUAL(h->nlmsg_type, NLMSG_ERROR);
}

TEST(strict_checks) {
	int s = netlink(NETLINK_ROUTE), on = 1;
	OK(setsockopt(s, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on));
	struct request r;
	struct rtgenmsg g = { .rtgen_family = AF_UNSPEC };
	begin(&r, RTM_GETADDR, 0, &g, sizeof g);
	EQUAL(dump(s, &r, NULL), -EINVAL);
	struct ifaddrmsg a = { .ifa_prefixlen = 3 };
	begin(&r, RTM_GETADDR, 0, &a, sizeof a);
	EQUAL(dump(s, &r, NULL), -EINVAL);
	a = (struct ifaddrmsg){ .ifa_index = 1 << 20, .ifa_family = AF_INET };
	begin(&r, RTM_GETADDR, 0, &a, sizeof a);
	EQUAL(dump(s, &r, NULL), -ENODEV);
}

TEST(loopback_comes_up) {
	own_network();
	int s = netlink(NETLINK_ROUTE), e = netlink(NETLINK_ROUTE);
	struct sockaddr_nl n = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR };
	OK(bind(e, (void *)&n, sizeof n));
	int u = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	FAILS(connect(u, (void *)&to, sizeof to), ENETUNREACH);
	EQUAL(set_up(s, 1, 1), 0);
	OK(connect(u, (void *)&to, sizeof to));
	/* It is told: the link, then its address. */
	char b[8192];
	OK(recv(e, b, sizeof b, 0));
	struct nlmsghdr *h = (void *)b;
	EQUAL(h->nlmsg_type, RTM_NEWLINK);
	EQUAL(((struct ifinfomsg *)NLMSG_DATA(h))->ifi_flags, IFF_UP | IFF_LOOPBACK | IFF_RUNNING | 0x10000);
	EQUAL(h->nlmsg_seq, 0);
	OK(recv(e, b, sizeof b, 0));
	EQUAL(h->nlmsg_type, RTM_NEWADDR);
	struct ifaddrmsg *a = NLMSG_DATA(h);
	EQUAL(a->ifa_prefixlen, 8);
	EQUAL(a->ifa_scope, RT_SCOPE_HOST);
	struct rtattr *local = find(h, sizeof *a, IFA_LOCAL);
	CHECK(local && !memcmp(RTA_DATA(local), "\x7f\0\0\1", 4));
	EQUAL(set_up(s, 1, 0), 0);
	OK(recv(e, b, sizeof b, 0));
	EQUAL(h->nlmsg_type, RTM_NEWLINK);
	EQUAL(((struct ifinfomsg *)NLMSG_DATA(h))->ifi_flags, IFF_LOOPBACK);
}

TEST(pair_of_links) {
	own_network();
	int s = netlink(NETLINK_ROUTE);
	EQUAL(add_pair(s, "left", "right"), 0);
	int left = if_nametoindex("left"), right = if_nametoindex("right");
	CHECK(left > 1 && right > 1);
	EQUAL(add_pair(s, "left", "other"), -EEXIST);
	EQUAL(add_pair(s, "other", "right"), -EEXIST);
	EQUAL(if_nametoindex("other"), 0);
	EQUAL(add_pair(s, "a/b", "other"), -EINVAL);
	struct request r;
	struct ifinfomsg i = { 0 };
	char b[8192];
	begin(&r, RTM_GETLINK, 0, &i, sizeof i);
	attr_text(&r, IFLA_IFNAME, "left");
	EQUAL(answer(s, &r, b, sizeof b), 0);
	struct nlmsghdr *h = (void *)b;
	struct ifinfomsg *got = NLMSG_DATA(h);
	EQUAL(got->ifi_index, left);
	EQUAL(got->ifi_type, ARPHRD_ETHER);
	EQUAL(got->ifi_flags, IFF_BROADCAST | IFF_MULTICAST);
	struct rtattr *a = find(h, sizeof *got, IFLA_LINK);
	CHECK(a && *(int *)RTA_DATA(a) == right);
	EQUAL(set_up(s, left, 1), 0);
	EQUAL(set_up(s, right, 1), 0);
	i.ifi_index = left;
	do { /* Linux may have a thread of its own notice that both ends are up */
		begin(&r, RTM_GETLINK, 0, &i, sizeof i);
		EQUAL(answer(s, &r, b, sizeof b), 0);
	} while (!(got->ifi_flags & IFF_RUNNING));
	EQUAL(got->ifi_flags, IFF_BROADCAST | IFF_MULTICAST | IFF_UP | IFF_RUNNING | 0x10000);
	/* A name, an MTU and an address. */
	begin(&r, RTM_SETLINK, 0, &i, sizeof i);
	attr_int(&r, IFLA_MTU, 1400);
	attr(&r, IFLA_ADDRESS, "\x02\x01\x02\x03\x04\x05", 6);
	EQUAL(ask(s, &r), 0);
	EQUAL(set_up(s, left, 0), 0);
	begin(&r, RTM_SETLINK, 0, &i, sizeof i);
	attr_text(&r, IFLA_IFNAME, "gauche");
	EQUAL(ask(s, &r), 0);
	EQUAL(if_nametoindex("gauche"), left);
	begin(&r, RTM_GETLINK, 0, &i, sizeof i);
	EQUAL(answer(s, &r, b, sizeof b), 0);
	a = find(h, sizeof *got, IFLA_MTU);
	CHECK(a && *(int *)RTA_DATA(a) == 1400);
	a = find(h, sizeof *got, IFLA_ADDRESS);
	CHECK(a && !memcmp(RTA_DATA(a), "\x02\x01\x02\x03\x04\x05", 6));
	begin(&r, RTM_SETLINK, 0, &i, sizeof i);
	attr_int(&r, IFLA_MTU, 10);
	EQUAL(ask(s, &r), -EINVAL);
	begin(&r, RTM_SETLINK, 0, &i, sizeof i);
	attr(&r, IFLA_ADDRESS, "\x01\x01\x02\x03\x04\x05", 6);
	EQUAL(ask(s, &r), -EADDRNOTAVAIL);
	EQUAL(delete_link(s, right), 0);
	EQUAL(if_nametoindex("gauche"), 0);
	EQUAL(delete_link(s, left), -ENODEV);
	EQUAL(delete_link(s, 1), -EOPNOTSUPP);
}

static int addresses;
static void count_address(struct nlmsghdr *h) {
	struct ifaddrmsg *a = NLMSG_DATA(h);
	if (a->ifa_family == AF_INET)
		addresses++;
}

TEST(addresses_of_links) {
	own_network();
	int s = netlink(NETLINK_ROUTE);
	EQUAL(change_address(s, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, 1, "192.0.2.1", 24), 0);
	EQUAL(change_address(s, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, 1, "192.0.2.1", 24), -EEXIST);
	EQUAL(change_address(s, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, 1, "192.0.2.2", 24), 0);
	EQUAL(change_address(s, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, 1, "192.0.2.3", 33), -EINVAL);
	EQUAL(change_address(s, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, 77, "192.0.2.3", 24), -ENODEV);
	EQUAL(change_address(s, RTM_DELADDR, 0, 1, "192.0.2.9", 24), -EADDRNOTAVAIL);
	struct request r;
	struct ifaddrmsg m = { .ifa_family = AF_INET };
	begin(&r, RTM_GETADDR, 0, &m, sizeof m);
	EQUAL(dump(s, &r, count_address), 2);
	EQUAL(addresses, 2);
	/* The second address of a network goes with the first one. */
	EQUAL(change_address(s, RTM_DELADDR, 0, 1, "192.0.2.1", 24), 0);
	begin(&r, RTM_GETADDR, 0, &m, sizeof m);
	EQUAL(dump(s, &r, NULL), 0);
}

TEST(routes) {
	own_network();
	int s = netlink(NETLINK_ROUTE);
	EQUAL(add_pair(s, "a", "b"), 0);
	int a = if_nametoindex("a"), new = NLM_F_CREATE | NLM_F_EXCL;
	EQUAL(change_address(s, RTM_NEWADDR, new, a, "192.0.2.1", 24), 0);
	EQUAL(change_route(s, RTM_NEWROUTE, new, "198.51.100.0", 24, NULL, a), -ENETDOWN);
	EQUAL(set_up(s, a, 1), 0);
	EQUAL(set_up(s, if_nametoindex("b"), 1), 0);
	EQUAL(change_route(s, RTM_NEWROUTE, new, "198.51.100.0", 24, "203.0.113.1", 0), -ENETUNREACH);
	EQUAL(change_route(s, RTM_NEWROUTE, new, "198.51.100.0", 24, "192.0.2.7", 0), 0);
	EQUAL(change_route(s, RTM_NEWROUTE, new, "198.51.100.0", 24, "192.0.2.8", 0), -EEXIST);
	EQUAL(change_route(s, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, "198.51.100.0", 24, "192.0.2.8", 0), 0);
	EQUAL(change_route(s, RTM_NEWROUTE, new, "198.51.100.9", 24, "192.0.2.7", 0), -EINVAL);
	EQUAL(change_route(s, RTM_NEWROUTE, new, "0.0.0.0", 0, "192.0.2.9", a), 0);
	/* Which way would a packet go? */
	struct { const char *to, *via; } ways[] = { { "198.51.100.5", "192.0.2.8" }, { "203.0.113.5", "192.0.2.9" }, { "192.0.2.77", NULL } };
	for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
		struct request r;
		struct rtmsg m = { .rtm_family = AF_INET, .rtm_dst_len = 32 };
		char b[4096];
		begin(&r, RTM_GETROUTE, 0, &m, sizeof m);
		attr_ip(&r, RTA_DST, ways[i].to);
		EQUAL(answer(s, &r, b, sizeof b), 0);
		struct nlmsghdr *h = (void *)b;
		struct rtattr *via = find(h, sizeof m, RTA_GATEWAY), *oif = find(h, sizeof m, RTA_OIF), *src = find(h, sizeof m, RTA_PREFSRC);
		CHECK(oif && *(int *)RTA_DATA(oif) == a);
		CHECK(src && *(unsigned *)RTA_DATA(src) == inet_addr("192.0.2.1"));
		CHECK(!via == !ways[i].via);
		if (via)
			CHECK(*(unsigned *)RTA_DATA(via) == inet_addr(ways[i].via));
	}
	/* And which way from an address? */
	const char *sources[] = { "192.0.2.1", "192.0.2.2" };
	for (int i = 0; i < 2; i++) {
		struct request r;
		struct rtmsg m = { .rtm_family = AF_INET, .rtm_dst_len = 32, .rtm_src_len = 32 };
		char b[4096];
		begin(&r, RTM_GETROUTE, 0, &m, sizeof m);
		attr_ip(&r, RTA_DST, "198.51.100.5");
		attr_ip(&r, RTA_SRC, sources[i]);
		attr_int(&r, RTA_MARK, 5);
		EQUAL(answer(s, &r, b, sizeof b), i ? -ENETUNREACH : 0);
		if (i)
			break;
		struct nlmsghdr *h = (void *)b;
		struct rtattr *src = find(h, sizeof m, RTA_SRC), *mark = find(h, sizeof m, RTA_MARK);
		EQUAL(((struct rtmsg *)NLMSG_DATA(h))->rtm_src_len, 32);
		CHECK(src && *(unsigned *)RTA_DATA(src) == inet_addr("192.0.2.1"));
		CHECK(mark && *(int *)RTA_DATA(mark) == 5);
		CHECK(!find(h, sizeof m, RTA_PREFSRC));
	}
	EQUAL(change_route(s, RTM_DELROUTE, 0, "198.51.100.0", 24, NULL, 0), 0);
	EQUAL(change_route(s, RTM_DELROUTE, 0, "198.51.100.0", 24, NULL, 0), -ESRCH);
	/* Routes go with their link, and those to the networks of its addresses come back. */
	EQUAL(set_up(s, a, 0), 0);
	EQUAL(change_route(s, RTM_DELROUTE, 0, "0.0.0.0", 0, NULL, 0), -ESRCH);
	EQUAL(set_up(s, a, 1), 0);
	EQUAL(change_route(s, RTM_DELROUTE, 0, "192.0.2.0", 24, NULL, 0), 0);
}

TEST(ipv6_addresses_and_routes) {
	own_network();
	int s = netlink(NETLINK_ROUTE), new = NLM_F_CREATE | NLM_F_EXCL;
	EQUAL(add_pair(s, "a", "b"), 0);
	int a = if_nametoindex("a");
	EQUAL(set_up(s, a, 1), 0);
	EQUAL(set_up(s, if_nametoindex("b"), 1), 0);
	EQUAL(change_address(s, RTM_NEWADDR, new, a, "2001:db8::1", 64), 0);
	EQUAL(change_address(s, RTM_NEWADDR, new, a, "2001:db8::1", 64), -EEXIST);
	EQUAL(change_route(s, RTM_NEWROUTE, new, "2001:db8:1::", 48, "2001:db8::7", 0), 0);
	EQUAL(change_route(s, RTM_NEWROUTE, new, "2001:db8:1::", 48, "2001:db8::7", 0), -EEXIST);
	EQUAL(change_route(s, RTM_DELROUTE, 0, "2001:db8:1::", 48, NULL, 0), 0);
	EQUAL(change_route(s, RTM_DELROUTE, 0, "2001:db8:1::", 48, NULL, 0), -ESRCH);
	EQUAL(change_address(s, RTM_DELADDR, 0, a, "2001:db8::1", 64), 0);
	EQUAL(change_address(s, RTM_DELADDR, 0, a, "2001:db8::1", 64), -EADDRNOTAVAIL);
}

/* ip_counter is one of a protocol's in /proc/net/snmp, by its place in the line. */
static unsigned long ip_counter(int place) {
	char b[16384], *line;
	int fd = OK(open("/proc/self/net/snmp", O_RDONLY)), n = OK(read(fd, b, sizeof b - 1));
	b[n] = 0;
	close(fd);
	CHECK((line = strstr(strstr(b, "Ip:") + 1, "Ip:")) != NULL);
	for (; place > 0; place--) line = strchr(line, ' ') + 1;
	return strtoul(line, NULL, 10);
}

/* What an interface has carried stays counted when it has gone. */
TEST(counters_of_gone_links) {
	enum { RECEIVED = 3, SENT = 10 };
	own_network();
	int s = netlink(NETLINK_ROUTE), u = OK(socket(AF_INET, SOCK_DGRAM, 0)), on = 1, index;
	OK(add_pair(s, "left", "right"));
	OK(set_up(s, index = if_nametoindex("left"), 1));
	OK(set_up(s, if_nametoindex("right"), 1));
	EQUAL(change_address(s, RTM_NEWADDR, NLM_F_CREATE, index, "10.1.1.1", 24), 0);
	OK(setsockopt(u, SOL_SOCKET, SO_BROADCAST, &on, sizeof on));
	OK(setsockopt(u, SOL_SOCKET, SO_BINDTODEVICE, "left", 5));
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = INADDR_BROADCAST };
	/* What is sent before a thread of Linux's own has noticed that both ends are up is lost. */
	for (int i = 0; i < 20 || ip_counter(RECEIVED) < 20; i++) {
		EQUAL(sendto(u, "x", 1, 0, (void *)&to, sizeof to), 1);
		usleep(1000);
	}
	unsigned long sent = ip_counter(SENT);
	CHECK(sent >= 20);
	EQUAL(delete_link(s, index), 0);
	CHECK(ip_counter(SENT) >= sent);
	CHECK(ip_counter(RECEIVED) >= 20);
}

/* Who connects to all hosts needs SO_BROADCAST, once there is a way to them. */
TEST(connecting_to_all_hosts) {
	own_network_up();
	int s = netlink(NETLINK_ROUTE), u = OK(socket(AF_INET, SOCK_DGRAM, 0)), on = 1;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = INADDR_BROADCAST };
	FAILS(connect(u, (void *)&to, sizeof to), ENETUNREACH);
	EQUAL(change_route(s, RTM_NEWROUTE, NLM_F_CREATE, "0.0.0.0", 0, NULL, 1), 0);
	FAILS(connect(u, (void *)&to, sizeof to), EACCES);
	OK(setsockopt(u, SOL_SOCKET, SO_BROADCAST, &on, sizeof on));
	OK(connect(u, (void *)&to, sizeof to));
	to.sin_addr.s_addr = htonl(0x7fffffff);
	OK(connect(u, (void *)&to, sizeof to));
	on = 0;
	OK(setsockopt(u, SOL_SOCKET, SO_BROADCAST, &on, sizeof on));
	FAILS(connect(u, (void *)&to, sizeof to), EACCES);
}

static int tables[256];
static void count_table(struct nlmsghdr *h) { tables[((struct rtmsg *)NLMSG_DATA(h))->rtm_table]++; }

TEST(rules) {
	own_network();
	int s = netlink(NETLINK_ROUTE);
	struct request r;
	struct rtmsg m = { .rtm_family = AF_INET };
	begin(&r, RTM_GETRULE, 0, &m, sizeof m);
	EQUAL(dump(s, &r, count_table), 3);
	CHECK(tables[RT_TABLE_LOCAL] == 1 && tables[RT_TABLE_MAIN] == 1 && tables[RT_TABLE_DEFAULT] == 1);
}

TEST(needs_a_capability) {
	own_network();
	int status = IN_CHILD(
		OK(setresuid(65534, 65534, 65534));
		int s = netlink(NETLINK_ROUTE);
		EQUAL(set_up(s, 1, 1), -EPERM);
		EQUAL(add_pair(s, "a", "b"), -EPERM);
		EQUAL(change_address(s, RTM_NEWADDR, NLM_F_CREATE, 1, "192.0.2.1", 24), -EPERM);
		EQUAL(change_route(s, RTM_NEWROUTE, NLM_F_CREATE, "192.0.2.0", 24, NULL, 1), -EPERM);
		struct request r;
		struct ifinfomsg i = { 0 };
		begin(&r, RTM_GETLINK, 0, &i, sizeof i);
		CHECK(dump(s, &r, NULL) >= 1);
		int g = RTNLGRP_LINK;
		OK(setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &g, sizeof g));
		struct sockaddr_nl other = { .nl_family = AF_NETLINK, .nl_pid = 1 };
		FAILS(sendto(s, "x", 1, 0, (void *)&other, sizeof other), EPERM);
		struct ifreq q = { .ifr_name = "lo", .ifr_flags = IFF_UP };
		FAILS(ioctl(s, SIOCSIFFLAGS, &q), EPERM);
	);
	EXITED_OK(status);
}

TEST(root_of_a_user_namespace) {
	int status = IN_CHILD(
		OK(setresuid(65534, 65534, 65534));
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET) == -1)
			_exit(77);
		int s = netlink(NETLINK_ROUTE);
		EQUAL(set_up(s, 1, 1), 0);
		EQUAL(add_pair(s, "a", "b"), 0);
	);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("users cannot make user namespaces here");
	EXITED_OK(status);
}

TEST(links_move) {
	own_network();
	int s = netlink(NETLINK_ROUTE), here = OK(open("/proc/self/ns/net", O_RDONLY));
	EQUAL(add_pair(s, "a", "b"), 0);
	OK(unshare(CLONE_NEWNET));
	int there = netlink(NETLINK_ROUTE), fd = OK(open("/proc/self/ns/net", O_RDONLY));
	struct request r;
	struct ifinfomsg i = { 0 };
	begin(&r, RTM_NEWLINK, 0, &i, sizeof i);
	attr_text(&r, IFLA_IFNAME, "b");
	attr_int(&r, IFLA_NET_NS_FD, fd);
	EQUAL(ask(s, &r), 0);
	int b = if_nametoindex("b");
	CHECK(b > 1);
	EQUAL(if_nametoindex("a"), 0);
	EQUAL(change_address(there, RTM_NEWADDR, NLM_F_CREATE, b, "192.0.2.2", 24), 0);
	EQUAL(set_up(there, b, 1), 0);
	begin(&r, RTM_NEWLINK, 0, &i, sizeof i);
	attr_text(&r, IFLA_IFNAME, "a");
	attr_int(&r, IFLA_NET_NS_FD, OK(open("/dev/null", O_RDONLY)));
	EQUAL(ask(s, &r), -EINVAL);
	begin(&r, RTM_NEWLINK, 0, &i, sizeof i);
	attr_text(&r, IFLA_IFNAME, "a");
	attr_int(&r, IFLA_NET_NS_PID, 1 << 22);
	EQUAL(ask(s, &r), -ESRCH);
	begin(&r, RTM_NEWLINK, 0, &i, sizeof i);
	attr_text(&r, IFLA_IFNAME, "lo");
	attr_int(&r, IFLA_NET_NS_FD, fd);
	EQUAL(ask(s, &r), -EINVAL);
	/* What goes in at one end comes out at the other. */
	OK(setns(here, CLONE_NEWNET));
	int a = if_nametoindex("a");
	EQUAL(change_address(s, RTM_NEWADDR, NLM_F_CREATE, a, "192.0.2.1", 24), 0);
	EQUAL(set_up(s, a, 1), 0);
	OK(setns(fd, CLONE_NEWNET));
	int l = OK(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = inet_addr("192.0.2.2") };
	OK(bind(l, (void *)&to, sizeof to));
	OK(listen(l, 1));
	OK(setns(here, CLONE_NEWNET));
	int c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(c, (void *)&to, sizeof to));
	struct sockaddr_in from;
	socklen_t n = sizeof from;
	OK(accept(l, (void *)&from, &n));
	EQUAL(from.sin_addr.s_addr, inet_addr("192.0.2.1"));
}

TEST(overrun) {
	own_network();
	int s = netlink(NETLINK_ROUTE), e = netlink(NETLINK_ROUTE), small = 0;
	struct sockaddr_nl n = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR };
	OK(setsockopt(e, SOL_SOCKET, SO_RCVBUF, &small, sizeof small));
	OK(bind(e, (void *)&n, sizeof n));
	for (int i = 0; i < 50; i++)
		EQUAL(change_address(s, i % 2 ? RTM_DELADDR : RTM_NEWADDR, i % 2 ? 0 : NLM_F_CREATE, 1, "192.0.2.1", 24), 0);
	char b[8192];
	FAILS(recv(e, b, sizeof b, 0), ENOBUFS);
	/* What had room is still there. */
	OK(recv(e, b, sizeof b, 0));
	struct pollfd p = { .fd = s, .events = POLLIN | POLLOUT };
	EQUAL(poll(&p, 1, 0), 1);
	EQUAL(p.revents, POLLOUT);
}

TEST(programs_talk) {
	int a = netlink(NETLINK_USERSOCK), b = netlink(NETLINK_USERSOCK);
	struct sockaddr_nl n = { .nl_family = AF_NETLINK };
	OK(bind(a, (void *)&n, sizeof n));
	OK(bind(b, (void *)&n, sizeof n));
	n = name_of(b);
	EQUAL(sendto(a, "hello", 5, 0, (void *)&n, sizeof n), 5);
	char buf[16];
	struct sockaddr_nl from;
	socklen_t len = sizeof from;
	EQUAL(recvfrom(b, buf, sizeof buf, 0, (void *)&from, &len), 5);
	EQUAL(from.nl_pid, name_of(a).nl_pid);
	n.nl_pid = 12345678;
	FAILS(sendto(a, "hello", 5, 0, (void *)&n, sizeof n), ECONNREFUSED);
}

TEST(generic) {
	int s = netlink(NETLINK_GENERIC);
	struct request r;
	struct genlmsghdr g = { .cmd = CTRL_CMD_GETFAMILY, .version = 1 };
	char b[8192];
	begin(&r, GENL_ID_CTRL, 0, &g, sizeof g);
	attr_text(&r, CTRL_ATTR_FAMILY_NAME, "not there");
	EQUAL(answer(s, &r, b, sizeof b), -ENOENT);
	begin(&r, GENL_ID_CTRL, 0, &g, sizeof g);
	attr_text(&r, CTRL_ATTR_FAMILY_NAME, "nlctrl");
	EQUAL(answer(s, &r, b, sizeof b), 0);
	struct rtattr *a = find((void *)b, sizeof g, CTRL_ATTR_FAMILY_ID);
	CHECK(a && *(unsigned short *)RTA_DATA(a) == GENL_ID_CTRL);
}

TEST(events_of_devices) {
	own_network();
	int s = netlink(NETLINK_KOBJECT_UEVENT);
	struct sockaddr_nl n = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	OK(bind(s, (void *)&n, sizeof n));
	struct pollfd p = { .fd = s, .events = POLLIN };
	EQUAL(poll(&p, 1, 0), 0);
}

TEST(what_the_library_asks) {
	own_network();
	int s = netlink(NETLINK_ROUTE);
	EQUAL(set_up(s, 1, 1), 0);
	struct ifaddrs *list;
	OK(getifaddrs(&list));
	int four = 0, six = 0;
	for (struct ifaddrs *i = list; i; i = i->ifa_next) {
		if (strcmp(i->ifa_name, "lo") || !i->ifa_addr)
			continue;
		four += i->ifa_addr->sa_family == AF_INET;
		six += i->ifa_addr->sa_family == AF_INET6;
	}
	CHECK(four == 1 && six == 1);
	freeifaddrs(list);
	struct if_nameindex *names = if_nameindex();
	CHECK(names && names[0].if_index == 1 && !strcmp(names[0].if_name, "lo"));
	char name[IF_NAMESIZE];
	CHECK(if_indextoname(1, name) && !strcmp(name, "lo"));
	CHECK(!if_indextoname(999, name) && errno == ENXIO);
}

static int netconf_of(struct nlmsghdr *h, int family, int type) {
	EQUAL(*(unsigned char *)NLMSG_DATA(h), family);
	struct rtattr *a = find(h, 1, type);
	return a ? *(int *)RTA_DATA(a) : -99;
}
static int netconfs[2][3];
static void count_netconf(struct nlmsghdr *h) {
	int v6 = *(unsigned char *)NLMSG_DATA(h) == AF_INET6, index = netconf_of(h, v6 ? AF_INET6 : AF_INET, NETCONFA_IFINDEX);
	EQUAL(h->nlmsg_type, RTM_NEWNETCONF);
	CHECK(index == 1 || index == NETCONFA_IFINDEX_ALL || index == NETCONFA_IFINDEX_DEFAULT);
	netconfs[v6][index == 1 ? 0 : -index]++;
	for (int type = NETCONFA_FORWARDING; type <= NETCONFA_BC_FORWARDING; type++) {
		int only_v4 = type == NETCONFA_RP_FILTER || type == NETCONFA_BC_FORWARDING, input = type == NETCONFA_INPUT;
		EQUAL(find(h, 1, type) != NULL, !input && !(v6 && only_v4));
	}
}
static void write_setting(const char *path, const char *v) {
	int f = open(path, O_WRONLY);
	if (f < 0 && errno == EROFS)
		SKIP("settings cannot be changed here: /proc/sys is read-only");
	OK(f);
	EQUAL(write(f, v, 1), 1);
	close(f);
}
static void follow_netconf(int s) {
	for (int group = RTNLGRP_IPV4_NETCONF; group <= RTNLGRP_IPV6_NETCONF; group++)
		OK(setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
}
/* told expects a message about one setting; -99 is for one that is not in it. */
static void told(int s, int type, int family, int index, int forwarding) {
	char b[8192];
	OK(recv(s, b, sizeof b, 0));
	struct nlmsghdr *h = (void *)b;
	EQUAL(h->nlmsg_type, type);
	EQUAL(netconf_of(h, family, NETCONFA_IFINDEX), index);
	EQUAL(netconf_of(h, family, NETCONFA_FORWARDING), forwarding);
}

TEST(settings_of_links) {
	own_network();
	int s = netlink(NETLINK_ROUTE);
	struct request r;
	char b[8192];
	unsigned char family[4] = { AF_UNSPEC };
	begin(&r, RTM_GETNETCONF, 0, family, 4);
	EQUAL(dump(s, &r, count_netconf), 6);
	for (int i = 0; i < 6; i++)
		EQUAL(netconfs[i / 3][i % 3], 1);
	family[0] = AF_INET6;
	begin(&r, RTM_GETNETCONF, 0, family, 4);
	EQUAL(dump(s, &r, count_netconf), 3);
	begin(&r, RTM_GETNETCONF, 0, family, 4);
	EQUAL(answer(s, &r, b, sizeof b), -EINVAL);
	begin(&r, RTM_GETNETCONF, 0, family, 4);
	attr_int(&r, NETCONFA_IFINDEX, 1 << 20);
	EQUAL(answer(s, &r, b, sizeof b), -EINVAL);
	family[0] = AF_INET;
	begin(&r, RTM_GETNETCONF, 0, family, 4);
	attr_int(&r, NETCONFA_IFINDEX, 1 << 20);
	EQUAL(answer(s, &r, b, sizeof b), -ENODEV);
	family[0] = AF_INET6;
	for (int index = 1; index >= NETCONFA_IFINDEX_DEFAULT; index -= index == 1 ? 2 : 1) {
		begin(&r, RTM_GETNETCONF, 0, family, 4);
		attr_int(&r, NETCONFA_IFINDEX, index);
		EQUAL(answer(s, &r, b, sizeof b), 0);
		EQUAL(netconf_of((void *)b, AF_INET6, NETCONFA_IFINDEX), index);
	}
	family[0] = AF_UNSPEC;
	begin(&r, RTM_GETNETCONF, 0, family, 4);
	attr_int(&r, NETCONFA_IFINDEX, 1);
	EQUAL(answer(s, &r, b, sizeof b), -EOPNOTSUPP);
	begin(&r, RTM_NEWNETCONF, 0, family, 4);
	EQUAL(ask(s, &r), -EOPNOTSUPP);
}

TEST(forwarding_that_changes) {
	own_network();
	int s = netlink(NETLINK_ROUTE), e = netlink(NETLINK_ROUTE);
	char b[8192];
	/* A namespace of the host's begins with the host's own for IPv4. */
	write_setting("/proc/sys/net/ipv4/ip_forward", "0");
	write_setting("/proc/sys/net/ipv4/conf/default/forwarding", "0");
	write_setting("/proc/sys/net/ipv4/conf/lo/forwarding", "0");
	follow_netconf(e);
	/* A socket without a port ID is told nothing. */
	write_setting("/proc/sys/net/ipv4/conf/lo/forwarding", "1");
	FAILS(recv(e, b, sizeof b, MSG_DONTWAIT), EAGAIN);
	struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	OK(bind(e, (void *)&any, sizeof any));
	follow_netconf(e); /* bind() has set other groups */
	/* Others are told of forwarding, in this order: IPv4 of all, IPv6 of what has changed. */
	write_setting("/proc/sys/net/ipv4/ip_forward", "1");
	told(e, RTM_NEWNETCONF, AF_INET, NETCONFA_IFINDEX_ALL, 1);
	told(e, RTM_NEWNETCONF, AF_INET, NETCONFA_IFINDEX_DEFAULT, 1);
	told(e, RTM_NEWNETCONF, AF_INET, 1, 1);
	write_setting("/proc/sys/net/ipv4/conf/lo/forwarding", "0");
	told(e, RTM_NEWNETCONF, AF_INET, 1, 0);
	/* What has not changed does nothing. */
	write_setting("/proc/sys/net/ipv4/ip_forward", "1");
	write_setting("/proc/sys/net/ipv4/conf/all/forwarding", "1");
	FAILS(recv(e, b, sizeof b, MSG_DONTWAIT), EAGAIN);
	write_setting("/proc/sys/net/ipv6/conf/all/forwarding", "1");
	told(e, RTM_NEWNETCONF, AF_INET6, NETCONFA_IFINDEX_DEFAULT, 1);
	told(e, RTM_NEWNETCONF, AF_INET6, 1, 1);
	told(e, RTM_NEWNETCONF, AF_INET6, NETCONFA_IFINDEX_ALL, 1);
	write_setting("/proc/sys/net/ipv6/conf/default/forwarding", "0");
	told(e, RTM_NEWNETCONF, AF_INET6, NETCONFA_IFINDEX_DEFAULT, 0);
	write_setting("/proc/sys/net/ipv6/conf/all/forwarding", "0");
	told(e, RTM_NEWNETCONF, AF_INET6, 1, 0);
	told(e, RTM_NEWNETCONF, AF_INET6, NETCONFA_IFINDEX_ALL, 0);

	/* And of links that come and go. */
	EQUAL(add_pair(s, "left", "right"), 0);
	int left = if_nametoindex("left"), right = if_nametoindex("right");
	told(e, RTM_NEWNETCONF, AF_INET, right, 1);
	told(e, RTM_NEWNETCONF, AF_INET6, right, 0);
	told(e, RTM_NEWNETCONF, AF_INET, left, 1);
	told(e, RTM_NEWNETCONF, AF_INET6, left, 0);
	EQUAL(delete_link(s, left), 0);
	told(e, RTM_DELNETCONF, AF_INET, left, -99);
	told(e, RTM_DELNETCONF, AF_INET6, left, -99);
	told(e, RTM_DELNETCONF, AF_INET, right, -99);
	told(e, RTM_DELNETCONF, AF_INET6, right, -99);
}
