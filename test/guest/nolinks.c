/* Paths that were no symbolic links, or not there, when readlink(2) was asked
 * many times, as realpath(3) does, and what makes it say something else. */
#include "guest.h"
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/xattr.h>

static char buf[PATH_MAX];

/* settle asks about a path until nothing but a change would have the answer be
 * another one. */
static void settle(const char *path, int want) {
	for (int i = 0; i < 50; i++)
		FAILS(readlink(path, buf, sizeof buf), want);
}

/* leads_to holds if the path is a link to where. */
static void leads_to(const char *path, const char *where) {
	EQUAL(OK(readlink(path, buf, sizeof buf)), strlen(where));
	CHECK(!memcmp(buf, where, strlen(where)));
}

static void touch(const char *path) { close(OK(open(path, O_CREAT | O_WRONLY, 0644))); }

TEST(made) {
	settle("a", ENOENT);
	OK(symlink("x", "a"));
	leads_to("a", "x");
	settle("b", ENOENT);
	touch("b");
	settle("b", EINVAL);
	settle("c", ENOENT);
	OK(link("b", "c"));
	settle("c", EINVAL);
	settle("d", ENOENT);
	OK(mkdir("d", 0755));
	settle("d", EINVAL);
	settle("e", ENOENT);
	OK(mkfifo("e", 0644));
	settle("e", EINVAL);
	settle("f", ENOENT);
	struct sockaddr_un u = { AF_UNIX, "f" };
	OK(bind(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&u, sizeof u));
	settle("f", EINVAL);
	settle("g", ENOENT);
	int fd = OK(open(".", O_TMPFILE | O_RDWR, 0644));
	char of[32];
	snprintf(of, sizeof of, "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, of, AT_FDCWD, "g", AT_SYMLINK_FOLLOW));
	settle("g", EINVAL);
}

TEST(removed_and_moved) {
	touch("a");
	settle("a", EINVAL);
	OK(unlink("a"));
	settle("a", ENOENT);
	OK(mkdir("d", 0755));
	settle("d", EINVAL);
	settle("d/x", ENOENT);
	OK(rmdir("d"));
	settle("d", ENOENT);
	touch("b");
	OK(symlink("x", "l"));
	settle("b", EINVAL);
	OK(rename("l", "b"));
	leads_to("b", "x");
	settle("l", ENOENT);
	touch("c");
	settle("c", EINVAL);
	OK(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", 2 /* RENAME_EXCHANGE */));
	leads_to("c", "x");
	settle("b", EINVAL);
	/* On the way. */
	OK(mkdir("one", 0755));
	OK(mkdir("two", 0755));
	OK(symlink("x", "two/a"));
	OK(symlink("one", "way"));
	touch("one/a");
	settle("way/a", EINVAL);
	settle("way/../two/../way/a", EINVAL);
	OK(unlink("way"));
	settle("way/a", ENOENT);
	OK(symlink("two", "way"));
	leads_to("way/a", "x");
	leads_to("way/../two/../way/a", "x");
	settle("one/a", EINVAL);
	OK(rename("one", "gone"));
	OK(rename("two", "one"));
	leads_to("one/a", "x");
}

TEST(by_another_process) {
	settle("a", ENOENT);
	touch("b");
	settle("b", EINVAL);
	EXITED_OK(IN_CHILD({
		settle("a", ENOENT);
		OK(symlink("x", "a"));
		OK(unlink("b"));
	}));
	leads_to("a", "x");
	settle("b", ENOENT);
	int there[2], back[2];
	char c;
	OK(pipe(there));
	OK(pipe(back));
	pid_t k = OK(fork());
	for (int i = 0; i < 200; i++) {
		char name[16];
		snprintf(name, sizeof name, "%d", i);
		if (k == 0) {
			EQUAL(read(there[0], &c, 1), 1);
			OK(symlink("x", name));
			EQUAL(write(back[1], "", 1), 1);
			continue;
		}
		for (int j = 0; j < 12; j++)
			FAILS(readlink(name, buf, sizeof buf), ENOENT);
		EQUAL(write(there[1], "", 1), 1);
		EQUAL(read(back[0], &c, 1), 1);
		leads_to(name, "x");
	}
	if (k == 0)
		_exit(0);
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
}

TEST(working_directory_and_root) {
	OK(mkdir("d", 0755));
	OK(symlink("x", "d/a"));
	settle("a", ENOENT);
	OK(chdir("d"));
	leads_to("a", "x");
	OK(chdir(".."));
	settle("a", ENOENT);
	OK(fchdir(OK(open("d", O_RDONLY))));
	leads_to("a", "x");
	OK(chdir(".."));
	settle("/a", ENOENT);
	if (geteuid() != 0)
		SKIP("only root may change the root directory");
	OK(chroot("d"));
	leads_to("/a", "x");
}

static void *go_there(void *dir) {
	OK(chdir(dir));
	return NULL;
}

TEST(working_directory_of_another_thread) {
	OK(mkdir("d", 0755));
	OK(symlink("x", "d/a"));
	settle("a", ENOENT);
	pthread_t t;
	EQUAL(pthread_create(&t, NULL, go_there, "d"), 0);
	EQUAL(pthread_join(t, NULL), 0);
	leads_to("a", "x");
}

TEST(permissions) {
	if (geteuid() != 0)
		SKIP("only root has another user's directories");
	OK(mkdir("d", 0755));
	touch("d/a");
	OK(mkdir("mine", 0700));
	touch("mine/a");
	settle("mine/a", EINVAL);
	settle("mine/b", ENOENT);
	int there[2], back[2];
	char c;
	OK(pipe(there));
	OK(pipe(back));
	pid_t k = OK(fork());
	if (k == 0) {
		settle("mine/a", EINVAL);
		OK(setresuid(1000, 1000, 1000));
		settle("mine/a", EACCES);
		settle("mine/b", EACCES);
		settle("d/a", EINVAL);
		settle("d/b", ENOENT);
		EQUAL(write(there[1], "", 1), 1);
		EQUAL(read(back[0], &c, 1), 1);
		settle("d/a", EACCES);
		settle("d/b", EACCES);
		EQUAL(write(there[1], "", 1), 1);
		EQUAL(read(back[0], &c, 1), 1);
		settle("d/a", EINVAL);
		_exit(0);
	}
	EQUAL(read(there[0], &c, 1), 1);
	OK(chmod("d", 0700));
	EQUAL(write(back[1], "", 1), 1);
	EQUAL(read(there[0], &c, 1), 1);
	OK(chown("d", 1000, 1000));
	EQUAL(write(back[1], "", 1), 1);
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
}

/* Who asks may lose what it had, each thread for itself. */
static void *ask_as_other(void *unused) {
	settle("mine/a", EINVAL);
	OK(syscall(SYS_setfsuid, 1000)); /* the thread's, not the process's */
	settle("mine/a", EACCES);
	settle("mine/b", EACCES);
	return NULL;
}

TEST(credentials_of_a_thread) {
	if (geteuid() != 0)
		SKIP("only root may be somebody else");
	OK(mkdir("mine", 0700));
	touch("mine/a");
	settle("mine/a", EINVAL);
	pthread_t t;
	EQUAL(pthread_create(&t, NULL, ask_as_other, NULL), 0);
	EQUAL(pthread_join(t, NULL), 0);
	settle("mine/a", EINVAL);
	settle("mine/b", ENOENT);
	EXITED_OK(IN_CHILD({
		OK(setgid(1000));
		OK(setuid(1000));
		settle("mine/b", EACCES);
	}));
}

TEST(capabilities) {
	if (geteuid() != 0)
		SKIP("only root has capabilities");
	OK(mkdir("theirs", 0700));
	touch("theirs/a");
	OK(chown("theirs", 1000, 1000));
	settle("theirs/a", EINVAL);
	settle("theirs/b", ENOENT);
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2];
	OK(syscall(SYS_capget, &h, d));
	d[0].effective &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH);
	OK(syscall(SYS_capset, &h, d));
	settle("theirs/a", EACCES);
	settle("theirs/b", EACCES);
}

