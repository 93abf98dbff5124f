/* seccomp(2), its filters and their supervisors (seccomp_unotify(2)). */
#include "guest.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <ucontext.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SECCOMP_ADDFD_FLAG_SEND
#define SECCOMP_ADDFD_FLAG_SEND (1UL << 1)
#endif
#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code */
#endif
#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))
#define NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define ARG(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]))
#define RET(v) BPF_STMT(BPF_RET | BPF_K, v)
/* IF returns v for one call. */
#define IF(nr, v) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), RET(v)

static long seccomp(unsigned op, unsigned flags, void *arg) {
	return syscall(SYS_seccomp, op, flags, arg);
}

static long filter_flags(unsigned flags, struct sock_filter *f, int n) {
	struct sock_fprog p = { n, f };
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	return seccomp(SECCOMP_SET_MODE_FILTER, flags, &p);
}

/* FILTER installs a filter of the instructions given. */
#define FILTER(flags, ...)                                                     \
	({                                                                     \
		struct sock_filter f_[] = { __VA_ARGS__ };                     \
		filter_flags(flags, f_, ARRAY(f_));                            \
	})

/* ANSWER installs a filter that answers one call and allows the others. */
#define ANSWER(nr, v) FILTER(0, NUMBER, IF(nr, v), RET(SECCOMP_RET_ALLOW))

/* status returns how a child ended. */
static int status(pid_t k) {
	int s;
	EQUAL(OK(waitpid(k, &s, 0)), k);
	return s;
}

static long status_line(const char *name) {
	char line[256];
	long v = -1;
	FILE *f = fopen("/proc/thread-self/status", "r");
	CHECK(f);
	while (fgets(line, sizeof line, f))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			v = atol(line + strlen(name) + 1);
	fclose(f);
	return v;
}

TEST(answers_an_errno) {
	EQUAL(prctl(PR_GET_SECCOMP), 0);
	EQUAL(status_line("Seccomp"), 0);
	OK(ANSWER(SYS_getppid, SECCOMP_RET_ERRNO | 77));
	FAILS(syscall(SYS_getppid), 77);
	FAILS(syscall(SYS_getppid, 1, 2, 3), 77);
	EQUAL(getpid(), syscall(SYS_getpid));
	EQUAL(prctl(PR_GET_SECCOMP), 2);
	EQUAL(status_line("Seccomp"), 2);
	EQUAL(status_line("Seccomp_filters"), 1);
	OK(ANSWER(SYS_getpgrp, SECCOMP_RET_ERRNO));
	EQUAL(syscall(SYS_getpgrp), 0);
	OK(ANSWER(SYS_getsid, SECCOMP_RET_ERRNO | 0xffff));
	FAILS(syscall(SYS_getsid), 4095);
	EQUAL(status_line("Seccomp_filters"), 3);
}

TEST(is_asked_often) {
	/* Sites that run often are treated in another way by some kernels. */
	OK(FILTER(0, NUMBER, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_dup, 0, 3), ARG(0),
		  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 12345, 0, 1), RET(SECCOMP_RET_ERRNO | 78), RET(SECCOMP_RET_ALLOW)));
	for (int i = 0; i < 2000; i++) {
		FAILS(dup(12345), 78);
		FAILS(dup(12346), EBADF);
	}
}

TEST(sees_arguments_and_the_caller) {
	char word[8] __attribute__((aligned(8)));
	unsigned long addr = (unsigned long)word;
	OK(FILTER(0, NUMBER, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_lseek, 1, 0), RET(SECCOMP_RET_ALLOW),
		  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0), RET(SECCOMP_RET_ERRNO | 1),
		  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]) + 4),
		  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, addr >> 32, 1, 0), RET(SECCOMP_RET_ERRNO | 2),
		  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, addr & 0xffffffff, 1, 0), RET(SECCOMP_RET_ERRNO | 3),
		  /* The instruction pointer's low half becomes an errno. */
		  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
		  BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x7ff), BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO | 0x800),
		  BPF_STMT(BPF_RET | BPF_A, 0)));
	for (int i = 0; i < 200; i++) {
		long r, after;
		/* The address behind the instruction, by which the call is seen. */
		__asm__ volatile("mov %2, %%eax\n\tsyscall\n1:\tlea 1b(%%rip), %1" : "=&a"(r), "=&r"(after)
				 : "i"(SYS_lseek), "D"(1), "S"(addr), "d"(0) : "rcx", "r11", "memory");
		EQUAL(-r, 0x800 | (after & 0x7ff));
	}
}

