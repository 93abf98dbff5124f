// Package hostsock has sockets of AF_INET, AF_INET6 and NETLINK_ROUTE that are the
// host's, for a sandbox whose owner gave it the host's network by explicit wish.
//
// A guest's socket is a socket of the sentry's, which lives in the host's network
// namespace and has no capability there: what root alone may do on the host's network
// (ports below net.ipv4.ip_unprivileged_port_start, raw sockets, changes of
// interfaces) fails with what the host says. Only options, ioctls and control
// messages that are listed here reach the host: none of them has pointers in it.
//
// It must not know tasks.
package hostsock
