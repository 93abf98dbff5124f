// Package hostnet is the host's side of a container's network: namespaces, bridges,
// addresses, published ports, named networks and CNI plug-ins; and it reads from a
// network namespace what a sentry needs to take its interfaces over.
//
// It must not know containers.
//
// Lock order: the lock of the directory of networks (lockState), then that of a record,
// which its owner holds as long as it lives. Both are locks of files, so that they hold
// between processes and end with them.
package hostnet
