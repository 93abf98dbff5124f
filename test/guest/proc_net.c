/* /proc/net and /proc/sys/net, as programs parse them: proc_pid_net(5), proc_sys_net(5). */
#include "network.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static char text[65536];

/* content reads a file of /proc/self/net; /proc/net may be a mount's of before. */
static char *content(const char *name) {
	char path[256];
	if (name[0] == '/')
		snprintf(path, sizeof path, "%s", name);
	else
		snprintf(path, sizeof path, "/proc/self/net/%s", name);
	int fd = OK(open(path, O_RDONLY | O_CLOEXEC));
	size_t n = 0;
	for (ssize_t got; (got = OK(read(fd, text + n, sizeof text - 1 - n))) > 0;)
		n += got;
	text[n] = 0;
	close(fd);
	return text;
}

static int lines(const char *s) {
	int n = 0;
	for (; *s; s++)
		n += *s == '\n';
	return n;
}

/* set writes a setting, and returns -1 with the error of write(2). */
static int set(const char *name, const char *value) {
	char path[256];
	snprintf(path, sizeof path, "/proc/sys/net/%s", name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd == -1 && errno == EROFS)
		SKIP("settings cannot be changed here: /proc/sys is read-only");
	OK(fd);
	int r = write(fd, value, strlen(value)) == (ssize_t)strlen(value) ? 0 : -1, e = errno;
	close(fd);
	errno = e;
	return r;
}

static char *get(const char *name) {
	char path[256];
	snprintf(path, sizeof path, "/proc/sys/net/%s", name);
	return content(path);
}

static unsigned long inode(int fd) {
	struct stat s;
	OK(fstat(fd, &s));
	return s.st_ino;
}

TEST(tcp_and_udp) {
	own_network_up();
	EQUAL(lines(content("tcp")), 1);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(4567), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0)), u = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(bind(l, (void *)&a, sizeof a));
	OK(listen(l, 5));
	OK(connect(c, (void *)&a, sizeof a));
	int s = OK(accept(l, NULL, NULL));
	a.sin_port = htons(999);
	OK(bind(u, (void *)&a, sizeof a));
	int listening = 0, client = 0, server = 0;
	char *line = strchr(content("tcp"), '\n') + 1;
	for (; *line; line = strchr(line, '\n') + 1) {
		unsigned local, port, peer, peer_port, state, uid, timeout;
		unsigned long ino, tx, rx, when, retransmits;
		int slot, timer;
		EQUAL(sscanf(line, "%d: %x:%x %x:%x %x %lx:%lx %x:%lx %lx %u %u %lu", &slot, &local, &port, &peer, &peer_port, &state, &tx, &rx, &timer, &when, &retransmits, &uid, &timeout, &ino), 14);
		EQUAL(local, htonl(INADDR_LOOPBACK));
		EQUAL(uid, 0);
		EQUAL(strchr(line, '\n') - line, 149);
		if (ino == inode(l)) {
			EQUAL(port, 4567);
			EQUAL(state, 10);
			EQUAL(peer_port, 0);
			listening++;
		} else if (ino == inode(c)) {
			EQUAL(peer_port, 4567);
			EQUAL(state, 1);
			client++;
		} else if (ino == inode(s)) {
			EQUAL(port, 4567);
			EQUAL(state, 1);
			server++;
		}
	}
	EQUAL(listening, 1);
	EQUAL(client, 1);
	EQUAL(server, 1);
	char *udp = content("udp"), want[40];
	EQUAL(lines(udp), 2);
	snprintf(want, sizeof want, ": 0100007F:03E7 00000000:0000 07 ");
	CHECK(strstr(udp, want));
	close(u);
	EQUAL(lines(content("udp")), 1);
}

