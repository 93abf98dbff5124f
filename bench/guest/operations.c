/* operations.c: what single operations cost a program, on whatever kernel it runs on.
 *
 *     operations [seconds per row, 0.2 by default] [only rows whose name contains this]
 *
 * Kinds: call is one system call that waits for nothing; fault, map, fork and exec are what
 * their names say; other is the rest. Needs /bin/true, /bin/sh and a writable $BENCH_TMP, which
 * is /tmp by default.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

static char file_path[4096], new_path[4096];

static char buf[65536];

static void *nothing(void *arg) { return arg; }

static void echo_bytes(int in, int out) {
	char c;
	while (read(in, &c, 1) == 1 && write(out, &c, 1) == 1) {}
	_exit(0);
}

static volatile int caught;
static void on_signal(int s) { caught = s; }

static long futex(uint32_t *word, int op, uint32_t val) { return syscall(SYS_futex, word, op, val, NULL, NULL, 0); }

static void calls(void) {
	/* syscall(2) has its number in a register, not in an immediate. */
	ROW("call", "getppid", syscall(SYS_getppid));
	ROW("call", "sched_yield", sched_yield());
	struct timespec ts;
	ROW("other", "clock_gettime", clock_gettime(CLOCK_MONOTONIC, &ts));
	sigset_t set;
	sigemptyset(&set);
	ROW("call", "sigprocmask", sigprocmask(SIG_BLOCK, &set, NULL));
	signal(SIGUSR1, on_signal);
	ROW("other", "signal to self", raise(SIGUSR1));
	static uint32_t word;
	ROW("call", "futex wake of nobody", futex(&word, FUTEX_WAKE_PRIVATE, 1));
}

