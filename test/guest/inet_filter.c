/* Filters of TCP sockets: SO_ATTACH_FILTER in socket(7). They see each segment from its TCP header on, and what
 * they drop comes again. */
#include "inet.h"
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <sys/time.h>

#define PROGRAM(name, ...) static struct sock_filter name[] = { __VA_ARGS__ }
#define ATTACH(fd, code) attach(fd, code, sizeof code / sizeof *code)

PROGRAM(pass, BPF_STMT(BPF_RET | BPF_K, -1));
PROGRAM(drop, BPF_STMT(BPF_RET | BPF_K, 0));
/* To load where the data begins, from the header's length. */
#define HEADER_LENGTH \
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 12), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf0), BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 2)
/* Segments with data are dropped. */
PROGRAM(no_data, HEADER_LENGTH, BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 0, 1), BPF_STMT(BPF_RET | BPF_K, -1), BPF_STMT(BPF_RET | BPF_K, 0));
/* So are those whose data begins with x; a load from beyond the end drops, too, those without data. */
PROGRAM(no_x, HEADER_LENGTH, BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 2, 0), BPF_STMT(BPF_LD | BPF_B | BPF_IND, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'x', 1, 0), BPF_STMT(BPF_RET | BPF_K, -1), BPF_STMT(BPF_RET | BPF_K, 0));
/* Three bytes are left of each segment whose data begins with a, others are dropped. */
PROGRAM(three, HEADER_LENGTH, BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_LD | BPF_B | BPF_IND, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'a', 0, 3), BPF_STMT(BPF_MISC | BPF_TXA, 0), BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 3),
	BPF_STMT(BPF_RET | BPF_A, 0), BPF_STMT(BPF_RET | BPF_K, 0));
/* No segment comes with FIN. */
PROGRAM(no_fin, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 1, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, -1), BPF_STMT(BPF_RET | BPF_K, 0));

/* No reset comes. */
PROGRAM(no_reset, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 4, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, -1), BPF_STMT(BPF_RET | BPF_K, 0));

static int attach_code(int fd, struct sock_filter *code, int n) {
	struct sock_fprog p = { n, code };
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof p);
}

static void attach(int fd, struct sock_filter *code, int n) { OK(attach_code(fd, code, n)); }
static void detach(int fd) { OK(set(fd, SOL_SOCKET, SO_DETACH_FILTER, 0)); }

/* length is how many instructions a socket's filter has. */
static int length(int fd) {
	socklen_t n = 0;
	OK(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &n));
	return n;
}

/* silent checks that nothing has come, though there was time. */
static void silent(int fd) {
	struct pollfd p = { fd, POLLIN | POLLRDHUP, 0 };
	EQUAL(poll(&p, 1, 100), 0);
}

static void receives(int fd, const char *want) {
	char got[64];
	int n = strlen(want), done = 0;
	while (done < n) {
		int r = OK(recv(fd, got + done, n - done, 0));
		CHECK(r > 0);
		done += r;
	}
	CHECK(!memcmp(got, want, n));
}

/* A connection may have its filter from its beginning, or later: each test of one has both. */
#define EACH_PAIR(s, f, early) EACH_FAMILY(f) for (int early = 0, s[2]; early < 2 && (pair(f, early, s), 1); early++)

static void pair(int family, int early, int s[2]) {
	need_family(family);
	int l = listener(family);
	if (early)
		ATTACH(l, pass);
	s[0] = OK(socket(family, SOCK_STREAM, 0));
	connect_to(s[0], l);
	s[1] = OK(accept(l, NULL, NULL));
	close(l);
}

// Begins a connection of which a filter lets nothing come.
static void connect_in_vain(int c, int l) {
	union addr a;
	socklen_t n = sizeof a;
	OK(getsockname(l, &a.sa, &n));
	FAILS(connect(c, &a.sa, n), EINPROGRESS);
	struct pollfd p = { c, POLLOUT, 0 };
	EQUAL(poll(&p, 1, 100), 0);
}

