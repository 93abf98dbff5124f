/* Processes: fork(2), vfork(2), clone(2), execve(2), exit, wait(2), sessions. */
#include "guest.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include <pthread.h>
#include <linux/sched.h>

static char **self_args(const char *mode) {
	static char *args[4];
	args[0] = "self";
	args[1] = (char *)mode;
	return args;
}

TEST(fork_copies_memory) {
	static int x = 1;
	int status = IN_CHILD({ EQUAL(x, 1); x = 2; EQUAL(x, 2); });
	EXITED_OK(status);
	EQUAL(x, 1);
	/* and the other way around: the child sees the state at the fork */
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		char c;
		close(p[1]);
		EQUAL(read(p[0], &c, 1), 1);
		_exit(x == 1 ? 0 : 1);
	}
	x = 3;
	OK(write(p[1], "x", 1));
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
}

TEST(fork_of_forks_keeps_private_pages) {
	size_t size = 4 << 20;
	char *m = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	for (size_t i = 0; i < size; i += 4096)
		m[i] = 'a';
	for (int depth = 0; depth < 4; depth++) {
		int s = IN_CHILD({
			m[depth * 4096] = 'b';
			int s2 = IN_CHILD({
				EQUAL(m[depth * 4096], 'b');
				EQUAL(m[(depth + 1) * 4096], 'a');
				m[(depth + 1) * 4096] = 'c';
			});
			EXITED_OK(s2);
			EQUAL(m[(depth + 1) * 4096], 'a');
		});
		EXITED_OK(s);
		EQUAL(m[depth * 4096], 'a');
	}
}

TEST(shared_memory_stays_shared) {
	int *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	int s = IN_CHILD({ *m = 42; });
	EXITED_OK(s);
	EQUAL(*m, 42);
}

TEST(wait_status) {
	int s = IN_CHILD(_exit(7));
	CHECK(WIFEXITED(s));
	EQUAL(WEXITSTATUS(s), 7);
	s = IN_CHILD(_exit(0x1234));
	EQUAL(WEXITSTATUS(s), 0x34);
	s = IN_CHILD(raise(SIGKILL));
	CHECK(WIFSIGNALED(s));
	EQUAL(WTERMSIG(s), SIGKILL);
	struct rlimit none = { 0, 0 };
	setrlimit(RLIMIT_CORE, &none);
	s = IN_CHILD(*(volatile int *)8 = 1);
	CHECK(WIFSIGNALED(s));
	EQUAL(WTERMSIG(s), SIGSEGV);
}

TEST(wait_errors) {
	int s;
	FAILS(waitpid(-1, &s, 0), ECHILD);
	FAILS(waitpid(getpid(), &s, 0), ECHILD);
	FAILS(waitpid(1, &s, 0), ECHILD);
	FAILS(waitpid(-1, &s, 0x1000), EINVAL);
	FAILS(waitid(P_ALL, 0, NULL, 0), EINVAL);
	pid_t k = OK(fork());
	if (!k)
		pause();
	EQUAL(waitpid(k, &s, WNOHANG), 0);
	OK(kill(k, SIGTERM));
	FAILS(syscall(SYS_wait4, k, (int *)8, 0, NULL), EFAULT);
}

TEST(waitid_keeps_with_wnowait) {
	pid_t k = OK(fork());
	if (!k)
		_exit(3);
	siginfo_t i;
	memset(&i, 0, sizeof i);
	OK(waitid(P_PID, k, &i, WEXITED | WNOWAIT));
	EQUAL(i.si_pid, k);
	EQUAL(i.si_code, CLD_EXITED);
	EQUAL(i.si_status, 3);
	EQUAL(i.si_signo, SIGCHLD);
	memset(&i, 0, sizeof i);
	OK(waitid(P_PID, k, &i, WEXITED));
	EQUAL(i.si_status, 3);
	FAILS(waitid(P_PID, k, &i, WEXITED), ECHILD);
}

TEST(stop_and_continue_are_seen) {
	pid_t k = OK(fork());
	if (!k)
		for (;;)
			pause();
	int s;
	OK(kill(k, SIGSTOP));
	EQUAL(waitpid(k, &s, WUNTRACED), k);
	CHECK(WIFSTOPPED(s));
	EQUAL(WSTOPSIG(s), SIGSTOP);
	OK(kill(k, SIGCONT));
	EQUAL(waitpid(k, &s, WCONTINUED), k);
	CHECK(WIFCONTINUED(s));
	OK(kill(k, SIGKILL));
	EQUAL(waitpid(k, &s, 0), k);
	EQUAL(WTERMSIG(s), SIGKILL);
}

