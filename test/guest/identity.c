/* Users, groups, capabilities, and what execve does to them. */
#include "guest.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>

/* glibc's calls change all threads; these change one, as the kernel does. */
static int setresuid1(int r, int e, int s) { return syscall(SYS_setresuid, r, e, s); }
static int setresgid1(int r, int e, int s) { return syscall(SYS_setresgid, r, e, s); }

static void need_root(void) {
	if (getuid() != 0)
		SKIP("only root can change its identity");
}

static void uids(int r, int e, int s) {
	uid_t ru, eu, su;
	OK(getresuid(&ru, &eu, &su));
	EQUAL(ru, r);
	EQUAL(eu, e);
	EQUAL(su, s);
}

static void gids(int r, int e, int s) {
	gid_t ru, eu, su;
	OK(getresgid(&ru, &eu, &su));
	EQUAL(ru, r);
	EQUAL(eu, e);
	EQUAL(su, s);
}

struct caps { uint64_t effective, permitted, inheritable; };

static struct caps caps(void) {
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2];
	OK(syscall(SYS_capget, &h, d));
	return (struct caps){ d[0].effective | (uint64_t)d[1].effective << 32, d[0].permitted | (uint64_t)d[1].permitted << 32,
			      d[0].inheritable | (uint64_t)d[1].inheritable << 32 };
}

static int set_caps(struct caps c) {
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { c.effective, c.permitted, c.inheritable },
					       { c.effective >> 32, c.permitted >> 32, c.inheritable >> 32 } };
	return syscall(SYS_capset, &h, d);
}

#define BIT(c) (1ull << (c))

TEST(setresuid_matrix) {
	need_root();
	/* an unprivileged process may take any of its three, and nothing else */
	for (int r = -1; r < 4; r++)
		for (int e = -1; e < 4; e++)
			for (int s = -1; s < 4; s++)
				EXITED_OK(IN_CHILD({
					OK(setresuid1(1001, 1002, 1003));
					int a = r < 0 ? -1 : 1001 + r, b = e < 0 ? -1 : 1001 + e, c = s < 0 ? -1 : 1001 + s;
					if (r == 3 || e == 3 || s == 3) {
						FAILS(setresuid1(a, b, c), EPERM);
						uids(1001, 1002, 1003);
					} else {
						OK(setresuid1(a, b, c));
						uids(a < 0 ? 1001 : a, b < 0 ? 1002 : b, c < 0 ? 1003 : c);
						EQUAL(setfsuid(-1), b < 0 ? 1002 : b);
					}
				}));
}

