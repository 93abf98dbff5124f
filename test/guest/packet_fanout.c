/* PACKET_FANOUT: sockets that share what comes, as packet(7) says, on lo of a network of the test's own. */
#include "network.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>

/* What leaves by lo comes in by it too, and sockets for all protocols see both: one is enough. */
#define ONCE PACKET_FANOUT_FLAG_IGNORE_OUTGOING
#ifndef PACKET_FANOUT_FLAG_IGNORE_OUTGOING
#define PACKET_FANOUT_FLAG_IGNORE_OUTGOING 0x4000
#endif

static char buf[2000];

static int receiver(int protocol) { return OK(socket(AF_PACKET, SOCK_DGRAM, htons(protocol))); }
static int packet_socket(void) { return receiver(ETH_P_IP); }

static int join(int s, int id, int how) {
	unsigned v = id | (unsigned)how << 16;
	return setsockopt(s, SOL_PACKET, PACKET_FANOUT, &v, sizeof v);
}

static unsigned joined(int s) {
	unsigned v = -1;
	socklen_t n = sizeof v;
	OK(getsockopt(s, SOL_PACKET, PACKET_FANOUT, &v, &n));
	return v;
}

/* udp is a socket of UDP with a port of 127.0.0.1, connected to one. */
static int udp(int port, int to) {
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(bind(s, (void *)&a, sizeof a));
	a.sin_port = htons(to);
	OK(connect(s, (void *)&a, sizeof a));
	return s;
}

/* count receives all that there is. */
static int count(int s) {
	int n = 0;
	while (recv(s, buf, sizeof buf, MSG_DONTWAIT) >= 0)
		n++;
	EQUAL(errno, EAGAIN);
	return n;
}

static void times(int n, int s, const char *text) {
	for (int i = 0; i < n; i++)
		EQUAL(write(s, text, strlen(text)), strlen(text));
}

TEST(groups) {
	own_network_up();
	int a = packet_socket(), b = packet_socket(), c = OK(socket(AF_PACKET, SOCK_DGRAM, 0)), v[3] = { 7, 0, 0 };
	EQUAL(joined(a), 0);
	FAILS(join(c, 7, PACKET_FANOUT_LB), EINVAL); /* it receives nothing */
	FAILS(join(a, 7, 9), EINVAL);
	FAILS(join(a, 7, PACKET_FANOUT_ROLLOVER | PACKET_FANOUT_FLAG_ROLLOVER), EINVAL);
	FAILS(join(a, 7, PACKET_FANOUT_LB | PACKET_FANOUT_FLAG_UNIQUEID), EINVAL);
	FAILS(setsockopt(a, SOL_PACKET, PACKET_FANOUT, v, 3), EINVAL);
	FAILS(setsockopt(a, SOL_PACKET, PACKET_FANOUT, v, 12), EINVAL);
	OK(join(a, 7, PACKET_FANOUT_LB | PACKET_FANOUT_FLAG_DEFRAG));
	EQUAL(joined(a), 7 | (unsigned)(PACKET_FANOUT_LB | PACKET_FANOUT_FLAG_DEFRAG) << 16);
	FAILS(join(a, 8, PACKET_FANOUT_LB), EALREADY);
	FAILS(join(b, 7, PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_DEFRAG), EINVAL);
	FAILS(join(b, 7, PACKET_FANOUT_LB), EINVAL);
	struct sockaddr_ll lo = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = 1 };
	FAILS(bind(a, (void *)&lo, sizeof lo), EINVAL);
	OK(bind(b, (void *)&lo, sizeof lo));
	FAILS(join(b, 7, PACKET_FANOUT_LB | PACKET_FANOUT_FLAG_DEFRAG), EINVAL); /* from one interface only */
	OK(join(b, 0, PACKET_FANOUT_LB | PACKET_FANOUT_FLAG_UNIQUEID));
	CHECK((joined(b) & 0xffff) != 7);
	EQUAL(joined(b) >> 16, PACKET_FANOUT_LB);
	/* the group ends with its last socket */
	OK(close(a));
	a = packet_socket();
	OK(join(a, 7, PACKET_FANOUT_HASH));
	FAILS(setsockopt(a, SOL_PACKET, PACKET_FANOUT_DATA, v, sizeof v), EINVAL);
}

TEST(most_members) {
	own_network_up();
	int s[3];
	struct { uint16_t id, how; uint32_t most; } args = { 3, PACKET_FANOUT_LB, 2 };
	for (int i = 0; i < 3; i++)
		s[i] = packet_socket();
	OK(setsockopt(s[0], SOL_PACKET, PACKET_FANOUT, &args, sizeof args));
	args.most = 3;
	FAILS(setsockopt(s[1], SOL_PACKET, PACKET_FANOUT, &args, sizeof args), EINVAL);
	OK(join(s[1], 3, PACKET_FANOUT_LB));
	FAILS(join(s[2], 3, PACKET_FANOUT_LB), ENOSPC);
	args.most = 1 << 17;
	args.id = 4;
	FAILS(setsockopt(s[2], SOL_PACKET, PACKET_FANOUT, &args, sizeof args), EINVAL);
}

