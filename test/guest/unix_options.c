/* Options of local sockets that tell a receiver more of a message: when it came (SO_TIMESTAMP),
 * and which process sent it or is the peer (SO_PASSPIDFD, SO_PEERPIDFD); socket(7) and unix(7). */
#include "inet.h"
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/un.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#define SCM_PIDFD_ 4 /* linux/socket.h */

/* receive takes a message, and copies the data of the control message of a type; its value is
 * how long that was, or -1. */
static int receive(int fd, int type, void *data, int most) {
	char b[64];
	union { char b[512]; struct cmsghdr h; } c;
	struct iovec v = { b, sizeof b };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b };
	OK(recvmsg(fd, &m, 0));
	EQUAL(m.msg_flags & MSG_CTRUNC, 0);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
		if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == type) {
			int n = h->cmsg_len - CMSG_LEN(0);
			memcpy(data, CMSG_DATA(h), n < most ? n : most);
			return n;
		}
	return -1;
}

static void pair(int type, int p[2]) { OK(socketpair(AF_UNIX, type, 0, p)); }

TEST(stamps_of_messages) {
	static const int types[] = { SOCK_DGRAM, SOCK_SEQPACKET };
	for (int i = 0; i < 2; i++) {
		int p[2];
		pair(types[i], p);
		struct timespec before, after, got;
		OK(send(p[1], "unasked", 7, 0));
		OK(set(p[0], SOL_SOCKET, SO_TIMESTAMPNS, 1));
		OK(clock_gettime(CLOCK_REALTIME, &before));
		EQUAL(receive(p[0], SO_TIMESTAMPNS, &got, sizeof got), sizeof got); /* when it was taken */
		CHECK(got.tv_sec >= before.tv_sec);
		OK(send(p[1], "asked", 5, 0));
		OK(clock_gettime(CLOCK_REALTIME, &after));
		EQUAL(receive(p[0], SO_TIMESTAMPNS, &got, sizeof got), sizeof got);
		long long ns = got.tv_sec * 1000000000ll + got.tv_nsec;
		CHECK(ns >= before.tv_sec * 1000000000ll + before.tv_nsec);
		CHECK(ns <= after.tv_sec * 1000000000ll + after.tv_nsec);
		OK(set(p[0], SOL_SOCKET, SO_TIMESTAMP, 1)); /* instead */
		EQUAL(option(p[0], SOL_SOCKET, SO_TIMESTAMPNS), 0);
		struct timeval tv;
		OK(send(p[1], "micro", 5, 0));
		EQUAL(receive(p[0], SO_TIMESTAMP, &tv, sizeof tv), sizeof tv);
		CHECK(tv.tv_sec >= before.tv_sec && tv.tv_usec < 1000000);
		OK(set(p[0], SOL_SOCKET, SO_TIMESTAMP, 0));
		OK(send(p[1], "none", 4, 0));
		EQUAL(receive(p[0], SO_TIMESTAMP, &tv, sizeof tv), -1);
	}
}

/* Each of the options has a second number, and what was set last says by which the times are told. */
TEST(numbers_of_stamps) {
	enum { stamp_new = 63, stamp_ns_new = 64, stamping_new = 65 };
	static const struct { int set, then, told, size, shown[4]; } cases[] = {
		{ SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMPNS, 16, { 0, 1, 0, 0 } },
		{ SO_TIMESTAMPNS, SO_TIMESTAMP, SO_TIMESTAMP, 16, { 1, 0, 0, 0 } },
		{ SO_TIMESTAMP, stamp_new, stamp_new, 16, { 0, 0, 1, 0 } },
		{ SO_TIMESTAMP, stamp_ns_new, stamp_ns_new, 16, { 0, 0, 1, 1 } },
		{ SO_TIMESTAMPNS, stamping_new, stamping_new, 48, { 0, 0, 1, 1 } },
		{ stamp_new, SO_TIMESTAMPING, SO_TIMESTAMPING, 48, { 1, 0, 0, 0 } },
	};
	static const int names[] = { SO_TIMESTAMP, SO_TIMESTAMPNS, stamp_new, stamp_ns_new };
	for (int i = 0; i < 12; i++) {
		int p[2], set_to = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE;
		char b[64];
		if (i % 2) {
			pair(SOCK_DGRAM, p);
		} else {
			p[0] = bound(AF_INET, SOCK_DGRAM);
			p[1] = OK(socket(AF_INET, SOCK_DGRAM, 0));
			connect_to(p[1], p[0]);
		}
		OK(set(p[0], SOL_SOCKET, cases[i / 2].set, 1));
		OK(set(p[0], SOL_SOCKET, cases[i / 2].then, cases[i / 2].size == 48 ? set_to : 1));
		for (int k = 0; k < 4; k++)
			EQUAL(option(p[0], SOL_SOCKET, names[k]), cases[i / 2].shown[k]);
		OK(send(p[1], "x", 1, 0));
		EQUAL(receive(p[0], cases[i / 2].told, b, sizeof b), cases[i / 2].size);
	}
}