static volatile sig_atomic_t trapped;
static siginfo_t trap_info;
static greg_t trap_rax, trap_rip;

static void on_trap(int sig, siginfo_t *si, void *ctx) {
	ucontext_t *u = ctx;
	trapped++;
	trap_info = *si;
	trap_rax = u->uc_mcontext.gregs[REG_RAX];
	trap_rip = u->uc_mcontext.gregs[REG_RIP];
	u->uc_mcontext.gregs[REG_RAX] = 4321;
}

static void catch_traps(void) {
	struct sigaction sa = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	OK(sigaction(SIGSYS, &sa, NULL));
}

TEST(traps) {
	catch_traps();
	OK(ANSWER(SYS_getppid, SECCOMP_RET_TRAP | 99));
	for (int i = 1; i <= 100; i++) {
		EQUAL(syscall(SYS_getppid), 4321);
		EQUAL(trapped, i);
		EQUAL(trap_info.si_signo, SIGSYS);
		EQUAL(trap_info.si_code, SYS_SECCOMP);
		EQUAL(trap_info.si_errno, 99);
		EQUAL(trap_info.si_syscall, SYS_getppid);
		EQUAL(trap_info.si_arch, AUDIT_ARCH_X86_64);
		EQUAL((long)trap_info.si_call_addr, trap_rip);
		EQUAL(trap_rax, SYS_getppid);
	}
}

TEST(trap_blocked_is_deadly) {
	catch_traps();
	pid_t k = OK(fork());
	if (!k) {
		sigset_t s;
		sigemptyset(&s);
		sigaddset(&s, SIGSYS);
		OK(sigprocmask(SIG_BLOCK, &s, NULL));
		OK(ANSWER(SYS_getppid, SECCOMP_RET_TRAP));
		getppid();
		_exit(0);
	}
	EQUAL(status(k) & 0x7f, SIGSYS);
}

/* end_by returns the wait status of a process that makes a call. */
static int end_by(unsigned action) {
	pid_t k = OK(fork());
	if (!k) {
		signal(SIGSYS, SIG_IGN);
		OK(ANSWER(SYS_getppid, action));
		getppid();
		_exit(7);
	}
	return status(k) & ~0x80;
}

TEST(kills) {
	EQUAL(end_by(SECCOMP_RET_KILL_PROCESS), SIGSYS);
	EQUAL(end_by(SECCOMP_RET_KILL_THREAD), SIGSYS);
	EQUAL(end_by(0x00010000), SIGSYS); /* not an action */
	EQUAL(end_by(SECCOMP_RET_LOG), 7 << 8);
	EQUAL(end_by(SECCOMP_RET_ALLOW), 7 << 8);
}

static void *calls_getppid(void *arg) {
	OK(ANSWER(SYS_getppid, (long)arg));
	getppid();
	return (void *)1;
}

TEST(kills_a_thread_only) {
	pthread_t t;
	EQUAL(pthread_create(&t, NULL, calls_getppid, (void *)(long)SECCOMP_RET_KILL_THREAD), 0);
	/* It ends without a result; the kernel wakes the join. */
	void *res = NULL;
	EQUAL(pthread_join(t, &res), 0);
	CHECK(res != (void *)1);
	CHECK(getppid() > 0);
}

TEST(kills_the_process_by_a_thread) {
	pid_t k = OK(fork());
	if (!k) {
		pthread_t t;
		pthread_create(&t, NULL, calls_getppid, (void *)(long)SECCOMP_RET_KILL_PROCESS);
		pthread_join(t, NULL);
		_exit(0);
	}
	EQUAL(status(k) & 0x7f, SIGSYS);
}

TEST(nobody_traces) {
	OK(ANSWER(SYS_getppid, SECCOMP_RET_TRACE | 5));
	FAILS(syscall(SYS_getppid), ENOSYS);
}

