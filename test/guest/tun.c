/* TUN and TAP devices: /dev/net/tun, linux/if_tun.h. */
#include "netlink.h"
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

static int opened(void) {
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd == -1)
		SKIP("there is no /dev/net/tun that can be opened here: only root has it natively, and the process wall does not show it");
	return fd;
}
/* own gives the test a network of its own, and returns an open device of it. */
static int own(void) {
	own_network_up();
	return opened();
}
static struct ifreq request;
static int set_iff(int fd, const char *name, int flags) {
	memset(&request, 0, sizeof request);
	strcpy(request.ifr_name, name);
	request.ifr_flags = flags;
	return ioctl(fd, TUNSETIFF, &request);
}
static int index_of(const char *name) { return if_nametoindex(name); }

/* start gives a device that is open an address, takes it up, and returns its index. */
static int start(const char *name, const char *ip) {
	int s = netlink(NETLINK_ROUTE), i = index_of(name);
	CHECK(i > 0);
	if (ip)
		EQUAL(change_address(s, RTM_NEWADDR, NLM_F_CREATE, i, ip, 24), 0);
	EQUAL(set_up(s, i, 1), 0);
	close(s);
	return i;
}
static int poll_of(int fd) {
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	OK(poll(&p, 1, 0));
	return p.revents;
}
static void nonblocking(int fd) { OK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)); }

/* Linux sends packets of IPv6 by itself when an interface comes up: without IPv6 there are none. */
static void no_ipv6(void) {
	for (const char **f = (const char *[]){ "all", "default", NULL }; *f; f++) {
		char path[80];
		snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", *f);
		int fd = open(path, O_WRONLY);
		if (fd >= 0) {
			EQUAL(write(fd, "1", 1), 1);
			close(fd);
		}
	}
}

TEST(without_a_device) {
	int fd = own();
	char b[10];
	unsigned v = 0;
	EQUAL(poll_of(fd), POLLERR);
	FAILS(read(fd, b, sizeof b), EBADFD);
	FAILS(read(fd, b, 0), EBADFD);
	FAILS(write(fd, b, sizeof b), EBADFD);
	FAILS(pread(fd, b, sizeof b, 7), EBADFD); /* which is not for an offset, but takes any */
	FAILS(pwrite(fd, b, sizeof b, 7), EBADFD);
	FAILS(pread(fd, b, sizeof b, -1), EINVAL);
	OK(ioctl(fd, TUNGETFEATURES, &v));
	unsigned has = IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_ONE_QUEUE | IFF_VNET_HDR | IFF_MULTI_QUEUE;
	EQUAL(v & has, has);
	FAILS(ioctl(fd, TUNGETIFF, &request), EBADFD);
	FAILS(ioctl(fd, TUNSETPERSIST, 1), EBADFD);
	FAILS(ioctl(fd, TUNSETOFFLOAD, 0), EBADFD);
	FAILS(ioctl(fd, FIONREAD, &v), EBADFD);
	FAILS(ioctl(fd, TUNSETIFF, NULL), EFAULT);
	FAILS(ioctl(fd, TUNSETIFF, (void *)8), EFAULT);
	FAILS(lseek(fd, 0, SEEK_CUR), ESPIPE);
	struct stat st;
	OK(fstat(fd, &st));
	CHECK(S_ISCHR(st.st_mode) && st.st_rdev == makedev(10, 200));
}

TEST(names_and_kinds) {
	int fd = own(), other = opened();
	FAILS(set_iff(fd, "x", 0), EINVAL);
	FAILS(set_iff(fd, "lo", IFF_TUN), EINVAL);
	for (const char **name = (const char *[]){ "a/b", "a b", "..", ".", "a%d%d", "a%s", "%", NULL }; *name; name++)
		FAILS(set_iff(fd, *name, IFF_TUN), EINVAL);
	OK(set_iff(fd, "", IFF_TUN));
	CHECK(!strcmp(request.ifr_name, "tun0"));
	FAILS(set_iff(fd, "", IFF_TUN), EEXIST);
	FAILS(set_iff(other, "tun0", IFF_TUN), EBUSY);
	FAILS(set_iff(other, "tun0", IFF_TAP), EINVAL);
	FAILS(set_iff(other, "tun0", IFF_TUN | IFF_MULTI_QUEUE), EINVAL);
	FAILS(set_iff(other, "tun0", IFF_TUN | 0x8000 /* IFF_TUN_EXCL */), EBUSY);
	int index = 77;
	FAILS(ioctl(fd, TUNSETIFINDEX, &index), EPERM);
	OK(ioctl(other, TUNSETIFINDEX, &index));
	OK(set_iff(other, "vpn%da", IFF_TAP | IFF_NO_PI));
	CHECK(!strcmp(request.ifr_name, "vpn0a"));
	EQUAL(index_of("vpn0a"), 77);
	int third = opened();
	OK(set_iff(third, "vpn%da", IFF_TAP));
	CHECK(!strcmp(request.ifr_name, "vpn1a"));
	memset(&request, 0, sizeof request);
	OK(ioctl(other, TUNGETIFF, &request));
	CHECK(!strcmp(request.ifr_name, "vpn0a"));
	EQUAL(request.ifr_flags & 0xffff, IFF_TAP | IFF_NO_PI);
	FAILS(ioctl(other, TUNSETQUEUE, &request), EINVAL);
	FAILS(ioctl(other, FIONREAD, &index), EINVAL);
	/* The interface goes with its file, also if that has been copied. */
	int copy = dup(other);
	close(other);
	EQUAL(index_of("vpn0a"), 77);
	close(copy);
	EQUAL(index_of("vpn0a"), 0);
	close(fd);
	EQUAL(index_of("tun0"), 0);
	CHECK(index_of("vpn1a") > 0);
}

/* link_of asks for a link; the answer is in a static buffer. */
static struct nlmsghdr *link_of(int index) {
	static char b[8192];
	struct request r;
	int s = netlink(NETLINK_ROUTE);
	begin(&r, RTM_GETLINK, 0, &(struct ifinfomsg){ .ifi_index = index }, sizeof(struct ifinfomsg));
	EQUAL(answer(s, &r, b, sizeof b), 0);
	close(s);
	return (void *)b;
}
static struct rtattr *inner(struct rtattr *a, int type) {
	CHECK(a != NULL);
	int n = RTA_PAYLOAD(a);
	for (struct rtattr *i = RTA_DATA(a); RTA_OK(i, n); i = RTA_NEXT(i, n))
		if ((i->rta_type & NLA_TYPE_MASK) == type)
			return i;
	return NULL;
}
/* detail is what IFLA_INFO_DATA has of a type, which is so large; -1 without it. */
static int detail(struct nlmsghdr *h, int type, int size) {
	struct rtattr *a = inner(inner(find(h, sizeof(struct ifinfomsg), IFLA_LINKINFO), IFLA_INFO_DATA), type);
	if (!a)
		return -1;
	EQUAL(RTA_PAYLOAD(a), size);
	return size == 1 ? *(unsigned char *)RTA_DATA(a) : *(int *)RTA_DATA(a);
}
static struct rtnl_link_stats64 statistics(int index) {
	struct rtnl_link_stats64 s;
	memcpy(&s, RTA_DATA(find(link_of(index), sizeof(struct ifinfomsg), IFLA_STATS64)), sizeof s);
	return s;
}
static int state_of(int index) { return *(char *)RTA_DATA(find(link_of(index), sizeof(struct ifinfomsg), IFLA_OPERSTATE)); }
static unsigned flags_of(int index) { return ((struct ifinfomsg *)NLMSG_DATA(link_of(index)))->ifi_flags; }

