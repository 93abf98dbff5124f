// Package hostsock has sockets of AF_INET and AF_INET6 that are the host's, for a
// sandbox whose owner gave it the host's network by explicit wish.
//
// It must not know tasks.
package hostsock