TEST(setreuid_and_setuid) {
	need_root();
	/* the saved ID follows the effective one if the real one is set, or the
	 * effective one becomes another than the real one */
	static const struct { int r, e, want[3]; } t[] = {
		{ -1, -1, { 1001, 1002, 1003 } }, { 1002, -1, { 1002, 1002, 1002 } }, { -1, 1001, { 1001, 1001, 1003 } },
		{ -1, 1003, { 1001, 1003, 1003 } }, { 1001, 1002, { 1001, 1002, 1002 } }, { 1002, 1001, { 1002, 1001, 1001 } },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
		EXITED_OK(IN_CHILD({
			OK(setresuid1(1001, 1002, 1003));
			OK(syscall(SYS_setreuid, t[i].r, t[i].e));
			uids(t[i].want[0], t[i].want[1], t[i].want[2]);
		}));
	EXITED_OK(IN_CHILD({
		OK(setresuid1(1001, 1002, 1003));
		FAILS(syscall(SYS_setreuid, 1003, -1), EPERM);
		FAILS(syscall(SYS_setreuid, -1, 1004), EPERM);
		FAILS(syscall(SYS_setuid, 1002), EPERM);
		FAILS(syscall(SYS_setuid, 1004), EPERM);
		OK(syscall(SYS_setuid, 1003));
		uids(1001, 1003, 1003);
	}));
	EXITED_OK(IN_CHILD({
		/* with privilege all three */
		OK(syscall(SYS_setuid, 1005));
		uids(1005, 1005, 1005);
		FAILS(syscall(SYS_setuid, 0), EPERM);
	}));
	FAILS(syscall(SYS_setuid, -1), EINVAL);
}

TEST(setresgid_and_setregid) {
	need_root();
	EXITED_OK(IN_CHILD({
		OK(setresgid1(2001, 2002, 2003));
		gids(2001, 2002, 2003);
		OK(setresuid1(1001, 1001, 1001));
		FAILS(setresgid1(2004, -1, -1), EPERM);
		OK(setresgid1(2003, 2001, -1));
		gids(2003, 2001, 2003);
		EQUAL(setfsgid(-1), 2001);
		OK(syscall(SYS_setregid, 2001, -1));
		gids(2001, 2001, 2001);
		FAILS(syscall(SYS_setgid, 2003), EPERM);
		FAILS(syscall(SYS_setgroups, 0, NULL), EPERM);
	}));
}

TEST(fsuid_follows_and_stands_alone) {
	need_root();
	EXITED_OK(IN_CHILD({
		int f = OK(open("mine", O_CREAT | O_WRONLY, 0600));
		OK(fchown(f, 1001, 1001));
		EQUAL(setfsuid(1002), 0);
		EQUAL(setfsuid(-1), 1002);
		uids(0, 0, 0);
		CHECK(!(caps().effective & BIT(CAP_DAC_OVERRIDE)));
		CHECK(caps().permitted & BIT(CAP_DAC_OVERRIDE));
		FAILS(open("mine", O_RDONLY), EACCES);
		setfsuid(1001);
		f = OK(open("mine", O_RDONLY));
		setfsuid(0);
		CHECK(caps().effective & BIT(CAP_DAC_OVERRIDE));
		OK(setresuid1(-1, 1002, -1));
		EQUAL(setfsuid(-1), 1002);
		/* unprivileged: only what one has */
		setfsuid(1003);
		EQUAL(setfsuid(-1), 1002);
		setfsuid(0);
		EQUAL(setfsuid(-1), 0);
	}));
}

TEST(groups) {
	need_root();
	EXITED_OK(IN_CHILD({
		gid_t g[4] = { 30, 10, 20, 10 };
		gid_t got[8];
		OK(setgroups(4, g));
		EQUAL(getgroups(0, NULL), 4);
		EQUAL(getgroups(8, got), 4);
		EQUAL(got[0], 10);
		EQUAL(got[1], 10);
		EQUAL(got[3], 30);
		FAILS(getgroups(3, got), EINVAL);
		FAILS(getgroups(-1, got), EINVAL);
		FAILS(syscall(SYS_setgroups, 65537, g), EINVAL);
		FAILS(syscall(SYS_setgroups, 2, (void *)8), EFAULT);
		/* a supplementary group opens files */
		int f = OK(open("groups", O_CREAT | O_WRONLY, 0600));
		OK(fchmod(f, 0060));
		OK(fchown(f, 0, 20));
		OK(setresuid1(1001, 1001, 1001));
		OK(open("groups", O_RDWR));
	}));
	EXITED_OK(IN_CHILD({
		OK(setgroups(0, NULL));
		OK(setresuid1(1001, 1001, 1001));
		FAILS(open("groups", O_RDWR), EACCES);
	}));
}

TEST(capabilities_follow_the_user) {
	need_root();
	uint64_t all = caps().permitted;
	CHECK(all != 0);
	EXITED_OK(IN_CHILD({
		/* all zero to none zero: gone for good */
		OK(setresuid1(1001, 1001, 1001));
		EQUAL(caps().permitted, 0);
		EQUAL(caps().effective, 0);
	}));
	EXITED_OK(IN_CHILD({
		/* the effective ones come and go with the effective ID */
		OK(setresuid1(-1, 1001, -1));
		EQUAL(caps().effective, 0);
		EQUAL(caps().permitted, all);
		OK(setresuid1(-1, 0, -1));
		EQUAL(caps().effective, all);
	}));
	EXITED_OK(IN_CHILD({
		EQUAL(OK(prctl(PR_GET_KEEPCAPS)), 0);
		OK(prctl(PR_SET_KEEPCAPS, 1));
		OK(setresuid1(1001, 1001, 1001));
		EQUAL(caps().permitted, all);
		EQUAL(caps().effective, 0);
		struct caps c = caps();
		c.effective = BIT(CAP_SETUID);
		OK(set_caps(c));
		OK(setresuid1(1007, 1007, 1007));
		FAILS(prctl(PR_SET_KEEPCAPS, 2), EINVAL);
	}));
	EXITED_OK(IN_CHILD({
		OK(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
		EQUAL(OK(prctl(PR_GET_SECUREBITS)), SECBIT_NO_SETUID_FIXUP);
		OK(setresuid1(1001, 1001, 1001));
		EQUAL(caps().effective, all);
	}));
	EXITED_OK(IN_CHILD({
		OK(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS_LOCKED | SECBIT_NOROOT));
		FAILS(prctl(PR_SET_KEEPCAPS, 1), EPERM);
		FAILS(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT), EPERM);
		FAILS(prctl(PR_SET_SECUREBITS, 1 << 20), EPERM);
	}));
}

