/* exhaustion.c: what there can be only so much of. Each test uses up what is
 * its own or its user's, so none of them harms the machine that runs it. */
#include "guest.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* setting reads a number in /proc/sys. */
static long long setting(const char *path) {
	char s[32] = "";
	int fd = OK(open(path, O_RDONLY | O_CLOEXEC));
	OK(read(fd, s, sizeof s - 1));
	close(fd);
	return atoll(s);
}

static void limit(int resource, rlim_t most) {
	struct rlimit r = { most, most };
	OK(setrlimit(resource, &r));
}

/* be_nobody_else makes this process the only one of a user. */
static void be_nobody_else(void) {
	uid_t uid = nobodys_number();
	if (geteuid() != 0)
		SKIP("needs root, to become a user of which there is nothing");
	if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		SKIP("this user namespace does not have the numbers of other users");
}

TEST(inotify_instances) {
	long long most = setting("/proc/sys/fs/inotify/max_user_instances");
	struct rlimit r;
	OK(getrlimit(RLIMIT_NOFILE, &r));
	if (most + 10 > (long long)r.rlim_max)
		SKIP("more instances are allowed here than descriptors");
	r.rlim_cur = r.rlim_max;
	OK(setrlimit(RLIMIT_NOFILE, &r));
	be_nobody_else();
	int fd = -1;
	for (long long i = 0; i < most; i++)
		fd = OK(inotify_init1(IN_CLOEXEC));
	FAILS(inotify_init1(0), EMFILE);
	/* They are the user's, not the process's. */
	EXITED_OK(IN_CHILD(FAILS(inotify_init1(0), EMFILE)));
	close(fd);
	EXITED_OK(IN_CHILD(OK(inotify_init1(0))));
	OK(inotify_init1(0));
}

TEST(timers_count_as_signals) {
	timer_t t[9];
	be_nobody_else();
	limit(RLIMIT_SIGPENDING, 8);
	for (int i = 0; i < 8; i++)
		OK(timer_create(CLOCK_MONOTONIC, NULL, &t[i]));
	FAILS(timer_create(CLOCK_MONOTONIC, NULL, &t[8]), EAGAIN);
	/* Children have no timers, but the same user. */
	EXITED_OK(IN_CHILD(FAILS(timer_create(CLOCK_MONOTONIC, NULL, &t[8]), EAGAIN)));
	sigset_t rt;
	sigemptyset(&rt);
	sigaddset(&rt, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &rt, NULL);
	FAILS(sigqueue(getpid(), SIGRTMIN, (union sigval){ 0 }), EAGAIN);
	OK(timer_delete(t[3]));
	OK(sigqueue(getpid(), SIGRTMIN, (union sigval){ 0 }));
	FAILS(timer_create(CLOCK_MONOTONIC, NULL, &t[3]), EAGAIN);
	struct timespec none = { 0, 0 };
	EQUAL(sigtimedwait(&rt, NULL, &none), SIGRTMIN);
	/* What a process had is free once it has ended. */
	EXITED_OK(IN_CHILD(OK(timer_create(CLOCK_MONOTONIC, NULL, &t[3]))));
	OK(timer_create(CLOCK_MONOTONIC, NULL, &t[3]));
}

TEST(descriptors_of_a_process) {
	limit(RLIMIT_NOFILE, 20);
	int last = -1, fd, p[2];
	while ((fd = dup(0)) >= 0)
		last = fd;
	EQUAL(errno, EMFILE);
	EQUAL(last, 19);
	FAILS(open("/dev/null", O_RDONLY), EMFILE);
	FAILS(pipe(p), EMFILE);
	FAILS(epoll_create1(0), EMFILE);
	FAILS(fcntl(0, F_DUPFD, 20), EINVAL);
	FAILS(dup2(0, 20), EBADF);
	close(last);
	FAILS(socketpair(AF_UNIX, SOCK_STREAM, 0, p), EMFILE);
	EQUAL(open("/dev/null", O_RDONLY), last);
}

/* send_rights sends n descriptors of a file, and does not wait. */
static ssize_t send_rights(int sock, int fd, int n) {
	char control[CMSG_SPACE(254 * sizeof(int))] = "";
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (int i = 0; i < n; i++)
		((int *)CMSG_DATA(c))[i] = fd;
	return sendmsg(sock, &m, MSG_DONTWAIT);
}

