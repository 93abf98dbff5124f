// Package inet has the sockets of AF_INET and AF_INET6 (ip(7), ipv6(7), tcp(7),
// udp(7), raw(7), icmp(7)): the system calls' semantics over endpoints of the
// TCP/IP stack of a network.Namespace. Both families are one package because an IPv6
// socket serves IPv4 too.
//
// It must not know tasks, nor configure the stack.
package inet