TEST(capset_rules) {
	need_root();
	EXITED_OK(IN_CHILD({
		struct caps all = caps();
		struct caps c = all;
		c.permitted &= ~BIT(CAP_CHOWN);
		FAILS(set_caps(c), EPERM); /* effective beyond permitted */
		c.effective &= ~BIT(CAP_CHOWN);
		OK(set_caps(c));
		FAILS(set_caps(all), EPERM); /* no way back */
		EQUAL(caps().permitted, c.permitted);
		c.effective = 0;
		OK(set_caps(c));
		FAILS(chown(".", 5, 5), EPERM);
		struct __user_cap_header_struct h = { 0x1234, 0 };
		FAILS(syscall(SYS_capset, &h, NULL), EINVAL);
		EQUAL(h.version, _LINUX_CAPABILITY_VERSION_3);
		h.version = 0;
		OK(syscall(SYS_capget, &h, NULL));
		h = (struct __user_cap_header_struct){ _LINUX_CAPABILITY_VERSION_3, getppid() };
		struct __user_cap_data_struct d[2];
		OK(syscall(SYS_capget, &h, d));
		FAILS(syscall(SYS_capset, &h, d), EPERM);
		h.pid = 0x3fffffff;
		FAILS(syscall(SYS_capget, &h, d), ESRCH);
		h.pid = -1;
		FAILS(syscall(SYS_capget, &h, d), EINVAL);
	}));
}

TEST(bounding_and_ambient_sets) {
	need_root();
	EQUAL(OK(prctl(PR_CAPBSET_READ, CAP_CHOWN)), 1);
	FAILS(prctl(PR_CAPBSET_READ, 64), EINVAL);
	EXITED_OK(IN_CHILD({
		FAILS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0), EPERM);
		struct caps c = caps();
		c.inheritable = BIT(CAP_CHOWN);
		OK(set_caps(c));
		OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
		EQUAL(OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0)), 1);
		/* dropping it from a set drops it from the ambient one */
		c.inheritable = 0;
		OK(set_caps(c));
		EQUAL(OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0)), 0);
		FAILS(prctl(PR_CAP_AMBIENT, 9, CAP_CHOWN, 0, 0), EINVAL);
		OK(prctl(PR_CAPBSET_DROP, CAP_MKNOD));
		EQUAL(OK(prctl(PR_CAPBSET_READ, CAP_MKNOD)), 0);
		c = caps();
		c.inheritable = BIT(CAP_MKNOD);
		FAILS(set_caps(c), EPERM); /* permitted, but not to be inherited any more */
	}));
}

/* self runs this program again, as the test named by argument "@what". */
static void self(const char *what) {
	char *argv[] = { "x", (char *)what, NULL }, *envp[] = { NULL };
	execve("/proc/self/exe", argv, envp);
	guest_fail(__FILE__, __LINE__, "exec: %s", strerror(errno));
}

static void line_of_status(const char *name, char *out, size_t n) {
	FILE *f = fopen("/proc/self/status", "r");
	CHECK(f);
	char line[512];
	out[0] = 0;
	while (fgets(line, sizeof line, f))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':') {
			snprintf(out, n, "%s", line + strlen(name) + 1);
			out[strcspn(out, "\n")] = 0;
		}
	fclose(f);
}

__attribute__((constructor)) static void run_again(int argc, char **argv) {
	if (argc != 2 || argv[1][0] != '@')
		return;
	struct caps c = caps();
	uid_t r, e, s;
	getresuid(&r, &e, &s);
	gid_t rg, eg, sg;
	getresgid(&rg, &eg, &sg);
	char line[512];
	int n = snprintf(line, sizeof line, "uid %d %d %d gid %d %d %d permitted %d effective %d dumpable %d keepcaps %d nnp %d secure %lu", r, e, s, rg, eg, sg,
			 __builtin_popcountll(c.permitted) > 30 ? 99 : __builtin_popcountll(c.permitted),
			 __builtin_popcountll(c.effective) > 30 ? 99 : __builtin_popcountll(c.effective), prctl(PR_GET_DUMPABLE),
			 prctl(PR_GET_KEEPCAPS), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0ul);
	if (strcmp(line, argv[1] + 1)) {
		printf("    after exec: %s, not %s\n", line, argv[1] + 1);
		fflush(stdout);
		_exit(1);
	}
	(void)n;
	_exit(0);
}

