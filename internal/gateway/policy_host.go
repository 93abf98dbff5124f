package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// addressLister asks the host for the addresses of all interfaces of a network namespace
// (rtnetlink(7), RTM_GETADDR), that in which its socket was opened, and for its local routes
// (RTM_GETROUTE): addresses that no interface has can be the host's, too.
type addressLister struct {
	fd  int
	seq uint32
}

// openAddresses opens a socket for an addressLister of the thread's network namespace.
func openAddresses() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a socket to ask for the host's addresses: %w", err)
	}
	// Has the host tell of the table that is asked for alone; without, others are passed over.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return os.NewFile(uintptr(fd), "addresses"), nil
}

// listAll returns what several namespaces have.
func listAll(of []*addressLister) (own, local []netip.Prefix, err error) {
	for _, l := range of {
		someOwn, someLocal, err := l.list()
		if err != nil {
			return nil, nil, err
		}
		own, local = append(own, someOwn...), append(local, someLocal...)
	}
	return own, local, nil
}

// listTries is how often the host is asked at most while something changes meanwhile: then a list may
// lack even what has been there all the time. All of so many hardly do.
const listTries = 10

// list returns the addresses with the lengths of their networks, and where local routes lead. It
// must not be called twice at once.
func (l *addressLister) list() (own, local []netip.Prefix, err error) {
	changed := true
	for tries := 0; changed && err == nil && tries < listTries; tries++ {
		own, local, changed, err = l.listOnce(own, local)
	}
	return own, local, err
}

// listOnce adds to lists what the host says once, and reports whether something has changed meanwhile.
func (l *addressLister) listOnce(own, local []netip.Prefix) (_, _ []netip.Prefix, changed bool, err error) {
	changed, err = l.dump(unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg), // of AF_UNSPEC: all families
		func(m *syscall.NetlinkMessage) (err error) { own, err = addAddresses(own, m); return err })
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err == nil {
			header := make([]byte, unix.SizeofRtMsg)
			header[0], header[4] = family, unix.RT_TABLE_LOCAL
			var too bool
			too, err = l.dump(unix.RTM_GETROUTE, header, func(m *syscall.NetlinkMessage) (err error) { local, err = addRoute(local, m); return err })
			changed = changed || too
		}
	}
	return own, local, changed, err
}

// dump has the host list something, calls each with its messages, and reports whether something has
// changed meanwhile.
func (l *addressLister) dump(what uint16, header []byte, each func(*syscall.NetlinkMessage) error) (changed bool, err error) {
	l.seq++
	request := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(header))
	request = append(request, header...)
	binary.NativeEndian.PutUint32(request[0:], uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], what)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(request[8:], l.seq)
	if _, err := unix.Write(l.fd, request); err != nil {
		return false, fmt.Errorf("asking the host for its addresses: %w", err)
	}
	b := make([]byte, 64<<10) // more than a message of the dump is
	for {
		n, err := unix.Read(l.fd, b)
		if err != nil {
			return false, fmt.Errorf("reading the host's addresses: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(b[:n])
		if err != nil {
			return false, fmt.Errorf("reading the host's addresses: %w", err)
		}
		for i := range messages {
			m := &messages[i]
			if m.Header.Seq != l.seq {
				continue // of a list that was not read to its end
			}
			changed = changed || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
			switch m.Header.Type {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				var code int32
				if len(m.Data) >= 4 {
					code = int32(binary.NativeEndian.Uint32(m.Data))
				}
				switch errno := syscall.Errno(-code); {
				case code == 0 && m.Header.Type == unix.NLMSG_DONE, errno == unix.ENOENT: // there is no such table yet
					return changed, nil
				default:
					return false, fmt.Errorf("the host does not list its addresses: %w", errno)
				}
			}
			if err := each(m); err != nil {
				return false, err
			}
		}
	}
}

// addAddresses adds those of one message.
func addAddresses(own []netip.Prefix, m *syscall.NetlinkMessage) ([]netip.Prefix, error) {
	if m.Header.Type != unix.RTM_NEWADDR {
		return own, nil
	}
	if len(m.Data) < unix.SizeofIfAddrmsg {
		return nil, errors.New("the host's list of addresses has a message that is too short")
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return nil, fmt.Errorf("reading the host's addresses: %w", err)
	}
	bits := int(m.Data[1]) // ifa_prefixlen
	for _, a := range attributes {
		// IFA_ADDRESS is the other end's where there is an IFA_LOCAL beside it: to
		// guard that too harms nobody.
		if a.Attr.Type != unix.IFA_LOCAL && a.Attr.Type != unix.IFA_ADDRESS {
			continue
		}
		if addr, ok := netip.AddrFromSlice(a.Value); ok && bits <= addr.BitLen() {
			own = append(own, netip.PrefixFrom(addr, bits))
		}
	}
	return own, nil
}

// addRoute adds the destination of a route, if what goes there is for the host itself.
func addRoute(local []netip.Prefix, m *syscall.NetlinkMessage) ([]netip.Prefix, error) {
	if m.Header.Type != unix.RTM_NEWROUTE {
		return local, nil
	}
	if len(m.Data) < unix.SizeofRtMsg {
		return nil, errors.New("the host's list of routes has a message that is too short")
	}
	family, bits, table, kind := m.Data[0], int(m.Data[1]), m.Data[4], m.Data[7]
	if table != unix.RT_TABLE_LOCAL || kind != unix.RTN_LOCAL && kind != unix.RTN_ANYCAST {
		return local, nil
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return nil, fmt.Errorf("reading the host's routes: %w", err)
	}
	to := netip.IPv6Unspecified()
	if family == unix.AF_INET {
		to = netip.IPv4Unspecified()
	}
	if i := slices.IndexFunc(attributes, func(a syscall.NetlinkRouteAttr) bool { return a.Attr.Type == unix.RTA_DST }); i >= 0 {
		to, _ = netip.AddrFromSlice(attributes[i].Value)
	}
	p, err := to.Prefix(bits)
	if err != nil {
		return nil, fmt.Errorf("reading the host's routes: %w", err)
	}
	return append(local, p), nil
}