TEST(what_netlink_tells) {
	int tun = own(), tap = opened(), size = sizeof(struct ifinfomsg);
	OK(set_iff(tun, "", IFF_TUN));
	OK(set_iff(tap, "", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR));
	struct nlmsghdr *h = link_of(index_of("tun0"));
	struct ifinfomsg *m = NLMSG_DATA(h);
	EQUAL(m->ifi_type, ARPHRD_NONE);
	EQUAL(m->ifi_flags, IFF_POINTOPOINT | IFF_NOARP | IFF_MULTICAST);
	CHECK(!find(h, size, IFLA_ADDRESS) && !find(h, size, IFLA_BROADCAST));
	EQUAL(*(int *)RTA_DATA(find(h, size, IFLA_TXQLEN)), 500);
	EQUAL(*(int *)RTA_DATA(find(h, size, IFLA_MTU)), 1500);
	CHECK(!strcmp(RTA_DATA(inner(find(h, size, IFLA_LINKINFO), IFLA_INFO_KIND)), "tun"));
	EQUAL(detail(h, IFLA_TUN_TYPE, 1), IFF_TUN);
	EQUAL(detail(h, IFLA_TUN_PI, 1), 1);
	EQUAL(detail(h, IFLA_TUN_VNET_HDR, 1), 0);
	EQUAL(detail(h, IFLA_TUN_PERSIST, 1), 0);
	EQUAL(detail(h, IFLA_TUN_MULTI_QUEUE, 1), 0);
	EQUAL(detail(h, IFLA_TUN_OWNER, 4), -1);
	OK(ioctl(tun, TUNSETOWNER, 1234));
	OK(ioctl(tun, TUNSETGROUP, 0));
	FAILS(ioctl(tun, TUNSETOWNER, -1), EINVAL);
	OK(ioctl(tun, TUNSETPERSIST, 1));
	h = link_of(index_of("tun0"));
	EQUAL(detail(h, IFLA_TUN_OWNER, 4), 1234);
	EQUAL(detail(h, IFLA_TUN_GROUP, 4), 0);
	EQUAL(detail(h, IFLA_TUN_PERSIST, 1), 1);
	h = link_of(index_of("tap0"));
	m = NLMSG_DATA(h);
	EQUAL(m->ifi_type, ARPHRD_ETHER);
	EQUAL(m->ifi_flags, IFF_BROADCAST | IFF_MULTICAST);
	EQUAL(RTA_PAYLOAD(find(h, size, IFLA_ADDRESS)), 6);
	EQUAL(*(int *)RTA_DATA(find(h, size, IFLA_TXQLEN)), 1000);
	EQUAL(detail(h, IFLA_TUN_TYPE, 1), IFF_TAP);
	EQUAL(detail(h, IFLA_TUN_PI, 1), 0);
	EQUAL(detail(h, IFLA_TUN_VNET_HDR, 1), 1);
	/* They are not made by netlink. */
	struct request r;
	int s = netlink(NETLINK_ROUTE);
	begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &(struct ifinfomsg){ 0 }, size);
	attr_text(&r, IFLA_IFNAME, "t9");
	struct rtattr *info = nest(&r, IFLA_LINKINFO);
	attr_text(&r, IFLA_INFO_KIND, "tun");
	nest_end(&r, info);
	CHECK(ask(s, &r) < 0);
	EQUAL(index_of("t9"), 0);
	/* A TUN has no Ethernet address, and cannot be a bridge's port. */
	begin(&r, RTM_NEWLINK, 0, &(struct ifinfomsg){ .ifi_index = index_of("tun0") }, size);
	attr(&r, IFLA_ADDRESS, "\2\0\0\0\0\1", 6);
	EQUAL(ask(s, &r), -EOPNOTSUPP);
	begin(&r, RTM_NEWLINK, 0, &(struct ifinfomsg){ .ifi_index = index_of("tap0") }, size);
	attr(&r, IFLA_ADDRESS, "\2\0\0\0\0\1", 6);
	EQUAL(ask(s, &r), 0);
	memset(&request, 0, sizeof request);
	strcpy(request.ifr_name, "any"); /* not looked at */
	OK(ioctl(tap, SIOCGIFHWADDR, &request));
	CHECK(request.ifr_hwaddr.sa_family == ARPHRD_ETHER && !memcmp(request.ifr_hwaddr.sa_data, "\2\0\0\0\0\1", 6));
	CHECK(!strcmp(request.ifr_name, "any"));
	request.ifr_hwaddr.sa_family = ARPHRD_NONE;
	FAILS(ioctl(tap, SIOCSIFHWADDR, &request), EINVAL);
	request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	request.ifr_hwaddr.sa_data[5] = 2;
	OK(ioctl(tap, SIOCSIFHWADDR, &request));
	EQUAL(((char *)RTA_DATA(find(link_of(index_of("tap0")), size, IFLA_ADDRESS)))[5], 2);
	FAILS(ioctl(tun, SIOCSIFHWADDR, &request), EOPNOTSUPP);
	/* They are deleted by it, and the file has no device then. */
	EQUAL(delete_link(s, index_of("tun0")), 0);
	EQUAL(poll_of(tun), POLLERR);
	char b[10];
	FAILS(read(tun, b, sizeof b), EBADFD);
	OK(set_iff(tun, "again", IFF_TUN));
	EQUAL(poll_of(tun), 0);
}

TEST(what_sysfs_tells) {
	int fd = own(), n;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("s", "/sys", "sysfs", 0, NULL))
		SKIP("a sysfs of the new network cannot be mounted");
	OK(set_iff(fd, "", IFF_TUN | IFF_NO_PI));
	OK(ioctl(fd, TUNSETOWNER, 1234));
	char b[100];
	for (const char **f = (const char *[]){ "tun_flags", "0x1001\n", "owner", "1234\n", "group", "-1\n", "type", "65534\n", "addr_len", "0\n", "address", "\n", NULL }; *f; f += 2) {
		snprintf(b, sizeof b, "/sys/class/net/tun0/%s", f[0]);
		int s = OK(open(b, O_RDONLY));
		n = OK(read(s, b, sizeof b - 1));
		b[n] = 0;
		close(s);
		if (strcmp(b, f[1]))
			guest_fail(__FILE__, __LINE__, "%s is %s", f[0], b);
	}
	CHECK(access("/sys/class/net/lo/tun_flags", F_OK) == -1);
	snprintf(b, sizeof b, "/proc/self/fdinfo/%d", fd);
	int s = OK(open(b, O_RDONLY));
	n = OK(read(s, b, sizeof b - 1));
	b[n] = 0;
	CHECK(strstr(b, "iff:\ttun0\n"));
}

/* await_carrier waits for a device that is up to run, or not, and to be in a state. Linux before 6.8 tells of it a moment later. */
static void await_carrier(int index, int running, int state) {
	for (int tries = 0; tries < 10000 && (!!(flags_of(index) & IFF_RUNNING) != running || state_of(index) != state); tries++)
		sleep_ms(1);
	EQUAL(!!(flags_of(index) & IFF_RUNNING), running);
	EQUAL(state_of(index), state);
}

