package kernel

import (
	"errors"
	"fmt"
	"os"

	"coffer/internal/hostnet"
	"coffer/internal/hostnet/netdev"
	"coffer/internal/isolation"
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
	m.record.Namespace = networkPath(m.r.Spec)
	if m.record.Namespace != "" {
		if err := m.record.write(m.r.StateDir); err != nil {
			return err
		}
	}
	ns, err := m.record.openNamespace()
	if err != nil {
		return err
	}
	defer ns.Close()
	if m.r.Spec.Linux != nil {
		if err := netdev.Move(m.r.Spec.Linux.NetDevices, ns); err != nil {
			return err
		}
	}
	taken, err := hostnet.TakeOver(ns, m.r.ID, false)
	if err != nil && m.record.Namespace == "" && errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
		// Who may not enter it cannot have moved an interface there.
		taken, err = new(hostnet.Taken), nil
	}
	if err != nil {
		return err
	}
	defer taken.Close()
	if taken.Network != nil && len(taken.Network.Interfaces) == 0 {
		taken.Network = nil
	}
	if err := boot.SendNetwork(to, taken.Network, descriptors(taken)); err != nil {
		return fmt.Errorf("telling the sentry of its network: %w", err)
	}
	return taken.Told()
}

func descriptors(t *hostnet.Taken) (fds []int) {
	for _, f := range t.Files {
		fds = append(fds, int(f.Fd()))
	}
	return fds
}

// openNamespace opens the network namespace that the sandbox serves.
func (r *record) openNamespace() (*os.File, error) {
	path := r.Namespace
	if path == "" {
		path = namespacePath(r.Init.PID, specs.NetworkNamespace)
	}
	ns, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace: %w", err)
	}
	return ns, nil
}

// refurnish looks for what has come into the network namespace since the container was
// made, by plug-ins that are called between create and start, and tells the sentry. If
// there are interfaces, it returns the namespace, to be followed.
func (r *record) refurnish(c *isolation.Container) (*os.File, error) {
	if !r.Serves || r.Namespace == "" && os.Geteuid() != 0 {
		return nil, nil
	}
	ns, err := r.openNamespace()
	if err != nil {
		return nil, err
	}
	taken, err := hostnet.TakeOver(ns, c.ID, true)
	if err != nil {
		ns.Close()
		return nil, err
	}
	defer taken.Close()
	if len(taken.Network.Interfaces) == 0 {
		return nil, ns.Close()
	}
	err = tellNetwork(c.StateDir, c.ID, taken)
	if err == nil {
		err = taken.Told()
	}
	if err != nil {
		ns.Close()
		return nil, err
	}
	return ns, nil
}

// tellNetwork tells the sentry whose socket is in a directory what its network is now.
func tellNetwork(dir, id string, t *hostnet.Taken) error {
	conn, err := dialSandbox(dir)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = askOn(conn, &boot.Request{Op: boot.OpNetwork, Container: id, Network: t.Network}, descriptors(t), answerPatience)
	return err
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

// giveBack gives the network namespace back, if it does not go with the sandbox, whose
// sentry has ended.
func (r *record) giveBack(c *isolation.Container) error {
	if r.Namespace == "" || checkNetworkNamespace(r.Namespace) != nil {
		return nil // or it has gone, with all that was in it, or the path is another file's now
	}
	ns, err := r.openNamespace()
	if err != nil {
		return err
	}
	defer ns.Close()
	// A follower may just be taking over what has come; one that others have stopped is not waited for.
	lock, err := lockNetwork(c.StateDir)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	defer lock.Close()
	return hostnet.Release(ns, c.ID)
}
