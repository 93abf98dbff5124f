/* The first segment of a connection: TCP_SAVE_SYN and TCP_SAVED_SYN (linux/tcp.h). */
#include "inet.h"
#include <netinet/tcp.h>

#ifndef TCP_SAVE_SYN
#define TCP_SAVE_SYN 27
#define TCP_SAVED_SYN 28
#endif

typedef unsigned char u8;

static u8 got[256];

static int saved(int fd, int room) {
	socklen_t n = room;
	memset(got, 0xee, sizeof got);
	OK(getsockopt(fd, IPPROTO_TCP, TCP_SAVED_SYN, got, &n));
	return n;
}

/* connects makes a connection to a listener, and accepts it. */
static int connects(int l, int s[2]) {
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(l, &a.sa, &n));
	s[0] = OK(socket(a.sa.sa_family, SOCK_STREAM, 0));
	OK(connect(s[0], &a.sa, n));
	return s[1] = OK(accept(l, NULL, NULL));
}

/* is_syn checks what was saved: a header of IP and one of TCP. */
static void is_syn(const u8 *p, int n, int family, int s[2]) {
	int ip = family == AF_INET ? 20 : 40;
	EQUAL(p[0] >> 4, family == AF_INET ? 4 : 6);
	CHECK(n >= ip + 20);
	EQUAL(p[ip] << 8 | p[ip + 1], port_of(s[0]));
	EQUAL(p[ip + 2] << 8 | p[ip + 3], port_of(s[1]));
	EQUAL(p[ip + 13] & 0x17, 2);
	EQUAL(ip + (p[ip + 12] >> 4) * 4, n);
	EQUAL(family == AF_INET ? p[9] : p[6], IPPROTO_TCP);
}

TEST(is_read_once) {
	EACH_FAMILY(f) {
		need_family(f);
		int l = listener(f), s[2];
		OK(set(l, IPPROTO_TCP, TCP_SAVE_SYN, 1));
		EQUAL(option(l, IPPROTO_TCP, TCP_SAVE_SYN), 1);
		EQUAL(saved(l, sizeof got), 0);
		connects(l, s);
		EQUAL(option(s[1], IPPROTO_TCP, TCP_SAVE_SYN), 1);
		EQUAL(saved(s[0], sizeof got), 0);
		socklen_t room = 10;
		FAILS(getsockopt(s[1], IPPROTO_TCP, TCP_SAVED_SYN, got, &room), EINVAL);
		CHECK(room >= 40);
		int whole = room, n = saved(s[1], sizeof got);
		EQUAL(n, whole);
		is_syn(got, n, f, s);
		EQUAL(got[n], 0xee);
		EQUAL(saved(s[1], sizeof got), 0);
	}
}

TEST(is_saved_with_the_header_of_the_link) {
	EACH_FAMILY(f) {
		need_family(f);
		static const u8 none[12];
		int l = listener(f), s[2];
		OK(set(l, IPPROTO_TCP, TCP_SAVE_SYN, 2));
		connects(l, s);
		int n = saved(s[1], sizeof got);
		CHECK(!memcmp(got, none, sizeof none));
		EQUAL(got[12] << 8 | got[13], f == AF_INET ? 0x800 : 0x86dd);
		is_syn(got + 14, n - 14, f, s);
	}
}

TEST(only_of_connections_since) {
	int l = listener(AF_INET), s[2], after[2], again[2];
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(l, &a.sa, &n));
	s[0] = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(s[0], &a.sa, n));
	OK(set(l, IPPROTO_TCP, TCP_SAVE_SYN, 1));
	s[1] = OK(accept(l, NULL, NULL));
	EQUAL(saved(s[1], sizeof got), 0);
	connects(l, after);
	CHECK(saved(after[1], sizeof got) > 0);
	OK(set(l, IPPROTO_TCP, TCP_SAVE_SYN, 0));
	connects(l, again);
	EQUAL(saved(again[1], sizeof got), 0);
}

TEST(goes_with_the_connection) {
	int l, s[2];
	union addr none = { .sa = { AF_UNSPEC } }, a;
	l = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(l, IPPROTO_TCP, TCP_SAVE_SYN, 1)); /* before there is a name */
	OK(bind(l, &a.sa, loopback(&a, AF_INET, 0)));
	OK(listen(l, 5));
	connects(l, s);
	OK(connect(s[1], &none.sa, sizeof none.sa));
	EQUAL(saved(s[1], sizeof got), 0);
	connects(l, s);
	close(s[0]);
	EQUAL(recv(s[1], got, 1, 0), 0);
	CHECK(saved(s[1], sizeof got) > 40);
	EQUAL(got[0], 0x45);
}
