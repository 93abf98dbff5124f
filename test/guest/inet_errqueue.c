/* The errors of datagrams: IP_RECVERR and MSG_ERRQUEUE of ip(7), on lo of a network of the
 * test's own. */
#include "network.h"
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/icmp6.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <net/if.h>

/* error is what MSG_ERRQUEUE gave. */
struct error {
	char data[64];
	ssize_t size;
	int flags;
	struct sockaddr_storage to;
	socklen_t to_size;
	struct sock_extended_err ee;
	struct sockaddr_storage offender;
};

static int next_error(int fd, struct error *e) {
	char control[512];
	memset(e, 0, sizeof *e);
	struct iovec v = { e->data, sizeof e->data };
	struct msghdr m = { .msg_name = &e->to, .msg_namelen = sizeof e->to, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	e->size = recvmsg(fd, &m, MSG_ERRQUEUE);
	if (e->size == -1)
		return -1;
	e->flags = m.msg_flags;
	e->to_size = m.msg_namelen;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) || (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
			memcpy(&e->ee, CMSG_DATA(c), sizeof e->ee);
			memcpy(&e->offender, CMSG_DATA(c) + sizeof e->ee, c->cmsg_len - CMSG_LEN(sizeof e->ee));
			return 0;
		}
	guest_fail(__FILE__, __LINE__, "no error came with the message");
}

static void await_error(int fd) {
	struct pollfd p = { .fd = fd };
	EQUAL(poll(&p, 1, 60000), 1);
	CHECK(p.revents & POLLERR);
}

/* nobody is a port that nobody receives at but a socket that hears only itself, so that nobody else gets it. */
static struct sockaddr_in nobody(void) {
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(bind(s, (void *)&a, sizeof a));
	OK(getsockname(s, (void *)&a, &n));
	OK(connect(s, (void *)&a, n));
	return a;
}

/* sends sends a datagram of so many bytes to an address of lo. */
static ssize_t sends(int fd, const char *address, int size) {
	static char buf[2000];
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
	if (inet_pton(AF_INET, address, &a.sin_addr) == 1)
		return sendto(fd, buf, size, 0, (void *)&a, sizeof a);
	EQUAL(inet_pton(AF_INET6, address, &a6.sin6_addr), 1);
	return sendto(fd, buf, size, 0, (void *)&a6, sizeof a6);
}

static void set(int fd, int level, int name, int value) { OK(setsockopt(fd, level, name, &value, sizeof value)); }

/* What may not be fragmented is refused if it is longer than the interface takes. */
TEST(datagrams_kept_whole) {
	own_network();
	struct ifreq r = { .ifr_name = "lo", .ifr_mtu = 1300 };
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(ioctl(s, SIOCSIFMTU, &r));
	set_lo(1);
	const int whole[] = { IP_PMTUDISC_DO, IP_PMTUDISC_PROBE, IP_PMTUDISC_INTERFACE };
	for (int i = 0; i < 3; i++) {
		set(s, IPPROTO_IP, IP_MTU_DISCOVER, whole[i]);
		EQUAL(sends(s, "127.0.0.1", 1272), 1272);
		FAILS(sends(s, "127.0.0.1", 1273), EMSGSIZE);
	}
	struct error e;
	set(s, IPPROTO_IP, IP_RECVERR, 1);
	FAILS(sends(s, "127.0.0.1", 1273), EMSGSIZE);
	OK(next_error(s, &e));
	EQUAL(e.ee.ee_errno, EMSGSIZE);
	EQUAL(e.ee.ee_origin, SO_EE_ORIGIN_LOCAL);
	EQUAL(e.ee.ee_info, 1300);
	set(s, IPPROTO_IP, IP_RECVERR, 0);
	const int pieces[] = { IP_PMTUDISC_DONT, IP_PMTUDISC_WANT, IP_PMTUDISC_OMIT };
	for (int i = 0; i < 3; i++) {
		set(s, IPPROTO_IP, IP_MTU_DISCOVER, pieces[i]);
		EQUAL(sends(s, "127.0.0.1", 1273), 1273);
	}
	int s6 = socket(AF_INET6, SOCK_DGRAM, 0);
	if (s6 == -1 || sends(s6, "::1", 1253) == -1)
		return; /* the host has no IPv6 */
	set(s6, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
	EQUAL(sends(s6, "::1", 1252), 1252);
	FAILS(sends(s6, "::1", 1253), EMSGSIZE);
	EQUAL(sends(s6, "::ffff:127.0.0.1", 1273), 1273);
	set(s6, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT);
	EQUAL(sends(s6, "::1", 1253), 1253);
	set(s6, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
	FAILS(sends(s6, "::1", 1253), EMSGSIZE);
	set(s6, IPPROTO_IPV6, IPV6_DONTFRAG, 0);
	EQUAL(sends(s6, "::1", 1253), 1253);
}

TEST(port_unreachable) {
	own_network_up();
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), on = 1, v;
	struct sockaddr_in to = nobody();
	struct error e;
	OK(setsockopt(s, IPPROTO_IP, IP_RECVERR, &on, sizeof on));
	socklen_t n = sizeof v;
	OK(getsockopt(s, IPPROTO_IP, IP_RECVERR, &v, &n));
	EQUAL(v, 1);
	FAILS(next_error(s, &e), EAGAIN);
	EQUAL(sendto(s, "hello", 5, 0, (void *)&to, sizeof to), 5);
	await_error(s);
	OK(next_error(s, &e));
	EQUAL(e.size, 5);
	CHECK(!memcmp(e.data, "hello", 5));
	CHECK(e.flags & MSG_ERRQUEUE);
	EQUAL(e.ee.ee_errno, ECONNREFUSED);
	EQUAL(e.ee.ee_origin, SO_EE_ORIGIN_ICMP);
	EQUAL(e.ee.ee_type, ICMP_DEST_UNREACH);
	EQUAL(e.ee.ee_code, ICMP_PORT_UNREACH);
	struct sockaddr_in *was = (void *)&e.to, *from = (void *)&e.offender;
	EQUAL(e.to_size, sizeof *was);
	EQUAL(was->sin_addr.s_addr, to.sin_addr.s_addr);
	EQUAL(was->sin_port, to.sin_port);
	EQUAL(from->sin_family, AF_INET);
	EQUAL(from->sin_addr.s_addr, to.sin_addr.s_addr);
	FAILS(next_error(s, &e), EAGAIN);
}

/* With SO_SELECT_ERR_QUEUE an error is urgent, too: select(2) tells of it among the exceptions. */
TEST(errors_are_exceptions) {
	struct sockaddr_in a = nobody();
	for (int on = 0; on < 2; on++) {
		int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
		set(s, IPPROTO_IP, IP_RECVERR, 1);
		set(s, SOL_SOCKET, SO_SELECT_ERR_QUEUE, on);
		OK(sendto(s, "x", 1, 0, (void *)&a, sizeof a));
		await_error(s);
		struct pollfd p = { .fd = s, .events = POLLPRI };
		EQUAL(poll(&p, 1, 0), 1);
		EQUAL(p.revents, on ? POLLERR | POLLPRI : POLLERR);
		close(s);
	}
}

TEST(the_error_is_told_by_calls_too) {
	own_network_up();
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), on = 1;
	struct sockaddr_in to = nobody();
	char b[10];
	OK(setsockopt(s, IPPROTO_IP, IP_RECVERR, &on, sizeof on));
	OK(sendto(s, "hello", 5, 0, (void *)&to, sizeof to));
	await_error(s);
	FAILS(recv(s, b, sizeof b, MSG_DONTWAIT), ECONNREFUSED);
	FAILS(recv(s, b, sizeof b, MSG_DONTWAIT), EAGAIN);
	struct error e;
	OK(next_error(s, &e));
	EQUAL(e.ee.ee_errno, ECONNREFUSED);
}

