package hostnet

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// newNamespace makes a network namespace, which lives as long as it is open or has
// sockets.
func newNamespace() (ns *os.File, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return ns, err
}

// onThread calls f on a thread that is the caller's alone, and takes it back to the
// network namespace that it was in.
func onThread(f func() error) error {
	runtime.LockOSThread()
	host, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer host.Close()
	err = f()
	if back := unix.Setns(int(host.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, and nobody else gets to use it.
		return fmt.Errorf("going back to the host's network namespace: %w", back)
	}
	runtime.UnlockOSThread()
	return err
}

// handle talks to the kernel about a network namespace.
func handle(ns *os.File) (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening the sandbox's network namespace: %w", err)
	}
	return h, nil
}
