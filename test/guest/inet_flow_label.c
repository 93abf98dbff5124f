/* Flow labels of IPv6: IPV6_FLOWINFO, IPV6_FLOWINFO_SEND and IPV6_AUTOFLOWLABEL (RFC 3542, RFC 6437, linux/in6.h). */
#include "inet.h"
#include "network.h"
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/ip6.h>
#include <net/if.h>

#define SIX IPPROTO_IPV6
#ifndef IPV6_FLOWINFO
#define IPV6_FLOWINFO 11
#define IPV6_FLOWINFO_SEND 33
#endif
#ifndef IPV6_AUTOFLOWLABEL
#define IPV6_AUTOFLOWLABEL 70
#endif

static char buf[4096];

/* hears receives a datagram, and returns what it is told of the flow, 0 if nothing. */
static unsigned hears(int fd) {
	static union { char b[512]; struct cmsghdr align; } c;
	union addr from;
	struct iovec v = { buf, sizeof buf };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c };
	unsigned flow = 0;
	ready(fd, POLLIN);
	OK(recvmsg(fd, &m, 0));
	EQUAL((int)from.in6.sin6_flowinfo, 0);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		EQUAL(h->cmsg_level, SIX);
		EQUAL(h->cmsg_type, IPV6_FLOWINFO);
		EQUAL((int)h->cmsg_len, (int)CMSG_LEN(4));
		memcpy(&flow, CMSG_DATA(h), 4);
		CHECK(flow != 0);
	}
	return ntohl(flow);
}

static union addr name_of(int fd, unsigned flow) {
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(fd, &a.sa, &n));
	a.in6.sin6_flowinfo = htonl(flow);
	return a;
}

static void says(int fd, int to, unsigned flow) {
	union addr a = name_of(to, flow);
	EQUAL(sendto(fd, "x", 1, 0, &a.sa, sizeof a.in6), 1);
}

static int receiver(void) {
	need_family(AF_INET6);
	int r = bound(AF_INET6, SOCK_DGRAM);
	EQUAL(option(r, SIX, IPV6_FLOWINFO), 0);
	OK(set(r, SIX, IPV6_FLOWINFO, 1));
	EQUAL(option(r, SIX, IPV6_FLOWINFO), 1);
	return r;
}

static int sender(int label) {
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	EQUAL(option(s, SIX, IPV6_FLOWINFO_SEND), 0);
	OK(set(s, SIX, IPV6_AUTOFLOWLABEL, 0));
	OK(set(s, SIX, IPV6_FLOWINFO_SEND, label));
	return s;
}

TEST(goes_with_the_address) {
	int r = receiver(), s = sender(1);
	says(s, r, 0x12345);
	EQUAL(hears(r), 0x12345);
	says(s, r, 0);
	EQUAL(hears(r), 0);
	says(s, r, 0xfffffff); /* without the traffic class */
	EQUAL(hears(r), 0xfffff);
	OK(set(s, SIX, IPV6_TCLASS, 0x48));
	says(s, r, 0x54321);
	EQUAL(hears(r), 0x4854321);
	says(s, r, 0);
	EQUAL(hears(r), 0x4800000);
	OK(set(s, SIX, IPV6_FLOWINFO_SEND, 0));
	OK(set(s, SIX, IPV6_TCLASS, 0));
	says(s, r, 0x12345);
	EQUAL(hears(r), 0);
	OK(set(r, SIX, IPV6_FLOWINFO, 0));
	OK(set(s, SIX, IPV6_FLOWINFO_SEND, 1));
	says(s, r, 0x12345);
	EQUAL(hears(r), 0);
}

TEST(goes_with_the_connection) {
	int r = receiver(), s = sender(1);
	union addr a = name_of(r, 0x6789a), none = { .sa = { AF_UNSPEC } };
	socklen_t n = sizeof a;
	OK(connect(s, &a.sa, n));
	EQUAL(send(s, "x", 1, 0), 1);
	EQUAL(hears(r), 0x6789a);
	memset(&a, 0xee, sizeof a);
	OK(getpeername(s, &a.sa, &n));
	EQUAL((int)ntohl(a.in6.sin6_flowinfo), 0x6789a);
	says(s, r, 0x11111);
	EQUAL(hears(r), 0x11111);
	EQUAL(send(s, "x", 1, 0), 1);
	EQUAL(hears(r), 0x6789a);
	OK(set(s, SIX, IPV6_FLOWINFO_SEND, 0));
	OK(getpeername(s, &a.sa, &n));
	EQUAL((int)a.in6.sin6_flowinfo, 0);
	EQUAL(send(s, "x", 1, 0), 1);
	EQUAL(hears(r), 0x6789a);
	OK(connect(s, &none.sa, sizeof none.sa));
	OK(set(s, SIX, IPV6_FLOWINFO_SEND, 1));
	says(s, r, 0);
	EQUAL(hears(r), 0);
}

