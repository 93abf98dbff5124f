/* netlink.h: requests of rtnetlink(7) and their answers, for the guest tests. */
#ifndef NETLINK_H
#define NETLINK_H
#include "network.h"
#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netconf.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if_arp.h>
#include <poll.h>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

__attribute__((unused)) static int netlink(int protocol) {
	return OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
}

struct request {
	struct nlmsghdr h;
	char rest[1024];
};

/* put appends bytes to a request, aligned as attributes are. */
__attribute__((unused)) static void *put(struct request *r, const void *p, int n) {
	char *at = (char *)r + NLMSG_ALIGN(r->h.nlmsg_len);
	if (p)
		memcpy(at, p, n);
	r->h.nlmsg_len = at + n - (char *)r;
	return at;
}
__attribute__((unused)) static void begin(struct request *r, int type, int flags, const void *body, int n) {
	memset(r, 0, sizeof *r);
	r->h = (struct nlmsghdr){ .nlmsg_len = NLMSG_HDRLEN, .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = 7 };
	put(r, body, n);
}
__attribute__((unused)) static void attr(struct request *r, int type, const void *p, int n) {
	struct rtattr a = { .rta_len = RTA_LENGTH(n), .rta_type = type };
	put(r, &a, sizeof a);
	char *at = (char *)r + r->h.nlmsg_len;
	memcpy(at, p, n);
	r->h.nlmsg_len += n;
}
__attribute__((unused)) static void attr_text(struct request *r, int type, const char *s) { attr(r, type, s, strlen(s) + 1); }
__attribute__((unused)) static void attr_int(struct request *r, int type, int v) { attr(r, type, &v, sizeof v); }
__attribute__((unused)) static void attr_ip(struct request *r, int type, const char *s) {
	unsigned char b[16];
	int v6 = strchr(s, ':') != NULL;
	CHECK(inet_pton(v6 ? AF_INET6 : AF_INET, s, b) == 1);
	attr(r, type, b, v6 ? 16 : 4);
}
__attribute__((unused)) static struct rtattr *nest(struct request *r, int type) {
	struct rtattr a = { .rta_type = type };
	return put(r, &a, sizeof a);
}
__attribute__((unused)) static void nest_end(struct request *r, struct rtattr *a) {
	a->rta_len = (char *)r + r->h.nlmsg_len - (char *)a;
}

/* send_to_kernel sends a request. */
__attribute__((unused)) static void send_to_kernel(int s, struct request *r) {
	struct sockaddr_nl k = { .nl_family = AF_NETLINK };
	EQUAL(sendto(s, r, r->h.nlmsg_len, 0, (void *)&k, sizeof k), r->h.nlmsg_len);
}
/* ask sends a request that wants an acknowledgement, and returns its error, 0 or negative. */
__attribute__((unused)) static int ask(int s, struct request *r) {
	r->h.nlmsg_flags |= NLM_F_ACK;
	send_to_kernel(s, r);
	for (;;) {
		char b[8192];
		int n = OK(recv(s, b, sizeof b, 0));
		for (struct nlmsghdr *h = (void *)b; NLMSG_OK(h, (unsigned)n); h = NLMSG_NEXT(h, n))
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
	}
}
/* find returns an attribute of a message that begins with a structure of size bytes, or NULL. */
__attribute__((unused)) static struct rtattr *find(struct nlmsghdr *h, int size, int type) {
	int n = h->nlmsg_len - NLMSG_SPACE(size);
	for (struct rtattr *a = (void *)((char *)h + NLMSG_SPACE(size)); RTA_OK(a, n); a = RTA_NEXT(a, n))
		if ((a->rta_type & NLA_TYPE_MASK) == type)
			return a;
	return NULL;
}
/* dump asks for all of a kind and calls each for every message; it returns how many there were, or an
 * error, which the end may carry. */