TEST(up_and_carrier) {
	int fd = own();
	no_ipv6();
	OK(set_iff(fd, "t", IFF_TUN | IFF_NO_PI));
	nonblocking(fd);
	int s = netlink(NETLINK_ROUTE), i = index_of("t"), v;
	char b[100] = { 0x45 };
	EQUAL(poll_of(fd), 0);
	FAILS(write(fd, b, 40), EIO);
	EQUAL(set_up(s, i, 1), 0);
	EQUAL(poll_of(fd), POLLOUT);
	EQUAL(flags_of(i), IFF_UP | IFF_RUNNING | 0x10000 | IFF_POINTOPOINT | IFF_NOARP | IFF_MULTICAST);
	EQUAL(state_of(i), 0);
	EQUAL(write(fd, b, 40), 40);
	v = 0;
	OK(ioctl(fd, TUNSETCARRIER, &v));
	await_carrier(i, 0, 2);
	v = 1;
	OK(ioctl(fd, TUNSETCARRIER, &v));
	await_carrier(i, 1, 6);
	/* What is persistent stays without its file, and without a carrier. */
	OK(ioctl(fd, TUNSETPERSIST, 1));
	close(fd);
	EQUAL(index_of("t"), i);
	await_carrier(i, 0, 2);
	fd = opened();
	OK(set_iff(fd, "t", IFF_TUN));
	await_carrier(i, 1, 6);
	EQUAL(detail(link_of(i), IFLA_TUN_PI, 1), 1);
	FAILS(ioctl(fd, TUNSETLINK, ARPHRD_NONE), EBUSY);
	EQUAL(set_up(s, i, 0), 0);
	OK(ioctl(fd, TUNSETLINK, ARPHRD_NONE));
	EQUAL(poll_of(fd), 0);
	OK(ioctl(fd, TUNSETPERSIST, 0));
	close(fd);
	EQUAL(index_of("t"), 0);
}

TEST(ipv6_of_its_own) {
	int fd = own();
	OK(set_iff(fd, "t", IFF_TUN | IFF_NO_PI));
	start("t", NULL);
	/* Linux may check for a moment that nobody else has it. */
	for (int tries = 0;; tries++) {
		FILE *f = fopen("/proc/net/if_inet6", "r");
		if (!f)
			SKIP("there is no IPv6");
		char a[33], name[20];
		unsigned x[4];
		int found = 0;
		while (fscanf(f, "%32s %x %x %x %x %19s", a, &x[0], &x[1], &x[2], &x[3], name) == 6)
			found |= !strcmp(name, "t") && !strncmp(a, "fe80000000000000", 16) && x[1] == 64;
		fclose(f);
		if (found)
			break;
		CHECK(tries < 1000);
		sleep_ms(1);
	}
}

/* udp_to returns a socket that is connected to an address, whose port is 9. */
static int udp_to(const char *ip) {
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = inet_addr(ip) };
	int s = OK(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	OK(connect(s, (void *)&a, sizeof a));
	return s;
}

TEST(one_frame_at_a_time) {
	int fd = own();
	no_ipv6();
	OK(set_iff(fd, "t", IFF_TUN));
	nonblocking(fd);
	int i = start("t", "10.9.0.1"), s = udp_to("10.9.0.2");
	char b[2000];
	FAILS(read(fd, b, sizeof b), EAGAIN);
	FAILS(read(fd, b, 1), EAGAIN);
	EQUAL(read(fd, b, 0), 0);
	EQUAL(poll_of(fd), POLLOUT);
	for (int k = 0; k < 5; k++)
		EQUAL(send(s, "0123456789", 10, 0), 10);
	EQUAL(poll_of(fd), POLLIN | POLLOUT);
	EQUAL(read(fd, b, 0), 0);
	struct tun_pi *pi = (void *)b;
	struct iphdr *ip = (void *)(b + 4);
	EQUAL(read(fd, b, sizeof b), 4 + 20 + 8 + 10);
	EQUAL(pi->flags, 0);
	EQUAL(pi->proto, htons(ETH_P_IP));
	CHECK(ip->version == 4 && ip->protocol == IPPROTO_UDP && ip->daddr == inet_addr("10.9.0.2") && ip->saddr == inet_addr("10.9.0.1"));
	CHECK(!memcmp(b + 32, "0123456789", 10));
	/* What does not fit is lost. */
	memset(b, 'x', sizeof b);
	EQUAL(read(fd, b, 34), 34);
	EQUAL(pi->flags, TUN_PKT_STRIP);
	CHECK(!memcmp(b + 32, "01x", 3));
	FAILS(read(fd, b, 3), EINVAL);
	/* Several buffers are one. */
	char parts[3][20];
	struct iovec v[3] = { { parts[0], 4 }, { parts[1], 20 }, { parts[2], 20 } };
	EQUAL(readv(fd, v, 3), 42);
	CHECK(parts[1][0] == 0x45 && !memcmp(parts[2] + 8, "0123456789", 10));
	/* On Linux what cannot be stored is lost too. */
	FAILS(read(fd, (void *)8, 100), EFAULT);
	if (read(fd, b, sizeof b) == 42)
		FAILS(read(fd, b, sizeof b), EAGAIN);
	EQUAL(poll_of(fd), POLLOUT);
	struct rtnl_link_stats64 st = statistics(i);
	EQUAL(st.tx_dropped, 0);
	EQUAL(st.rx_packets, 0);
	FAILS(write(fd, b, 3), EINVAL);
	FAILS(write(fd, (void *)8, 40), EFAULT);
	/* Nothing comes in of a frame whose end cannot be read. */
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	OK(munmap(page + 4096, 4096));
	FAILS(write(fd, page + 4096 - 40, 100), EFAULT);
	EQUAL(statistics(i).rx_packets, 0);
	EQUAL(write(fd, "\0\0\10\0", 4), 4);
	EQUAL(statistics(i).rx_packets, 1);
	EQUAL(statistics(i).rx_bytes, 0);
}

/* turn makes an IPv4 packet one that goes back to where it came from. Its checksums stay. */
static void turn(struct iphdr *ip) {
	uint32_t a = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = a;
}

