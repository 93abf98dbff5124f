/* Many connections at once, many after each other, and peers that are too fast. */
#include "inet.h"
#include <sys/resource.h>

static char buf[1 << 16];

/* descriptors raises the limit of open files as far as it goes. */
static int descriptors(int want) {
	struct rlimit r;
	OK(getrlimit(RLIMIT_NOFILE, &r));
	r.rlim_cur = r.rlim_max;
	OK(setrlimit(RLIMIT_NOFILE, &r));
	return r.rlim_max == RLIM_INFINITY || r.rlim_max >= (rlim_t)want;
}

/* no_wait has a socket close with a reset, so that its port is free at once. */
static void no_wait(int fd) {
	struct linger now = { 1, 0 };
	OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
}

static void watch(int epoll, int fd, uint32_t events) {
	struct epoll_event ev = { events, { .fd = fd } };
	OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev));
}

/* echo is a server that is told of changes only once (EPOLLET): it answers each
 * client with what it sends, until so many have come and gone. It returns how many were
 * there at once. */
static int echo(int l, int clients) {
	int e = OK(epoll_create1(0)), now = 0, most = 0, gone = 0;
	OK(fcntl(l, F_SETFL, O_NONBLOCK));
	watch(e, l, EPOLLIN | EPOLLET);
	while (gone < clients) {
		struct epoll_event ev[256];
		int n = OK(epoll_wait(e, ev, 256, 60000));
		CHECK(n > 0);
		for (int i = 0; i < n; i++) {
			int fd = ev[i].data.fd;
			if (fd == l) {
				while ((fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
					watch(e, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
					if (++now > most)
						most = now;
				}
				EQUAL(errno, EAGAIN);
				continue;
			}
			for (;;) {
				ssize_t got = read(fd, buf, sizeof buf);
				if (got < 0 && errno == EAGAIN)
					break;
				if (got <= 0) {
					OK(close(fd));
					now--;
					gone++;
					break;
				}
				EQUAL(send(fd, buf, got, MSG_NOSIGNAL), got);
			}
		}
	}
	return most;
}

static int big_listener(void) {
	int l = bound(AF_INET, SOCK_STREAM);
	OK(set(l, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(listen(l, 4096));
	return l;
}

/* ask has all clients send a round number and await it. */
static void ask(const int *c, int count, int rounds) {
	for (int r = 0; r < rounds; r++) {
		for (int i = 0; i < count; i++) {
			int v = i * 31 + r;
			EQUAL(write(c[i], &v, sizeof v), sizeof v);
		}
		for (int i = 0; i < count; i++) {
			int v = -1;
			EQUAL(recv(c[i], &v, sizeof v, MSG_WAITALL), sizeof v);
			EQUAL(v, i * 31 + r);
		}
	}
}

static void clients_of_one_server(int count, int rounds) {
	static int c[10000];
	int l = big_listener(), p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (k == 0) {
		EQUAL(echo(l, count), count);
		_exit(0);
	}
	for (int i = 0; i < count; i++) {
		c[i] = OK(socket(AF_INET, SOCK_STREAM, 0));
		connect_to(c[i], l);
		no_wait(c[i]);
	}
	ask(c, count, rounds);
	for (int i = 0; i < count; i++)
		OK(close(c[i]));
	int st;
	EQUAL(waitpid(k, &st, 0), k);
	EXITED_OK(st);
}

TEST(ten_thousand_connections) {
	if (!descriptors(10100))
		SKIP("a process may not have 10,000 open files");
	clients_of_one_server(10000, 1);
}

TEST(a_thousand_clients_of_edges) {
	if (!descriptors(1100))
		SKIP("a process may not have 1,000 open files");
	clients_of_one_server(1000, 4);
}

TEST(one_after_another) {
	enum { count = 500 };
	int l = big_listener(), st;
	pid_t k = OK(fork());
	if (k == 0) {
		echo(l, count);
		_exit(0);
	}
	for (int i = 0; i < count; i++) {
		int c = OK(socket(AF_INET, SOCK_STREAM, 0));
		connect_to(c, l);
		ask(&c, 1, 1);
		OK(close(c)); /* which keeps the port for a while */
	}
	EQUAL(waitpid(k, &st, 0), k);
	EXITED_OK(st);
}

/* Each of some connections carries more than fits, to a reader who takes little at a time. */
TEST(slow_readers) {
	enum { count = 20, each = 512 << 10, bite = 4 << 10 };
	int l = big_listener(), c[count], st;
	pid_t k = OK(fork());
	if (k == 0) {
		int e = OK(epoll_create1(0)), s[count], sent[count] = { 0 }, left = count;
		for (int i = 0; i < count; i++) {
			s[i] = OK(accept4(l, NULL, NULL, SOCK_NONBLOCK));
			struct epoll_event ev = { EPOLLOUT | EPOLLET, { .u32 = i } };
			OK(epoll_ctl(e, EPOLL_CTL_ADD, s[i], &ev));
		}
		while (left > 0) {
			struct epoll_event ev[count];
			int n = OK(epoll_wait(e, ev, count, 60000));
			CHECK(n > 0);
			for (int j = 0; j < n; j++) {
				int i = ev[j].data.u32;
				while (sent[i] < each) {
					for (int b = 0; b < bite; b++)
						buf[b] = (char)(sent[i] + b) % 251 + i;
					ssize_t w = write(s[i], buf, each - sent[i] < bite ? each - sent[i] : bite);
					if (w < 0)
						break;
					if ((sent[i] += w) == each) {
						OK(close(s[i]));
						left--;
					}
				}
				if (sent[i] < each)
					EQUAL(errno, EAGAIN);
			}
		}
		_exit(0);
	}
	for (int i = 0; i < count; i++) {
		c[i] = OK(socket(AF_INET, SOCK_STREAM, 0));
		OK(set(c[i], SOL_SOCKET, SO_RCVBUF, 8 << 10));
		connect_to(c[i], l);
	}
	for (int at = 0; at < each; at += bite)
		for (int i = 0; i < count; i++) {
			EQUAL(recv(c[i], buf, bite, MSG_WAITALL), bite);
			for (int b = 0; b < bite; b++)
				if (buf[b] != (char)((char)(at + b) % 251 + i))
					EQUAL(buf[b], (char)((char)(at + b) % 251 + i));
		}
	for (int i = 0; i < count; i++)
		EQUAL(read(c[i], buf, 1), 0);
	EQUAL(waitpid(k, &st, 0), k);
	EXITED_OK(st);
}

/* Two who send datagrams without end fill one socket, and no more than that. */
TEST(flood) {
	union addr a;
	int r = bound(AF_INET, SOCK_DGRAM), other = bound(AF_INET, SOCK_DGRAM), st;
	socklen_t n = loopback(&a, AF_INET, port_of(r));
	pid_t k[2];
	for (int i = 0; i < 2; i++)
		if ((k[i] = OK(fork())) == 0) {
			int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
			for (int j = 0; j < 20000; j++)
				EQUAL(sendto(s, buf, 1000, 0, &a.sa, n), 1000);
			_exit(0);
		}
	for (int i = 0; i < 200; i++) { /* meanwhile others are heard */
		int c = OK(socket(AF_INET, SOCK_DGRAM, 0));
		connect_to(c, other);
		struct pollfd p = { .fd = other, .events = POLLIN };
		do
			EQUAL(send(c, "x", 1, 0), 1);
		while (poll(&p, 1, 1000) == 0); /* a kernel that is flooded may lose it */
		EQUAL(recv(other, buf, 10, 0), 1);
		close(c);
	}
	for (int i = 0; i < 2; i++) {
		EQUAL(waitpid(k[i], &st, 0), k[i]);
		EXITED_OK(st);
	}
	int kept = 0;
	while (recv(r, buf, sizeof buf, MSG_DONTWAIT) == 1000)
		kept++;
	CHECK(kept > 0);
	CHECK((kept - 1) * 1000 <= option(r, SOL_SOCKET, SO_RCVBUF)); /* the last may go beyond */
	EQUAL(sendto(other, "last", 4, 0, &a.sa, n), 4);
	int got;
	while ((got = recv(r, buf, sizeof buf, 0)) == 1000) /* some were still on their way */
		continue;
	EQUAL(got, 4);
}
