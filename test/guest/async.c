/* Signals for descriptors that become ready: O_ASYNC, F_SETOWN, F_SETSIG and SIGURG of
 * fcntl(2), socket(7) and pipe(7). */
#include "inet.h"
#include <sys/un.h>

#ifndef F_OWNER_TID
#define F_OWNER_TID 0
#define F_OWNER_PID 1
#endif

static char buf[1 << 20];
static sigset_t all;

/* blocked has signals wait until they are asked for. */
static void blocked(void) {
	sigemptyset(&all);
	sigaddset(&all, SIGIO);
	sigaddset(&all, SIGURG);
	sigaddset(&all, SIGRTMIN);
	OK(sigprocmask(SIG_BLOCK, &all, NULL));
}

static siginfo_t got(int sig) {
	siginfo_t i;
	struct timespec minute = { 60, 0 };
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	EQUAL(sigtimedwait(&s, &i, &minute), sig);
	return i;
}

static void none(int sig) {
	struct timespec t = { 0, 20000000 };
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	FAILS(sigtimedwait(&s, NULL, &t), EAGAIN);
}

static void drained(int sig) {
	struct timespec t = { 0 };
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	while (sigtimedwait(&s, NULL, &t) == sig) {}
}

static void async(int fd) {
	OK(fcntl(fd, F_SETOWN, getpid()));
	OK(fcntl(fd, F_SETFL, OK(fcntl(fd, F_GETFL)) | O_ASYNC | O_NONBLOCK));
}

TEST(sigio_of_sockets_and_pipes) {
	blocked();
	int s[2], u[2], p[2], d = bound(AF_INET, SOCK_DGRAM), e = OK(socket(AF_INET, SOCK_DGRAM, 0));
	tcp_pair(AF_INET, s);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, u));
	OK(pipe(p));
	connect_to(e, d);
	int pairs[][2] = { { s[1], s[0] }, { u[1], u[0] }, { p[0], p[1] }, { d, e } };
	for (int i = 0; i < 4; i++) {
		async(pairs[i][0]);
		drained(SIGIO);
		EQUAL(write(pairs[i][1], "a", 1), 1);
		siginfo_t info = got(SIGIO);
		EQUAL(info.si_code, SI_KERNEL);
		EQUAL(read(pairs[i][0], buf, 1), 1);
		drained(SIGIO);
		OK(fcntl(pairs[i][0], F_SETFL, O_NONBLOCK));
		EQUAL(write(pairs[i][1], "a", 1), 1);
		none(SIGIO);
	}
	int l = listener(AF_INET), c = OK(socket(AF_INET, SOCK_STREAM, 0)), on = 1;
	OK(fcntl(l, F_SETOWN, getpid()));
	OK(ioctl(l, FIOASYNC, &on));
	EQUAL(fcntl(l, F_GETFL) & O_ASYNC, O_ASYNC);
	connect_to(c, l);
	got(SIGIO);
}

TEST(chosen_signal) {
	blocked();
	int u[2];
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, u));
	OK(fcntl(u[1], F_SETSIG, SIGRTMIN));
	async(u[1]);
	drained(SIGRTMIN);
	EQUAL(write(u[0], "a", 1), 1);
	siginfo_t i = got(SIGRTMIN);
	EQUAL(i.si_code, POLL_IN);
	EQUAL(i.si_fd, u[1]);
	CHECK(i.si_band & POLLIN);
	none(SIGIO);
}

TEST(owners) {
	blocked();
	int p[2];
	OK(pipe(p));
	/* Nobody at first. */
	OK(fcntl(p[0], F_SETFL, O_ASYNC));
	EQUAL(write(p[1], "a", 1), 1);
	none(SIGIO);
	struct f_owner_ex me = { F_OWNER_TID, (pid_t)syscall(SYS_gettid) };
	OK(fcntl(p[0], F_SETOWN_EX, &me));
	EQUAL(write(p[1], "a", 1), 1);
	got(SIGIO);
	drained(SIGIO);
	OK(fcntl(p[0], F_SETOWN, -getpgrp()));
	EQUAL(write(p[1], "a", 1), 1);
	got(SIGIO);
	drained(SIGIO);
	pid_t k = (pid_t)OK(fork());
	if (k == 0) {
		got(SIGIO);
		_exit(0);
	}
	OK(fcntl(p[0], F_SETOWN, k));
	EQUAL(write(p[1], "a", 1), 1);
	int status;
	EQUAL(waitpid(k, &status, 0), k);
	EQUAL(status, 0);
	none(SIGIO);
	OK(fcntl(p[0], F_SETOWN, 0));
	EQUAL(write(p[1], "a", 1), 1);
	none(SIGIO);
}

TEST(room_to_write) {
	blocked();
	int s[2];
	tcp_pair(AF_INET, s);
	async(s[0]);
	OK(fcntl(s[1], F_SETFL, O_NONBLOCK));
	/* What is confirmed late may make room before anybody reads, and is told of then. */
	struct timespec soon = { 0, 1000000 };
	sigset_t io;
	sigemptyset(&io);
	sigaddset(&io, SIGIO);
	do {
		while (write(s[0], buf, sizeof buf) > 0) {}
		drained(SIGIO);
		while (read(s[1], buf, sizeof buf) > 0) {}
	} while (sigtimedwait(&io, NULL, &soon) != SIGIO);
}

TEST(sigurg) {
	blocked();
	int s[2];
	tcp_pair(AF_INET, s);
	EQUAL(send(s[0], "U", 1, MSG_OOB), 1);
	none(SIGURG);
	ready(s[1], POLLPRI);
	EQUAL(recv(s[1], buf, 1, MSG_OOB), 1);
	OK(fcntl(s[1], F_SETOWN, getpid())); /* O_ASYNC is not needed */
	EQUAL(send(s[0], "V", 1, MSG_OOB), 1);
	siginfo_t i = got(SIGURG);
	EQUAL(i.si_code, SI_KERNEL);
	none(SIGIO);
}