static uint16_t checksum(const void *p, int n) {
	uint32_t sum = 0;
	const unsigned char *b = p;
	for (int i = 0; i < n; i += 2)
		sum += b[i] | (i + 1 < n ? b[i + 1] << 8 : 0);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

TEST(a_program_answers_pings) {
	int fd = own();
	OK(set_iff(fd, "t", IFF_TUN | IFF_NO_PI));
	start("t", "10.9.0.1");
	pid_t k = OK(fork());
	if (!k)
		for (;;) {
			char b[2000];
			int n = OK(read(fd, b, sizeof b));
			struct iphdr *ip = (void *)b;
			struct icmphdr *c = (void *)(b + 20);
			if (ip->version != 4 || ip->protocol != IPPROTO_ICMP || c->type != ICMP_ECHO)
				continue;
			turn(ip);
			c->type = ICMP_ECHOREPLY;
			c->checksum = 0;
			c->checksum = checksum(c, n - 20);
			EQUAL(write(fd, b, n), n);
		}
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("10.9.0.77") };
	int s = OK(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	for (int i = 1; i <= 5; i++) {
		struct { struct icmphdr h; char rest[100]; } e = { .h = { .type = ICMP_ECHO, .un.echo = { .id = 99, .sequence = i } } };
		e.h.checksum = checksum(&e, sizeof e);
		EQUAL(sendto(s, &e, sizeof e, 0, (void *)&to, sizeof to), sizeof e);
		char b[2000];
		EQUAL(recv(s, b, sizeof b, 0), 20 + sizeof e);
		struct icmphdr *c = (void *)(b + 20);
		CHECK(c->type == ICMP_ECHOREPLY && c->un.echo.sequence == i && ((struct iphdr *)b)->saddr == to.sin_addr.s_addr);
	}
	kill(k, SIGKILL);
	/* The other way round: the kernel answers those that are written. Nobody else reads now. */
	OK(waitpid(k, NULL, 0));
	struct { struct iphdr ip; struct icmphdr c; char rest[20]; } p = {
		.ip = { .version = 4, .ihl = 5, .tot_len = htons(48), .ttl = 9, .protocol = IPPROTO_ICMP, .saddr = to.sin_addr.s_addr, .daddr = inet_addr("10.9.0.1") },
		.c = { .type = ICMP_ECHO, .un.echo = { .id = 7, .sequence = 8 } }, .rest = "an echo",
	};
	p.ip.check = checksum(&p.ip, 20);
	p.c.checksum = checksum(&p.c, 28);
	EQUAL(write(fd, &p, sizeof p), sizeof p);
	for (;;) {
		char b[2000];
		OK(read(fd, b, sizeof b));
		struct icmphdr *c = (void *)(b + 20);
		if (((struct iphdr *)b)->version == 4 && c->type == ICMP_ECHOREPLY) {
			CHECK(c->un.echo.id == 7 && c->un.echo.sequence == 8 && !strcmp(b + 28, "an echo"));
			break;
		}
	}
}

/* longest is how long the longest frame was that turner's child has read. */
static volatile int *longest;

/* turner has a child send back all that a TUN device sends, whose frames have so much before the packet. So what is sent
 * to another address of the network comes back from there. */
static pid_t turner(int fd, int before) {
	longest = mmap(NULL, sizeof *longest, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(longest != MAP_FAILED);
	pid_t k = OK(fork());
	if (k)
		return k;
	static char b[70000];
	for (;;) {
		int n = OK(read(fd, b, sizeof b));
		struct iphdr *ip = (void *)(b + before);
		if (n > *longest)
			*longest = n;
		if (ip->version == 4) {
			turn(ip);
			EQUAL(write(fd, b, n), n);
		}
	}
}

/* through sends so much by TCP to an address, which comes back to this process. */
static void through(const char *ip, int total) {
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7007), .sin_addr.s_addr = INADDR_ANY }, from;
	int l = OK(socket(AF_INET, SOCK_STREAM, 0)), c = OK(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
	OK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	OK(bind(l, (void *)&a, sizeof a));
	OK(listen(l, 5));
	a.sin_addr.s_addr = inet_addr(ip);
	OK(connect(c, (void *)&a, sizeof a));
	socklen_t size = sizeof from;
	int d = OK(accept(l, (void *)&from, &size));
	CHECK(from.sin_addr.s_addr == a.sin_addr.s_addr);
	pid_t k = OK(fork());
	if (!k) {
		char b[10000];
		for (int at = 0; at < total;) {
			int n = total - at < (int)sizeof b ? total - at : (int)sizeof b;
			for (int i = 0; i < n; i++)
				b[i] = (at + i) * 31 >> 3;
			n = OK(send(c, b, n, 0));
			at += n;
		}
		_exit(0);
	}
	close(c);
	int at = 0;
	for (;;) {
		char b[10000];
		int n = OK(recv(d, b, sizeof b, 0));
		if (!n)
			break;
		for (int i = 0; i < n; i++)
			if (b[i] != (char)((at + i) * 31 >> 3))
				guest_fail(__FILE__, __LINE__, "byte %d is wrong", at + i);
		at += n;
	}
	EQUAL(at, total);
	int st;
	OK(waitpid(k, &st, 0));
	EXITED_OK(st);
	close(d);
	close(l);
}

TEST(udp_and_tcp_come_back) {
	int fd = own();
	OK(set_iff(fd, "t", IFF_TUN | IFF_NO_PI));
	int i = start("t", "10.9.0.1");
	pid_t k = turner(fd, 0);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = INADDR_ANY }, from;
	int l = OK(socket(AF_INET, SOCK_DGRAM, 0)), s = udp_to("10.9.0.2");
	OK(bind(l, (void *)&a, sizeof a));
	char b[5000];
	socklen_t size = sizeof from;
	for (int n = 0; n < 5000; n += 999) { /* the longest in fragments */
		EQUAL(send(s, b, n, 0), n);
		EQUAL(recvfrom(l, b, sizeof b, 0, (void *)&from, &size), n);
		CHECK(from.sin_addr.s_addr == inet_addr("10.9.0.2"));
		EQUAL(sendto(l, b, n, 0, (void *)&from, size), n);
		EQUAL(recv(s, b, sizeof b, 0), n);
	}
	through("10.9.0.2", 1000000);
	struct rtnl_link_stats64 st = statistics(i);
	CHECK(st.rx_bytes > 1000000 && st.tx_bytes >= st.rx_bytes);
	kill(k, SIGKILL);
}

/* With a virtio-net header who reads gets segments without checksums that are longer than packets, if it says that it can
 * make something of them, and may write such. */
