/* The ioctls of netdevice(7), which sockets of all families take, on links of a network of the test's own. */
#include "netlink.h"
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/route.h>

static int sock;
static struct ifreq q;

/* on names the interface of the next request. */
static struct ifreq *on(const char *name) {
	memset(&q, 0, sizeof q);
	strcpy(q.ifr_name, name);
	return &q;
}
static struct ifreq *with_ip(const char *name, const char *ip) {
	struct sockaddr_in *a = (void *)&on(name)->ifr_addr;
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = inet_addr(ip);
	return &q;
}
static void has_ip(int request, const char *name, const char *ip) {
	OK(ioctl(sock, request, on(name)));
	struct sockaddr_in *a = (void *)&q.ifr_addr;
	EQUAL(a->sin_family, AF_INET);
	EQUAL(a->sin_addr.s_addr, inet_addr(ip));
}

TEST(loopback) {
	own_network();
	int families[] = { AF_INET, AF_INET6, AF_UNIX, AF_NETLINK };
	for (unsigned i = 0; i < sizeof families / sizeof *families; i++) {
		sock = OK(socket(families[i], SOCK_DGRAM, 0));
		OK(ioctl(sock, SIOCGIFFLAGS, on("lo")));
		EQUAL(q.ifr_flags, IFF_LOOPBACK);
		OK(ioctl(sock, SIOCGIFINDEX, on("lo")));
		EQUAL(q.ifr_ifindex, 1);
		OK(ioctl(sock, SIOCGIFNAME, &q));
		CHECK(!strcmp(q.ifr_name, "lo"));
		OK(ioctl(sock, SIOCGIFMTU, on("lo")));
		EQUAL(q.ifr_mtu, 65536);
		OK(ioctl(sock, SIOCGIFHWADDR, on("lo")));
		EQUAL(q.ifr_hwaddr.sa_family, ARPHRD_LOOPBACK);
		OK(ioctl(sock, SIOCGIFTXQLEN, on("lo")));
		EQUAL(q.ifr_qlen, 1000);
		OK(ioctl(sock, SIOCGIFMETRIC, on("lo")));
		EQUAL(q.ifr_metric, 0);
		FAILS(ioctl(sock, SIOCGIFFLAGS, on("none")), ENODEV);
		on("x")->ifr_ifindex = 99;
		FAILS(ioctl(sock, SIOCGIFNAME, &q), ENODEV);
		FAILS(ioctl(sock, SIOCGIFFLAGS, NULL), EFAULT);
	}
	sock = OK(socket(AF_INET, SOCK_DGRAM, 0));
	FAILS(ioctl(sock, SIOCGIFADDR, on("lo")), EADDRNOTAVAIL);
	on("lo")->ifr_flags = IFF_UP;
	OK(ioctl(sock, SIOCSIFFLAGS, &q));
	has_ip(SIOCGIFADDR, "lo", "127.0.0.1");
	has_ip(SIOCGIFNETMASK, "lo", "255.0.0.0");
	OK(ioctl(sock, SIOCGIFFLAGS, on("lo")));
	EQUAL(q.ifr_flags, IFF_LOOPBACK | IFF_UP | IFF_RUNNING);
	int file = OK(open("/dev/null", O_RDONLY));
	FAILS(ioctl(file, SIOCGIFFLAGS, on("lo")), ENOTTY);
}

TEST(addresses) {
	own_network();
	sock = OK(socket(AF_INET, SOCK_DGRAM, 0));
	int s = netlink(NETLINK_ROUTE);
	EQUAL(add_pair(s, "a", "b"), 0);
	/* An address comes with the mask of its class. */
	OK(ioctl(sock, SIOCSIFADDR, with_ip("a", "192.168.7.1")));
	has_ip(SIOCGIFADDR, "a", "192.168.7.1");
	has_ip(SIOCGIFNETMASK, "a", "255.255.255.0");
	has_ip(SIOCGIFBRDADDR, "a", "192.168.7.255");
	OK(ioctl(sock, SIOCSIFNETMASK, with_ip("a", "255.255.0.0")));
	has_ip(SIOCGIFNETMASK, "a", "255.255.0.0");
	has_ip(SIOCGIFBRDADDR, "a", "192.168.255.255");
	FAILS(ioctl(sock, SIOCSIFNETMASK, with_ip("a", "255.0.255.0")), EINVAL);
	/* A second one goes by a name of its own. */
	OK(ioctl(sock, SIOCSIFADDR, with_ip("a:1", "10.1.2.3")));
	has_ip(SIOCGIFADDR, "a:1", "10.1.2.3");
	has_ip(SIOCGIFNETMASK, "a:1", "255.0.0.0");
	has_ip(SIOCGIFADDR, "a", "192.168.7.1");
	struct ifreq list[4];
	struct ifconf c = { .ifc_len = sizeof list, .ifc_req = list };
	OK(ioctl(sock, SIOCGIFCONF, &c));
	EQUAL(c.ifc_len, 2 * sizeof *list);
	CHECK(!strcmp(list[0].ifr_name, "a") && !strcmp(list[1].ifr_name, "a:1"));
	c.ifc_len = sizeof *list + 7;
	OK(ioctl(sock, SIOCGIFCONF, &c));
	EQUAL(c.ifc_len, sizeof *list);
	c = (struct ifconf){ .ifc_len = -5, .ifc_req = list };
	OK(ioctl(sock, SIOCGIFCONF, &c));
	EQUAL(c.ifc_len, 0);
	c = (struct ifconf){ .ifc_len = -5 };
	OK(ioctl(sock, SIOCGIFCONF, &c));
	EQUAL(c.ifc_len, 2 * sizeof *list);
	on("a:1")->ifr_flags = 0;
	OK(ioctl(sock, SIOCSIFFLAGS, &q));
	FAILS(ioctl(sock, SIOCGIFADDR, on("a:1")), EADDRNOTAVAIL);
	OK(ioctl(sock, SIOCSIFADDR, with_ip("a", "192.168.7.9")));
	has_ip(SIOCGIFADDR, "a", "192.168.7.9");
	OK(ioctl(sock, SIOCSIFADDR, with_ip("a", "0.0.0.0")));
	FAILS(ioctl(sock, SIOCGIFADDR, on("a")), EADDRNOTAVAIL);
}

