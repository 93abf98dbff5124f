/* User, PID, UTS, IPC, network and other namespaces: clone, unshare, setns,
 * the files in /proc/PID/ns and the maps of IDs. Whatever is changed is changed
 * in namespaces of the test's own. */
#include "guest.h"
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#define NS_GET_USERNS _IO(0xb7, 1)
#define NS_GET_PARENT _IO(0xb7, 2)
#define NS_GET_NSTYPE _IO(0xb7, 3)
#define NS_GET_OWNER_UID _IO(0xb7, 4)

static uid_t uid;
static gid_t gid;

/* need_user_namespaces ends the test where the host allows none. */
static void need_user_namespaces(void) {
	uid = geteuid();
	gid = getegid();
	int s = IN_CHILD({
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID))
			_exit(1);
	});
	if (s)
		SKIP("the host allows no user namespaces");
}

/* put writes a string to a file and returns 0, or -1 with errno. */
static int put(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, text, strlen(text));
	int e = errno;
	close(fd);
	errno = e;
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

static void get(const char *path, char *buf, size_t size) {
	int fd = OK(open(path, O_RDONLY | O_CLOEXEC));
	ssize_t n = OK(read(fd, buf, size - 1));
	buf[n] = 0;
	close(fd);
}

/* map_self makes this process root of its new user namespace. */
static void map_self(void) {
	char line[64];
	OK(put("/proc/self/setgroups", "deny"));
	snprintf(line, sizeof line, "0 %d 1\n", (int)uid);
	OK(put("/proc/self/uid_map", line));
	snprintf(line, sizeof line, "0 %d 1\n", (int)gid);
	OK(put("/proc/self/gid_map", line));
}

static void enter(int flags) {
	OK(unshare(CLONE_NEWUSER | flags));
	map_self();
}

static pid_t clone_flags(int flags) { return syscall(SYS_clone, (long)(flags | SIGCHLD), 0L, 0L, 0L, 0L); }

TEST(user_ids) {
	need_user_namespaces();
	int fd = OK(open("mine", O_CREAT | O_RDWR, 0600));
	EXITED_OK(IN_CHILD({
		struct stat st;
		char map[200];
		OK(unshare(CLONE_NEWUSER));
		EQUAL(getuid(), 65534);
		EQUAL(getgid(), 65534);
		OK(fstat(fd, &st));
		EQUAL(st.st_uid, 65534);
		get("/proc/self/uid_map", map, sizeof map);
		EQUAL(strlen(map), 0);
		map_self();
		EQUAL(getuid(), 0);
		EQUAL(getegid(), 0);
		OK(fstat(fd, &st));
		EQUAL(st.st_uid, 0);
		EQUAL(st.st_gid, 0);
		get("/proc/self/uid_map", map, sizeof map);
		unsigned a, b, c;
		EQUAL(sscanf(map, "%u %u %u", &a, &b, &c), 3);
		EQUAL(a, 0);
		EQUAL(b, uid);
		EQUAL(c, 1);
		/* a map is written once */
		FAILS(put("/proc/self/uid_map", "0 0 1\n"), EPERM);
		FAILS(setuid(1), EINVAL);
		FAILS(syscall(SYS_setgroups, 0, NULL), EPERM);
	}));
	struct stat st;
	OK(fstat(fd, &st));
	EQUAL(st.st_uid, uid);
}

TEST(user_maps_refused) {
	need_user_namespaces();
	static const char *const bad[] = { "", "0\n", "0 0\n", "0 0 1 1\n", "x 0 1\n", "0 0 0\n", "0 0 1\n0 5 1\n", "0 0 1\n\n", "4294967295 0 1\n", "5 0 4294967295\n", NULL };
	for (int i = 0; bad[i]; i++)
		EXITED_OK(IN_CHILD({
			OK(unshare(CLONE_NEWUSER));
			if (bad[i][0] == 0) /* writes nothing */
				_exit(0);
			if (put("/proc/self/uid_map", bad[i]) == 0 || errno != EINVAL)
				guest_fail(__FILE__, __LINE__, "map %d: %s", i, strerror(errno));
		}));
	EXITED_OK(IN_CHILD({
		char line[64];
		OK(unshare(CLONE_NEWUSER));
		/* more than one's own ID needs privileges in the parent */
		snprintf(line, sizeof line, "0 %d 2\n", (int)uid);
		FAILS(put("/proc/self/uid_map", line), EPERM);
		snprintf(line, sizeof line, "0 %d 1\n", (int)uid + 1);
		FAILS(put("/proc/self/uid_map", line), EPERM);
		/* groups only once setgroups is denied */
		snprintf(line, sizeof line, "0 %d 1\n", (int)gid);
		FAILS(put("/proc/self/gid_map", line), EPERM);
		OK(put("/proc/self/setgroups", "deny"));
		FAILS(put("/proc/self/setgroups", "allow"), EPERM);
		OK(put("/proc/self/gid_map", line));
	}));
}

