/* Much at a time, through files, pipes and sockets: of any size, by several threads, to and
 * from memory that ends midway, changes or goes away meanwhile. */
#include "inet.h"
#include <linux/if_ether.h>
#include <pthread.h>
#include <sys/uio.h>

enum { MOST = 3 << 20, TOTAL = 12 << 20, PAGE = 4096 };

/* next is a random number (xorshift64), so that all walls see the same sizes. */
static uint64_t next(uint64_t *seed) {
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	return *seed ^= *seed << 17;
}

/* some is a size of 1 to 2^bits, of all magnitudes alike. */
static size_t some(uint64_t *seed, int bits) {
	int b = 4 + next(seed) % (bits - 3);
	return 1 + next(seed) % (1UL << b);
}

/* Streams hold a pattern that repeats only after 65521 bytes, a prime. */
static unsigned char pattern[65521 + MOST];

__attribute__((constructor)) static void make_pattern(void) {
	uint64_t seed = 88172645463325252;
	for (int i = 0; i < 65521; i++) pattern[i] = next(&seed) >> 24;
	for (size_t i = 65521; i < sizeof pattern; i++) pattern[i] = pattern[i - 65521];
}

static const unsigned char *at(size_t offset) { return pattern + offset % 65521; }

static unsigned char *memory(size_t n) {
	unsigned char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	return p;
}

/* parts makes iovecs of n bytes at p. */
static int parts(uint64_t *seed, struct iovec v[8], unsigned char *p, size_t n) {
	int k = 0;
	for (; k < 7 && n > 0; k++) {
		v[k] = (struct iovec){ p, next(seed) % n + 1 };
		p += v[k].iov_len;
		n -= v[k].iov_len;
	}
	v[k] = (struct iovec){ p, n };
	return k + 1;
}

/* pour writes the pattern in pieces of all sizes, in all ways that there are. */
static void pour(int fd, uint64_t seed, int socket) {
	unsigned char *buf = memory(MOST);
	struct iovec v[8];
	for (size_t done = 0; done < TOTAL;) {
		size_t n = some(&seed, 21);
		if (n > TOTAL - done) n = TOTAL - done;
		memcpy(buf, at(done), n);
		struct msghdr h = { .msg_iov = v };
		ssize_t w;
		switch (next(&seed) % (socket ? 4 : 2)) {
		case 0: w = write(fd, buf, n); break;
		case 1: w = writev(fd, v, parts(&seed, v, buf, n)); break;
		case 2: w = send(fd, buf, n, next(&seed) % 2 ? MSG_DONTWAIT : 0); break;
		default:
			h.msg_iovlen = parts(&seed, v, buf, n);
			w = sendmsg(fd, &h, 0);
		}
		if (w < 0 && errno == EAGAIN) continue;
		CHECK(w > 0 && (size_t)w <= n);
		memset(buf, 0xee, n); /* it has been taken */
		done += w;
	}
	munmap(buf, MOST);
}

/* swallow reads what pour writes. */
static void swallow(int fd, uint64_t seed, int socket) {
	unsigned char *buf = memory(MOST);
	struct iovec v[8];
	size_t done = 0;
	for (;;) {
		size_t n = some(&seed, 21);
		if (n > TOTAL - done) n = TOTAL - done + 1;
		memset(buf, 0xee, n + 1);
		struct msghdr h = { .msg_iov = v };
		ssize_t r;
		switch (next(&seed) % (socket ? 5 : 2)) {
		case 0: r = read(fd, buf, n); break;
		case 1: r = readv(fd, v, parts(&seed, v, buf, n)); break;
		case 2: r = recv(fd, buf, n, MSG_WAITALL); break;
		case 3: r = recv(fd, buf, n, MSG_PEEK | MSG_DONTWAIT);
			CHECK(r <= 0 || memcmp(buf, at(done), r) == 0);
			continue;
		default:
			h.msg_iovlen = parts(&seed, v, buf, n);
			r = recvmsg(fd, &h, MSG_DONTWAIT);
		}
		if (r < 0 && errno == EAGAIN) { sched_yield(); continue; }
		CHECK(r >= 0 && (size_t)r <= n);
		if (r == 0) break;
		CHECK(memcmp(buf, at(done), r) == 0);
		CHECK(buf[r] == 0xee);
		done += r;
	}
	EQUAL(done, TOTAL);
	munmap(buf, MOST);
}

