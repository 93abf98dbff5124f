/* scale.c: how a kernel's costs change as more is done at once, and as there is more of
 * everything.
 *
 *     scale throughput [seconds per row]   several threads and processes do the same
 *     scale growth [seconds per row]       an operation beside ever more of what it has to search
 *
 * Growth ends where a limit of the kernel is met: later points are not printed. Needs a writable
 * $BENCH_TMP, which is /tmp by default.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

#define WORKERS_MAX 8

/* Each worker's count has a cache line of its own. All workers, threads and processes, share it. */
static struct state {
	struct { long count; char pad[120]; } worker[WORKERS_MAX];
	int start, stop;
} *state;

typedef void operation(int fds[3]);
static void op_read(int fds[3]) { char c; need(read(fds[0], &c, 1) == 1, "read"); }
static void op_pipe(int fds[3]) { char c = 0; need(write(fds[2], &c, 1) == 1 && read(fds[1], &c, 1) == 1, "pipe"); }
static void op_futex(int fds[3]) {
	static __thread uint32_t word;
	(void)fds;
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static struct { const char *name; operation *op; } operations[] = {
	{ "read /dev/zero", op_read }, { "pipe write+read", op_pipe }, { "futex wake", op_futex },
};

static operation *chosen;

static void *work(void *arg) {
	long i = (long)arg;
	int fds[3] = { open("/dev/zero", O_RDONLY) };
	need(fds[0] >= 0 && pipe(fds + 1) == 0, "pipe");
	for (int warm = 0; warm < 100; warm++) chosen(fds);
	while (!__atomic_load_n(&state->start, __ATOMIC_ACQUIRE)) usleep(1000);
	long n = 0;
	while (!__atomic_load_n(&state->stop, __ATOMIC_ACQUIRE)) { chosen(fds); n++; }
	state->worker[i].count = n;
	close(fds[0]); close(fds[1]); close(fds[2]);
	return NULL;
}

static void throughput(void) {
	state = mmap(0, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(state != MAP_FAILED, "mmap");
	for (unsigned o = 0; o < sizeof operations / sizeof *operations; o++)
		for (int processes = 0; processes < 2; processes++)
			for (int n = 1; n <= WORKERS_MAX; n *= 2) {
				pthread_t threads[WORKERS_MAX];
				pid_t pids[WORKERS_MAX];
				chosen = operations[o].op;
				memset(state, 0, sizeof *state);
				for (long i = 0; i < n; i++)
					if (!processes) need(pthread_create(&threads[i], 0, work, (void *)i) == 0, "pthread_create");
					else if ((pids[i] = fork()) == 0) { work((void *)i); _exit(0); }
				usleep(50000);
				double t0 = now();
				__atomic_store_n(&state->start, 1, __ATOMIC_RELEASE);
				usleep(seconds_per_row * 1e6);
				__atomic_store_n(&state->stop, 1, __ATOMIC_RELEASE);
				double took = now() - t0;
				long sum = 0;
				for (int i = 0; i < n; i++) {
					if (processes) waitpid(pids[i], 0, 0);
					else pthread_join(threads[i], 0);
					sum += state->worker[i].count;
				}
				char name[100];
				snprintf(name, sizeof name, "%s, %d %s%s", operations[o].name, n, processes ? "process" : "thread", n == 1 ? "" : processes ? "es" : "s");
				print_row("throughput", name, took / sum);
			}
}

static char tmp[4096];

/* Each of these makes one more of what grows, as number i, and returns 0 when it can't. */
static int more_files(long i) {
	char path[4200];
	if (i == 0) { snprintf(path, sizeof path, "%s/scale", tmp); mkdir(path, 0700); }
	snprintf(path, sizeof path, "%s/scale/%ld", tmp, i);
	int fd = open(path, O_CREAT | O_RDWR, 0600);
	return fd >= 0 && close(fd) == 0;
}
static int more_descriptors(long i) { (void)i; return eventfd(0, 0) >= 0; }
static int more_mappings(long i) {
	/* Neighbours that differ can't become one. */
	return mmap(0, 4096, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}
static int epoll_fd;
static int more_watched(long i) {
	(void)i;
	struct epoll_event e = { .events = EPOLLIN };
	int fd = eventfd(0, 0);
	return fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0;
}
static struct pollfd *polled;
static long polled_count;
static int more_polled(long i) {
	int fd = eventfd(0, 0);
	polled[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
	polled_count = i + 1;
	return fd >= 0;
}
static pid_t first_process;
static int more_processes(long i) {
	(void)i;
	pid_t k = fork();
	if (k == 0) { pause(); _exit(0); }
	if (k > 0 && !first_process) first_process = k;
	if (k > 0) setpgid(k, first_process);
	return k > 0;
}

/* And these are the operations beside it. */
static void open_one(void) {
	char path[4200];
	snprintf(path, sizeof path, "%s/scale/7", tmp);
	close(open(path, O_RDONLY));
}
static void open_null(void) { need(close(open("/dev/null", O_RDONLY)) == 0, "open"); }
static void map_one(void) { munmap(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096); }
static void fork_one(void) { pid_t k = fork(); if (!k) _exit(0); need(waitpid(k, 0, 0) == k, "fork"); }
static void epoll_one(void) { struct epoll_event e; need(epoll_wait(epoll_fd, &e, 1, 0) == 0, "epoll_wait"); }
static void poll_all(void) { need(poll(polled, polled_count, 0) == 0, "poll"); }
static void list_processes(void) {
	DIR *d = opendir("/proc");
	need(d != NULL, "/proc");
	while (readdir(d)) {}
	closedir(d);
}

static struct growth {
	const char *operation, *what;
	void (*op)(void);
	int (*more)(long i);
	long max;
} growths[] = {
	{ "open+close in a directory", "files", open_one, more_files, 100000 },
	{ "open+close", "descriptors open", open_null, more_descriptors, 100000 },
	{ "mmap+munmap", "mappings", map_one, more_mappings, 100000 },
	{ "fork+exit+wait", "mappings", fork_one, more_mappings, 10000 },
	{ "epoll_wait", "descriptors watched", epoll_one, more_watched, 100000 },
	{ "poll", "descriptors polled", poll_all, more_polled, 100000 },
	{ "fork+exit+wait", "processes", fork_one, more_processes, 1000 },
	{ "listing /proc", "processes", list_processes, more_processes, 1000 },
};

/* grow measures one growth. It runs in a process of its own, whose end undoes what it made. */
static void grow(struct growth *g) {
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	epoll_fd = epoll_create1(0);
	polled = calloc(g->max, sizeof *polled);
	need(polled != NULL, "calloc");
	long made = 0;
	for (long point = 10; point <= g->max; point *= 10) {
		while (made < point && g->more(made)) made++;
		if (made < point) break;
		char name[200];
		snprintf(name, sizeof name, "%s beside %ld %s", g->operation, point, g->what);
		ROW("growth", name, g->op());
	}
	if (first_process) {
		kill(-first_process, SIGKILL);
		while (wait(NULL) > 0) {}
	}
	if (g->more == more_files)
		for (char path[4200]; made > 0;) {
			snprintf(path, sizeof path, "%s/scale/%ld", tmp, --made);
			unlink(path);
		}
	_exit(0);
}

int main(int argc, char **argv) {
	if (argc > 2) seconds_per_row = atof(argv[2]);
	snprintf(tmp, sizeof tmp, "%s", getenv("BENCH_TMP") ? getenv("BENCH_TMP") : "/tmp");
	if (argc > 1 && !strcmp(argv[1], "throughput")) { throughput(); return 0; }
	for (unsigned i = 0; i < sizeof growths / sizeof *growths; i++) {
		pid_t k = fork();
		need(k >= 0, "fork");
		if (!k) grow(&growths[i]);
		int status;
		need(waitpid(k, &status, 0) == k && status == 0, "growth");
	}
	return 0;
}