TEST(user_map_by_parent) {
	need_user_namespaces();
	if (uid != 0)
		SKIP("only root may map more than its own ID");
	int p[2], q[2];
	char c;
	OK(pipe(p));
	OK(pipe(q));
	pid_t k = OK(fork());
	if (k == 0) {
		OK(unshare(CLONE_NEWUSER));
		OK(write(p[1], "x", 1));
		EQUAL(read(q[0], &c, 1), 1);
		EQUAL(getuid(), 10);
		/* the second range */
		OK(setresgid(7, 7, 7));
		OK(setresuid(100, 100, 100));
		EQUAL(getuid(), 100);
		_exit(0);
	}
	EQUAL(read(p[0], &c, 1), 1);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/uid_map", (int)k);
	if (put(path, "10 0 1\n100 2000 50\n") != 0 && errno == EPERM)
		SKIP("this root has not all IDs");
	snprintf(path, sizeof path, "/proc/%d/gid_map", (int)k);
	OK(put(path, "0 0 50\n"));
	OK(write(q[1], "x", 1));
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
}

TEST(user_capabilities) {
	need_user_namespaces();
	EXITED_OK(IN_CHILD({
		int initial = OK(open("/proc/self/ns/uts", O_RDONLY));
		OK(close(OK(open("f", O_CREAT | O_RDWR, 0600))));
		enter(0);
		/* all of them, and none over what belongs to the parent */
		OK(prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN));
		FAILS(sethostname("x", 1), EPERM);
		FAILS(setns(initial, 0), EPERM);
		FAILS(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), EPERM);
		FAILS(mknod("null", S_IFCHR | 0666, 1 << 8 | 3), EPERM);
		FAILS(chown("f", 1, 0), EINVAL);
		OK(chown("f", 0, 0));
		OK(unshare(CLONE_NEWUTS));
		char name[65];
		OK(sethostname("inside", 6));
		OK(gethostname(name, sizeof name));
		CHECK(!strcmp(name, "inside"));
		OK(unshare(CLONE_NEWNS));
		OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
		OK(mount("tmpfs", "/tmp", "tmpfs", 0, "mode=700"));
		FAILS(mknod("/tmp/null", S_IFCHR | 0666, 1 << 8 | 3), EPERM);
		struct stat st;
		OK(stat("/tmp", &st));
		EQUAL(st.st_uid, 0);
	}));
}

TEST(user_nesting) {
	need_user_namespaces();
	EXITED_OK(IN_CHILD({
		int depth = 0;
		for (; depth < 40; depth++) {
			if (unshare(CLONE_NEWUSER)) {
				CHECK(errno == ENOSPC || errno == EUSERS);
				break;
			}
			map_self();
			uid = gid = 0;
		}
		CHECK(depth > 0 && depth <= 33);
	}));
}

TEST(user_unprivileged_again) {
	need_user_namespaces();
	if (uid != 0)
		SKIP("only root can become another user");
	OK(chmod(".", 0777));
	EXITED_OK(IN_CHILD({
		OK(setresgid(1234, 1234, 1234));
		OK(setresuid(1234, 1234, 1234));
		OK(prctl(PR_SET_DUMPABLE, 1));
		uid = gid = 1234;
		if (unshare(CLONE_NEWUSER)) {
			printf("    unprivileged users may make none\n");
			_exit(0);
		}
		map_self();
		EQUAL(getuid(), 0);
		OK(close(OK(open("theirs", O_CREAT | O_RDWR, 0600))));
		struct stat st;
		OK(stat("/", &st));
		EQUAL(st.st_uid, 65534);
		/* root here has no power over root's files */
		FAILS(open("/etc/shadow-of-nobody", O_CREAT | O_RDWR, 0600), EACCES);
		FAILS(chown("/", 0, 0), EPERM);
		FAILS(kill(1, 0), EPERM);
	}));
	struct stat st;
	if (stat("theirs", &st) == 0)
		EQUAL(st.st_uid, 1234);
}

