/* TCP over loopback: tcp(7), ip(7), ipv6(7), socket(7). */
#include "inet.h"
#include "network.h"
#include <netinet/tcp.h>
#include <sys/select.h>
#include <sys/sendfile.h>

static char buf[1 << 20];

TEST(stream_both_families) {
	need_family(AF_INET6);
	EACH_FAMILY(f) {
		int s[2];
		tcp_pair(f, s);
		EQUAL(write(s[0], "hello", 5), 5);
		EQUAL(recv(s[1], buf, 5, MSG_WAITALL), 5);
		CHECK(!memcmp(buf, "hello", 5));
		EQUAL(send(s[1], "there", 5, 0), 5);
		ready(s[0], POLLIN);
		EQUAL(recv(s[0], buf, 2, MSG_PEEK), 2);
		EQUAL(recv(s[0], buf, 3, 0), 3);
		EQUAL(read(s[0], buf, 30), 2);
		FAILS(recv(s[0], buf, 1, MSG_DONTWAIT), EAGAIN);
		OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
		FAILS(read(s[0], buf, 1), EAGAIN);
		OK(shutdown(s[1], SHUT_WR));
		ready(s[0], POLLIN);
		EQUAL(read(s[0], buf, 1), 0);
		EQUAL(write(s[0], "x", 1), 1);
		EQUAL(read(s[1], buf, 1), 1);
		FAILS(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
	}
}

TEST(names) {
	union addr a, b;
	socklen_t n;
	int l = listener(AF_INET), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	n = sizeof a;
	FAILS(getpeername(c, &a.sa, &n), ENOTCONN);
	OK(getsockname(c, &a.sa, &n));
	EQUAL(n, sizeof a.in);
	EQUAL(a.in.sin_family, AF_INET);
	EQUAL(a.in.sin_port, 0);
	EQUAL(a.in.sin_addr.s_addr, 0);
	connect_to(c, l);
	n = sizeof a;
	OK(getpeername(c, &a.sa, &n));
	EQUAL(ntohs(a.in.sin_port), port_of(l));
	EQUAL(ntohl(a.in.sin_addr.s_addr), INADDR_LOOPBACK);
	n = sizeof b;
	int s = OK(accept4(l, &b.sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC));
	EQUAL(n, sizeof b.in);
	EQUAL(ntohs(b.in.sin_port), port_of(c));
	EQUAL(fcntl(s, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQUAL(fcntl(s, F_GETFD), FD_CLOEXEC);
	EQUAL(port_of(s), port_of(l));
	n = 4; /* an address is cut to the room, and its whole length told */
	memset(&a, 0xee, sizeof a);
	OK(getsockname(s, &a.sa, &n));
	EQUAL(n, sizeof a.in);
	EQUAL(a.in.sin_addr.s_addr, 0xeeeeeeee);
}

TEST(dual_stack) {
	need_family(AF_INET6);
	union addr a;
	socklen_t n = sizeof a;
	int l = OK(socket(AF_INET6, SOCK_STREAM, 0));
	memset(&a, 0, sizeof a);
	a.in6.sin6_family = AF_INET6;
	OK(bind(l, &a.sa, sizeof a.in6));
	FAILS(set(l, IPPROTO_IPV6, IPV6_V6ONLY, 1), EINVAL);
	OK(listen(l, 5));
	int c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(c, &a.sa, loopback(&a, AF_INET, port_of(l))));
	int s = OK(accept(l, &a.sa, &n));
	EQUAL(n, sizeof a.in6);
	EQUAL(a.in6.sin6_family, AF_INET6);
	CHECK(IN6_IS_ADDR_V4MAPPED(&a.in6.sin6_addr));
	n = sizeof a;
	OK(getsockname(s, &a.sa, &n));
	CHECK(IN6_IS_ADDR_V4MAPPED(&a.in6.sin6_addr));
	/* An IPv6 socket reaches IPv4 by a mapped address, unless that is ruled out. */
	int d = OK(socket(AF_INET6, SOCK_STREAM, 0)), l4 = listener(AF_INET);
	memset(&a, 0, sizeof a);
	a.in6.sin6_family = AF_INET6;
	a.in6.sin6_port = htons(port_of(l4));
	OK(inet_pton(AF_INET6, "::ffff:127.0.0.1", &a.in6.sin6_addr));
	OK(connect(d, &a.sa, sizeof a.in6));
	EQUAL(write(d, "x", 1), 1);
	d = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(set(d, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	FAILS(connect(d, &a.sa, sizeof a.in6), ENETUNREACH);
}

TEST(bad_arguments) {
	union addr a;
	socklen_t n = loopback(&a, AF_INET, 0);
	FAILS(socket(AF_INET, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
	FAILS(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
	FAILS(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP), EPROTONOSUPPORT);
	FAILS(socket(AF_INET, 11, 0), EINVAL);
	FAILS(socket(AF_INET, SOCK_STREAM, 263), EINVAL);
	FAILS(socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){ 0, 0 }), EOPNOTSUPP);
	int s = OK(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
	FAILS(bind(s, &a.sa, 8), EINVAL);
	FAILS(connect(s, &a.sa, 1), EINVAL);
	FAILS(connect(s, &a.sa, 8), EINVAL);
	a.sa.sa_family = AF_INET6;
	FAILS(bind(s, &a.sa, sizeof a.in6), EAFNOSUPPORT);
	FAILS(connect(s, &a.sa, sizeof a.in6), EAFNOSUPPORT);
	n = loopback(&a, AF_INET, 0);
	a.in.sin_addr.s_addr = inet_addr("192.0.2.1");
	FAILS(bind(s, &a.sa, n), EADDRNOTAVAIL);
	FAILS(accept(s, NULL, NULL), EINVAL);
	FAILS(recv(s, buf, 1, 0), ENOTCONN);
	FAILS(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
	FAILS(shutdown(s, SHUT_RD), ENOTCONN);
	FAILS(shutdown(s, 3), EINVAL);
	FAILS(lseek(s, 0, SEEK_SET), ESPIPE);
	a.in.sin_addr.s_addr = inet_addr("224.0.0.1");
	FAILS(connect(s, &a.sa, n), ENETUNREACH);
	int l = listener(AF_INET);
	FAILS(recv(l, buf, 1, 0), ENOTCONN);
	FAILS(connect(l, &a.sa, loopback(&a, AF_INET, 1)), EISCONN);
	FAILS(bind(l, &a.sa, loopback(&a, AF_INET, 0)), EINVAL);
}

TEST(refused_and_tried_again) {
	EACH_FAMILY(f) {
		need_family(f);
		union addr a;
		int free = bound(f, SOCK_STREAM), s = OK(socket(f, SOCK_STREAM, 0));
		int port = port_of(free);
		socklen_t n = loopback(&a, f, port);
		FAILS(connect(s, &a.sa, n), ECONNREFUSED);
		EQUAL(option(s, SOL_SOCKET, SO_ERROR), 0);
		FAILS(connect(s, &a.sa, n), ECONNREFUSED);
		OK(listen(free, 1));
		OK(connect(s, &a.sa, n));
		FAILS(connect(s, &a.sa, n), EISCONN);
	}
}

TEST(connect_in_progress) {
	union addr a;
	int l = listener(AF_INET), s = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	socklen_t n = loopback(&a, AF_INET, port_of(l));
	await(s, POLLIN | POLLOUT, POLLOUT | POLLHUP); /* not connected yet */
	FAILS(connect(s, &a.sa, n), EINPROGRESS);
	await(s, POLLIN | POLLOUT, POLLOUT);
	EQUAL(option(s, SOL_SOCKET, SO_ERROR), 0);
	OK(connect(s, &a.sa, n)); /* the one call that tells */
	FAILS(connect(s, &a.sa, n), EISCONN);

	int free = bound(AF_INET, SOCK_STREAM);
	n = loopback(&a, AF_INET, port_of(free));
	s = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	FAILS(connect(s, &a.sa, n), EINPROGRESS);
	await(s, POLLIN | POLLOUT | POLLRDHUP, POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
	EQUAL(option(s, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	await(s, POLLIN | POLLOUT | POLLRDHUP, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	FAILS(connect(s, &a.sa, n), ECONNABORTED);
	FAILS(connect(s, &a.sa, n), EINPROGRESS);
	ready(s, POLLERR);
	FAILS(connect(s, &a.sa, n), ECONNREFUSED);
}

TEST(disconnect) {
	union addr a, none = { .sa.sa_family = AF_UNSPEC };
	int s[2];
	tcp_pair(AF_INET, s);
	OK(connect(s[0], &none.sa, sizeof none.in));
	socklen_t n = sizeof a;
	FAILS(getpeername(s[0], &a.sa, &n), ENOTCONN);
	await(s[1], POLLIN, POLLIN | POLLERR | POLLHUP);
	FAILS(read(s[1], buf, 1), ECONNRESET);
	int l = listener(AF_INET);
	connect_to(s[0], l);
}

/* The end of one direction, seen by all ways to wait. */
TEST(half_closed) {
	int s[2];
	tcp_pair(AF_INET, s);
	const int all = POLLIN | POLLOUT | POLLRDHUP;
	await(s[0], all, POLLOUT);
	OK(shutdown(s[1], SHUT_WR));
	await(s[0], all, POLLIN | POLLOUT | POLLRDHUP);
	EQUAL(read(s[0], buf, 1), 0);
	EQUAL(write(s[0], "late", 4), 4);
	EQUAL(recv(s[1], buf, 4, MSG_WAITALL), 4);
	OK(shutdown(s[0], SHUT_WR));
	await(s[0], all, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	await(s[1], all, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	EQUAL(read(s[1], buf, 1), 0);
	FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);

	tcp_pair(AF_INET, s);
	OK(shutdown(s[0], SHUT_RD));
	await(s[0], all, POLLIN | POLLOUT | POLLRDHUP);
	EQUAL(read(s[0], buf, 1), 0);
	OK(shutdown(s[0], SHUT_RDWR));
	await(s[1], all, POLLIN | POLLOUT | POLLRDHUP);
}

TEST(edges) {
	int s[2], e = OK(epoll_create1(0));
	tcp_pair(AF_INET, s);
	struct epoll_event ev = { EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, { .fd = 7 } }, got;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, s[0], &ev));
	EQUAL(epoll_wait(e, &got, 1, 60000), 1);
	EQUAL(got.events, EPOLLOUT);
	EQUAL(epoll_wait(e, &got, 1, 0), 0);
	EQUAL(write(s[1], "ab", 2), 2);
	EQUAL(epoll_wait(e, &got, 1, 60000), 1);
	EQUAL(got.events, EPOLLIN | EPOLLOUT);
	EQUAL(epoll_wait(e, &got, 1, 0), 0);
	EQUAL(read(s[0], buf, 1), 1); /* the rest makes no edge */
	EQUAL(epoll_wait(e, &got, 1, 0), 0);
	EQUAL(write(s[1], "c", 1), 1);
	EQUAL(epoll_wait(e, &got, 1, 60000), 1);
	EQUAL(got.events, EPOLLIN | EPOLLOUT);
	OK(shutdown(s[1], SHUT_WR));
	do
		EQUAL(epoll_wait(e, &got, 1, 60000), 1);
	while (!(got.events & EPOLLRDHUP));
	EQUAL(got.events, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	ev.events = EPOLLRDHUP;
	OK(epoll_ctl(e, EPOLL_CTL_MOD, s[0], &ev));
	EQUAL(epoll_wait(e, &got, 1, 60000), 1);
	EQUAL(got.events, EPOLLRDHUP);
}

/* Bytes that nobody has read make a close a reset. */
TEST(close_resets_or_not) {
	int s[2];
	tcp_pair(AF_INET, s);
	EQUAL(write(s[0], "unread", 6), 6);
	ready(s[1], POLLIN);
	close(s[1]);
	await(s[0], POLLIN | POLLOUT, POLLIN | POLLOUT | POLLERR | POLLHUP);
	FAILS(read(s[0], buf, 1), ECONNRESET);
	EQUAL(read(s[0], buf, 1), 0);
	FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);

	tcp_pair(AF_INET, s); /* what was sent before a close arrives */
	EQUAL(write(s[1], "bye", 3), 3);
	close(s[1]);
	EQUAL(recv(s[0], buf, 10, MSG_WAITALL), 3);
	EQUAL(read(s[0], buf, 1), 0);
	EQUAL(write(s[0], "x", 1), 1); /* which the peer answers with a reset */
	await(s[0], POLLIN | POLLOUT, POLLIN | POLLOUT | POLLERR | POLLHUP);
	FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);

	tcp_pair(AF_INET, s);
	struct linger now = { 1, 0 };
	OK(setsockopt(s[1], SOL_SOCKET, SO_LINGER, &now, sizeof now));
	close(s[1]);
	await(s[0], POLLIN | POLLOUT, POLLIN | POLLOUT | POLLERR | POLLHUP);
	EQUAL(option(s[0], SOL_SOCKET, SO_ERROR), ECONNRESET);
	EQUAL(read(s[0], buf, 1), 0);
}

static int sigpipes;
static void on_pipe(int sig) { sigpipes++; }

TEST(sigpipe) {
	int s[2];
	tcp_pair(AF_INET, s);
	signal(SIGPIPE, on_pipe);
	OK(shutdown(s[0], SHUT_WR));
	FAILS(write(s[0], "x", 1), EPIPE);
	EQUAL(sigpipes, 1);
	FAILS(send(s[0], "x", 1, 0), EPIPE);
	EQUAL(sigpipes, 2);
	FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	EQUAL(sigpipes, 2);
}

/* Sockets that are no streams have the error alone. */
TEST(no_sigpipe) {
	int s[2];
	signal(SIGPIPE, on_pipe);
	for (int type = SOCK_DGRAM; type <= SOCK_SEQPACKET; type++)
		for (int local = 0; local < 2; local++) {
			if (type != SOCK_DGRAM && (type != SOCK_SEQPACKET || !local))
				continue;
			if (local) OK(socketpair(AF_UNIX, type, 0, s));
			else connect_to(s[0] = bound(AF_INET, type), s[1] = bound(AF_INET, type));
			OK(shutdown(s[0], SHUT_WR));
			FAILS(write(s[0], "x", 1), EPIPE);
			FAILS(send(s[0], "x", 1, 0), EPIPE);
			EQUAL(sigpipes, 0);
		}
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	close(s[1]);
	FAILS(write(s[0], "x", 1), EPIPE);
	FAILS(send(s[0], "x", 1, 0), EPIPE);
	EQUAL(sigpipes, 2);
}

TEST(bulk_is_whole) {
	int s[2];
	tcp_pair(AF_INET, s);
	enum { total = 24 << 20 };
	pid_t k = OK(fork());
	if (k == 0) {
		close(s[1]);
		for (unsigned done = 0; done < total;) {
			unsigned n = 1 + done * 7919u % sizeof buf;
			if (n > total - done)
				n = total - done;
			for (unsigned i = 0; i < n; i++)
				buf[i] = (done + i) * 31 >> 3;
			EQUAL(write(s[0], buf, n), n);
			done += n;
		}
		_exit(0);
	}
	close(s[0]);
	unsigned done = 0;
	for (ssize_t n; (n = OK(read(s[1], buf, sizeof buf))) > 0; done += n)
		for (unsigned i = 0; i < n; i++)
			if (buf[i] != (char)((done + i) * 31 >> 3))
				EQUAL(i + done, -1);
	EQUAL(done, total);
	int status;
	EQUAL(waitpid(k, &status, 0), k);
	EXITED_OK(status);
}

/* A full connection stops a writer, and poll tells when it may go on. */
TEST(full) {
	int s[2];
	tcp_pair(AF_INET, s);
	OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
	size_t sent = 0, got = 0;
	for (int tries = 0; tries < 50 || writable(s[0]);) {
		ssize_t n = write(s[0], buf, sizeof buf);
		if (n < 0) {
			EQUAL(errno, EAGAIN);
			tries++;
			sleep_ms(2); /* what is on its way makes room */
			continue;
		}
		sent += n;
		tries = 0;
	}
	while (got < sent)
		got += OK(read(s[1], buf, sizeof buf));
	EQUAL(got, sent);
	ready(s[0], POLLOUT);
	EQUAL(write(s[0], "x", 1), 1);
}

TEST(sizes_and_ioctls) {
	int s[2], n = 1;
	tcp_pair(AF_INET, s);
	OK(ioctl(s[0], FIONREAD, &n));
	EQUAL(n, 0);
	EQUAL(write(s[1], "12345", 5), 5);
	ready(s[0], POLLIN);
	OK(ioctl(s[0], FIONREAD, &n));
	EQUAL(n, 5);
	for (int i = 0; i < 20000; i++, sleep_ms(1)) {
		OK(ioctl(s[1], TIOCOUTQ, &n));
		if (!n)
			break;
	}
	EQUAL(n, 0);
	n = 1;
	OK(ioctl(s[0], FIONBIO, &n));
	EQUAL(fcntl(s[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQUAL(recv(s[0], NULL, 3, MSG_TRUNC), 3); /* thrown away unseen */
	EQUAL(read(s[0], buf, 9), 2);
	CHECK(!memcmp(buf, "45", 2));
	EQUAL(recv(s[0], buf, 0, 0) == -1 ? errno : 0, EAGAIN);
	int l = listener(AF_INET);
	FAILS(ioctl(l, FIONREAD, &n), EINVAL);
}

TEST(a_bind_that_fails_gives_no_address) {
	EACH_FAMILY(f) {
		need_family(f);
		union addr a, none = { .sa.sa_family = f }, got;
		int l = listener(f), s = OK(socket(f, SOCK_STREAM, 0));
		socklen_t n = loopback(&a, f, port_of(l));
		memset(&got, 0, sizeof got);
		FAILS(bind(s, &a.sa, n), EADDRINUSE);
		OK(getsockname(s, &got.sa, &n));
		CHECK(!memcmp(&got, &none, n));
	}
}

TEST(time_limits) {
	int s[2];
	tcp_pair(AF_INET, s);
	struct timeval t = { 0, 20000 };
	OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	FAILS(read(s[0], buf, 1), EAGAIN);
	int l = listener(AF_INET);
	OK(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	FAILS(accept(l, NULL, NULL), EAGAIN);
}

static void nothing(int sig) {}

TEST(interrupted) {
	int s[2];
	tcp_pair(AF_INET, s);
	struct sigaction a = { .sa_handler = nothing };
	OK(sigaction(SIGUSR1, &a, NULL));
	pid_t k = signal_when_asleep(SIGUSR1);
	FAILS(read(s[0], buf, 1), EINTR);
	EQUAL(waitpid(k, NULL, 0), k);
	int l = listener(AF_INET);
	k = signal_when_asleep(SIGUSR1);
	FAILS(accept(l, NULL, NULL), EINTR);
	EQUAL(waitpid(k, NULL, 0), k);
}

TEST(backlog_and_wakeups) {
	int l = listener(AF_INET);
	await(l, POLLIN | POLLOUT, 0);
	pid_t k = OK(fork());
	if (k == 0) {
		int c = OK(socket(AF_INET, SOCK_STREAM, 0));
		await_sleep(getppid());
		connect_to(c, l);
		EQUAL(write(c, "x", 1), 1);
		EQUAL(read(c, buf, 1), 0);
		_exit(0);
	}
	int s = OK(accept(l, NULL, NULL));
	EQUAL(read(s, buf, 1), 1);
	close(s);
	int status;
	EQUAL(waitpid(k, &status, 0), k);
	EXITED_OK(status);
	int c = OK(socket(AF_INET, SOCK_STREAM, 0));
	connect_to(c, l);
	await(l, POLLIN | POLLOUT, POLLIN);
	/* A listener that is shut down wakes who waits, and can be a listener again. */
	OK(accept(l, NULL, NULL));
	k = OK(fork());
	if (k == 0) {
		await_sleep(getppid());
		OK(shutdown(l, SHUT_RDWR));
		_exit(0);
	}
	FAILS(accept(l, NULL, NULL), EINVAL);
	EQUAL(waitpid(k, &status, 0), k);
	OK(listen(l, 5));
	connect_to(OK(socket(AF_INET, SOCK_STREAM, 0)), l);
}

TEST(same_port_twice) {
	union addr a;
	int l = listener(AF_INET), s = OK(socket(AF_INET, SOCK_STREAM, 0));
	socklen_t n = loopback(&a, AF_INET, port_of(l));
	FAILS(bind(s, &a.sa, n), EADDRINUSE);
	OK(set(s, SOL_SOCKET, SO_REUSEADDR, 1));
	FAILS(bind(s, &a.sa, n), EADDRINUSE); /* it listens */
	int x = OK(socket(AF_INET, SOCK_STREAM, 0)), y = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(x, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(set(y, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(bind(x, &a.sa, loopback(&a, AF_INET, 0)));
	OK(listen(x, 5));
	n = loopback(&a, AF_INET, port_of(x));
	OK(bind(y, &a.sa, n));
	OK(listen(y, 5));
	/* A server that is started again: connections of the old one linger. */
	int p[2];
	l = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(l, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(bind(l, &a.sa, loopback(&a, AF_INET, 0)));
	OK(listen(l, 1));
	p[0] = OK(socket(AF_INET, SOCK_STREAM, 0));
	connect_to(p[0], l);
	p[1] = OK(accept(l, NULL, NULL));
	n = loopback(&a, AF_INET, port_of(l));
	close(p[1]);
	close(l);
	EQUAL(read(p[0], buf, 1), 0);
	close(p[0]);
	s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(s, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(bind(s, &a.sa, n));
	OK(listen(s, 1));
}

TEST(self_connect) {
	int s = bound(AF_INET, SOCK_STREAM);
	connect_to(s, s);
	EQUAL(write(s, "me", 2), 2);
	EQUAL(recv(s, buf, 2, MSG_WAITALL), 2);
	EQUAL(port_of(s), port_of(s));
}

TEST(files_and_pipes) {
	int s[2], p[2], f = OK(open("file", O_RDWR | O_CREAT, 0600));
	tcp_pair(AF_INET, s);
	memset(buf, 'a', 100000);
	EQUAL(write(f, buf, 100000), 100000);
	off_t at = 10;
	EQUAL(sendfile(s[0], f, &at, 5000), 5000);
	EQUAL(at, 5010);
	EQUAL(recv(s[1], buf, 5000, MSG_WAITALL), 5000);
	OK(pipe(p));
	EQUAL(write(s[0], "spliced", 7), 7);
	ready(s[1], POLLIN);
	EQUAL(splice(s[1], NULL, p[1], NULL, 100, 0), 7);
	EQUAL(splice(p[0], NULL, s[1], NULL, 7, 0), 7);
	EQUAL(recv(s[0], buf, 7, MSG_WAITALL), 7);
	CHECK(!memcmp(buf, "spliced", 7));
	struct iovec v[3] = { { "one", 3 }, { "", 0 }, { "two", 3 } }, w[2] = { { buf, 2 }, { buf + 10, 4 } };
	EQUAL(writev(s[0], v, 3), 6);
	ready(s[1], POLLIN);
	EQUAL(readv(s[1], w, 2), 6);
	CHECK(!memcmp(buf, "on", 2) && !memcmp(buf + 10, "etwo", 4));
	FAILS(fsync(s[0]), EINVAL);
}

TEST(messages) {
	int s[2];
	tcp_pair(AF_INET, s);
	struct iovec v = { "data", 4 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	EQUAL(sendmsg(s[0], &m, 0), 4);
	union addr a;
	char control[100];
	v = (struct iovec){ buf, 100 };
	m.msg_name = &a, m.msg_namelen = sizeof a, m.msg_control = control, m.msg_controllen = sizeof control;
	ready(s[1], POLLIN);
	EQUAL(recvmsg(s[1], &m, 0), 4);
	EQUAL(m.msg_namelen, 0); /* a stream names nobody */
	EQUAL(m.msg_controllen, 0);
	EQUAL(m.msg_flags, 0);
	EQUAL(sendto(s[0], "x", 1, 0, &a.sa, loopback(&a, AF_INET, 1)), 1); /* it takes no notice */
	struct mmsghdr mm[2] = { { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } }, { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } } };
	v = (struct iovec){ "yz", 2 };
	EQUAL(sendmmsg(s[0], mm, 2, 0), 2);
	EQUAL(recv(s[1], buf, 5, MSG_WAITALL), 5);
	CHECK(!memcmp(buf, "xyzyz", 5));
	FAILS(recv(s[1], buf, 1, MSG_OOB), EINVAL);
}

TEST(corked) {
	int s[2];
	tcp_pair(AF_INET, s);
	EQUAL(send(s[0], "a", 1, MSG_MORE), 1);
	EQUAL(send(s[0], "b", 1, 0), 1);
	EQUAL(recv(s[1], buf, 2, MSG_WAITALL), 2);
	OK(set(s[0], IPPROTO_TCP, TCP_CORK, 1));
	EQUAL(write(s[0], "cd", 2), 2);
	OK(set(s[0], IPPROTO_TCP, TCP_CORK, 0));
	EQUAL(recv(s[1], buf, 2, MSG_WAITALL), 2);
}

TEST(privileged_ports) {
	own_network_up(); /* this one may let everybody have low ports */
	EXITED_OK(IN_CHILD(
		union addr a;
		OK(setresuid(12345, 12345, 12345));
		int s = OK(socket(AF_INET, SOCK_STREAM, 0));
		FAILS(bind(s, &a.sa, loopback(&a, AF_INET, 81)), EACCES);
		OK(bind(s, &a.sa, loopback(&a, AF_INET, 0)));
		CHECK(port_of(s) >= 1024);
	));
}

TEST(many_connections) {
	enum { count = 400 };
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), s[count][2];
	union addr a;
	OK(bind(l, &a.sa, loopback(&a, AF_INET, 0)));
	OK(listen(l, count));
	for (int i = 0; i < count; i++) {
		s[i][0] = OK(socket(AF_INET, SOCK_STREAM, 0));
		connect_to(s[i][0], l);
		s[i][1] = OK(accept(l, NULL, NULL));
		EQUAL(write(s[i][0], &i, sizeof i), sizeof i);
	}
	for (int i = 0, v; i < count; i++) {
		EQUAL(recv(s[i][1], &v, sizeof v, MSG_WAITALL), sizeof v);
		EQUAL(v, i);
	}
}
