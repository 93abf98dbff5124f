/* SO_PEEK_OFF (socket(7)): looking at what comes piece by piece. */
#include "inet.h"

/* receive compares what n bytes of a receive are, NULL for none, and the offset after it. */
static void receive(const char *file, int line, int s, int n, int flags, const char *want, int off) {
	char b[32];
	int got = recv(s, b, n, flags | MSG_DONTWAIT);
	int right = want ? got == (int)strlen(want) && !memcmp(b, want, got) : got == -1 && errno == EAGAIN;
	if (!right || option(s, SOL_SOCKET, SO_PEEK_OFF) != off)
		guest_fail(file, line, "%d bytes, '%.*s', offset %d", got, got > 0 ? got : 0, b, option(s, SOL_SOCKET, SO_PEEK_OFF));
}
#define LOOK(s, n, want, off) receive(__FILE__, __LINE__, s, n, MSG_PEEK, want, off)
#define TAKE(s, n, want, off) receive(__FILE__, __LINE__, s, n, 0, want, off)

/* put sends, and waits until all has come. */
static void put(int *s, const char *data, int there) {
	EQUAL(send(s[0], data, strlen(data), 0), (int)strlen(data));
	for (int n = 0; n < there;)
		OK(ioctl(s[1], FIONREAD, &n));
}

static void stream(int *s) {
	EQUAL(option(s[1], SOL_SOCKET, SO_PEEK_OFF), -1);
	put(s, "abcdef", 6);
	put(s, "ghij", 10);
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 0));
	LOOK(s[1], 2, "ab", 2);
	LOOK(s[1], 3, "cde", 5);
	LOOK(s[1], 20, "fghij", 10);
	LOOK(s[1], 20, NULL, 10);
	TAKE(s[1], 3, "abc", 7);
	LOOK(s[1], 20, NULL, 7);
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 1));
	LOOK(s[1], 3, "efg", 4);
	TAKE(s[1], 1, "d", 3);
	LOOK(s[1], 20, "hij", 6);
	TAKE(s[1], 20, "efghij", 0);
	TAKE(s[1], 20, NULL, 0);
	put(s, "klmnop", 6);
	LOOK(s[1], 2, "kl", 2);
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, -1));
	LOOK(s[1], 3, "klm", -1);
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 100));
	LOOK(s[1], 5, NULL, 100);
	TAKE(s[1], 2, "kl", 98);
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 4));
	LOOK(s[1], 5, NULL, 4);
	OK(shutdown(s[0], SHUT_WR));
	char b;
	EQUAL(recv(s[1], &b, 1, MSG_PEEK), 0); /* it waits until the end has come */
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 3));
	LOOK(s[1], 5, "p", 4);
	TAKE(s[1], 9, "mnop", 0);
}

static void messages(int *s) {
	put(s, "abcdef", 6);
	put(s, "ghij", 0);
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 0));
	LOOK(s[1], 2, "ab", 2);
	LOOK(s[1], 3, "cde", 5);
	LOOK(s[1], 20, "f", 6);
	LOOK(s[1], 20, "ghij", 10);
	LOOK(s[1], 20, NULL, 10);
	TAKE(s[1], 3, "abc", 4);
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 1));
	LOOK(s[1], 2, "hi", 3);
	TAKE(s[1], 1, "g", 0);
	LOOK(s[1], 5, NULL, 0);
	put(s, "klmnop", 0);
	char b[9];
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 2));
	EQUAL(recv(s[1], b, 1, MSG_PEEK | MSG_TRUNC), 4);
	LOOK(s[1], 9, "nop", 6);
	TAKE(s[1], 9, "klmnop", 0);
}

TEST(streams) {
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	stream(s);
}

TEST(tcp) {
	int s[2], l = listener(AF_INET);
	s[0] = OK(socket(AF_INET, SOCK_STREAM, 0));
	connect_to(s[0], l);
	s[1] = OK(accept(l, NULL, NULL));
	if (set(s[1], SOL_SOCKET, SO_PEEK_OFF, -1) && errno == EOPNOTSUPP)
		SKIP("Linux has it for TCP since 6.9");
	put(s, "abc", 3);
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 2));
	LOOK(s[1], 0, "", 2);
	LOOK(s[1], 9, "c", 3);
	LOOK(s[1], 0, NULL, 3); /* no room does not make it wait for less */
	TAKE(s[1], 9, "abc", 0);
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, -1));
	stream(s);
}

TEST(whole_messages) {
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	messages(s);
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	messages(s);
}