TEST(a_listener_drops_connections) {
	EACH_FAMILY(f) {
		need_family(f);
		int l = listener(f), c = OK(socket(f, SOCK_STREAM | SOCK_NONBLOCK, 0));
		ATTACH(l, drop);
		connect_in_vain(c, l);
		silent(l);
		detach(l);
		ready(c, POLLOUT);
		EQUAL(option(c, SOL_SOCKET, SO_ERROR), 0);
		close(OK(accept(l, NULL, NULL)));
	}
}

TEST(a_filter_is_inherited) {
	EACH_FAMILY(f) {
		need_family(f);
		int l = listener(f), c = OK(socket(f, SOCK_STREAM, 0));
		ATTACH(l, no_x);
		OK(set(l, SOL_SOCKET, SO_LOCK_FILTER, 1));
		connect_to(c, l);
		int s = OK(accept(l, NULL, NULL));
		EQUAL(length(s), sizeof no_x / sizeof *no_x);
		EQUAL(option(s, SOL_SOCKET, SO_LOCK_FILTER), 1);
		FAILS(set(s, SOL_SOCKET, SO_DETACH_FILTER, 0), EPERM);
		EQUAL(send(c, "yes", 3, 0), 3);
		receives(s, "yes");
		EQUAL(send(c, "xes", 3, 0), 3);
		silent(s);
		EQUAL(send(s, "xes", 3, 0), 3);
		receives(c, "xes");
	}
}

TEST(a_connection_before_has_none) {
	int l = listener(AF_INET), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	connect_to(c, l);
	ATTACH(l, drop);
	int s = OK(accept(l, NULL, NULL));
	EQUAL(length(s), 0);
	EQUAL(send(c, "yes", 3, 0), 3);
	receives(s, "yes");
}

TEST(who_connects_may_have_one) {
	EACH_FAMILY(f) {
		need_family(f);
		int l = listener(f), c = OK(socket(f, SOCK_STREAM, 0));
		ATTACH(c, no_x);
		connect_to(c, l);
		int s = OK(accept(l, NULL, NULL));
		EQUAL(length(s), 0);
		EQUAL(send(s, "yes", 3, 0), 3);
		receives(c, "yes");
		EQUAL(send(s, "xes", 3, 0), 3);
		silent(c);
		detach(c);
		receives(c, "xes");
	}
}

TEST(an_answer_that_is_dropped_comes_again) {
	int l = listener(AF_INET), c = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	ATTACH(c, drop);
	connect_in_vain(c, l);
	detach(c);
	ready(c, POLLOUT);
	EQUAL(option(c, SOL_SOCKET, SO_ERROR), 0);
	close(OK(accept(l, NULL, NULL)));
}

TEST(data_that_is_dropped_comes_again) {
	EACH_PAIR(s, f, early) {
		int n = -1;
		EQUAL(send(s[0], "first", 5, 0), 5);
		receives(s[1], "first");
		ATTACH(s[1], no_data);
		EQUAL(send(s[0], "second", 6, 0), 6);
		silent(s[1]);
		FAILS(recv(s[1], &n, 1, MSG_DONTWAIT), EAGAIN);
		OK(ioctl(s[1], FIONREAD, &n));
		EQUAL(n, 0);
		EQUAL(send(s[1], "back", 4, 0), 4);
		receives(s[0], "back");
		detach(s[1]);
		receives(s[1], "second");
		EQUAL(send(s[0], "third", 5, 0), 5);
		receives(s[1], "third");
		close(s[0]);
		close(s[1]);
	}
}

TEST(what_follows_waits) {
	EACH_PAIR(s, f, early) {
		ATTACH(s[1], no_x);
		EQUAL(send(s[0], "x1", 2, 0), 2);
		EQUAL(send(s[0], "y2", 2, 0), 2);
		silent(s[1]);
		OK(shutdown(s[0], SHUT_WR));
		silent(s[1]);
		detach(s[1]);
		receives(s[1], "x1y2");
		EQUAL(recv(s[1], s, 1, 0), 0);
		close(s[0]);
		close(s[1]);
	}
}

