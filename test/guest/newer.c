/* Calls that C libraries do not wrap: new ones, and some that are as old as
 * they are rare. On a host that lacks one the test is skipped. */
#include "guest.h"
#include <sys/uio.h>
#include <sys/xattr.h>

#define CALL(nr, ...) syscall(nr, ##__VA_ARGS__)
/* NEEDS skips a test on a host without the call: bad arguments say EINVAL, or
 * something else, but not ENOSYS. */
#define NEEDS(...)                                                             \
	do {                                                                   \
		if (CALL(__VA_ARGS__) == -1 && errno == ENOSYS)                \
			SKIP("this host's kernel lacks the call");             \
	} while (0)

enum { SETXATTRAT = 463, GETXATTRAT, LISTXATTRAT, REMOVEXATTRAT, MSEAL = 462, CACHESTAT = 451,
       PROCESS_MADVISE = 440, PROCESS_MRELEASE = 448, LSM_GET = 459, LSM_SET, LSM_LIST };

struct xargs {
	uint64_t value;
	uint32_t size, flags;
	uint64_t more;
};

TEST(xattrat) {
	char buf[100];
	NEEDS(LISTXATTRAT, -1, "", ~0u, NULL, 0);
	close(OK(open("f", O_CREAT | O_RDWR, 0600)));
	struct xargs x = { (uintptr_t)"blue", 4, 0, 0 };
	if (CALL(SETXATTRAT, AT_FDCWD, "f", 0, "user.color", &x, 16) == -1 && errno == EOPNOTSUPP)
		SKIP("this directory's file system has no user attributes");
	EQUAL(getxattr("f", "user.color", buf, sizeof buf), 4);
	x.flags = XATTR_CREATE;
	FAILS(CALL(SETXATTRAT, AT_FDCWD, "f", 0, "user.color", &x, 16), EEXIST);
	FAILS(CALL(SETXATTRAT, AT_FDCWD, "f", 0, "user.color", &x, 15), EINVAL);
	x.flags = 0;
	OK(CALL(SETXATTRAT, AT_FDCWD, "f", 0, "user.color", &x, 24));
	x.more = 1;
	FAILS(CALL(SETXATTRAT, AT_FDCWD, "f", 0, "user.color", &x, 24), E2BIG);
	FAILS(CALL(SETXATTRAT, AT_FDCWD, "f", 0, "user.color", &x, 5000), E2BIG);
	FAILS(CALL(SETXATTRAT, AT_FDCWD, "f", AT_SYMLINK_FOLLOW, "user.color", &x, 16), EINVAL);
	FAILS(CALL(SETXATTRAT, AT_FDCWD, "f", 0, "user.color", (void *)8, 16), EFAULT);
	memset(buf, 0, sizeof buf);
	x = (struct xargs){ (uintptr_t)buf, sizeof buf, 0, 0 };
	EQUAL(CALL(GETXATTRAT, AT_FDCWD, "f", 0, "user.color", &x, 16), 4);
	CHECK(!memcmp(buf, "blue", 4));
	x.flags = XATTR_CREATE;
	FAILS(CALL(GETXATTRAT, AT_FDCWD, "f", 0, "user.color", &x, 16), EINVAL);
	x = (struct xargs){ (uintptr_t)buf, 3, 0, 0 };
	FAILS(CALL(GETXATTRAT, AT_FDCWD, "f", 0, "user.color", &x, 16), ERANGE);
	FAILS(CALL(GETXATTRAT, AT_FDCWD, "f", 0, "user.taste", &x, 16), ENODATA);
	int fd = OK(open("f", O_RDONLY)), dir = OK(open(".", O_RDONLY | O_DIRECTORY));
	x.size = sizeof buf;
	EQUAL(CALL(GETXATTRAT, fd, "", AT_EMPTY_PATH, "user.color", &x, 16), 4);
	OK(symlink("f", "l"));
	EQUAL(CALL(GETXATTRAT, dir, "l", 0, "user.color", &x, 16), 4);
	FAILS(CALL(GETXATTRAT, dir, "l", AT_SYMLINK_NOFOLLOW, "user.color", &x, 16), ENODATA);
	long n = OK(CALL(LISTXATTRAT, dir, "f", 0, buf, sizeof buf));
	int seen = 0;
	for (char *p = buf; p < buf + n; p += strlen(p) + 1)
		seen += !strcmp(p, "user.color");
	EQUAL(seen, 1);
	OK(CALL(REMOVEXATTRAT, dir, "f", 0, "user.color"));
	FAILS(CALL(REMOVEXATTRAT, dir, "f", 0, "user.color"), ENODATA);
	FAILS(CALL(REMOVEXATTRAT, dir, "f", 0x8000, "user.color"), EINVAL);
}