/* through pours and swallows by the two ends. */
static void through(int from, int to, uint64_t seed, int socket) {
	pid_t p = OK(fork());
	if (p == 0) {
		close(to);
		pour(from, seed, socket);
		_exit(0);
	}
	close(from);
	swallow(to, seed + 7, socket);
	int status;
	OK(waitpid(p, &status, 0));
	EXITED_OK(status);
	close(to);
}

TEST(through_tcp) {
	for (uint64_t seed = 1; seed < 4; seed++) {
		int s[2];
		tcp_pair(AF_INET, s);
		through(s[0], s[1], seed, 1);
	}
}

TEST(through_unix) {
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	through(s[0], s[1], 11, 1);
}

TEST(through_pipe) {
	int p[2];
	OK(pipe(p));
	through(p[1], p[0], 12, 0);
}

/* A file is what it would be by copies in memory. */
static void file(uint64_t seed, const char *name) {
	enum { SIZE = 4 << 20 };
	int fd = OK(open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	unsigned char *model = memory(SIZE), *buf = memory(MOST);
	struct iovec v[8];
	OK(ftruncate(fd, SIZE));
	for (int i = 0; i < 150; i++) {
		size_t n = some(&seed, 21), off = next(&seed) % (SIZE - n);
		switch (next(&seed) % 4) {
		case 0:
			memcpy(buf, at(next(&seed)), n);
			memcpy(model + off, buf, n);
			EQUAL(pwrite(fd, buf, n, off), (ssize_t)n);
			break;
		case 1:
			memcpy(buf, at(next(&seed)), n);
			memcpy(model + off, buf, n);
			OK(lseek(fd, off, SEEK_SET));
			EQUAL(writev(fd, v, parts(&seed, v, buf, n)), (ssize_t)n);
			break;
		case 2:
			EQUAL(pread(fd, buf, n, off), (ssize_t)n);
			CHECK(memcmp(buf, model + off, n) == 0);
			break;
		default:
			OK(lseek(fd, off, SEEK_SET));
			EQUAL(readv(fd, v, parts(&seed, v, buf, n)), (ssize_t)n);
			CHECK(memcmp(buf, model + off, n) == 0);
		}
	}
	munmap(model, SIZE);
	munmap(buf, MOST);
	close(fd);
	unlink(name);
}

TEST(a_file) { file(21, "file"); }

static void *file_of_thread(void *arg) {
	char name[16];
	snprintf(name, sizeof name, "file%ld", (long)arg);
	file(100 + (long)arg, name);
	return NULL;
}

/* More threads than there may be windows for. */
TEST(threads) {
	pthread_t t[12];
	for (long i = 0; i < 12; i++) EQUAL(pthread_create(&t[i], NULL, file_of_thread, (void *)i), 0);
	for (int i = 0; i < 12; i++) EQUAL(pthread_join(t[i], NULL), 0);
}

/* ends is memory of n bytes, with none behind. */
static unsigned char *ends(size_t n) {
	size_t whole = (n + PAGE - 1) & -PAGE;
	unsigned char *p = memory(whole + PAGE);
	OK(mprotect(p + whole, PAGE, PROT_NONE));
	return p + whole - n;
}

/* What is there is written and read. */
TEST(memory_ends) {
	int fd = OK(open("file", O_RDWR | O_CREAT, 0600)), p[2];
	OK(pipe(p));
	OK(fcntl(p[1], F_SETPIPE_SZ, 1 << 20));
	for (int i = 0; i < 40; i++) {
		size_t good = 1000 + 10000 * i;
		unsigned char *buf = ends(good);
		memcpy(buf, at(i), good);
		EQUAL(pwrite(fd, buf, good + 1 + i * 1000, 0), (ssize_t)good);
		memset(buf, 0, good);
		OK(ftruncate(fd, 2 << 20));
		EQUAL(pread(fd, buf, good + 1 + i * 1000, 0), (ssize_t)good);
		CHECK(memcmp(buf, at(i), good) == 0);
		FAILS(pread(fd, buf + good, 100000, 0), EFAULT);
		FAILS(pwrite(fd, buf + good, 100000, 0), EFAULT);
		munmap((void *)((uintptr_t)buf & -PAGE), good + 2 * PAGE);
	}
}

/* A mapping that is longer than its file is no memory either, and no signal comes of a call. */
TEST(file_ends) {
	int fd = OK(open("file", O_RDWR | O_CREAT, 0600)), short_file = OK(open("short", O_RDWR | O_CREAT, 0600));
	unsigned char *buf = memory(MOST);
	memcpy(buf, at(5), MOST);
	EQUAL(pwrite(fd, buf, MOST, 0), MOST);
	for (int i = 1; i < 30; i++) {
		size_t good = 5 * i * PAGE;
		OK(ftruncate(short_file, good));
		unsigned char *m = mmap(NULL, good + 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, short_file, 0);
		CHECK(m != MAP_FAILED);
		EQUAL(pread(fd, m, good + 3 * PAGE, 0), (ssize_t)good);
		CHECK(memcmp(m, at(5), good) == 0);
		struct iovec v[3] = { { m, 100 }, { m + 100, good - 100 + PAGE }, { m, 50 } };
		EQUAL(preadv(fd, v, 3, 0), (ssize_t)good);
		FAILS(pread(fd, m + good, PAGE, 0), EFAULT);
		EQUAL(pwrite(fd, m, good + 3 * PAGE, MOST), (ssize_t)good);
		/* What did not arrive is read again. */
		EQUAL(lseek(fd, 3, SEEK_SET), 3);
		EQUAL(read(fd, m, good + PAGE), (ssize_t)good);
		EQUAL(lseek(fd, 0, SEEK_CUR), (off_t)good + 3);
		EQUAL(read(fd, m + good - 50, 100), 50);
		EQUAL(lseek(fd, 0, SEEK_CUR), (off_t)good + 53);
		FAILS(read(fd, m + good, 100), EFAULT);
		EQUAL(lseek(fd, 0, SEEK_CUR), (off_t)good + 53);
		munmap(m, good + 4 * PAGE);
	}
}

/* A datagram arrives as a whole or not at all, and of several messages the number is told. */
TEST(file_ends_datagrams) {
	int s[2], fd = OK(open("short", O_RDWR | O_CREAT, 0600));
	OK(ftruncate(fd, PAGE));
	char *m = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), x[200] = "datagram";
	CHECK(m != MAP_FAILED);
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	struct iovec v = { m + PAGE - 50, 100 };
	struct mmsghdr h = { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } };
	EQUAL(send(s[0], x, 100, 0), 100);
	FAILS(recv(s[1], v.iov_base, v.iov_len, 0), EFAULT);
	EQUAL(send(s[0], x, 100, 0), 100);
	FAILS(recvmsg(s[1], &h.msg_hdr, 0), EFAULT);
	EQUAL(send(s[0], x, 100, 0), 100);
	FAILS(recvmmsg(s[1], &h, 1, 0, NULL), EFAULT);
	EQUAL(send(s[0], x, 50, 0), 50);
	EQUAL(recvmmsg(s[1], &h, 1, MSG_DONTWAIT, NULL), 1);
	EQUAL(h.msg_len, 50u);
	CHECK(!strcmp(v.iov_base, "datagram"));
}