TEST(without_the_option_nothing_is_told) {
	own_network_up();
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), on = 1, off = 0;
	struct sockaddr_in to = nobody();
	char b[10];
	struct error e;
	OK(sendto(s, "hello", 5, 0, (void *)&to, sizeof to));
	FAILS(recv(s, b, sizeof b, MSG_DONTWAIT), EAGAIN);
	FAILS(next_error(s, &e), EAGAIN);
	/* switched off, what is queued goes */
	OK(setsockopt(s, IPPROTO_IP, IP_RECVERR, &on, sizeof on));
	OK(sendto(s, "hello", 5, 0, (void *)&to, sizeof to));
	await_error(s);
	OK(setsockopt(s, IPPROTO_IP, IP_RECVERR, &off, sizeof off));
	FAILS(next_error(s, &e), EAGAIN);
}

TEST(each_datagram_has_its_own) {
	own_network_up();
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), other = OK(socket(AF_INET, SOCK_DGRAM, 0)), on = 1;
	struct sockaddr_in to = nobody();
	struct error e;
	OK(setsockopt(s, IPPROTO_IP, IP_RECVERR, &on, sizeof on));
	OK(setsockopt(other, IPPROTO_IP, IP_RECVERR, &on, sizeof on));
	/* a send tells the error of the one before, and sends nothing */
	OK(sendto(s, "one", 3, 0, (void *)&to, sizeof to));
	await_error(s);
	FAILS(sendto(s, "lost", 4, 0, (void *)&to, sizeof to), ECONNREFUSED);
	OK(sendto(s, "two", 3, 0, (void *)&to, sizeof to));
	OK(next_error(s, &e));
	CHECK(!memcmp(e.data, "one", 3));
	await_error(s);
	OK(next_error(s, &e));
	CHECK(!memcmp(e.data, "two", 3));
	FAILS(next_error(other, &e), EAGAIN);
}

TEST(ipv6) {
	own_network_up();
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0)), on = 1;
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(9) };
	struct error e;
	OK(setsockopt(s, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on));
	OK(sendto(s, "hello", 5, 0, (void *)&to, sizeof to));
	await_error(s);
	OK(next_error(s, &e));
	EQUAL(e.size, 5);
	EQUAL(e.ee.ee_errno, ECONNREFUSED);
	EQUAL(e.ee.ee_origin, SO_EE_ORIGIN_ICMP6);
	EQUAL(e.ee.ee_type, ICMP6_DST_UNREACH);
	EQUAL(e.ee.ee_code, ICMP6_DST_UNREACH_NOPORT);
	struct sockaddr_in6 *was = (void *)&e.to, *from = (void *)&e.offender;
	EQUAL(was->sin6_port, to.sin6_port);
	CHECK(IN6_IS_ADDR_LOOPBACK(&was->sin6_addr));
	EQUAL(from->sin6_family, AF_INET6);
	CHECK(IN6_IS_ADDR_LOOPBACK(&from->sin6_addr));
}
