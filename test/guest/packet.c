/* AF_PACKET sockets: packet(7), on lo of a network namespace of the test's own. */
#include "network.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int packet_socket(int type, int protocol) { return OK(socket(AF_PACKET, type, htons(protocol))); }

static struct sockaddr_ll on_lo(int protocol) {
	return (struct sockaddr_ll){ .sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = 1 };
}

/* a test's own protocol: nobody else sends it. */
#define OWN_PROTOCOL 0x88b5

static void frame(unsigned char *f, const char *text) {
	memset(f, 0, ETH_HLEN);
	f[12] = OWN_PROTOCOL >> 8, f[13] = OWN_PROTOCOL & 0xff;
	memcpy(f + ETH_HLEN, text, strlen(text));
}

static int readable(int fd) {
	struct pollfd p = { .fd = fd, .events = POLLIN };
	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

TEST(kinds_of_sockets) {
	own_network_up();
	FAILS(socket(AF_PACKET, SOCK_STREAM, 0), ESOCKTNOSUPPORT);
	FAILS(socket(AF_PACKET, SOCK_SEQPACKET, htons(ETH_P_ALL)), ESOCKTNOSUPPORT);
	int s = packet_socket(SOCK_DGRAM, 0), v;
	socklen_t n = sizeof v;
	OK(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &n));
	EQUAL(v, SOCK_DGRAM);
	OK(getsockopt(s, SOL_SOCKET, SO_DOMAIN, &v, &n));
	EQUAL(v, AF_PACKET);
	FAILS(listen(s, 1), EOPNOTSUPP);
	FAILS(accept(s, NULL, NULL), EOPNOTSUPP);
	FAILS(shutdown(s, SHUT_RD), EOPNOTSUPP);
	struct sockaddr_ll a = on_lo(0);
	FAILS(connect(s, (void *)&a, sizeof a), EOPNOTSUPP);
	n = sizeof a;
	FAILS(getpeername(s, (void *)&a, &n), EOPNOTSUPP);
	int pair[2];
	FAILS(socketpair(AF_PACKET, SOCK_RAW, 0, pair), EOPNOTSUPP);
}

TEST(needs_a_capability) {
	own_network_up();
	int status = IN_CHILD(
		OK(setresuid(65534, 65534, 65534));
		FAILS(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), EPERM);
		FAILS(socket(AF_PACKET, SOCK_STREAM, 0), EPERM);
	);
	EXITED_OK(status);
}

TEST(bind_and_name) {
	own_network_up();
	int s = packet_socket(SOCK_RAW, ETH_P_IP);
	struct sockaddr_ll a, lo = on_lo(0);
	socklen_t n = sizeof a;
	OK(getsockname(s, (void *)&a, &n));
	EQUAL(n, 12);
	EQUAL(a.sll_family, AF_PACKET);
	EQUAL(a.sll_protocol, htons(ETH_P_IP));
	EQUAL(a.sll_ifindex, 0);
	OK(bind(s, (void *)&lo, sizeof lo));
	n = sizeof a;
	OK(getsockname(s, (void *)&a, &n));
	EQUAL(n, 18);
	EQUAL(a.sll_protocol, htons(ETH_P_IP));
	EQUAL(a.sll_ifindex, 1);
	EQUAL(a.sll_hatype, ARPHRD_LOOPBACK);
	EQUAL(a.sll_halen, 6);
	FAILS(bind(s, (void *)&lo, sizeof lo - 1), EINVAL);
	lo.sll_family = AF_INET;
	FAILS(bind(s, (void *)&lo, sizeof lo), EINVAL);
	lo = on_lo(0);
	lo.sll_ifindex = 77;
	FAILS(bind(s, (void *)&lo, sizeof lo), ENODEV);
}

