/* network.c SECONDS [NAME [ADDRESS]]: what TCP and UDP cost, over the loopback interface or to
 * ADDRESS, where "network.c serve" runs.
 *
 * Over loopback the other end is a process of its own. Ports are the kernel's choice, so that
 * many can run on one host.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

enum { MIB = 1 << 20, CONNECTIONS = 64 };

/* far is the address of the other ends, if they are not to be made here. */
static in_addr_t far;

static struct sockaddr_in local(int port) {
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* bound returns a socket of the type on a free port, and its address. */
static int bound(int type, struct sockaddr_in *a) {
	socklen_t n = sizeof *a;
	int s = socket(AF_INET, type, 0);
	*a = local(0);
	need(s >= 0 && bind(s, (void *)a, n) == 0 && getsockname(s, (void *)a, &n) == 0, "bind");
	return s;
}

static int listening(struct sockaddr_in *a) {
	int s = bound(SOCK_STREAM, a);
	need(listen(s, 128) == 0, "listen");
	return s;
}

static int connected(const struct sockaddr_in *a) {
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	need(s >= 0 && connect(s, (const void *)a, sizeof *a) == 0, "connect");
	need(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "TCP_NODELAY");
	return s;
}

static void exchange(int s, char *buf, size_t n) {
	need(write(s, buf, n) == (ssize_t)n, "write");
	for (size_t got = 0; got < n;) {
		ssize_t r = read(s, buf + got, n - got);
		need(r > 0, "read");
		got += r;
	}
}

/* child runs f in a process that ends with it. */
static pid_t child(void (*f)(int), int s) {
	pid_t p = fork();
	need(p >= 0, "fork");
	if (p == 0) { prctl(PR_SET_PDEATHSIG, SIGKILL); f(s); _exit(0); }
	return p;
}

static void end(pid_t p) {
	if (p == 0) return;
	kill(p, SIGKILL);
	waitpid(p, NULL, 0);
}

/* echo_all answers on all connections that come. */
static void echo_all(int l) {
	static char buf[65536];
	struct epoll_event e = {.events = EPOLLIN, .data.fd = l}, got[64];
	int ep = epoll_create1(0);
	need(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, l, &e) == 0, "epoll");
	for (;;) {
		int n = epoll_wait(ep, got, 64, -1);
		for (int i = 0; i < n; i++) {
			int s = got[i].data.fd, one = 1;
			if (s == l) {
				e.data.fd = accept(l, NULL, NULL);
				need(e.data.fd >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, e.data.fd, &e) == 0, "accept");
				setsockopt(e.data.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
				continue;
			}
			ssize_t r = read(s, buf, sizeof buf);
			if (r <= 0) close(s);
			else need(write(s, buf, r) == r, "write");
		}
	}
}

static void echo_datagrams(int s) {
	static char buf[65536];
	struct sockaddr_in from;
	for (;;) {
		socklen_t n = sizeof from;
		ssize_t r = recvfrom(s, buf, sizeof buf, 0, (void *)&from, &n);
		need(r >= 0 && sendto(s, buf, r, 0, (void *)&from, n) == r, "datagram");
	}
}

/* swallow and pour serve one connection after another. */
static void swallow(int l) {
	static char buf[MIB];
	for (int s; (s = accept(l, NULL, NULL)) >= 0; close(s)) {
		long total = 0;
		for (ssize_t r; (r = read(s, buf, sizeof buf)) > 0;)
			for (total += r; total >= MIB; total -= MIB) need(write(s, "", 1) == 1, "write");
	}
}

static void pour(int l) {
	static char buf[MIB];
	char c;
	memset(buf, 'x', sizeof buf); /* memory of its own, where untouched memory is one page of zeros */
	for (int s; (s = accept(l, NULL, NULL)) >= 0; close(s))
		while (read(s, &c, 1) == 1) need(write(s, buf, MIB) == MIB, "write");
}

/* ends are what can be at the other end, and their ports where it is served. */
static const struct end { void (*serve)(int); int type, port; }
	echoing = {echo_all, SOCK_STREAM, 7001}, echoing_datagrams = {echo_datagrams, SOCK_DGRAM, 7002},
	swallowing = {swallow, SOCK_STREAM, 7003}, pouring = {pour, SOCK_STREAM, 7004};