/* Of SO_TIMESTAMPING alone local sockets tell nothing, and streams never tell anything. */
TEST(stamps_that_are_not_told) {
	int p[2];
	pair(SOCK_DGRAM, p);
	struct scm_timestamping t = { 0 };
	OK(set(p[0], SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE));
	EQUAL(option(p[0], SOL_SOCKET, SO_TIMESTAMPING), SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE);
	OK(send(p[1], "x", 1, 0));
	EQUAL(receive(p[0], SO_TIMESTAMPING, &t, sizeof t), -1);
	OK(set(p[0], SOL_SOCKET, SO_TIMESTAMP, 1));
	OK(send(p[1], "x", 1, 0));
	EQUAL(receive(p[0], SO_TIMESTAMPING, &t, sizeof t), sizeof t);
	CHECK(t.ts[0].tv_sec > 0 && t.ts[1].tv_sec == 0 && t.ts[2].tv_sec == 0);
	FAILS(set(p[0], SOL_SOCKET, SO_TIMESTAMPING, 1 << 30), EINVAL);
	FAILS(set(p[0], SOL_SOCKET, SO_TIMESTAMPING, 1 << 16 /* SOF_TIMESTAMPING_OPT_ID_TCP alone */), EINVAL);
	struct timeval tv;
	pair(SOCK_STREAM, p);
	OK(set(p[0], SOL_SOCKET, SO_TIMESTAMP, 1));
	OK(send(p[1], "x", 1, 0));
	EQUAL(receive(p[0], SO_TIMESTAMP, &tv, sizeof tv), -1);
}

/* ended says whether a pidfd's process has. */
static int ended(int fd) {
	struct pollfd p = { fd, POLLIN };
	return OK(poll(&p, 1, 0));
}

TEST(pidfd_of_a_peer) {
	int p[2], s = OK(socket(AF_UNIX, SOCK_STREAM, 0)), fd;
	socklen_t n = sizeof fd;
	if (getsockopt(s, SOL_SOCKET, SO_PEERPIDFD, &fd, &n) == -1 && errno == ENOPROTOOPT)
		SKIP("the kernel is older than 6.5");
	FAILS(getsockopt(s, SOL_SOCKET, SO_PEERPIDFD, &fd, &n), ENODATA);
	FAILS(getsockopt(OK(socket(AF_INET, SOCK_STREAM, 0)), SOL_SOCKET, SO_PEERPIDFD, &fd, &n), ENODATA);
	pair(SOCK_STREAM, p);
	OK(getsockopt(p[0], SOL_SOCKET, SO_PEERPIDFD, &fd, &n));
	EQUAL(n, 4);
	EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	OK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));

	struct sockaddr_un a = { AF_UNIX };
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), stay[2];
	OK(bind(l, (void *)&a, 2));
	OK(listen(l, 1));
	n = sizeof a;
	OK(getsockname(l, (void *)&a, &n));
	OK(pipe(stay));
	pid_t child = OK(fork());
	if (child == 0) {
		char c;
		close(stay[1]);
		OK(connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&a, n));
		_exit(read(stay[0], &c, 1));
	}
	int peer = OK(accept(l, NULL, NULL));
	n = sizeof fd;
	OK(getsockopt(peer, SOL_SOCKET, SO_PEERPIDFD, &fd, &n));
	EQUAL(ended(fd), 0);
	close(stay[1]);
	EQUAL(waitpid(child, NULL, 0), child);
	EQUAL(ended(fd), 1);
}