TEST(exec_and_capabilities) {
	need_root();
	EXITED_OK(IN_CHILD(self("@uid 0 0 0 gid 0 0 0 permitted 99 effective 99 dumpable 1 keepcaps 0 nnp 0 secure 0")));
	EXITED_OK(IN_CHILD({
		OK(prctl(PR_SET_KEEPCAPS, 1));
		OK(setresuid1(1001, 1001, 1001));
		self("@uid 1001 1001 1001 gid 0 0 0 permitted 0 effective 0 dumpable 1 keepcaps 0 nnp 0 secure 0");
	}));
	/* effective root only: permitted from the file, as for root */
	EXITED_OK(IN_CHILD({
		OK(setresuid1(1001, 0, 1001));
		self("@uid 1001 0 0 gid 0 0 0 permitted 99 effective 99 dumpable 0 keepcaps 0 nnp 0 secure 0");
	}));
	/* real root only: permitted but not effective */
	EXITED_OK(IN_CHILD({
		OK(setresuid1(0, 1001, 0));
		self("@uid 0 1001 1001 gid 0 0 0 permitted 99 effective 0 dumpable 0 keepcaps 0 nnp 0 secure 0");
	}));
	EXITED_OK(IN_CHILD({
		OK(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT));
		self("@uid 0 0 0 gid 0 0 0 permitted 0 effective 0 dumpable 1 keepcaps 0 nnp 0 secure 0");
	}));
	/* ambient capabilities survive */
	EXITED_OK(IN_CHILD({
		struct caps c = caps();
		c.inheritable = BIT(CAP_CHOWN) | BIT(CAP_KILL);
		OK(set_caps(c));
		OK(prctl(PR_SET_KEEPCAPS, 1));
		OK(setresuid1(1001, 1001, 1001));
		OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
		self("@uid 1001 1001 1001 gid 0 0 0 permitted 1 effective 1 dumpable 1 keepcaps 0 nnp 0 secure 0");
	}));
	EXITED_OK(IN_CHILD({
		OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		FAILS(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
		self("@uid 0 0 0 gid 0 0 0 permitted 99 effective 99 dumpable 1 keepcaps 0 nnp 1 secure 0");
	}));
}

static void copy_self(const char *to, int mode, int uid, int gid) {
	int in = OK(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), out = OK(open(to, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0700));
	static char buf[65536];
	for (int n; (n = OK(read(in, buf, sizeof buf))) > 0;)
		EQUAL(write(out, buf, n), n);
	OK(fchown(out, uid, gid));
	OK(fchmod(out, mode));
	close(in);
	close(out);
}

static void run_file(const char *file, const char *what) {
	char *argv[] = { "x", (char *)what, NULL }, *envp[] = { NULL };
	execve(file, argv, envp);
	guest_fail(__FILE__, __LINE__, "exec %s: %s", file, strerror(errno));
}

TEST(set_user_id_programs) {
	need_root();
	struct statvfs fs;
	OK(statvfs(".", &fs));
	char elsewhere[] = "/var/tmp/guest.XXXXXX";
	if (fs.f_flag & ST_NOSUID) {
		CHECK(mkdtemp(elsewhere));
		OK(chmod(elsewhere, 0777));
		OK(chdir(elsewhere));
		OK(statvfs(".", &fs));
		if (fs.f_flag & ST_NOSUID) {
			OK(rmdir(elsewhere));
			SKIP("neither /tmp nor /var/tmp honours set-user-ID bits");
		}
	}
	copy_self("suid", 04755, 1009, 1009);
	copy_self("sgid", 02755, 1009, 2009);
	copy_self("lock", 02745, 1009, 2009); /* no group execution: a lock, not set-group-ID */
	copy_self("suidroot", 04755, 0, 0);
	EXITED_OK(IN_CHILD({
		OK(setresgid1(500, 500, 500));
		OK(setresuid1(1001, 1001, 1001));
		run_file("./suid", "@uid 1001 1009 1009 gid 500 500 500 permitted 0 effective 0 dumpable 0 keepcaps 0 nnp 0 secure 0");
	}));
	EXITED_OK(IN_CHILD({
		OK(setresgid1(500, 500, 500));
		OK(setresuid1(1001, 1001, 1001));
		run_file("./sgid", "@uid 1001 1001 1001 gid 500 2009 2009 permitted 0 effective 0 dumpable 0 keepcaps 0 nnp 0 secure 0");
	}));
	EXITED_OK(IN_CHILD({
		OK(setresgid1(500, 500, 500));
		OK(setresuid1(1001, 1001, 1001));
		run_file("./lock", "@uid 1001 1001 1001 gid 500 500 500 permitted 0 effective 0 dumpable 1 keepcaps 0 nnp 0 secure 0");
	}));
	EXITED_OK(IN_CHILD({
		OK(setresuid1(1001, 1001, 1001));
		run_file("./suidroot", "@uid 1001 0 0 gid 0 0 0 permitted 99 effective 99 dumpable 0 keepcaps 0 nnp 0 secure 0");
	}));
	EXITED_OK(IN_CHILD({
		OK(setresuid1(1001, 1001, 1001));
		OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		run_file("./suidroot", "@uid 1001 1001 1001 gid 0 0 0 permitted 0 effective 0 dumpable 1 keepcaps 0 nnp 1 secure 0");
	}));
	/* root to another user: its capabilities go */
	EXITED_OK(IN_CHILD(run_file("./suid", "@uid 0 1009 1009 gid 0 0 0 permitted 99 effective 0 dumpable 0 keepcaps 0 nnp 0 secure 0")));
	/* writing and chown take the bits away */
	int f = open_unexecuted("suid");
	EXITED_OK(IN_CHILD({
		OK(setresuid1(1001, 1001, 1001));
		EQUAL(write(f, "\x7f", 1), 1);
	}));
	struct stat st;
	OK(stat("suid", &st));
	EQUAL(st.st_mode & 07777, 0755);
	OK(chown("suidroot", 1001, 1001));
	OK(stat("suidroot", &st));
	EQUAL(st.st_mode & 07777, 0755);
	OK(chown("sgid", 1001, 1001));
	OK(stat("sgid", &st));
	EQUAL(st.st_mode & 07777, 0755);
	OK(unlink("suid") | unlink("sgid") | unlink("lock") | unlink("suidroot"));
	rmdir(elsewhere);
}

