/* NETLINK_SOCK_DIAG: sock_diag(7), as ss(8) asks. */
#include "netlink.h"
#include <linux/inet_diag.h>
#include <linux/netlink_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/un.h>

static unsigned long inode_of(int fd) {
	struct stat st;
	OK(fstat(fd, &st));
	return st.st_ino;
}

static struct { unsigned long inode; int times, state, family, port, peer_port; int info, uid; } want;

static void look_inet(struct nlmsghdr *h) {
	EQUAL(h->nlmsg_type, SOCK_DIAG_BY_FAMILY);
	struct inet_diag_msg *m = NLMSG_DATA(h);
	if (m->idiag_inode != want.inode)
		return;
	want.times++;
	EQUAL(m->idiag_family, want.family);
	EQUAL(m->idiag_state, want.state);
	EQUAL(ntohs(m->id.idiag_sport), want.port);
	EQUAL(ntohs(m->id.idiag_dport), want.peer_port);
	EQUAL(m->idiag_uid, want.uid);
	struct rtattr *a = find(h, sizeof *m, INET_DIAG_INFO);
	if (want.info)
		CHECK(a && ((struct tcp_info *)RTA_DATA(a))->tcpi_state == want.state);
	CHECK(find(h, sizeof *m, INET_DIAG_SKMEMINFO));
}

static int list_inet(int family, int protocol, unsigned states) {
	struct request r;
	struct inet_diag_req_v2 d = {
		.sdiag_family = family, .sdiag_protocol = protocol, .idiag_states = states,
		.idiag_ext = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1),
	};
	begin(&r, SOCK_DIAG_BY_FAMILY, 0, &d, sizeof d);
	return dump(netlink(NETLINK_SOCK_DIAG), &r, look_inet);
}

static int port_of(int s) {
	struct sockaddr_in6 a;
	socklen_t n = sizeof a;
	OK(getsockname(s, (void *)&a, &n));
	return ntohs(a.sin6_port);
}

TEST(tcp) {
	own_network();
	EQUAL(set_up(netlink(NETLINK_ROUTE), 1, 1), 0);
	want.uid = getuid();
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	OK(bind(l, (void *)&a, sizeof a));
	OK(listen(l, 5));
	a.sin_port = htons(port_of(l));
	OK(connect(c, (void *)&a, sizeof a));
	int s = OK(accept(l, NULL, NULL));
	want.family = AF_INET, want.info = 1;
	want.inode = inode_of(l), want.state = 10, want.port = port_of(l), want.peer_port = 0;
	EQUAL(list_inet(AF_INET, IPPROTO_TCP, 1 << 10), 1);
	EQUAL(want.times, 1);
	want.inode = inode_of(c), want.state = 1, want.port = port_of(c), want.peer_port = port_of(l), want.times = 0;
	EQUAL(list_inet(AF_INET, IPPROTO_TCP, 1 << 1), 2);
	EQUAL(want.times, 1);
	want.inode = inode_of(s), want.port = port_of(l), want.peer_port = port_of(c), want.times = 0;
	EQUAL(list_inet(AF_INET, IPPROTO_TCP, -1), 3);
	EQUAL(want.times, 1);
	EQUAL(list_inet(AF_INET6, IPPROTO_TCP, -1), 0);
	EQUAL(list_inet(AF_INET, IPPROTO_UDP, -1), 0);
	close(l);
	EQUAL(list_inet(AF_INET, IPPROTO_TCP, 1 << 10), 0);
}

TEST(one_connection) {
	own_network();
	int n = netlink(NETLINK_SOCK_DIAG);
	struct request r;
	char b[4096];
	struct inet_diag_req_v2 d = { .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = -1 };
	d.id.idiag_cookie[0] = d.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	d.id.idiag_sport = htons(80);
	begin(&r, SOCK_DIAG_BY_FAMILY, 0, &d, sizeof d);
	EQUAL(answer(n, &r, b, sizeof b), -ENOENT);
	int l = OK(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(80) };
	OK(bind(l, (void *)&a, sizeof a));
	OK(listen(l, 5));
	EQUAL(answer(n, &r, b, sizeof b), 0);
	EQUAL(((struct inet_diag_msg *)NLMSG_DATA(b))->idiag_inode, inode_of(l));
	begin(&r, SOCK_DIAG_BY_FAMILY, 0, &d, 20);
	EQUAL(answer(n, &r, b, sizeof b), -EINVAL);
}

