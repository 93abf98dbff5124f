/* connect(2) with AF_UNSPEC, which ends a datagram socket's connection. */
#include "network.h"
#include "inet.h"
#include <netinet/ip_icmp.h>

static void disconnect(int s) {
	OK(connect(s, &(struct sockaddr){ AF_UNSPEC }, sizeof(struct sockaddr)));
}

static void send_to(int s, int to, const char *data) {
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(to, &a.sa, &n));
	EQUAL(sendto(s, data, strlen(data), 0, &a.sa, n), (int)strlen(data));
}

static int has_loopback(int s) {
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(s, &a.sa, &n));
	return a.sa.sa_family == AF_INET ? a.in.sin_addr.s_addr == htonl(INADDR_LOOPBACK) : IN6_IS_ADDR_LOOPBACK(&a.in6.sin6_addr);
}

/* A port that the program has not asked for is forgotten, an address of its own is not. */
TEST(the_port) {
	EACH_FAMILY(f) {
		need_family(f);
		int peer = bound(f, SOCK_DGRAM);
		for (int i = 0; i < 16; i++) {
			int binds = i & 1, connects = i & 2, sends = i & 4, asks = i & 8, s = OK(socket(f, SOCK_DGRAM, 0)), port = 0;
			union addr a;
			socklen_t n = loopback(&a, f, 0);
			char b[9];
			if (binds && asks)
				n = loopback(&a, f, port = bind_by_number(s, f));
			else if (binds)
				OK(bind(s, &a.sa, n));
			if (connects)
				connect_to(s, peer);
			if (sends)
				send_to(s, peer, "x");
			CHECK(port_of(s) || !(binds || connects || sends));
			for (int again = 0; again < 2; again++) {
				disconnect(s);
				EQUAL(port_of(s), binds ? port : 0);
				EQUAL(has_loopback(s), binds);
			}
			FAILS(send(s, "x", 1, 0), EDESTADDRREQ);
			send_to(s, peer, "y");
			CHECK(port_of(s));
			EQUAL(has_loopback(s), binds);
			send_to(peer, s, "z");
			EQUAL(recv(s, b, 9, 0), 1);
			if (!binds || !asks) { /* it may be bound again */
				disconnect(s);
				if (asks)
					n = loopback(&a, f, bind_by_number(s, f));
				else
					OK(bind(s, &a.sa, n));
				CHECK(has_loopback(s));
				CHECK(port_of(s));
				connect_to(s, peer);
				EQUAL(send(s, "x", 1, 0), 1);
			}
			FAILS(bind(s, &a.sa, n), EINVAL);
			close(s);
		}
		close(peer);
	}
}

/* That of a stream that was connected is free too, but shown until it has another one. */
TEST(the_port_of_a_stream) {
	EACH_FAMILY(f) {
		need_family(f);
		for (int i = 0; i < 4; i++) {
			int connects = i & 1, asks = i & 2, l = listener(f), other = OK(socket(f, SOCK_STREAM, 0)), s = other, port = 0;
			union addr a;
			if (asks) {
				int free = bound(f, SOCK_STREAM);
				port = port_of(free);
				close(free);
			}
			s = OK(socket(f, SOCK_STREAM, 0));
			OK(bind(s, &a.sa, loopback(&a, f, port)));
			port = port_of(s);
			if (connects)
				connect_to(s, l);
			for (int again = 0; again < 2; again++) {
				disconnect(s);
				EQUAL(port_of(s), port);
				CHECK(has_loopback(s));
			}
			if (asks || !connects) /* it is still bound */
				FAILS(bind(other, &a.sa, loopback(&a, f, port)), EADDRINUSE);
			else
				OK(bind(other, &a.sa, loopback(&a, f, port)));
			connect_to(s, l);
			CHECK(asks == 0 || port_of(s) == port);
			CHECK(has_loopback(s));
			disconnect(s);
			OK(listen(s, 1));
			CHECK(port_of(s) && has_loopback(s));
			if (!asks) { /* it may be bound again */
				OK(shutdown(s, SHUT_RD));
				OK(bind(s, &a.sa, loopback(&a, f, 0)));
			}
			FAILS(bind(s, &a.sa, loopback(&a, f, 0)), EINVAL);
			close(s), close(l), close(other);
		}
	}
}