TEST(offloads) {
	int fd = own(), v;
	OK(set_iff(fd, "t", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR));
	OK(ioctl(fd, TUNGETVNETHDRSZ, &v));
	EQUAL(v, 10);
	v = 9;
	FAILS(ioctl(fd, TUNSETVNETHDRSZ, &v), EINVAL);
	v = 12;
	OK(ioctl(fd, TUNSETVNETHDRSZ, &v));
	for (int le = 1; le >= 0; le--) {
		OK(ioctl(fd, TUNSETVNETLE, &le));
		OK(ioctl(fd, TUNGETVNETLE, &v));
		EQUAL(v, le);
	}
	OK(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM));
	FAILS(ioctl(fd, TUNSETOFFLOAD, TUN_F_TSO4), EINVAL);
	FAILS(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | 0x100000), EINVAL);
	OK(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6));
	start("t", "10.9.0.1");
	pid_t k = turner(fd, 12);
	through("10.9.0.2", 1000000);
	CHECK(*longest > 12 + 1500);
	OK(ioctl(fd, TUNSETOFFLOAD, 0));
	*longest = 0;
	through("10.9.0.3", 100000);
	CHECK(*longest > 1000 && *longest <= 12 + 1500);
	/* Connections go on when that changes. */
	pid_t changer = OK(fork());
	if (!changer)
		for (;;) {
			OK(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6));
			sleep_ms(1);
			OK(ioctl(fd, TUNSETOFFLOAD, 0));
			sleep_ms(1);
		}
	through("10.9.0.4", 3000000);
	kill(changer, SIGKILL);
	kill(k, SIGKILL);
	OK(waitpid(k, NULL, 0));

	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = INADDR_ANY };
	OK(bind(s, (void *)&a, sizeof a));
	struct __attribute__((packed)) {
		struct virtio_net_hdr h;
		uint16_t buffers;
		struct iphdr ip;
		struct udphdr u;
		char data[350];
	} p = {
		.h = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 20, .csum_offset = 6 },
		.ip = { .version = 4, .ihl = 5, .tot_len = htons(20 + 8 + 350), .ttl = 9, .protocol = IPPROTO_UDP, .saddr = inet_addr("10.9.0.2"), .daddr = inet_addr("10.9.0.1") },
		.u = { .source = htons(5), .dest = htons(9), .len = htons(358) },
	};
	p.ip.check = checksum(&p.ip, 20);
	/* The checksum of the addresses and the length is there. */
	struct { uint32_t from, to; uint8_t zero, protocol; uint16_t len; } pseudo = { p.ip.saddr, p.ip.daddr, 0, IPPROTO_UDP, p.u.len };
	p.u.check = ~checksum(&pseudo, 12);
	for (int i = 0; i < 350; i++)
		p.data[i] = i;
	char b[400];
	EQUAL(write(fd, &p, sizeof p), sizeof p);
	EQUAL(recv(s, b, sizeof b, 0), 350);
	CHECK(!memcmp(b, p.data, 350));
	p.h.csum_start = 400;
	FAILS(write(fd, &p, sizeof p), EINVAL);
	p.h.csum_start = 20;
	p.h.hdr_len = 400;
	FAILS(write(fd, &p, sizeof p), EINVAL);
	p.h.hdr_len = 28;
	p.h.gso_type = 0x77;
	FAILS(write(fd, &p, sizeof p), EINVAL);
	FAILS(write(fd, &p, 11), EINVAL);
	p.h.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
	p.h.gso_size = 100;
	if (write(fd, &p, sizeof p) == -1)
		return; /* Linux knows it from 6.2 on */
	for (int at = 0; at < 350; at += 100) {
		int n = OK(recv(s, b, sizeof b, 0));
		EQUAL(n, at == 300 ? 50 : 100);
		CHECK(!memcmp(b, p.data + at, n));
	}
}

static void nothing(int sig) { (void)sig; }

TEST(waiting_for_a_frame) {
	int fd = own();
	no_ipv6();
	OK(set_iff(fd, "t", IFF_TUN | IFF_NO_PI));
	start("t", "10.9.0.1");
	char b[2000];
	struct sigaction sa = { .sa_handler = nothing };
	sigaction(SIGUSR1, &sa, NULL);
	pid_t k = signal_when_asleep(SIGUSR1);
	FAILS(read(fd, b, sizeof b), EINTR);
	OK(waitpid(k, NULL, 0));
	sa.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &sa, NULL);
	pid_t me = getpid();
	k = OK(fork());
	if (!k) {
		await_sleep(me);
		kill(me, SIGUSR1);
		await_sleep(me);
		EQUAL(send(udp_to("10.9.0.2"), "late", 4, 0), 4);
		_exit(0);
	}
	EQUAL(read(fd, b, sizeof b), 32);
	OK(waitpid(k, NULL, 0));
	/* poll(2) and epoll(7) are woken as well, and an edge is told once for each frame. */
	int e = OK(epoll_create1(0));
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	OK(epoll_ctl(e, EPOLL_CTL_ADD, fd, &ev));
	EQUAL(epoll_wait(e, &ev, 1, 0), 0);
	k = OK(fork());
	if (!k) {
		await_sleep(me);
		EQUAL(send(udp_to("10.9.0.2"), "one", 3, 0), 3);
		_exit(0);
	}
	EQUAL(epoll_wait(e, &ev, 1, -1), 1);
	CHECK(ev.events & EPOLLIN);
	OK(waitpid(k, NULL, 0));
	EQUAL(epoll_wait(e, &ev, 1, 0), 0);
	EQUAL(send(udp_to("10.9.0.2"), "two", 3, 0), 3);
	EQUAL(epoll_wait(e, &ev, 1, -1), 1);
	EQUAL(epoll_wait(e, &ev, 1, 0), 0);
	ev.events = EPOLLIN;
	OK(epoll_ctl(e, EPOLL_CTL_MOD, fd, &ev));
	EQUAL(epoll_wait(e, &ev, 1, 0), 1);
	EQUAL(epoll_wait(e, &ev, 1, 0), 1);
	EQUAL(read(fd, b, sizeof b), 31);
	EQUAL(read(fd, b, sizeof b), 31);
	EQUAL(epoll_wait(e, &ev, 1, 0), 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	k = OK(fork());
	if (!k) {
		await_sleep(me);
		EQUAL(send(udp_to("10.9.0.2"), "three", 5, 0), 5);
		_exit(0);
	}
	EQUAL(poll(&p, 1, -1), 1);
	EQUAL(p.revents, POLLIN);
	OK(waitpid(k, NULL, 0));
	EQUAL(read(fd, b, sizeof b), 33);
	/* Who can write is told when the device comes up. */
	int s = netlink(NETLINK_ROUTE), i = index_of("t");
	EQUAL(set_up(s, i, 0), 0);
	k = OK(fork());
	if (!k) {
		await_sleep(me);
		EQUAL(set_up(netlink(NETLINK_ROUTE), i, 1), 0);
		_exit(0);
	}
	p.events = POLLOUT;
	EQUAL(poll(&p, 1, -1), 1);
	EQUAL(p.revents, POLLOUT);
	OK(waitpid(k, NULL, 0));
	/* Who waits is told that the device goes. */
	k = OK(fork());
	if (!k) {
		await_sleep(me);
		EQUAL(delete_link(netlink(NETLINK_ROUTE), i), 0);
		_exit(0);
	}
	EQUAL(read(fd, b, sizeof b), -1);
	OK(waitpid(k, NULL, 0));
	EQUAL(poll_of(fd), POLLERR);
}

TEST(queue_is_bounded) {
	int fd = own();
	no_ipv6();
	OK(set_iff(fd, "t", IFF_TUN | IFF_NO_PI));
	nonblocking(fd);
	int i = start("t", "10.9.0.1"), s = udp_to("10.9.0.2"), n = 0;
	char b[2000];
	for (int k = 0; k < 510; k++)
		EQUAL(send(s, &k, sizeof k, 0), sizeof k);
	while (read(fd, b, sizeof b) == 32) {
		EQUAL(*(int *)(b + 28), n);
		n++;
	}
	EQUAL(errno, EAGAIN);
	EQUAL(n, 500);
	struct rtnl_link_stats64 st = statistics(i);
	EQUAL(st.tx_dropped, 10);
	EQUAL(st.tx_packets, 500);
	EQUAL(st.tx_bytes, 500 * 32);
	struct request r;
	begin(&r, RTM_NEWLINK, 0, &(struct ifinfomsg){ .ifi_index = i }, sizeof(struct ifinfomsg));
	attr_int(&r, IFLA_TXQLEN, 3);
	EQUAL(ask(netlink(NETLINK_ROUTE), &r), 0);
	for (int k = 0; k < 10; k++)
		EQUAL(send(s, &k, sizeof k, 0), sizeof k);
	for (n = 0; read(fd, b, sizeof b) == 32; n++) {}
	EQUAL(n, 3);
	EQUAL(statistics(i).tx_dropped, 17);
}