TEST(udp) {
	own_network();
	EQUAL(set_up(netlink(NETLINK_ROUTE), 1, 1), 0);
	want.uid = getuid();
	int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	OK(bind(s, (void *)&a, sizeof a));
	want.family = AF_INET6, want.state = 7, want.inode = inode_of(s), want.port = port_of(s);
	EQUAL(list_inet(AF_INET6, IPPROTO_UDP, -1), 1);
	EQUAL(want.times, 1);
	a.sin6_port = htons(9);
	OK(connect(s, (void *)&a, sizeof a));
	want.state = 1, want.peer_port = 9, want.times = 0;
	EQUAL(list_inet(AF_INET6, IPPROTO_UDP, 1 << 1), 1);
	EQUAL(want.times, 1);
}

static struct { unsigned long inode, peer; int times, state, type; const char *name; int length, queue; } unix_want;

static void look_unix(struct nlmsghdr *h) {
	struct unix_diag_msg *m = NLMSG_DATA(h);
	if (m->udiag_ino != unix_want.inode)
		return;
	unix_want.times++;
	EQUAL(m->udiag_family, AF_UNIX);
	EQUAL(m->udiag_type, unix_want.type);
	EQUAL(m->udiag_state, unix_want.state);
	struct rtattr *a = find(h, sizeof *m, UNIX_DIAG_NAME);
	if (unix_want.name)
		CHECK(a && RTA_PAYLOAD(a) >= (unsigned)unix_want.length && !memcmp(RTA_DATA(a), unix_want.name, unix_want.length));
	a = find(h, sizeof *m, UNIX_DIAG_PEER);
	if (unix_want.peer)
		CHECK(a && *(unsigned *)RTA_DATA(a) == unix_want.peer);
	a = find(h, sizeof *m, UNIX_DIAG_RQLEN);
	CHECK(a && ((struct unix_diag_rqlen *)RTA_DATA(a))->udiag_rqueue == (unsigned)unix_want.queue);
}

static void list_unix(unsigned states) {
	struct request r;
	struct unix_diag_req d = {
		.sdiag_family = AF_UNIX, .udiag_states = states, .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN,
	};
	begin(&r, SOCK_DIAG_BY_FAMILY, 0, &d, sizeof d);
	CHECK(dump(netlink(NETLINK_SOCK_DIAG), &r, look_unix) >= 1);
}

TEST(local_sockets) {
	own_network();
	int p[2], l = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "listener" };
	OK(bind(l, (void *)&a, sizeof a));
	OK(listen(l, 5));
	unix_want.inode = inode_of(l), unix_want.type = SOCK_STREAM, unix_want.state = 10, unix_want.name = "listener", unix_want.length = 8;
	list_unix(1 << 10);
	EQUAL(unix_want.times, 1);
	unix_want.name = NULL;
	unix_want.inode = inode_of(p[0]), unix_want.peer = inode_of(p[1]), unix_want.type = SOCK_DGRAM, unix_want.state = 1, unix_want.times = 0;
	list_unix(-1);
	EQUAL(unix_want.times, 1);
	int c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(connect(c, (void *)&a, sizeof a));
	unix_want.inode = inode_of(l), unix_want.peer = 0, unix_want.type = SOCK_STREAM, unix_want.state = 10, unix_want.queue = 1, unix_want.times = 0;
	list_unix(-1);
	EQUAL(unix_want.times, 1);
}

static int netlinks;
static void look_netlink(struct nlmsghdr *h) {
	struct netlink_diag_msg *m = NLMSG_DATA(h);
	if (m->ndiag_portid == (unsigned)getpid() && m->ndiag_protocol == NETLINK_ROUTE)
		netlinks++;
}

TEST(netlink_sockets) {
	own_network();
	int s = netlink(NETLINK_ROUTE), n = OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
	OK(bind(s, (void *)&(struct sockaddr_nl){ .nl_family = AF_NETLINK }, sizeof(struct sockaddr_nl)));
	struct request r;
	struct netlink_diag_req d = { .sdiag_family = AF_NETLINK, .sdiag_protocol = NDIAG_PROTO_ALL };
	begin(&r, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &d, sizeof d);
	char b[4096];
	if (answer(n, &r, b, sizeof b) == -ENOENT)
		SKIP("this kernel does not tell of netlink sockets");
	int again = netlink(NETLINK_SOCK_DIAG);
	CHECK(dump(again, &r, look_netlink) >= 2);
	EQUAL(netlinks, 1);
}

TEST(no_such_family) {
	struct request r;
	struct inet_diag_req_v2 d = { .sdiag_family = AF_ALG };
	char b[4096];
	begin(&r, SOCK_DIAG_BY_FAMILY, 0, &d, sizeof d);
	EQUAL(answer(netlink(NETLINK_SOCK_DIAG), &r, b, sizeof b), -ENOENT);
}
