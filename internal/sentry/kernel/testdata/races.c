/* Races between fork, threads, signals, exec, stop and exit. Prints "ok" after
 * all of it; each part holds on Linux too. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(c) do { if (!(c)) { printf("%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #c, errno); exit(1); } } while (0)

static char *self;
static volatile int handled;
static void count(int sig) { handled++; }

static void wait_for(pid_t k, int want) {
	int s;
	while (waitpid(k, &s, 0) == -1)
		CHECK(errno == EINTR);
	if (s != want) {
		printf("status %#x, not %#x\n", s, want);
		exit(1);
	}
}

/* Timer signals while forking: nothing is lost and the forks get done. */
static void fork_under_timer(void) {
	struct sigaction a = { .sa_handler = count, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &a, NULL);
	struct itimerval it = { { 0, 2000 }, { 0, 2000 } };
	setitimer(ITIMER_REAL, &it, NULL);
	for (int i = 0; i < 50; i++) {
		pid_t k = fork();
		CHECK(k >= 0);
		if (!k)
			_exit(3);
		wait_for(k, 3 << 8);
	}
	memset(&it, 0, sizeof it);
	setitimer(ITIMER_REAL, &it, NULL);
}

static void *spin(void *a) {
	for (;;)
		if (a)
			getppid();
	return NULL;
}
static void *sleeper(void *a) {
	for (;;)
		pause();
	return a;
}
static void *quick(void *a) { return a; }

/* A process with threads of all kinds ends, by each way there is. */
static void end_with_threads(void) {
	for (int how = 0; how < 4; how++)
		for (int i = 0; i < 5; i++) {
			pid_t k = fork();
			CHECK(k >= 0);
			if (!k) {
				pthread_t t;
				pthread_create(&t, NULL, sleeper, NULL);
				pthread_create(&t, NULL, spin, NULL);
				pthread_create(&t, NULL, spin, self);
				switch (how) {
				case 0: exit(7);
				case 1: raise(SIGKILL); break;
				case 2: execl(self, self, "exit7", NULL); break;
				case 3: *(volatile int *)8 = 1;
				}
				_exit(99);
			}
			int want[] = { 7 << 8, SIGKILL, 7 << 8, SIGSEGV };
			int s;
			CHECK(waitpid(k, &s, 0) == k);
			CHECK((s & ~0x80) == want[how]);
		}
}

static void *exec_it(void *a) {
	usleep((long)a);
	execl(self, self, "exit7", NULL);
	return NULL;
}

/* Several threads call execve at once: one wins, and the PID stays. */
static void exec_race(void) {
	for (int i = 0; i < 10; i++) {
		pid_t k = fork();
		CHECK(k >= 0);
		if (!k) {
			pthread_t t;
			for (long j = 0; j < 4; j++)
				pthread_create(&t, NULL, exec_it, (void *)(j * 10));
			for (;;)
				pause();
		}
		wait_for(k, 7 << 8);
	}
}

/* Threads come and go while others send them signals. */
static void signal_dying_threads(void) {
	struct sigaction a = { .sa_handler = count, .sa_flags = SA_RESTART };
	sigaction(SIGUSR1, &a, NULL);
	for (int i = 0; i < 100; i++) {
		pthread_t t;
		CHECK(pthread_create(&t, NULL, quick, NULL) == 0);
		pthread_kill(t, SIGUSR1);
		CHECK(pthread_join(t, NULL) == 0);
	}
}

/* Stop and continue in quick succession end in a process that runs. */
static void stop_storm(void) {
	int p[2];
	CHECK(pipe(p) == 0);
	pid_t k = fork();
	if (!k) {
		pthread_t t;
		pthread_create(&t, NULL, spin, NULL);
		char c;
		close(p[1]);
		while (read(p[0], &c, 1) == -1 && errno == EINTR) {}
		_exit(5);
	}
	for (int i = 0; i < 300; i++) {
		kill(k, SIGSTOP);
		kill(k, SIGCONT);
	}
	close(p[1]);
	close(p[0]);
	wait_for(k, 5 << 8);
	k = fork();
	if (!k)
		for (;;)
			pause();
	kill(k, SIGSTOP);
	int s;
	CHECK(waitpid(k, &s, WUNTRACED) == k && WIFSTOPPED(s));
	kill(k, SIGTERM);
	CHECK(waitpid(k, &s, WNOHANG) == 0); /* waits until it is continued */
	kill(k, SIGCONT);
	wait_for(k, SIGTERM);
}