/* Of several messages of a stream the number is told too, whether or not the last one counts,
 * of which not all arrives. */
TEST(file_ends_stream_messages) {
	int fd = OK(open("short", O_RDWR | O_CREAT, 0600));
	unsigned char *data = memory(8 * PAGE);
	OK(ftruncate(fd, 2 * PAGE));
	unsigned char *m = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	for (int i = 0; i < 20; i++) {
		int s[2];
		if (i % 2 == 0) OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
		else tcp_pair(AF_INET, s);
		struct iovec v[2] = { { data, 100 }, { m, 3 * PAGE } };
		struct mmsghdr h[2] = { { .msg_hdr = { .msg_iov = &v[0], .msg_iovlen = 1 } }, { .msg_hdr = { .msg_iov = &v[1], .msg_iovlen = 1 } } };
		EQUAL(send(s[0], data, 100, 0), 100);
		EQUAL(send(s[0], data, 3 * PAGE, 0), 3 * PAGE);
		int n = OK(recvmmsg(s[1], h, 2, MSG_WAITALL, NULL));
		CHECK(n == 1 || n == 2);
		EQUAL(h[0].msg_len, 100u);
		close(s[0]);
		close(s[1]);
	}
}

/* What of a stream does not arrive, since the buffer ends with its file midway, stays where it is. */
TEST(file_ends_streams) {
	int fd = OK(open("short", O_RDWR | O_CREAT, 0600));
	unsigned char *data = memory(16 * PAGE), *got = memory(16 * PAGE);
	uint64_t seed = 77;
	memcpy(data, at(3), 16 * PAGE);
	OK(ftruncate(fd, 0));
	OK(ftruncate(fd, 2 * PAGE));
	unsigned char *m = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	for (int i = 0; i < 400; i++) {
		int s[2], kind = i % 4, waiting, capture = -1;
		if (kind == 0) OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
		else if (kind == 1) tcp_pair(AF_INET, s);
		else if (kind == 2) {
			capture = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)); /* only root may have it */
			tcp_pair(AF_INET, s);
		}
		else {
			int p[2];
			OK(pipe(p));
			s[0] = p[1];
			s[1] = p[0];
		}
		/* Several pieces are sent, and read at once. */
		size_t total = 0, done = 0, end = 0;
		for (int k = 0; k < 3; k++) {
			size_t n = 1 + next(&seed) % (4 * PAGE);
			EQUAL(write(s[0], data + total, n), (ssize_t)n);
			total += n;
		}
		for (waiting = 0; (size_t)waiting < total; OK(ioctl(s[1], FIONREAD, &waiting)));
		for (int k = 0; k < 4 && done < total; k++) {
			unsigned char *to = m + next(&seed) % (2 * PAGE);
			size_t whole = 2 * PAGE - (to - m), cut = next(&seed) % (5 * PAGE);
			struct iovec v[3] = { { to, cut }, { m + 4 * PAGE, 10 }, { got, 100 } };
			struct msghdr h = { .msg_iov = v, .msg_iovlen = 3 };
			ssize_t n;
			switch (next(&seed) % (kind == 3 ? 2 : 4)) {
			case 0: n = read(s[1], to, 13 * PAGE); break;
			case 1: n = readv(s[1], v, 3); break;
			case 2: n = recv(s[1], to, 13 * PAGE, 0); break;
			default: n = recvmsg(s[1], &h, 0);
			}
			if (n < 0) EQUAL(errno, EFAULT);
			else {
				CHECK(n > 0 && (size_t)n <= whole);
				CHECK(memcmp(to, data + done, n) == 0);
				done += n;
			}
			OK(ioctl(s[1], FIONREAD, &waiting));
			EQUAL(waiting, (int)(total - done));
			struct pollfd p = { s[1], POLLIN, 0 };
			EQUAL(poll(&p, 1, 0), done < total);
		}
		if ((kind == 1 || kind == 2) && done < total) {
			EQUAL(recv(s[1], got, 16 * PAGE, MSG_PEEK), (ssize_t)(total - done));
			CHECK(memcmp(got, data + done, total - done) == 0);
		}
		EQUAL(write(s[0], data + total, 5), 5);
		total += 5;
		close(s[0]);
		for (ssize_t n; (n = OK(read(s[1], got + end, 7777))) > 0;) end += n;
		EQUAL(done + end, total);
		CHECK(memcmp(got, data + done, end) == 0);
		close(s[1]);
		if (capture >= 0) close(capture);
	}
}

