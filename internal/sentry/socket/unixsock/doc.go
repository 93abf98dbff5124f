// Package unixsock is unix(7): local sockets of the stream, datagram and
// sequenced-packet types, with names in the file system and abstract names,
// descriptor passing and credentials.
//
// What is sent goes straight into the receiver's queue. A sender that finds
// the queue full is remembered there and told when there is room.
//
// It must not know tasks.
//
// Lock order: Namespace.mu, Namespace.flightMu, Socket.mu, then waiter
// queues. No two Socket.mu are held at once, and no reference to a file
// description is dropped under any of them.
package unixsock