static int status_field(const char *field, int *numbers, int most) {
	char buf[8192];
	get("/proc/self/status", buf, sizeof buf);
	char *at = strstr(buf, field);
	CHECK(at);
	int n = 0;
	for (at += strlen(field); n < most; n++) {
		int used = 0;
		if (*at == '\n' || sscanf(at, "%d%n", &numbers[n], &used) != 1)
			break;
		at += used;
		while (*at == '\t' || *at == ' ')
			at++;
		if (*at == '\n') {
			n++;
			break;
		}
	}
	return n;
}

TEST(pid_numbers) {
	need_user_namespaces();
	int p[2];
	OK(pipe(p));
	pid_t k = OK(clone_flags(CLONE_NEWUSER | CLONE_NEWPID));
	if (k == 0) {
		int n[2];
		pid_t self = syscall(SYS_getpid);
		EQUAL(self, 1);
		EQUAL(syscall(SYS_gettid), 1);
		EQUAL(getppid(), 0);
		EQUAL(getpgrp(), 0);
		EQUAL(getsid(0), 0);
		EQUAL(status_field("NSpid:\t", n, 2), 2);
		EQUAL(n[1], 1);
		OK(write(p[1], &n[0], sizeof n[0]));
		pid_t c = OK(fork());
		if (c == 0) {
			EQUAL(syscall(SYS_getpid), 2);
			EQUAL(getppid(), 1);
			EQUAL(setsid(), 2);
			EQUAL(getpgrp(), 2);
			_exit(3);
		}
		EQUAL(c, 2);
		int s;
		EQUAL(waitpid(-1, &s, 0), 2);
		EQUAL(WEXITSTATUS(s), 3);
		FAILS(kill(3, 0), ESRCH);
		_exit(0);
	}
	int outer = 0, s;
	EQUAL(read(p[0], &outer, sizeof outer), sizeof outer);
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
	EQUAL(outer, k);
}

static volatile pid_t sender = -1;
static volatile uid_t sender_uid = 12345;
static void note_sender(int sig, siginfo_t *i, void *u) {
	sender_uid = i->si_uid;
	sender = i->si_pid;
}

TEST(pid_signals) {
	need_user_namespaces();
	int p[2], q[2];
	char c;
	OK(pipe(p));
	OK(pipe(q));
	pid_t k = OK(clone_flags(CLONE_NEWUSER | CLONE_NEWPID));
	if (k == 0) {
		struct sigaction sa = { .sa_sigaction = note_sender, .sa_flags = SA_SIGINFO };
		/* nothing from inside harms the first process */
		pid_t in = OK(fork());
		if (in == 0) {
			OK(kill(1, SIGKILL));
			OK(kill(1, SIGTERM));
			OK(kill(1, SIGSTOP));
			_exit(0);
		}
		int s;
		EQUAL(waitpid(in, &s, 0), in);
		EXITED_OK(s);
		OK(sigaction(SIGUSR1, &sa, NULL));
		OK(write(p[1], "r", 1));
		while (sender == -1) {
			struct pollfd f = { q[0], POLLIN, 0 };
			poll(&f, 1, 100);
		}
		/* who is outside has no number here */
		EQUAL(sender, 0);
		OK(write(p[1], "s", 1));
		for (;;)
			pause();
	}
	EQUAL(read(p[0], &c, 1), 1);
	/* from outside a signal without a handler is ignored too */
	OK(kill(k, SIGTERM));
	OK(kill(k, SIGUSR1));
	EQUAL(read(p[0], &c, 1), 1);
	OK(kill(k, SIGKILL));
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	CHECK(WIFSIGNALED(s));
	EQUAL(WTERMSIG(s), SIGKILL);
}

