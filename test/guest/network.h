/* network.h: networks of a test's own, so that nothing of the host's is touched. */
#ifndef NETWORK_H
#define NETWORK_H
#include "guest.h"
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* own_network gives the test a network of its own, in which lo is down. */
__attribute__((unused)) static void own_network(void) {
	if (unshare(CLONE_NEWNET) == -1)
		SKIP("only root can make network namespaces");
}

/* set_lo takes lo up or down. */
__attribute__((unused)) static void set_lo(int up) {
	struct ifreq r = { .ifr_name = "lo" };
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(ioctl(s, SIOCGIFFLAGS, &r));
	r.ifr_flags = up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP;
	OK(ioctl(s, SIOCSIFFLAGS, &r));
	close(s);
}

/* own_network_up gives it one in which lo is up. */
__attribute__((unused)) static void own_network_up(void) {
	own_network();
	set_lo(1);
}

#endif