TEST(raw_frames_on_lo) {
	own_network_up();
	int r = packet_socket(SOCK_RAW, OWN_PROTOCOL), s = packet_socket(SOCK_RAW, 0);
	unsigned char f[100], got[200];
	frame(f, "hello");
	struct sockaddr_ll lo = on_lo(OWN_PROTOCOL), from;
	FAILS(send(s, f, ETH_HLEN + 5, 0), ENXIO);
	EQUAL(sendto(s, f, ETH_HLEN + 5, 0, (void *)&lo, sizeof lo), ETH_HLEN + 5);
	socklen_t n = sizeof from;
	memset(&from, 0xee, sizeof from);
	EQUAL(recvfrom(r, got, sizeof got, 0, (void *)&from, &n), ETH_HLEN + 5);
	EQUAL(n, sizeof from);
	CHECK(!memcmp(f, got, ETH_HLEN + 5));
	EQUAL(from.sll_family, AF_PACKET);
	EQUAL(from.sll_protocol, htons(OWN_PROTOCOL));
	EQUAL(from.sll_ifindex, 1);
	EQUAL(from.sll_hatype, ARPHRD_LOOPBACK);
	EQUAL(from.sll_pkttype, PACKET_HOST);
	EQUAL(from.sll_halen, 6);
	/* bound, it needs no address; a frame needs a header and has a longest size */
	OK(bind(s, (void *)&lo, sizeof lo));
	EQUAL(send(s, f, ETH_HLEN + 5, 0), ETH_HLEN + 5);
	EQUAL(recv(r, got, 3, MSG_TRUNC), ETH_HLEN + 5);
	FAILS(send(s, f, ETH_HLEN - 1, 0), EINVAL);
	static unsigned char big[70000];
	frame(big, "big");
	FAILS(send(s, big, sizeof big, 0), EMSGSIZE);
	FAILS(recv(r, got, sizeof got, MSG_DONTWAIT), EAGAIN);
	FAILS(recv(r, got, sizeof got, MSG_OOB), EINVAL);
	lo.sll_ifindex = 77;
	FAILS(sendto(s, f, ETH_HLEN + 5, 0, (void *)&lo, sizeof lo), ENXIO);
	FAILS(sendto(s, f, ETH_HLEN + 5, 0, (void *)&lo, 12), EINVAL);
}

TEST(datagrams_without_header) {
	own_network_up();
	int r = packet_socket(SOCK_DGRAM, OWN_PROTOCOL), s = packet_socket(SOCK_DGRAM, 0);
	struct sockaddr_ll lo = on_lo(OWN_PROTOCOL), from;
	lo.sll_halen = 6;
	EQUAL(sendto(s, "hello", 5, 0, (void *)&lo, sizeof lo), 5);
	char got[100];
	socklen_t n = sizeof from;
	EQUAL(recvfrom(r, got, sizeof got, 0, (void *)&from, &n), 5);
	CHECK(!memcmp(got, "hello", 5));
	EQUAL(from.sll_protocol, htons(OWN_PROTOCOL));
	EQUAL(from.sll_pkttype, PACKET_HOST);
}

TEST(protocols_are_chosen) {
	own_network_up();
	int ip = packet_socket(SOCK_RAW, ETH_P_IP), all = packet_socket(SOCK_RAW, ETH_P_ALL), s = packet_socket(SOCK_RAW, 0);
	unsigned char f[100], got[200];
	frame(f, "hello");
	struct sockaddr_ll lo = on_lo(OWN_PROTOCOL), from;
	OK(sendto(s, f, ETH_HLEN + 5, 0, (void *)&lo, sizeof lo));
	/* who receives all sees it leave and come */
	socklen_t n = sizeof from;
	EQUAL(recvfrom(all, got, sizeof got, 0, (void *)&from, &n), ETH_HLEN + 5);
	EQUAL(from.sll_pkttype, PACKET_OUTGOING);
	n = sizeof from;
	EQUAL(recvfrom(all, got, sizeof got, 0, (void *)&from, &n), ETH_HLEN + 5);
	EQUAL(from.sll_pkttype, PACKET_HOST);
	FAILS(recv(all, got, sizeof got, MSG_DONTWAIT), EAGAIN);
	FAILS(recv(ip, got, sizeof got, MSG_DONTWAIT), EAGAIN);
	/* one that does not want what leaves */
	int one = 1;
	OK(setsockopt(all, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one));
	OK(sendto(s, f, ETH_HLEN + 5, 0, (void *)&lo, sizeof lo));
	n = sizeof from;
	EQUAL(recvfrom(all, got, sizeof got, 0, (void *)&from, &n), ETH_HLEN + 5);
	EQUAL(from.sll_pkttype, PACKET_HOST);
	FAILS(recv(all, got, sizeof got, MSG_DONTWAIT), EAGAIN);
}

TEST(a_sender_does_not_hear_itself_leave) {
	own_network_up();
	int s = packet_socket(SOCK_RAW, ETH_P_ALL);
	unsigned char f[100], got[200];
	frame(f, "hello");
	struct sockaddr_ll lo = on_lo(OWN_PROTOCOL), from;
	OK(sendto(s, f, ETH_HLEN + 5, 0, (void *)&lo, sizeof lo));
	socklen_t n = sizeof from;
	EQUAL(recvfrom(s, got, sizeof got, 0, (void *)&from, &n), ETH_HLEN + 5);
	EQUAL(from.sll_pkttype, PACKET_HOST);
	FAILS(recv(s, got, sizeof got, MSG_DONTWAIT), EAGAIN);
}

