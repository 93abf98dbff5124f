/* Files: open(2) to renameat2(2), links, directories, locks, times, xattrs. */
#include "guest.h"
#include <dirent.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <pthread.h>

static char buf[8192];

static void put(const char *path, const char *text) {
	int f = OK(open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644));
	EQUAL(write(f, text, strlen(text)), strlen(text));
	OK(close(f));
}
static const char *get(const char *path) {
	int f = OK(open(path, O_RDONLY));
	ssize_t n = OK(read(f, buf, sizeof buf - 1));
	buf[n] = 0;
	OK(close(f));
	return buf;
}

TEST(open_flags) {
	FAILS(open("a", O_RDONLY), ENOENT);
	int f = OK(open("a", O_CREAT | O_EXCL | O_RDWR, 0640));
	FAILS(open("a", O_CREAT | O_EXCL | O_RDWR, 0640), EEXIST);
	EQUAL(write(f, "hello", 5), 5);
	EQUAL(lseek(f, 0, SEEK_CUR), 5);
	int g = OK(open("a", O_RDONLY));
	FAILS(write(g, "x", 1), EBADF);
	EQUAL(read(g, buf, 100), 5);
	EQUAL(read(g, buf, 100), 0);
	int h = OK(open("a", O_WRONLY | O_APPEND));
	FAILS(read(h, buf, 1), EBADF);
	EQUAL(write(h, " world", 6), 6);
	CHECK(!strcmp(get("a"), "hello world"));
	EQUAL(fcntl(h, F_GETFL) & (O_APPEND | O_ACCMODE), O_APPEND | O_WRONLY);
	OK(open("a", O_WRONLY | O_TRUNC));
	CHECK(!strcmp(get("a"), ""));
	FAILS(open(".", O_WRONLY), EISDIR);
	FAILS(open("a", O_DIRECTORY | O_RDONLY), ENOTDIR);
	FAILS(open("a/b", O_RDONLY), ENOTDIR);
	FAILS(open("a/", O_RDONLY), ENOTDIR);
	FAILS(open("", O_RDONLY), ENOENT);
	FAILS(open((char *)8, O_RDONLY), EFAULT);
	OK(symlink("a", "l"));
	FAILS(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
	FAILS(openat(99, "a", O_RDONLY), EBADF);
	FAILS(openat(f, "a", O_RDONLY), ENOTDIR);
	struct stat st;
	OK(stat("a", &st));
	EQUAL(st.st_mode, S_IFREG | 0640);
	memset(buf, 'n', 300);
	buf[256] = 0;
	FAILS(open(buf, O_RDONLY), ENAMETOOLONG);
}

TEST(path_walk) {
	OK(mkdir("d", 0755));
	OK(mkdir("d/e", 0755));
	put("d/e/f", "x");
	struct stat a, b;
	OK(stat("d/e/f", &a));
	OK(stat("d/./e/../e//f", &b));
	EQUAL(a.st_ino, b.st_ino);
	OK(stat("/../../..", &a));
	OK(stat("/", &b));
	EQUAL(a.st_ino, b.st_ino);
	OK(symlink("loop", "loop"));
	FAILS(stat("loop", &a), ELOOP);
	OK(symlink("d/e", "s"));
	OK(stat("s/f", &a));
	OK(lstat("s", &a));
	CHECK(S_ISLNK(a.st_mode));
	EQUAL(a.st_size, 3);
	OK(lstat("s/", &a));
	CHECK(S_ISDIR(a.st_mode));
	EQUAL(readlink("s", buf, 2), 2);
	FAILS(readlink("d", buf, 10), EINVAL);
	OK(symlink("/no/where", "dangling"));
	FAILS(stat("dangling", &a), ENOENT);
	OK(chdir("d/e"));
	CHECK(getcwd(buf, sizeof buf) != NULL);
	CHECK(strlen(buf) > 4 && !strcmp(buf + strlen(buf) - 4, "/d/e"));
	FAILS(syscall(SYS_getcwd, buf, 3), ERANGE);
	OK(stat("../../s", &a));
	memset(buf, 0, sizeof buf);
	for (int i = 0; i < 5000; i++)
		buf[i] = i % 2 ? '/' : '.';
	FAILS(stat(buf, &a), ENAMETOOLONG);
}

TEST(directories) {
	OK(mkdir("d", 0777));
	FAILS(mkdir("d", 0777), EEXIST);
	FAILS(rmdir("nope"), ENOENT);
	put("d/x", "");
	FAILS(rmdir("d"), ENOTEMPTY);
	FAILS(unlink("d"), EISDIR);
	FAILS(rmdir("d/x"), ENOTDIR);
	FAILS(rmdir("d/."), EINVAL);
	OK(unlink("d/x"));
	OK(rmdir("d"));
	struct stat st;
	OK(mkdir("e", 0777));
	OK(mkdir("e/f", 0777));
	OK(stat("e", &st));
	EQUAL(st.st_nlink, 3);
	/* a removed directory that is somebody's cwd */
	OK(chdir("e/f"));
	OK(rmdir("../f"));
	FAILS(open("x", O_CREAT | O_RDWR, 0600), ENOENT);
	FAILS(syscall(SYS_getcwd, buf, sizeof buf), ENOENT);
}

TEST(readdir_sees_all_while_deleting) {
	OK(mkdir("d", 0755));
	for (int i = 0; i < 500; i++) {
		snprintf(buf, sizeof buf, "d/file%d", i);
		put(buf, "");
	}
	DIR *d = opendir("d");
	CHECK(d != NULL);
	int n = 0;
	struct dirent *e;
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		EQUAL(e->d_type, DT_REG);
		snprintf(buf, sizeof buf, "d/%s", e->d_name);
		OK(unlink(buf));
		n++;
	}
	EQUAL(n, 500);
	rewinddir(d);
	n = 0;
	while (readdir(d))
		n++;
	EQUAL(n, 2);
	closedir(d);
	OK(rmdir("d"));
	int f = OK(open(".", O_RDONLY));
	FAILS(syscall(SYS_getdents64, f, buf, 1), EINVAL);
	FAILS(read(f, buf, 1), EISDIR);
}