TEST(pid_init_ends_all) {
	need_user_namespaces();
	int p[2];
	char c;
	OK(pipe(p));
	pid_t k = OK(clone_flags(CLONE_NEWUSER | CLONE_NEWPID));
	if (k == 0) {
		close(p[0]);
		for (int i = 0; i < 3; i++)
			if (OK(fork()) == 0) {
				if (i == 1) {
					/* an orphan, and its end is the first process's to see */
					if (OK(fork()) == 0) {
						while (getppid() != 1)
							sleep_ms(1);
						OK(write(p[1], "o", 1));
						for (;;)
							pause();
					}
					_exit(0);
				}
				if (i == 2)
					setsid();
				for (;;)
					pause();
			}
		int s;
		OK(waitpid(3, &s, 0));
		OK(write(p[1], "g", 1));
		for (;;)
			pause();
	}
	close(p[1]);
	EQUAL(read(p[0], &c, 1), 1);
	EQUAL(read(p[0], &c, 1), 1);
	OK(kill(k, SIGKILL));
	/* all that held the pipe are gone */
	EQUAL(read(p[0], &c, 1), 0);
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EQUAL(WTERMSIG(s), SIGKILL);
}

static void *end_process(void *arg) {
	sleep_ms(1);
	syscall(SYS_exit_group, 7);
	return NULL;
}

static void *wait_forever(void *arg) {
	for (;;)
		pause();
	return NULL;
}

TEST(pid_init_with_threads) {
	need_user_namespaces();
	for (int i = 0; i < 20; i++) {
		pid_t k = OK(clone_flags(CLONE_NEWUSER | CLONE_NEWPID));
		if (k == 0) {
			pthread_t t;
			if (OK(fork()) == 0)
				wait_forever(NULL);
			for (int j = 0; j < 4; j++)
				CHECK(!pthread_create(&t, NULL, j == i % 4 ? end_process : wait_forever, NULL));
			/* the first thread may end before the others */
			if (i % 2)
				syscall(SYS_exit, 0);
			wait_forever(NULL);
		}
		int s;
		EQUAL(waitpid(k, &s, 0), k);
		CHECK(WIFEXITED(s));
		EQUAL(WEXITSTATUS(s), 7);
	}
}

TEST(pid_for_children) {
	need_user_namespaces();
	EXITED_OK(IN_CHILD({
		pid_t self = getpid();
		enter(CLONE_NEWPID);
		EQUAL(syscall(SYS_getpid), self);
		/* nobody is in it yet */
		FAILS(open("/proc/self/ns/pid_for_children", O_RDONLY), ENOENT);
		FAILS(syscall(SYS_clone, (long)(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD), 0L, 0L, 0L, 0L), EINVAL);
		FAILS(unshare(CLONE_NEWPID), EINVAL);
		int p[2];
		OK(pipe(p));
		pid_t a = OK(fork());
		if (a == 0) {
			char c;
			EQUAL(syscall(SYS_getpid), 1);
			close(p[1]);
			read(p[0], &c, 1);
			_exit(0);
		}
		CHECK(a > 1);
		OK(close(OK(open("/proc/self/ns/pid_for_children", O_RDONLY))));
		pid_t b = OK(fork());
		if (b == 0) {
			EQUAL(syscall(SYS_getpid), 2);
			EQUAL(getppid(), 0);
			_exit(0);
		}
		int s;
		EQUAL(waitpid(b, &s, 0), b);
		EXITED_OK(s);
		close(p[1]);
		EQUAL(waitpid(a, &s, 0), a);
		EXITED_OK(s);
		/* without its first process nothing can be made in it */
		FAILS(fork(), ENOMEM);
	}));
}

TEST(pid_nested) {
	need_user_namespaces();
	EXITED_OK(IN_CHILD({
		enter(CLONE_NEWPID);
		EXITED_OK(IN_CHILD({
			OK(unshare(CLONE_NEWPID));
			pid_t in = OK(fork());
			if (in == 0) {
				EQUAL(syscall(SYS_getpid), 1);
				_exit(0);
			}
			EQUAL(in, 2);
			int s;
			EQUAL(waitpid(2, &s, 0), 2);
			EXITED_OK(s);
		}));
	}));
}

TEST(pid_proc) {
	need_user_namespaces();
	EXITED_OK(IN_CHILD({
		enter(CLONE_NEWPID | CLONE_NEWNS);
		int p[2];
		OK(pipe(p));
		EXITED_OK(IN_CHILD({
			char link[32];
			OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
			OK(mkdir("proc", 0755));
			if (mount("proc", "proc", "proc", 0, NULL)) {
				EQUAL(errno, EPERM);
				printf("    part of this host's /proc is covered\n");
				_exit(0);
			}
			ssize_t n = OK(readlink("proc/self", link, sizeof link - 1));
			link[n] = 0;
			CHECK(!strcmp(link, "1"));
			OK(access("proc/1/status", F_OK));
			char one[40];
			/* what is outside is not there */
			snprintf(one, sizeof one, "proc/%d", 2);
			FAILS(access(one, F_OK), ENOENT);
		}));
	}));
}