TEST(orphans_go_to_the_subreaper) {
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		pid_t g = fork();
		if (!g) {
			char c;
			close(p[1]);
			if (read(p[0], &c, 1)) {}
			_exit(9);
		}
		_exit(0);
	}
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	close(p[1]);
	pid_t g = OK(waitpid(-1, &s, 0));
	CHECK(g != k);
	EQUAL(WEXITSTATUS(s), 9);
}

TEST(vfork_parent_waits) {
	static volatile int x;
	pid_t k = vfork();
	if (k == 0) {
		sleep_ms(30);
		x = 5;
		_exit(0);
	}
	EQUAL(x, 5);
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	k = vfork();
	if (k == 0) {
		execl("/bin/true", "true", NULL);
		_exit(127);
	}
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
}

TEST(exec_errors) {
	char *args[] = { "x", NULL };
	FAILS(execv("/no/such/program", args), ENOENT);
	FAILS(execv("/", args), EACCES);
	FAILS(execv("/etc/passwd", args), EACCES);
	FAILS(execv("/etc/passwd/x", args), ENOTDIR);
	FAILS(execv("", args), ENOENT);
	int f = OK(open("junk", O_CREAT | O_WRONLY, 0755));
	OK(write(f, "\177ELFjunk", 8));
	close(f);
	FAILS(execv("./junk", args), ENOEXEC);
	f = OK(open("script", O_CREAT | O_WRONLY, 0755));
	OK(write(f, "#!/no/such/interpreter\n", 23));
	close(f);
	FAILS(execv("./script", args), ENOENT);
	f = OK(open("empty", O_CREAT | O_WRONLY, 0755));
	close(f);
	FAILS(execv("./empty", args), ENOEXEC);
	FAILS(syscall(SYS_execve, (char *)8, args, NULL), EFAULT);
	char *big = malloc(200000);
	memset(big, 'x', 199999);
	big[199999] = 0;
	char *toolong[] = { "x", big, NULL };
	FAILS(execv("/bin/true", toolong), E2BIG);
}

TEST(exec_scripts) {
	int f = OK(open("s", O_CREAT | O_WRONLY, 0755));
	const char *text = "#!/bin/sh  -e\ntest \"$1\" = 'a b' && test $# = 1 && exit 11\n";
	OK(write(f, text, strlen(text)));
	close(f);
	int s = IN_CHILD(execl("./s", "s", "a b", NULL));
	EQUAL(WEXITSTATUS(s), 11);
}

static void *sleeper(void *a) {
	for (;;)
		pause();
	return a;
}

TEST(exec_ends_other_threads_and_keeps_the_pid) {
	char pid[16];
	int s = IN_CHILD({
		pthread_t t;
		for (int i = 0; i < 5; i++)
			pthread_create(&t, NULL, sleeper, NULL);
		snprintf(pid, sizeof pid, "%d", getpid());
		execl("/bin/sh", "sh", "-c", "test $$ = $0", pid, NULL);
	});
	EXITED_OK(s);
}

static void *exec_true(void *a) {
	execl("/bin/sh", "sh", "-c", "exit 4", NULL);
	return a;
}

TEST(exec_from_another_thread) {
	int s = IN_CHILD({
		pthread_t t;
		pthread_create(&t, NULL, exec_true, NULL);
		for (;;)
			pause();
	});
	EQUAL(WEXITSTATUS(s), 4);
}

TEST(close_on_exec) {
	int a = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
	int b = OK(open("/dev/null", O_RDONLY));
	char cmd[100];
	snprintf(cmd, sizeof cmd, "test ! -e /proc/self/fd/%d && test -e /proc/self/fd/%d", a, b);
	int s = IN_CHILD(execl("/bin/sh", "sh", "-c", cmd, NULL));
	EXITED_OK(s);
}

static int clone_fn(void *arg) {
	*(volatile int *)arg = (int)syscall(SYS_getpid);
	return 5;
}

TEST(clone_vm_shares_memory_but_not_the_pid) {
	static int got;
	char *stack = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t k = OK(clone(clone_fn, stack + 65536, CLONE_VM | SIGCHLD, &got));
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EQUAL(WEXITSTATUS(s), 5);
	EQUAL(got, k);
}

