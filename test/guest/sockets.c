/* AF_UNIX sockets: unix(7), socket(7), cmsg(3). */
#include "guest.h"
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static char buf[300000];

static socklen_t name(struct sockaddr_un *a, const char *path) {
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	strcpy(a->sun_path, path);
	return offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1;
}

TEST(stream_pair) {
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EQUAL(write(s[0], "hello", 5), 5);
	EQUAL(recv(s[1], buf, 2, MSG_PEEK), 2);
	EQUAL(read(s[1], buf, 3), 3);
	EQUAL(read(s[1], buf, 30), 2);
	FAILS(recv(s[1], buf, 1, MSG_DONTWAIT), EAGAIN);
	OK(shutdown(s[0], SHUT_WR));
	EQUAL(read(s[1], buf, 1), 0);
	EQUAL(write(s[1], "x", 1), 1);
	EQUAL(read(s[0], buf, 1), 1);
	FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	close(s[0]);
	FAILS(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
	EQUAL(read(s[1], buf, 1), 0);
}

TEST(listen_connect_accept) {
	struct sockaddr_un a, b;
	socklen_t n = name(&a, "sock");
	int l = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	FAILS(connect(c, (void *)&a, n), ENOENT);
	OK(bind(l, (void *)&a, n));
	FAILS(bind(l, (void *)&a, n), EADDRINUSE);
	n = name(&b, "sock2");
	FAILS(bind(l, (void *)&b, n), EINVAL); /* it has a name */
	n = name(&a, "sock");
	FAILS(connect(c, (void *)&a, n), ECONNREFUSED);
	OK(listen(l, 5));
	struct stat st;
	OK(stat("sock", &st));
	CHECK(S_ISSOCK(st.st_mode));
	FAILS(open("sock", O_RDWR), ENXIO);
	int c2 = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	FAILS(bind(c2, (void *)&a, n), EADDRINUSE);
	OK(connect(c, (void *)&a, n));
	FAILS(connect(c, (void *)&a, n), EISCONN);
	socklen_t bn = sizeof b;
	int s = OK(accept4(l, (void *)&b, &bn, SOCK_NONBLOCK));
	EQUAL(bn, 2);
	EQUAL(fcntl(s, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQUAL(write(c, "hi", 2), 2);
	EQUAL(read(s, buf, 10), 2);
	bn = sizeof b;
	OK(getpeername(c, (void *)&b, &bn));
	CHECK(!strcmp(b.sun_path, "sock"));
	struct ucred u;
	socklen_t un = sizeof u;
	OK(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &u, &un));
	EQUAL(u.pid, getpid());
	EQUAL(u.uid, getuid());
	int v;
	un = sizeof v;
	OK(getsockopt(c, SOL_SOCKET, SO_TYPE, &v, &un));
	EQUAL(v, SOCK_STREAM);
	FAILS(accept(c, NULL, NULL), EINVAL);
	FAILS(getpeername(l, (void *)&b, &bn), ENOTCONN);
}

TEST(accept_waits) {
	struct sockaddr_un a;
	socklen_t n = name(&a, "s");
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(l, (void *)&a, n));
	OK(listen(l, 1));
	pid_t k = OK(fork());
	if (!k) {
		sleep_ms(20);
		int c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		OK(connect(c, (void *)&a, n));
		EQUAL(read(c, buf, 3), 3);
		_exit(0);
	}
	struct pollfd p = { l, POLLIN, 0 };
	EQUAL(poll(&p, 1, -1), 1);
	int s = OK(accept(l, NULL, NULL));
	EQUAL(write(s, "yes", 3), 3);
	int st;
	OK(waitpid(k, &st, 0));
	EXITED_OK(st);
}

TEST(abstract_names_and_datagrams) {
	struct sockaddr_un a, from;
	memset(&a, 0, sizeof a);
	a.sun_family = AF_UNIX;
	int n = snprintf(a.sun_path + 1, 50, "guest-%d", getpid());
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + 1 + n;
	int r = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), s = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	OK(bind(r, (void *)&a, len));
	EQUAL(sendto(s, "one", 3, 0, (void *)&a, len), 3);
	EQUAL(sendto(s, "", 0, 0, (void *)&a, len), 0);
	OK(connect(s, (void *)&a, len));
	EQUAL(send(s, "three", 5, 0), 5);
	EQUAL(recv(r, buf, 100, 0), 3);
	EQUAL(recv(r, buf, 100, 0), 0);
	EQUAL(recv(r, buf, 2, MSG_TRUNC), 5);
	/* autobind gives a name */
	struct sockaddr_un family = { .sun_family = AF_UNIX };
	int t = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	OK(bind(t, (void *)&family, sizeof(sa_family_t)));
	EQUAL(sendto(t, "x", 1, 0, (void *)&a, len), 1);
	socklen_t fn = sizeof from;
	EQUAL(recvfrom(r, buf, 10, 0, (void *)&from, &fn), 1);
	EQUAL(fn, offsetof(struct sockaddr_un, sun_path) + 6);
	EQUAL(sendto(r, "back", 4, 0, (void *)&from, fn), 4);
	EQUAL(recv(t, buf, 10, 0), 4);
	memset(buf, 0, sizeof buf);
	FAILS(send(s, buf, sizeof buf, 0), EMSGSIZE);
	close(r);
	FAILS(send(s, "x", 1, 0), ECONNREFUSED);
}