TEST(pidfds_of_senders) {
	int p[2], fd = -1, r;
	pair(SOCK_DGRAM, p);
	if (set(p[0], SOL_SOCKET, SO_PASSPIDFD, 1) == -1 && errno == ENOPROTOOPT)
		SKIP("the kernel is older than 6.5");
	EQUAL(option(p[0], SOL_SOCKET, SO_PASSPIDFD), 1);
	pid_t child = OK(fork());
	if (child == 0)
		_exit(send(p[1], "x", 1, 0) != 1);
	EQUAL(waitid(P_PID, child, NULL, WEXITED | WNOWAIT), 0);
	EQUAL(receive(p[0], SCM_PIDFD_, &fd, sizeof fd), sizeof fd);
	EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EQUAL(ended(fd), 1);
	EQUAL(waitid(P_PIDFD, fd, NULL, WEXITED), 0);
	OK(set(p[0], SOL_SOCKET, SO_PASSPIDFD, 0));
	OK(send(p[1], "x", 1, 0));
	EQUAL(receive(p[0], SCM_PIDFD_, &fd, sizeof fd), -1);
	/* A stream's are its bytes' sender's. */
	pair(SOCK_STREAM, p);
	OK(set(p[0], SOL_SOCKET, SO_PASSPIDFD, 1));
	OK(send(p[1], "x", 1, 0));
	EQUAL(receive(p[0], SCM_PIDFD_, &r, sizeof r), sizeof r);
	OK(syscall(SYS_pidfd_send_signal, r, 0, NULL, 0));
	FAILS(set(OK(socket(AF_INET, SOCK_DGRAM, 0)), SOL_SOCKET, SO_PASSPIDFD, 1), EOPNOTSUPP);
}

TEST(rights_that_are_not_wanted) {
	int p[2], on;
	socklen_t n = sizeof on;
	pair(SOCK_DGRAM, p);
	if (getsockopt(p[0], SOL_SOCKET, SO_PASSRIGHTS, &on, &n) == -1 && errno == ENOPROTOOPT)
		SKIP("the kernel is older than 6.16");
	EQUAL(on, 1);
	OK(set(p[0], SOL_SOCKET, SO_PASSRIGHTS, 0));
	union { char b[CMSG_SPACE(4)]; struct cmsghdr h; } c = { .h = { CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b };
	FAILS(sendmsg(p[1], &m, 0), EPERM);
	OK(set(p[0], SOL_SOCKET, SO_PASSRIGHTS, 1));
	OK(sendmsg(p[1], &m, 0));
}

TEST(security_labels) {
	int p[2];
	pair(SOCK_STREAM, p);
	EQUAL(option(p[0], SOL_SOCKET, SO_PASSSEC), 0);
	OK(set(p[0], SOL_SOCKET, SO_PASSSEC, 7));
	EQUAL(option(p[0], SOL_SOCKET, SO_PASSSEC), 1);
	FAILS(set(OK(socket(AF_INET, SOCK_STREAM, 0)), SOL_SOCKET, SO_PASSSEC, 1), EOPNOTSUPP);
}

TEST(name_of_a_peer) {
	struct sockaddr_un a = { 0 };
	socklen_t n = 2;
	int p[2];
	pair(SOCK_STREAM, p);
	OK(getsockopt(p[0], SOL_SOCKET, SO_PEERNAME, &a, &n));
	EQUAL(n, 2);
	EQUAL(a.sun_family, AF_UNIX);
	n = sizeof a; /* more than there is of it */
	FAILS(getsockopt(p[0], SOL_SOCKET, SO_PEERNAME, &a, &n), EINVAL);
	n = 2;
	FAILS(getsockopt(OK(socket(AF_UNIX, SOCK_STREAM, 0)), SOL_SOCKET, SO_PEERNAME, &a, &n), ENOTCONN);
	FAILS(getsockopt(OK(socket(AF_INET, SOCK_STREAM, 0)), SOL_SOCKET, SO_PEERNAME, &a, &n), ENOTCONN);
}

/* descriptors counts those that are open. */
static int descriptors(void) {
	int n = 0;
	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) != -1;
	return n;
}

