/* Pseudo-terminals: line discipline, signals, job control, hang-up. */
#include "guest.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

static int ptmx;
static char slave_name[64];

/* pair opens both ends, without making the terminal anybody's. */
static int pair(void) {
	ptmx = OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
	int zero = 0, n = -1;
	int probe = open("/dev/pts/0", O_RDWR | O_NOCTTY);
	if (probe >= 0)
		close(probe);
	OK(ioctl(ptmx, TIOCGPTN, &n));
	snprintf(slave_name, sizeof slave_name, "/dev/pts/%d", n);
	int locked = -1;
	OK(ioctl(ptmx, TIOCGPTLCK, &locked));
	EQUAL(locked, 1);
	FAILS(open(slave_name, O_RDWR | O_NOCTTY), EIO);
	OK(ioctl(ptmx, TIOCSPTLCK, &zero));
	return OK(open(slave_name, O_RDWR | O_NOCTTY));
}

static void put(int fd, const char *s) { EQUAL(write(fd, s, strlen(s)), strlen(s)); }

/* What a terminal's one end writes may take a while to the other, which the
 * host's kernel does in a thread of its own. PATIENCE is in milliseconds. */
#define PATIENCE 60000

/* UNTIL waits for a condition. */
#define UNTIL(cond)                                                              \
	do {                                                                   \
		for (int i_ = 0; i_ < PATIENCE && !(cond); i_++)               \
			sleep_ms(1);                                           \
		CHECK(cond);                                                   \
	} while (0)

/* pending returns how much there is to read. */
static int pending(int fd) {
	int n = -1;
	OK(ioctl(fd, FIONREAD, &n));
	return n;
}

/* polled returns what poll(2) says about a descriptor now. */
static int polled(int fd, int events) {
	struct pollfd p = { .fd = fd, .events = events };
	OK(poll(&p, 1, 0));
	return p.revents;
}

