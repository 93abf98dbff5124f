/* Raw and ping sockets: raw(7), icmp(7), on lo of a network of the test's own. */
#include "network.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef ICMP_FILTER
#define ICMP_FILTER 1
#endif
#ifndef SOL_RAW
#define SOL_RAW 255
#endif

static void set_file(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd == -1 && errno == EROFS)
		SKIP("settings cannot be changed here: /proc/sys is read-only");
	OK(fd);
	EQUAL(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static struct sockaddr_in loopback4(void) {
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static uint16_t sum(const void *p, size_t n) {
	uint32_t total = 0;
	const uint16_t *w = p;
	for (; n > 1; n -= 2)
		total += *w++;
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return ~total;
}

/* echo makes an echo request of 12 bytes. */
static void echo(char *p, int id, int sequence) {
	struct icmphdr *h = (void *)p;
	memset(p, 0, 12);
	h->type = ICMP_ECHO;
	h->un.echo.id = htons(id);
	h->un.echo.sequence = htons(sequence);
	memcpy(p + 8, "data", 4);
	h->checksum = sum(p, 12);
}

TEST(kinds_of_sockets) {
	own_network_up();
	FAILS(socket(AF_INET, SOCK_RAW, 0), EPROTONOSUPPORT);
	FAILS(socket(AF_INET, SOCK_RAW, 300), EINVAL);
	FAILS(socket(AF_INET6, SOCK_RAW, 0), EPROTONOSUPPORT);
	FAILS(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6), EPROTONOSUPPORT);
	FAILS(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMP), EPROTONOSUPPORT);
	int s = OK(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)), v;
	socklen_t n = sizeof v;
	OK(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &n));
	EQUAL(v, SOCK_RAW);
	OK(getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &v, &n));
	EQUAL(v, IPPROTO_ICMP);
	OK(getsockopt(s, IPPROTO_IP, IP_HDRINCL, &v, &n));
	EQUAL(v, 0);
	FAILS(listen(s, 1), EOPNOTSUPP);
	FAILS(accept(s, NULL, NULL), EOPNOTSUPP);
	int status = IN_CHILD(
		OK(setresuid(65534, 65534, 65534));
		FAILS(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), EPERM);
		FAILS(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6), EPERM);
		FAILS(socket(AF_INET, SOCK_RAW, 0), EPROTONOSUPPORT);
	);
	EXITED_OK(status);
}