TEST(child_tid_that_cannot_be_stored_is_nobodys_error) {
	char *page = mmap(0, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(munmap(page + 4096, 4096));
	char *grown = (char *)((uintptr_t)__builtin_frame_address(0) & -4096ul) - (256 << 10);
	static int good;
	struct { void *at; int there; } c[] = {
		{ &good, 1 }, { grown, 1 }, { page, 0 }, { page + 4096, 0 }, { page + 4094, 0 }, { (void *)8, 0 }, { (void *)-8, 0 },
	};
	for (unsigned i = 0; i < sizeof c / sizeof *c; i++) {
		pid_t self = getpid();
		long k = syscall(SYS_clone, (long)(CLONE_CHILD_SETTID | SIGCHLD), 0L, 0L, c[i].at, 0L);
		if (getpid() != self)
			_exit(k != 0 ? 1 : c[i].there && *(volatile int *)c[i].at != getpid() ? 2 : 0);
		OK(k);
		int s;
		EQUAL(waitpid(k, &s, 0), k);
		EQUAL(s, 0);
	}
	OK(munmap(page, 4096));
}

TEST(clone_errors) {
	FAILS(syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0), EINVAL);
	FAILS(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0), EINVAL);
	struct clone_args a;
	memset(&a, 0, sizeof a);
	FAILS(syscall(SYS_clone3, &a, 8), EINVAL);
	a.exit_signal = 65;
	FAILS(syscall(SYS_clone3, &a, sizeof a), EINVAL);
	FAILS(syscall(SYS_clone3, (void *)8, sizeof a), EFAULT);
}

TEST(clone3_with_pidfd) {
	int pidfd = -1;
	struct clone_args a;
	memset(&a, 0, sizeof a);
	a.flags = CLONE_PIDFD;
	a.pidfd = (uintptr_t)&pidfd;
	a.exit_signal = SIGCHLD;
	pid_t k = OK(syscall(SYS_clone3, &a, sizeof a));
	if (!k)
		_exit(6);
	CHECK(pidfd >= 0);
	siginfo_t i;
	OK(waitid(3 /* P_PIDFD */, pidfd, &i, WEXITED));
	EQUAL(i.si_status, 6);
	FAILS(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0), ESRCH);
}

TEST(sessions_and_groups) {
	EXITED_OK(IN_CHILD({
		pid_t me = getpid();
		EQUAL(getpgrp(), getppid());
		EQUAL(setpgid(0, 0), 0);
		EQUAL(getpgrp(), me);
		FAILS(setsid(), EPERM); /* a group leader */
		FAILS(setpgid(0, 0x3fffffff), EPERM);
		FAILS(setpgid(-1, 0), EINVAL);
		FAILS(setpgid(0, -1), EINVAL);
		EXITED_OK(IN_CHILD({
			EQUAL(setsid(), getpid());
			EQUAL(getsid(0), getpid());
			EQUAL(getpgrp(), getpid());
			FAILS(setpgid(0, 0), EPERM); /* a session leader */
		}));
		FAILS(getpgid(0x3fffffff), ESRCH);
	}));
}

static void *thread_exit_group(void *a) { syscall(SYS_exit_group, 3); return a; }

TEST(exit_group_from_a_thread) {
	int s = IN_CHILD({
		pthread_t t;
		pthread_create(&t, NULL, thread_exit_group, NULL);
		for (;;)
			pause();
	});
	EQUAL(WEXITSTATUS(s), 3);
}

static void *late(void *a) { sleep_ms(50); _exit(8); return a; }

TEST(leader_may_exit_first) {
	int s = IN_CHILD({
		pthread_t t;
		pthread_create(&t, NULL, late, NULL);
		syscall(SYS_exit, 0);
	});
	EQUAL(WEXITSTATUS(s), 8);
}

static void *count_up(void *a) {
	for (int i = 0; i < 10000; i++)
		__atomic_add_fetch((int *)a, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

TEST(many_threads) {
	static int n;
	for (int round = 0; round < 5; round++) {
		pthread_t t[20];
		for (int i = 0; i < 20; i++)
			EQUAL(pthread_create(&t[i], NULL, count_up, &n), 0);
		for (int i = 0; i < 20; i++)
			EQUAL(pthread_join(t[i], NULL), 0);
	}
	EQUAL(n, 5 * 20 * 10000);
}

TEST(many_processes) {
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 30; i++) {
			pid_t k = OK(fork());
			if (!k)
				_exit(i);
		}
		int sum = 0;
		for (int i = 0; i < 30; i++) {
			int s;
			OK(wait(&s));
			sum += WEXITSTATUS(s);
		}
		EQUAL(sum, 29 * 30 / 2);
	}
}