TEST(descriptors_in_flight) {
	int p[2], q[2];
	char b;
	be_nobody_else();
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, q));
	limit(RLIMIT_NOFILE, 40);
	FAILS(send_rights(p[0], 0, 254), EINVAL);
	/* The last message may go beyond the limit. */
	for (int i = 0; i < 3; i++)
		EQUAL(send_rights(p[0], p[1], 20), 1);
	FAILS(send_rights(p[0], p[1], 1), ETOOMANYREFS);
	FAILS(send_rights(q[0], 0, 1), ETOOMANYREFS);
	EXITED_OK(IN_CHILD(FAILS(send_rights(q[0], 0, 1), ETOOMANYREFS)));
	/* What is read without room for its descriptors closes them. */
	EQUAL(read(p[1], &b, 1), 1);
	EQUAL(send_rights(q[0], 0, 1), 1);
	FAILS(send_rights(q[0], 0, 1), ETOOMANYREFS);
	/* Only its own queue refers to this socket then: it goes, and its rights,
	 * which is looked for when a socket is closed. */
	close(p[0]);
	close(p[1]);
	ssize_t sent;
	while ((sent = send_rights(q[0], 0, 1)) == -1) {
		EQUAL(errno, ETOOMANYREFS);
		close(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
		sleep_ms(1);
	}
	EQUAL(sent, 1);
}

/* Nothing in the kernel may take a directory's depth for granted. */
TEST(deep_directories) {
	enum { DEPTH = 20000 };
	static char path[PATH_MAX];
	for (int i = 0; i < DEPTH; i++) {
		OK(mkdir("d", 0755));
		OK(chdir("d"));
	}
	FAILS(syscall(SYS_getcwd, path, sizeof path), ENAMETOOLONG);
	EXITED_OK(IN_CHILD(OK(open(".", O_RDONLY | O_DIRECTORY))));
	OK(mkdir("e", 0755));
	OK(rename("e", "f"));
	OK(rmdir("f"));
	/* As far up as a path can lead at once: to a directory, which is an ancestor. */
	for (int i = 0; i < 1000; i++)
		strcat(path, "../");
	FAILS(rename(path, "x"), EBUSY);
	for (int i = 0; i < DEPTH; i++) {
		OK(chdir(".."));
		OK(rmdir("d"));
	}
}

TEST(vectors) {
	static struct iovec v[IOV_MAX + 1];
	char b[IOV_MAX] = "";
	int p[2];
	for (int i = 0; i <= IOV_MAX; i++)
		v[i] = (struct iovec){ b, 1 };
	OK(pipe(p));
	FAILS(writev(p[1], v, IOV_MAX + 1), EINVAL);
	EQUAL(writev(p[1], v, IOV_MAX), IOV_MAX);
	EQUAL(readv(p[0], v, IOV_MAX), IOV_MAX);
	FAILS(readv(p[0], v, -1), EINVAL);
	v[0].iov_len = SSIZE_MAX;
	FAILS(writev(p[1], v, 2), EFAULT);
	v[0].iov_len = (size_t)SSIZE_MAX + 1;
	FAILS(writev(p[1], v, 2), EINVAL);
	/* One call moves no more than 2 GiB less a page. */
	char *big = mmap(NULL, 3ul << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (big != MAP_FAILED) {
		v[0] = v[1] = (struct iovec){ big, 3ul << 30 };
		EQUAL(writev(OK(open("/dev/null", O_WRONLY)), v, 2), 0x7ffff000);
	}
}

TEST(sparse_files) {
	const off_t huge = (off_t)1 << 62;
	int fd = OK(memfd_create("sparse", 0));
	struct stat st;
	OK(ftruncate(fd, huge));
	EQUAL(pwrite(fd, "x", 1, huge - 1), 1);
	char c = 0;
	EQUAL(pread(fd, &c, 1, huge - 1), 1);
	EQUAL(c, 'x');
	EQUAL(pread(fd, &c, 1, huge / 2), 1);
	EQUAL(c, 0);
	EQUAL(pread(fd, &c, 1, huge), 0);
	OK(fstat(fd, &st));
	EQUAL(st.st_size, huge);
	CHECK(st.st_blocks <= (4 << 20) / 512);
	char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, huge - 4096);
	CHECK(m != MAP_FAILED);
	EQUAL(m[4095], 'x');
	EQUAL(lseek(fd, 0, SEEK_END), huge);
	FAILS(pwrite(fd, "x", 1, -1), EINVAL);
	FAILS(ftruncate(fd, -1), EINVAL);
	OK(ftruncate(fd, 0));
}