/* A child has its parent's memory, but goes where it wants to. */
static char stack[65536] __attribute__((aligned(16)));

static int elsewhere(void *unused) {
	for (int i = 0; i < 50; i++)
		if (readlink("a", buf, sizeof buf) != -1 || errno != ENOENT)
			return 1;
	if (chdir("d"))
		return 2;
	return readlink("a", buf, sizeof buf) != 1;
}

TEST(memory_of_another_process) {
	OK(mkdir("d", 0755));
	OK(symlink("x", "d/a"));
	for (int i = 0; i < 3; i++) {
		settle("a", ENOENT);
		pid_t k = OK(clone(elsewhere, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
		settle("a", ENOENT);
		int s;
		EQUAL(waitpid(k, &s, 0), k);
		EXITED_OK(s);
	}
	pid_t k = OK(clone(elsewhere, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_FS | SIGCHLD, NULL));
	leads_to("a", "x");
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
}

static void *go_alone(void *unused) {
	settle("a", ENOENT);
	OK(unshare(CLONE_FS));
	settle("a", ENOENT);
	OK(chdir("d"));
	leads_to("a", "x");
	return NULL;
}

TEST(working_directory_of_its_own) {
	OK(mkdir("d", 0755));
	OK(symlink("x", "d/a"));
	settle("a", ENOENT);
	pthread_t t;
	EQUAL(pthread_create(&t, NULL, go_alone, NULL), 0);
	EQUAL(pthread_join(t, NULL), 0);
	settle("a", ENOENT);
}

TEST(working_directory_that_is_gone) {
	OK(mkdir("d", 0755));
	OK(chdir("d"));
	settle("a", ENOENT);
	settle("..", EINVAL);
	EXITED_OK(IN_CHILD(OK(rmdir("../d"))));
	settle("a", ENOENT);
	settle(".", EINVAL);
}

/* Through descriptors, of files that have names or none. */
TEST(by_descriptor) {
	OK(mkdir("d", 0755));
	OK(symlink("x", "l"));
	int dir = OK(open("d", O_RDONLY | O_DIRECTORY));
	settle("d/a", ENOENT);
	OK(renameat(AT_FDCWD, "l", dir, "a"));
	leads_to("d/a", "x");
	OK(unlinkat(dir, "a", 0));
	settle("d/a", ENOENT);
	OK(symlinkat("x", dir, "a"));
	leads_to("d/a", "x");
	settle("e/a", ENOENT);
	OK(renameat(AT_FDCWD, "d", AT_FDCWD, "e"));
	leads_to("e/a", "x");
	settle("d/a", ENOENT);
	if (geteuid() != 0)
		return;
	settle("e/b", ENOENT);
	OK(fchmod(dir, 0));
	EXITED_OK(IN_CHILD({
		settle("e/b", ENOENT);
		OK(syscall(SYS_setfsuid, 1000));
		settle("e/b", EACCES);
	}));
}

// A child that only asks about a name that is not there, and has begun.
static pid_t asker(void) {
	int there[2];
	char c;
	OK(pipe(there));
	pid_t k = OK(fork());
	if (k == 0) {
		settle("a", ENOENT);
		EQUAL(write(there[1], "", 1), 1);
		for (;;)
			readlink("a", buf, sizeof buf);
	}
	EQUAL(read(there[0], &c, 1), 1);
	close(there[0]);
	close(there[1]);
	return k;
}

TEST(stopped_and_killed) {
	int s;
	pid_t k = asker();
	for (int i = 0; i < 20; i++) {
		OK(kill(k, SIGSTOP));
		EQUAL(waitpid(k, &s, WUNTRACED), k);
		CHECK(WIFSTOPPED(s));
		OK(kill(k, SIGCONT));
		EQUAL(waitpid(k, &s, WCONTINUED), k);
		CHECK(WIFCONTINUED(s));
	}
	OK(kill(k, SIGKILL));
	EQUAL(waitpid(k, &s, 0), k);
	CHECK(WIFSIGNALED(s));
}

TEST(terminals) {
	char path[64];
	int m = OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
	int n;
	OK(ioctl(m, TIOCGPTN, &n));
	snprintf(path, sizeof path, "/dev/pts/%d", n);
	settle(path, EINVAL);
	if (over_host()) /* others may be making some */
		return;
	close(m);
	settle(path, ENOENT);
	m = OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
	OK(ioctl(m, TIOCGPTN, &n));
	snprintf(path, sizeof path, "/dev/pts/%d", n);
	settle(path, EINVAL);
}

static void put(const char *path, const char *text, int id) {
	char line[64];
	int n = snprintf(line, sizeof line, text, id), fd = OK(open(path, O_WRONLY));
	EQUAL(write(fd, line, n), n);
	close(fd);
}

/* own_mounts gives the process mounts of its own, with power over them. */
static void own_mounts(void) {
	int uid = geteuid(), gid = getegid();
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		SKIP("the host allows no user namespaces");
	put("/proc/self/setgroups", "deny", 0);
	put("/proc/self/uid_map", "0 %d 1\n", uid);
	put("/proc/self/gid_map", "0 %d 1\n", gid);
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP("the host allows no mounts in user namespaces");
}

TEST(mounts) {
	own_mounts();
	OK(mkdir("d", 0755));
	OK(mkdir("e", 0755));
	touch("d/a");
	settle("d/a", EINVAL);
	settle("e/a", ENOENT);
	OK(mount("tmpfs", "d", "tmpfs", 0, NULL));
	settle("d/a", ENOENT);
	OK(symlink("x", "d/a"));
	leads_to("d/a", "x");
	OK(mount("d", "e", NULL, MS_BIND, NULL));
	leads_to("e/a", "x");
	OK(umount("e"));
	settle("e/a", ENOENT);
	OK(mount("d", "e", NULL, MS_MOVE, NULL));
	settle("d/a", EINVAL);
	leads_to("e/a", "x");
	OK(umount2("e", MNT_DETACH));
	settle("e/a", ENOENT);
}

TEST(mounts_that_follow_others) {
	own_mounts();
	OK(mkdir("d", 0755));
	OK(mkdir("e", 0755));
	OK(mount("tmpfs", "d", "tmpfs", 0, NULL));
	OK(mount(NULL, "d", NULL, MS_SHARED, NULL));
	OK(mkdir("d/in", 0755));
	OK(mount("d", "e", NULL, MS_BIND, NULL));
	settle("e/in/a", ENOENT);
	settle("d/in/a", ENOENT);
	EXITED_OK(IN_CHILD({
		OK(unshare(CLONE_NEWNS));
		settle("e/in/a", ENOENT);
		OK(mount("tmpfs", "d/in", "tmpfs", 0, NULL));
		OK(symlink("x", "d/in/a"));
		leads_to("e/in/a", "x");
	}));
	leads_to("e/in/a", "x");
	leads_to("d/in/a", "x");
	OK(umount("e/in"));
	settle("d/in/a", ENOENT);
	/* Flags, of the same mount. */
	OK(mkdir("d/sub", 0755));
	OK(symlink("sub", "d/way"));
	settle("d/way/a", ENOENT);
	if (mount(NULL, "d", NULL, MS_REMOUNT | MS_BIND | 256 /* MS_NOSYMFOLLOW */, NULL) == 0)
		settle("d/way/a", ELOOP);
}

TEST(mount_namespaces_and_roots) {
	own_mounts();
	int before = OK(open("/proc/self/ns/mnt", O_RDONLY));
	char at[PATH_MAX], path[PATH_MAX + 16];
	CHECK(getcwd(at, sizeof at));
	snprintf(path, sizeof path, "%s/d/a", at);
	OK(mkdir("d", 0755));
	settle(path, ENOENT);
	OK(unshare(CLONE_NEWNS));
	OK(mount("tmpfs", "d", "tmpfs", 0, NULL));
	OK(symlink("x", "d/a"));
	leads_to(path, "x");
	int after = OK(open("/proc/self/ns/mnt", O_RDONLY));
	OK(setns(before, CLONE_NEWNS));
	settle(path, ENOENT);
	OK(setns(after, CLONE_NEWNS));
	leads_to(path, "x");
	OK(chdir(at));
	OK(mkdir("d/old", 0755));
	settle("/a", ENOENT);
	OK(syscall(SYS_pivot_root, "d", "d/old"));
	leads_to("/a", "x");
	settle(path, ENOENT);
}

TEST(layers) {
	own_mounts();
	OK(mount("tmpfs", ".", "tmpfs", 0, NULL));
	char at[PATH_MAX];
	CHECK(getcwd(at, sizeof at));
	OK(chdir(at)); /* into what is mounted there */
	OK(mkdir("low", 0755));
	OK(mkdir("up", 0755));
	OK(mkdir("work", 0755));
	OK(mkdir("all", 0755));
	touch("low/a");
	touch("low/b");
	OK(mkdir("low/d", 0755));
	if (mount("overlay", "all", "overlay", 0, "lowerdir=low,upperdir=up,workdir=work,userxattr"))
		SKIP("the host allows no overlays in user namespaces");
	settle("all/a", EINVAL);
	settle("up/a", ENOENT);
	OK(chmod("all/a", 0600)); /* copied up */
	settle("up/a", EINVAL);
	settle("up/d", ENOENT);
	settle("all/d/new", ENOENT);
	settle("up/d/new", ENOENT);
	OK(symlink("x", "all/d/new"));
	leads_to("all/d/new", "x");
	leads_to("up/d/new", "x");
	settle("up/b", ENOENT);
	OK(unlink("all/b"));
	settle("all/b", ENOENT);
	settle("up/b", EINVAL); /* a whiteout */
	OK(symlink("x", "all/b"));
	leads_to("all/b", "x");
	leads_to("up/b", "x");
	settle("up/c", ENOENT);
	OK(rename("all/b", "all/c"));
	leads_to("all/c", "x");
	leads_to("up/c", "x");
	settle("all/b", ENOENT);
}

/* What appears and goes by itself. */
TEST(processes) {
	char path[64];
	settle("/proc/self/exe/x", ENOTDIR);
	pid_t k = OK(fork());
	if (k == 0) {
		pause();
		_exit(0);
	}
	snprintf(path, sizeof path, "/proc/%d", k);
	settle(path, EINVAL);
	OK(kill(k, SIGKILL));
	OK(waitpid(k, NULL, 0));
	settle(path, ENOENT);
	settle("/proc/self/fd/900", ENOENT);
	OK(dup2(1, 900));
	OK(readlink("/proc/self/fd/900", buf, sizeof buf));
}

TEST(arguments) {
	touch("a");
	settle("a", EINVAL);
	settle("b", ENOENT);
	FAILS(syscall(SYS_readlink, "b", buf, 0), EINVAL);
	FAILS(syscall(SYS_readlink, "b", buf, -1), EINVAL);
	FAILS(syscall(SYS_readlink, "b", buf, 1L << 32), EINVAL);
	FAILS(syscall(SYS_readlink, "b", buf, 1L << 32 | 1), ENOENT);
	FAILS(syscall(SYS_readlink, "b", NULL, 1), ENOENT);
	FAILS(syscall(SYS_readlink, "", buf, 1), ENOENT);
	/* Paths on the edge of memory, and such as are too long to be remembered. */
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(mprotect(p + 4096, 4096, PROT_NONE));
	strcpy(p + 4094, "b");
	settle(p + 4094, ENOENT);
	p[4095] = 'b';
	settle(p + 4094, EFAULT);
	OK(mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE));
	settle(p + 4094, ENOENT);
	for (int n = 100; n < 140; n++) {
		memset(buf, 'n', n);
		buf[n] = 0;
		char name[160];
		strcpy(name, buf);
		settle(name, ENOENT);
		OK(symlink("x", name));
		leads_to(name, "x");
		OK(unlink(name));
	}
	/* More than are remembered, in turns. */
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 2000; i++) {
			char name[16];
			snprintf(name, sizeof name, "%s%d", i % 2 ? "no" : "a/", i);
			FAILS(readlink(name, buf, sizeof buf), i % 2 ? ENOENT : ENOTDIR);
		}
	/* The direction flag, and registers that calls keep. */
	long r, r15 = 0x1515;
	for (int i = 0; i < 50; i++) {
		register long b __asm__("r12") = 0x1212;
		__asm__ volatile("std\n mov %[r15], %%r15\n syscall\n cld\n mov %%r15, %[r15]"
				 : "=a"(r), [r15] "+r"(r15), "+r"(b)
				 : "a"(SYS_readlink), "D"("b"), "S"(buf), "d"(sizeof buf)
				 : "rcx", "r11", "r15", "memory");
		EQUAL(r, -ENOENT);
		EQUAL(r15, 0x1515);
		EQUAL(b, 0x1212);
	}
}