TEST(sees_udp_on_lo) {
	own_network_up();
	int p = packet_socket(SOCK_RAW, ETH_P_IP), u = OK(socket(AF_INET, SOCK_DGRAM, 0)), to = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	OK(bind(to, (void *)&a, sizeof a));
	socklen_t n = sizeof a;
	OK(getsockname(to, (void *)&a, &n));
	EQUAL(sendto(u, "ping", 4, 0, (void *)&a, sizeof a), 4);
	unsigned char got[200];
	EQUAL(recv(p, got, sizeof got, 0), ETH_HLEN + 20 + 8 + 4);
	struct iphdr *ip = (void *)(got + ETH_HLEN);
	struct udphdr *udp = (void *)(ip + 1);
	EQUAL(got[12] << 8 | got[13], ETH_P_IP);
	EQUAL(ip->version, 4);
	EQUAL(ip->protocol, IPPROTO_UDP);
	EQUAL(ip->daddr, a.sin_addr.s_addr);
	EQUAL(udp->dest, a.sin_port);
	CHECK(!memcmp(udp + 1, "ping", 4));
}

/* A connection over lo is seen whole by who listens from before it began. */
TEST(sees_tcp_on_lo) {
	own_network_up();
	int r = packet_socket(SOCK_DGRAM, ETH_P_ALL);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(l, (void *)&a, n));
	OK(getsockname(l, (void *)&a, &n));
	OK(listen(l, 1));
	OK(connect(c, (void *)&a, n));
	int s = OK(accept(l, NULL, NULL));
	EQUAL(write(c, "to be seen", 10), 10);
	char got[2000];
	EQUAL(read(s, got, 10), 10);
	EQUAL(write(s, "the answer", 10), 10);
	EQUAL(read(c, got, 10), 10);
	int there = 0, back = 0;
	while (!there || !back) {
		struct pollfd p = { .fd = r, .events = POLLIN };
		EQUAL(poll(&p, 1, 30000), 1);
		ssize_t k = OK(recv(r, got, sizeof got, 0));
		there |= k > 10 && memcmp(got + k - 10, "to be seen", 10) == 0;
		back |= k > 10 && memcmp(got + k - 10, "the answer", 10) == 0;
	}
}

TEST(filters) {
	own_network_up();
	int r = packet_socket(SOCK_RAW, OWN_PROTOCOL), s = packet_socket(SOCK_RAW, 0);
	/* the first byte after the header is 'y': six bytes more; else nothing */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETH_HLEN),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PROTOCOL),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_PROTOCOL, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, ETH_HLEN + 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog prog = { .len = 6, .filter = code };
	OK(setsockopt(r, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog));
	struct sockaddr_ll lo = on_lo(OWN_PROTOCOL);
	unsigned char f[100], got[200];
	frame(f, "no");
	OK(sendto(s, f, ETH_HLEN + 2, 0, (void *)&lo, sizeof lo));
	frame(f, "yes");
	OK(sendto(s, f, ETH_HLEN + 3, 0, (void *)&lo, sizeof lo));
	EQUAL(recv(r, got, sizeof got, 0), ETH_HLEN + 1);
	EQUAL(got[ETH_HLEN], 'y');
	FAILS(recv(r, got, sizeof got, MSG_DONTWAIT), EAGAIN);
	/* what cannot be a filter */
	prog.len = 0;
	FAILS(setsockopt(r, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog), EINVAL);
	prog.len = 5;
	code[1].jf = 200;
	FAILS(setsockopt(r, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog), EINVAL);
	prog.filter = (void *)8;
	FAILS(setsockopt(r, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog), EFAULT);
	/* without one it receives all; a locked one stays */
	int one = 1;
	OK(setsockopt(r, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one));
	FAILS(setsockopt(r, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one), ENOENT);
	frame(f, "no");
	OK(sendto(s, f, ETH_HLEN + 2, 0, (void *)&lo, sizeof lo));
	EQUAL(recv(r, got, sizeof got, 0), ETH_HLEN + 2);
	code[1].jf = 3;
	prog = (struct sock_fprog){ .len = 6, .filter = code };
	OK(setsockopt(r, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog));
	OK(setsockopt(r, SOL_SOCKET, SO_LOCK_FILTER, &one, sizeof one));
	FAILS(setsockopt(r, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one), EPERM);
	FAILS(setsockopt(r, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog), EPERM);
}