TEST(ipv6_sockets) {
	own_network_up();
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(4568), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int l = OK(socket(AF_INET6, SOCK_STREAM, 0)), u = OK(socket(AF_INET6, SOCK_DGRAM, 0));
	OK(bind(l, (void *)&a, sizeof a));
	OK(listen(l, 5));
	OK(bind(u, (void *)&a, sizeof a));
	CHECK(strstr(content("tcp6"), ": 00000000000000000000000001000000:11D8 00000000000000000000000000000000:0000 0A "));
	CHECK(strstr(content("udp6"), ": 00000000000000000000000001000000:11D8 00000000000000000000000000000000:0000 07 "));
	int r = OK(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	EQUAL(lines(content("raw")), 2);
	CHECK(strstr(content("raw"), ": 00000000:0001 00000000:0000 07 "));
	close(r);
	EQUAL(lines(content("raw")), 1);
}

TEST(unix_sockets) {
	own_network_up();
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0hidden" };
	OK(bind(s, (void *)&a, offsetof(struct sockaddr_un, sun_path) + 7));
	OK(listen(s, 1));
	char want[80];
	snprintf(want, sizeof want, " 00000000 00010000 0001 01 %5lu @hidden\n", inode(s));
	CHECK(strstr(content("unix"), want));
}

TEST(interfaces) {
	own_network_up();
	char *dev = content("dev");
	EQUAL(lines(dev), 3);
	unsigned long long bytes, packets;
	EQUAL(sscanf(strstr(dev, "lo:"), "lo: %llu %llu", &bytes, &packets), 2);
	CHECK(!strcmp(content("if_inet6"), "00000000000000000000000000000001 01 80 10 80       lo\n"));
	EQUAL(lines(content("route")), 1);
	EQUAL(lines(content("arp")), 1);
	CHECK(strstr(content("ipv6_route"), "00000000000000000000000000000001 80 00000000000000000000000000000000 00 "));
	CHECK(strstr(content("fib_trie"), "|-- 127.0.0.1\n"));
	CHECK(strstr(content("igmp"), "010000E0     1 0:00000000\t\t0\n"));
}

TEST(groups) {
	own_network_up();
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct ip_mreqn m = { .imr_ifindex = 1 };
	inet_pton(AF_INET, "239.1.2.3", &m.imr_multiaddr);
	OK(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	CHECK(strstr(content("igmp"), "\t\t\t\t030201EF     1 "));
	close(s);
	CHECK(!strstr(content("igmp"), "030201EF"));
}

TEST(counters) {
	own_network_up();
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), r = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	OK(bind(r, (void *)&a, sizeof a));
	OK(getsockname(r, (void *)&a, &n));
	char b[10];
	for (int i = 0; i < 3; i++) {
		OK(sendto(s, "x", 1, 0, (void *)&a, sizeof a));
		OK(recv(r, b, sizeof b, 0));
	}
	/* names in one line, numbers in the next */
	char *names = strstr(content("snmp"), "Udp: In"), *numbers = strchr(names, '\n') + 1;
	unsigned in, none, bad, out;
	EQUAL(sscanf(numbers, "Udp: %u %u %u %u", &in, &none, &bad, &out), 4);
	CHECK(!strncmp(names, "Udp: InDatagrams NoPorts InErrors OutDatagrams ", 47));
	EQUAL(in, 3);
	EQUAL(out, 3);
	CHECK(strstr(content("sockstat"), "\nUDP: inuse 1 ") || strstr(text, "\nUDP: inuse 2 "));
	CHECK(strstr(content("netstat"), "TcpExt: "));
	CHECK(strstr(content("snmp6"), "Ip6InReceives "));
	CHECK(strstr(content("protocols"), "\nTCP "));
}

TEST(settings_of_a_namespace) {
	own_network_up();
	CHECK(strspn(get("ipv4/ip_forward"), "01") == 1); /* natively that of the host */
	CHECK(!strcmp(get("ipv4/ip_local_port_range"), "32768\t60999\n"));
	OK(set("ipv4/ip_local_port_range", "20000 20003"));
	CHECK(!strcmp(get("ipv4/ip_local_port_range"), "20000\t20003\n"));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	for (int i = 0; i < 4; i++) {
		int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
		a.sin_port = 0;
		OK(bind(s, (void *)&a, sizeof a));
		socklen_t n = sizeof a;
		OK(getsockname(s, (void *)&a, &n));
		CHECK(ntohs(a.sin_port) >= 20000 && ntohs(a.sin_port) <= 20003);
	}
	a.sin_port = 0;
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	FAILS(bind(s, (void *)&a, sizeof a), EADDRINUSE);
	FAILS(set("ipv4/ip_local_port_range", "5 4"), EINVAL);
	FAILS(set("ipv4/ip_local_port_range", "x"), EINVAL);
	FAILS(set("ipv4/tcp_congestion_control", "nosuch"), ENOENT);
	/* another namespace has its own */
	OK(unshare(CLONE_NEWNET));
	CHECK(!strcmp(get("ipv4/ip_local_port_range"), "32768\t60999\n"));
}

TEST(privileged_ports) {
	own_network_up();
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	for (int i = 0; i < 2; i++) {
		int status = IN_CHILD(
			OK(setresuid(65534, 65534, 65534));
			int s = OK(socket(AF_INET, SOCK_STREAM, 0));
			if (i == 0)
				FAILS(bind(s, (void *)&a, sizeof a), EACCES);
			else
				OK(bind(s, (void *)&a, sizeof a));
		);
		EXITED_OK(status);
		OK(set("ipv4/ip_unprivileged_port_start", "80"));
	}
}

TEST(settings_of_interfaces) {
	own_network_up();
	OK(set("ipv4/ip_forward", "1"));
	CHECK(!strcmp(get("ipv4/conf/all/forwarding"), "1\n"));
	CHECK(!strcmp(get("ipv4/conf/lo/forwarding"), "1\n"));
	OK(set("ipv4/conf/lo/forwarding", "0"));
	CHECK(!strcmp(get("ipv4/ip_forward"), "1\n"));
	FAILS(open("/proc/sys/net/ipv4/conf/nosuch/forwarding", O_RDONLY), ENOENT);
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int s = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(set("ipv6/conf/all/disable_ipv6", "1"));
	FAILS(bind(s, (void *)&a, sizeof a), EADDRNOTAVAIL);
	CHECK(!strcmp(content("if_inet6"), ""));
	OK(set("ipv6/conf/lo/disable_ipv6", "0"));
	OK(bind(s, (void *)&a, sizeof a));
	DIR *d = opendir("/proc/sys/net/ipv4/conf");
	int seen = 0;
	for (struct dirent *e; (e = readdir(d));)
		seen += !strcmp(e->d_name, "all") || !strcmp(e->d_name, "default") || !strcmp(e->d_name, "lo");
	EQUAL(seen, 3);
	closedir(d);
}

/* What is there takes the value that it has. */
TEST(settings_that_images_set) {
	own_network_up();
	static const char *names[] = {
		"core/somaxconn", "core/tstamp_allow_data", "ipv4/fib_multipath_hash_policy", "ipv4/fwmark_reflect", "ipv4/icmp_ratelimit",
		"ipv4/icmp_ratemask", "ipv4/igmp_qrv", "ipv4/ip_forward_use_pmtu", "ipv4/ipfrag_high_thresh", "ipv4/ipfrag_low_thresh",
		"ipv4/ipfrag_max_dist", "ipv4/ipfrag_time", "ipv4/route/min_pmtu", "ipv4/route/mtu_expires", "ipv4/tcp_fin_timeout",
		"ipv4/tcp_max_syn_backlog", "ipv4/tcp_reordering", "ipv4/tcp_rto_min_us", "ipv4/tcp_slow_start_after_idle", "ipv4/tcp_syncookies",
		"ipv4/tcp_tw_reuse", "ipv4/conf/all/bc_forwarding", "ipv4/conf/all/src_valid_mark", "ipv6/icmp/ratelimit", "ipv6/ip6frag_high_thresh",
		"ipv6/ip6frag_time", "ipv6/route/mtu_expires", "ipv6/conf/lo/keep_addr_on_down", "ipv6/conf/lo/ndisc_notify",
	};
	for (int i = 0; i < sizeof names / sizeof *names; i++) {
		char was[64];
		snprintf(was, sizeof was, "%s", get(names[i]));
		OK(set(names[i], was));
		CHECK(!strcmp(get(names[i]), was));
	}
	CHECK(!strcmp(get("ipv4/route/min_pmtu"), "552\n"));
	CHECK(!strcmp(get("ipv4/route/mtu_expires"), "600\n"));
	CHECK(!strcmp(get("ipv4/ipfrag_time"), "30\n"));
	CHECK(!strcmp(get("ipv6/ip6frag_time"), "60\n"));
	/* WireGuard's images do not start without this one */
	OK(set("ipv4/conf/all/src_valid_mark", "1"));
	CHECK(!strcmp(get("ipv4/conf/all/src_valid_mark"), "1\n"));
	CHECK(!strcmp(get("ipv4/conf/lo/src_valid_mark"), "0\n"));
	/* ip route flush cache */
	OK(set("ipv4/route/flush", "-1"));
	OK(set("ipv6/route/flush", "-1"));
	FAILS(open("/proc/sys/net/ipv4/route/flush", O_RDONLY), EACCES);
	struct stat st;
	OK(stat("/proc/sys/net/ipv4/route/flush", &st));
	EQUAL(st.st_mode, S_IFREG | 0200);
}

TEST(settings_need_a_privilege) {
	own_network_up();
	int status = IN_CHILD(
		OK(setresuid(65534, 65534, 65534));
		FAILS(open("/proc/sys/net/ipv4/ip_forward", O_WRONLY), EACCES);
		OK(open("/proc/sys/net/ipv4/ip_forward", O_RDONLY));
	);
	EXITED_OK(status);
}

TEST(settings_of_sockets) {
	own_network_up();
	int v;
	socklen_t n = sizeof v;
	OK(set("ipv4/tcp_keepalive_time", "100"));
	OK(set("ipv4/tcp_keepalive_probes", "3"));
	OK(set("ipv6/bindv6only", "1"));
	int s = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(getsockopt(s, IPPROTO_TCP, TCP_KEEPIDLE, &v, &n));
	EQUAL(v, 100);
	OK(getsockopt(s, IPPROTO_TCP, TCP_KEEPCNT, &v, &n));
	EQUAL(v, 3);
	OK(getsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &v, &n));
	EQUAL(v, 1);
	/* how many connections may wait */
	OK(set("core/somaxconn", "1"));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int l = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(l, (void *)&a, sizeof a));
	OK(listen(l, 100));
	n = sizeof a;
	OK(getsockname(l, (void *)&a, &n));
	int done = 0, arrivals = OK(epoll_create1(0));
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };
	OK(epoll_ctl(arrivals, EPOLL_CTL_ADD, l, &e));
	for (int i = 0; i < 5; i++) {
		int c = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
		connect(c, (void *)&a, sizeof a);
		struct pollfd p = { .fd = c, .events = POLLOUT };
		done += poll(&p, 1, i < 2 ? 60000 : 100) == 1;
		/* Its end of the handshake is over before it has come to wait. */
		if (i < 2) EQUAL(epoll_wait(arrivals, &e, 1, 60000), 1);
	}
	EQUAL(done, 2);
}

