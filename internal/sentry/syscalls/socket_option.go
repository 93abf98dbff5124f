package syscalls

import (
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
)

func socketOptionRows() []Row {
	return []Row{
		partial(54, "setsockopt", sysSetsockopt, "options without an effect inside are only remembered; TCP_MD5SIG and TCP_REPAIR are refused",
			P("sockfd", FD), PF("level", Enum, socketLevels), PD("optname", optionName).value(), P("optval", Option), P("optlen", Dec)),
		partial(55, "getsockopt", sysGetsockopt, "SO_PEERSEC is refused; of TCP_INFO what the stack knows",
			P("sockfd", FD), PF("level", Enum, socketLevels), PD("optname", optionName).value(), P("optval", OutOption), P("optlen", InOutInt)),
	}
}

// The longest option values that are read: lists of a group's sources, with a struct
// sockaddr_storage for each, and all others.
const (
	maxSourceList = 144 + 128*network.MostSources
	maxOption     = 264       // struct group_source_req
	maxExtension  = 8*255 + 1 // one more than an extension header of IPv6 may have
)

// longestValue is how much of an option's value is read.
func longestValue(level, name int32) int32 {
	if (level == unix.IPPROTO_IP || level == unix.IPPROTO_IPV6) && name == unix.MCAST_MSFILTER || level == unix.IPPROTO_IP && name == unix.IP_MSFILTER {
		return maxSourceList
	}
	switch {
	case level != unix.IPPROTO_IPV6:
	case name == unix.IPV6_HOPOPTS, name == unix.IPV6_RTHDRDSTOPTS, name == unix.IPV6_RTHDR, name == unix.IPV6_DSTOPTS:
		return maxExtension
	}
	return maxOption
}

// sysSetsockopt is setsockopt(2).
func sysSetsockopt(t *kernel.Task, a kernel.Args) (uintptr, error) {
	s, d, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	n := a.Int(4)
	if n < 0 {
		return 0, unix.EINVAL
	}
	value := make([]byte, min(n, longestValue(a.Int(1), a.Int(2))))
	if _, err := t.CopyIn(a[3], value); err != nil {
		return 0, err
	}
	if a.Int(1) == unix.SOL_SOCKET && (a.Int(2) == unix.SO_ATTACH_BPF || a.Int(2) == unix.SO_ATTACH_REUSEPORT_EBPF) {
		return 0, refuseProgram(t, s, value)
	}
	return 0, s.SetOption(t, a.Int(1), a.Int(2), value)
}

// refuseProgram answers who attaches a program of bpf(2), by its descriptor: there are none, so EBADF or EINVAL, and
// EPERM for a socket whose filter is locked.
func refuseProgram(t *kernel.Task, s socket.Socket, value []byte) error {
	if len(value) != 4 {
		return unix.EINVAL
	}
	if f, ok := s.(interface{ FilterLocked() bool }); ok && f.FilterLocked() {
		return unix.EPERM
	}
	d, err := t.File(int32(le.Uint32(value)))
	if err != nil {
		return err
	}
	d.DecRef()
	return unix.EINVAL
}

// shortened is an option's value for which there is less room than it takes. It is cut, but for those that
// Linux does not cut; of IPv4's small numbers one byte is left.
func shortened(level, name int32, value []byte, room int) ([]byte, error) {
	switch level {
	case unix.SOL_SOCKET:
		if name == unix.SO_COOKIE {
			return nil, unix.EINVAL
		}
	case unix.SOL_NETLINK:
		if name != unix.NETLINK_LIST_MEMBERSHIPS {
			return nil, unix.EINVAL
		}
	case unix.IPPROTO_IPV6:
		if name == unix.IPV6_PATHMTU {
			return nil, unix.EINVAL
		}
	case unix.IPPROTO_IP:
		if room > 0 && len(value) == 4 && name != unix.IP_MULTICAST_IF && name != unix.IP_OPTIONS && le.Uint32(value) <= 255 {
			room = 1
		}
	}
	return value[:room], nil
}

