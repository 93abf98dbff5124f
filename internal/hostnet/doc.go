// Package hostnet is the host's side of a container's network: namespaces, bridges,
// addresses, published ports, named networks and CNI plug-ins; and it reads from a
// network namespace what a sentry needs to take its interfaces over.
//
// It must not know containers.
package hostnet
