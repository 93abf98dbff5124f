// Package inet has the sockets of AF_INET and AF_INET6 (ip(7), ipv6(7), tcp(7),
// udp(7), raw(7), icmp(7)): the system calls' semantics over endpoints of the
// TCP/IP stack of a network.Namespace. Both families are one package because an IPv6
// socket serves IPv4 too.
//
// There is one type of socket, whatever its protocol. What protocols have of their
// own is chosen in kind.go, and their options are rows in option_*.go.
//
// It must not know tasks, nor configure the stack.
//
// Lock order: Socket.mu, then sendMu or recvMu, then optionMu or groupMu, then those of
// network.Namespace, sharing, and those of the stack. near.mu, and then pair.mu, are those of a connection,
// which both ends take after their own; the stack's come after pair.mu too. Of two sockets
// locks are held at once by who connects: its own mu, and then arrivalMu or optionMu of who
// listens. The stack notifies with its locks held: what it calls, endpoint.NotifyEvent, takes
// only that of the socket's waiter.Queue. So it asks choose, which takes portGroups, a leaf.
package inet
