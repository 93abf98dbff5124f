/* Mounts in a mount namespace of the test's own: binding, moving, propagation,
 * pivot_root, what a less privileged namespace may not undo, and the calls that
 * work on descriptors. */
#include "guest.h"
#include <dirent.h>
#include <linux/mount.h>
#include <mqueue.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/statfs.h>

#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 4
#endif
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef SYS_statmount
#define SYS_statmount 457
#define SYS_listmount 458
#endif

static int put(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

/* enter makes this process privileged over mounts of its own: in a user
 * namespace, where everything that was mounted is locked. */
static void enter(void) {
	char line[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		SKIP("the host allows no user namespaces");
	OK(put("/proc/self/setgroups", "deny"));
	snprintf(line, sizeof line, "0 %d 1\n", (int)uid);
	OK(put("/proc/self/uid_map", line));
	snprintf(line, sizeof line, "0 %d 1\n", (int)gid);
	OK(put("/proc/self/gid_map", line));
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP("the host allows no mounts in user namespaces");
}

/* begin enters, and goes to a file system in memory that is on the test's
 * directory. */
static void begin(void) {
	char dir[256];
	enter();
	CHECK(getcwd(dir, sizeof dir));
	OK(mount("tmpfs", dir, "tmpfs", 0, "mode=755"));
	OK(chdir(dir));
}

static void make(const char *path) { OK(mkdir(path, 0755)); }
static void touch(const char *path) { OK(close(OK(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0644)))); }
static int there(const char *path) { return access(path, F_OK) == 0; }

/* info finds the line of /proc/self/mountinfo whose mount point ends in a name;
 * the last one, since it is on top. */
static int info(const char *name, char *line, size_t size) {
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char buf[4096], point[1024];
	int found = 0;
	CHECK(f);
	while (fgets(buf, sizeof buf, f)) {
		CHECK(sscanf(buf, "%*d %*d %*s %*s %1023s", point) == 1);
		size_t a = strlen(point), b = strlen(name);
		if (a >= b && !strcmp(point + a - b, name)) {
			snprintf(line, size, "%s", buf);
			found++;
		}
	}
	fclose(f);
	return found;
}

TEST(tmpfs_and_umount) {
	begin();
	make("m");
	OK(mount("src", "m", "tmpfs", MS_NOEXEC, "size=64k"));
	touch("m/f");
	char line[4096];
	EQUAL(info("/m", line, sizeof line), 1);
	CHECK(strstr(line, "noexec") && strstr(line, " - tmpfs src "));
	OK(chdir("m"));
	FAILS(umount("../m"), EBUSY);
	OK(chdir(".."));
	int fd = OK(open("m/f", O_RDONLY));
	FAILS(umount("m"), EBUSY);
	OK(umount2("m", MNT_DETACH));
	CHECK(!there("m/f"));
	struct stat st;
	OK(fstat(fd, &st));
	FAILS(umount("m"), EINVAL);
	FAILS(umount("missing"), ENOENT);
	FAILS(umount2("m", 0x1000), EINVAL);
	OK(mount("src", "m", "tmpfs", 0, NULL));
	FAILS(umount2("m", MNT_EXPIRE), EAGAIN);
	OK(umount2("m", MNT_EXPIRE));
	FAILS(mount("src", "m", "no-such-type", 0, NULL), ENODEV);
	FAILS(mount("src", "m", "tmpfs", 0, "nonsense=1"), EINVAL);
	touch("file");
	FAILS(mount("src", "file", "tmpfs", 0, NULL), ENOTDIR);
}

TEST(bind) {
	begin();
	make("a");
	make("b");
	make("a/sub");
	OK(mount("t", "a/sub", "tmpfs", 0, NULL));
	touch("a/sub/x");
	OK(mount("a", "b", NULL, MS_BIND, NULL));
	CHECK(!there("b/sub/x"));
	OK(umount("b"));
	OK(mount("a", "b", NULL, MS_BIND | MS_REC, NULL));
	CHECK(there("b/sub/x"));
	/* read-only here, not there */
	OK(mount("none", "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	FAILS(open("b/f", O_CREAT | O_RDWR, 0644), EROFS);
	touch("a/f");
	touch("b/sub/y");
	OK(mount("none", "b", NULL, MS_REMOUNT | MS_BIND, NULL));
	int fd = OK(open("b/f", O_WRONLY));
	FAILS(mount("none", "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), EBUSY);
	close(fd);
	/* a file on a file */
	touch("one");
	touch("two");
	fd = OK(open("one", O_WRONLY));
	EQUAL(write(fd, "1", 1), 1);
	close(fd);
	OK(mount("one", "two", NULL, MS_BIND, NULL));
	struct stat st;
	OK(stat("two", &st));
	EQUAL(st.st_size, 1);
	FAILS(unlink("two"), EBUSY);
	FAILS(rename("two", "three"), EBUSY);
	FAILS(mount("one", "a", NULL, MS_BIND, NULL), ENOTDIR);
	FAILS(mount("missing", "a", NULL, MS_BIND, NULL), ENOENT);
}

TEST(move) {
	begin();
	make("a");
	make("b");
	OK(mount("t", "a", "tmpfs", 0, NULL));
	touch("a/x");
	make("a/in");
	FAILS(mount("a", "a/in", NULL, MS_MOVE, NULL), ELOOP);
	OK(mount("a", "b", NULL, MS_MOVE, NULL));
	CHECK(there("b/x") && !there("a/x"));
	FAILS(mount("b/in", "a", NULL, MS_MOVE, NULL), EINVAL);
	make("shared");
	OK(mount("t", "shared", "tmpfs", 0, NULL));
	OK(mount("none", "shared", NULL, MS_SHARED, NULL));
	make("shared/m");
	OK(mount("t", "shared/m", "tmpfs", 0, NULL));
	FAILS(mount("shared/m", "a", NULL, MS_MOVE, NULL), EINVAL);
}

static void three(const char *one, const char *other) {
	make(one);
	make(other);
	OK(mount("t", one, "tmpfs", 0, NULL));
}

TEST(propagation_shared) {
	begin();
	three("a", "b");
	OK(mount("none", "a", NULL, MS_SHARED, NULL));
	OK(mount("a", "b", NULL, MS_BIND, NULL));
	char x[4096], y[4096];
	int n, m;
	EQUAL(info("/a", x, sizeof x), 1);
	EQUAL(info("/b", y, sizeof y), 1);
	CHECK(strstr(x, "shared:") && strstr(y, "shared:"));
	sscanf(strstr(x, "shared:"), "shared:%d", &n);
	sscanf(strstr(y, "shared:"), "shared:%d", &m);
	EQUAL(n, m);
	make("a/d");
	OK(mount("t", "a/d", "tmpfs", 0, NULL));
	touch("a/d/f");
	CHECK(there("b/d/f"));
	/* what is mounted there is shared in turn */
	make("b/d/e");
	OK(mount("t", "b/d/e", "tmpfs", 0, NULL));
	touch("b/d/e/g");
	CHECK(there("a/d/e/g"));
	OK(umount("a/d/e"));
	CHECK(!there("b/d/e/g"));
	int fd = OK(open("b/d/f", O_RDONLY));
	FAILS(umount("a/d"), EBUSY);
	close(fd);
	OK(umount("b/d"));
	CHECK(!there("a/d/f"));
}

TEST(propagation_slave_and_private) {
	begin();
	three("a", "b");
	OK(mount("none", "a", NULL, MS_SHARED, NULL));
	OK(mount("a", "b", NULL, MS_BIND, NULL));
	OK(mount("none", "b", NULL, MS_SLAVE, NULL));
	char line[4096];
	EQUAL(info("/b", line, sizeof line), 1);
	CHECK(strstr(line, "master:") && !strstr(line, "shared:"));
	make("a/d");
	make("a/e");
	OK(mount("t", "a/d", "tmpfs", 0, NULL));
	touch("a/d/f");
	CHECK(there("b/d/f"));
	OK(mount("t", "b/e", "tmpfs", 0, NULL));
	touch("b/e/f");
	CHECK(!there("a/e/f"));
	/* a slave that is shared too passes on what it gets */
	make("c");
	OK(mount("none", "b", NULL, MS_SHARED, NULL));
	EQUAL(info("/b", line, sizeof line), 1);
	CHECK(strstr(line, "master:") && strstr(line, "shared:"));
	OK(mount("b", "c", NULL, MS_BIND, NULL));
	make("a/g");
	OK(mount("t", "a/g", "tmpfs", 0, NULL));
	touch("a/g/f");
	CHECK(there("b/g/f") && there("c/g/f"));
	OK(umount("a/g"));
	CHECK(!there("b/g/f") && !there("c/g/f"));
	OK(mount("none", "c", NULL, MS_PRIVATE, NULL));
	EQUAL(info("/c", line, sizeof line), 1);
	CHECK(!strstr(line, "master:") && !strstr(line, "shared:"));
	OK(mount("t", "a/g", "tmpfs", 0, NULL));
	touch("a/g/f");
	CHECK(there("b/g/f") && !there("c/g/f"));
	OK(mount("none", "c", NULL, MS_UNBINDABLE, NULL));
	EQUAL(info("/c", line, sizeof line), 1);
	CHECK(strstr(line, "unbindable"));
	make("x");
	FAILS(mount("c", "x", NULL, MS_BIND, NULL), EINVAL);
	FAILS(mount("none", "c", NULL, MS_SHARED | MS_PRIVATE, NULL), EINVAL);
	FAILS(mount("none", "a/d/..", NULL, MS_SHARED | MS_RDONLY, NULL), EINVAL);
	FAILS(mount("none", "x", NULL, MS_SHARED, NULL), EINVAL);
}

TEST(propagation_between_namespaces) {
	begin();
	three("a", "b");
	make("a/d");
	OK(mount("none", "a", NULL, MS_SHARED, NULL));
	int p[2], q[2];
	char c;
	OK(pipe(p));
	OK(pipe(q));
	pid_t k = OK(fork());
	if (k == 0) {
		OK(unshare(CLONE_NEWNS));
		OK(write(p[1], "r", 1));
		EQUAL(read(q[0], &c, 1), 1);
		CHECK(there("a/d/f"));
		/* and back, since both are of one user namespace */
		make("a/d/e");
		OK(mount("t", "a/d/e", "tmpfs", 0, NULL));
		touch("a/d/e/g");
		/* this one is private */
		OK(mount("t", "b", "tmpfs", 0, NULL));
		touch("b/mine");
		OK(write(p[1], "s", 1));
		EQUAL(read(q[0], &c, 1), 1);
		_exit(0);
	}
	EQUAL(read(p[0], &c, 1), 1);
	OK(mount("t", "a/d", "tmpfs", 0, NULL));
	touch("a/d/f");
	OK(write(q[1], "m", 1));
	EQUAL(read(p[0], &c, 1), 1);
	CHECK(there("a/d/e/g"));
	CHECK(!there("b/mine"));
	/* a mount point of others goes with its directory */
	OK(rmdir("b"));
	OK(write(q[1], "e", 1));
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
}

TEST(locked_in_a_user_namespace) {
	begin();
	make("m");
	touch("m/below");
	OK(mount("t", "m", "tmpfs", MS_RDONLY | MS_NOSUID, NULL));
	make("own");
	make("copy");
	EXITED_OK(IN_CHILD({
		OK(unshare(CLONE_NEWUSER | CLONE_NEWNS));
		OK(put("/proc/self/uid_map", "0 0 1\n"));
		/* what a more privileged namespace has mounted stays */
		FAILS(umount("m"), EINVAL);
		FAILS(umount2("m", MNT_DETACH), EINVAL);
		FAILS(mount("none", "m", NULL, MS_REMOUNT | MS_BIND, NULL), EPERM);
		FAILS(mount("none", "m", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), EPERM);
		OK(mount("none", "m", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL));
		FAILS(mount("m", "own", NULL, MS_MOVE, NULL), EINVAL);
		/* nor is what it covers shown by a copy */
		FAILS(mount(".", "copy", NULL, MS_BIND, NULL), EINVAL);
		OK(mount(".", "copy", NULL, MS_BIND | MS_REC, NULL));
		CHECK(!there("copy/m/below"));
		FAILS(umount("copy/m"), EINVAL);
		OK(umount2("copy", MNT_DETACH));
		OK(mount("t", "own", "tmpfs", 0, NULL));
		OK(umount("own"));
	}));
}

TEST(pivot_root) {
	begin();
	make("new");
	OK(mount("t", "new", "tmpfs", 0, NULL));
	make("new/old");
	touch("new/here");
	touch("was");
	FAILS(syscall(SYS_pivot_root, "new", "."), EINVAL);
	FAILS(syscall(SYS_pivot_root, "new/old", "new/old"), EINVAL);
	FAILS(syscall(SYS_pivot_root, "missing", "new/old"), ENOENT);
	char dir[300], cwd[256];
	CHECK(getcwd(cwd, sizeof cwd));
	pid_t k = OK(fork());
	if (k == 0) {
		OK(unshare(CLONE_NEWNS));
		if (syscall(SYS_pivot_root, "new", "new/old")) {
			/* a host whose root is not a mount */
			EQUAL(errno, EINVAL);
			_exit(0);
		}
		OK(chdir("/"));
		CHECK(there("/here"));
		snprintf(dir, sizeof dir, "/old%s/was", cwd);
		CHECK(there(dir));
		OK(umount2("/old", MNT_DETACH));
		CHECK(!there(dir));
		CHECK(there("/here"));
		_exit(0);
	}
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	EXITED_OK(s);
	/* the old root on top of the new one, as container runtimes do */
	EXITED_OK(IN_CHILD({
		OK(unshare(CLONE_NEWNS));
		OK(chdir("new"));
		if (syscall(SYS_pivot_root, ".", ".") == 0) {
			OK(umount2(".", MNT_DETACH));
			OK(chdir("/"));
			CHECK(there("/here") && there("/old"));
			struct stat st;
			OK(stat("/..", &st));
		}
	}));
	CHECK(there("was"));
}

TEST(chroot) {
	begin();
	make("r");
	touch("r/f");
	EXITED_OK(IN_CHILD({
		OK(chroot("r"));
		OK(chdir("/"));
		CHECK(there("/f") && there("/../f"));
		FAILS(unshare(CLONE_NEWUSER), EPERM);
		char line[4096];
		FAILS(access("/proc/self/mountinfo", F_OK), ENOENT);
		(void)line;
	}));
}

TEST(namespace_file_bound) {
	begin();
	touch("uts");
	struct stat a, b;
	EXITED_OK(IN_CHILD({
		OK(unshare(CLONE_NEWUTS));
		OK(sethostname("kept", 4));
		OK(mount("/proc/self/ns/uts", "uts", NULL, MS_BIND, NULL));
	}));
	char line[4096];
	EQUAL(info("/uts", line, sizeof line), 1);
	CHECK(strstr(line, " uts:[") && strstr(line, " - nsfs "));
	OK(stat("uts", &a));
	OK(stat("/proc/self/ns/uts", &b));
	EQUAL(a.st_dev, b.st_dev);
	CHECK(a.st_ino != b.st_ino);
	int fd = OK(open("uts", O_RDONLY));
	OK(setns(fd, CLONE_NEWUTS));
	char name[65];
	OK(gethostname(name, sizeof name));
	CHECK(!strcmp(name, "kept"));
	close(fd);
	OK(umount("uts"));
	/* a namespace does not hold itself */
	FAILS(mount("/proc/self/ns/mnt", "uts", NULL, MS_BIND, NULL), EINVAL);
}

static int open_tree_(int d, const char *p, unsigned f) { return syscall(428, d, p, f); }
static int move_mount_(int fd, const char *fp, int td, const char *tp, unsigned f) { return syscall(429, fd, fp, td, tp, f); }
static int fsopen_(const char *t, unsigned f) { return syscall(430, t, f); }
static int fsconfig_(int fd, unsigned cmd, const char *k, const void *v, int aux) { return syscall(431, fd, cmd, k, v, aux); }
static int fsmount_(int fd, unsigned f, unsigned a) { return syscall(432, fd, f, a); }
static int mount_setattr_(int d, const char *p, unsigned f, void *a, size_t s) { return syscall(442, d, p, f, a, s); }

TEST(new_calls) {
	begin();
	make("m");
	int fs = fsopen_("tmpfs", 1);
	if (fs < 0 && errno == ENOSYS)
		SKIP("the host has no fsopen");
	CHECK(fs >= 0);
	FAILS(fsopen_("no-such-type", 0), ENODEV);
	FAILS(fsopen_("tmpfs", 2), EINVAL);
	OK(fsconfig_(fs, 1, "source", "from", 0));
	OK(fsconfig_(fs, 1, "size", "128k", 0));
	FAILS(fsconfig_(fs, 1, "size", NULL, 0), EINVAL);
	FAILS(fsconfig_(fs, 0, NULL, NULL, 0), EINVAL);
	FAILS(fsconfig_(fs, 99, NULL, NULL, 0), EOPNOTSUPP);
	FAILS(fsconfig_(0, 6, NULL, NULL, 0), EINVAL);
	OK(fsconfig_(fs, 6, NULL, NULL, 0));
	FAILS(fsconfig_(fs, 6, NULL, NULL, 0), EBUSY);
	FAILS(fsmount_(fs, 0, 0x40000000), EINVAL);
	int m = OK(fsmount_(fs, 1, 1 | 8)); /* read-only, noexec */
	FAILS(openat(m, "f", O_CREAT | O_RDWR, 0600), EROFS);
	OK(move_mount_(m, "", AT_FDCWD, "m", MOVE_MOUNT_F_EMPTY_PATH));
	char line[4096];
	EQUAL(info("/m", line, sizeof line), 1);
	CHECK(strstr(line, " ro,") && strstr(line, "noexec") && strstr(line, "- tmpfs from "));
	struct { uint64_t set, clear, propagation, userns; } attr = { .set = 4, .clear = 1 };
	OK(mount_setattr_(AT_FDCWD, "m", 0, &attr, sizeof attr));
	touch("m/f");
	EQUAL(info("/m", line, sizeof line), 1);
	CHECK(strstr(line, " rw,") && strstr(line, "nodev") && strstr(line, "noexec"));
	attr = (typeof(attr)){ .propagation = MS_SHARED };
	OK(mount_setattr_(m, "", AT_EMPTY_PATH, &attr, sizeof attr));
	EQUAL(info("/m", line, sizeof line), 1);
	CHECK(strstr(line, "shared:"));
	FAILS(mount_setattr_(AT_FDCWD, "m", 0, &attr, 8), EINVAL);
	attr = (typeof(attr)){ .set = 1ull << 40 };
	FAILS(mount_setattr_(AT_FDCWD, "m", 0, &attr, sizeof attr), EINVAL);
	attr = (typeof(attr)){ .set = 0x10 }; /* noatime without clearing the others */
	FAILS(mount_setattr_(AT_FDCWD, "m", 0, &attr, sizeof attr), EINVAL);
	attr = (typeof(attr)){ .set = 0x10, .clear = 0x70 };
	OK(mount_setattr_(AT_FDCWD, "m", 0, &attr, sizeof attr));
	EQUAL(info("/m", line, sizeof line), 1);
	CHECK(strstr(line, "noatime"));
	attr = (typeof(attr)){ .set = 1 };
	int w = OK(open("m/f", O_WRONLY));
	FAILS(mount_setattr_(AT_FDCWD, "m", 0, &attr, sizeof attr), EBUSY);
	close(w);
	FAILS(mount_setattr_(AT_FDCWD, "m/f", 0, &attr, sizeof attr), EINVAL);
}

TEST(trees) {
	begin();
	make("a");
	make("b");
	OK(mount("t", "a", "tmpfs", 0, NULL));
	make("a/sub");
	touch("a/f");
	OK(mount("t", "a/sub", "tmpfs", 0, NULL));
	touch("a/sub/g");
	int plain = open_tree_(AT_FDCWD, "a", O_CLOEXEC);
	if (plain < 0 && errno == ENOSYS)
		SKIP("the host has no open_tree");
	CHECK(plain >= 0);
	OK(faccessat(plain, "sub/g", F_OK, 0));
	FAILS(open_tree_(AT_FDCWD, "a", AT_RECURSIVE), EINVAL);
	FAILS(open_tree_(AT_FDCWD, "a", 1 << 30), EINVAL);
	int one = OK(open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE));
	OK(faccessat(one, "f", F_OK, 0));
	FAILS(faccessat(one, "sub/g", F_OK, 0), ENOENT);
	/* it goes with its descriptor, and is nobody's until it is attached */
	close(one);
	int all = OK(open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE | AT_RECURSIVE));
	OK(faccessat(all, "sub/g", F_OK, 0));
	OK(umount2("a", MNT_DETACH));
	CHECK(!there("a/f"));
	OK(move_mount_(all, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
	CHECK(there("b/f") && there("b/sub/g"));
	close(all);
	CHECK(there("b/sub/g"));
	/* move_mount moves what is attached too */
	OK(move_mount_(AT_FDCWD, "b", AT_FDCWD, "a", 0));
	CHECK(there("a/sub/g") && !there("b/f"));
	FAILS(move_mount_(AT_FDCWD, "a/f", AT_FDCWD, "b", 0), EINVAL);
	FAILS(move_mount_(AT_FDCWD, "a", AT_FDCWD, "b", 1 << 30), EINVAL);
}

struct id_req { uint32_t size, spare; uint64_t id, param; };

TEST(statmount_and_listmount) {
	begin();
	make("m");
	OK(mount("from", "m", "tmpfs", MS_NOSUID, NULL));
	make("m/n");
	OK(mount("from", "m/n", "tmpfs", 0, NULL));
	struct statx x;
	memset(&x, 0, sizeof x);
	OK(syscall(SYS_statx, AT_FDCWD, "m", 0, 0x4000, &x));
	if (!(x.stx_mask & 0x4000))
		SKIP("the host has no unique mount numbers");
	uint64_t id;
	memcpy(&id, (char *)&x + 144, 8);
	union { char b[8192]; uint64_t u[8]; uint32_t w[16]; } s;
	memset(&s, 0, sizeof s);
	struct id_req r = { sizeof r, 0, id, 0x2 | 0x10 | 0x20 };
	if (syscall(SYS_statmount, &r, &s, sizeof s, 0) < 0 && errno == ENOSYS)
		SKIP("the host has no statmount");
	OK(syscall(SYS_statmount, &r, &s, sizeof s, 0));
	EQUAL(s.u[1] & 0x32, 0x32);
	EQUAL(s.u[5], id);
	uint64_t attrs = s.u[8];
	CHECK(attrs & 2);
	char *point = s.b + 512 + *(uint32_t *)(s.b + 108);
	char *type = s.b + 512 + *(uint32_t *)(s.b + 36);
	CHECK(!strcmp(type, "tmpfs"));
	CHECK(strlen(point) > 2 && !strcmp(point + strlen(point) - 2, "/m"));
	FAILS(syscall(SYS_statmount, &r, &s, 513, 0), EOVERFLOW);
	r.id = id + (1ull << 40);
	FAILS(syscall(SYS_statmount, &r, &s, sizeof s, 0), ENOENT);
	FAILS(syscall(SYS_statmount, &r, &s, sizeof s, 1), EINVAL);
	r = (struct id_req){ 8, 0, id, 0 };
	FAILS(syscall(SYS_statmount, &r, &s, sizeof s, 0), EINVAL);
	uint64_t list[1024];
	r = (struct id_req){ sizeof r, 0, id, 0 };
	EQUAL(syscall(SYS_listmount, &r, list, 1024, 0), 1);
	CHECK(list[0] > id);
	r.id = ~0ull;
	int n = OK(syscall(SYS_listmount, &r, list, 1024, 0));
	CHECK(n >= 3);
	/* in order, and in pieces */
	for (int i = 1; i < n; i++)
		CHECK(list[i - 1] < list[i]);
	uint64_t first[2];
	EQUAL(syscall(SYS_listmount, &r, first, 1, 0), 1);
	EQUAL(first[0], list[0]);
	r.param = first[0];
	EQUAL(syscall(SYS_listmount, &r, first, 1, 0), 1);
	EQUAL(first[0], list[1]);
}

/* names counts what readdir finds in a directory. */
static int names(const char *dir) {
	DIR *d = opendir(dir);
	int n = 0;
	CHECK(d);
	for (struct dirent *e; (e = readdir(d));)
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(d);
	return n;
}

TEST(message_queues) {
	begin();
	make("q");
	/* the queues are those of a namespace that is not ours */
	FAILS(mount("mqueue", "q", "mqueue", 0, NULL), EPERM);
	OK(unshare(CLONE_NEWIPC));
	mqd_t one = OK(mq_open("/one", O_CREAT | O_RDWR, 0600, NULL));
	OK(mount("mqueue", "q", "mqueue", MS_NOSUID, NULL));
	CHECK(there("q/one"));
	struct stat st, fst;
	OK(stat("q", &st));
	EQUAL(st.st_mode, S_IFDIR | 01777);
	OK(stat("q/one", &st));
	EQUAL(st.st_mode, S_IFREG | 0600);
	EQUAL(st.st_size, 80);
	OK(fstat(one, &fst));
	EQUAL(st.st_ino, fst.st_ino);
	EQUAL(st.st_dev, fst.st_dev);
	OK(mq_send(one, "hello", 5, 0));
	char buf[256];
	int fd = OK(open("q/one", O_RDONLY));
	ssize_t n = OK(read(fd, buf, sizeof buf - 1));
	buf[n] = 0;
	CHECK(!strncmp(buf, "QSIZE:5 ", 8));
	EQUAL(read(fd, buf, sizeof buf), 0);
	FAILS(write(fd, "x", 1), EBADF);
	/* it is a queue as mq_open gives it */
	static char msg[8192];
	EQUAL(mq_receive(fd, msg, sizeof msg, NULL), 5);
	close(fd);
	/* made and removed on either side */
	fd = OK(open("q/two", O_CREAT | O_EXCL | O_RDWR, 0640));
	FAILS(write(fd, "x", 1), EINVAL);
	close(fd);
	EQUAL(names("q"), 2);
	mqd_t two = OK(mq_open("/two", O_WRONLY));
	OK(mq_close(two));
	OK(unlink("q/two"));
	FAILS(mq_open("/two", O_WRONLY), ENOENT);
	OK(mq_unlink("/one"));
	CHECK(!there("q/one"));
	EQUAL(names("q"), 0);
	FAILS(mkdir("q/dir", 0755), EPERM);
	FAILS(symlink("x", "q/link"), EPERM);
	OK(mq_close(one));
	/* another mount shows the same; another namespace has others */
	make("again");
	OK(mount("mqueue", "again", "mqueue", 0, NULL));
	OK(mq_close(OK(mq_open("/three", O_CREAT | O_RDWR, 0600, NULL))));
	CHECK(there("q/three") && there("again/three"));
	OK(umount("again"));
	EQUAL(IN_CHILD({
		OK(unshare(CLONE_NEWIPC));
		CHECK(there("q/three"));
		OK(mount("mqueue", "again", "mqueue", 0, NULL));
		EQUAL(names("again"), 0);
	}), 0);
	OK(umount("again"));
	/* RLIMIT_MSGQUEUE counts those made in the directory too */
	struct rlimit none = { 0, 0 };
	OK(setrlimit(RLIMIT_MSGQUEUE, &none));
	FAILS(open("q/four", O_CREAT | O_RDWR, 0600), EMFILE);
}

static void put_new(const char *path, const char *text) {
	int fd = OK(open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644));
	EQUAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* holds checks what a file holds. */
static int holds(const char *path, const char *text) {
	char buf[64];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, buf, sizeof buf - 1);
	close(fd);
	if (n < 0)
		return 0;
	buf[n] = 0;
	return !strcmp(buf, text);
}

static int overlay(const char *at, const char *options) { return mount("overlay", at, "overlay", 0, options); }

TEST(overlay) {
	begin();
	const char *dirs[] = { "low", "low/sub", "low2", "low2/sub", "low2/only", "up", "work", "m", "m2" };
	for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++)
		make(dirs[i]);
	put_new("low/f", "low");
	put_new("low/sub/g", "low");
	put_new("low2/f", "low2");
	put_new("low2/sub/h", "low2");
	if (overlay("m", "lowerdir=low:low2,upperdir=up,workdir=work,userxattr"))
		SKIP("no overlays can be mounted in user namespaces here");
	CHECK(holds("m/f", "low") && holds("m/sub/g", "low") && holds("m/sub/h", "low2"));
	EQUAL(names("m"), 3);
	EQUAL(names("m/sub"), 2);
	/* what is under way of being looked up in the upper directory is known there
	 * at once when it comes and goes */
	CHECK(!there("up/new"));
	put_new("m/new", "new");
	CHECK(holds("up/new", "new"));
	OK(unlink("m/new"));
	CHECK(!there("up/new") && !there("m/new"));
	/* copied up, the lower ones stay */
	put_new("m/f", "changed");
	CHECK(holds("m/f", "changed") && holds("up/f", "changed") && holds("low/f", "low"));
	put_new("m/sub/g", "changed");
	CHECK(holds("up/sub/g", "changed"));
	/* whiteouts */
	OK(unlink("m/sub/h"));
	CHECK(!there("m/sub/h") && there("low2/sub/h"));
	struct stat st;
	OK(lstat("up/sub/h", &st));
	EQUAL(st.st_mode & S_IFMT, S_IFCHR);
	EQUAL(st.st_rdev, 0);
	OK(rmdir("m/only"));
	OK(mkdir("m/only", 0700));
	EQUAL(names("m/only"), 0);
	/* within the upper directory */
	OK(rename("m/f", "m/renamed"));
	CHECK(there("up/renamed") && !there("m/f"));
	make("m/made");
	put_new("m/made/x", "x");
	OK(rename("m/made", "m/moved"));
	CHECK(holds("m/moved/x", "x") && holds("up/moved/x", "x") && !there("up/made"));
	char line[4096];
	EQUAL(info("/m", line, sizeof line), 1);
	CHECK(strstr(line, " - overlay overlay ") && strstr(line, "lowerdir=low:low2,upperdir=up,workdir=work"));
	struct statfs fs;
	OK(statfs("m", &fs));
	EQUAL(fs.f_type, 0x794c7630);
	/* without the mount, the layers are what was made of them */
	OK(umount("m"));
	CHECK(holds("up/renamed", "changed"));
	OK(overlay("m", "lowerdir=low:low2,upperdir=up,workdir=work,userxattr"));
	CHECK(!there("m/f") && !there("m/sub/h") && holds("m/moved/x", "x"));
	EQUAL(names("m/only"), 0);
	/* one upon the other, and no deeper */
	OK(overlay("m2", "lowerdir=m:low2"));
	CHECK(holds("m2/moved/x", "x"));
	make("m3");
	FAILS(overlay("m3", "lowerdir=m2:low2"), EINVAL);
	OK(umount("m2"));
	OK(umount("m"));
}

TEST(overlay_without_an_upper_directory) {
	begin();
	make("a");
	make("b");
	make("m");
	put_new("a/f", "a");
	put_new("b/g", "b");
	if (overlay("m", "lowerdir=a:b"))
		SKIP("no overlays can be mounted in user namespaces here");
	CHECK(holds("m/f", "a") && holds("m/g", "b"));
	FAILS(open("m/f", O_WRONLY), EROFS);
	FAILS(open("m/new", O_CREAT | O_WRONLY, 0644), EROFS);
	FAILS(mkdir("m/d", 0755), EROFS);
	FAILS(unlink("m/f"), EROFS);
	FAILS(rename("m/f", "m/x"), EROFS);
	FAILS(chmod("m/f", 0600), EROFS);
	FAILS(access("m/f", W_OK), EROFS);
	/* that of the mount alone changes nothing */
	OK(mount("none", "m", NULL, MS_REMOUNT | MS_BIND, NULL));
	FAILS(open("m/f", O_WRONLY), EROFS);
	OK(umount("m"));
	/* a colon and a comma that are meant */
	make("c:d");
	make("e,f");
	put_new("c:d/f", "colon");
	put_new("e,f/g", "comma");
	OK(overlay("m", "lowerdir=c\\:d:e\\,f"));
	CHECK(holds("m/f", "colon") && holds("m/g", "comma"));
}

TEST(overlay_refused) {
	begin();
	const char *dirs[] = { "low", "low/in", "up", "up/in", "work", "work/in", "m", "other" };
	for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++)
		make(dirs[i]);
	touch("file");
	if (overlay("m", "lowerdir=low,upperdir=up,workdir=work,userxattr"))
		SKIP("no overlays can be mounted in user namespaces here");
	OK(umount("m"));
	FAILS(overlay("m", "upperdir=up,workdir=work"), EINVAL);
	FAILS(overlay("m", "lowerdir=low"), EINVAL);
	FAILS(overlay("m", "lowerdir=low,upperdir=up"), EINVAL);
	FAILS(overlay("m", "lowerdir=low:,upperdir=up,workdir=work"), EINVAL);
	FAILS(overlay("m", "lowerdir=missing,upperdir=up,workdir=work"), ENOENT);
	FAILS(overlay("m", "lowerdir=low,upperdir=missing,workdir=work"), ENOENT);
	FAILS(overlay("m", "lowerdir=low,upperdir=up,workdir=missing"), ENOENT);
	FAILS(overlay("m", "lowerdir=low,upperdir=up,workdir=up/in"), EINVAL);
	FAILS(overlay("m", "lowerdir=low,upperdir=work/in,workdir=work"), EINVAL);
	FAILS(overlay("m", "lowerdir=low,upperdir=up,workdir=up"), EINVAL);
	FAILS(overlay("m", "lowerdir=low:low/in,upperdir=up,workdir=work"), ELOOP);
	FAILS(overlay("m", "lowerdir=low:low,upperdir=up,workdir=work"), ELOOP);
	FAILS(overlay("m", "lowerdir=low,upperdir=up,workdir=work,nonsense"), EINVAL);
	FAILS(overlay("m", "lowerdir=/proc:low"), EINVAL);
	OK(mount("t", "other", "tmpfs", 0, NULL));
	make("other/work");
	FAILS(overlay("m", "lowerdir=low,upperdir=up,workdir=other/work"), EINVAL);
	OK(mount("none", "other", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	make("up2");
	OK(mount("up2", "up2", NULL, MS_BIND, NULL));
	OK(mount("none", "up2", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	FAILS(overlay("m", "lowerdir=low,upperdir=up2,workdir=up2"), EINVAL);
}

/* an overlay is no way to write where its maker may not */
TEST(overlay_privileges) {
	if (geteuid() != 0)
		SKIP("needs root");
	char dir[256];
	CHECK(getcwd(dir, sizeof dir));
	OK(chmod(".", 0755));
	make("open");
	OK(chmod("open", 0777));
	OK(chdir("open"));
	make("low");
	make("low/mine");
	OK(chown("low/mine", 1000, 1000));
	make("up");
	make("up/theirs");
	OK(chown("up", 1000, 1000));
	make("low/theirs");
	make("low/theirs/mine");
	OK(chown("low/theirs/mine", 1000, 1000));
	make("work");
	OK(chown("work", 1000, 1000));
	make("m");
	make("closed");
	OK(chown("m", 1000, 1000));
	EQUAL(IN_CHILD({
		OK(setgid(1000));
		OK(setuid(1000));
		OK(prctl(PR_SET_DUMPABLE, 1));
		enter();
		if (overlay("m", "lowerdir=low,upperdir=closed,workdir=work,userxattr"))
			SKIP("no overlays can be mounted in user namespaces here");
		FAILS(open("m/f", O_CREAT | O_WRONLY, 0644), EACCES);
		FAILS(open("m/mine/f", O_CREAT | O_WRONLY, 0644), EACCES);
		OK(umount("m"));
		OK(overlay("m", "lowerdir=low,upperdir=up,workdir=work,userxattr"));
		put_new("m/mine/f", "x");
		/* it would have to be made in a directory that is not the maker's */
		FAILS(open("m/theirs/mine/f", O_CREAT | O_WRONLY, 0644), EACCES);
		CHECK(!there("up/theirs/mine"));
	}), 0);
}

TEST(privileges) {
	begin();
	make("m");
	EXITED_OK(IN_CHILD({
		/* a user namespace of one's own gives no power over others' mounts */
		OK(unshare(CLONE_NEWUSER));
		OK(put("/proc/self/uid_map", "0 0 1\n"));
		FAILS(mount("t", "m", "tmpfs", 0, NULL), EPERM);
		FAILS(umount("m"), EPERM);
		FAILS(syscall(SYS_pivot_root, "m", "m"), EPERM);
		FAILS(fsopen_("tmpfs", 0), EPERM);
		FAILS(open_tree_(AT_FDCWD, "m", OPEN_TREE_CLONE), EPERM);
		FAILS(move_mount_(AT_FDCWD, "m", AT_FDCWD, "m", 0), EPERM);
	}));
}

TEST(mount_bomb) {
	begin();
	make("a");
	OK(mount("t", "a", "tmpfs", 0, NULL));
	OK(mount("none", "a", NULL, MS_SHARED, NULL));
	make("a/b");
	/* each doubles what there is: the limit ends it */
	int i = 0;
	while (i < 40 && mount("a", "a/b", NULL, MS_BIND | MS_REC, NULL) == 0)
		i++;
	CHECK(i < 40);
	EQUAL(errno, ENOSPC);
	OK(umount2("a", MNT_DETACH));
}