/* READS reads what is there and compares. */
#define READS(from, want)                                                        \
	do {                                                                   \
		char b_[512];                                                  \
		struct pollfd p_ = { .fd = from, .events = POLLIN };           \
		size_t have_ = 0, n_ = strlen(want);                           \
		while (have_ < n_ && poll(&p_, 1, PATIENCE) == 1) {                \
			ssize_t r_ = read(from, b_ + have_, sizeof b_ - 1 - have_); \
			if (r_ <= 0)                                           \
				break;                                         \
			have_ += r_;                                           \
		}                                                              \
		b_[have_] = 0;                                                 \
		if (strcmp(b_, want)) {                                        \
			for (char *c_ = b_; *c_; c_++)                         \
				if (*c_ < 32)                                  \
					*c_ = '@' + *c_;                       \
			guest_fail(__FILE__, __LINE__, "read \"%s\" (control characters as letters), not %s", b_, #want); \
		}                                                              \
	} while (0)

/* NOTHING checks that nothing comes. */
#define NOTHING(from)                                                            \
	do {                                                                   \
		struct pollfd p_ = { .fd = from, .events = POLLIN };           \
		EQUAL(poll(&p_, 1, 30), 0);                                    \
	} while (0)

static struct termios get(int fd) {
	struct termios t;
	OK(tcgetattr(fd, &t));
	return t;
}

static void set(int fd, struct termios t) { OK(tcsetattr(fd, TCSANOW, &t)); }

TEST(attributes) {
	int s = pair();
	struct termios t = get(s);
	EQUAL(t.c_iflag, ICRNL | IXON);
	EQUAL(t.c_oflag, OPOST | ONLCR);
	EQUAL(t.c_cflag & (CSIZE | CREAD), CS8 | CREAD);
	EQUAL(t.c_lflag, ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN);
	EQUAL(t.c_cc[VINTR], 3);
	EQUAL(t.c_cc[VEOF], 4);
	EQUAL(t.c_cc[VERASE], 127);
	EQUAL(t.c_cc[VMIN], 1);
	EQUAL(cfgetospeed(&t), B38400);
	t.c_lflag &= ~ECHO;
	set(ptmx, t); /* the master's are the slave's */
	CHECK(!(get(s).c_lflag & ECHO));
	struct winsize w = { 0 };
	OK(ioctl(s, TIOCGWINSZ, &w));
	EQUAL(w.ws_row, 0);
	w.ws_row = 33;
	w.ws_col = 99;
	OK(ioctl(ptmx, TIOCSWINSZ, &w));
	memset(&w, 0, sizeof w);
	OK(ioctl(s, TIOCGWINSZ, &w));
	EQUAL(w.ws_row * 1000 + w.ws_col, 33099);
	CHECK(isatty(s) && isatty(ptmx));
	char name[64];
	EQUAL(ttyname_r(s, name, sizeof name), 0);
	CHECK(!strcmp(name, slave_name));
	struct stat st;
	OK(fstat(s, &st));
	CHECK(S_ISCHR(st.st_mode));
	EQUAL(st.st_rdev >> 8, 136);
	FAILS(ioctl(s, TIOCGWINSZ, (void *)8), EFAULT);
	FAILS(ioctl(s, 0x54ff, 0), ENOTTY);
	FAILS(lseek(s, 0, SEEK_CUR), ESPIPE);
}

TEST(lines) {
	int s = pair();
	put(ptmx, "hel");
	NOTHING(s);
	put(ptmx, "lo\n");
	READS(s, "hello\n");
	READS(ptmx, "hello\r\n"); /* the echo */
	put(ptmx, "carriage\r");
	READS(s, "carriage\n");
	READS(ptmx, "carriage\r\n");
	/* a line at a time, and part of it if the buffer is small */
	put(ptmx, "one\ntwo\n");
	char b[16];
	EQUAL(read(s, b, 2), 2);
	EQUAL(read(s, b, 16), 2);
	EQUAL(read(s, b, 16), 4);
	READS(ptmx, "one\r\ntwo\r\n");
	/* erase, word erase, kill, literal next */
	put(ptmx, "abc\177\177x\n");
	READS(s, "ax\n");
	READS(ptmx, "abc\b \b\b \bx\r\n");
	put(ptmx, "first second\027third\n");
	READS(s, "first third\n");
	READS(ptmx, "first second\b \b\b \b\b \b\b \b\b \b\b \bthird\r\n");
	put(ptmx, "gone\025kept\n");
	READS(s, "kept\n");
	READS(ptmx, "gone\b \b\b \b\b \b\b \bkept\r\n");
	put(ptmx, "\026\003\n");
	READS(s, "\003\n");
	READS(ptmx, "^\b^C\r\n");
	/* end of file: once with what is there, then alone */
	put(ptmx, "tail\004");
	READS(s, "tail");
	put(ptmx, "\004");
	EQUAL(read(s, b, 16), 0);
	READS(ptmx, "tail");
	put(ptmx, "12345\n");
	OK(poll(&(struct pollfd){ .fd = s, .events = POLLIN }, 1, PATIENCE));
	EQUAL(pending(s), 6);
	OK(tcflush(s, TCIFLUSH));
	NOTHING(s);
}

TEST(raw) {
	int s = pair();
	struct termios t = get(s);
	cfmakeraw(&t);
	set(s, t);
	put(ptmx, "a\r\003\004");
	READS(s, "a\r\003\004");
	NOTHING(ptmx);
	put(s, "x\n");
	READS(ptmx, "x\n");
	char b[16];
	/* VMIN and VTIME */
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = 0;
	set(s, t);
	EQUAL(read(s, b, 16), 0);
	t.c_cc[VTIME] = 1;
	set(s, t);
	long long before = now_ns();
	EQUAL(read(s, b, 16), 0);
	CHECK(now_ns() - before >= 50000000); /* in ticks, of which a busy host may count several late at once */
	t.c_cc[VMIN] = 3;
	t.c_cc[VTIME] = 0;
	set(s, t);
	if (!fork()) {
		sleep_ms(20);
		put(ptmx, "a");
		sleep_ms(20);
		put(ptmx, "bc");
		_exit(0);
	}
	EQUAL(read(s, b, 16), 3);
	OK(wait(NULL));
	/* a change back to lines turns what is there into one */
	put(ptmx, "part");
	UNTIL(pending(s) == 4);
	t.c_lflag |= ICANON;
	set(s, t);
	READS(s, "part");
	OK(fcntl(s, F_SETFL, O_NONBLOCK));
	FAILS(read(s, b, 16), EAGAIN);
}

TEST(output) {
	int s = pair();
	put(s, "a\nb\tc\n");
	READS(ptmx, "a\r\nb\tc\r\n");
	struct termios t = get(s);
	t.c_oflag |= XTABS;
	set(s, t);
	put(s, "b\tc\n");
	READS(ptmx, "b       c\r\n");
	t.c_oflag = OPOST | OLCUC | OCRNL;
	set(s, t);
	put(s, "up\r");
	READS(ptmx, "UP\n");
	/* ^S and ^Q */
	t = get(s);
	put(ptmx, "\023");
	OK(fcntl(s, F_SETFL, O_NONBLOCK));
	UNTIL(!(polled(s, POLLOUT) & POLLOUT));
	FAILS(write(s, "x", 1), EAGAIN);
	put(ptmx, "\021");
	UNTIL(polled(s, POLLOUT) & POLLOUT);
	put(s, "y");
	READS(ptmx, "Y");
}

TEST(packet_mode) {
	int s = pair();
	int on = 1, got = -1;
	OK(ioctl(ptmx, TIOCPKT, &on));
	OK(ioctl(ptmx, TIOCGPKT, &got));
	EQUAL(got, 1);
	put(s, "data");
	char b[16];
	EQUAL(read(ptmx, b, 16), 5);
	EQUAL(b[0], TIOCPKT_DATA);
	CHECK(!memcmp(b + 1, "data", 4));
	OK(tcflush(s, TCIFLUSH));
	struct pollfd p = { .fd = ptmx, .events = POLLIN | POLLPRI };
	EQUAL(poll(&p, 1, PATIENCE), 1);
	CHECK(p.revents & POLLPRI);
	EQUAL(read(ptmx, b, 16), 1);
	EQUAL(b[0], TIOCPKT_FLUSHREAD);
}

TEST(hang_up_and_ends) {
	int s = pair();
	char b[16];
	put(ptmx, "line\n");
	put(s, "left");
	close(ptmx);
	struct pollfd p = { .fd = s, .events = POLLIN | POLLOUT };
	EQUAL(poll(&p, 1, PATIENCE), 1);
	CHECK(p.revents & POLLHUP);
	EQUAL(read(s, b, 16), 0);
	FAILS(write(s, "x", 1), EIO);
	FAILS(open(slave_name, O_RDWR | O_NOCTTY), ENOENT);
	close(s);
	/* the slave's end is not final */
	s = pair();
	put(s, "bye");
	close(s);
	READS(ptmx, "bye");
	p.fd = ptmx;
	EQUAL(poll(&p, 1, PATIENCE), 1);
	CHECK(p.revents & POLLHUP);
	FAILS(read(ptmx, b, 16), EIO);
	s = OK(open(slave_name, O_RDWR | O_NOCTTY));
	put(s, "again");
	READS(ptmx, "again");
}

/* leader makes the slave the controlling terminal of a new session. */
static void leader(int s) {
	OK(setsid());
	OK(ioctl(s, TIOCSCTTY, 0));
}

static volatile sig_atomic_t got;
static void note(int n) { got = n; }

TEST(signals_from_keys) {
	int s = pair();
	int status = IN_CHILD({
		leader(s);
		signal(SIGINT, note);
		signal(SIGQUIT, note);
		signal(SIGWINCH, note);
		static const struct { char key; int sig; } t[] = { { 3, SIGINT }, { 034, SIGQUIT } };
		for (int i = 0; i < 2; i++) {
			char k[] = { 'x', t[i].key, 0 };
			got = 0;
			put(ptmx, k);
			UNTIL(got);
			EQUAL(got, t[i].sig);
		}
		NOTHING(s); /* the signal flushed the x */
		put(ptmx, "ok\n");
		READS(s, "ok\n");
		struct winsize w = { 10, 20, 0, 0 };
		got = 0;
		OK(ioctl(ptmx, TIOCSWINSZ, &w));
		UNTIL(got);
		EQUAL(got, SIGWINCH);
		got = 0;
		OK(ioctl(ptmx, TIOCSWINSZ, &w)); /* no change, no signal */
		sleep_ms(20);
		EQUAL(got, 0);
		struct termios tt = get(s);
		tt.c_lflag &= ~ISIG;
		set(s, tt);
		put(ptmx, "\003\n");
		READS(s, "\003\n");
	});
	EXITED_OK(status);
}

TEST(controlling_terminal) {
	int s = pair();
	FAILS(ioctl(s, TIOCGPGRP, &(int){ 0 }), ENOTTY);
	int status = IN_CHILD({
		OK(setsid());
		FAILS(open("/dev/tty", O_RDWR), ENXIO);
		FAILS(tcgetpgrp(s), ENOTTY);
		/* opening makes it the session's */
		int t = OK(open(slave_name, O_RDWR));
		EQUAL(tcgetpgrp(t), getpid());
		EQUAL(tcgetsid(t), getpid());
		int tty = OK(open("/dev/tty", O_RDWR));
		put(tty, "via tty");
		READS(ptmx, "via tty");
		/* the master sees the group too */
		int g = 0;
		OK(ioctl(ptmx, TIOCGPGRP, &g));
		EQUAL(g, getpid());
		FAILS(tcsetpgrp(t, 0x3ffffff), ESRCH);
		FAILS(tcsetpgrp(t, -1), EINVAL);
		int k = IN_CHILD({
			/* another session may not take it */
			OK(setsid());
			FAILS(tcgetpgrp(t), ENOTTY);
			if (getuid() != 0)
				FAILS(ioctl(t, TIOCSCTTY, 1), EPERM);
			FAILS(ioctl(t, TIOCSCTTY, 0), EPERM);
			FAILS(open("/dev/tty", O_RDWR), ENXIO);
		});
		EXITED_OK(k);
		signal(SIGHUP, note);
		signal(SIGCONT, note);
		OK(ioctl(t, TIOCNOTTY));
		FAILS(open("/dev/tty", O_RDWR), ENXIO);
	});
	EXITED_OK(status);
}

TEST(background_jobs) {
	int s = pair();
	int status = IN_CHILD({
		leader(s);
		pid_t job = OK(fork());
		if (!job) {
			setpgid(0, 0);
			char b[4];
			read(s, b, 4); /* SIGTTIN */
			put(s, "w");   /* allowed without TOSTOP */
			tcsetpgrp(s, getpid()); /* SIGTTOU */
			_exit(9);
		}
		setpgid(job, job);
		int st;
		EQUAL(waitpid(job, &st, WUNTRACED), job);
		CHECK(WIFSTOPPED(st));
		EQUAL(WSTOPSIG(st), SIGTTIN);
		/* in the foreground its read goes on */
		OK(tcsetpgrp(s, job));
		OK(kill(job, SIGCONT));
		put(ptmx, "in\n");
		READS(ptmx, "in\r\nw");
		signal(SIGTTOU, SIG_IGN);
		OK(tcsetpgrp(s, getpgrp()));
		EQUAL(waitpid(job, &st, WUNTRACED), job);
		/* it was in the foreground or not when it took the terminal */
		if (WIFSTOPPED(st)) {
			EQUAL(WSTOPSIG(st), SIGTTOU);
			OK(kill(job, SIGKILL));
			EQUAL(waitpid(job, &st, 0), job);
		}
		/* TOSTOP; ignored or blocked the write goes through */
		struct termios t = get(s);
		t.c_lflag |= TOSTOP;
		set(s, t);
		job = OK(fork());
		if (!job) {
			setpgid(0, 0);
			put(s, "i"); /* SIGTTOU is ignored */
			signal(SIGTTOU, SIG_DFL);
			put(s, "d");
			_exit(0);
		}
		setpgid(job, job);
		EQUAL(waitpid(job, &st, WUNTRACED), job);
		CHECK(WIFSTOPPED(st));
		EQUAL(WSTOPSIG(st), SIGTTOU);
		READS(ptmx, "i");
		OK(kill(job, SIGKILL));
		EQUAL(waitpid(job, &st, 0), job);
		/* a reader that ignores SIGTTIN gets EIO, an orphaned one too */
		job = OK(fork());
		if (!job) {
			setpgid(0, 0);
			signal(SIGTTIN, SIG_IGN);
			char b[4];
			FAILS(read(s, b, 4), EIO);
			_exit(0);
		}
		EQUAL(waitpid(job, &st, 0), job);
		EXITED_OK(st);
		/* ^Z stops the foreground job */
		signal(SIGTTOU, SIG_IGN);
		job = OK(fork());
		if (!job) {
			setpgid(0, 0);
			for (;;)
				pause();
		}
		setpgid(job, job);
		OK(tcsetpgrp(s, job));
		put(ptmx, "\032");
		EQUAL(waitpid(job, &st, WUNTRACED), job);
		CHECK(WIFSTOPPED(st));
		EQUAL(WSTOPSIG(st), SIGTSTP);
		OK(kill(job, SIGKILL));
		EQUAL(waitpid(job, &st, 0), job);
	});
	EXITED_OK(status);
}

TEST(hang_up_signals) {
	int s = pair();
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		leader(s);
		close(ptmx);
		signal(SIGHUP, note);
		put(s, "r");
		UNTIL(got);
		EQUAL(got, SIGHUP);
		char b[4];
		EQUAL(read(s, b, 4), 0);
		FAILS(open("/dev/tty", O_RDWR), ENXIO);
		_exit(0);
	}
	close(s);
	READS(ptmx, "r");
	close(ptmx);
	int st;
	EQUAL(waitpid(k, &st, 0), k);
	EXITED_OK(st);
	/* the end of the leader hangs up the foreground group */
	s = pair();
	k = OK(fork());
	if (!k) {
		leader(s);
		pid_t fg = OK(fork());
		if (!fg) {
			signal(SIGHUP, note);
			put(s, "r");
			UNTIL(got);
			write(p[1], got == SIGHUP ? "y" : "n", 1);
			_exit(0);
		}
		char b[4];
		EQUAL(read(ptmx, b, 1), 1);
		_exit(0);
	}
	EQUAL(waitpid(k, &st, 0), k);
	EXITED_OK(st);
	READS(p[0], "y");
}