TEST(who_may) {
	int fd = own(), other = opened();
	OK(set_iff(fd, "t", IFF_TUN));
	OK(ioctl(fd, TUNSETPERSIST, 1));
	close(fd);
	/* A file is of the network in which it was opened, and who asks counts, not who opened it. */
	fd = opened();
	EXITED_OK(IN_CHILD(OK(setresuid(1000, 1000, 1000)); FAILS(set_iff(fd, "new", IFF_TUN), EPERM)));
	EXITED_OK(IN_CHILD(OK(setresuid(1000, 1000, 1000)); OK(set_iff(fd, "t", IFF_TUN))));
	/* The child's file is this process's too. */
	OK(ioctl(fd, TUNSETOWNER, 1001));
	OK(ioctl(fd, TUNGETIFF, &request));
	close(fd);
	fd = opened();
	EXITED_OK(IN_CHILD(OK(setresuid(1000, 1000, 1000)); FAILS(set_iff(fd, "t", IFF_TUN), EPERM)));
	EXITED_OK(IN_CHILD(OK(setresuid(1001, 1001, 1001)); OK(set_iff(other, "t", IFF_TUN))));
	OK(ioctl(other, TUNSETGROUP, 2000));
	close(other);
	EXITED_OK(IN_CHILD(OK(setresgid(7, 7, 7)); OK(setresuid(1001, 1001, 1001)); FAILS(set_iff(fd, "t", IFF_TUN), EPERM)));
	EXITED_OK(IN_CHILD(OK(setresgid(2000, 2000, 2000)); OK(setresuid(1001, 1001, 1001)); OK(set_iff(fd, "t", IFF_TUN))));
	close(fd);
}

TEST(privileges_of_a_user_namespace) {
	own_network();
	close(opened());
	/* Root of a user namespace makes devices in its own network, and in no other. */
	int outer = opened();
	EXITED_OK(IN_CHILD(
		int up[2]; char c; OK(pipe(up)); pid_t me = getpid(); pid_t k = OK(fork());
		if (!k) {
			char path[40];
			EQUAL(read(up[0], &c, 1), 1);
			snprintf(path, sizeof path, "/proc/%d/uid_map", me);
			int m = OK(open(path, O_WRONLY));
			EQUAL(write(m, "0 0 1", 5), 5);
			_exit(0);
		}
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET)) _exit(0);
		EQUAL(write(up[1], "", 1), 1);
		int st; OK(waitpid(k, &st, 0)); EXITED_OK(st);
		int inner = OK(open("/dev/net/tun", O_RDWR));
		OK(set_iff(inner, "t", IFF_TUN));
		FAILS(set_iff(outer, "t", IFF_TUN), EPERM)));
}

TEST(other_networks) {
	int fd = own(), home = OK(open("/proc/self/ns/net", O_RDONLY));
	no_ipv6();
	/* Where the file was opened counts. */
	OK(unshare(CLONE_NEWNET));
	set_lo(1);
	no_ipv6();
	int away = OK(open("/proc/self/ns/net", O_RDONLY));
	OK(set_iff(fd, "t", IFF_TUN | IFF_NO_PI));
	EQUAL(index_of("t"), 0);
	OK(setns(home, CLONE_NEWNET));
	int i = index_of("t");
	CHECK(i > 0);
	start("t", "10.9.0.1");
	/* The link goes to the other network, and the file stays its file. */
	struct request r;
	int s = netlink(NETLINK_ROUTE);
	begin(&r, RTM_NEWLINK, 0, &(struct ifinfomsg){ .ifi_index = i }, sizeof(struct ifinfomsg));
	attr_int(&r, IFLA_NET_NS_FD, away);
	EQUAL(ask(s, &r), 0);
	EQUAL(index_of("t"), 0);
	char b[2000] = { 0x45 };
	FAILS(write(fd, b, 40), EIO);
	OK(ioctl(fd, TUNGETIFF, &request));
	CHECK(!strcmp(request.ifr_name, "t"));
	OK(setns(away, CLONE_NEWNET));
	start("t", "10.9.0.1");
	EQUAL(send(udp_to("10.9.0.2"), "there", 5, 0), 5);
	EQUAL(read(fd, b, sizeof b), 33);
	close(fd);
	EQUAL(index_of("t"), 0);
}

TEST(several_queues) {
	int a = own(), b = opened(), c = opened();
	no_ipv6();
	int flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE;
	OK(set_iff(a, "t", flags));
	OK(set_iff(b, "t", flags));
	FAILS(set_iff(c, "t", IFF_TUN | IFF_NO_PI), EINVAL);
	nonblocking(a);
	nonblocking(b);
	int i = start("t", "10.9.0.1"), n[2] = { 0 };
	EQUAL(detail(link_of(i), IFLA_TUN_MULTI_QUEUE, 1), 1);
	EQUAL(detail(link_of(i), IFLA_TUN_NUM_QUEUES, 4), 2);
	char p[2000];
	for (int k = 0; k < 100; k++) { /* a hundred flows */
		int s = udp_to("10.9.0.2");
		EQUAL(send(s, "x", 1, 0), 1);
		close(s);
	}
	while (read(a, p, sizeof p) > 0)
		n[0]++;
	while (read(b, p, sizeof p) > 0)
		n[1]++;
	EQUAL(n[0] + n[1], 100);
	CHECK(n[0] > 0 && n[1] > 0);
	struct ifreq r = { .ifr_flags = IFF_DETACH_QUEUE };
	OK(ioctl(a, TUNSETQUEUE, &r));
	FAILS(ioctl(a, TUNSETQUEUE, &r), EINVAL);
	OK(ioctl(a, TUNGETIFF, &r));
	CHECK(r.ifr_flags & IFF_DETACH_QUEUE);
	EQUAL(detail(link_of(i), IFLA_TUN_NUM_DISABLED_QUEUES, 4), 1);
	for (int k = 0; k < 20; k++)
		EQUAL(send(udp_to("10.9.0.2"), "x", 1, 0), 1);
	FAILS(read(a, p, sizeof p), EAGAIN);
	for (n[1] = 0; read(b, p, sizeof p) > 0; n[1]++) {}
	EQUAL(n[1], 20);
	r.ifr_flags = IFF_ATTACH_QUEUE;
	OK(ioctl(a, TUNSETQUEUE, &r));
	FAILS(ioctl(a, TUNSETQUEUE, &r), EINVAL);
	close(b);
	EQUAL(index_of("t"), i);
	close(a);
	EQUAL(index_of("t"), 0);
}

TEST(packet_sockets_see_no_header) {
	int fd = own();
	no_ipv6();
	OK(set_iff(fd, "t", IFF_TUN | IFF_NO_PI));
	int i = start("t", "10.9.0.1");
	int s = OK(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = i };
	OK(bind(s, (void *)&a, sizeof a));
	socklen_t size = sizeof a;
	OK(getsockname(s, (void *)&a, &size));
	EQUAL(a.sll_hatype, ARPHRD_NONE);
	EQUAL(a.sll_halen, 0);
	char b[2000];
	EQUAL(send(udp_to("10.9.0.2"), "seen", 4, 0), 4);
	size = sizeof a;
	EQUAL(recvfrom(s, b, sizeof b, 0, (void *)&a, &size), 32);
	CHECK(b[0] == 0x45 && a.sll_pkttype == PACKET_OUTGOING && a.sll_halen == 0);
	EQUAL(a.sll_hatype, ARPHRD_NONE);
	EQUAL(a.sll_protocol, htons(ETH_P_IP));
	EQUAL(read(fd, b, sizeof b), 32);
	/* What is written comes in, and what the packet socket sends goes out. */
	turn((void *)b);
	EQUAL(write(fd, b, 32), 32);
	EQUAL(recvfrom(s, b, sizeof b, 0, (void *)&a, &size), 32);
	EQUAL(a.sll_pkttype, PACKET_HOST);
	turn((void *)b);
	EQUAL(send(s, b, 32, 0), 32);
	/* An error for the unreachable port may come before it. */
	do {
		OK(read(fd, b, sizeof b));
	} while (b[9] == IPPROTO_ICMP);
	EQUAL(b[9], IPPROTO_UDP);
}