/* Memory comes and goes while a thread reads to it and writes from it: what arrives is what
 * was written, and nobody is ended by a signal. */
static unsigned char *unsteady;
static volatile int over;

static void *unsettle(void *arg) {
	uint64_t seed = 31;
	while (!over) {
		unsigned char *p = unsteady + next(&seed) % 96 * PAGE;
		size_t n = (1 + next(&seed) % 32) * PAGE;
		switch (next(&seed) % 3) {
		case 0: OK(munmap(p, n)); sched_yield(); break;
		case 1: OK(mprotect(p, n, PROT_NONE)); sched_yield(); break;
		}
		CHECK(mmap(p, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
	}
	return NULL;
}

TEST(memory_changes) {
	int s[2], fd = OK(open("file", O_RDWR | O_CREAT, 0600));
	pthread_t t;
	unsigned char *buf = memory(128 * PAGE);
	unsteady = memory(128 * PAGE);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	memset(buf, 'x', 128 * PAGE);
	EQUAL(pwrite(fd, buf, 128 * PAGE, 0), 128 * PAGE);
	EQUAL(pthread_create(&t, NULL, unsettle, NULL), 0);
	for (int i = 0; i < 300; i++) {
		ssize_t n = pread(fd, unsteady, 128 * PAGE, 0);
		CHECK(n > 0 || (n < 0 && errno == EFAULT));
		n = send(s[0], unsteady, 128 * PAGE, MSG_DONTWAIT);
		CHECK(n > 0 || (n < 0 && (errno == EFAULT || errno == EAGAIN)));
		while ((n = recv(s[1], buf, 128 * PAGE, MSG_DONTWAIT)) > 0)
			for (ssize_t k = 0; k < n; k++) CHECK(buf[k] == 'x' || buf[k] == 0);
		CHECK(errno == EAGAIN);
	}
	over = 1;
	EQUAL(pthread_join(t, NULL), 0);
}

/* A call that waits for room is interrupted by a signal: it tells how much it has sent, and
 * the rest is sent by the next. */
static void wake(int sig) {}

TEST(interrupted) {
	int s[2];
	struct sigaction a = { .sa_handler = wake };
	unsigned char *buf = memory(MOST);
	OK(sigaction(SIGUSR1, &a, NULL));
	for (int i = 0; i < 12; i++) {
		tcp_pair(AF_INET, s);
		OK(set(s[0], SOL_SOCKET, SO_SNDBUF, 200000));
		OK(set(s[1], SOL_SOCKET, SO_RCVBUF, 200000));
		pid_t me = getpid(), p = OK(fork());
		if (p == 0) {
			OK(close(s[0]));
			await_sleep(me);
			OK(kill(me, SIGUSR1));
			ssize_t n;
			size_t got = 0;
			for (; (n = recv(s[1], buf, MOST, 0)) > 0; got += n) CHECK(memcmp(buf, at(got), n) == 0);
			_exit(got == MOST ? 0 : 1);
		}
		OK(close(s[1]));
		memcpy(buf, at(0), MOST);
		ssize_t n = OK(send(s[0], buf, MOST, 0));
		CHECK(n > 0 && n < MOST);
		EQUAL(send(s[0], buf + n, MOST - n, 0), MOST - n);
		OK(close(s[0]));
		int status;
		OK(waitpid(p, &status, 0));
		EXITED_OK(status);
	}
}