/* state_of is the state of the connection from a port to another, with its inode, or 0. */
static unsigned state_of(int from, int to, unsigned long *ino) {
	char *line = strchr(content("tcp"), '\n') + 1;
	for (; *line; line = strchr(line, '\n') + 1) {
		unsigned port, peer, state;
		if (sscanf(line, "%*d: %*x:%x %*x:%x %x %*x:%*x %*x:%*x %*x %*u %*u %lu", &port, &peer, &state, ino) == 4 && (int)port == from && (int)peer == to)
			return state;
	}
	return 0;
}

TEST(connections_without_sockets) {
	own_network_up();
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, b;
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(l, (void *)&a, sizeof a));
	OK(listen(l, 5));
	socklen_t n = sizeof a;
	OK(getsockname(l, (void *)&a, &n));
	OK(connect(c, (void *)&a, sizeof a));
	OK(getsockname(c, (void *)&b, &n));
	int at = ntohs(a.sin_port), from = ntohs(b.sin_port);
	unsigned long ino = 1;
	/* nobody has accepted it yet; the handshake's last segment may still be on the way (SYN_RECV) */
	unsigned early;
	while ((early = state_of(at, from, &ino)) == 3)
		sleep_ms(1);
	EQUAL(early, 1);
	EQUAL(ino, 0);
	int s = OK(accept(l, NULL, NULL));
	EQUAL(state_of(at, from, &ino), 1);
	EQUAL(ino, inode(s));
	/* who closes first has it for a while */
	close(s);
	char x;
	EQUAL(read(c, &x, 1), 0);
	close(c);
	for (unsigned state; (state = state_of(at, from, &ino)) != 6; sleep_ms(1))
		CHECK(state == 4 || state == 5);
	EQUAL(ino, 0);
}
