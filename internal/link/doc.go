// Package link has the link endpoints of the TCP/IP stack that carry Ethernet frames
// over descriptors of the host: packet sockets of an interface, and the sockets
// between a sandbox and its gateway. What comes from them is hostile.
//
// It must not know who uses the stack: the sentry and the gateway both do.
//
// Lock order: the stack's locks, then sender.mu, then Link.mu, then capture.mu. No
// function of the stack's that takes locks is called under these.
package link