/* core_dumps tells whether a process that may is to leave a core dump as a
 * file here; 0 if none is written at all, -1 if something else is done. */
static int core_dumps(void) {
	char s[128] = "";
	int fd = OK(open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC));
	OK(read(fd, s, sizeof s - 1));
	close(fd);
	if (s[0] == '\n' && !setting("/proc/sys/kernel/core_uses_pid"))
		return 0;
	return s[0] == '|' || strchr(s, '/') ? -1 : 1;
}

TEST(core_dump_is_told) {
	int dumps = core_dumps(), s = IN_CHILD(limit(RLIMIT_CORE, 0); abort());
	EQUAL(WTERMSIG(s), SIGABRT);
	if (dumps >= 0) /* a program may be given one whatever the limit */
		EQUAL(s, SIGABRT);
	s = IN_CHILD(raise(SIGKILL));
	EQUAL(s, SIGKILL);
	struct rlimit r;
	OK(getrlimit(RLIMIT_CORE, &r));
	if (dumps < 0 || r.rlim_max < 1 << 20)
		SKIP("whether there is a core dump is up to this machine's program or limits");
	r.rlim_cur = r.rlim_max;
	s = IN_CHILD(OK(setrlimit(RLIMIT_CORE, &r)); abort());
	EQUAL(WTERMSIG(s), SIGABRT);
	EQUAL(!!WCOREDUMP(s), dumps);
	if (dumps) {
		/* A file for the user alone, and SIGCHLD tells. */
		struct stat st;
		siginfo_t i;
		pid_t k = OK(fork());
		if (k == 0) {
			OK(mkdir("of-a-child", 0755));
			OK(chdir("of-a-child"));
			setrlimit(RLIMIT_CORE, &r);
			abort();
		}
		OK(waitid(P_PID, k, &i, WEXITED));
		EQUAL(i.si_code, CLD_DUMPED);
		EQUAL(i.si_status, SIGABRT);
		char name[64];
		snprintf(name, sizeof name, "of-a-child/core.%d", (int)k);
		if (stat(name, &st))
			OK(stat("of-a-child/core", &st));
		EQUAL(st.st_mode, S_IFREG | 0600);
		CHECK(st.st_size > 4096);
		/* What is there and has another name is not written over. */
		OK(unlink("of-a-child/core") == 0 || unlink(name) == 0 ? 0 : -1);
		unlink("core");
		close(OK(open("precious", O_CREAT | O_WRONLY, 0644)));
		OK(link("precious", "core"));
		s = IN_CHILD(OK(setrlimit(RLIMIT_CORE, &r)); abort());
		EQUAL(WTERMSIG(s), SIGABRT);
		OK(stat("precious", &st));
		EQUAL(st.st_size, 0);
	}
	s = IN_CHILD(OK(setrlimit(RLIMIT_CORE, &r)); raise(SIGTERM));
	EQUAL(s, SIGTERM);
	s = IN_CHILD(OK(setrlimit(RLIMIT_CORE, &r)); OK(syscall(SYS_prctl, 4 /* PR_SET_DUMPABLE */, 0)); abort());
	EQUAL(s, SIGABRT);
}

static int never[2];
static void *wait_for_ever(void *arg) {
	char b;
	read(never[0], &b, 1);
	return arg;
}

TEST(processes_of_a_user) {
	enum { MOST = 12 };
	pid_t k[MOST];
	pthread_t t;
	int n = 0, threads = 0;
	be_nobody_else();
	limit(RLIMIT_NPROC, MOST);
	OK(pipe(never));
	while (n < MOST / 2) {
		k[n] = OK(fork());
		if (k[n++] == 0) {
			close(never[1]);
			wait_for_ever(NULL);
			_exit(0);
		}
	}
	/* Threads count as processes do. */
	while (threads < MOST && pthread_create(&t, NULL, wait_for_ever, NULL) == 0)
		threads++;
	EQUAL(1 + n + threads, MOST);
	FAILS(fork(), EAGAIN);
	FAILS(vfork(), EAGAIN);
	EQUAL(pthread_create(&t, NULL, wait_for_ever, NULL), EAGAIN);
	/* A zombie has its place still. */
	kill(k[0], SIGKILL);
	siginfo_t i;
	OK(waitid(P_PID, k[0], &i, WEXITED | WNOWAIT));
	FAILS(fork(), EAGAIN);
	EQUAL(waitpid(k[0], NULL, 0), k[0]);
	EXITED_OK(IN_CHILD(FAILS(fork(), EAGAIN)));
	for (int c = 1; c < n; c++) {
		kill(k[c], SIGKILL);
		EQUAL(waitpid(k[c], NULL, 0), k[c]);
	}
}