TEST(what_was_received_stays) {
	EACH_FAMILY(f) {
		need_family(f);
		int peer = bound(f, SOCK_DGRAM), s = bound(f, SOCK_DGRAM);
		char b[9];
		connect_to(peer, s);
		EQUAL(send(peer, "", 0, 0), 0);
		EQUAL(send(peer, "ab", 2, 0), 2);
		OK(shutdown(peer, SHUT_RD));
		disconnect(s);
		disconnect(peer);
		EQUAL(port_of(s), 0);
		EQUAL(port_of(peer), 0);
		await(s, POLLIN, POLLIN);
		union addr from;
		socklen_t n = sizeof from;
		EQUAL(recvfrom(s, b, 9, 0, &from.sa, &n), 0);
		EQUAL(from.sa.sa_family, f);
		EQUAL(recv(s, b, 1, MSG_PEEK | MSG_TRUNC), 2);
		EQUAL(recv(s, b, 9, 0), 2);
		CHECK(!memcmp(b, "ab", 2));
		await(s, POLLIN, 0);
		FAILS(recv(s, b, 9, MSG_DONTWAIT), EAGAIN);
		EQUAL(recv(peer, b, 9, 0), 0); /* and so does that it was shut down */
		close(s);
		close(peer);
	}
}

/* Nor does another address to be sent from undo it. */
TEST(what_is_shut_down_stays_so) {
	int peer = bound(AF_INET, SOCK_DGRAM), s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	union addr a;
	socklen_t n = loopback(&a, AF_INET, port_of(peer));
	char b[9];
	EQUAL(sendto(s, "x", 1, 0, &a.sa, n), 1);
	FAILS(shutdown(s, SHUT_RDWR), ENOTCONN);
	a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	OK(connect(s, &a.sa, n));
	EQUAL(recv(s, b, 9, 0), 0);
	FAILS(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
	disconnect(s);
	EQUAL(recv(s, b, 9, 0), 0);
	close(s);
	close(peer);
}

TEST(lost_datagrams_still_count) {
	int peer = bound(AF_INET, SOCK_DGRAM), s = bound(AF_INET, SOCK_DGRAM);
	uint32_t before[9] = { 0 }, after[9] = { 0 };
	socklen_t n = sizeof before;
	char b[1000] = "";
	OK(set(s, SOL_SOCKET, SO_RCVBUF, 1));
	connect_to(peer, s);
	for (int i = 0; i < 100; i++)
		OK(send(peer, b, sizeof b, 0));
	OK(getsockopt(s, SOL_SOCKET, 55 /* SO_MEMINFO */, before, &n));
	CHECK(before[8] > 0);
	while (recv(s, b, sizeof b, MSG_DONTWAIT) > 0) {}
	disconnect(s);
	EQUAL(port_of(s), 0);
	OK(getsockopt(s, SOL_SOCKET, 55, after, &n));
	EQUAL(after[8], before[8]);
}

TEST(the_interface) {
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	disconnect(s);
	EQUAL(option(s, SOL_SOCKET, SO_BINDTOIFINDEX), 0);
	int peer = bound(AF_INET, SOCK_DGRAM);
	connect_to(s, peer);
	OK(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	disconnect(s);
	char name[16];
	socklen_t n = sizeof name;
	OK(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
	EQUAL(n, 0);
	/* what shares its port with others does so without it too */
	union addr a;
	int p[2];
	for (int i = 0; i < 2; i++) {
		p[i] = OK(socket(AF_INET, SOCK_DGRAM, 0));
		OK(set(p[i], SOL_SOCKET, SO_REUSEPORT, 1));
		OK(setsockopt(p[i], SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
		if (!i) {
			n = loopback(&a, AF_INET, bind_by_number(p[i], AF_INET));
			connect_to(p[i], peer);
			disconnect(p[i]);
		}
	}
	OK(bind(p[1], &a.sa, n));
	close(p[0]);
	send_to(peer, p[1], "x");
	EQUAL(recv(p[1], name, 9, 0), 1);
}

TEST(raw_and_ping_sockets) {
	own_network_up();
	int group = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);
	int pings = group >= 0 && write(group, "0 0", 3) == 3;
	for (int ping = 0; ping <= pings; ping++) {
		int s = OK(socket(AF_INET, ping ? SOCK_DGRAM : SOCK_RAW, IPPROTO_ICMP));
		union addr a, peer;
		struct icmphdr echo = { .type = ICMP_ECHO, .checksum = htons(0xf7ff) };
		socklen_t n = loopback(&a, AF_INET, 0), pn = sizeof peer;
		OK(connect(s, &a.sa, n));
		EQUAL(send(s, &echo, sizeof echo, 0), sizeof echo);
		disconnect(s);
		FAILS(getpeername(s, &peer.sa, &pn), ENOTCONN);
		FAILS(send(s, &echo, sizeof echo, 0), EDESTADDRREQ);
		EQUAL(sendto(s, &echo, sizeof echo, 0, &a.sa, n), sizeof echo);
		CHECK(!has_loopback(s));
		if (ping)
			EQUAL(recv(s, &echo, sizeof echo, 0), sizeof echo);
		OK(connect(s, &a.sa, n));
		close(s);
	}
}