/* SIGKILL ends a parent in vfork, and a stopped process. */
static void kill_stuck(void) {
	pid_t k = fork();
	if (!k) {
		if (vfork() == 0) {
			sleep(2);
			_exit(0);
		}
		_exit(1);
	}
	usleep(20000);
	kill(k, SIGKILL);
	wait_for(k, SIGKILL);
	k = fork();
	if (!k) {
		raise(SIGSTOP);
		_exit(1);
	}
	int s;
	CHECK(waitpid(k, &s, WUNTRACED) == k);
	kill(k, SIGKILL);
	wait_for(k, SIGKILL);
}

/* A job whose parent ends is orphaned: stopped members get SIGHUP. */
static void orphaned_job(void) {
	int p[2];
	CHECK(pipe(p) == 0);
	pid_t k = fork();
	if (!k) {
		setsid(); /* else PID 1 may be of the session, and no orphan is one */
		pid_t g = fork();
		if (!g) {
			setpgid(0, 0);
			signal(SIGHUP, SIG_DFL);
			raise(SIGSTOP);
			sleep(10);
			_exit(0);
		}
		setpgid(g, g);
		int s;
		CHECK(waitpid(g, &s, WUNTRACED) == g);
		_exit(0);
	}
	wait_for(k, 0);
	close(p[1]);
	char c;
	/* the pipe ends when the orphan does, and a moment later it is ours, who are init */
	CHECK(read(p[0], &c, 1) == 0);
	int s;
	CHECK(waitpid(-1, &s, 0) > 0 && WIFSIGNALED(s) && WTERMSIG(s) == SIGHUP);
}

static void ignored_children(void) {
	signal(SIGCHLD, SIG_IGN);
	pid_t k = fork();
	if (!k)
		_exit(0);
	int s;
	CHECK(waitpid(k, &s, 0) == -1 && errno == ECHILD);
	signal(SIGCHLD, SIG_DFL);
}

static void timed_wait(void) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD); /* ignored by default, but waited for */
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	struct timespec ms = { 0, 20000000 };
	CHECK(sigtimedwait(&set, NULL, &ms) == -1 && errno == EAGAIN);
	union sigval v = { .sival_int = 42 };
	sigqueue(getpid(), SIGRTMIN, v);
	siginfo_t i;
	CHECK(sigtimedwait(&set, &i, NULL) == SIGRTMIN && i.si_value.sival_int == 42 && i.si_pid == getpid());
	pid_t k = fork();
	if (!k) {
		usleep(10000);
		_exit(9);
	}
	CHECK(sigwaitinfo(&set, &i) == SIGCHLD && i.si_pid == k && i.si_status == 9 && i.si_code == CLD_EXITED);
	wait_for(k, 9 << 8);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(int argc, char **argv) {
	self = argv[0][0] == '/' ? argv[0] : "/bin/races";
	if (argc > 1 && !strcmp(argv[1], "exit7"))
		return 7;
	setvbuf(stdout, NULL, _IONBF, 0);
	struct { const char *name; void (*f)(void); } all[] = {
		{ "fork_under_timer", fork_under_timer }, { "end_with_threads", end_with_threads },
		{ "exec_race", exec_race }, { "signal_dying_threads", signal_dying_threads },
		{ "stop_storm", stop_storm }, { "kill_stuck", kill_stuck }, { "orphaned_job", orphaned_job },
		{ "ignored_children", ignored_children }, { "timed_wait", timed_wait },
	};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		if (argc > 1 && strcmp(argv[1], all[i].name))
			continue;
		printf("%s\n", all[i].name);
		all[i].f();
	}
	printf("ok\n");
	return 0;
}