TEST(links_and_unlinked_files) {
	put("a", "1");
	OK(link("a", "b"));
	struct stat st;
	OK(stat("b", &st));
	EQUAL(st.st_nlink, 2);
	FAILS(link("a", "b"), EEXIST);
	FAILS(link(".", "c"), EPERM);
	int f = OK(open("a", O_RDWR));
	OK(unlink("a"));
	OK(unlink("b"));
	OK(fstat(f, &st));
	EQUAL(st.st_nlink, 0);
	EQUAL(pwrite(f, "still", 5, 0), 5);
	EQUAL(pread(f, buf, 10, 0), 5);
	FAILS(unlink("a"), ENOENT);
	snprintf(buf, sizeof buf, "/proc/self/fd/%d", f);
	char target[256];
	ssize_t n = OK(readlink(buf, target, sizeof target - 1));
	target[n] = 0;
	CHECK(strstr(target, "/a (deleted)") != NULL);
}

TEST(rename_rules) {
	put("a", "A");
	put("b", "B");
	OK(rename("a", "b"));
	CHECK(!strcmp(get("b"), "A"));
	FAILS(rename("a", "c"), ENOENT);
	OK(mkdir("d", 0755));
	FAILS(rename("b", "d"), EISDIR);
	FAILS(rename("d", "b"), ENOTDIR);
	OK(mkdir("d/e", 0755));
	FAILS(rename("d", "d/e/f"), EINVAL);
	OK(mkdir("g", 0755));
	FAILS(rename("g", "d"), ENOTEMPTY);
	OK(rename("d/e", "g"));
	put("x", "X");
	FAILS(renameat2(AT_FDCWD, "x", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
	OK(renameat2(AT_FDCWD, "x", AT_FDCWD, "b", RENAME_EXCHANGE));
	CHECK(!strcmp(get("b"), "X"));
	CHECK(!strcmp(get("x"), "A"));
	FAILS(renameat2(AT_FDCWD, "x", AT_FDCWD, "b", 0x80), EINVAL);
	OK(link("b", "b2"));
	OK(rename("b", "b2")); /* same file: nothing happens */
	OK(access("b", F_OK));
	int f = OK(open("g", O_RDONLY | O_DIRECTORY));
	OK(rename("g", "h"));
	OK(symlinkat("t", f, "inside"));
	struct stat st;
	OK(lstat("h/inside", &st));
}

TEST(holes_seek_truncate) {
	int f = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQUAL(pwrite(f, "end", 3, 1 << 20), 3);
	struct stat st;
	OK(fstat(f, &st));
	EQUAL(st.st_size, (1 << 20) + 3);
	EQUAL(pread(f, buf, 8, 1000), 8);
	CHECK(!memcmp(buf, "\0\0\0\0\0\0\0\0", 8));
	EQUAL(lseek(f, 0, SEEK_END), (1 << 20) + 3);
	FAILS(lseek(f, -1, SEEK_SET), EINVAL);
	FAILS(lseek(f, 0, 99), EINVAL);
	off_t data = OK(lseek(f, 0, SEEK_DATA));
	CHECK(data <= 1 << 20);
	FAILS(lseek(f, 2 << 20, SEEK_DATA), ENXIO);
	OK(ftruncate(f, 10));
	OK(ftruncate(f, 2 << 20));
	EQUAL(pread(f, buf, 3, 1 << 20), 3);
	CHECK(!memcmp(buf, "\0\0\0", 3));
	FAILS(ftruncate(f, -1), EINVAL);
	FAILS(truncate(".", 0), EISDIR);
	int r = OK(open("f", O_RDONLY));
	FAILS(ftruncate(r, 0), EINVAL);
	OK(fallocate(f, FALLOC_FL_KEEP_SIZE, 0, 4 << 20));
	OK(fstat(f, &st));
	EQUAL(st.st_size, 2 << 20);
	EQUAL(pwrite(f, "xyz", 3, 0), 3);
	OK(fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	EQUAL(pread(f, buf, 3, 0), 3);
	CHECK(!memcmp(buf, "\0\0\0", 3));
}

TEST(vectors_and_offsets) {
	int f = OK(open("f", O_CREAT | O_RDWR, 0600));
	struct iovec v[3] = { { "abc", 3 }, { "", 0 }, { "defg", 4 } };
	EQUAL(writev(f, v, 3), 7);
	char x[4], y[10];
	struct iovec r[2] = { { x, 4 }, { y, 10 } };
	EQUAL(preadv(f, r, 2, 1), 6);
	CHECK(!memcmp(x, "bcde", 4) && !memcmp(y, "fg", 2));
	FAILS(writev(f, v, -1), EINVAL);
	FAILS(writev(f, v, 1025), EINVAL);
	struct iovec bad[1] = { { x, (size_t)-1 } };
	FAILS(readv(f, bad, 1), EINVAL);
	FAILS(pread(f, x, 1, -1), EINVAL);
	FAILS(syscall(SYS_pread64, f, (void *)8, 1, 0), EFAULT);
	int p[2];
	OK(pipe(p));
	FAILS(pread(p[0], x, 1, 0), ESPIPE);
	FAILS(lseek(p[0], 0, SEEK_SET), ESPIPE);
	OK(lseek(f, 0, SEEK_SET));
	/* a buffer that ends at an unmapped page is filled as far as it goes */
	char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(munmap(m + 4096, 4096));
	EQUAL(write(p[1], m, 4096), 4096);
	FAILS(write(p[1], (void *)8, 10), EFAULT);
}

TEST(copying) {
	put("a", "0123456789");
	int in = OK(open("a", O_RDONLY)), out = OK(open("b", O_CREAT | O_RDWR, 0600));
	off_t off = 2;
	EQUAL(sendfile(out, in, &off, 5), 5);
	EQUAL(off, 7);
	EQUAL(lseek(in, 0, SEEK_CUR), 0);
	CHECK(!strcmp(get("b"), "23456"));
	loff_t a = 0, b = 5;
	EQUAL(copy_file_range(in, &a, out, &b, 3, 0), 3);
	CHECK(!strcmp(get("b"), "23456012"));
	int p[2];
	OK(pipe(p));
	EQUAL(splice(in, NULL, p[1], NULL, 4, 0), 4);
	EQUAL(read(p[0], buf, 10), 4);
	CHECK(!memcmp(buf, "0123", 4));
}

TEST(descriptors) {
	int f = OK(open("f", O_CREAT | O_RDWR, 0600));
	int g = OK(dup(f));
	CHECK(g != f);
	EQUAL(dup2(f, 50), 50);
	EQUAL(dup2(f, f), f);
	FAILS(dup3(f, f, 0), EINVAL);
	FAILS(dup(99), EBADF);
	FAILS(dup2(99, 5), EBADF);
	EQUAL(fcntl(f, F_DUPFD, 60), 60);
	EQUAL(fcntl(f, F_DUPFD_CLOEXEC, 60), 61);
	EQUAL(fcntl(61, F_GETFD), FD_CLOEXEC);
	EQUAL(fcntl(60, F_GETFD), 0);
	EQUAL(write(50, "abc", 3), 3);
	EQUAL(lseek(g, 0, SEEK_CUR), 3); /* shared offset */
	OK(syscall(SYS_close_range, 50, 61, 0));
	FAILS(fcntl(60, F_GETFD), EBADF);
	FAILS(close(60), EBADF);
	FAILS(fcntl(f, 9999), EINVAL);
	EQUAL(open("f", O_RDONLY), g + 1); /* the lowest free number */
}

TEST(permissions) {
	if (getuid() != 0)
		SKIP("needs root to become somebody else");
	put("secret", "x");
	OK(chmod("secret", 0600));
	OK(mkdir("closed", 0700));
	put("closed/f", "");
	OK(mkdir("sticky", 0777));
	OK(chmod("sticky", 01777));
	put("sticky/roots", "");
	put("mine", "x");
	OK(chown("mine", 1000, 1000));
	EXITED_OK(IN_CHILD({
		OK(setgid(1000));
		OK(setuid(1000));
		FAILS(open("secret", O_RDONLY), EACCES);
		FAILS(access("secret", R_OK), EACCES);
		OK(access("secret", F_OK));
		FAILS(open("closed/f", O_RDONLY), EACCES);
		FAILS(unlink("sticky/roots"), EPERM);
		FAILS(chmod("secret", 0666), EPERM);
		FAILS(chown("mine", 0, 0), EPERM);
		OK(chmod("mine", 04755));
		FAILS(setuid(0), EPERM);
		FAILS(mknod("dev", S_IFCHR | 0600, 0x103), EPERM);
		FAILS(chroot("."), EPERM);
	}));
	struct stat st;
	OK(stat("mine", &st));
	EQUAL(st.st_mode & 07777, 04755);
	OK(chown("mine", 1, 1)); /* changing the owner takes set-user-ID away */
	OK(stat("mine", &st));
	EQUAL(st.st_mode & 07777, 0755);
}

TEST(umask_and_modes) {
	umask(027);
	OK(open("f", O_CREAT | O_RDWR, 0666));
	struct stat st;
	OK(stat("f", &st));
	EQUAL(st.st_mode & 0777, 0640);
	OK(mkdir("d", 0777));
	OK(stat("d", &st));
	EQUAL(st.st_mode & 0777, 0750);
	EQUAL(umask(022), 027);
	OK(mkdir("g", 0755));
	OK(chmod("g", 02755));
	OK(mkdir("g/sub", 0755));
	OK(stat("g/sub", &st));
	CHECK(st.st_mode & S_ISGID);
}

TEST(times) {
	put("f", "x");
	struct timespec t[2] = { { 1000, 5 }, { 2000, 7 } };
	OK(utimensat(AT_FDCWD, "f", t, 0));
	struct stat st;
	OK(stat("f", &st));
	EQUAL(st.st_atim.tv_sec, 1000);
	EQUAL(st.st_mtim.tv_sec, 2000);
	EQUAL(st.st_mtim.tv_nsec, 7);
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_nsec = UTIME_NOW;
	OK(utimensat(AT_FDCWD, "f", t, 0));
	OK(stat("f", &st));
	EQUAL(st.st_atim.tv_sec, 1000);
	CHECK(st.st_mtim.tv_sec > 1000000000);
	t[0].tv_nsec = 2000000000;
	FAILS(utimensat(AT_FDCWD, "f", t, 0), EINVAL);
	struct statx sx;
	OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &sx));
	EQUAL(sx.stx_size, 1);
	FAILS(statx(AT_FDCWD, "f", 0x800000, 0, &sx), EINVAL);
	OK(statx(OK(open("f", O_RDONLY)), "", AT_EMPTY_PATH, STATX_SIZE, &sx));
}

TEST(record_locks) {
	int f = OK(open("f", O_CREAT | O_RDWR, 0600));
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10 };
	OK(fcntl(f, F_SETLK, &l));
	EXITED_OK(IN_CHILD({
		struct flock m = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1 };
		FAILS(fcntl(f, F_SETLK, &m), EAGAIN);
		OK(fcntl(f, F_GETLK, &m));
		EQUAL(m.l_pid, getppid());
		EQUAL(m.l_start, 0);
		EQUAL(m.l_len, 10);
		m.l_type = F_WRLCK;
		m.l_start = 10;
		m.l_len = 0;
		OK(fcntl(f, F_SETLK, &m));
	}));
	/* waiting */
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		struct flock m = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
		OK(fcntl(f, F_SETLKW, &m));
		OK(write(p[1], "x", 1));
		_exit(0);
	}
	OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
	sleep_ms(30);
	FAILS(read(p[0], buf, 1), EAGAIN);
	l.l_type = F_UNLCK;
	OK(fcntl(f, F_SETLK, &l));
	OK(waitpid(k, NULL, 0));
	EQUAL(read(p[0], buf, 1), 1);
	/* closing any descriptor of the file drops the process's locks */
	l.l_type = F_WRLCK;
	OK(fcntl(f, F_SETLK, &l));
	close(OK(open("f", O_RDONLY)));
	EXITED_OK(IN_CHILD({
		struct flock m = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
		OK(fcntl(f, F_SETLK, &m));
	}));
}

