/* guest.h: the harness of the guest tests, small C programs that run natively
 * first and then in every isolation: what they expect holds on Linux.
 *
 *	TEST(pipe_is_empty) {
 *		int p[2];
 *		OK(pipe2(p, O_NONBLOCK));
 *		FAILS(read(p[0], buf, 1), EAGAIN);
 *		CHECK(p[0] != p[1]);
 *	}
 *
 * Each TEST runs in a process of its own, with a time limit, in a fresh
 * directory below /tmp, and inherits next to nothing of whoever started the
 * program. An argument runs only the tests whose name has it.
 *
 * A busy host may keep a process from running for seconds. So time that passes
 * says nothing of what others have done: await_sleep does, or a pipe.
 */
#ifndef GUEST_H
#define GUEST_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct guest_test {
	const char *name;
	void (*run)(void);
	struct guest_test *next;
};
static struct guest_test *guest_tests, **guest_tail = &guest_tests;

#define TEST(n)                                                                \
	static void test_##n(void);                                            \
	__attribute__((constructor)) static void add_##n(void) {               \
		static struct guest_test t = { #n, test_##n, NULL };           \
		*guest_tail = &t;                                              \
		guest_tail = &t.next;                                          \
	}                                                                      \
	static void test_##n(void)

/* over_host says whether this is a root with power over what belongs to the whole
 * host: one of a user namespace of its own has none (user_namespaces(7)). */
__attribute__((unused)) static int over_host(void) {
	char at[64] = "";
	readlink("/proc/self/ns/user", at, sizeof at - 1);
	return geteuid() == 0 && !strcmp(at, "user:[4026531837]");
}

__attribute__((noreturn, format(printf, 3, 4), unused))
static void guest_fail(const char *file, int line, const char *fmt, ...) {
	char msg[512];
	int n = snprintf(msg, sizeof msg, "    %s:%d: ", file, line);
	va_list ap;
	va_start(ap, fmt);
	n += vsnprintf(msg + n, sizeof msg - n - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof msg - 2)
		n = sizeof msg - 2;
	msg[n++] = '\n';
	if (write(1, msg, n) != n)
		_exit(2);
	_exit(1);
}

/* CHECK fails the test unless the condition holds. */
#define CHECK(cond)                                                            \
	do {                                                                   \
		if (!(cond))                                                   \
			guest_fail(__FILE__, __LINE__, "%s does not hold (errno %d: %s)", #cond, errno, strerror(errno)); \
	} while (0)
/* EQUAL compares two integers and shows both. */
#define EQUAL(got, want)                                                       \
	do {                                                                   \
		long long g_ = (long long)(got), w_ = (long long)(want);       \
		if (g_ != w_)                                                  \
			guest_fail(__FILE__, __LINE__, "%s is %lld, not %lld (errno %d: %s)", #got, g_, w_, errno, strerror(errno)); \
	} while (0)
/* OK fails the test if a call returns -1; its value is the call's. */
#define OK(call)                                                               \
	({                                                                     \
		long long r_ = (long long)(call);                              \
		if (r_ == -1)                                                  \
			guest_fail(__FILE__, __LINE__, "%s: %s", #call, strerror(errno)); \
		r_;                                                            \
	})
/* FAILS fails the test unless a call returns -1 with that errno. */
#define FAILS(call, want)                                                      \
	do {                                                                   \
		errno = 0;                                                     \
		long long r_ = (long long)(call);                              \
		if (r_ != -1)                                                  \
			guest_fail(__FILE__, __LINE__, "%s returned %lld, not %s", #call, r_, #want); \
		if (errno != (want))                                           \
			guest_fail(__FILE__, __LINE__, "%s: %s, not %s", #call, strerror(errno), #want); \
	} while (0)
/* SKIP ends a test that cannot run here, and says why. */
#define SKIP(why)                                                              \
	do {                                                                   \
		printf("    %s\n", why);                                       \
		fflush(stdout);                                                \
		_exit(77);                                                     \
	} while (0)

/* child runs code in a forked process and returns its wait status. */
#define IN_CHILD(...)                                                          \
	({                                                                     \
		pid_t k_ = (pid_t)OK(fork());                                  \
		if (k_ == 0) { __VA_ARGS__; _exit(0); }                        \
		int s_;                                                        \
		EQUAL(waitpid(k_, &s_, 0), k_);                                \
		s_;                                                            \
	})
#define EXITED_OK(status) EQUAL(status, 0)

__attribute__((unused)) static void sleep_ms(int ms) {
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };
	while (nanosleep(&t, &t) == -1 && errno == EINTR) {}
}
__attribute__((unused)) static long long now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* await_sleep waits until a process or thread sleeps in a call, or is no more. */
__attribute__((unused)) static void await_sleep(pid_t tid) {
	char path[40], stat[256];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)tid);
	for (;; sleep_ms(1)) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);
		close(fd);
		if (n <= 0)
			return;
		stat[n] = 0;
		char *state = strrchr(stat, ')');
		if (state && strchr("SZX", state[2]))
			return;
	}
}

