/* Random calls with interesting arguments: some children may die of them, the
 * kernel may not. FUZZ_SEED repeats a run, FUZZ_CHILDREN makes a longer one. */
#include "guest.h"
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define CALLS 400
#define LIFETIME_MS 400

static __thread uint64_t state;

static uint64_t any(void) {
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1d;
}
static uint64_t below(uint64_t n) { return any() % n; }

static int fds[64], nfds;
static char *buffer, *edge; /* four pages of arguments; the last byte of a mapping */

static void keep(int fd) {
	if (fd >= 0 && nfds < 64)
		fds[nfds++] = fd;
}

static void prepare(void) {
	buffer = mmap(0, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	edge = buffer + 4 * 4096;
	mprotect(edge, 4096, PROT_NONE);
	int p[2];
	keep(open("file", O_CREAT | O_RDWR, 0666));
	if (nfds)
		ftruncate(fds[0], 10000);
	keep(open("file", O_WRONLY | O_APPEND));
	mkdir("dir", 0777);
	symlink("file", "link");
	mkfifo("fifo", 0666);
	keep(open("fifo", O_RDWR | O_NONBLOCK));
	keep(open("dir", O_DIRECTORY | O_RDONLY));
	keep(open("dir", O_PATH));
	if (!pipe2(p, O_NONBLOCK)) {
		keep(p[0]);
		keep(p[1]);
	}
	for (int type = SOCK_STREAM; type <= SOCK_SEQPACKET; type++)
		if (!socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, p)) {
			keep(p[0]);
			keep(p[1]);
		}
	keep(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
	keep(epoll_create1(0));
	keep(eventfd(1, EFD_NONBLOCK));
	keep(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	sigset_t none;
	sigemptyset(&none);
	sigaddset(&none, SIGUSR1);
	keep(signalfd(-1, &none, SFD_NONBLOCK));
	keep(inotify_init1(IN_NONBLOCK));
	keep(memfd_create("m", MFD_ALLOW_SEALING));
	keep(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK));
	keep(open("/dev/zero", O_RDWR));
	keep(open("/proc/self/maps", O_RDONLY));
	keep(open("/proc/self", O_RDONLY | O_DIRECTORY));
	keep(open("/proc/self/mem", O_RDWR));
	keep(syscall(SYS_pidfd_open, getpid(), 0));
}

static const char *const names[] = {
	"", ".", "..", "/", "file", "dir", "dir/new", "link", "fifo", "missing", "dir/../file", "/proc/self/fd/0",
	"/proc/self/status", "/proc/self/cwd/..", "/proc/self/exe", "/dev/null", "/dev/tty", "/proc/self/task", "/tmp",
	"user.x", "security.capability", "tmpfs", "proc", "/proc/sys/kernel/hostname",
};

static const uint64_t numbers[] = {
	0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 63, 64, 65, 100, 127, 128, 255, 256, 511, 512, 1023, 1024, 4095, 4096, 4097, 8192,
	65535, 65536, 1 << 20, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000,
	-1, -2, -100, -4096, 0x7ffffffff000, 0x7fffffffffff, 0xffffffff80000000,
};

static uint64_t value(int depth);

/* Fills memory with what may be a structure. */
static uint64_t pointer(int depth) {
	switch (below(12)) {
	case 0: return 0;
	case 1: return (uint64_t)edge - below(64);
	case 2: return (uint64_t)edge + below(4096);
	case 3: return numbers[below(sizeof numbers / sizeof *numbers)];
	case 4: case 5: return (uint64_t)names[below(sizeof names / sizeof *names)];
	}
	char *at = buffer + (below(3 * 4096) & ~7);
	if (depth < 3) {
		int n = 1 + below(16);
		for (int i = 0; i < n; i++)
			if (below(2)) {
				uint64_t v = value(depth + 1);
				memcpy(at + 8 * i, &v, 8);
			} else {
				uint32_t v[2] = { value(depth + 1), value(depth + 1) };
				memcpy(at + 8 * i, v, 8);
			}
	}
	return (uint64_t)at;
}

static uint64_t value(int depth) {
	switch (below(10)) {
	case 0: case 1: return numbers[below(sizeof numbers / sizeof *numbers)];
	case 2: return below(32);
	case 3: return 1ull << below(33) | (below(2) ? 1ull << below(33) : 0);
	case 4: return any();
	case 5: return getpid();
	case 6: return nfds ? fds[below(nfds)] : 0;
	default: return pointer(depth);
	}
}

/* The numbers of ioctls, fcntls and options that exist are rarely met by chance. */
static uint64_t command(void) {
	static const uint16_t groups[] = { 0x5400, 0x8900, 0x6600, 0x400, 0 };
	uint64_t c = groups[below(5)] + below(0x60);
	if (!below(4))
		c |= (below(4) << 30) | (below(64) << 16);
	return c;
}

static int hurts(long nr, int root) {
	switch (nr) {
	/* these end or stop the child at once, and teach nothing */
	case SYS_exit: case SYS_exit_group: case SYS_rt_sigreturn: case SYS_pause: case SYS_rt_sigsuspend: case SYS_alarm:
	case SYS_vfork: case SYS_rt_sigtimedwait: case SYS_clone: case SYS_clone3: case SYS_fork: case SYS_vhangup:
		return below(20) || !root;
	/* these would end the test itself */
	case SYS_kill: case SYS_tkill: case SYS_tgkill: case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo:
		return 1;
	/* as nobody on a real host these may reach other processes */
	case SYS_pidfd_send_signal: case SYS_ptrace: case SYS_process_vm_writev: case SYS_setpriority: case SYS_sched_setscheduler:
	case SYS_sched_setparam: case SYS_sched_setattr: case SYS_sched_setaffinity: case SYS_prlimit64: case SYS_ioprio_set:
	case SYS_shmget: case SYS_shmctl: case SYS_semget: case SYS_semctl: case SYS_semop: case SYS_msgget: case SYS_msgctl:
	case SYS_msgsnd: case SYS_msgrcv: case SYS_mq_open: case SYS_mq_unlink: case SYS_sync: case SYS_syncfs: case SYS_setsid:
	case SYS_setpgid: case SYS_bpf: case SYS_perf_event_open: case SYS_io_uring_setup: case SYS_userfaultfd:
	case SYS_keyctl: case SYS_add_key: case SYS_request_key: case SYS_unshare: case SYS_fallocate: case SYS_execve: case SYS_execveat:
		return !root;
	}
	return 0;
}

static int is_root;

static void calls(void) {
	for (int i = 0; i < CALLS; i++) {
		long nr = below(20) ? (long)below(470) : (long)any();
		if (hurts(nr, is_root))
			continue;
		uint64_t a[6];
		for (int j = 0; j < 6; j++)
			a[j] = value(0);
		if (nfds && below(3))
			a[0] = fds[below(nfds)];
		if (below(3) == 0)
			a[1] = command();
		if (below(3) == 0)
			a[1] = pointer(0);
		syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	}
}

static void *thread(void *seed) {
	state = (uint64_t)seed | 1;
	calls();
	return NULL;
}

/* Every other child has threads that race for its descriptors and memory. */
static void child(int root) {
	is_root = root;
	for (int sig = 1; sig < 65; sig++)
		if (sig != SIGPIPE && sig != SIGXFSZ)
			signal(sig, SIG_DFL);
	prepare();
	for (int i = below(2) ? 3 : 0; i > 0; i--) {
		pthread_t t;
		pthread_create(&t, NULL, thread, (void *)any());
	}
	calls();
	_exit(0);
}

static void fuzz(int root) {
	const char *s = getenv("FUZZ_SEED"), *n = getenv("FUZZ_CHILDREN");
	uint64_t seed = s ? strtoull(s, 0, 0) : (uint64_t)now_ns();
	int children = n ? atoi(n) : 40;
	alarm(children + GUEST_TIME_LIMIT);
	printf("    FUZZ_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	struct rlimit none = { 0, 0 }, some = { 1ul << 30, 1ul << 30 };
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_AS, &some);
	struct rlimit few = { 20 << 20, 20 << 20 };
	setrlimit(RLIMIT_FSIZE, &few);
	/* signals of descriptors (F_SETOWN) may go to anybody */
	for (int sig = 1; sig < 65; sig++)
		if (sig != SIGALRM && sig != SIGCHLD)
			signal(sig, SIG_IGN);
	int null = OK(open("/dev/null", O_RDWR));
	for (int i = 0; i < children; i++) {
		pid_t k = OK(fork());
		if (!k) {
			state = (seed + i) * 0x9e3779b97f4a7c15 | 1;
			for (int f = 0; f < 3; f++)
				dup2(null, f);
			char dir[32];
			snprintf(dir, sizeof dir, "%d", i);
			mkdir(dir, 0777);
			chown(dir, root ? 0 : 65534, root ? 0 : 65534);
			chdir(dir);
			setpgid(0, 0);
			if (!root) {
				setgroups(0, NULL);
				if (setgid(65534) || setuid(65534))
					_exit(1);
			}
			child(root);
		}
		/* it may have blocked all signals and gone to sleep for good */
		siginfo_t ended = { 0 };
		for (long long end = now_ns() + LIFETIME_MS * 1000000LL; now_ns() < end && !ended.si_pid;) {
			OK(waitid(P_PID, k, &ended, WEXITED | WNOHANG | WNOWAIT));
			sleep_ms(2);
		}
		kill(k, SIGKILL);
		kill(-k, SIGKILL);
		int status;
		OK(waitpid(k, &status, 0));
	}
	EQUAL(WEXITSTATUS(IN_CHILD(_exit(5))), 5);
}

TEST(random_calls_as_nobody) {
	if (getuid())
		SKIP("needs root to become nobody");
	fuzz(0);
}

/* Only a kernel of its own keeps what root does from the host: a container of the
 * host's kernel has devices of it, whose modes and owners these calls change. */
TEST(random_calls_as_root) {
	char version[64] = "";
	int fd = OK(open("/proc/version", O_RDONLY | O_CLOEXEC));
	OK(read(fd, version, sizeof version - 1));
	close(fd);
	if (!strstr(version, "coffer"))
		SKIP("would hurt the host");
	fuzz(1);
}