TEST(mseal) {
	NEEDS(MSEAL, 1, 1, 0);
	char *p = mmap(NULL, 4 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	FAILS(CALL(MSEAL, p + 1, 4096, 0), EINVAL);
	FAILS(CALL(MSEAL, p, 4096, 1), EINVAL);
	FAILS(CALL(MSEAL, p, -4096L, 0), EINVAL);
	OK(munmap(p + 3 * 4096, 4096));
	FAILS(CALL(MSEAL, p, 4 * 4096, 0), ENOMEM);
	OK(CALL(MSEAL, p + 4096, 4096, 0));
	OK(CALL(MSEAL, p + 4096, 4096, 0));
	FAILS(munmap(p, 3 * 4096), EPERM);
	FAILS(mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE), EPERM);
	FAILS(madvise(p + 4096, 4096, MADV_DONTNEED), EPERM);
	CHECK(mremap(p + 4096, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED);
	EQUAL(errno, EPERM);
	CHECK(mmap(p, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
	EQUAL(errno, EPERM);
	EQUAL(p[4096], 0);
	/* A child has it sealed too. */
	EXITED_OK(IN_CHILD(FAILS(munmap(p + 4096, 4096), EPERM)));
	OK(munmap(p, 4096));
	OK(munmap(p + 2 * 4096, 4096));
}

TEST(cachestat) {
	struct { uint64_t off, len; } r = { 0, 0 };
	struct { uint64_t cache, dirty, writeback, evicted, recently; } c;
	static char data[10 * 4096];
	NEEDS(CACHESTAT, -1, NULL, NULL, 0);
	int fd = OK(memfd_create("x", 0));
	EQUAL(write(fd, data, sizeof data), sizeof data);
	OK(CALL(CACHESTAT, fd, &r, &c, 0));
	EQUAL(c.cache + c.evicted, 10);
	r.len = 4097;
	OK(CALL(CACHESTAT, fd, &r, &c, 0));
	EQUAL(c.cache + c.evicted, 2);
	r.off = 1 << 30;
	OK(CALL(CACHESTAT, fd, &r, &c, 0));
	EQUAL(c.cache, 0);
	FAILS(CALL(CACHESTAT, fd, &r, &c, 1), EINVAL);
	FAILS(CALL(CACHESTAT, fd, NULL, &c, 0), EFAULT);
	FAILS(CALL(CACHESTAT, fd, &r, NULL, 0), EFAULT);
	FAILS(CALL(CACHESTAT, -1, &r, &c, 0), EBADF);
}

TEST(process_madvise) {
	NEEDS(PROCESS_MADVISE, -1, NULL, 0, 0, 0);
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec v = { p, 8192 };
	int self = OK(syscall(SYS_pidfd_open, getpid(), 0));
	EQUAL(CALL(PROCESS_MADVISE, self, &v, 1, MADV_WILLNEED, 0), 8192);
	FAILS(CALL(PROCESS_MADVISE, self, &v, 1, MADV_WILLNEED, 1), EINVAL);
	FAILS(CALL(PROCESS_MADVISE, self, &v, 1, 4711, 0), EINVAL);
	FAILS(CALL(PROCESS_MADVISE, -1, &v, 1, MADV_WILLNEED, 0), EBADF);
	FAILS(CALL(PROCESS_MADVISE, self, (void *)8, 1, MADV_WILLNEED, 0), EFAULT);
	pid_t k = (pid_t)OK(fork());
	if (k == 0) {
		pause();
		_exit(0);
	}
	int other = OK(syscall(SYS_pidfd_open, k, 0));
	FAILS(CALL(PROCESS_MADVISE, other, &v, 1, MADV_DONTNEED, 0), EINVAL);
	if (over_host())
		EQUAL(CALL(PROCESS_MADVISE, other, &v, 1, MADV_COLD, 0), 8192);
	kill(k, SIGKILL);
}

TEST(process_mrelease) {
	NEEDS(PROCESS_MRELEASE, -1, 1);
	pid_t k = (pid_t)OK(fork());
	if (k == 0) {
		pause();
		_exit(0);
	}
	int fd = OK(syscall(SYS_pidfd_open, k, 0));
	FAILS(CALL(PROCESS_MRELEASE, fd, 1), EINVAL);
	FAILS(CALL(PROCESS_MRELEASE, fd, 0), EINVAL); /* it is not about to end */
	FAILS(CALL(PROCESS_MRELEASE, -1, 0), EBADF);
	kill(k, SIGKILL);
	EQUAL(waitpid(k, NULL, 0), k);
	FAILS(CALL(PROCESS_MRELEASE, fd, 0), ESRCH);
}

TEST(move_pages) {
	char *p = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *pages[4] = { p, p + 4096, p + 3 * 4096, (void *)-4096L };
	int status[4] = { 9, 9, 9, 9 }, nodes[4] = { 0, 0, 0, 0 };
	NEEDS(SYS_move_pages, 0, 0, NULL, NULL, NULL, ~0);
	p[0] = 1;
	p[3 * 4096] = 1;
	OK(munmap(p + 4096, 4096));
	OK(syscall(SYS_move_pages, 0, 4, pages, NULL, status, 0));
	CHECK(status[0] >= 0);
	EQUAL(status[1], -EFAULT);
	CHECK(status[2] >= 0);
	EQUAL(status[3], -EFAULT);
	OK(syscall(SYS_move_pages, 0, 0, NULL, NULL, NULL, 0));
	FAILS(syscall(SYS_move_pages, 0, 4, pages, NULL, status, 1), EINVAL);
	FAILS(syscall(SYS_move_pages, 0, 4, NULL, NULL, status, 0), EFAULT);
	FAILS(syscall(SYS_move_pages, 0, 4, pages, NULL, NULL, 0), EFAULT);
	FAILS(syscall(SYS_move_pages, 99999999, 4, pages, NULL, status, 0), ESRCH);
	nodes[0] = 60;
	FAILS(syscall(SYS_move_pages, 0, 1, pages, nodes, status, 2), ENODEV);
}

TEST(lsm) {
	uint64_t ids[64] = { 0 };
	uint32_t size = sizeof ids;
	NEEDS(LSM_LIST, NULL, NULL, ~0u);
	long n = OK(CALL(LSM_LIST, ids, &size, 0));
	CHECK(n >= 1);
	EQUAL(size, 8 * n);
	int found = 0;
	for (int i = 0; i < n; i++)
		found += ids[i] == 100; /* capabilities */
	EQUAL(found, 1);
	size = 7;
	FAILS(CALL(LSM_LIST, ids, &size, 0), E2BIG);
	EQUAL(size, 8 * n);
	FAILS(CALL(LSM_LIST, ids, &size, 1), EINVAL);
	FAILS(CALL(LSM_LIST, ids, NULL, 0), EFAULT);
	size = sizeof ids;
	FAILS(CALL(LSM_LIST, NULL, &size, 0), EFAULT);
	FAILS(CALL(LSM_GET, 0, ids, &size, 0), EINVAL);
	FAILS(CALL(LSM_GET, 100, ids, NULL, 0), EINVAL);
	FAILS(CALL(LSM_SET, 100, ids, 16, 0), EINVAL);
	FAILS(CALL(LSM_SET, 100, ids, 32, 1), EINVAL);
	FAILS(CALL(LSM_SET, 100, ids, 5000, 0), E2BIG);
}

TEST(file_handles) {
	struct { struct file_handle h; char room[128]; } f;
	int mnt;
	memset(&f, 0, sizeof f);
	f.h.handle_bytes = 128;
	FAILS(name_to_handle_at(AT_FDCWD, "none", &f.h, &mnt, 0), ENOENT);
	FAILS(name_to_handle_at(AT_FDCWD, ".", &f.h, &mnt, 0x10), EINVAL);
	/* What has no handles says EOPNOTSUPP, which is for programs to expect. */
	if (name_to_handle_at(AT_FDCWD, "/proc", &f.h, &mnt, 0) == -1)
		EQUAL(errno, EOPNOTSUPP);
	memset(&f, 0, sizeof f);
	FAILS(open_by_handle_at(AT_FDCWD, &f.h, O_RDONLY), EINVAL);
	f.h.handle_bytes = 129;
	FAILS(open_by_handle_at(AT_FDCWD, &f.h, O_RDONLY), EINVAL);
	FAILS(open_by_handle_at(AT_FDCWD, (struct file_handle *)8, O_RDONLY), EFAULT);
	f.h.handle_bytes = 8;
	if (geteuid() == 0)
		FAILS(open_by_handle_at(-1, &f.h, O_RDONLY), EBADF);
}

TEST(sysfs_and_ustat) {
	char name[64];
	struct { int free; unsigned long inodes; char names[16]; } u;
	struct stat st;
	NEEDS(SYS_sysfs, 0, 0, 0);
	long n = OK(syscall(SYS_sysfs, 3));
	CHECK(n > 0);
	for (long i = 0; i < n; i++) {
		OK(syscall(SYS_sysfs, 2, i, name));
		EQUAL(syscall(SYS_sysfs, 1, name), i);
	}
	FAILS(syscall(SYS_sysfs, 2, n + 100, name), EINVAL); /* more may be loaded meanwhile */
	FAILS(syscall(SYS_sysfs, 1, "no such type"), EINVAL);
	FAILS(syscall(SYS_sysfs, 4), EINVAL);
	FAILS(syscall(SYS_sysfs, 2, 0, NULL), EFAULT);
	OK(stat("/proc", &st));
	memset(&u, 1, sizeof u);
	OK(syscall(SYS_ustat, (int)st.st_dev, &u));
	EQUAL(u.free, 0);
	FAILS(syscall(SYS_ustat, 0xfffff, &u), EINVAL);
	FAILS(syscall(SYS_ustat, (int)st.st_dev, NULL), EFAULT);
}