TEST(strictest_filter_wins) {
	OK(ANSWER(SYS_getppid, SECCOMP_RET_ERRNO | 10));
	FAILS(syscall(SYS_getppid), 10);
	OK(ANSWER(SYS_getppid, SECCOMP_RET_ALLOW));
	FAILS(syscall(SYS_getppid), 10);
	OK(ANSWER(SYS_getppid, SECCOMP_RET_TRACE));
	FAILS(syscall(SYS_getppid), 10);
	/* Of those that are equal the newest. */
	OK(ANSWER(SYS_getppid, SECCOMP_RET_ERRNO | 5));
	FAILS(syscall(SYS_getppid), 5);
	catch_traps();
	OK(ANSWER(SYS_getppid, SECCOMP_RET_TRAP));
	EQUAL(syscall(SYS_getppid), 4321);
	pid_t k = OK(fork());
	if (!k) {
		OK(ANSWER(SYS_getppid, SECCOMP_RET_KILL_PROCESS));
		getppid();
		_exit(0);
	}
	EQUAL(status(k) & 0x7f, SIGSYS);
}

TEST(children_and_programs_inherit) {
	OK(ANSWER(SYS_mkdir, SECCOMP_RET_ERRNO | 60));
	pid_t k = OK(fork());
	if (!k) {
		FAILS(mkdir("a", 0777), 60);
		EQUAL(status_line("Seccomp_filters"), 1);
		execl("/bin/grep", "grep", "-qx", "Seccomp_filters:\t1", "/proc/self/status", NULL);
		_exit(1);
	}
	EQUAL(status(k), 0);
}

TEST(strict_mode) {
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
		char c;
		if (write(p[1], "x", 1) == 1 && read(p[0], &c, 1) == 1)
			syscall(SYS_exit, 9);
		syscall(SYS_exit, 8);
	}
	EQUAL(status(k), 9 << 8);
	if (!(k = OK(fork()))) {
		OK(seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL));
		getppid();
		syscall(SYS_exit, 1);
	}
	EQUAL(status(k), SIGKILL);
	OK(ANSWER(SYS_getppid, SECCOMP_RET_ERRNO));
	FAILS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT), EINVAL);
}

TEST(errors) {
	struct sock_filter ok[] = { RET(SECCOMP_RET_ALLOW) }, bad[] = { NUMBER };
	struct sock_fprog p = { 1, ok };
	FAILS(seccomp(99, 0, NULL), EINVAL);
	FAILS(seccomp(SECCOMP_SET_MODE_STRICT, 1, NULL), EINVAL);
	FAILS(seccomp(SECCOMP_SET_MODE_STRICT, 0, ok), EINVAL);
	FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 1 << 20, &p), EINVAL);
	FAILS(seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER, &p), EINVAL);
	FAILS(seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &p), EINVAL);
	FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, NULL), EFAULT);
	FAILS(prctl(PR_SET_SECCOMP, 3, 0), EINVAL);
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	struct sock_fprog none = { 0, ok }, unmapped = { 1, (void *)8 }, wrong = { 1, bad }, large = { 4097, ok };
	FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &none), EINVAL);
	FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &large), EINVAL);
	FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &unmapped), EFAULT);
	FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &wrong), EINVAL);
	unsigned a = SECCOMP_RET_USER_NOTIF;
	OK(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &a));
	FAILS(seccomp(SECCOMP_GET_ACTION_AVAIL, 1, &a), EINVAL);
	FAILS(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, NULL), EFAULT);
	a = 0x00010000;
	FAILS(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &a), EOPNOTSUPP);
	struct seccomp_notif_sizes s;
	OK(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &s));
	EQUAL(s.seccomp_notif, sizeof(struct seccomp_notif));
	EQUAL(s.seccomp_notif_resp, sizeof(struct seccomp_notif_resp));
	EQUAL(s.seccomp_data, sizeof(struct seccomp_data));
	FAILS(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, NULL), EFAULT);
	FAILS(seccomp(SECCOMP_GET_NOTIF_SIZES, 1, &s), EINVAL);
	EQUAL(prctl(PR_GET_SECCOMP), 0);
}

TEST(needs_no_new_privs) {
	if (getuid() == 0) {
		OK(setgid(12345));
		OK(setuid(12345));
	}
	struct sock_filter ok[] = { RET(SECCOMP_RET_ALLOW) };
	struct sock_fprog p = { 1, ok };
	FAILS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &p), EACCES);
	FAILS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p), EACCES);
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p));
}