TEST(inotify_watches) {
	long long instances = setting("/proc/sys/fs/inotify/max_user_instances"), most = setting("/proc/sys/fs/inotify/max_user_watches");
	long long files = most / instances + 1, n = 0;
	struct rlimit r;
	OK(getrlimit(RLIMIT_NOFILE, &r));
	if (most > 500000 || instances + 10 > (long long)r.rlim_max)
		SKIP("this machine allows too many to try");
	r.rlim_cur = r.rlim_max;
	OK(setrlimit(RLIMIT_NOFILE, &r));
	be_nobody_else();
	char name[32];
	for (long long f = 0; f < files; f++) {
		snprintf(name, sizeof name, "%lld", f);
		close(OK(open(name, O_CREAT | O_WRONLY, 0600)));
	}
	int fd = -1, last = -1;
	for (long long i = 0; n < most; i++) {
		fd = OK(inotify_init1(IN_CLOEXEC));
		for (long long f = 0; f < files && n < most; f++, n++) {
			snprintf(name, sizeof name, "%lld", f);
			last = OK(inotify_add_watch(fd, name, IN_MODIFY));
		}
	}
	FAILS(inotify_add_watch(fd, ".", IN_MODIFY), ENOSPC);
	EQUAL(inotify_add_watch(fd, name, IN_ATTRIB), last); /* not another one */
	OK(inotify_rm_watch(fd, last));
	OK(inotify_add_watch(fd, ".", IN_MODIFY));
	FAILS(inotify_add_watch(fd, "/", IN_MODIFY), ENOSPC);
	/* Those of a file that is gone are no more. */
	OK(unlink("0"));
	OK(inotify_add_watch(fd, "/", IN_MODIFY));
}

TEST(nested_epoll) {
	struct epoll_event e = { .events = EPOLLIN };
	int sets[10], n = 0;
	sets[0] = OK(epoll_create1(0));
	for (n = 1; n < 10; n++) {
		sets[n] = OK(epoll_create1(0));
		if (epoll_ctl(sets[n], EPOLL_CTL_ADD, sets[n - 1], &e) == -1)
			break;
	}
	EQUAL(errno, ELOOP);
	EQUAL(n, 5);
	FAILS(epoll_ctl(sets[0], EPOLL_CTL_ADD, sets[4], &e), ELOOP);
	FAILS(epoll_ctl(sets[0], EPOLL_CTL_ADD, sets[0], &e), EINVAL);
	/* What happens at the bottom is seen at the top. */
	int p[2];
	OK(pipe(p));
	OK(epoll_ctl(sets[0], EPOLL_CTL_ADD, p[0], &e));
	EQUAL(epoll_wait(sets[4], &e, 1, 0), 0);
	EQUAL(write(p[1], "x", 1), 1);
	EQUAL(epoll_wait(sets[4], &e, 1, -1), 1);
}

TEST(links_in_a_row) {
	char name[16], next[16];
	close(OK(open("0", O_CREAT | O_WRONLY, 0600)));
	for (int i = 1; i <= 41; i++) {
		snprintf(name, sizeof name, "%d", i);
		snprintf(next, sizeof next, "%d", i - 1);
		OK(symlink(next, name));
	}
	OK(open("40", O_RDONLY));
	FAILS(open("41", O_RDONLY), ELOOP);
	OK(open("41", O_PATH | O_NOFOLLOW));
	/* Also when they lie on the way. */
	char path[2000] = "";
	OK(symlink(".", "here"));
	for (int i = 0; i < 40; i++)
		strcat(path, "here/");
	OK(chdir(path));
	strcat(path, "here/");
	FAILS(chdir(path), ELOOP);
}

