package netlink

import (
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// Attributes of RTM_*NSID (linux/net_namespace.h).
const (
	netnsaNSID       = 1
	netnsaPID        = 2
	netnsaFD         = 3
	netnsaTargetNSID = 4
)

// otherNetwork finds the namespace that one of two attributes names, a process's number or a
// descriptor. It is nil if neither is there. EPERM without CAP_NET_ADMIN over it.
func (s *Socket) otherNetwork(c Caller, a *attrs, pidType, fdType int, admin bool) (*network.Namespace, error) {
	var n *network.Namespace
	var owner *auth.UserNamespace
	pid, byPID, err := a.u32(pidType)
	if err != nil {
		return nil, err
	}
	fd, byFD, err := a.u32(fdType)
	switch {
	case err != nil:
		return nil, err
	case byPID:
		n, owner, err = c.NetworkByPID(int32(pid))
	case byFD:
		n, owner, err = c.NetworkByFD(int32(fd))
	default:
		return nil, nil
	}
	if err == nil && admin && !c.Credentials().CanIn(owner, unix.CAP_NET_ADMIN) {
		err = unix.EPERM
	}
	return n, err
}

func (s *Socket) fillNSID(w *builder, r *request, flags uint16, id int32) {
	w.begin(unix.RTM_NEWNSID, flags, r.seq, s.portID())
	w.u32(unix.AF_UNSPEC)
	w.attr32(netnsaNSID, uint32(id))
	w.end()
}

// getNSID answers RTM_GETNSID: -1 for a namespace that has no number.
func (s *Socket) getNSID(c Caller, r *request) error {
	a, err := s.attrs(r, 1)
	if err != nil {
		return err
	}
	n, err := s.otherNetwork(c, a, netnsaPID, netnsaFD, false)
	if err != nil {
		return err
	}
	if n == nil {
		id, ok, err := a.u32(netnsaNSID)
		if err != nil {
			return err
		}
		if !ok {
			return refuse(unix.EINVAL, "Peer netns reference is missing")
		}
		if n = s.ns.IP.ByID(int32(id)); n == nil {
			return refuse(unix.ENOENT, "Peer netns reference is invalid")
		}
	}
	id := s.ns.IP.ID(n, false)
	s.reply(func(w *builder) { s.fillNSID(w, r, 0, id) })
	return nil
}

func (s *Socket) dumpNSIDs(_ Caller, r *request) error {
	_, err := s.dumpOf(r, func(w *builder) {
		for _, id := range s.ns.IP.IDs() {
			s.fillNSID(w, r, unix.NLM_F_MULTI, id)
		}
	})
	return err
}

func (s *Socket) newNSID(c Caller, r *request) error {
	a, err := s.attrs(r, 1)
	if err != nil {
		return err
	}
	n, err := s.otherNetwork(c, a, netnsaPID, netnsaFD, false)
	if err != nil {
		return err
	}
	id, ok, err := a.u32(netnsaNSID)
	switch {
	case err != nil:
		return err
	case !ok:
		return refuse(unix.EINVAL, "nsid is missing")
	case n == nil:
		return refuse(unix.EINVAL, "Peer netns reference is missing")
	}
	return s.ns.IP.SetID(n, int32(id))
}