struct __attribute__((packed)) arp {
	struct ethhdr e;
	uint16_t hrd, pro;
	uint8_t hln, pln;
	uint16_t op;
	uint8_t sha[6];
	uint32_t sip;
	uint8_t tha[6];
	uint32_t tip;
};

TEST(tap_with_arp) {
	int fd = own();
	no_ipv6();
	OK(set_iff(fd, "t", IFF_TAP | IFF_NO_PI));
	int i = start("t", "10.8.0.1");
	FAILS(write(fd, "\1\2\3\4\5\6\7\10\11\12\13\14\10", 13), EINVAL);
	memset(&request, 0, sizeof request);
	OK(ioctl(fd, SIOCGIFHWADDR, &request));
	uint8_t ours[6], theirs[6] = "\2\0\0\0\0\7";
	memcpy(ours, request.ifr_hwaddr.sa_data, 6);
	int s = udp_to("10.8.0.2");
	EQUAL(send(s, "question", 8, 0), 8);
	char b[2000];
	struct arp *q = (void *)b;
	EQUAL(read(fd, b, sizeof b), sizeof *q);
	CHECK(!memcmp(q->e.h_dest, "\377\377\377\377\377\377", 6) && !memcmp(q->e.h_source, ours, 6) && q->e.h_proto == htons(ETH_P_ARP));
	CHECK(q->op == htons(1) && q->tip == inet_addr("10.8.0.2") && q->sip == inet_addr("10.8.0.1") && !memcmp(q->sha, ours, 6));
	struct arp r = *q;
	memcpy(r.e.h_dest, ours, 6);
	memcpy(r.e.h_source, theirs, 6);
	r.op = htons(2);
	r.sip = q->tip;
	r.tip = q->sip;
	memcpy(r.sha, theirs, 6);
	memcpy(r.tha, ours, 6);
	EQUAL(write(fd, &r, sizeof r), sizeof r);
	EQUAL(read(fd, b, sizeof b), 14 + 28 + 8);
	CHECK(!memcmp(b, theirs, 6) && !memcmp(b + 6, ours, 6) && !memcmp(b + 42, "question", 8));
	/* The answer: the same, turned round. */
	memcpy(b, ours, 6);
	memcpy(b + 6, theirs, 6);
	turn((void *)(b + 14));
	uint16_t *port = (void *)(b + 34), p = port[0];
	port[0] = port[1];
	port[1] = p;
	EQUAL(write(fd, b, 50), 50);
	EQUAL(recv(s, b, sizeof b, 0), 8);
	EQUAL(statistics(i).rx_bytes, sizeof r + 50);
	EQUAL(statistics(i).tx_bytes, sizeof r + 50);
	/* A frame for somebody else is none for this host. */
	EQUAL(send(s, "again", 5, 0), 5);
	int n = OK(read(fd, b, sizeof b));
	turn((void *)(b + 14));
	b[5] ^= 1;
	EQUAL(write(fd, b, n), n);
	FAILS(recv(s, b, sizeof b, MSG_DONTWAIT), EAGAIN);
}

/* copier has a child copy frames between two devices. */
static pid_t copier(int a, int b) {
	pid_t k = OK(fork());
	if (k)
		return k;
	for (;;) {
		struct pollfd p[2] = { { .fd = a, .events = POLLIN }, { .fd = b, .events = POLLIN } };
		OK(poll(p, 2, -1));
		for (int i = 0; i < 2; i++)
			if (p[i].revents & POLLIN) {
				static char f[70000];
				int n = OK(read(p[i].fd, f, sizeof f));
				write(p[1 - i].fd, f, n); /* the other may not be up yet */
			}
	}
}

/* to_other_network sends data from a server in another network to a client in this one. */
static void to_other_network(int there, const struct sockaddr *a, socklen_t size) {
	int ready[2];
	OK(pipe(ready));
	pid_t k = OK(fork());
	if (!k) {
		OK(setns(there, CLONE_NEWNET));
		int l = OK(socket(a->sa_family, SOCK_STREAM, 0)), one = 1;
		OK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
		OK(bind(l, a, size));
		OK(listen(l, 1));
		EQUAL(write(ready[1], "", 1), 1);
		int c = OK(accept(l, NULL, NULL));
		static char b[10000];
		for (int i = 0; i < 100; i++) {
			memset(b, i, sizeof b);
			for (int at = 0; at < (int)sizeof b;)
				at += OK(send(c, b + at, sizeof b - at, 0));
		}
		_exit(0);
	}
	char c;
	EQUAL(read(ready[0], &c, 1), 1);
	int s = OK(socket(a->sa_family, SOCK_STREAM, 0));
	OK(connect(s, a, size));
	for (int at = 0, n;; at += n) {
		char b[10000];
		n = OK(recv(s, b, sizeof b, 0));
		if (!n) {
			EQUAL(at, 1000000);
			break;
		}
		for (int i = 0; i < n; i++)
			EQUAL(b[i], (at + i) / 10000);
	}
	int st;
	OK(waitpid(k, &st, 0));
	EXITED_OK(st);
}

TEST(two_networks_and_a_program_between) {
	int a = own(), here = OK(open("/proc/self/ns/net", O_RDONLY));
	OK(set_iff(a, "t", IFF_TAP | IFF_NO_PI));
	OK(unshare(CLONE_NEWNET));
	set_lo(1);
	int b = opened(), there = OK(open("/proc/self/ns/net", O_RDONLY));
	OK(set_iff(b, "t", IFF_TAP | IFF_NO_PI));
	start("t", "10.8.0.2");
	int six = change_address(netlink(NETLINK_ROUTE), RTM_NEWADDR, NLM_F_CREATE, index_of("t"), "fd00:8::2", 64) == 0;
	OK(setns(here, CLONE_NEWNET));
	start("t", "10.8.0.1");
	pid_t k = copier(a, b);
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(7), .sin_addr.s_addr = inet_addr("10.8.0.2") };
	to_other_network(there, (void *)&four, sizeof four);
	if (six) {
		/* Linux has an address when it has looked whether another one has it. */
		EQUAL(change_address(netlink(NETLINK_ROUTE), RTM_NEWADDR, NLM_F_CREATE, index_of("t"), "fd00:8::1", 64), 0);
		struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(7) };
		CHECK(inet_pton(AF_INET6, "fd00:8::2", &a6.sin6_addr) == 1);
		EXITED_OK(IN_CHILD(
			OK(setns(there, CLONE_NEWNET)); int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
			while (bind(s, (void *)&a6, sizeof a6) == -1) { EQUAL(errno, EADDRNOTAVAIL); sleep_ms(10); }));
		CHECK(inet_pton(AF_INET6, "fd00:8::1", &a6.sin6_addr) == 1);
		int s = OK(socket(AF_INET6, SOCK_DGRAM, 0));
		while (bind(s, (void *)&a6, sizeof a6) == -1) {
			EQUAL(errno, EADDRNOTAVAIL);
			sleep_ms(10);
		}
		CHECK(inet_pton(AF_INET6, "fd00:8::2", &a6.sin6_addr) == 1);
		to_other_network(there, (void *)&a6, sizeof a6);
	}
	kill(k, SIGKILL);
}

