package hostnet

import (
	"os"

	"coffer/internal/sentry/network"
)

// Attachment is a sandbox's network as it stands on the host.
type Attachment struct {
	// Network describes it to a sentry; descriptors in it are places in Files.
	Network *network.Config
	Files   []*os.File
	// Namespace is a network namespace for a container of the process wall to join;
	// empty is a new one.
	Namespace string
	// Resolv and Hosts are the contents of the sandbox's /etc/resolv.conf and
	// /etc/hosts; nil leaves the file as it is.
	Resolv, Hosts []byte
}