TEST(status_shows_identities) {
	need_root();
	EXITED_OK(IN_CHILD({
		gid_t g[2] = { 7, 5 };
		char line[512];
		OK(setgroups(2, g));
		OK(setresgid1(2001, 2002, 2003));
		OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		OK(setresuid1(1001, 1002, 1003));
		OK(prctl(PR_SET_DUMPABLE, 1));
		line_of_status("Uid", line, sizeof line);
		CHECK(!strcmp(line, "\t1001\t1002\t1003\t1002"));
		line_of_status("Gid", line, sizeof line);
		CHECK(!strcmp(line, "\t2001\t2002\t2003\t2002"));
		line_of_status("Groups", line, sizeof line);
		CHECK(!strcmp(line, "\t5 7 "));
		line_of_status("CapEff", line, sizeof line);
		CHECK(!strcmp(line, "\t0000000000000000"));
		line_of_status("NoNewPrivs", line, sizeof line);
		CHECK(!strcmp(line, "\t1"));
	}));
}

static void *other_thread(void *p) {
	int *go = p;
	while (!__atomic_load_n(go, __ATOMIC_ACQUIRE))
		sched_yield();
	return (void *)(long)geteuid();
}

TEST(one_thread_or_all) {
	need_root();
	EXITED_OK(IN_CHILD({
		int go = 0;
		pthread_t t;
		void *r;
		pthread_create(&t, NULL, other_thread, &go);
		OK(setresuid1(-1, 1001, -1)); /* only this one */
		__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
		pthread_join(t, &r);
		EQUAL((long)r, 0);
		OK(setresuid1(-1, 0, -1));
		go = 0;
		pthread_create(&t, NULL, other_thread, &go);
		OK(seteuid(1002)); /* glibc: all, by a signal to each */
		__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
		pthread_join(t, &r);
		EQUAL((long)r, 1002);
	}));
}

TEST(who_may_signal_whom) {
	need_root();
	pid_t k = OK(fork());
	if (!k) {
		OK(setresuid1(1001, 1002, 1003));
		for (;;)
			pause();
	}
	await_sleep(k);
	/* the sender's real or effective ID must be the target's real or saved one */
	static const struct { int r, e, may; } t[] = { { 1001, 5, 1 }, { 5, 1001, 1 }, { 1002, 5, 0 }, { 5, 1002, 0 }, { 1003, 5, 1 }, { 5, 6, 0 } };
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
		EXITED_OK(IN_CHILD({
			OK(setresuid1(t[i].r, t[i].e, 7));
			if (t[i].may)
				OK(kill(k, 0));
			else
				FAILS(kill(k, 0), EPERM);
		}));
	/* SIGCONT within the session is free */
	EXITED_OK(IN_CHILD({
		OK(setresuid1(5, 5, 5));
		FAILS(kill(k, SIGTERM), EPERM);
		OK(kill(k, SIGCONT));
		OK(setsid());
		FAILS(kill(k, SIGCONT), EPERM);
	}));
	OK(kill(k, SIGKILL));
	OK(waitpid(k, NULL, 0));
}