TEST(ports_of_a_bridge) {
	int a = own(), b = opened(), s = netlink(NETLINK_ROUTE);
	no_ipv6();
	OK(set_iff(a, "a", IFF_TAP | IFF_NO_PI));
	OK(set_iff(b, "b", IFF_TAP | IFF_NO_PI));
	struct request r;
	begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &(struct ifinfomsg){ .ifi_flags = IFF_UP, .ifi_change = IFF_UP }, sizeof(struct ifinfomsg));
	attr_text(&r, IFLA_IFNAME, "br");
	struct rtattr *info = nest(&r, IFLA_LINKINFO);
	attr_text(&r, IFLA_INFO_KIND, "bridge");
	nest_end(&r, info);
	int err = ask(s, &r);
	if (err == -EOPNOTSUPP)
		SKIP("the kernel has no bridges");
	EQUAL(err, 0);
	for (const char **name = (const char *[]){ "a", "b", NULL }; *name; name++) {
		begin(&r, RTM_NEWLINK, 0, &(struct ifinfomsg){ .ifi_index = index_of(*name), .ifi_flags = IFF_UP, .ifi_change = IFF_UP }, sizeof(struct ifinfomsg));
		attr_int(&r, IFLA_MASTER, index_of("br"));
		EQUAL(ask(s, &r), 0);
	}
	char f[60] = "\2\0\0\0\0\7\2\0\0\0\0\10\x88\xb5the frame", got[100];
	/* Linux's bridge may listen before it forwards. */
	nonblocking(b);
	for (int tries = 0; read(b, got, sizeof got) != sizeof f; tries++) {
		CHECK(tries < 1000);
		EQUAL(write(a, f, sizeof f), sizeof f);
		sleep_ms(1);
	}
	CHECK(!memcmp(got, f, sizeof f));
	/* A TUN's packets have no Ethernet header. */
	int t = opened();
	OK(set_iff(t, "t", IFF_TUN));
	begin(&r, RTM_NEWLINK, 0, &(struct ifinfomsg){ .ifi_index = index_of("t") }, sizeof(struct ifinfomsg));
	attr_int(&r, IFLA_MASTER, index_of("br"));
	EQUAL(ask(s, &r), -EINVAL);
}

/* counted is a counter of /proc/net/snmp or netstat, by the name of its line and its own. */
static unsigned long counted(const char *file, const char *line, const char *name) {
	static char b[32768];
	char path[64], *save1, *save2;
	snprintf(path, sizeof path, "/proc/thread-self/net/%s", file);
	int fd = OK(open(path, O_RDONLY)), n = 0;
	for (int got; (got = OK(read(fd, b + n, sizeof b - 1 - n))) > 0;)
		n += got;
	b[n] = 0;
	close(fd);
	char *names = strstr(b, line), *numbers = strstr(names + 1, line);
	*strchr(names, '\n') = 0;
	for (names = strtok_r(names, " ", &save1), numbers = strtok_r(numbers, " ", &save2); names; names = strtok_r(NULL, " ", &save1), numbers = strtok_r(NULL, " ", &save2))
		if (!strcmp(names, name))
			return strtoul(numbers, NULL, 10);
	CHECK(!"the counter is there");
	return 0;
}

/* come has a datagram of some bytes come in. */
static void come(int fd, const char *to, int ttl, int fragment, int size) {
	static char b[2000];
	struct iphdr *h = (void *)b;
	*h = (struct iphdr){ .version = 4, .ihl = 5, .tot_len = htons(size), .ttl = ttl, .protocol = IPPROTO_UDP, .id = htons(77), .frag_off = htons(fragment) };
	inet_pton(AF_INET, "10.5.0.9", &h->saddr);
	inet_pton(AF_INET, to, &h->daddr);
	unsigned sum = 0;
	for (int i = 0; i < 10; i++) sum += ((unsigned short *)b)[i];
	while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
	h->check = ~sum;
	EQUAL(write(fd, b, size), size);
}

TEST(what_is_forwarded_is_counted) {
	int fd = own(), out = opened(), s = netlink(NETLINK_ROUTE);
	char b[2000];
	no_ipv6();
	int f = open("/proc/sys/net/ipv4/ip_forward", O_WRONLY);
	if (f == -1 && errno == EROFS)
		SKIP("settings cannot be changed here: /proc/sys is read-only");
	OK(f);
	EQUAL(write(f, "1", 1), 1);
	OK(set_iff(fd, "in0", IFF_TUN | IFF_NO_PI));
	OK(set_iff(out, "out0", IFF_TUN | IFF_NO_PI));
	start("in0", "10.5.0.1");
	start("out0", "10.6.0.1");
	unsigned long requests = counted("snmp", "Ip:", "OutRequests");
	come(fd, "10.6.0.9", 9, 0, 100);
	EQUAL(read(out, b, sizeof b), 100);
	EQUAL(counted("snmp", "Ip:", "ForwDatagrams"), 1);
	EQUAL(counted("snmp", "Ip:", "OutRequests"), requests);
	come(fd, "10.6.0.9", 9, 0x2000, 1000); /* a first fragment */
	EQUAL(read(out, b, sizeof b), 1000);
	EQUAL(counted("snmp", "Ip:", "ForwDatagrams"), 2);
	/* Here the answers come back, and are no datagrams that were forwarded. */
	come(fd, "10.6.0.9", 1, 0, 100);
	CHECK(read(fd, b, sizeof b) > 0);
	EQUAL(counted("snmp", "Ip:", "InHdrErrors"), 1);
	come(fd, "192.0.2.1", 9, 0, 100);
	CHECK(read(fd, b, sizeof b) > 0);
	EQUAL(counted("netstat", "IpExt:", "InNoRoutes"), 1);
	struct ifreq mtu = { .ifr_name = "out0", .ifr_mtu = 600 };
	int u = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(ioctl(u, SIOCSIFMTU, &mtu));
	come(fd, "10.6.0.9", 9, 0x4000, 1000);
	CHECK(read(fd, b, sizeof b) > 0);
	EQUAL(counted("snmp", "Ip:", "FragFails"), 1);
	EQUAL(counted("snmp", "Ip:", "ForwDatagrams"), 3); /* it was to be */
	EQUAL(counted("snmp", "Ip:", "FragCreates"), 0);
	/* what a socket sends in fragments */
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	inet_pton(AF_INET, "10.6.0.9", &to.sin_addr);
	EQUAL(sendto(u, b, 1000, 0, (void *)&to, sizeof to), 1000);
	CHECK(read(out, b, sizeof b) > 0);
	CHECK(read(out, b, sizeof b) > 0);
	EQUAL(counted("snmp", "Ip:", "FragOKs"), 1);
	EQUAL(counted("snmp", "Ip:", "FragCreates"), 2);
	close(s);
}