TEST(flock_belongs_to_the_description) {
	int f = OK(open("f", O_CREAT | O_RDWR, 0600)), g = OK(open("f", O_RDWR));
	OK(flock(f, LOCK_EX));
	FAILS(flock(g, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	int h = OK(dup(f));
	OK(flock(h, LOCK_EX | LOCK_NB));
	close(f);
	FAILS(flock(g, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	close(h);
	OK(flock(g, LOCK_SH | LOCK_NB));
}

TEST(access_and_dev) {
	OK(access("/dev/null", R_OK | W_OK));
	int z = OK(open("/dev/zero", O_RDONLY));
	memset(buf, 1, 100);
	EQUAL(read(z, buf, 100), 100);
	CHECK(buf[0] == 0 && buf[99] == 0);
	int n = OK(open("/dev/null", O_RDWR));
	EQUAL(write(n, buf, 100), 100);
	EQUAL(read(n, buf, 100), 0);
	int full = OK(open("/dev/full", O_RDWR));
	FAILS(write(full, buf, 1), ENOSPC);
	int r = OK(open("/dev/urandom", O_RDONLY));
	memset(buf, 0, 64);
	EQUAL(read(r, buf, 64), 64);
	int sum = 0;
	for (int i = 0; i < 64; i++)
		sum |= buf[i];
	CHECK(sum != 0);
	struct stat st;
	OK(stat("/dev/null", &st));
	EQUAL(st.st_rdev, 0x103);
	CHECK(S_ISCHR(st.st_mode));
}

TEST(file_size_limit) {
	int s = IN_CHILD({
		struct { unsigned long cur, max; } lim = { 100, 100 };
		OK(syscall(SYS_prlimit64, 0, 1 /* RLIMIT_FSIZE */, &lim, NULL));
		int f = OK(open("f", O_CREAT | O_RDWR, 0600));
		EQUAL(pwrite(f, buf, 200, 0), 100);
		signal(SIGXFSZ, SIG_IGN);
		FAILS(pwrite(f, buf, 1, 100), EFBIG);
		signal(SIGXFSZ, SIG_DFL);
		pwrite(f, buf, 1, 100);
	});
	EQUAL(WTERMSIG(s), SIGXFSZ);
}

TEST(memfd_and_seals) {
	int f = OK(memfd_create("m", MFD_ALLOW_SEALING));
	OK(ftruncate(f, 4096));
	OK(fcntl(f, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	FAILS(ftruncate(f, 0), EPERM);
	FAILS(ftruncate(f, 8192), EPERM);
	char *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
	CHECK(m != MAP_FAILED);
	FAILS(fcntl(f, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
	OK(munmap(m, 4096));
	OK(fcntl(f, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL));
	FAILS(write(f, "x", 1), EPERM);
	FAILS(fcntl(f, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
	EQUAL(fcntl(f, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
}

static void *renamer(void *a) {
	for (int i = 0; i < 300; i++) {
		rename("race1", "race2");
		rename("race2", "race1");
	}
	return a;
}

TEST(rename_races_with_open) {
	put("race1", "x");
	pthread_t t[2];
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, renamer, NULL);
	for (int i = 0; i < 300; i++) {
		int f = open(i % 2 ? "race1" : "race2", O_RDONLY);
		if (f >= 0) {
			EQUAL(read(f, buf, 10), 1);
			close(f);
		}
	}
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	int there = (access("race1", F_OK) == 0) + (access("race2", F_OK) == 0);
	EQUAL(there, 1);
}

TEST(appends_do_not_mix) {
	int f = OK(open("f", O_CREAT | O_WRONLY | O_APPEND, 0600));
	for (int k = 0; k < 4; k++)
		if (fork() == 0) {
			char line[11];
			memset(line, 'a' + k, 10);
			line[10] = '\n';
			int g = open("f", O_WRONLY | O_APPEND);
			for (int i = 0; i < 50; i++)
				if (write(g, line, 11) != 11)
					_exit(1);
			_exit(0);
		}
	for (int k = 0; k < 4; k++) {
		int s;
		OK(wait(&s));
		EXITED_OK(s);
	}
	struct stat st;
	OK(fstat(f, &st));
	EQUAL(st.st_size, 4 * 50 * 11);
	int r = OK(open("f", O_RDONLY));
	EQUAL(read(r, buf, 2200), 2200);
	for (int i = 0; i < 200; i++)
		for (int j = 1; j < 10; j++)
			EQUAL(buf[i * 11 + j], buf[i * 11]);
}