TEST(control_messages) {
	own_network_up();
	int r = packet_socket(SOCK_RAW, OWN_PROTOCOL), s = packet_socket(SOCK_RAW, 0), one = 1;
	OK(setsockopt(r, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one));
	OK(setsockopt(r, SOL_SOCKET, SO_TIMESTAMP, &one, sizeof one));
	struct sockaddr_ll lo = on_lo(OWN_PROTOCOL);
	unsigned char f[100], got[10];
	frame(f, "hello");
	OK(sendto(s, f, ETH_HLEN + 5, 0, (void *)&lo, sizeof lo));
	char control[256];
	struct iovec v = { got, sizeof got };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	EQUAL(recvmsg(r, &m, 0), sizeof got);
	CHECK(m.msg_flags & MSG_TRUNC);
	int seen = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA) {
			struct tpacket_auxdata *a = (void *)CMSG_DATA(c);
			EQUAL(c->cmsg_len, CMSG_LEN(sizeof *a));
			CHECK(a->tp_status & TP_STATUS_USER);
			EQUAL(a->tp_len, ETH_HLEN + 5);
			EQUAL(a->tp_snaplen, ETH_HLEN + 5);
			EQUAL(a->tp_mac, 0);
			EQUAL(a->tp_net, ETH_HLEN);
			seen |= 1;
		}
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMP)
			seen |= 2;
	}
	EQUAL(seen, 3);
}

TEST(statistics) {
	own_network_up();
	int r = packet_socket(SOCK_RAW, OWN_PROTOCOL), s = packet_socket(SOCK_RAW, 0), small = 1;
	OK(setsockopt(r, SOL_SOCKET, SO_RCVBUF, &small, sizeof small));
	struct sockaddr_ll lo = on_lo(OWN_PROTOCOL);
	static unsigned char f[1500];
	frame(f, "hello");
	for (int i = 0; i < 50; i++)
		OK(sendto(s, f, sizeof f, 0, (void *)&lo, sizeof lo));
	struct tpacket_stats st;
	socklen_t n = sizeof st;
	OK(getsockopt(r, SOL_PACKET, PACKET_STATISTICS, &st, &n));
	EQUAL(n, sizeof st);
	EQUAL(st.tp_packets, 50);
	CHECK(st.tp_drops > 0 && st.tp_drops < 50);
	unsigned got = 0;
	while (recv(r, f, sizeof f, MSG_DONTWAIT) > 0)
		got++;
	EQUAL(got, 50 - st.tp_drops);
	OK(getsockopt(r, SOL_PACKET, PACKET_STATISTICS, &st, &n));
	EQUAL(st.tp_packets, 0);
	EQUAL(st.tp_drops, 0);
}

TEST(memberships) {
	own_network_up();
	int s = packet_socket(SOCK_RAW, ETH_P_ALL);
	struct packet_mreq m = { .mr_ifindex = 1, .mr_type = PACKET_MR_PROMISC };
	OK(setsockopt(s, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &m, sizeof m));
	OK(setsockopt(s, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m));
	OK(setsockopt(s, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m));
	OK(setsockopt(s, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &m, sizeof m));
	OK(setsockopt(s, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &m, sizeof m));
	FAILS(setsockopt(s, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m - 1), EINVAL);
	m.mr_type = PACKET_MR_MULTICAST;
	FAILS(setsockopt(s, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m), EINVAL); /* an address of no length */
	FAILS(setsockopt(s, SOL_PACKET, PACKET_IGNORE_OUTGOING, &m, 8), EINVAL);
	FAILS(setsockopt(s, SOL_PACKET, 99, &m, 1), ENOPROTOOPT);
	m.mr_ifindex = 77;
	FAILS(setsockopt(s, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m), ENODEV);
}

TEST(an_interface_that_is_down) {
	if (unshare(CLONE_NEWNET) == -1)
		SKIP("only root can make network namespaces");
	int s = packet_socket(SOCK_RAW, 0), e;
	struct sockaddr_ll lo = on_lo(ETH_P_ALL);
	socklen_t n = sizeof e;
	OK(bind(s, (void *)&lo, sizeof lo));
	OK(getsockopt(s, SOL_SOCKET, SO_ERROR, &e, &n));
	EQUAL(e, ENETDOWN);
	unsigned char f[100];
	frame(f, "hello");
	FAILS(send(s, f, ETH_HLEN + 5, 0), ENETDOWN);
}