/* in_own_tree makes the test root of a mount namespace of its own. */
static void in_own_tree(void) {
	uid_t uid = geteuid();
	gid_t gid = getegid();
	if (uid == 0 ? unshare(CLONE_NEWNS) : unshare(CLONE_NEWNS | CLONE_NEWUSER))
		SKIP("the host gives no mount namespace");
	for (int i = 0; i < 3 && uid != 0; i++) {
		const char *files[] = { "/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map" };
		char line[32] = "deny";
		if (i > 0)
			snprintf(line, sizeof line, "0 %d 1", (int)(i == 1 ? uid : gid));
		int fd = OK(open(files[i], O_WRONLY));
		OK(write(fd, line, strlen(line)));
		close(fd);
	}
	OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

TEST(inodes_and_blocks_of_a_file_system) {
	static char block[65536];
	in_own_tree();
	OK(mkdir("m", 0755));
	OK(mount("none", "m", "tmpfs", 0, "nr_inodes=6,size=256k"));
	OK(chdir("m"));
	char name[16];
	int n = 0;
	for (; n < 10; n++) {
		snprintf(name, sizeof name, "%d", n);
		int fd = open(name, O_CREAT | O_WRONLY, 0600);
		if (fd < 0)
			break;
		close(fd);
	}
	EQUAL(errno, ENOSPC);
	EQUAL(n, 5); /* the root has one */
	FAILS(mkdir("d", 0700), ENOSPC);
	FAILS(symlink("x", "l"), ENOSPC);
	FAILS(mknod("f", S_IFIFO | 0600, 0), ENOSPC);
	OK(unlink("0"));
	int fd = OK(open("again", O_CREAT | O_RDWR, 0600));
	for (n = 0; n < 10 && write(fd, block, sizeof block) == sizeof block; n++) {}
	EQUAL(n, 4);
	FAILS(write(fd, block, 1), ENOSPC);
	FAILS(fallocate(fd, 0, 0, 1 << 20), ENOSPC);
	OK(ftruncate(fd, 65536));
	EQUAL(pwrite(fd, block, sizeof block, 65536), sizeof block);
	OK(chdir("/"));
}

TEST(pid_namespaces_nest) {
	/* Each level is a process that waits for the next one; the last tells why. */
	int p[2], depth = 0, why = 0;
	OK(pipe(p));
	pid_t k = OK(fork());
	if (k == 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWPID))
			_exit(77);
		for (; depth < 40; depth++) {
			pid_t c = fork();
			if (c > 0) {
				waitpid(c, NULL, 0);
				_exit(0);
			}
			if (c < 0 || unshare(CLONE_NEWPID)) {
				why = errno;
				break;
			}
		}
		write(p[1], &why, sizeof why);
		write(p[1], &depth, sizeof depth);
		_exit(0);
	}
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	if (WIFEXITED(s) && WEXITSTATUS(s) == 77)
		SKIP("the host gives no PID namespace");
	EQUAL(read(p[0], &why, sizeof why), sizeof why);
	EQUAL(read(p[0], &depth, sizeof depth), sizeof depth);
	EQUAL(why, ENOSPC);
	CHECK(depth >= 20 && depth < 33); /* this one may be some levels deep */
}

TEST(arguments_take_a_quarter_of_the_stack) {
	enum { PIECE = 100000 };
	static char piece[PIECE];
	char *argv[12] = { "true" }, *env[] = { NULL };
	memset(piece, 'x', sizeof piece - 1);
	limit(RLIMIT_STACK, 2 << 20);
	for (int i = 1; i < 11; i++)
		argv[i] = piece;
	FAILS(execve("/bin/true", argv, env), E2BIG);
	argv[5] = NULL; /* 400,000 bytes of 524,288 */
	pid_t k = OK(fork());
	if (k == 0) {
		execve("/bin/true", argv, env);
		_exit(errno);
	}
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
}

TEST(size_of_a_pipe) {
	long long most = setting("/proc/sys/fs/pipe-max-size");
	int p[2];
	be_nobody_else();
	OK(pipe(p));
	FAILS(fcntl(p[0], F_SETPIPE_SZ, most + 1), EPERM);
	FAILS(fcntl(p[0], F_SETPIPE_SZ, -1), EINVAL);
	EQUAL(fcntl(p[0], F_GETPIPE_SZ), 65536);
	EQUAL(fcntl(p[0], F_SETPIPE_SZ, most), most);
	EQUAL(fcntl(p[0], F_SETPIPE_SZ, 1), 4096);
	EQUAL(write(p[1], "fine", 4), 4);
}