/* Of UDP what is received moves the offset by as many bytes as there was room for. */
TEST(udp) {
	EACH_FAMILY(f) {
		need_family(f);
		int s[2] = { bound(f, SOCK_DGRAM), bound(f, SOCK_DGRAM) }, n;
		char b[9];
		connect_to(s[0], s[1]);
		EQUAL(option(s[1], SOL_SOCKET, SO_PEEK_OFF), -1);
		put(s, "abcdef", 6);
		put(s, "ghij", 6);
		OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 0));
		LOOK(s[1], 2, "ab", 2);
		LOOK(s[1], 3, "cde", 5);
		LOOK(s[1], 20, "f", 6);
		LOOK(s[1], 20, "ghij", 10);
		LOOK(s[1], 20, NULL, 10);
		OK(ioctl(s[1], FIONREAD, &n));
		EQUAL(n, 6);
		await(s[1], POLLIN, POLLIN);
		put(s, "kl", 6);
		LOOK(s[1], 1, "k", 11);
		TAKE(s[1], 3, "abc", 8);
		OK(ioctl(s[1], FIONREAD, &n));
		EQUAL(n, 4);
		OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 1));
		LOOK(s[1], 2, "hi", 3);
		TAKE(s[1], 9, "ghij", 0);
		TAKE(s[1], 9, "kl", 0);
		TAKE(s[1], 9, NULL, 0);
		await(s[1], POLLIN, 0);
		/* without looking further the offset stays */
		put(s, "mnopqr", 6);
		OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 9));
		TAKE(s[1], 2, "mn", 7);
		/* how long it is counts where that is asked for */
		put(s, "mnopqr", 6);
		put(s, "", 6);
		put(s, "st", 6);
		OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 2));
		EQUAL(recv(s[1], b, 1, MSG_PEEK | MSG_TRUNC), 6);
		EQUAL(b[0], 'o');
		EQUAL(option(s[1], SOL_SOCKET, SO_PEEK_OFF), 8);
		OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 4));
		memcpy(b, "XXXXXXXX", 9);
		EQUAL(recv(s[1], b, 9, MSG_PEEK | MSG_TRUNC), 6); /* and only what is left of it is written */
		CHECK(!strcmp(b, "qrXXXXXX"));
		OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 4));
		struct iovec v = { b, 2 };
		union addr from;
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof from };
		EQUAL(recvmsg(s[1], &m, MSG_PEEK), 2); /* all that is left of it, which is not all of it */
		EQUAL(m.msg_flags, MSG_TRUNC);
		EQUAL(from.sa.sa_family, f);
		EQUAL(from.in.sin_port, htons(port_of(s[0])));
		EQUAL(option(s[1], SOL_SOCKET, SO_PEEK_OFF), 6);
		for (v.iov_len = 3; v.iov_len < 8; v.iov_len++) { /* with more room it is not cut */
			OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 4));
			EQUAL(recvmsg(s[1], &m, MSG_PEEK), 2);
			EQUAL(m.msg_flags, 0);
		}
		/* an empty one is looked at once */
		LOOK(s[1], 9, "", 6);
		LOOK(s[1], 9, "st", 8);
		LOOK(s[1], 9, NULL, 8);
		/* none at all is all from the first one on */
		OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, -1));
		LOOK(s[1], 9, "mnopqr", -1);
		LOOK(s[1], 9, "mnopqr", -1);
		TAKE(s[1], 9, "mnopqr", -1);
		TAKE(s[1], 9, "", -1);
		TAKE(s[1], 9, "st", -1);
		/* waiting for more than has been looked at */
		put(s, "uv", 2);
		OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 2));
		pid_t child = OK(fork());
		if (!child) {
			sleep_ms(50);
			_exit(send(s[0], "wx", 2, 0) != 2);
		}
		EQUAL(recv(s[1], b, 9, MSG_PEEK), 2);
		CHECK(!memcmp(b, "wx", 2));
		OK(waitpid(child, &n, 0));
		EQUAL(n, 0);
		close(s[0]);
		close(s[1]);
	}
}

/* A whole buffer of datagrams can be looked at, and no more. */
TEST(much_of_udp) {
	int s[2] = { bound(AF_INET, SOCK_DGRAM), bound(AF_INET, SOCK_DGRAM) }, looked = 0, got = 0;
	char b[1000];
	connect_to(s[0], s[1]);
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 0));
	OK(set(s[1], SOL_SOCKET, SO_RCVBUF, 20000));
	for (int i = 0; i < 500; i++) {
		EQUAL(send(s[0], b, sizeof b, 0), sizeof b);
		looked += recv(s[1], b, sizeof b, MSG_PEEK | MSG_DONTWAIT) > 0;
	}
	CHECK(looked >= 5 && looked < 100);
	while (recv(s[1], b, sizeof b, MSG_DONTWAIT) > 0)
		got++;
	CHECK(got >= looked && got < 200);
	EQUAL(send(s[0], b, sizeof b, 0), sizeof b);
	EQUAL(recv(s[1], b, sizeof b, MSG_DONTWAIT), sizeof b);
}

TEST(neither_raw_nor_ping_sockets_have_it) {
	int s = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	if (s < 0)
		SKIP("only root can make raw sockets");
	FAILS(set(s, SOL_SOCKET, SO_PEEK_OFF, 0), EOPNOTSUPP);
}

TEST(rights_are_looked_at_where_they_are) {
	int s[2], p[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(pipe(p));
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c = { .h = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } }, got;
	memcpy(CMSG_DATA(&c.h), p, sizeof(int));
	struct iovec v = { "de", 2 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	put(s, "abc", 3);
	EQUAL(sendmsg(s[0], &m, 0), 2);
	OK(set(s[1], SOL_SOCKET, SO_PEEK_OFF, 4));
	char b[9];
	struct iovec w = { b, 9 };
	struct msghdr in = { .msg_iov = &w, .msg_iovlen = 1, .msg_control = &got, .msg_controllen = sizeof got };
	EQUAL(recvmsg(s[1], &in, MSG_PEEK), 1);
	EQUAL(b[0], 'e');
	EQUAL(in.msg_controllen, CMSG_SPACE(sizeof(int)));
	TAKE(s[1], 3, "abc", 2);
}