/* other makes an end in a process of its own, unless it is there already, and says where it is. */
static pid_t other(const struct end *e, struct sockaddr_in *a) {
	if (far) {
		*a = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(e->port), .sin_addr.s_addr = far};
		return 0;
	}
	int s = e->type == SOCK_STREAM ? listening(a) : bound(e->type, a);
	pid_t p = child(e->serve, s);
	close(s);
	return p;
}

/* serve is all ends, for any address. */
static void serve(void) {
	const struct end *all[] = {&echoing, &echoing_datagrams, &swallowing, &pouring};
	for (int i = 0; i < 4; i++) {
		struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(all[i]->port)};
		int s = socket(AF_INET, all[i]->type, 0), one = 1;
		setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		need(s >= 0 && bind(s, (void *)&a, sizeof a) == 0, "bind");
		if (all[i]->type == SOCK_STREAM) need(listen(s, 128) == 0, "listen");
		child(all[i]->serve, s);
	}
	puts("serving");
	fflush(stdout);
	pause();
}

/* once makes a connection for one request. A reset leaves no TIME_WAIT behind, of which there
 * can be only so many. */
static void once(const struct sockaddr_in *a, char *buf) {
	struct linger hard = {1, 0};
	int s = connected(a);
	exchange(s, buf, 64);
	need(setsockopt(s, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0, "SO_LINGER");
	close(s);
}

static void requests(void) {
	static char buf[16384];
	struct sockaddr_in a;
	pid_t p = other(&echoing, &a);
	int s = connected(&a), all[CONNECTIONS];
	ROW("small", "tcp: request and answer of 64 B", exchange(s, buf, 64));
	ROW("small", "tcp: request and answer of 16 KiB", exchange(s, buf, sizeof buf));
	if (wanted("tcp: 64 connections, 64 B on each")) {
		for (int i = 0; i < CONNECTIONS; i++) all[i] = connected(&a);
		ROW("small", "tcp: 64 connections, 64 B on each", {
			for (int i = 0; i < CONNECTIONS; i++) need(write(all[i], buf, 64) == 64, "write");
			for (int i = 0; i < CONNECTIONS; i++) need(recv(all[i], buf, 64, MSG_WAITALL) == 64, "recv");
		});
		for (int i = 0; i < CONNECTIONS; i++) close(all[i]);
	}
	close(s);
	ROW("small", "tcp: connect, request, close", once(&a, buf));
	end(p);
}

static void datagrams(void) {
	static char buf[1024];
	struct sockaddr_in a;
	pid_t p = other(&echoing_datagrams, &a);
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	need(s >= 0 && connect(s, (void *)&a, sizeof a) == 0, "connect");
	ROW("small", "udp: request and answer of 64 B", exchange(s, buf, 64));
	close(s);
	end(p);
}

/* bulk moves a MiB at a time, to and from the other end. */
static void bulk(const char *name, const struct end *e, int gives) {
	static char buf[MIB];
	struct sockaddr_in a;
	char c = 0;
	if (!wanted(name)) return;
	memset(buf, 'x', sizeof buf); /* as pour does */
	pid_t p = other(e, &a);
	int s = connected(&a);
	ROW("bulk", name, {
		if (gives) need(write(s, buf, MIB) == MIB && read(s, &c, 1) == 1, "write");
		else need(write(s, &c, 1) == 1 && recv(s, buf, MIB, MSG_WAITALL) == MIB, "recv");
	});
	close(s);
	end(p);
}

int main(int argc, char **argv) {
	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && strcmp(argv[1], "serve") == 0) serve();
	if (argc > 1) seconds_per_row = atof(argv[1]);
	if (argc > 2) only = argv[2];
	if (argc > 3) far = inet_addr(argv[3]);
	requests();
	datagrams();
	bulk("tcp: 1 MiB sent", &swallowing, 1);
	bulk("tcp: 1 MiB received", &pouring, 0);
	return 0;
}