static void deny(unsigned flags) {
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_readlink, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXFULL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { sizeof f / sizeof *f, f };
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p));
}

static void *deny_all(void *unused) {
	deny(SECCOMP_FILTER_FLAG_TSYNC);
	return NULL;
}

TEST(filters) {
	settle("a", ENOENT);
	EXITED_OK(IN_CHILD({
		settle("a", ENOENT);
		deny(0);
		settle("a", EXFULL);
	}));
	pthread_t t;
	EQUAL(pthread_create(&t, NULL, deny_all, NULL), 0);
	EQUAL(pthread_join(t, NULL), 0);
	settle("a", EXFULL);
}

TEST(tracers_see_each_call) {
	pid_t k = asker();
	sleep_ms(20);
	if (ptrace(PTRACE_SEIZE, k, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
		SKIP("the host allows no tracers");
	OK(ptrace(PTRACE_INTERRUPT, k, 0, 0));
	int s, stops = 0;
	for (int i = 0; i < 50; i++) {
		EQUAL(waitpid(k, &s, 0), k);
		CHECK(WIFSTOPPED(s));
		stops += WSTOPSIG(s) == (SIGTRAP | 0x80);
		OK(ptrace(PTRACE_SYSCALL, k, 0, 0));
	}
	CHECK(stops > 40);
	OK(kill(k, SIGKILL));
}

static volatile int ticks;
static __thread volatile long mark;
static volatile int lost;

static void tick(int sig) {
	ticks++;
	lost += mark != 4711;
}

/* Signals come while nothing else is done. */
TEST(signals) {
	mark = 4711;
	signal(SIGVTALRM, tick);
	signal(SIGALRM, tick);
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } };
	OK(setitimer(ITIMER_REAL, &every, NULL));
	while (ticks < 200) {
		FAILS(readlink("/usr/no such", buf, sizeof buf), ENOENT);
		EQUAL(mark, 4711);
	}
	EQUAL(lost, 0);
}

static volatile int over;

static void *ask(void *path) {
	char b[16];
	while (!over)
		if (readlink(path, b, sizeof b) != -1 || errno != ENOENT)
			return "wrong";
	return NULL;
}

TEST(threads) {
	enum { N = 12 };
	pthread_t t[N];
	char names[N][8];
	for (int round = 0; round < 5; round++) {
		over = 0;
		for (int i = 0; i < N; i++) {
			snprintf(names[i], sizeof *names, "no%d", i);
			EQUAL(pthread_create(&t[i], NULL, ask, names[i]), 0);
		}
		for (int i = 0; i < 50; i++) {
			OK(symlink("x", "l"));
			leads_to("l", "x");
			OK(unlink("l"));
			settle("l", ENOENT);
		}
		over = 1;
		for (int i = 0; i < N; i++) {
			void *r;
			EQUAL(pthread_join(t[i], &r), 0);
			CHECK(!r);
		}
	}
}
