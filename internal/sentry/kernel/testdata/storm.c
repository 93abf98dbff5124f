/* A storm of processes that do everything to each other at once, for so many
 * milliseconds: fork, exec, threads, memory, signals, stops, files, sockets. The
 * kernel must stand, and nothing be left. Never run it natively.
 * Usage: storm MILLISECONDS [SEED] */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 6

static struct shared { volatile pid_t worker[WORKERS]; volatile int word; } *shared;
static __thread uint64_t state;
static int pipes[2], sockets[2];

static uint64_t any(uint64_t n) {
	state ^= state << 13, state ^= state >> 7, state ^= state << 17;
	return state % n;
}

static long long now_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void nothing(int s) { (void)s; }

static void reap(pid_t k) {
	while (k > 0 && waitpid(k, NULL, 0) == -1 && errno == EINTR) {}
}

static void *thread(void *seed);

static void threads(void) {
	pthread_t t[3];
	int n = 1 + any(3), made = 0;
	for (int i = 0; i < n; i++)
		made += pthread_create(&t[made], NULL, thread, (void *)(any(1ull << 40) | 1)) == 0;
	/* some end, or become another program, with the others at work */
	if (any(8) == 0)
		_exit(0);
	if (any(8) == 0)
		execl("/bin/storm", "storm", "exit", NULL);
	for (int i = 0; i < made; i++)
		pthread_join(t[i], NULL);
}

