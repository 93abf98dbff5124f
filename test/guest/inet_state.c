/* The states of TCP connections, and what a program is told in each: tcp(7), RFC 9293. */
#include "inet.h"
#include <linux/tcp.h>
#include <sys/resource.h>

static char buf[1 << 20];

/* As linux/tcp.h has them within the kernel (include/net/tcp_states.h). */
enum { ESTABLISHED = 1, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING };

static int state(int fd) {
	struct tcp_info i;
	socklen_t n = sizeof i;
	OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &n));
	return i.tcpi_state;
}

/* await_state waits for a state that the other side's segments bring about. */
static void await_state(int fd, int want) {
	for (int i = 0; i < 20000 && state(fd) != want; i++)
		sleep_ms(1);
	EQUAL(state(fd), want);
}

static const int all = POLLIN | POLLOUT | POLLRDHUP | POLLPRI;

/* pending is a connection in a listener's queue. */
static int pending(int l) {
	int c = OK(socket(AF_INET, SOCK_STREAM, 0));
	connect_to(c, l);
	ready(l, POLLIN);
	return c;
}

static void reset(int fd) {
	struct linger now = { 1, 0 };
	OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	OK(close(fd));
}

TEST(states_and_events) {
	int s[2], c = OK(socket(AF_INET, SOCK_STREAM, 0));
	EQUAL(state(c), CLOSE);
	await(c, all, POLLOUT | POLLHUP);
	int l = listener(AF_INET);
	EQUAL(state(l), LISTEN);
	await(l, all, 0);
	tcp_pair(AF_INET, s);
	EQUAL(state(s[0]), ESTABLISHED);
	await(s[0], all, POLLOUT);
	OK(shutdown(s[0], SHUT_WR));
	await_state(s[0], FIN_WAIT2);
	await_state(s[1], CLOSE_WAIT);
	await(s[0], all, POLLOUT);
	await(s[1], all, POLLIN | POLLOUT | POLLRDHUP);
	OK(shutdown(s[1], SHUT_WR));
	await_state(s[1], CLOSE);
	await_state(s[0], CLOSE);
	await(s[0], all, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	await(s[1], all, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	EQUAL(read(s[0], buf, 1), 0);
	EQUAL(read(s[1], buf, 1), 0);
	FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	FAILS(shutdown(s[0], SHUT_WR), ENOTCONN);
	socklen_t n = sizeof buf;
	FAILS(getpeername(s[0], (void *)buf, &n), ENOTCONN);
}

TEST(both_close_at_once) {
	for (int i = 0; i < 50; i++) {
		int s[2];
		tcp_pair(i % 2 ? AF_INET : AF_INET6, s);
		EQUAL(write(s[0], "to", 2), 2);
		EQUAL(write(s[1], "fro", 3), 3);
		pid_t k = OK(fork());
		if (k == 0) {
			OK(shutdown(s[1], SHUT_WR));
			_exit(0);
		}
		OK(shutdown(s[0], SHUT_WR));
		EQUAL(waitpid(k, NULL, 0), k);
		EQUAL(recv(s[0], buf, 9, MSG_WAITALL), 3);
		EQUAL(recv(s[1], buf, 9, MSG_WAITALL), 2);
		await_state(s[0], CLOSE);
		await_state(s[1], CLOSE);
		await(s[0], all, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
		close(s[0]);
		close(s[1]);
	}
}

TEST(looked_at_before_the_end) {
	int s[2];
	tcp_pair(AF_INET, s);
	EQUAL(write(s[0], "last", 4), 4);
	OK(close(s[0]));
	await(s[1], all, POLLIN | POLLOUT | POLLRDHUP);
	EQUAL(recv(s[1], buf, 10, MSG_PEEK), 4);
	EQUAL(recv(s[1], buf, 10, MSG_PEEK | MSG_WAITALL), 4);
	EQUAL(recv(s[1], buf, 2, 0), 2);
	EQUAL(recv(s[1], buf, 10, MSG_PEEK), 2);
	EQUAL(recv(s[1], buf, 10, MSG_WAITALL), 2);
	for (int i = 0; i < 3; i++)
		EQUAL(recv(s[1], buf, 10, MSG_PEEK), 0);
	EQUAL(read(s[1], buf, 1), 0);
	await(s[1], all, POLLIN | POLLOUT | POLLRDHUP);
}

/* A datagram that was only looked at after a wait is still there. */
TEST(looked_at_after_a_wait) {
	union addr a;
	int r = bound(AF_INET, SOCK_DGRAM), s[2], st;
	tcp_pair(AF_INET, s);
	pid_t me = getpid(), k = OK(fork());
	if (k == 0) {
		int u = OK(socket(AF_INET, SOCK_DGRAM, 0));
		await_sleep(me);
		EQUAL(sendto(u, "gram", 4, 0, &a.sa, loopback(&a, AF_INET, port_of(r))), 4);
		_exit(0);
	}
	EQUAL(recv(r, buf, 10, MSG_PEEK), 4);
	EQUAL(recv(r, buf, 1, MSG_PEEK | MSG_TRUNC), 4);
	EQUAL(recv(r, buf, 10, MSG_DONTWAIT), 4);
	FAILS(recv(r, buf, 10, MSG_DONTWAIT), EAGAIN);
	EQUAL(waitpid(k, &st, 0), k);
	EXITED_OK(st);
	k = OK(fork());
	if (k == 0) {
		await_sleep(me);
		EQUAL(write(s[1], "stream", 6), 6);
		_exit(0);
	}
	EQUAL(recv(s[0], buf, 3, MSG_PEEK), 3);
	EQUAL(recv(s[0], buf, 10, MSG_DONTWAIT), 6);
	EQUAL(waitpid(k, &st, 0), k);
	EXITED_OK(st);
}

TEST(gone_before_accept) {
	union addr a;
	socklen_t n = sizeof a;
	int l = listener(AF_INET), c = pending(l), port = port_of(c);
	EQUAL(write(c, "note", 4), 4);
	OK(close(c));
	int s = OK(accept(l, &a.sa, &n));
	EQUAL(ntohs(a.in.sin_port), port);
	EQUAL(recv(s, buf, 10, MSG_WAITALL), 4);
	EQUAL(read(s, buf, 1), 0);
	EQUAL(state(s), CLOSE_WAIT);

	reset(pending(l)); /* Linux gives even that to accept(2) */
	await(l, POLLIN, POLLIN);
	s = OK(accept(l, NULL, NULL));
	await(s, all, POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
	FAILS(read(s, buf, 1), ECONNRESET);
	EQUAL(read(s, buf, 1), 0);
	FAILS(getpeername(s, &a.sa, &n), ENOTCONN);
}

TEST(the_listener_goes_first) {
	int l = listener(AF_INET), c = pending(l);
	EQUAL(write(c, "x", 1), 1);
	OK(close(l));
	await(c, all, POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
	FAILS(read(c, buf, 1), ECONNRESET);
	/* What has been accepted stays. */
	l = listener(AF_INET);
	c = pending(l);
	int s = OK(accept(l, NULL, NULL));
	OK(close(l));
	EQUAL(write(c, "x", 1), 1);
	EQUAL(read(s, buf, 1), 1);
}

TEST(more_than_the_backlog) {
	enum { clients = 4 };
	int l = bound(AF_INET, SOCK_STREAM), c[clients], s[clients];
	union addr a;
	socklen_t n = loopback(&a, AF_INET, port_of(l));
	OK(listen(l, 1));
	for (int i = 0; i < clients; i++) {
		c[i] = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
		FAILS(connect(c[i], &a.sa, n), EINPROGRESS);
	}
	/* Clients don't wait to be accepted before they send: one whose ACK was dropped with a SYN
	 * cookie (tcp_syncookies) has a connection that its server learns of by what it sends. */
	pid_t k = OK(fork());
	if (k == 0) {
		for (int i = 0; i < clients; i++) {
			ready(c[i], POLLOUT);
			EQUAL(option(c[i], SOL_SOCKET, SO_ERROR), 0);
			EQUAL(write(c[i], "x", 1), 1);
		}
		_exit(0);
	}
	for (int i = 0; i < clients; i++)
		s[i] = OK(accept(l, NULL, NULL)); /* SYNs that were dropped come again */
	for (int i = 0; i < clients; i++)
		EQUAL(read(s[i], buf, 1), 1);
	int status;
	EQUAL(waitpid(k, &status, 0), k);
	EXITED_OK(status);
}

TEST(no_descriptor_for_accept) {
	int l = listener(AF_INET), c = pending(l);
	struct rlimit was, r;
	OK(getrlimit(RLIMIT_NOFILE, &was));
	r = was;
	r.rlim_cur = c + 1;
	OK(setrlimit(RLIMIT_NOFILE, &r));
	FAILS(accept(l, NULL, NULL), EMFILE);
	FAILS(socket(AF_INET, SOCK_STREAM, 0), EMFILE);
	OK(setrlimit(RLIMIT_NOFILE, &was));
	EQUAL(write(c, "x", 1), 1);
	EQUAL(read(OK(accept(l, NULL, NULL)), buf, 1), 1);
}

/* Who closes first keeps the port for a while. */
TEST(time_wait) {
	union addr a;
	int l = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(l, SOL_SOCKET, SO_REUSEADDR, 1)); /* asked of both, the old one and the new one */
	OK(bind(l, &a.sa, loopback(&a, AF_INET, 0)));
	OK(listen(l, 5));
	int port = port_of(l), c = pending(l), s = OK(accept(l, NULL, NULL));
	OK(close(s));
	EQUAL(read(c, buf, 1), 0);
	OK(close(c));
	OK(close(l));
	socklen_t n = loopback(&a, AF_INET, port);
	int again = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(bind(again, &a.sa, n), EADDRINUSE);
	OK(set(again, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(bind(again, &a.sa, n));
	OK(listen(again, 5));
	c = pending(again);
	s = OK(accept(again, NULL, NULL));
	EQUAL(write(c, "x", 1), 1);
	EQUAL(read(s, buf, 1), 1);
	int third = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(third, SOL_SOCKET, SO_REUSEADDR, 1));
	FAILS(bind(third, &a.sa, n), EADDRINUSE); /* somebody listens */
}

/* fill writes until the peer's window and our buffer are full. */
static long long fill(int fd) {
	long long total = 0;
	OK(fcntl(fd, F_SETFL, O_NONBLOCK));
	for (int idle = 0; idle < 20;) {
		ssize_t n = write(fd, buf, sizeof buf / 16);
		if (n > 0) {
			total += n;
			idle = 0;
		} else {
			EQUAL(errno, EAGAIN);
			idle++;
			sleep_ms(5);
		}
	}
	return total;
}

static long long drain(int fd) {
	long long total = 0, n;
	while ((n = OK(read(fd, buf, 3000))) > 0)
		total += n;
	return total;
}

TEST(closed_windows) {
	for (int how = 0; how < 3; how++) {
		int s[2];
		tcp_pair(AF_INET, s);
		long long sent = 0;
		do
			sent += fill(s[0]);
		while (writable(s[0]));
		if (how == 0)
			OK(shutdown(s[0], SHUT_WR)); /* the end waits behind the bytes */
		else if (how == 1)
			OK(close(s[0])); /* so it does for a socket that nobody has */
		else {
			pid_t k = OK(fork());
			if (k == 0) {
				close(s[1]);
				struct pollfd p = { s[0], POLLOUT, 0 };
				EQUAL(poll(&p, 1, 60000), 1); /* the window opens */
				EQUAL(write(s[0], "more", 4), 4);
				_exit(0);
			}
			OK(close(s[0]));
			sent += 4;
		}
		EQUAL(drain(s[1]), sent);
		close(s[1]);
	}
}

TEST(reset_while_asleep) {
	int s[2], st;
	tcp_pair(AF_INET, s);
	pid_t me = getpid(), k = OK(fork());
	if (k == 0) {
		close(s[0]);
		await_sleep(me);
		reset(s[1]);
		_exit(0);
	}
	close(s[1]);
	FAILS(read(s[0], buf, 1), ECONNRESET);
	EQUAL(waitpid(k, &st, 0), k);

	tcp_pair(AF_INET, s);
	fill(s[0]);
	OK(fcntl(s[0], F_SETFL, 0));
	k = OK(fork());
	if (k == 0) {
		close(s[0]);
		await_sleep(me);
		close(s[1]); /* with bytes unread: a reset */
		_exit(0);
	}
	close(s[1]);
	ssize_t n;
	while ((n = send(s[0], buf, sizeof buf, MSG_NOSIGNAL)) > 0) {} /* into what room there was after all */
	CHECK(n == -1 && errno == ECONNRESET);
	FAILS(send(s[0], buf, 1, MSG_NOSIGNAL), EPIPE);
	EQUAL(waitpid(k, &st, 0), k);
}

/* SHUT_RD is known to this side alone. */
TEST(shut_for_reading) {
	int s[2];
	tcp_pair(AF_INET, s);
	EQUAL(write(s[1], "early", 5), 5);
	ready(s[0], POLLIN);
	OK(shutdown(s[0], SHUT_RD));
	await(s[0], all, POLLIN | POLLOUT | POLLRDHUP);
	EQUAL(read(s[0], buf, 10), 5);
	EQUAL(read(s[0], buf, 10), 0);
	EQUAL(write(s[1], "x", 1), 1);
	EQUAL(write(s[0], "back", 4), 4);
	EQUAL(read(s[1], buf, 10), 4);
	EQUAL(state(s[1]), ESTABLISHED);
}

TEST(close_waits_for_the_peer) {
	int s[2], st, p[2];
	OK(pipe(p));
	tcp_pair(AF_INET, s);
	struct linger wait = { 1, 100 };
	OK(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &wait, sizeof wait));
	long long sent = fill(s[0]);
	OK(fcntl(s[0], F_SETFL, 0));
	pid_t me = getpid(), k = OK(fork());
	if (k == 0) {
		close(s[0]);
		EQUAL(write(p[1], "x", 1), 1);
		await_sleep(me);
		EQUAL(drain(s[1]), sent);
		_exit(0);
	}
	close(s[1]);
	EQUAL(read(p[0], buf, 1), 1);
	OK(close(s[0]));
	EQUAL(waitpid(k, &st, 0), k);
	EXITED_OK(st);
}

/* Of sockets that share a port each gets connections, and all are answered. */
TEST(shared_port) {
	int l[2], got[2] = { 0, 0 };
	union addr a;
	socklen_t n = loopback(&a, AF_INET, 0);
	for (int i = 0; i < 2; i++) {
		l[i] = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
		OK(set(l[i], SOL_SOCKET, SO_REUSEPORT, 1));
		OK(bind(l[i], &a.sa, n));
		OK(listen(l[i], 200));
		n = loopback(&a, AF_INET, port_of(l[0]));
	}
	for (int i = 0; i < 100; i++) {
		int c = OK(socket(AF_INET, SOCK_STREAM, 0));
		OK(connect(c, &a.sa, n));
		struct pollfd p[2] = { { l[0], POLLIN, 0 }, { l[1], POLLIN, 0 } };
		EQUAL(poll(p, 2, 60000), 1);
		int which = p[1].revents != 0, s = OK(accept(l[which], NULL, NULL));
		got[which]++;
		OK(close(c));
		EQUAL(read(s, buf, 1), 0);
		OK(close(s));
	}
	CHECK(got[0] > 0 && got[1] > 0);
}

/* What has been sent and received, read or not. */
TEST(bytes) {
	struct tcp_info i;
	socklen_t n = sizeof i;
	int s[2];
	char b[3];
	tcp_pair(AF_INET, s);
	EQUAL(write(s[0], "12345", 5), 5);
	EQUAL(read(s[1], b, sizeof b), 3);
	OK(getsockopt(s[1], IPPROTO_TCP, TCP_INFO, &i, &n));
	EQUAL(i.tcpi_bytes_sent, 0);
	EQUAL(i.tcpi_bytes_acked, 0);
	EQUAL(i.tcpi_bytes_received, 5);
	/* the client's SYN counts as well, and the acknowledgement may be on the way */
	do OK(getsockopt(s[0], IPPROTO_TCP, TCP_INFO, &i, &n));
	while (i.tcpi_bytes_acked < 6);
	EQUAL(i.tcpi_bytes_acked, 6);
	EQUAL(i.tcpi_bytes_sent, 5);
	EQUAL(i.tcpi_bytes_received, 0);
}