TEST(links) {
	own_network();
	sock = OK(socket(AF_INET, SOCK_DGRAM, 0));
	int s = netlink(NETLINK_ROUTE);
	EQUAL(add_pair(s, "a", "b"), 0);
	on("a")->ifr_mtu = 1400;
	OK(ioctl(sock, SIOCSIFMTU, &q));
	OK(ioctl(sock, SIOCGIFMTU, on("a")));
	EQUAL(q.ifr_mtu, 1400);
	strcpy(on("a")->ifr_newname, "c");
	OK(ioctl(sock, SIOCSIFNAME, &q));
	FAILS(ioctl(sock, SIOCGIFMTU, on("a")), ENODEV);
	on("c")->ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(q.ifr_hwaddr.sa_data, "\x02\1\2\3\4\5", 6);
	OK(ioctl(sock, SIOCSIFHWADDR, &q));
	OK(ioctl(sock, SIOCGIFHWADDR, on("c")));
	CHECK(!memcmp(q.ifr_hwaddr.sa_data, "\x02\1\2\3\4\5", 6));
	struct ethtool_value v = { .cmd = ETHTOOL_GLINK };
	on("c")->ifr_data = (void *)&v;
	OK(ioctl(sock, SIOCETHTOOL, &q));
	EQUAL(v.data, 0);
	EQUAL(set_up(s, if_nametoindex("c"), 1), 0);
	EQUAL(set_up(s, if_nametoindex("b"), 1), 0);
	on("c")->ifr_data = (void *)&v;
	OK(ioctl(sock, SIOCETHTOOL, &q));
	EQUAL(v.data, 1);
}

static int route(int request, const char *to, const char *mask, const char *via, int metric) {
	struct rtentry r = { .rt_flags = RTF_UP | (via ? RTF_GATEWAY : 0), .rt_metric = metric };
	struct sockaddr_in *a = (void *)&r.rt_dst;
	a->sin_family = AF_INET, a->sin_addr.s_addr = inet_addr(to);
	a = (void *)&r.rt_genmask;
	a->sin_family = AF_INET, a->sin_addr.s_addr = inet_addr(mask);
	if (via) {
		a = (void *)&r.rt_gateway;
		a->sin_family = AF_INET, a->sin_addr.s_addr = inet_addr(via);
	} else
		r.rt_dev = "a";
	return ioctl(sock, request, &r);
}

TEST(routes) {
	own_network();
	sock = OK(socket(AF_INET, SOCK_DGRAM, 0));
	int s = netlink(NETLINK_ROUTE);
	EQUAL(add_pair(s, "a", "b"), 0);
	OK(ioctl(sock, SIOCSIFADDR, with_ip("a", "192.168.7.1")));
	FAILS(route(SIOCADDRT, "10.0.0.0", "255.0.0.0", NULL, 0), ENETDOWN);
	EQUAL(set_up(s, if_nametoindex("a"), 1), 0);
	OK(route(SIOCADDRT, "10.0.0.0", "255.0.0.0", NULL, 0));
	OK(route(SIOCADDRT, "172.16.0.0", "255.255.0.0", "192.168.7.2", 3));
	FAILS(route(SIOCADDRT, "172.16.0.0", "255.255.0.0", "192.168.7.2", 3), EEXIST);
	FAILS(route(SIOCADDRT, "172.17.0.0", "255.255.0.0", "1.2.3.4", 0), ENETUNREACH);
	FAILS(route(SIOCADDRT, "172.16.0.1", "255.255.0.0", "192.168.7.2", 0), EINVAL);
	OK(route(SIOCDELRT, "172.16.0.0", "255.255.0.0", NULL, 0));
	FAILS(route(SIOCDELRT, "172.16.0.0", "255.255.0.0", NULL, 0), ESRCH);
	OK(route(SIOCDELRT, "10.0.0.0", "255.0.0.0", NULL, 0));
}

TEST(bridges) {
	own_network();
	sock = OK(socket(AF_INET, SOCK_DGRAM, 0));
	int s = netlink(NETLINK_ROUTE);
	if (ioctl(sock, SIOCBRADDBR, "br") == -1 && errno == ENOPKG)
		SKIP("this kernel has no bridges");
	EQUAL(add_pair(s, "a", "b"), 0);
	int a = if_nametoindex("a");
	CHECK(if_nametoindex("br") > 1);
	FAILS(ioctl(sock, SIOCBRADDBR, "br"), EEXIST);
	on("br")->ifr_ifindex = a;
	OK(ioctl(sock, SIOCBRADDIF, &q));
	on("br")->ifr_ifindex = a;
	FAILS(ioctl(sock, SIOCBRADDIF, &q), EBUSY);
	on("br")->ifr_ifindex = a;
	OK(ioctl(sock, SIOCBRDELIF, &q));
	on("br")->ifr_ifindex = a;
	FAILS(ioctl(sock, SIOCBRDELIF, &q), EINVAL);
	FAILS(ioctl(sock, SIOCBRDELBR, "a"), EPERM);
	OK(ioctl(sock, SIOCBRDELBR, "br"));
	FAILS(ioctl(sock, SIOCBRDELBR, "br"), ENXIO);
}
