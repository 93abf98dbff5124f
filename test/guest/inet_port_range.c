/* IP_LOCAL_PORT_RANGE (ip(7)): which ports a socket gets that does not name one. */
#include "inet.h"
#include "network.h"

enum { ip_local_port_range = 51 };

static void begin(void) {
	own_network_up();
	need_family(AF_INET6);
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	if (set(s, IPPROTO_IP, ip_local_port_range, 0))
		SKIP("Linux has the option since 6.3");
	close(s);
}

static int ranged(int family, int type, int low, int high) {
	int s = OK(socket(family, type, 0));
	OK(set(s, IPPROTO_IP, ip_local_port_range, (int)((unsigned)high << 16 | low)));
	EQUAL(option(s, IPPROTO_IP, ip_local_port_range), (int)((unsigned)high << 16 | low));
	return s;
}

TEST(bind_takes_one_of_the_range) {
	begin();
	EACH_FAMILY(f)
		for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
			union addr a;
			socklen_t n = loopback(&a, f, 0);
			int low = 40000 + 10 * f + 2 * type, s = ranged(f, type, low, low + 1), t = ranged(f, type, low, low + 1);
			OK(bind(s, &a.sa, n));
			CHECK(port_of(s) >= low && port_of(s) <= low + 1);
			OK(bind(t, &a.sa, n));
			EQUAL(port_of(s) + port_of(t), 2 * low + 1);
			FAILS(bind(ranged(f, type, low, low + 1), &a.sa, n), EADDRINUSE);
			n = loopback(&a, f, 50000); /* a name that has one is what it says */
			int u = ranged(f, type, low, low + 1);
			OK(bind(u, &a.sa, n));
			EQUAL(port_of(u), 50000);
		}
}

TEST(so_do_those_without_a_name) {
	begin();
	EACH_FAMILY(f) {
		int l = ranged(f, SOCK_STREAM, 45000, 45000);
		OK(listen(l, 5));
		EQUAL(port_of(l), 45000);
		int u = ranged(f, SOCK_DGRAM, 45020, 45020), v = ranged(f, SOCK_DGRAM, 45030, 45030);
		union addr a, b;
		socklen_t n = sizeof b;
		connect_to(u, bound(f, SOCK_DGRAM));
		EQUAL(port_of(u), 45020);
		OK(getsockname(u, &b.sa, &n));
		loopback(&a, f, 45020);
		CHECK(!memcmp(&a, &b, n));
		EQUAL(sendto(v, "x", 1, 0, &a.sa, n), 1);
		EQUAL(port_of(v), 45030);
		EQUAL(sendto(ranged(f, SOCK_DGRAM, 45030, 45030), "x", 1, 0, &a.sa, n), -1); /* it has gone */
		close(l), close(u), close(v);
	}
}

/* Ends that the namespace's range does not have do not count. */
TEST(within_that_of_the_namespace) {
	begin();
	static const struct { int low, high, least, most; } of[] = {
		{ 20000, 20001, 32768, 60999 }, { 0, 32770, 32768, 32770 }, { 60990, 0, 60990, 60999 }, { 60990, 65000, 60990, 60999 },
	};
	for (unsigned i = 0; i < sizeof of / sizeof *of; i++) {
		union addr a;
		int s = ranged(AF_INET, SOCK_STREAM, of[i].low, of[i].high);
		OK(bind(s, &a.sa, loopback(&a, AF_INET, 0)));
		CHECK(port_of(s) >= of[i].least && port_of(s) <= of[i].most);
		close(s);
	}
	FAILS(set(OK(socket(AF_INET, SOCK_STREAM, 0)), IPPROTO_IP, ip_local_port_range, 40000 << 16 | 40001), EINVAL);
}

TEST(datagrams_without_a_free_port_do_not_wait) {
	own_network_up();
	need_family(AF_INET6);
	int range = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY);
	if (range < 0 && errno == EROFS)
		SKIP("it cannot be set here");
	OK(write(range, "60000 60000", 11));
	close(range);
	EACH_FAMILY(f) {
		union addr a;
		socklen_t n = loopback(&a, f, 60000);
		int taken = OK(socket(f, SOCK_DGRAM, 0));
		OK(bind(taken, &a.sa, n));
		int s = OK(socket(f, SOCK_DGRAM, 0));
		loopback(&a, f, 9);
		FAILS(sendto(s, "x", 1, 0, &a.sa, n), EAGAIN);
		FAILS(connect(s, &a.sa, n), EAGAIN);
		close(taken);
		EQUAL(sendto(s, "x", 1, 0, &a.sa, n), 1);
		EQUAL(port_of(s), 60000);
		close(s);
	}
}