TEST(much_that_is_dropped_comes_again) {
	EACH_PAIR(s, f, early) {
		static char out[300000], in[sizeof out];
		ATTACH(s[1], no_data);
		for (int i = 0; i < sizeof out; i++)
			out[i] = i * 7 >> 3;
		int sent = 0;
		while (sent < sizeof out) {
			int n = send(s[0], out + sent, sizeof out - sent, MSG_DONTWAIT);
			if (n < 0)
				break;
			sent += n;
		}
		CHECK(sent > 0);
		silent(s[1]);
		detach(s[1]);
		for (int done = 0; done < sent;) {
			int n = OK(recv(s[1], in + done, sizeof in - done, 0));
			CHECK(n > 0);
			done += n;
		}
		CHECK(!memcmp(in, out, sent));
		close(s[0]);
		close(s[1]);
	}
}

TEST(segments_are_cut) {
	EACH_PAIR(s, f, early) {
		char got[16];
		ATTACH(s[1], three);
		EQUAL(send(s[0], "abcabc", 6, 0), 6);
		receives(s[1], "abcabc"); /* what was cut off comes again */
		EQUAL(send(s[0], "abcdef", 6, 0), 6);
		EQUAL(recv(s[1], got, 16, 0), 3);
		CHECK(!memcmp(got, "abc", 3));
		silent(s[1]);
		detach(s[1]);
		receives(s[1], "def");
		close(s[0]);
		close(s[1]);
	}
}

TEST(an_end_that_is_dropped_comes_again) {
	EACH_PAIR(s, f, early) {
		ATTACH(s[1], no_fin);
		EQUAL(send(s[0], "last", 4, 0), 4);
		receives(s[1], "last");
		if (early)
			OK(shutdown(s[0], SHUT_WR));
		else
			close(s[0]);
		silent(s[1]);
		detach(s[1]);
		EQUAL(recv(s[1], s, 1, 0), 0);
		close(s[1]);
	}
}

TEST(both_have_ended_and_some_was_dropped) {
	EACH_PAIR(s, f, early) {
		char c;
		ATTACH(s[1], no_data);
		for (int i = 0; i < 20; i++)
			EQUAL(send(s[0], "x", 1, 0), 1);
		OK(shutdown(s[0], SHUT_WR));
		silent(s[1]);
		OK(shutdown(s[1], SHUT_WR));
		silent(s[1]);
		FAILS(recv(s[1], &c, 1, MSG_DONTWAIT), EAGAIN);
		detach(s[1]);
		receives(s[1], "xxxxxxxxxxxxxxxxxxxx");
		EQUAL(recv(s[1], &c, 1, 0), 0);
		EQUAL(recv(s[0], &c, 1, 0), 0);
		close(s[0]);
		close(s[1]);
	}
}

/* reset_by closes a socket with a reset. */
static void reset_by(int fd) {
	struct linger at_once = { 1, 0 };
	OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
	close(fd);
}

static void state_is(int fd, int want) {
	struct tcp_info info = { 0 };
	socklen_t n = sizeof info;
	OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n));
	EQUAL(info.tcpi_state, want);
}

/* hears checks that a connection ends with an error before long. */
static void hears(int fd, int error) {
	struct pollfd p = { fd, 0, 0 };
	EQUAL(poll(&p, 1, 5000), 1);
	EQUAL(p.revents, POLLERR | POLLHUP);
	EQUAL(option(fd, SOL_SOCKET, SO_ERROR), error);
	state_is(fd, TCP_CLOSE);
	EQUAL(recv(fd, &p, 1, 0), 0);
}