TEST(raw_echo) {
	own_network_up();
	int s = OK(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	struct sockaddr_in to = loopback4(), from;
	char p[12], got[200];
	echo(p, 77, 5);
	EQUAL(sendto(s, p, sizeof p, 0, (void *)&to, sizeof to), sizeof p);
	/* both the request and the answer come by */
	for (int i = 0; i < 2; i++) {
		socklen_t n = sizeof from;
		EQUAL(recvfrom(s, got, sizeof got, 0, (void *)&from, &n), 20 + 12);
		EQUAL(n, sizeof from);
		EQUAL(from.sin_addr.s_addr, to.sin_addr.s_addr);
		EQUAL(from.sin_port, 0);
		struct iphdr *ip = (void *)got;
		struct icmphdr *h = (void *)(got + 20);
		EQUAL(ip->version, 4);
		EQUAL(ip->ihl, 5);
		EQUAL(ip->protocol, IPPROTO_ICMP);
		EQUAL(h->type, i ? ICMP_ECHOREPLY : ICMP_ECHO);
		EQUAL(ntohs(h->un.echo.id), 77);
		CHECK(!memcmp(got + 28, "data", 4));
	}
	FAILS(send(s, p, sizeof p, 0), EDESTADDRREQ);
	/* connected, it needs no address */
	OK(connect(s, (void *)&to, sizeof to));
	EQUAL(send(s, p, sizeof p, 0), sizeof p);
	EQUAL(recv(s, got, sizeof got, 0), 32);
	EQUAL(recv(s, got, 10, MSG_TRUNC), 32);
}

TEST(icmp_filter) {
	own_network_up();
	int s = OK(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	uint32_t mask = 1 << ICMP_ECHO, got_mask = 0;
	socklen_t n = sizeof got_mask;
	OK(setsockopt(s, SOL_RAW, ICMP_FILTER, &mask, sizeof mask));
	OK(getsockopt(s, SOL_RAW, ICMP_FILTER, &got_mask, &n));
	EQUAL(got_mask, mask);
	struct sockaddr_in to = loopback4();
	char p[12], got[200];
	echo(p, 78, 1);
	OK(sendto(s, p, sizeof p, 0, (void *)&to, sizeof to));
	EQUAL(recv(s, got, sizeof got, 0), 32);
	EQUAL(((struct icmphdr *)(got + 20))->type, ICMP_ECHOREPLY);
	FAILS(recv(s, got, sizeof got, MSG_DONTWAIT), EAGAIN);
	int u = OK(socket(AF_INET, SOCK_RAW, IPPROTO_UDP));
	FAILS(setsockopt(u, SOL_RAW, ICMP_FILTER, &mask, sizeof mask), EOPNOTSUPP);
	mask = 0x12345678;
	OK(setsockopt(s, SOL_RAW, ICMP_FILTER, &mask, sizeof mask));
	OK(setsockopt(s, SOL_RAW, ICMP_FILTER, "\x01", 1)); /* the beginning of it */
	OK(getsockopt(s, SOL_RAW, ICMP_FILTER, &got_mask, &n));
	EQUAL(got_mask, 0x12345601);
}

TEST(a_packet_with_its_header) {
	own_network_up();
	int u = OK(socket(AF_INET, SOCK_DGRAM, 0)), one = 1;
	struct sockaddr_in at = loopback4(), from;
	OK(bind(u, (void *)&at, sizeof at));
	socklen_t n = sizeof at;
	OK(getsockname(u, (void *)&at, &n));
	int s = OK(socket(AF_INET, SOCK_RAW, IPPROTO_UDP));
	OK(setsockopt(s, IPPROTO_IP, IP_HDRINCL, &one, sizeof one));
	char p[20 + 8 + 5] = { 0 };
	struct iphdr *ip = (void *)p;
	struct udphdr *h = (void *)(p + 20);
	ip->version = 4, ip->ihl = 5, ip->ttl = 9, ip->protocol = IPPROTO_UDP;
	ip->tot_len = htons(sizeof p);
	ip->saddr = htonl(0x7f000005), ip->daddr = at.sin_addr.s_addr;
	h->source = htons(1234), h->dest = at.sin_port, h->len = htons(13);
	memcpy(p + 28, "hello", 5);
	EQUAL(sendto(s, p, sizeof p, 0, (void *)&at, sizeof at), sizeof p);
	char got[20];
	n = sizeof from;
	EQUAL(recvfrom(u, got, sizeof got, 0, (void *)&from, &n), 5);
	EQUAL(from.sin_addr.s_addr, ip->saddr);
	EQUAL(from.sin_port, htons(1234));
	/* IPPROTO_RAW is the same, and receives nothing */
	int r = OK(socket(AF_INET, SOCK_RAW, IPPROTO_RAW));
	EQUAL(sendto(r, p, sizeof p, 0, (void *)&at, sizeof at), sizeof p);
	EQUAL(recv(u, got, sizeof got, 0), 5);
	FAILS(recv(r, got, sizeof got, MSG_DONTWAIT), EAGAIN);
}

TEST(raw_sees_udp) {
	own_network_up();
	int s = OK(socket(AF_INET, SOCK_RAW, IPPROTO_UDP)), u = OK(socket(AF_INET, SOCK_DGRAM, 0)), to = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in at = loopback4();
	OK(bind(to, (void *)&at, sizeof at));
	socklen_t n = sizeof at;
	OK(getsockname(to, (void *)&at, &n));
	OK(sendto(u, "x", 1, 0, (void *)&at, sizeof at));
	char got[100];
	EQUAL(recv(s, got, sizeof got, 0), 29);
	EQUAL(((struct udphdr *)(got + 20))->dest, at.sin_port);
	EQUAL(recv(to, got, sizeof got, 0), 1);
}

TEST(echo6) {
	own_network_up();
	int s = OK(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
	struct icmp6_filter f;
	ICMP6_FILTER_SETBLOCKALL(&f);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &f);
	OK(setsockopt(s, IPPROTO_ICMPV6, ICMP6_FILTER, &f, sizeof f));
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct icmp6_hdr h = { .icmp6_type = ICMP6_ECHO_REQUEST, .icmp6_id = htons(9), .icmp6_seq = htons(1) };
	EQUAL(sendto(s, &h, sizeof h, 0, (void *)&to, sizeof to), sizeof h);
	struct icmp6_hdr got;
	EQUAL(recv(s, &got, sizeof got, 0), sizeof got);
	EQUAL(got.icmp6_type, ICMP6_ECHO_REPLY);
	EQUAL(ntohs(got.icmp6_id), 9);
	FAILS(recv(s, &got, sizeof got, MSG_DONTWAIT), EAGAIN);
	socklen_t n = sizeof f;
	OK(setsockopt(s, IPPROTO_ICMPV6, ICMP6_FILTER, "\x01\x02", 2));
	OK(getsockopt(s, IPPROTO_ICMPV6, ICMP6_FILTER, &f, &n));
	EQUAL(f.icmp6_filt[0], 0xffff0201);
	int on = 1, header = 0;
	OK(setsockopt(s, SOL_RAW, 36 /* IPV6_HDRINCL */, &on, n = sizeof on));
	OK(getsockopt(s, IPPROTO_IPV6, 36, &header, &n));
	EQUAL(header, 1);
}

TEST(ping_sockets) {
	own_network_up();
	set_file("/proc/sys/net/ipv4/ping_group_range", "1 0");
	FAILS(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP), EACCES);
	set_file("/proc/sys/net/ipv4/ping_group_range", "4242 4243");
	FAILS(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6), EACCES);
	gid_t groups[] = { 1, 4243 };
	OK(setgroups(2, groups));
	int s = OK(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
	struct sockaddr_in to = loopback4(), me;
	char p[12], got[100];
	echo(p, 77, 5);
	EQUAL(sendto(s, p, sizeof p, 0, (void *)&to, sizeof to), sizeof p);
	socklen_t n = sizeof me;
	OK(getsockname(s, (void *)&me, &n));
	CHECK(me.sin_port != 0);
	struct sockaddr_in from;
	n = sizeof from;
	EQUAL(recvfrom(s, got, sizeof got, 0, (void *)&from, &n), sizeof p);
	struct icmphdr *h = (void *)got;
	EQUAL(h->type, ICMP_ECHOREPLY);
	EQUAL(h->un.echo.id, me.sin_port);
	EQUAL(ntohs(h->un.echo.sequence), 5);
	EQUAL(from.sin_addr.s_addr, to.sin_addr.s_addr);
	CHECK(!memcmp(got + 8, "data", 4));
	/* those of IPv6 have none of IPv4 at first */
	int only = -1;
	n = sizeof only;
	OK(getsockopt(OK(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6)), IPPROTO_IPV6, IPV6_V6ONLY, &only, &n));
	EQUAL(only, 1);
	/* nothing but requests */
	((struct icmphdr *)p)->type = ICMP_TIMESTAMP;
	FAILS(sendto(s, p, sizeof p, 0, (void *)&to, sizeof to), EINVAL);
	FAILS(sendto(s, p, 4, 0, (void *)&to, sizeof to), EINVAL);
	/* a name is an identifier */
	int b = OK(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
	struct sockaddr_in at = loopback4();
	at.sin_port = htons(99);
	OK(bind(b, (void *)&at, sizeof at));
	echo(p, 77, 6);
	OK(sendto(b, p, sizeof p, 0, (void *)&to, sizeof to));
	EQUAL(recv(b, got, sizeof got, 0), sizeof p);
	EQUAL(ntohs(h->un.echo.id), 99);
}

TEST(a_protocol_of_its_own) {
	own_network_up();
	int r = OK(socket(AF_INET, SOCK_RAW, 253)), s = OK(socket(AF_INET, SOCK_RAW, 253)), other = OK(socket(AF_INET, SOCK_RAW, 254));
	struct sockaddr_in to = loopback4();
	EQUAL(sendto(s, "hello", 5, 0, (void *)&to, sizeof to), 5);
	char got[100];
	EQUAL(recv(r, got, sizeof got, 0), 25);
	EQUAL(((struct iphdr *)got)->protocol, 253);
	CHECK(!memcmp(got + 20, "hello", 5));
	EQUAL(recv(s, got, sizeof got, 0), 25);
	FAILS(recv(other, got, sizeof got, MSG_DONTWAIT), EAGAIN);
	OK(socket(AF_INET, SOCK_RAW, 89));
	OK(socket(AF_INET, SOCK_RAW, IPPROTO_IGMP));
	int r6 = OK(socket(AF_INET6, SOCK_RAW, 253));
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	EQUAL(sendto(r6, "six", 3, 0, (void *)&to6, sizeof to6), 3);
	EQUAL(recv(r6, got, sizeof got, 0), 3);
}

/* what is longer than the link takes goes in fragments, unless it has its header or is to stay whole */
TEST(longer_than_the_link) {
	own_network_up();
	struct ifreq ifr = { .ifr_name = "lo", .ifr_mtu = 1500 };
	if (ioctl(OK(socket(AF_INET, SOCK_DGRAM, 0)), SIOCSIFMTU, &ifr) == -1)
		SKIP("the MTU of lo cannot be changed here");
	static char p[70000], got[70000];
	for (size_t i = 0; i < sizeof p; i++)
		p[i] = i * i >> 3;
	struct sockaddr_in to = loopback4();
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int s = OK(socket(AF_INET, SOCK_RAW, 253)), s6 = OK(socket(AF_INET6, SOCK_RAW, 254)), whole = IP_PMTUDISC_DO, on = 1;
	for (int n = 1000; n < 65515; n += 16001) {
		EQUAL(sendto(s, p, n, 0, (void *)&to, sizeof to), n);
		EQUAL(recv(s, got, sizeof got, 0), n + 20);
		CHECK(!memcmp(got + 20, p, n));
		EQUAL(sendto(s6, p, n, 0, (void *)&to6, sizeof to6), n);
		EQUAL(recv(s6, got, sizeof got, 0), n);
		CHECK(!memcmp(got, p, n));
	}
	FAILS(sendto(s, p, 65516, 0, (void *)&to, sizeof to), EMSGSIZE);
	FAILS(sendto(s6, p, 65536, 0, (void *)&to6, sizeof to6), EMSGSIZE);
	for (int at = 1998; at < 4000; at += 1000) { /* a checksum that has no place */
		OK(setsockopt(s6, IPPROTO_IPV6, IPV6_CHECKSUM, &at, sizeof at));
		FAILS(sendto(s6, p, 1999, 0, (void *)&to6, sizeof to6), EINVAL);
		FAILS(sendto(s6, p, 999, 0, (void *)&to6, sizeof to6), EINVAL);
	}
	OK(setsockopt(s6, IPPROTO_IPV6, IPV6_CHECKSUM, &(int){ -1 }, sizeof(int)));
	OK(setsockopt(s, IPPROTO_IP, IP_MTU_DISCOVER, &whole, sizeof whole));
	EQUAL(sendto(s, p, 1480, 0, (void *)&to, sizeof to), 1480);
	FAILS(sendto(s, p, 1481, 0, (void *)&to, sizeof to), EMSGSIZE);
	OK(setsockopt(s6, IPPROTO_IPV6, IPV6_DONTFRAG, &on, sizeof on)); /* of UDP, ICMPv6 and IPPROTO_RAW alone */
	EQUAL(sendto(s6, p, 1461, 0, (void *)&to6, sizeof to6), 1461);
	OK(setsockopt(s6, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &whole, sizeof whole));
	FAILS(sendto(s6, p, 1461, 0, (void *)&to6, sizeof to6), EMSGSIZE);
	/* the checksum is that of the whole */
	int c = OK(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
	struct icmp6_filter f;
	ICMP6_FILTER_SETBLOCKALL(&f);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &f);
	OK(setsockopt(c, IPPROTO_ICMPV6, ICMP6_FILTER, &f, sizeof f));
	p[0] = (char)ICMP6_ECHO_REQUEST, p[1] = 0;
	EQUAL(sendto(c, p, 5000, 0, (void *)&to6, sizeof to6), 5000);
	EQUAL(recv(c, got, sizeof got, 0), 5000);
	CHECK(!memcmp(got + 4, p + 4, 4996));
	/* one with its header may fill the link */
	int h = OK(socket(AF_INET, SOCK_RAW, IPPROTO_RAW)), r = OK(socket(AF_INET, SOCK_RAW, 254));
	struct iphdr *ip = (void *)p;
	*ip = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 64, .protocol = 254, .daddr = to.sin_addr.s_addr };
	EQUAL(sendto(h, p, 1500, 0, (void *)&to, sizeof to), 1500);
	EQUAL(recv(r, got, sizeof got, 0), 1500);
	CHECK(!memcmp(got + 20, p + 20, 1480));
	FAILS(sendto(h, p, 1501, 0, (void *)&to, sizeof to), EMSGSIZE);
}
