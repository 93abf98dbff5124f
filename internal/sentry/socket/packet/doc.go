// Package packet has the sockets of AF_PACKET (packet(7)).
//
// It must not know tasks.
package packet
