// Package gateway is the helper process that a sandbox's network ends in where it is
// not an interface of the host's: the sandbox's flows arrive as frames, and go on as
// ordinary sockets of this process, in whatever network namespace it runs in. It
// answers names (DNS), listens for published ports, and enforces the egress policy.
//
// It needs no privilege. It must not know the sentry: all that comes from there is hostile.
package gateway