TEST(a_reset_that_is_dropped_never_comes) {
	EACH_PAIR(s, f, early) {
		ATTACH(s[1], no_reset);
		EQUAL(send(s[0], "last", 4, 0), 4);
		usleep(20000); /* a reset is faster than what waits to be sent */
		reset_by(s[0]);
		receives(s[1], "last");
		silent(s[1]);
		detach(s[1]);
		silent(s[1]);
		state_is(s[1], TCP_ESTABLISHED);
		EQUAL(send(s[1], "x", 1, 0), 1);
		hears(s[1], ECONNRESET);
		close(s[1]);
	}
}

TEST(a_reset_for_what_nobody_has_read_is_dropped) {
	EACH_PAIR(s, f, early) {
		ATTACH(s[1], no_reset);
		EQUAL(send(s[1], "x", 1, 0), 1);
		ready(s[0], POLLIN);
		close(s[0]);
		silent(s[1]);
		state_is(s[1], TCP_ESTABLISHED);
		close(s[1]);
	}
}

TEST(what_was_dropped_does_not_come_after_a_reset) {
	EACH_PAIR(s, f, early) {
		ATTACH(s[1], drop);
		EQUAL(send(s[0], "late", 4, 0), 4);
		usleep(20000);
		reset_by(s[0]);
		silent(s[1]);
		detach(s[1]);
		for (int i = 0; i < 5; i++)
			silent(s[1]);
		EQUAL(send(s[1], "x", 1, 0), 1);
		hears(s[1], ECONNRESET);
		close(s[1]);
	}
}

TEST(what_meets_nobody_is_sent_again_while_the_answer_is_dropped) {
	EACH_PAIR(s, f, early) {
		int n = -1;
		ATTACH(s[1], no_reset);
		reset_by(s[0]);
		usleep(20000);
		EQUAL(send(s[1], "x", 1, 0), 1);
		EQUAL(send(s[1], "yz", 2, 0), 2);
		silent(s[1]);
		ready(s[1], POLLOUT);
		OK(ioctl(s[1], TIOCOUTQ, &n));
		if (!early)
			EQUAL(n, 3);
		EQUAL(option(s[1], SOL_SOCKET, SO_ERROR), 0);
		detach(s[1]);
		hears(s[1], ECONNRESET);
		close(s[1]);
	}
}

