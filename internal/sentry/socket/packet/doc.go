// Package packet has the sockets of AF_PACKET (packet(7)): they receive and send
// whole frames of a network.Namespace's interfaces.
//
// Frames come from the TCP/IP stack, which copies them for all who listen. A socket
// keeps a copy of its own, in a queue or in a ring that the guest maps.
//
// It must not know tasks.
//
// Lock order: Socket.bindMu, network.Namespace's, Socket.hooksMu, the stack's own locks,
// Socket.mu, waiter queues.
package packet