TEST(rusage_keeps_the_peak) {
	size_t size = 64 << 20;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	memset(p, 1, size);
	OK(munmap(p, size));
	struct rusage r;
	OK(getrusage(RUSAGE_SELF, &r));
	/* some KiB less: the kernel's count may lag a little on each CPU */
	CHECK(r.ru_maxrss >= 60 << 10);
	CHECK(r.ru_maxrss < 1 << 20);
}

static void *nice_thread(void *arg) {
	EQUAL(getpriority(PRIO_PROCESS, 0), 3);
	OK(setpriority(PRIO_PROCESS, 0, 7));
	EQUAL(getpriority(PRIO_PROCESS, 0), 7);
	EQUAL(getpriority(PRIO_PROCESS, getpid()), 3);
	OK(setpriority(PRIO_PROCESS, getpid(), 5));
	EQUAL(getpriority(PRIO_PROCESS, 0), 7);
	EQUAL(getpriority(PRIO_PGRP, 0), 5);
	OK(setpriority(PRIO_PGRP, 0, 9));
	EQUAL(getpriority(PRIO_PROCESS, 0), 9);
	return arg;
}

/* A nice value is a thread's; a process group is all threads of its processes. */
TEST(nice_of_threads) {
	pthread_t t;
	OK(setpgid(0, 0));
	OK(setpriority(PRIO_PROCESS, 0, 3));
	EQUAL(pthread_create(&t, NULL, nice_thread, NULL), 0);
	EQUAL(pthread_join(t, NULL), 0);
	EQUAL(getpriority(PRIO_PROCESS, 0), 9);
	EXITED_OK(IN_CHILD(EQUAL(getpriority(PRIO_PROCESS, 0), 9)));
}

TEST(rusage_of_children) {
	int s = IN_CHILD(while (clock() < 30000) {}); /* CPU time: a busy host may give little */
	EXITED_OK(s);
	struct rusage r;
	OK(getrusage(RUSAGE_CHILDREN, &r));
	CHECK(r.ru_utime.tv_sec * 1000000L + r.ru_utime.tv_usec + r.ru_stime.tv_sec * 1000000L + r.ru_stime.tv_usec > 20000);
}

TEST(rusage_of_a_large_child) {
	struct rusage r;
	int s;
	for (int large = 1; large >= 0; large--) {
		pid_t k = OK(fork());
		if (k == 0) {
			size_t size = large ? 48 << 20 : 4096;
			char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			CHECK(p != MAP_FAILED);
			memset(p, 1, size);
			OK(munmap(p, size));
			_exit(0);
		}
		EQUAL(wait4(k, &s, 0, &r), k);
		EXITED_OK(s);
		if (large)
			CHECK(r.ru_maxrss >= 44 << 10);
		else
			CHECK(r.ru_maxrss > 0 && r.ru_maxrss < 44 << 10);
	}
	/* of all children it is the largest one's */
	OK(getrusage(RUSAGE_CHILDREN, &r));
	CHECK(r.ru_maxrss >= 44 << 10);
	CHECK(r.ru_maxrss < 1 << 20);
}

TEST(names_and_self) {
	OK(prctl(PR_SET_NAME, "a-long-name-that-is-cut"));
	char name[16];
	OK(prctl(PR_GET_NAME, name));
	CHECK(!strcmp(name, "a-long-name-tha"));
	char buf[64];
	int f = OK(open("/proc/self/comm", O_RDONLY));
	ssize_t n = OK(read(f, buf, sizeof buf));
	CHECK(n == 16 && !memcmp(buf, "a-long-name-tha\n", 16));
	(void)self_args;
}

TEST(pdeathsig) {
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		pid_t parent = getpid();
		if (!fork()) {
			OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
			if (getppid() == parent)
				write(p[1], "r", 1);
			for (;;)
				pause();
		}
		sleep_ms(20);
		char c;
		read(p[0], &c, 1);
		close(p[1]);
		_exit(0);
	}
	close(p[1]);
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	char c;
	EQUAL(read(p[0], &c, 1), 0); /* the grandchild is gone too */
}