TEST(much_that_meets_nobody_waits) {
	EACH_PAIR(s, f, early) {
		static char much[1 << 16];
		struct pollfd p = { s[1], POLLOUT, 0 };
		int sent = 0, n;
		ATTACH(s[1], no_reset);
		reset_by(s[0]);
		usleep(20000);
		while ((n = send(s[1], much, sizeof much, MSG_DONTWAIT)) > 0 && sent < 64 << 20)
			sent += n;
		CHECK(n < 0 && errno == EAGAIN);
		EQUAL(poll(&p, 1, 100), 0);
		detach(s[1]);
		hears(s[1], ECONNRESET);
		FAILS(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
		close(s[1]);
	}
}

TEST(an_end_that_meets_nobody_is_sent_again_while_the_answer_is_dropped) {
	EACH_PAIR(s, f, early) {
		ATTACH(s[1], no_reset);
		reset_by(s[0]);
		usleep(20000);
		OK(shutdown(s[1], SHUT_WR));
		silent(s[1]);
		state_is(s[1], TCP_FIN_WAIT1);
		OK(shutdown(s[1], SHUT_WR));
		detach(s[1]);
		hears(s[1], ECONNRESET);
		close(s[1]);
	}
}

TEST(what_comes_after_the_end_is_answered_in_vain) {
	EACH_PAIR(s, f, early) {
		ATTACH(s[1], no_reset);
		close(s[0]);
		ready(s[1], POLLRDHUP);
		EQUAL(send(s[1], "x", 1, 0), 1);
		usleep(50000);
		EQUAL(send(s[1], "yz", 2, 0), 2);
		EQUAL(option(s[1], SOL_SOCKET, SO_ERROR), 0);
		state_is(s[1], TCP_CLOSE_WAIT);
		detach(s[1]);
		hears(s[1], EPIPE);
		close(s[1]);
	}
}

TEST(who_has_shut_down_and_closed_is_missed_once_the_answer_comes) {
	EACH_PAIR(s, f, early) {
		ATTACH(s[1], no_reset);
		OK(shutdown(s[0], SHUT_RDWR));
		ready(s[1], POLLRDHUP);
		EQUAL(send(s[1], "x", 1, 0), 1);
		ready(s[0], POLLHUP);
		close(s[0]);
		EQUAL(option(s[1], SOL_SOCKET, SO_ERROR), 0);
		detach(s[1]);
		hears(s[1], EPIPE);
		close(s[1]);
	}
}

TEST(a_refusal_that_is_dropped_comes_again) {
	EACH_FAMILY(f) {
		need_family(f);
		int nobody = bound(f, SOCK_STREAM), c = OK(socket(f, SOCK_STREAM | SOCK_NONBLOCK, 0));
		ATTACH(c, no_reset);
		connect_in_vain(c, nobody);
		state_is(c, TCP_SYN_SENT);
		detach(c);
		ready(c, POLLERR);
		EQUAL(option(c, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	}
}

TEST(what_came_to_nothing_leaves_no_filter) {
	union addr a;
	socklen_t n = sizeof a;
	int l = listener(AF_INET), c = bound(AF_INET, SOCK_STREAM);
	OK(getsockname(c, &a.sa, &n));
	OK(fcntl(c, F_SETFL, O_NONBLOCK));
	ATTACH(l, pass);
	ATTACH(c, drop);
	connect_in_vain(c, l);
	detach(l);
	close(c);
	c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(c, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(bind(c, &a.sa, n));
	ATTACH(c, pass);
	connect_to(c, l);
	int s = OK(accept(l, NULL, NULL));
	EQUAL(length(s), 0);
	EQUAL(send(c, "yes", 3, 0), 3);
	receives(s, "yes");
}

TEST(the_header_before_is_there) {
	EACH_PAIR(s, f, early) {
		struct sock_filter version[] = {
			BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SKF_NET_OFF), BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, f == AF_INET ? 4 : 6, 0, 8),
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PROTOCOL),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, f == AF_INET ? 0x800 : 0x86dd, 0, 6),
			BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port_of(s[0]), 0, 4),
			BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 2), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port_of(s[1]), 0, 2),
			BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x10, 1, 0),
			BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, -1),
		};
		ATTACH(s[1], version);
		EQUAL(send(s[0], "it is", 5, 0), 5);
		receives(s[1], "it is");
		version[2].k = 5;
		ATTACH(s[1], version);
		EQUAL(send(s[0], "it is", 5, 0), 5);
		silent(s[1]);
		close(s[0]);
		close(s[1]);
	}
}

TEST(a_filter_is_kept_for_the_next_connection) {
	int l = listener(AF_INET), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	union addr none = { .sa = { AF_UNSPEC } };
	ATTACH(c, no_x);
	connect_to(c, l);
	close(OK(accept(l, NULL, NULL)));
	OK(connect(c, &none.sa, sizeof none.sa));
	EQUAL(length(c), sizeof no_x / sizeof *no_x);
	connect_to(c, l);
	int s = OK(accept(l, NULL, NULL));
	EQUAL(send(s, "yes", 3, 0), 3);
	receives(c, "yes");
	EQUAL(send(s, "xes", 3, 0), 3);
	silent(c);
}

TEST(a_filter_is_locked_and_taken_away) {
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	FAILS(set(s, SOL_SOCKET, SO_DETACH_FILTER, 0), ENOENT);
	ATTACH(s, pass);
	EQUAL(length(s), 1);
	detach(s);
	EQUAL(length(s), 0);
	ATTACH(s, pass);
	OK(set(s, SOL_SOCKET, SO_LOCK_FILTER, 1));
	FAILS(attach_code(s, drop, 1), EPERM);
	FAILS(set(s, SOL_SOCKET, SO_DETACH_FILTER, 0), EPERM);
}