TEST(seqpacket_keeps_records) {
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	EQUAL(write(s[0], "abc", 3), 3);
	EQUAL(write(s[0], "de", 2), 2);
	EQUAL(read(s[1], buf, 2), 2);
	EQUAL(read(s[1], buf, 10), 2);
	CHECK(!memcmp(buf, "de", 2));
	close(s[0]);
	EQUAL(read(s[1], buf, 10), 0);
}

static int send_fd(int sock, int fd) {
	char c[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec v = { "f", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	return (int)sendmsg(sock, &m, 0);
}

static int recv_fd(int sock, int flags, int *msg_flags, size_t room) {
	char c[64] = { 0 };
	struct iovec v = { buf, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = room };
	EQUAL(recvmsg(sock, &m, flags), 1);
	*msg_flags = m.msg_flags;
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	if (!h)
		return -1;
	int fd;
	memcpy(&fd, CMSG_DATA(h), sizeof fd);
	return fd;
}

TEST(passing_descriptors) {
	int s[2], p[2], flags;
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(pipe(p));
	EQUAL(send_fd(s[0], p[1]), 1);
	close(p[1]);
	int got = recv_fd(s[1], MSG_CMSG_CLOEXEC, &flags, 64);
	CHECK(got >= 0);
	EQUAL(fcntl(got, F_GETFD), FD_CLOEXEC);
	EQUAL(write(got, "through", 7), 7);
	EQUAL(read(p[0], buf, 10), 7);
	FAILS(send_fd(s[0], 99), EBADF);
	EQUAL(send_fd(s[0], got), 1);
	EQUAL(recv_fd(s[1], 0, &flags, 0), -1);
	EQUAL(flags & MSG_CTRUNC, MSG_CTRUNC);
	/* a descriptor in flight keeps the pipe open; a closed socket drops it */
	EQUAL(send_fd(s[0], got), 1);
	close(got);
	close(s[0]);
	close(s[1]);
	EQUAL(read(p[0], buf, 1), 0);
}

TEST(credentials) {
	int s[2], one = 1;
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
	EQUAL(write(s[0], "c", 1), 1);
	char c[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec v = { buf, 10 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c };
	EQUAL(recvmsg(s[1], &m, 0), 1);
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	CHECK(h && h->cmsg_type == SCM_CREDENTIALS);
	struct ucred u;
	memcpy(&u, CMSG_DATA(h), sizeof u);
	EQUAL(u.pid, getpid());
	EQUAL(u.gid, getgid());
}

TEST(big_stream_transfer) {
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t k = OK(fork());
	if (!k) {
		close(s[1]);
		for (size_t i = 0; i < sizeof buf; i++)
			buf[i] = (char)(i * 7);
		for (int r = 0; r < 10; r++) {
			size_t done = 0;
			while (done < sizeof buf)
				done += OK(write(s[0], buf + done, sizeof buf - done));
		}
		_exit(0);
	}
	close(s[0]);
	static char in[8000];
	size_t total = 0;
	ssize_t n;
	while ((n = read(s[1], in, sizeof in)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			EQUAL(in[i], (char)(((total + i) % sizeof buf) * 7));
		total += n;
	}
	EQUAL(total, 10 * sizeof buf);
	OK(waitpid(k, NULL, 0));
}

TEST(socket_errors) {
	FAILS(socket(AF_UNIX, 77, 0), EINVAL);
	FAILS(socket(AF_UNIX, SOCK_STREAM, 5), EPROTONOSUPPORT);
	FAILS(socket(45, SOCK_STREAM, 0), EAFNOSUPPORT);
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	FAILS(read(s, buf, 1), EINVAL);
	FAILS(send(s, buf, 1, MSG_NOSIGNAL), ENOTCONN);
	FAILS(listen(s, 1), EINVAL);
	FAILS(bind(s, (void *)8, 10), EFAULT);
	FAILS(bind(s, (void *)buf, 1000), EINVAL);
	int f = OK(open("f", O_CREAT | O_RDWR, 0600));
	FAILS(listen(f, 1), ENOTSOCK);
	FAILS(send(f, "x", 1, 0), ENOTSOCK);
	FAILS(listen(99, 1), EBADF);
	int v;
	socklen_t n = sizeof v;
	FAILS(getsockopt(s, SOL_SOCKET, 9999, &v, &n), ENOPROTOOPT);
}
