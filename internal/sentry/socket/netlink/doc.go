// Package netlink has the sockets of AF_NETLINK (netlink(7)): NETLINK_ROUTE
// (rtnetlink(7)) over network.Namespace, NETLINK_SOCK_DIAG (sock_diag(7)), and what
// is left of the other protocols.
//
// A request is answered while it is sent: answers go into the sender's queue. A dump is
// made at once as well, but cut into datagrams as it is read.
//
// It must not know tasks.
//
// Lock order: network.Namespace's, Ports.mu, Socket.mu, then waiter queues. No socket's lock is
// held while a request is answered.
package netlink