TEST(filters_have_a_limit) {
	static struct sock_filter f[4000];
	for (int i = 0; i < 4000; i++)
		f[i] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
	int n = 0;
	while (filter_flags(0, f, 4000) == 0)
		CHECK(++n < 20);
	EQUAL(errno, ENOMEM);
	CHECK(n >= 3);
}

/* other is a thread that tells what a call answers once it is asked to. */
static struct {
	pthread_t id;
	int ask[2], tell[2];
	unsigned own; /* a filter of its own, or 0 */
} other;

static void *other_run(void *arg) {
	char c;
	if (other.own)
		OK(ANSWER(SYS_getsid, other.own));
	long tid = syscall(SYS_gettid);
	OK(write(other.tell[1], &tid, sizeof tid));
	OK(read(other.ask[0], &c, 1));
	errno = 0;
	long e = syscall(SYS_getppid) == -1 ? errno : 0;
	long nnp = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	OK(write(other.tell[1], &e, sizeof e));
	OK(write(other.tell[1], &nnp, sizeof nnp));
	return NULL;
}

static long told(void) {
	long v;
	EQUAL(read(other.tell[0], &v, sizeof v), sizeof v);
	return v;
}

TEST(threads_are_synchronized) {
	OK(pipe(other.ask));
	OK(pipe(other.tell));
	EQUAL(pthread_create(&other.id, NULL, other_run, NULL), 0);
	told();
	OK(ANSWER(SYS_getpgrp, SECCOMP_RET_ERRNO | 3));
	struct sock_filter f[] = { NUMBER, IF(SYS_getppid, SECCOMP_RET_ERRNO | 44), RET(SECCOMP_RET_ALLOW) };
	EQUAL(filter_flags(SECCOMP_FILTER_FLAG_TSYNC, f, ARRAY(f)), 0);
	OK(write(other.ask[1], "x", 1));
	EQUAL(told(), 44);
	EQUAL(told(), 1);
	pthread_join(other.id, NULL);
}

TEST(threads_of_their_own_are_not) {
	OK(pipe(other.ask));
	OK(pipe(other.tell));
	other.own = SECCOMP_RET_ERRNO | 9;
	EQUAL(pthread_create(&other.id, NULL, other_run, NULL), 0);
	long tid = told();
	struct sock_filter f[] = { NUMBER, IF(SYS_getppid, SECCOMP_RET_ERRNO | 44), RET(SECCOMP_RET_ALLOW) };
	EQUAL(filter_flags(SECCOMP_FILTER_FLAG_TSYNC, f, ARRAY(f)), tid);
	FAILS(filter_flags(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, f, ARRAY(f)), ESRCH);
	EQUAL(prctl(PR_GET_SECCOMP), 0);
	OK(write(other.ask[1], "x", 1));
	EQUAL(told(), 0);
	EQUAL(told(), 1);
	pthread_join(other.id, NULL);
}

TEST(a_new_thread_inherits) {
	OK(pipe(other.ask));
	OK(pipe(other.tell));
	OK(ANSWER(SYS_getppid, SECCOMP_RET_ERRNO | 31));
	EQUAL(pthread_create(&other.id, NULL, other_run, NULL), 0);
	told();
	OK(write(other.ask[1], "x", 1));
	EQUAL(told(), 31);
	EQUAL(told(), 1);
	pthread_join(other.id, NULL);
}

/* Supervisors. */

static void send_fd(int s, int fd) {
	char c = 0, buf[CMSG_SPACE(sizeof fd)] = { 0 };
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = sizeof buf };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	OK(sendmsg(s, &m, 0));
}

static int receive_fd(int s) {
	char c, buf[CMSG_SPACE(sizeof(int))];
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = sizeof buf };
	EQUAL(OK(recvmsg(s, &m, 0)), 1);
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	CHECK(h);
	int fd;
	memcpy(&fd, CMSG_DATA(h), sizeof fd);
	return fd;
}

static int listener; /* of the supervised child, in the supervisor */

