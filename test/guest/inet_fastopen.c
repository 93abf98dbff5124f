/* TCP Fast Open of tcp(7) towards a server that gives no cookie: what is sent follows the
 * handshake. The networks are the test's own, so that nothing has been remembered of servers. */
#include "inet.h"
#include "network.h"
#include <netinet/tcp.h>

static void sysctl_is(const char *want) {
	char b[32] = "";
	int f = OK(open("/proc/sys/net/ipv4/tcp_fastopen", O_RDONLY));
	OK(read(f, b, sizeof b - 1));
	CHECK(!strcmp(b, want));
	close(f);
}

static void sysctl_set(const char *v) {
	int f = open("/proc/sys/net/ipv4/tcp_fastopen", O_WRONLY);
	if (f == -1 && errno == EROFS)
		SKIP("the host's settings are read-only here");
	OK(f);
	OK(write(f, v, strlen(v)));
	close(f);
}

static socklen_t address(int of, union addr *a) {
	socklen_t n = sizeof *a;
	OK(getsockname(of, &a->sa, &n));
	return n;
}

static void got(int fd, const char *want) {
	char b[64] = "";
	EQUAL(recv(fd, b, strlen(want), MSG_WAITALL), strlen(want));
	CHECK(!memcmp(b, want, strlen(want)));
}

TEST(a_send_connects) {
	own_network_up();
	sysctl_is("1\n");
	EACH_FAMILY(f) {
		union addr a;
		int l = listener(f), s = OK(socket(f, SOCK_STREAM, 0));
		socklen_t n = address(l, &a);
		EQUAL(sendto(s, "hello", 5, MSG_FASTOPEN, &a.sa, n), 5);
		int c = OK(accept(l, NULL, NULL));
		got(c, "hello");
		EQUAL(send(c, "answer", 6, 0), 6);
		got(s, "answer");
		FAILS(sendto(s, "again", 5, MSG_FASTOPEN, &a.sa, n), EISCONN);
		FAILS(send(s, "again", 5, MSG_FASTOPEN), EISCONN);
		FAILS(connect(s, &a.sa, n), EISCONN);
		EQUAL(send(s, "more", 4, 0), 4);
		got(c, "more");
	}
}

TEST(a_server_with_the_option) {
	own_network_up();
	union addr a;
	int l = bound(AF_INET, SOCK_STREAM), s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(l, IPPROTO_TCP, TCP_FASTOPEN, 5));
	EQUAL(option(l, IPPROTO_TCP, TCP_FASTOPEN), 5);
	OK(listen(l, 5));
	socklen_t n = address(l, &a);
	EQUAL(sendto(s, "hello", 5, MSG_FASTOPEN, &a.sa, n), 5);
	got(OK(accept(l, NULL, NULL)), "hello");
}

TEST(without_waiting) {
	own_network_up();
	union addr a;
	int l = listener(AF_INET), s = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	socklen_t n = address(l, &a);
	FAILS(sendto(s, "hello", 5, MSG_FASTOPEN, &a.sa, n), EINPROGRESS);
	ready(s, POLLOUT);
	EQUAL(option(s, SOL_SOCKET, SO_ERROR), 0);
	EQUAL(send(s, "hello", 5, 0), 5);
	got(OK(accept(l, NULL, NULL)), "hello");
}

TEST(nobody_listens) {
	own_network_up();
	union addr a;
	int l = bound(AF_INET, SOCK_STREAM), s = OK(socket(AF_INET, SOCK_STREAM, 0));
	socklen_t n = address(l, &a);
	FAILS(sendto(s, "hello", 5, MSG_FASTOPEN | MSG_NOSIGNAL, &a.sa, n), ECONNREFUSED);
	OK(listen(l, 1));
	EQUAL(sendto(s, "hello", 5, MSG_FASTOPEN, &a.sa, n), 5);
}

TEST(addresses) {
	own_network_up();
	union addr a = { .sa.sa_family = AF_UNSPEC };
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(sendto(s, "hello", 5, MSG_FASTOPEN, &a.sa, sizeof a.in), EOPNOTSUPP);
	FAILS(send(s, "hello", 5, MSG_FASTOPEN), EINVAL);
	a.sa.sa_family = AF_INET;
	FAILS(sendto(s, "hello", 5, MSG_FASTOPEN, &a.sa, 3), EINVAL);
	FAILS(send(s, "hello", 5, MSG_NOSIGNAL), EPIPE);
}

TEST(connect_with_the_option) {
	own_network_up();
	union addr a;
	int l = listener(AF_INET), s = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	OK(set(s, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
	EQUAL(option(s, IPPROTO_TCP, TCP_FASTOPEN_CONNECT), 1);
	socklen_t n = address(l, &a);
	FAILS(connect(s, &a.sa, n), EINPROGRESS);
	ready(s, POLLOUT);
	EQUAL(send(s, "hello", 5, 0), 5);
	got(OK(accept(l, NULL, NULL)), "hello");
	FAILS(set(s, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1), EINVAL);
	s = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(set(s, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 2), EINVAL);
}

TEST(keys) {
	own_network_up();
	int l = OK(socket(AF_INET, SOCK_STREAM, 0));
	char key[33] = "0123456789abcdefFEDCBA9876543210", b[64] = "";
	socklen_t n = sizeof b;
	FAILS(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 15), EINVAL);
	FAILS(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 33), EINVAL);
	OK(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 16));
	OK(getsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, b, &n));
	EQUAL(n, 16);
	CHECK(!memcmp(b, key, 16));
	OK(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 32));
	n = sizeof b;
	OK(getsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, b, &n));
	EQUAL(n, 32);
	CHECK(!memcmp(b, key, 32));
}

TEST(the_sysctl_forbids_it) {
	own_network_up();
	union addr a;
	int l = listener(AF_INET), s = OK(socket(AF_INET, SOCK_STREAM, 0));
	socklen_t n = address(l, &a);
	sysctl_set("0");
	sysctl_is("0\n");
	FAILS(sendto(s, "hello", 5, MSG_FASTOPEN, &a.sa, n), EOPNOTSUPP);
	FAILS(set(s, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1), EOPNOTSUPP);
	sysctl_set("1");
	EQUAL(sendto(s, "hello", 5, MSG_FASTOPEN, &a.sa, n), 5);
}

