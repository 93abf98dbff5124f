package kernel

import (
	"errors"
	"fmt"
	"os"

	"coffer/internal/hostnet"
	"coffer/internal/hostnet/netdev"
	"coffer/internal/sentry/boot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// furnishing makes the socket over which a sentry is told what its network is, and
// donates the other end of it.
func (m *making) furnishing(s *boot.Server) (*boot.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("making the socket that tells of the network: %w", err)
	}
	s.Furnished = m.give(os.NewFile(uintptr(fds[1]), "network"))
	return boot.NewConn(fds[0])
}

// furnish gives the sentry the network that is in its namespace now that all hooks
// have run: that of a path in the spec, or the one that the host shows of its process,
// into which an engine's hook may have moved an interface.
func (m *making) furnish(to *boot.Conn) error {
	if m.described.Network != nil {
		return boot.SendNetwork(to, m.described.Network, nil) // it is known: the host's
	}
	path, own := networkPath(m.r.Spec), false
	if path == "" {
		path, own = namespacePath(m.record.Init.PID, specs.NetworkNamespace), true
	}
	ns, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening the network namespace: %w", err)
	}
	defer ns.Close()
	if m.r.Spec.Linux != nil {
		if err := netdev.Move(m.r.Spec.Linux.NetDevices, ns); err != nil {
			return err
		}
	}
	keep := func(h *hostnet.Held) error {
		m.record.Namespace, m.record.Held = path, h
		return m.record.write(m.r.StateDir)
	}
	if own {
		keep = nil // it goes with the sentry
	}
	taken, err := hostnet.TakeOver(ns, m.r.ID, keep)
	if own && errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
		// Who may not enter it cannot have moved an interface there.
		taken, err = new(hostnet.Taken), nil
	}
	if err != nil {
		return err
	}
	defer taken.Close()
	var fds []int
	for _, f := range taken.Files {
		fds = append(fds, int(f.Fd()))
	}
	if err := boot.SendNetwork(to, taken.Network, fds); err != nil {
		return fmt.Errorf("telling the sentry of its network: %w", err)
	}
	return nil
}

// networkPath is the path of the network namespace that a spec names, or empty.
func networkPath(s *specs.Spec) string {
	if s.Linux == nil {
		return ""
	}
	for _, n := range s.Linux.Namespaces {
		if n.Type == specs.NetworkNamespace {
			return n.Path
		}
	}
	return ""
}

// giveBack gives the network namespace back, from which things were taken away.
func (r *record) giveBack() error {
	if r.Held == nil {
		return nil
	}
	ns, err := os.Open(r.Namespace)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it has gone, with all that was in it
	}
	if err != nil {
		return fmt.Errorf("opening the network namespace: %w", err)
	}
	defer ns.Close()
	if checkNetworkNamespace(r.Namespace) != nil {
		return nil // the path is another file's now
	}
	return r.Held.Release(ns)
}