TEST(ring) {
	own_network_up();
	int r = packet_socket(SOCK_RAW, 0), s = packet_socket(SOCK_RAW, 0), v = TPACKET_V2;
	socklen_t n = sizeof v;
	OK(getsockopt(r, SOL_PACKET, PACKET_HDRLEN, &v, &n));
	EQUAL(v, sizeof(struct tpacket2_hdr));
	v = 17;
	FAILS(getsockopt(r, SOL_PACKET, PACKET_HDRLEN, &v, &n), EINVAL);
	FAILS(setsockopt(r, SOL_PACKET, PACKET_VERSION, &v, sizeof v), EINVAL);
	v = TPACKET_V2;
	OK(setsockopt(r, SOL_PACKET, PACKET_VERSION, &v, sizeof v));
	int reserve = 4;
	OK(setsockopt(r, SOL_PACKET, PACKET_RESERVE, &reserve, sizeof reserve));
	struct tpacket_req req = { .tp_block_size = 8192, .tp_block_nr = 2, .tp_frame_size = 2048, .tp_frame_nr = 7 }, none = { 0 };
	FAILS(setsockopt(r, SOL_PACKET, PACKET_RX_RING, &req, sizeof req), EINVAL);
	req.tp_frame_nr = 8;
	req.tp_frame_size = 2040;
	FAILS(setsockopt(r, SOL_PACKET, PACKET_RX_RING, &req, sizeof req), EINVAL);
	req.tp_frame_size = 2048;
	OK(setsockopt(r, SOL_PACKET, PACKET_RX_RING, &req, sizeof req));
	FAILS(setsockopt(r, SOL_PACKET, PACKET_RX_RING, &req, sizeof req), EBUSY);
	FAILS(setsockopt(r, SOL_PACKET, PACKET_VERSION, &v, sizeof v), EBUSY);
	char *map = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, r, 0);
	CHECK(map != MAP_FAILED);
	FAILS(setsockopt(r, SOL_PACKET, PACKET_RX_RING, &none, sizeof none), EBUSY);
	struct sockaddr_ll lo = on_lo(OWN_PROTOCOL);
	OK(bind(r, (void *)&lo, sizeof lo));
	CHECK(!readable(r));
	unsigned char f[3000];
	for (int i = 0; i < 12; i++) {
		frame(f, "frame ");
		f[ETH_HLEN + 6] = 'a' + i;
		OK(sendto(s, f, i == 3 ? 3000 : ETH_HLEN + 7, 0, (void *)&lo, sizeof lo));
	}
	CHECK(readable(r));
	for (int i = 0; i < 8; i++) {
		struct tpacket2_hdr *h = (void *)(map + i * 2048);
		CHECK(h->tp_status & TP_STATUS_USER);
		EQUAL(h->tp_len, i == 3 ? 3000 : ETH_HLEN + 7);
		EQUAL(h->tp_mac, ((52 + 16 + 15) & ~15) + 4 - ETH_HLEN);
		EQUAL(h->tp_net, ((52 + 16 + 15) & ~15) + 4);
		EQUAL(h->tp_snaplen, i == 3 ? 2048 - h->tp_mac : ETH_HLEN + 7);
		struct sockaddr_ll *a = (void *)((char *)h + TPACKET_ALIGN(sizeof *h));
		EQUAL(a->sll_protocol, htons(OWN_PROTOCOL));
		EQUAL(a->sll_ifindex, 1);
		EQUAL(((char *)h)[h->tp_net + 6], 'a' + i);
		h->tp_status = TP_STATUS_KERNEL;
	}
	CHECK(!readable(r));
	struct tpacket_stats st;
	n = sizeof st;
	OK(getsockopt(r, SOL_PACKET, PACKET_STATISTICS, &st, &n));
	EQUAL(st.tp_packets, 12);
	EQUAL(st.tp_drops, 4);
	/* a blocking wait ends with the next frame */
	pid_t k = OK(fork());
	if (k == 0) {
		await_sleep(getppid());
		OK(sendto(s, f, ETH_HLEN + 7, 0, (void *)&lo, sizeof lo));
		_exit(0);
	}
	struct pollfd p = { .fd = r, .events = POLLIN };
	EQUAL(poll(&p, 1, 60000), 1);
	CHECK(((struct tpacket2_hdr *)map)->tp_status & TP_STATUS_USER);
	waitpid(k, NULL, 0);
}
