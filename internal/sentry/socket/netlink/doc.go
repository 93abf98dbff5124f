// Package netlink has the sockets of AF_NETLINK (netlink(7)): NETLINK_ROUTE
// (rtnetlink(7)) over network.Namespace, NETLINK_SOCK_DIAG (sock_diag(7)), and what
// is left of the other protocols.
//
// It must not know tasks.
package netlink