TEST(goes_with_a_message) {
	int r = receiver(), s = sender(0);
	union { char b[CMSG_SPACE(4)]; struct cmsghdr h; } c = { .h = { CMSG_LEN(4), SIX, IPV6_FLOWINFO } };
	union addr a = name_of(r, 0);
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_name = &a, .msg_namelen = sizeof a.in6, .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	unsigned flow = htonl(0xabcde);
	memcpy(CMSG_DATA(&c.h), &flow, 4);
	EQUAL(sendmsg(s, &m, 0), 1);
	EQUAL(hears(r), 0xabcde);
	says(s, r, 0);
	EQUAL(hears(r), 0);
	OK(set(s, SIX, IPV6_FLOWINFO_SEND, 1));
	a.in6.sin6_flowinfo = htonl(0x22222);
	EQUAL(sendmsg(s, &m, 0), 1); /* the message says more than the address */
	EQUAL(hears(r), 0xabcde);
	c.h.cmsg_len = CMSG_LEN(3);
	FAILS(sendmsg(s, &m, 0), EINVAL);
}

TEST(is_made_by_itself) {
	int r = receiver(), s = bound(AF_INET6, SOCK_DGRAM), o = bound(AF_INET6, SOCK_DGRAM);
	EQUAL(option(s, SIX, IPV6_AUTOFLOWLABEL), 1);
	says(s, r, 0x12345);
	unsigned label = hears(r);
	CHECK(label > 0 && label <= 0xfffff && label != 0x12345);
	says(s, r, 0);
	EQUAL(hears(r), label); /* of one flow it is the same */
	says(o, r, 0);
	CHECK(hears(r) != label);
	OK(set(s, SIX, IPV6_AUTOFLOWLABEL, 0));
	EQUAL(option(s, SIX, IPV6_AUTOFLOWLABEL), 0);
	says(s, r, 0);
	EQUAL(hears(r), 0);
	OK(set(s, SIX, IPV6_AUTOFLOWLABEL, 1));
	OK(set(s, SIX, IPV6_FLOWINFO_SEND, 1));
	says(s, r, 0x12345);
	EQUAL(hears(r), 0x12345);
}

TEST(is_in_each_fragment) {
	int r = receiver(), s = sender(1);
	union addr a = name_of(r, 0x77777);
	static char much[60000];
	EQUAL(sendto(s, much, sizeof much, 0, &a.sa, sizeof a.in6), sizeof much);
	EQUAL(hears(r), 0x77777);
}

/* label_of_segment is the flow label of the next segment to a port that has data. */
static unsigned label_of_segment(int capture, int port) {
	for (;;) {
		unsigned char p[2048];
		ready(capture, POLLIN);
		int n = OK(recv(capture, p, sizeof p, 0));
		if (n > 60 && p[6] == IPPROTO_TCP && (p[42] << 8 | p[43]) == port && n > 40 + (p[52] >> 4) * 4)
			return (p[1] & 0xf) << 16 | p[2] << 8 | p[3];
	}
}

TEST(goes_with_streams) {
	own_network_up();
	need_family(AF_INET6);
	int capture = OK(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IPV6)));
	int l = listener(AF_INET6), s = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(set(s, SIX, IPV6_FLOWINFO_SEND, 1));
	OK(set(s, SIX, IPV6_AUTOFLOWLABEL, 0));
	union addr a = name_of(l, 0x34567);
	socklen_t n = sizeof a;
	OK(connect(s, &a.sa, n));
	int c = OK(accept(l, NULL, NULL));
	EQUAL(send(s, "abc", 3, 0), 3);
	EQUAL(label_of_segment(capture, port_of(l)), 0x34567);
	EQUAL(recv(c, buf, 3, 0), 3);
	OK(getpeername(s, &a.sa, &n));
	EQUAL((int)ntohl(a.in6.sin6_flowinfo), 0x34567);
	OK(set(c, SIX, IPV6_AUTOFLOWLABEL, 0));
	EQUAL(send(c, "abc", 3, 0), 3);
	EQUAL(label_of_segment(capture, port_of(s)), 0);
}