static void memory(void) {
	size_t n = (1 + any(64)) * 4096;
	char *m = mmap(0, n, PROT_READ | PROT_WRITE, (any(2) ? MAP_PRIVATE : MAP_SHARED) | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return;
	for (size_t i = 0; i < n; i += 4096)
		m[i] = 1;
	if (any(2))
		mprotect(m + n / 2 / 4096 * 4096, 4096, PROT_READ);
	if (any(2))
		madvise(m, n, MADV_DONTNEED);
	if (any(3) == 0) {
		char *r = mremap(m, n, 2 * n, MREMAP_MAYMOVE);
		if (r != MAP_FAILED)
			m = r, n *= 2;
	}
	munmap(m, n);
}

static void signals(void) {
	const int sigs[] = { SIGUSR1, SIGUSR1, SIGUSR1, SIGRTMIN, SIGSTOP, SIGCONT, SIGCONT, SIGKILL };
	pid_t k = shared->worker[any(WORKERS)];
	if (k > 1)
		kill(k, sigs[any(sizeof sigs / sizeof *sigs)]);
	for (int i = 0; i < WORKERS; i++)
		if (shared->worker[i] > 1)
			kill(shared->worker[i], SIGCONT); /* nobody stays stopped */
}

static void files(void) {
	char name[32], other[32];
	snprintf(name, sizeof name, "/tmp/%d", (int)any(8));
	snprintf(other, sizeof other, "/tmp/%d", (int)any(8));
	int f = open(name, O_CREAT | O_RDWR, 0600);
	if (f >= 0) {
		char b[100];
		pwrite(f, name, sizeof name, any(10000));
		pread(f, b, sizeof b, any(10000));
		if (any(4) == 0) {
			char *m = mmap(0, 4096, PROT_READ, MAP_SHARED, f, 0);
			if (m != MAP_FAILED)
				munmap(m, 4096);
		}
		ftruncate(f, any(5000));
		close(f);
	}
	if (any(2))
		rename(name, other);
	else
		unlink(other);
}

static void waits(void) {
	struct timespec t = { 0, any(300000) };
	char b[64];
	struct pollfd p = { pipes[0], POLLIN, 0 };
	switch (any(6)) {
	case 0: syscall(SYS_futex, &shared->word, FUTEX_WAIT, shared->word, &t, NULL, 0); break;
	case 1: shared->word++, syscall(SYS_futex, &shared->word, FUTEX_WAKE, 1, NULL, NULL, 0); break;
	case 2: write(pipes[1], b, any(64)); break;
	case 3: ppoll(&p, 1, &t, NULL); read(pipes[0], b, sizeof b); break;
	case 4: nanosleep(&t, NULL); break;
	default: sched_yield();
	}
}

static void passes(void) {
	union { char c[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } u;
	char b;
	struct iovec v = { &b, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u };
	int fd = any(2) ? eventfd(0, EFD_NONBLOCK) : epoll_create1(0);
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	sendmsg(sockets[0], &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
	m.msg_controllen = sizeof u;
	if (recvmsg(sockets[1], &m, MSG_DONTWAIT) == 1 && (h = CMSG_FIRSTHDR(&m))) {
		memcpy(&fd, CMSG_DATA(h), sizeof fd);
		close(fd);
	}
}

static void processes(void) {
	pid_t k = any(3) ? fork() : vfork();
	if (k == 0) {
		switch (any(4)) {
		case 0: execl("/bin/storm", "storm", "exit", NULL);
		case 1: execl("/no/such", "x", NULL);
		case 2: _exit(1);
		}
		abort();
	}
	if (any(4) == 0 && k > 0)
		kill(k, SIGKILL);
	reap(k);
}

/* Families in namespaces of their own, whose first process may end at any time. */
static void spaces(void) {
	const int kinds[] = { CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWNET, 0x80 /* CLONE_NEWTIME */ };
	pid_t k = fork();
	if (k == 0) {
		int flags = 0;
		for (int i = any(4); i >= 0; i--)
			flags |= kinds[any(sizeof kinds / sizeof *kinds)];
		unshare(flags);
		for (int i = any(3); i >= 0; i--)
			if (fork() == 0) {
				int s = semget(IPC_PRIVATE, 1, 0600);
				if (any(2))
					processes();
				else
					memory();
				semctl(s, 0, IPC_RMID);
				_exit(0);
			}
		if (any(2))
			while (wait(NULL) > 0) {}
		_exit(0);
	}
	if (any(4) == 0 && k > 0)
		kill(k, SIGKILL);
	reap(k);
}

/* A process that is traced, for a while, and by who may forget it. */
static void traces(void) {
	int s;
	pid_t k = fork();
	if (k == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		for (int i = any(5); i >= 0; i--)
			waits();
		_exit(0);
	}
	for (int i = any(10); k > 0 && i >= 0; i--) {
		pid_t w = waitpid(k, &s, __WALL);
		if (w == -1 && errno == EINTR)
			continue;
		if (w != k || !WIFSTOPPED(s))
			return;
		ptrace(any(2) ? PTRACE_SYSCALL : any(2) ? PTRACE_SINGLESTEP : PTRACE_CONT, k, 0, any(4) ? 0 : SIGUSR1);
	}
	if (k > 0)
		kill(k, SIGKILL);
	reap(k);
}

static void act(int in_thread) {
	switch (any(11)) {
	case 0: case 1: processes(); break;
	case 2: if (!in_thread) threads(); break;
	case 3: case 4: memory(); break;
	case 5: signals(); break;
	case 6: files(); break;
	case 7: passes(); break;
	case 8: spaces(); break;
	case 9: if (!in_thread) traces(); break;
	default: waits();
	}
}

static void *thread(void *seed) {
	state = (uint64_t)seed;
	for (int i = any(6); i >= 0; i--)
		act(1);
	return NULL;
}

static void worker(uint64_t seed) {
	state = seed | 1;
	struct sigaction sa = { .sa_handler = nothing, .sa_flags = seed & 2 ? SA_RESTART : 0 };
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGRTMIN, &sa, NULL);
	if (any(2)) {
		struct itimerval it = { { 0, 700 }, { 0, 700 } };
		sigaction(SIGALRM, &sa, NULL);
		setitimer(ITIMER_REAL, &it, NULL);
	}
	if (any(3) == 0)
		setpgid(0, 0);
	if (any(3) == 0) { /* those that abort leave core dumps */
		struct rlimit r = { 1 << 20, 1 << 20 };
		setrlimit(RLIMIT_CORE, &r);
		chdir("/tmp");
	}
	for (int i = 10 + any(200); i >= 0; i--)
		act(0);
	_exit(0);
}

int main(int argc, char **argv) {
	if (argc > 1 && !strcmp(argv[1], "exit"))
		return 3;
	if (getpid() != 1 || argc < 2) { /* it kills all that there is */
		puts("only as the first process of a sandbox");
		return 2;
	}
	long long end = now_ms() + atoll(argv[1]);
	uint64_t seed = argc > 2 ? strtoull(argv[2], 0, 0) : 1;
	shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pipe2(pipes, O_NONBLOCK) || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets))
		return 1;
	long made = 0;
	while (now_ms() < end) {
		for (int i = 0; i < WORKERS; i++) {
			pid_t w = shared->worker[i];
			if (w > 0 && waitpid(w, NULL, WNOHANG) == 0) {
				kill(w, SIGCONT);
				continue;
			}
			pid_t k = fork();
			if (k == 0)
				worker((seed + ++made) * 0x9e3779b97f4a7c15);
			made++;
			shared->worker[i] = k;
		}
		while (waitpid(-1, NULL, WNOHANG | __WNOTHREAD) > 0) {} /* orphans */
		usleep(1000);
	}
	kill(-1, SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR) {}
	puts("calm");
	return errno == ECHILD ? 0 : 1;
}