// askOption is an option's value: of sockets of all families, or of this one. That of SO_PEERPIDFD is a new
// descriptor.
func askOption(t *kernel.Task, s socket.Socket, level, name int32) ([]byte, error) {
	if level == unix.SOL_SOCKET {
		switch name {
		case unix.SO_PEERNAME:
			value, err := s.PeerName()
			if err != nil {
				return nil, unix.ENOTCONN
			}
			return value, nil
		case unix.SO_PEERPIDFD:
			if local, ok := s.(interface{ PeerProcess() socket.Process }); ok {
				return peerPIDFD(t, local.PeerProcess())
			}
		}
	}
	return s.Option(t, level, name)
}

// peerPIDFD is SO_PEERPIDFD: a new descriptor of the peer's process. ENODATA without a peer.
func peerPIDFD(t *kernel.Task, p socket.Process) ([]byte, error) {
	if p == nil {
		return nil, unix.ENODATA
	}
	fd, err := t.InstallPIDFD(p, 0)
	if err != nil {
		return nil, err
	}
	return le.AppendUint32(nil, uint32(fd)), nil
}

// sysGetsockopt is getsockopt(2).
func sysGetsockopt(t *kernel.Task, a kernel.Args) (uintptr, error) {
	s, d, err := socketOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	room, err := t.CopyInUint32(a[4])
	if err != nil {
		return 0, err
	}
	if int32(room) < 0 {
		return 0, unix.EINVAL
	}
	level, name := a.Int(1), a.Int(2)
	if f, ok := s.(interface{ FilterCode() []byte }); ok && level == unix.SOL_SOCKET && name == unix.SO_GET_FILTER {
		return 0, getFilter(t, f.FilterCode(), a[3], a[4], room)
	}
	if k, ok := s.(synKeeper); ok && k.Stream() && level == unix.IPPROTO_TCP && name == unix.TCP_SAVED_SYN {
		return 0, getSavedSYN(t, k, a[3], a[4], int(room))
	}
	var value []byte
	if asker, ok := s.(socket.Asker); ok && asker.Asks(level, name) {
		question := make([]byte, min(int32(room), longestValue(level, name)))
		if _, err := t.CopyIn(a[3], question); err != nil {
			return 0, err
		}
		value, err = asker.Answer(level, name, question)
	} else {
		value, err = askOption(t, s, level, name)
	}
	if err != nil {
		return 0, err
	}
	if level == unix.SOL_SOCKET && (name == unix.SO_PEERNAME && int(room) > len(value) || name == unix.SO_NETNS_COOKIE && int(room) != len(value)) {
		return 0, unix.EINVAL
	}
	if level == unix.SOL_SOCKET && name == unix.SO_PEERGROUPS && int(room) < len(value) {
		// A list of groups is not cut.
		if err := t.CopyOutUint32(a[4], uint32(len(value))); err != nil {
			return 0, err
		}
		return 0, unix.ERANGE
	}
	shown := value
	if int(room) < len(value) {
		if shown, err = shortened(level, name, value, int(room)); err != nil {
			return 0, err
		}
	}
	if _, err = t.CopyOut(a[3], shown); err == nil {
		err = t.CopyOutUint32(a[4], uint32(len(shown)))
	}
	if err != nil && level == unix.SOL_SOCKET && name == unix.SO_PEERPIDFD {
		uninstall(t, int32(le.Uint32(value))) // of which the caller has not been told
	}
	return 0, err
}

// synKeeper is implemented by sockets that keep how their connection began.
type synKeeper interface {
	Stream() bool
	SavedSYN() []byte
	ForgetSYN()
}

// getSavedSYN is TCP_SAVED_SYN, which can be read once. It is not cut: where there is too little room, it tells how much
// there has to be.
func getSavedSYN(t *kernel.Task, s synKeeper, addr, lenAddr uint64, room int) error {
	syn := s.SavedSYN()
	if err := t.CopyOutUint32(lenAddr, uint32(len(syn))); err != nil {
		return err
	}
	if room < len(syn) {
		return unix.EINVAL
	}
	if _, err := t.CopyOut(addr, syn); err != nil {
		return err
	}
	s.ForgetSYN()
	return nil
}

// getFilter is SO_GET_FILTER, whose lengths count instructions. Without room it tells how many there are.
func getFilter(t *kernel.Task, code []byte, addr, lenAddr uint64, room uint32) error {
	n := uint32(len(code) / socket.SizeofInstruction)
	if room > 0 {
		if room < n {
			return unix.EINVAL
		}
		if _, err := t.CopyOut(addr, code); err != nil {
			return err
		}
	}
	return t.CopyOutUint32(lenAddr, n)
}