TEST(poll_of_a_terminal) {
	int s = pair();
	struct pollfd p[2] = { { .fd = s, .events = POLLIN | POLLOUT }, { .fd = ptmx, .events = POLLIN | POLLOUT } };
	EQUAL(poll(p, 2, 0), 2);
	EQUAL(p[0].revents, POLLOUT);
	EQUAL(p[1].revents, POLLOUT);
	put(ptmx, "abc");
	UNTIL(pending(ptmx) == 3); /* the echo */
	EQUAL(poll(p, 2, 0), 2);
	EQUAL(p[0].revents, POLLOUT);
	EQUAL(p[1].revents, POLLIN | POLLOUT);
	put(ptmx, "\n");
	UNTIL(polled(s, POLLIN) & POLLIN);
	EQUAL(poll(p, 2, 0), 2);
	EQUAL(p[0].revents, POLLIN | POLLOUT);
	/* writes fill up and go on */
	OK(fcntl(s, F_SETFL, O_NONBLOCK));
	static char big[1 << 20];
	memset(big, 'z', sizeof big);
	/* Linux passes bytes on to the other side by a worker, and then there is
	 * room again: so it is full once it stays so for a while. */
	ssize_t n = 0;
	for (int full = 0; full < 20 || polled(s, POLLOUT) & POLLOUT; full++) {
		ssize_t w = write(s, big, sizeof big);
		if (w > 0) {
			n += w;
			full = 0;
		} else {
			EQUAL(errno, EAGAIN);
			sleep_ms(1);
		}
	}
	CHECK(n > 0 && n < (ssize_t)sizeof big);
	OK(fcntl(ptmx, F_SETFL, O_NONBLOCK));
	ssize_t total = 0;
	for (int i = 0; i < PATIENCE && total < n; i++) {
		ssize_t r = read(ptmx, big, sizeof big);
		if (r > 0)
			total += r;
		else
			sleep_ms(1);
	}
	CHECK(total >= n);
	UNTIL(polled(s, POLLOUT) & POLLOUT);
}
