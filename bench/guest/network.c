/* network.c SECONDS [NAME]: what TCP and UDP cost over the loopback interface.
 *
 * The other end is a process of its own. Ports are the kernel's choice, so that many can run
 * on one host.
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

static void swallow(int l) {
	static char buf[MIB];
	int s = accept(l, NULL, NULL);
	long total = 0;
	for (ssize_t r; (r = read(s, buf, sizeof buf)) > 0;)
		for (total += r; total >= MIB; total -= MIB) need(write(s, "", 1) == 1, "write");
}

static void pour(int l) {
	static char buf[MIB];
	int s = accept(l, NULL, NULL);
	char c;
	while (read(s, &c, 1) == 1) need(write(s, buf, MIB) == MIB, "write");
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
	int l = listening(&a);
	pid_t p = child(echo_all, l);
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
	close(l);
	end(p);
}

static void datagrams(void) {
	static char buf[1024];
	struct sockaddr_in a, b;
	int server = bound(SOCK_DGRAM, &a), s = bound(SOCK_DGRAM, &b);
	need(connect(s, (void *)&a, sizeof a) == 0, "connect");
	pid_t p = child(echo_datagrams, server);
	ROW("small", "udp: request and answer of 64 B", exchange(s, buf, 64));
	close(s);
	close(server);
	end(p);
}

/* bulk moves a MiB at a time, to and from the other end. */
static void bulk(const char *name, void (*other)(int), int gives) {
	static char buf[MIB];
	struct sockaddr_in a;
	char c = 0;
	if (!wanted(name)) return;
	int l = listening(&a);
	pid_t p = child(other, l);
	int s = connected(&a);
	ROW("bulk", name, {
		if (gives) need(write(s, buf, MIB) == MIB && read(s, &c, 1) == 1, "write");
		else need(write(s, &c, 1) == 1 && recv(s, buf, MIB, MSG_WAITALL) == MIB, "recv");
	});
	close(s);
	close(l);
	end(p);
}

int main(int argc, char **argv) {
	if (argc > 1) seconds_per_row = atof(argv[1]);
	if (argc > 2) only = argv[2];
	signal(SIGPIPE, SIG_IGN);
	requests();
	datagrams();
	bulk("tcp: 1 MiB sent", swallow, 1);
	bulk("tcp: 1 MiB received", pour, 0);
	return 0;
}
