/* calls.c: makes the same system calls many times, between two lines on its standard output, for
 * hostcalls_test.go to count what the sentry asks of the host meanwhile.
 *
 *     calls NAME TIMES
 *
 * It warms up, prints "ready", waits for a line, makes the calls, prints "done", and waits for
 * another line.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char buf[4096];
static struct stat st;
static int zero, null, tmp, root, p[2], event, ep, udp;
static sigset_t mask;
static struct sockaddr_in to;

static void need(int ok, const char *what) {
	if (!ok) { perror(what); exit(1); }
}

static void do_getppid(void) { syscall(SYS_getppid); }
static void do_read_zero(void) { need(read(zero, buf, 1) == 1, "read"); }
static void do_write_null(void) { need(write(null, buf, 1) == 1, "write"); }
static void do_pread_tmp(void) { need(pread(tmp, buf, sizeof buf, 0) == sizeof buf, "pread"); }
static void do_pwrite_tmp(void) { need(pwrite(tmp, buf, sizeof buf, 0) == sizeof buf, "pwrite"); }
static void do_pread_root(void) { need(pread(root, buf, 1024, 0) == 1024, "pread"); }
static void do_fstat(void) { need(fstat(tmp, &st) == 0, "fstat"); }
static void do_stat_tmp(void) { need(stat("/tmp/calls.tmp", &st) == 0, "stat"); }
static void do_stat_root(void) { need(stat("/bin/true", &st) == 0, "stat"); }
static void do_stat_missing(void) { need(stat("/bin/no-such-file", &st) != 0, "stat"); }
static void do_open_tmp(void) { need(close(open("/tmp/calls.tmp", O_RDONLY)) == 0, "open"); }
static void do_open_root(void) { need(close(open("/bin/true", O_RDONLY)) == 0, "open"); }
static void do_pipe(void) { need(write(p[1], buf, 1) == 1 && read(p[0], buf, 1) == 1, "pipe"); }
static void do_epoll(void) {
	uint64_t one = 1;
	struct epoll_event e;
	need(write(event, &one, 8) == 8 && epoll_wait(ep, &e, 1, -1) == 1 && read(event, &one, 8) == 8, "epoll");
}
static void do_poll(void) {
	struct pollfd f = { .fd = p[1], .events = POLLOUT };
	need(poll(&f, 1, -1) == 1, "poll");
}
static void do_ppoll(void) {
	struct pollfd f = { .fd = p[1], .events = POLLOUT };
	struct timespec t = { .tv_sec = 1 };
	need(ppoll(&f, 1, &t, &mask) == 1, "ppoll");
}
static void do_select(void) {
	fd_set r, w;
	struct timeval t = { .tv_sec = 1 };
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(p[0], &r);
	FD_SET(p[1], &w);
	need(select(FD_SETSIZE, &r, &w, NULL, &t) == 1, "select");
}
static void do_pselect(void) {
	fd_set w;
	struct timespec t = { .tv_sec = 1 };
	FD_ZERO(&w);
	FD_SET(p[1], &w);
	need(pselect(p[1] + 1, NULL, &w, NULL, &t, &mask) == 1, "pselect");
}
/* What nobody receives is dropped. */
static void do_sendto(void) { need(sendto(udp, buf, 64, 0, (void *)&to, sizeof to) == 64, "sendto"); }
static void do_futex_wake(void) {
	static uint32_t word;
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
static void do_mmap(void) {
	char *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(m != MAP_FAILED, "mmap");
	m[0] = 1;
	munmap(m, 4096);
}

static struct { const char *name; void (*call)(void); } calls[] = {
	{ "getppid", do_getppid }, { "read-zero", do_read_zero }, { "write-null", do_write_null },
	{ "pread-tmp", do_pread_tmp }, { "pwrite-tmp", do_pwrite_tmp }, { "pread-root", do_pread_root },
	{ "fstat", do_fstat }, { "stat-tmp", do_stat_tmp }, { "stat-root", do_stat_root },
	{ "stat-missing", do_stat_missing }, { "open-tmp", do_open_tmp }, { "open-root", do_open_root },
	{ "pipe", do_pipe }, { "epoll", do_epoll }, { "poll", do_poll }, { "ppoll", do_ppoll },
	{ "select", do_select }, { "pselect", do_pselect }, { "sendto", do_sendto },
	{ "futex-wake", do_futex_wake }, { "mmap", do_mmap },
};

static void say(const char *line) {
	puts(line);
	fflush(stdout);
}

static void await_line(void) {
	char c;
	while (read(0, &c, 1) == 1 && c != '\n') {}
}

int main(int argc, char **argv) {
	if (argc != 3) return 2;
	zero = open("/dev/zero", O_RDONLY);
	null = open("/dev/null", O_WRONLY);
	tmp = open("/tmp/calls.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600);
	root = open("/bin/true", O_RDONLY);
	need(zero >= 0 && null >= 0 && tmp >= 0 && root >= 0, "open");
	need(write(tmp, buf, sizeof buf) == sizeof buf, "write");
	event = eventfd(0, 0);
	ep = epoll_create1(0);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof to;
	to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	need(udp >= 0 && bind(udp, (void *)&to, len) == 0 && getsockname(udp, (void *)&to, &len) == 0, "socket");
	struct epoll_event e = { .events = EPOLLIN };
	need(pipe(p) == 0 && event >= 0 && ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, event, &e) == 0, "epoll");
	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
		if (strcmp(calls[i].name, argv[1])) continue;
		for (int n = 0; n < 100; n++) calls[i].call();
		say("ready");
		await_line();
		for (long n = atol(argv[2]); n > 0; n--) calls[i].call();
		say("done");
		await_line();
		unlink("/tmp/calls.tmp");
		return 0;
	}
	fprintf(stderr, "there is no %s\n", argv[1]);
	return 2;
}