/* signal_when_asleep has a child send a signal to this thread once it sleeps,
 * which it must do next, and returns the child's number. */
__attribute__((unused)) static pid_t signal_when_asleep(int sig) {
	pid_t pid = getpid(), tid = (pid_t)syscall(SYS_gettid), k = (pid_t)OK(fork());
	if (k)
		return k;
	await_sleep(tid);
	syscall(SYS_tgkill, pid, tid, sig);
	_exit(0);
}

/* open_unexecuted opens a program for writing, of which the last process has ended: who looks at a process,
 * as ps(1) does, may have its memory, and with it its program, for a moment longer. */
__attribute__((unused)) static int open_unexecuted(const char *path) {
	int fd;
	while ((fd = open(path, O_WRONLY)) == -1 && errno == ETXTBSY)
		sleep_ms(1);
	return OK(fd);
}

/* nobodys_number is the number of a user whom no host has, and no other test at the same time: what users have is
 * counted for each, and processes of other PID namespaces may have this one's number. */
__attribute__((unused)) static uid_t nobodys_number(void) {
	uint32_t r;
	EQUAL(syscall(SYS_getrandom, &r, sizeof r, 0), sizeof r);
	return 1000000000 + r % 1000000000;
}

/* The longest that a test may take, in seconds, on the slowest host. */
#define GUEST_TIME_LIMIT 120

/* guest_reset makes this process independent of what it inherits. */
static void guest_reset(void) {
	struct rlimit r;
	sigset_t none;
	int fd;
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd < 3) {}
	syscall(SYS_close_range, 3, ~0u, 0);
	if (getrlimit(RLIMIT_STACK, &r) == 0) {
		r.rlim_cur = r.rlim_max < 8 << 20 ? r.rlim_max : 8 << 20;
		setrlimit(RLIMIT_STACK, &r);
	}
	if (getrlimit(RLIMIT_CORE, &r) == 0) {
		r.rlim_cur = 0;
		setrlimit(RLIMIT_CORE, &r);
	}
}

int main(int argc, char **argv) {
	const char *only = argc > 1 ? argv[1] : "";
	int failed = 0, ran = 0;
	guest_reset();
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (struct guest_test *t = guest_tests; t; t = t->next) {
		if (!strstr(t->name, only))
			continue;
		ran++;
		char dir[] = "/tmp/guest.XXXXXX";
		if (!mkdtemp(dir) || chmod(dir, 0777)) {
			printf("FAIL %s: cannot make %s: %s\n", t->name, dir, strerror(errno));
			return 1;
		}
		fflush(stdout);
		pid_t k = fork();
		if (k == 0) {
			setpgid(0, 0);
			alarm(GUEST_TIME_LIMIT);
			if (chdir(dir))
				_exit(2);
			t->run();
			fflush(stdout);
			_exit(0);
		}
		int status = -1;
		while (waitpid(k, &status, 0) == -1 && errno == EINTR) {}
		kill(-k, SIGKILL);
		if (status == 0) {
			printf("ok %s\n", t->name);
		} else if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
			printf("skip %s\n", t->name);
		} else if (WIFSIGNALED(status)) {
			printf("FAIL %s: signal %d%s\n", t->name, WTERMSIG(status),
			       WTERMSIG(status) == SIGALRM ? " (time limit)" : "");
			failed = 1;
		} else {
			printf("FAIL %s\n", t->name);
			failed = 1;
		}
		char cmd[96];
		snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
		if (system(cmd)) {}
	}
	if (!ran) {
		printf("FAIL no test is called *%s*\n", only);
		return 1;
	}
	return failed;
}
#endif