/* SUPERVISED starts a child whose calls nr go to listener; it runs body. */
#define SUPERVISED(nr, flags, body)                                            \
	({                                                                     \
		int s_[2];                                                     \
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s_));                   \
		pid_t k_ = OK(fork());                                         \
		if (!k_) {                                                     \
			int l_ = OK(FILTER(SECCOMP_FILTER_FLAG_NEW_LISTENER | (flags), NUMBER, \
					   IF(nr, SECCOMP_RET_USER_NOTIF), RET(SECCOMP_RET_ALLOW))); \
			CHECK(fcntl(l_, F_GETFD) == FD_CLOEXEC);               \
			send_fd(s_[1], l_);                                    \
			close(l_), close(s_[0]), close(s_[1]);                 \
			body;                                                  \
			_exit(0);                                              \
		}                                                              \
		listener = receive_fd(s_[0]);                                  \
		close(s_[0]), close(s_[1]);                                    \
		k_;                                                            \
	})

static struct seccomp_notif received(void) {
	struct seccomp_notif n = { 0 };
	OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n));
	return n;
}

static int reply(__u64 id, long val, int error, unsigned flags) {
	struct seccomp_notif_resp r = { .id = id, .val = val, .error = error, .flags = flags };
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
}

static int events(void) {
	struct pollfd p = { listener, POLLIN | POLLOUT, 0 };
	OK(poll(&p, 1, 0));
	return p.revents;
}

TEST(supervisor_answers) {
	pid_t k = SUPERVISED(SYS_mkdir, 0, {
		EQUAL(mkdir("some", 0123), 77);
		FAILS(mkdir("other", 0), EXFULL);
		OK(mkdir("real", 0777));
		EQUAL(syscall(SYS_mkdir, 0, 0), -1000000);
	});
	struct pollfd p = { listener, POLLIN, 0 };
	EQUAL(OK(poll(&p, 1, -1)), 1);
	EQUAL(p.revents, POLLIN);
	struct seccomp_notif n = received();
	EQUAL(n.pid, k);
	EQUAL(n.flags, 0);
	EQUAL(n.data.nr, SYS_mkdir);
	EQUAL(n.data.arch, AUDIT_ARCH_X86_64);
	EQUAL(n.data.args[1], 0123);
	CHECK(n.data.instruction_pointer);
	EQUAL(events(), POLLOUT);
	OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id));
	__u64 wrong = n.id + 5;
	FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &wrong), ENOENT);
	FAILS(reply(wrong, 1, 0, 0), ENOENT);
	FAILS(reply(n.id, 1, 0, 8), EINVAL);
	FAILS(reply(n.id, 1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), EINVAL);
	FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, NULL), EFAULT);
	FAILS(ioctl(listener, FIONREAD, &wrong), EINVAL);
	OK(reply(n.id, 77, 0, 0));
	n = received();
	OK(reply(n.id, 0, -EXFULL, 0));
	n = received();
	OK(reply(n.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
	n = received();
	OK(reply(n.id, -1000000, 0, 0));
	EQUAL(status(k), 0);
	OK(access("real", F_OK));
	FAILS(access("some", F_OK), ENOENT);
	EQUAL(events(), POLLHUP);
	/* Older kernels wait for ever here. */
	struct utsname u;
	int major = 0, minor = 0;
	OK(uname(&u));
	sscanf(u.release, "%d.%d", &major, &minor);
	if (major * 1000 + minor >= 6011) {
		struct seccomp_notif last = { 0 };
		FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &last), ENOENT);
	}
}

TEST(notification_must_be_zero) {
	pid_t k = SUPERVISED(SYS_getppid, 0, getppid());
	struct seccomp_notif n = { .pid = 1 };
	FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n), EINVAL);
	FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, NULL), EFAULT);
	n = received();
	OK(reply(n.id, 1, 0, 0));
	EQUAL(status(k), 0);
}

TEST(supervisor_gives_descriptors) {
	pid_t k = SUPERVISED(SYS_mkdir, 0, {
		char c;
		int fd = OK(mkdir("x", 0));
		EQUAL(read(fd, &c, 1), 1);
		EQUAL(c, 'a');
		EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
		EQUAL(read(201, &c, 1), 1);
		EQUAL(c, 'b');
		EQUAL(fcntl(201, F_GETFD), 0);
	});
	int p[2];
	OK(pipe(p));
	OK(write(p[1], "ab", 2));
	struct seccomp_notif n = received();
	struct seccomp_notif_addfd a = { .id = n.id, .flags = SECCOMP_ADDFD_FLAG_SETFD, .srcfd = p[0], .newfd = 201 };
	EQUAL(OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a)), 201);
	a.flags = 0;
	FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a), EINVAL);
	a.newfd = 0, a.flags = 1 << 7;
	FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a), EINVAL);
	a.flags = 0, a.newfd_flags = O_APPEND;
	FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a), EINVAL);
	a.newfd_flags = O_CLOEXEC, a.srcfd = 999;
	FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a), EBADF);
	a.srcfd = p[0], a.id++;
	FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a), ENOENT);
	a.id = n.id, a.newfd = 1 << 30, a.flags = SECCOMP_ADDFD_FLAG_SETFD;
	FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a), EBADF);
	a.newfd = 0, a.flags = SECCOMP_ADDFD_FLAG_SEND;
	CHECK(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a) >= 0);
	int s = status(k);
	EQUAL(s, 0);
}