TEST(credentials_across) {
	need_user_namespaces();
	int sv[2], on = 1;
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv));
	OK(setsockopt(sv[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	int p[2];
	OK(pipe(p));
	pid_t k = OK(clone_flags(CLONE_NEWUSER | CLONE_NEWPID));
	if (k == 0) {
		char c;
		EQUAL(read(p[0], &c, 1), 1);
		map_self();
		EQUAL(getuid(), 0);
		OK(send(sv[1], "x", 1, 0));
		EQUAL(read(p[0], &c, 1), 1);
		_exit(0);
	}
	OK(write(p[1], "g", 1));
	char buf[8];
	union { char b[CMSG_SPACE(sizeof(struct ucred))]; struct cmsghdr h; } ctl;
	struct iovec v = { buf, sizeof buf };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &ctl, .msg_controllen = sizeof ctl };
	EQUAL(recvmsg(sv[0], &m, 0), 1);
	struct ucred u;
	CHECK(CMSG_FIRSTHDR(&m));
	memcpy(&u, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof u);
	EQUAL(u.pid, k);
	EQUAL(u.uid, uid);
	EQUAL(u.gid, gid);
	OK(write(p[1], "g", 1));
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
}

TEST(ipc_namespace) {
	need_user_namespaces();
	key_t key = 0x434f4646;
	EXITED_OK(IN_CHILD({
		enter(CLONE_NEWIPC);
		int q = OK(msgget(key, IPC_CREAT | IPC_EXCL | 0600));
		OK(msgget(key, 0));
		struct msqid_ds ds;
		OK(msgctl(q, IPC_STAT, &ds));
		EQUAL(ds.msg_perm.uid, 0);
		OK(unshare(CLONE_NEWIPC));
		FAILS(msgget(key, 0), ENOENT);
	}));
	FAILS(msgget(key, 0), ENOENT);
}

TEST(net_namespace_abstract_names) {
	need_user_namespaces();
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "guest-%d", (int)getpid());
	socklen_t len = sizeof a;
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(l, (struct sockaddr *)&a, len));
	OK(listen(l, 1));
	struct sockaddr_un f = { .sun_family = AF_UNIX, .sun_path = "sock" };
	int byname = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(byname, (struct sockaddr *)&f, sizeof f));
	OK(listen(byname, 1));
	EXITED_OK(IN_CHILD({
		int before = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		enter(CLONE_NEWNET);
		int c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		FAILS(connect(c, (struct sockaddr *)&a, len), ECONNREFUSED);
		/* the name is free here; paths lead everywhere */
		int m = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		OK(bind(m, (struct sockaddr *)&a, len));
		OK(connect(c, (struct sockaddr *)&f, sizeof f));
		/* a socket stays where it was made */
		OK(connect(before, (struct sockaddr *)&a, len));
	}));
}

static unsigned long long ns_ino(const char *name) {
	char path[64];
	struct stat st;
	snprintf(path, sizeof path, "/proc/self/ns/%s", name);
	OK(stat(path, &st));
	return st.st_ino;
}

