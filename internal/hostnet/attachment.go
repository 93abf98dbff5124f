package hostnet

import (
	"errors"
	"os"
	"slices"

	"coffer/internal/sentry/network"
)

// Attachment is a sandbox's network as it stands on the host. Who has it closes it
// when the sandbox has ended.
type Attachment struct {
	// Network describes it to a sentry; descriptors in it are places in Files. Both
	// are nil for a sandbox with a loopback interface alone, and for others than
	// sentries.
	Network *network.Config
	Files   []*os.File
	// Host says that the sandbox uses the host's own network namespace.
	Host bool
	// Furnish, if not nil, gives a network namespace of the sandbox's own what it is
	// to have. It is called once, with a process in that namespace.
	Furnish func(pid int) error
	// Resolv and Hosts are the contents of the sandbox's /etc/resolv.conf and
	// /etc/hosts, once Furnish has been called; nil leaves the file as it is.
	Resolv, Hosts []byte

	// undo has what Close does, in the order in which it was made.
	undo []func() error
}

// Close removes from the host what the attachment is made of.
func (a *Attachment) Close() error {
	var all []error
	for _, f := range slices.Backward(a.undo) {
		all = append(all, f())
	}
	a.undo = nil
	return errors.Join(all...)
}

// onClose adds to what Close does.
func (a *Attachment) onClose(f func() error) { a.undo = append(a.undo, f) }
