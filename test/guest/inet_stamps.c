/* SO_TIMESTAMPING of datagrams that are sent: the error queue tells when they left. */
#include "inet.h"
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/udp.h>

enum { software = SOF_TIMESTAMPING_SOFTWARE, sent = SOF_TIMESTAMPING_TX_SOFTWARE, queued = SOF_TIMESTAMPING_TX_SCHED,
       number = SOF_TIMESTAMPING_OPT_ID, time_only = SOF_TIMESTAMPING_OPT_TSONLY };

struct told {
	struct scm_timestamping at;
	struct sock_extended_err err;
	union addr from;
	char data[256];
	int size, timed;
};

/* told takes what is told of a datagram. */
static struct told told(int fd) {
	struct told t = { .timed = 0 };
	union { char b[512]; struct cmsghdr h; } c;
	struct iovec v = { t.data, sizeof t.data };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b };
	struct pollfd p = { fd, 0 };
	EQUAL(poll(&p, 1, -1), 1);
	EQUAL(p.revents, POLLERR);
	t.size = OK(recvmsg(fd, &m, MSG_ERRQUEUE));
	EQUAL(m.msg_flags, MSG_ERRQUEUE);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
		if (h->cmsg_level == SOL_SOCKET) {
			EQUAL(h->cmsg_type, SO_TIMESTAMPING);
			memcpy(&t.at, CMSG_DATA(h), sizeof t.at);
			t.timed = 1;
		} else {
			memcpy(&t.err, CMSG_DATA(h), sizeof t.err);
			memcpy(&t.from, SO_EE_OFFENDER((struct sock_extended_err *)CMSG_DATA(h)), h->cmsg_len - CMSG_LEN(sizeof t.err));
		}
	EQUAL(t.err.ee_errno, ENOMSG);
	EQUAL(t.err.ee_origin, SO_EE_ORIGIN_TIMESTAMPING);
	return t;
}

/* sender is a socket with flags, connected to another. */
static int sender(int family, int flags) {
	int s = OK(socket(family, SOCK_DGRAM, 0));
	connect_to(s, bound(family, SOCK_DGRAM));
	OK(set(s, SOL_SOCKET, SO_TIMESTAMPING, flags));
	return s;
}

TEST(when_a_datagram_left) {
	int s = sender(AF_INET, software | sent);
	struct timespec before, after;
	OK(clock_gettime(CLOCK_REALTIME, &before));
	EQUAL(send(s, "hello", 5, 0), 5);
	struct told t = told(s);
	OK(clock_gettime(CLOCK_REALTIME, &after));
	CHECK(t.timed);
	CHECK(t.at.ts[0].tv_sec >= before.tv_sec && t.at.ts[0].tv_sec <= after.tv_sec);
	EQUAL(t.at.ts[2].tv_sec, 0);
	EQUAL(t.err.ee_info, SCM_TSTAMP_SND);
	EQUAL(t.err.ee_data, 0);
	EQUAL(t.size, 14 + 20 + 8 + 5); /* the frame */
	EQUAL(t.data[14] & 0xf0, 0x40);
	EQUAL(memcmp(t.data + t.size - 5, "hello", 5), 0);
	EQUAL(t.from.sa.sa_family, 0);
	EQUAL(option(s, SOL_SOCKET, SO_ERROR), 0); /* it is no error */
	char b[8];
	FAILS(recv(s, b, sizeof b, MSG_ERRQUEUE), EAGAIN);
	EQUAL(send(s, "again", 5, 0), 5);
}

TEST(numbers_of_datagrams) {
	int s = sender(AF_INET, software | sent | queued | number | time_only);
	for (unsigned i = 0; i < 3; i++) {
		EQUAL(send(s, "x", 1, 0), 1);
		struct told t = told(s);
		EQUAL(t.err.ee_info, SCM_TSTAMP_SCHED);
		EQUAL(t.err.ee_data, i);
		t = told(s);
		EQUAL(t.err.ee_info, SCM_TSTAMP_SND);
		EQUAL(t.err.ee_data, i);
		EQUAL(t.size, 0);
	}
	OK(set(s, SOL_SOCKET, SO_TIMESTAMPING, software | sent));
	OK(set(s, SOL_SOCKET, SO_TIMESTAMPING, software | sent | number));
	EQUAL(send(s, "x", 1, 0), 1);
	EQUAL(told(s).err.ee_data, 0); /* they begin anew */
	OK(set(s, SOL_SOCKET, SO_TIMESTAMPING, sent));
	EQUAL(send(s, "x", 1, 0), 1);
	EQUAL(told(s).timed, 0); /* nobody asked for the time itself */
}

static int send_with(int s, int flags) {
	union { char b[CMSG_SPACE(4)]; struct cmsghdr h; } c = { .h = { CMSG_LEN(4), SOL_SOCKET, SO_TIMESTAMPING } };
	memcpy(CMSG_DATA(&c.h), &flags, 4);
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b };
	return sendmsg(s, &m, 0);
}

TEST(a_datagram_of_its_own) {
	int s = sender(AF_INET, software);
	EQUAL(send(s, "x", 1, 0), 1); /* untold */
	EQUAL(send_with(s, sent), 1);
	EQUAL(told(s).err.ee_info, SCM_TSTAMP_SND);
	EQUAL(send_with(s, SOF_TIMESTAMPING_TX_HARDWARE), 1); /* which lo does not have */
	char b[8];
	FAILS(recv(s, b, sizeof b, MSG_ERRQUEUE), EAGAIN);
	FAILS(send_with(s, software), EINVAL);
	FAILS(send_with(s, 1 << 30), EINVAL);
}

TEST(where_a_datagram_came_from) {
	need_family(AF_INET6);
	int s = sender(AF_INET6, software | sent);
	EQUAL(send(s, "hello", 5, 0), 5);
	struct told t = told(s);
	EQUAL(t.size, 14 + 40 + 8 + 5);
	EQUAL(t.from.sa.sa_family, AF_INET6);
	CHECK(IN6_IS_ADDR_LOOPBACK(&t.from.in6.sin6_addr));
	s = sender(AF_INET, software | sent | SOF_TIMESTAMPING_OPT_CMSG);
	EQUAL(send(s, "x", 1, 0), 1);
	t = told(s);
	EQUAL(t.from.sa.sa_family, AF_INET);
	EQUAL(t.from.in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
}

/* What is sent as several datagrams at once is told of once, and numbers go to those that are only asked of the network card, too. */
TEST(several_datagrams_at_once) {
	static char b[3000];
	int s = sender(AF_INET, software | sent | number | time_only);
	OK(set(s, IPPROTO_UDP, UDP_SEGMENT, 1000));
	EQUAL(send(s, b, sizeof b, 0), sizeof b);
	EQUAL(told(s).err.ee_data, 0);
	FAILS(recv(s, b, sizeof b, MSG_ERRQUEUE), EAGAIN);
	OK(set(s, IPPROTO_UDP, UDP_SEGMENT, 0));
	EQUAL(send(s, b, 1, 0), 1);
	EQUAL(told(s).err.ee_data, 1);
	EQUAL(send_with(s, SOF_TIMESTAMPING_TX_HARDWARE), 1);
	EQUAL(send(s, b, 1, 0), 1);
	EQUAL(told(s).err.ee_data, 3);
}