TEST(setns_and_nsfs) {
	need_user_namespaces();
	EXITED_OK(IN_CHILD({
		struct stat a, b;
		char link[64], want[64];
		unsigned long long first = ns_ino("uts");
		snprintf(want, sizeof want, "uts:[%llu]", first);
		ssize_t n = OK(readlink("/proc/self/ns/uts", link, sizeof link - 1));
		link[n] = 0;
		CHECK(!strcmp(link, want));
		int user = OK(open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC));
		enter(CLONE_NEWUTS);
		unsigned long long second = ns_ino("uts");
		CHECK(first != second);
		int mine = OK(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));
		OK(fstat(mine, &a));
		EQUAL(a.st_ino, second);
		OK(unshare(CLONE_NEWUTS));
		OK(sethostname("third", 5));
		CHECK(ns_ino("uts") != second);
		FAILS(setns(mine, CLONE_NEWNET), EINVAL);
		FAILS(setns(0, 0), EINVAL);
		FAILS(setns(-1, 0), EBADF);
		OK(setns(mine, CLONE_NEWUTS));
		EQUAL(ns_ino("uts"), second);
		EQUAL(ioctl(mine, NS_GET_NSTYPE), CLONE_NEWUTS);
		int owner = OK(ioctl(mine, NS_GET_USERNS));
		int self = OK(open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC));
		OK(fstat(owner, &a));
		OK(fstat(self, &b));
		EQUAL(a.st_ino, b.st_ino);
		EQUAL(a.st_dev, b.st_dev);
		uid_t u = 99;
		OK(ioctl(self, NS_GET_OWNER_UID, &u));
		EQUAL(u, 0);
		FAILS(ioctl(self, NS_GET_PARENT), EPERM);
		FAILS(ioctl(mine, NS_GET_PARENT), EINVAL);
		FAILS(setns(self, 0), EINVAL);
		FAILS(setns(user, 0), EPERM);
	}));
}

TEST(setns_of_a_process) {
	need_user_namespaces();
	int p[2], q[2];
	char c;
	OK(pipe(p));
	OK(pipe(q));
	pid_t k = OK(fork());
	if (k == 0) {
		enter(CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNET);
		OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
		OK(mkdir("here", 0755));
		OK(mount("tmpfs", "here", "tmpfs", 0, NULL));
		OK(close(OK(open("here/inside", O_CREAT | O_RDWR, 0600))));
		OK(sethostname("target", 6));
		OK(write(p[1], "r", 1));
		read(q[0], &c, 1);
		_exit(0);
	}
	EQUAL(read(p[0], &c, 1), 1);
	char dir[256];
	CHECK(getcwd(dir, sizeof dir));
	EXITED_OK(IN_CHILD({
		int fd = OK(syscall(SYS_pidfd_open, k, 0));
		FAILS(setns(fd, 0), EINVAL);
		OK(setns(fd, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET));
		char name[65];
		OK(gethostname(name, sizeof name));
		CHECK(!strcmp(name, "target"));
		EQUAL(getuid(), 0);
		/* its root is the working directory now */
		char cwd[256];
		CHECK(getcwd(cwd, sizeof cwd));
		CHECK(!strcmp(cwd, "/"));
		OK(chdir(dir));
		OK(access("here/inside", F_OK));
	}));
	FAILS(access("here/inside", F_OK), ENOENT);
	OK(write(q[1], "x", 1));
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
}

/* clone3_tid makes a child with numbers of the caller's choice. */
static pid_t clone3_tid(unsigned long long flags, pid_t *tids, size_t n) {
	struct clone_args a = { .flags = flags, .exit_signal = SIGCHLD, .set_tid = (uintptr_t)tids, .set_tid_size = n };
	return syscall(SYS_clone3, &a, sizeof a);
}

TEST(pid_chosen) {
	need_user_namespaces();
	pid_t outer = OK(clone_flags(CLONE_NEWUSER | CLONE_NEWPID));
	if (outer == 0) {
		map_self();
		pid_t tids[2] = { 1234, 0 };
		pid_t k = OK(clone3_tid(0, tids, 1));
		if (k == 0)
			_exit(syscall(SYS_getpid) == 1234 ? 0 : 1);
		EQUAL(k, 1234);
		FAILS(clone3_tid(0, tids, 1), EEXIST); /* a zombie has its number still */
		int s;
		EQUAL(waitpid(k, &s, 0), k);
		EXITED_OK(s);
		/* The numbers that are not chosen go on where they were. */
		k = OK(fork());
		if (k == 0)
			_exit(0);
		EQUAL(k, 2);
		EQUAL(waitpid(k, &s, 0), k);
		FAILS(clone3_tid(0, (pid_t[]){ 1 }, 1), EEXIST);
		FAILS(clone3_tid(0, (pid_t[]){ 0 }, 1), EINVAL);
		FAILS(clone3_tid(0, (pid_t[]){ -7 }, 1), EINVAL);
		FAILS(clone3_tid(0, (pid_t[]){ 1 << 30 }, 1), EINVAL);
		FAILS(clone3_tid(0, tids, 0), EINVAL);
		FAILS(clone3_tid(0, NULL, 1), EINVAL);
		FAILS(clone3_tid(0, (pid_t *)8, 1), EFAULT);
		FAILS(clone3_tid(0, tids, 33), EINVAL);
		/* In two namespaces at once, the innermost first; its first process is 1. */
		tids[0] = 7, tids[1] = 4321;
		FAILS(clone3_tid(CLONE_NEWPID, tids, 2), EINVAL);
		tids[0] = 1;
		k = OK(clone3_tid(CLONE_NEWPID, tids, 2));
		if (k == 0)
			_exit(syscall(SYS_getpid) == 1 ? 0 : 1);
		EQUAL(k, 4321);
		EQUAL(waitpid(k, &s, 0), k);
		EXITED_OK(s);
		/* Not without the right to. */
		EXITED_OK(IN_CHILD({
			OK(unshare(CLONE_NEWUSER));
			FAILS(clone3_tid(0, (pid_t[]){ 999 }, 1), EPERM);
		}));
		_exit(0);
	}
	int s;
	EQUAL(waitpid(outer, &s, 0), outer);
	EXITED_OK(s);
}