__attribute__((unused)) static int dump(int s, struct request *r, void (*each)(struct nlmsghdr *)) {
	r->h.nlmsg_flags |= NLM_F_DUMP;
	send_to_kernel(s, r);
	for (int count = 0;;) {
		char b[32768];
		int n = OK(recv(s, b, sizeof b, 0));
		for (struct nlmsghdr *h = (void *)b; NLMSG_OK(h, (unsigned)n); h = NLMSG_NEXT(h, n)) {
			EQUAL(h->nlmsg_seq, r->h.nlmsg_seq);
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			CHECK(h->nlmsg_flags & NLM_F_MULTI);
			if (h->nlmsg_type == NLMSG_DONE) {
				int err = *(int *)NLMSG_DATA(h);
				return err < 0 ? err : count;
			}
			count++;
			if (each)
				each(h);
		}
	}
}
/* answer asks for one thing; the answer is in b. The result is 0, or the error. */
__attribute__((unused)) static int answer(int s, struct request *r, char *b, int size) {
	send_to_kernel(s, r);
	OK(recv(s, b, size, 0));
	struct nlmsghdr *h = (void *)b;
	return h->nlmsg_type == NLMSG_ERROR ? ((struct nlmsgerr *)NLMSG_DATA(h))->error : 0;
}

/* set_up takes a link up or down. */
__attribute__((unused)) static int set_up(int s, int index, int up) {
	struct request r;
	struct ifinfomsg i = { .ifi_index = index, .ifi_flags = up ? IFF_UP : 0, .ifi_change = IFF_UP };
	begin(&r, RTM_NEWLINK, 0, &i, sizeof i);
	return ask(s, &r);
}
/* add_pair makes a pair of links. */
__attribute__((unused)) static int add_pair(int s, const char *a, const char *b) {
	struct request r;
	struct ifinfomsg i = { 0 };
	begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &i, sizeof i);
	attr_text(&r, IFLA_IFNAME, a);
	struct rtattr *info = nest(&r, IFLA_LINKINFO);
	attr_text(&r, IFLA_INFO_KIND, "veth");
	struct rtattr *data = nest(&r, IFLA_INFO_DATA), *peer = nest(&r, VETH_INFO_PEER);
	put(&r, &i, sizeof i);
	attr_text(&r, IFLA_IFNAME, b);
	nest_end(&r, peer);
	nest_end(&r, data);
	nest_end(&r, info);
	return ask(s, &r);
}
__attribute__((unused)) static int delete_link(int s, int index) {
	struct request r;
	struct ifinfomsg i = { .ifi_index = index };
	begin(&r, RTM_DELLINK, 0, &i, sizeof i);
	return ask(s, &r);
}
/* change_address is RTM_NEWADDR or RTM_DELADDR. */
__attribute__((unused)) static int change_address(int s, int type, int flags, int index, const char *ip, int bits) {
	struct request r;
	struct ifaddrmsg a = { .ifa_family = strchr(ip, ':') ? AF_INET6 : AF_INET, .ifa_prefixlen = bits, .ifa_index = index };
	begin(&r, type, flags, &a, sizeof a);
	attr_ip(&r, IFA_LOCAL, ip);
	return ask(s, &r);
}
/* change_route is RTM_NEWROUTE or RTM_DELROUTE of the main table; via and index may be nothing. */
__attribute__((unused)) static int change_route(int s, int type, int flags, const char *to, int bits, const char *via, int index) {
	struct request r;
	struct rtmsg m = {
		.rtm_family = strchr(to, ':') ? AF_INET6 : AF_INET, .rtm_dst_len = bits, .rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST, .rtm_scope = via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
	};
	if (type == RTM_DELROUTE)
		m.rtm_protocol = 0, m.rtm_scope = RT_SCOPE_NOWHERE;
	begin(&r, type, flags, &m, sizeof m);
	if (bits)
		attr_ip(&r, RTA_DST, to);
	if (via)
		attr_ip(&r, RTA_GATEWAY, via);
	if (index)
		attr_int(&r, RTA_OIF, index);
	return ask(s, &r);
}
#endif