/* Nobody has a descriptor whose number could not be told. */
TEST(descriptors_that_cannot_be_told) {
	int p[2];
	socklen_t n = 4;
	void *nowhere = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(nowhere != MAP_FAILED);
	pair(SOCK_DGRAM, p);
	int before = descriptors();
	if (set(p[0], SOL_SOCKET, SO_PASSPIDFD, 1) == 0) {
		FAILS(getsockopt(p[0], SOL_SOCKET, SO_PEERPIDFD, nowhere, &n), EFAULT);
		EQUAL(descriptors(), before);
	}
	union { char b[CMSG_SPACE(8)]; struct cmsghdr h; } c = { .h = { CMSG_LEN(8), SOL_SOCKET, SCM_RIGHTS } };
	memcpy(CMSG_DATA(&c.h), p, 8);
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b };
	OK(sendmsg(p[1], &m, 0));
	OK(set(p[0], SOL_SOCKET, SO_PASSPIDFD, 0));
	OK(sendmsg(p[1], &m, 0));
	for (int i = 0; i < 2; i++) {
		char b;
		struct iovec to = { &b, 1 };
		struct msghdr r = { .msg_iov = &to, .msg_iovlen = 1, .msg_control = nowhere, .msg_controllen = 512 };
		EQUAL(recvmsg(p[0], &r, 0), 1); /* the bytes come */
		EQUAL(r.msg_controllen, 0);
		EQUAL(r.msg_flags, MSG_CTRUNC);
		EQUAL(descriptors(), before);
	}
}

/* Whose pidfd it is was settled when the message was sent, by either end's wish to know. */
TEST(pidfds_wanted_later) {
	int p[2], fd = -1;
	pair(SOCK_DGRAM, p);
	if (set(p[1], SOL_SOCKET, SO_PASSPIDFD, 1) == -1 && errno == ENOPROTOOPT)
		SKIP("the kernel is older than 6.5");
	OK(send(p[1], "x", 1, 0));
	OK(set(p[1], SOL_SOCKET, SO_PASSPIDFD, 0));
	OK(set(p[0], SOL_SOCKET, SO_PASSCRED, 1));
	OK(send(p[1], "x", 1, 0));
	OK(set(p[0], SOL_SOCKET, SO_PASSCRED, 0));
	OK(send(p[1], "x", 1, 0));
	OK(set(p[0], SOL_SOCKET, SO_PASSPIDFD, 1));
	EQUAL(receive(p[0], SCM_PIDFD_, &fd, sizeof fd), sizeof fd);
	EQUAL(receive(p[0], SCM_PIDFD_, &fd, sizeof fd), sizeof fd);
	EQUAL(receive(p[0], SCM_PIDFD_, &fd, sizeof fd), -1);
	/* Who claims to be another is that other. */
	pid_t child = OK(fork());
	if (child == 0)
		_exit(0);
	EQUAL(waitid(P_PID, child, NULL, WEXITED | WNOWAIT), 0);
	if (geteuid() == 0) {
		union { char b[CMSG_SPACE(12)]; struct cmsghdr h; } c = { .h = { CMSG_LEN(12), SOL_SOCKET, SCM_CREDENTIALS } };
		memcpy(CMSG_DATA(&c.h), (int[]){ child, 0, 0 }, 12);
		struct iovec v = { "x", 1 };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b };
		OK(sendmsg(p[1], &m, 0));
		EQUAL(receive(p[0], SCM_PIDFD_, &fd, sizeof fd), sizeof fd);
		EQUAL(ended(fd), 1);
	}
	EQUAL(waitpid(child, NULL, 0), child);
}