#define DAY 86400LL
static long long seconds(int clock) {
	struct timespec t;
	OK(clock_gettime(clock, &t));
	return t.tv_sec;
}
static long long seconds_by_call(int clock) {
	struct timespec t;
	OK(syscall(SYS_clock_gettime, clock, &t));
	return t.tv_sec;
}

/* clocks_are checks that monotonic clocks and those since boot are ahead of what
 * they showed, by so many days and less than an hour. */
static void clocks_are(long long monotonic, int days, long long boot, int boot_days) {
	CHECK(seconds(CLOCK_MONOTONIC) - monotonic - days * DAY < 3600ul);
	CHECK(seconds_by_call(CLOCK_MONOTONIC) - monotonic - days * DAY < 3600ul);
	CHECK(seconds(CLOCK_MONOTONIC_COARSE) - monotonic - days * DAY + 1 < 3600ul);
	CHECK(seconds(CLOCK_BOOTTIME) - boot - boot_days * DAY < 3600ul);
	CHECK(seconds_by_call(CLOCK_BOOTTIME) - boot - boot_days * DAY < 3600ul);
	CHECK(llabs(seconds(CLOCK_REALTIME) - time(NULL)) < 3600);
}

TEST(time_offsets) {
	need_user_namespaces();
	if (IN_CHILD(_exit(unshare(CLONE_NEWUSER | CLONE_NEWTIME) ? 1 : 0)))
		SKIP("the host has no time namespaces");
	EXITED_OK(IN_CHILD({
		char text[200];
		const char *file = "/proc/self/timens_offsets";
		FAILS(put(file, "monotonic 1 0"), over_host() ? EACCES : EPERM);
		enter(CLONE_NEWTIME);
		get(file, text, sizeof text);
		CHECK(!strcmp(text, "monotonic           0         0\nboottime            0         0\n"));
		FAILS(put(file, "realtime 1 0\n"), EINVAL);
		FAILS(put(file, "monotonic 1\n"), EINVAL);
		FAILS(put(file, "monotonic 1 1000000000\n"), EINVAL);
		FAILS(put(file, "monotonic 1 -1\n"), EINVAL);
		FAILS(put(file, "monotonic -999999999 0\n"), ERANGE);
		FAILS(put(file, "boottime 9000000000 0\n"), ERANGE);
		FAILS(put(file, "boottime 999999999999 0\n"), ERANGE);
		OK(put(file, "1 86400 0\n"));
		OK(put(file, "boottime 604800 5\n"));
		get(file, text, sizeof text);
		CHECK(!strcmp(text, "monotonic       86400         0\nboottime       604800         5\n"));
		long long m = seconds(CLOCK_MONOTONIC);
		long long b = seconds(CLOCK_BOOTTIME);
		struct sysinfo before;
		OK(sysinfo(&before));
		clocks_are(m, 0, b, 0); /* only children are within */
		EXITED_OK(IN_CHILD({
			clocks_are(m, 1, b, 7);
			struct sysinfo now;
			OK(sysinfo(&now));
			CHECK(now.uptime - before.uptime - 7 * DAY < 3600ul);
			FAILS(put(file, "monotonic 1 0\n"), EACCES);
			/* What ends at a time of the clock knows what the clock shows. */
			struct timespec t;
			OK(clock_gettime(CLOCK_MONOTONIC, &t));
			t.tv_nsec = 0;
			EQUAL(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL), 0);
			int word = 0;
			FAILS(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, &t, NULL, 1), ETIMEDOUT);
			struct itimerspec i = { .it_value = t };
			int fd = OK(timerfd_create(CLOCK_MONOTONIC, 0));
			OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &i, NULL));
			uint64_t n;
			EQUAL(read(fd, &n, 8), 8);
			i.it_value.tv_sec += 1000;
			OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &i, NULL));
			OK(timerfd_gettime(fd, &i));
			CHECK(i.it_value.tv_sec <= 1000);
			timer_t id;
			struct sigevent quiet = { .sigev_notify = SIGEV_NONE };
			OK(timer_create(CLOCK_BOOTTIME, &quiet, &id));
			OK(clock_gettime(CLOCK_BOOTTIME, &i.it_value));
			i.it_value.tv_sec += 1000;
			OK(timer_settime(id, TIMER_ABSTIME, &i, NULL));
			OK(timer_gettime(id, &i));
			CHECK(i.it_value.tv_sec > 0 && i.it_value.tv_sec <= 1000);
			EXITED_OK(IN_CHILD(clocks_are(m, 1, b, 7)));
			/* Namespaces that are made here begin with the same offsets. */
			OK(unshare(CLONE_NEWTIME));
			get(file, text, sizeof text);
			CHECK(!strcmp(text, "monotonic       86400         0\nboottime       604800         5\n"));
			OK(put(file, "monotonic 172800 0\n"));
			EXITED_OK(IN_CHILD(clocks_are(m, 2, b, 7)));
		}));
		FAILS(put(file, "monotonic 1 0\n"), EACCES);
		/* A child that shares memory is within once it runs a program. */
		char *sh[] = { "sh", "-c", "read up rest </proc/uptime; test ${up%.*} -ge 604800", NULL };
		pid_t k = vfork();
		if (k == 0) {
			execv("/bin/sh", sh);
			_exit(99);
		}
		int s;
		EQUAL(waitpid(k, &s, 0), k);
		EXITED_OK(s);
		/* So is who enters by a file. */
		k = OK(fork());
		if (k == 0) {
			pause();
			_exit(1);
		}
		snprintf(text, sizeof text, "/proc/%d/ns/time", (int)k);
		int fd = OK(open(text, O_RDONLY));
		OK(setns(fd, CLONE_NEWTIME));
		clocks_are(m, 1, b, 7);
		kill(k, SIGKILL);
		waitpid(k, NULL, 0);
	}));
	/* clone3 makes one in any way. */
	EXITED_OK(IN_CHILD({
		enter(0);
		struct clone_args a = { .flags = CLONE_NEWTIME, .exit_signal = SIGCHLD };
		char here[64];
		char there[64];
		here[readlink("/proc/self/ns/time", here, sizeof here - 1)] = 0;
		pid_t k = OK(syscall(SYS_clone3, &a, sizeof a));
		if (k == 0) {
			there[readlink("/proc/self/ns/time", there, sizeof there - 1)] = 0;
			_exit(!strcmp(here, there));
		}
		int s;
		EQUAL(waitpid(k, &s, 0), k);
		EXITED_OK(s);
		a.exit_signal = 0;
		a.flags = 0x40;
		FAILS(syscall(SYS_clone3, &a, sizeof a), EINVAL);
	}));
}

TEST(flags_refused) {
	FAILS(unshare(0x1000), EINVAL);
	FAILS(clone_flags(CLONE_NEWUSER | CLONE_FS), EINVAL);
	FAILS(clone_flags(CLONE_NEWNS | CLONE_FS), EINVAL);
	FAILS(syscall(SYS_clone, (long)(CLONE_NEWPID | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM), 0L, 0L, 0L, 0L), EINVAL);
	need_user_namespaces();
	EXITED_OK(IN_CHILD({
		/* who has another root directory gets no user namespace */
		enter(0);
		OK(chroot("."));
		FAILS(unshare(CLONE_NEWUSER), EPERM);
	}));
}

TEST(many_namespaces) {
	need_user_namespaces();
	/* a bound, and everything comes back */
	EXITED_OK(IN_CHILD({
		enter(0);
		for (int i = 0; i < 200; i++)
			EXITED_OK(IN_CHILD({
				if (unshare(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWCGROUP))
					CHECK(errno == ENOSPC);
			}));
	}));
}