/* label_of is the flow label of the next packet of a protocol whose first two bytes are a port, or of any. */
static unsigned label_of(int capture, int protocol, int port) {
	for (;;) {
		unsigned char p[2048];
		ready(capture, POLLIN);
		OK(recv(capture, p, sizeof p, 0));
		if (p[6] == protocol && (!port || (p[40] << 8 | p[41]) == port))
			return (p[1] & 0xf) << 16 | p[2] << 8 | p[3];
	}
}

/* all_labelled checks whether all that sockets send has labels, of which they say nothing, or as option says. */
static void all_labelled(int capture, int option, int want) {
	static char much[3000];
	int r = bound(AF_INET6, SOCK_DGRAM), s = OK(socket(AF_INET6, SOCK_DGRAM, 0)), l = listener(AF_INET6), c = OK(socket(AF_INET6, SOCK_STREAM, 0));
	int raw = OK(socket(AF_INET6, SOCK_RAW, 253));
	if (option >= 0) {
		int all[] = { s, l, c, raw };
		for (int i = 0; i < 4; i++)
			OK(set(all[i], SIX, IPV6_AUTOFLOWLABEL, option));
	}
	says(s, r, 0);
	unsigned label = label_of(capture, IPPROTO_UDP, port_of(s));
	EQUAL(label > 0, want);
	union addr a = name_of(r, 0);
	OK(sendto(s, much, sizeof much, 0, &a.sa, sizeof a.in6));
	for (int i = 0; i < 3; i++)
		EQUAL(label_of(capture, IPPROTO_FRAGMENT, 0), label);
	connect_to(c, l);
	label = label_of(capture, IPPROTO_TCP, port_of(c)); /* SYN */
	EQUAL(label > 0, want);
	unsigned answer = label_of(capture, IPPROTO_TCP, port_of(l));
	EQUAL(answer > 0, want);
	EQUAL(label_of(capture, IPPROTO_TCP, port_of(c)), label); /* ACK */
	int o = OK(accept(l, NULL, NULL));
	EQUAL(send(c, "abc", 3, 0), 3);
	EQUAL(label_of(capture, IPPROTO_TCP, port_of(c)), label);
	EQUAL(recv(o, buf, 3, 0), 3);
	EQUAL(label_of(capture, IPPROTO_TCP, port_of(o)), answer);
	EQUAL(send(o, "abc", 3, 0), 3);
	EQUAL(label_of(capture, IPPROTO_TCP, port_of(o)), answer);
	a.in6.sin6_port = 0;
	EQUAL(sendto(raw, "x", 1, 0, &a.sa, sizeof a.in6), 1);
	EQUAL(label_of(capture, 253, 0) > 0, want);
	close(o);
	close(c);
	close(s);
	close(r);
	close(raw);
	close(l);
}

/* labelled_capture is a socket that sees what leaves by an own loopback interface, whose packets are those of Ethernet's size. */
static int labelled_capture(void) {
	own_network();
	struct ifreq q = { .ifr_name = "lo", .ifr_mtu = 1500 };
	int capture = OK(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IPV6)));
	OK(ioctl(capture, SIOCSIFMTU, &q));
	set_lo(1);
	need_family(AF_INET6);
	return capture;
}

/* all_labelled_as checks what sockets send that say nothing of labels, that refuse and that ask for them. */
static void all_labelled_as(int capture, int unsaid, int no, int yes) {
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	EQUAL(option(s, SIX, IPV6_AUTOFLOWLABEL), unsaid);
	OK(set(s, SIX, IPV6_AUTOFLOWLABEL, !unsaid));
	EQUAL(option(s, SIX, IPV6_AUTOFLOWLABEL), !unsaid);
	close(s);
	all_labelled(capture, -1, unsaid);
	all_labelled(capture, 0, no);
	all_labelled(capture, 1, yes);
}

TEST(all_that_leaves_has_one) { all_labelled_as(labelled_capture(), 1, 0, 1); }

TEST(all_that_leaves_is_as_the_network_says) {
	static const struct { char *setting; int unsaid, no, yes; } cases[] = { { "0", 0, 0, 0 }, { "1", 1, 0, 1 }, { "2", 0, 0, 1 }, { "3", 1, 1, 1 } };
	int capture = labelled_capture(), f = open("/proc/sys/net/ipv6/auto_flowlabels", O_WRONLY);
	if (f < 0 && errno == EROFS)
		SKIP("settings cannot be changed here: /proc/sys is read-only");
	OK(f);
	for (int i = 0; i < sizeof cases / sizeof *cases; i++) {
		EQUAL(pwrite(f, cases[i].setting, 1, 0), 1);
		all_labelled_as(capture, cases[i].unsaid, cases[i].no, cases[i].yes);
	}
	FAILS(pwrite(f, "4", 1, 0), EINVAL);
}