static void on_signal(int sig) {}

TEST(signals_interrupt_supervised_calls) {
	pid_t k = SUPERVISED(SYS_getppid, 0, {
		struct sigaction sa = { .sa_handler = on_signal };
		OK(sigaction(SIGUSR1, &sa, NULL));
		sa.sa_flags = SA_RESTART;
		OK(sigaction(SIGUSR2, &sa, NULL));
		FAILS(syscall(SYS_getppid), EINTR);
		EQUAL(syscall(SYS_getppid), 5);
	});
	struct seccomp_notif n = received();
	OK(kill(k, SIGUSR1));
	struct seccomp_notif again = received();
	CHECK(again.id != n.id);
	FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id), ENOENT);
	FAILS(reply(n.id, 4, 0, 0), ENOENT);
	/* With SA_RESTART it is made again, and comes again. */
	OK(kill(k, SIGUSR2));
	n = received();
	CHECK(again.id != n.id);
	OK(reply(n.id, 5, 0, 0));
	EQUAL(status(k), 0);
}

TEST(killable_calls_are_not_interrupted) {
	struct sock_filter f[] = { RET(SECCOMP_RET_ALLOW) };
	pid_t probe = OK(fork());
	if (!probe)
		_exit(filter_flags(SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, f, 1) < 0);
	if (status(probe))
		SKIP("this kernel has no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV");
	pid_t k = SUPERVISED(SYS_getppid, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, {
		struct sigaction sa = { .sa_handler = on_signal };
		OK(sigaction(SIGUSR1, &sa, NULL));
		EQUAL(syscall(SYS_getppid), 6);
		getppid();
	});
	struct seccomp_notif n = received();
	OK(kill(k, SIGUSR1));
	usleep(20000);
	OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id));
	OK(reply(n.id, 6, 0, 0));
	received();
	OK(kill(k, SIGKILL));
	EQUAL(status(k), SIGKILL);
}

TEST(calls_fail_without_a_supervisor) {
	pid_t k = SUPERVISED(SYS_getppid, 0, {
		FAILS(syscall(SYS_getppid), ENOSYS);
		FAILS(syscall(SYS_getppid), ENOSYS);
	});
	received();
	OK(close(listener));
	EQUAL(status(k), 0);
}

TEST(one_listener_only) {
	struct sock_filter f[] = { RET(SECCOMP_RET_ALLOW) };
	OK(filter_flags(SECCOMP_FILTER_FLAG_NEW_LISTENER, f, 1));
	FAILS(filter_flags(SECCOMP_FILTER_FLAG_NEW_LISTENER, f, 1), EBUSY);
	OK(filter_flags(0, f, 1));
	FAILS(filter_flags(SECCOMP_FILTER_FLAG_NEW_LISTENER, f, 1), EBUSY);
}

TEST(blocked_calls_go_on_after_a_filter) {
	/* A call that waits when its thread is filtered is not filtered. */
	OK(pipe(other.ask));
	OK(pipe(other.tell));
	EQUAL(pthread_create(&other.id, NULL, other_run, NULL), 0);
	long tid = told();
	await_sleep(tid);
	struct sock_filter f[] = { NUMBER, IF(SYS_read, SECCOMP_RET_ERRNO | 44), RET(SECCOMP_RET_ALLOW) };
	EQUAL(filter_flags(SECCOMP_FILTER_FLAG_TSYNC, f, ARRAY(f)), 0);
	OK(write(other.ask[1], "x", 1));
	EQUAL(pthread_join(other.id, NULL), 0);
	FAILS(read(other.tell[0], f, 8), 44);
}