static void files(void) {
	int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
	int file = open(file_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	int root = open("/bin/true", O_RDONLY);
	need(zero >= 0 && null >= 0 && file >= 0 && root >= 0, "open");
	need(write(file, buf, sizeof buf) == sizeof buf, "write");
	struct stat st;
	ROW("call", "read /dev/zero 1B", need(read(zero, buf, 1) == 1, "read"));
	ROW("call", "write /dev/null 1B", need(write(null, buf, 1) == 1, "write"));
	ROW("call", "pread tmp 4K", need(pread(file, buf, 4096, 0) == 4096, "pread"));
	ROW("call", "pwrite tmp 4K", need(pwrite(file, buf, 4096, 0) == 4096, "pwrite"));
	ROW("call", "pread root fs 4K", need(pread(root, buf, 4096, 0) == 4096, "pread"));
	ROW("call", "fstat", need(fstat(file, &st) == 0, "fstat"));
	ROW("call", "stat tmp", need(stat(file_path, &st) == 0, "stat"));
	ROW("call", "stat root fs", need(stat("/bin/true", &st) == 0, "stat"));
	ROW("call", "stat missing", need(stat("/bin/no-such-file", &st) != 0, "stat"));
	ROW("other", "open+close tmp", need(close(open(file_path, O_RDONLY)) == 0, "close"));
	ROW("other", "open+close root fs", need(close(open("/bin/true", O_RDONLY)) == 0, "close"));
	ROW("other", "create+unlink tmp", {
		need(close(open(new_path, O_CREAT | O_RDWR, 0600)) == 0, "create");
		need(unlink(new_path) == 0, "unlink"); });
	ROW("other", "rename tmp", {
		need(rename(file_path, new_path) == 0, "rename");
		need(rename(new_path, file_path) == 0, "rename"); });
	ROW("other", "readdir /etc", { DIR *d = opendir("/etc"); while (readdir(d)) {} closedir(d); });
	close(zero); close(null); close(file); close(root);
}

static void memory(void) {
	int root = open("/bin/true", O_RDONLY);
	ROW("map", "mmap+touch+munmap 4K", {
		char *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		m[0] = 1; munmap(m, 4096); });
	ROW("map", "mmap+touch+munmap file", {
		volatile char *m = mmap(0, 4096, PROT_READ, MAP_PRIVATE, root, 0);
		(void)m[0]; munmap((void *)m, 4096); });
	char *prot = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ROW("other", "mprotect twice", {
		mprotect(prot, 4096, PROT_READ); mprotect(prot, 4096, PROT_READ | PROT_WRITE); });
	if (wanted("page fault")) {
		double means[BATCHES];
		size_t size = 32 << 20;
		for (int b = 0; b < BATCHES; b++) {
			char *m = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			need(m != MAP_FAILED, "mmap");
			madvise(m, size, MADV_NOHUGEPAGE); /* one fault a page, everywhere */
			double t0 = now();
			for (size_t i = 0; i < size; i += 4096) m[i] = 1;
			means[b] = (now() - t0) / (size / 4096);
			munmap(m, size);
		}
		print_row("fault", "page fault", median(means, BATCHES));
	}
	close(root);
}

static void streams(void) {
	int p[2], sv[2];
	need(pipe(p) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0, "pipe");
	ROW("other", "pipe write+read 1B", {
		need(write(p[1], buf, 1) == 1, "write"); need(read(p[0], buf, 1) == 1, "read"); });
	ROW("other", "unix socket write+read 64B", {
		need(write(sv[0], buf, 64) == 64, "write"); need(read(sv[1], buf, 64) == 64, "read"); });
	int ev = eventfd(0, 0), ep = epoll_create1(0);
	struct epoll_event want = { .events = EPOLLIN }, got;
	need(epoll_ctl(ep, EPOLL_CTL_ADD, ev, &want) == 0, "epoll_ctl");
	uint64_t one = 1;
	ROW("other", "eventfd write+epoll+read", {
		need(write(ev, &one, 8) == 8 && epoll_wait(ep, &got, 1, -1) == 1 && read(ev, &one, 8) == 8, "eventfd"); });
	struct pollfd fds[8];
	for (int i = 0; i < 8; i++) fds[i] = (struct pollfd){ .fd = i % 2 ? p[1] : p[0], .events = i % 2 ? POLLOUT : POLLIN };
	ROW("call", "poll 8 descriptors", need(poll(fds, 8, -1) == 4, "poll"));
	fd_set in, out;
	ROW("call", "select 2 sets", {
		struct timeval t = { .tv_sec = 1 };
		FD_ZERO(&in); FD_ZERO(&out);
		FD_SET(p[0], &in); FD_SET(p[1], &out);
		need(select(p[1] + 1, &in, &out, 0, &t) == 1, "select"); });
	close(p[0]); close(p[1]); close(sv[0]); close(sv[1]); close(ev); close(ep);
}

static void pipe_ping_pong(void) {
	int a[2], b[2];
	need(pipe(a) == 0 && pipe(b) == 0, "pipe");
	pid_t k = fork();
	if (!k) { close(a[1]); echo_bytes(a[0], b[1]); }
	close(a[0]);
	ROW("other", "pipe ping-pong processes", need(write(a[1], buf, 1) == 1 && read(b[0], buf, 1) == 1, "ping-pong"));
	close(a[1]); close(b[0]); close(b[1]);
	waitpid(k, 0, 0);
}

static uint32_t ball; /* whose turn it is: 0 the main thread's, 1 the other's, 2 nobody's */

static void hit(uint32_t to) {
	__atomic_store_n(&ball, to, __ATOMIC_SEQ_CST);
	futex(&ball, FUTEX_WAKE_PRIVATE, 1);
}

static int await(uint32_t mine) {
	for (uint32_t b; (b = __atomic_load_n(&ball, __ATOMIC_SEQ_CST)) != mine;) {
		if (b == 2) return 0;
		futex(&ball, FUTEX_WAIT_PRIVATE, b);
	}
	return 1;
}

static void *player(void *arg) {
	while (await(1)) hit(0);
	return arg;
}

static void futex_ping_pong(void) {
	pthread_t t;
	need(pthread_create(&t, 0, player, 0) == 0, "pthread_create");
	ROW("other", "futex ping-pong threads", { hit(1); await(0); });
	hit(2);
	pthread_join(t, 0);
}

static int calling; /* whether the callers go on */

static void *caller(void *arg) {
	while (__atomic_load_n(&calling, __ATOMIC_RELAXED)) {
		for (double until = now() + 40e-6; now() < until;) {}
		syscall(SYS_getppid);
	}
	return arg;
}

/* A sleep of 0.7 ms, and how late it ends while other threads call all the time. */
static void sleep_beside_callers(void) {
	pthread_t t[2];
	calling = 1;
	for (int i = 0; i < 2; i++) need(pthread_create(&t[i], 0, caller, 0) == 0, "pthread_create");
	ROW("other", "usleep(700) beside 2 callers", usleep(700));
	__atomic_store_n(&calling, 0, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++) pthread_join(t[i], 0);
}

static void tcp_ping_pong(void) {
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (void *)&at, len) != 0 || listen(listener, 1) != 0 ||
	    getsockname(listener, (void *)&at, &len) != 0)
		return; /* no network here: no row */
	pid_t k = fork();
	if (!k) { int s = accept(listener, 0, 0); close(listener); echo_bytes(s, s); }
	int s = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(s, (void *)&at, len) == 0)
		ROW("other", "tcp loopback ping-pong", need(write(s, buf, 1) == 1 && read(s, buf, 1) == 1, "tcp"));
	close(s); close(listener);
	kill(k, SIGKILL);
	waitpid(k, 0, 0);
}

static void processes(void) {
	ROW("other", "thread create+join", { pthread_t t; pthread_create(&t, 0, nothing, 0); pthread_join(t, 0); });
	ROW("fork", "fork+exit+wait", { pid_t k = fork(); if (!k) _exit(0); need(waitpid(k, 0, 0) == k, "fork"); });
	ROW("exec", "vfork+exec+wait", {
		pid_t k = vfork();
		if (!k) { execl("/bin/true", "true", NULL); _exit(127); }
		need(waitpid(k, 0, 0) == k, "vfork"); });
	ROW("other", "sh -c true", {
		pid_t k = vfork();
		if (!k) { execl("/bin/sh", "sh", "-c", "/bin/true; /bin/true", NULL); _exit(127); }
		need(waitpid(k, 0, 0) == k, "vfork"); });
}

int main(int argc, char **argv) {
	if (argc > 1) seconds_per_row = atof(argv[1]);
	if (argc > 2) only = argv[2];
	const char *tmp = getenv("BENCH_TMP") ? getenv("BENCH_TMP") : "/tmp";
	snprintf(file_path, sizeof file_path, "%s/operations.tmp", tmp);
	snprintf(new_path, sizeof new_path, "%s/operations.new", tmp);
	calls();
	files();
	memory();
	streams();
	if (wanted("pipe ping-pong processes")) pipe_ping_pong();
	if (wanted("futex ping-pong threads")) futex_ping_pong();
	if (wanted("usleep(700) beside 2 callers")) sleep_beside_callers();
	if (wanted("tcp loopback ping-pong")) tcp_ping_pong();
	processes();
	unlink(file_path);
	return 0;
}