TEST(in_turn) {
	own_network_up();
	int s[2] = { receiver(ETH_P_ALL), receiver(ETH_P_ALL) }, other = receiver(ETH_P_ALL), u = udp(4000, 4000), one = 1;
	OK(setsockopt(other, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one));
	for (int i = 0; i < 2; i++)
		OK(join(s[i], 1, PACKET_FANOUT_LB | ONCE));
	times(10, u, "text");
	EQUAL(count(s[0]), 5);
	EQUAL(count(s[1]), 5);
	EQUAL(count(other), 10);
	OK(close(s[0]));
	times(4, u, "text");
	EQUAL(count(s[1]), 4);
}

TEST(both_directions) {
	own_network_up();
	int s[2] = { receiver(ETH_P_ALL), receiver(ETH_P_ALL) }, u = udp(4000, 4000);
	for (int i = 0; i < 2; i++)
		OK(join(s[i], 1, PACKET_FANOUT_LB));
	times(5, u, "text");
	EQUAL(count(s[0]) + count(s[1]), 10);
}

TEST(at_random) {
	own_network_up();
	int s[2] = { packet_socket(), packet_socket() }, u = udp(4000, 4000);
	for (int i = 0; i < 2; i++)
		OK(join(s[i], 1, PACKET_FANOUT_RND | ONCE));
	times(64, u, "text");
	int n = count(s[0]);
	CHECK(n > 0 && n < 64);
	EQUAL(count(s[1]), 64 - n);
}

/* All of a flow goes to one socket, in both directions; of many flows not all do. */
TEST(by_flows) {
	own_network_up();
	int s[2] = { packet_socket(), packet_socket() }, used[2] = { 0, 0 };
	for (int i = 0; i < 2; i++)
		OK(join(s[i], 1, PACKET_FANOUT_HASH | ONCE));
	for (int flow = 0; flow < 24; flow++) {
		int u = udp(4000 + flow, 5000 + flow), v = udp(5000 + flow, 4000 + flow);
		times(2, u, "there");
		times(1, v, "back");
		int n[2] = { count(s[0]), count(s[1]) };
		EQUAL(n[0] + n[1], 3);
		CHECK(n[0] == 0 || n[1] == 0);
		used[n[1] > 0]++;
	}
	CHECK(used[0] > 0 && used[1] > 0);
}

/* A program sees what has come from the network's header on. */
TEST(by_program) {
	own_network_up();
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, sizeof(struct iphdr) + sizeof(struct udphdr)),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	struct sock_fprog prog = { .len = 2, .filter = code };
	int s[3], u = udp(4000, 4000);
	for (int i = 0; i < 3; i++)
		OK(join(s[i] = packet_socket(), 1, PACKET_FANOUT_CBPF | ONCE));
	times(2, u, "\1");
	EQUAL(count(s[0]), 2); /* without one */
	OK(setsockopt(s[2], SOL_PACKET, PACKET_FANOUT_DATA, &prog, sizeof prog));
	times(1, u, "\3");
	times(2, u, "\1");
	times(3, u, "\2");
	EQUAL(count(s[0]), 1);
	EQUAL(count(s[1]), 2);
	EQUAL(count(s[2]), 3);
	prog.len = 0;
	FAILS(setsockopt(s[2], SOL_PACKET, PACKET_FANOUT_DATA, &prog, sizeof prog), EINVAL);
}

/* Where there is no room the next one takes it. */
TEST(rollover) {
	own_network_up();
	int small = 1;
	for (int k = 0; k < 2; k++) {
		int s[2] = { packet_socket(), packet_socket() }, u = udp(4000 + k, 4000 + k);
		OK(setsockopt(s[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof small));
		for (int i = 0; i < 2; i++)
			OK(join(s[i], 1, ONCE | (k ? PACKET_FANOUT_ROLLOVER : PACKET_FANOUT_CPU | PACKET_FANOUT_FLAG_ROLLOVER)));
		times(20, u, "text");
		int n = count(s[0]), m = count(s[1]);
		EQUAL(n + m, 20);
		CHECK(m > 0);
		close(s[0]);
		close(s[1]);
	}
}

/* What one of the group sends none of it hears leave. */
TEST(what_the_group_sends) {
	own_network_up();
	int s[2] = { receiver(ETH_P_ALL), receiver(ETH_P_ALL) }, other = receiver(ETH_P_ALL);
	struct sockaddr_ll lo = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = 1 };
	for (int i = 0; i < 2; i++)
		OK(join(s[i], 1, PACKET_FANOUT_LB));
	for (int i = 0; i < 4; i++)
		EQUAL(sendto(s[1], "x", 1, 0, (void *)&lo, sizeof lo), 1);
	EQUAL(count(s[0]), 2);
	EQUAL(count(s[1]), 2);
	EQUAL(count(other), 8);
}
