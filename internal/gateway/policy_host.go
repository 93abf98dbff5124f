package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// addressLister asks the host for the addresses of all interfaces of a network namespace
// (rtnetlink(7), RTM_GETADDR): that in which its socket was opened.
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
	return os.NewFile(uintptr(fd), "addresses"), nil
}

// listAll returns the addresses of several namespaces.
func listAll(of []*addressLister) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, l := range of {
		some, err := l.list()
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// list returns the addresses with the lengths of their networks. It must not be called
// twice at once.
func (l *addressLister) list() ([]netip.Prefix, error) {
	l.seq++
	request := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfAddrmsg) // of AF_UNSPEC: all families
	binary.NativeEndian.PutUint32(request[0:], uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], unix.RTM_GETADDR)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(request[8:], l.seq)
	if _, err := unix.Write(l.fd, request); err != nil {
		return nil, fmt.Errorf("asking the host for its addresses: %w", err)
	}
	var own []netip.Prefix
	b := make([]byte, 64<<10) // more than a message of the dump is
	for {
		n, err := unix.Read(l.fd, b)
		if err != nil {
			return nil, fmt.Errorf("reading the host's addresses: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(b[:n])
		if err != nil {
			return nil, fmt.Errorf("reading the host's addresses: %w", err)
		}
		for i := range messages {
			m := &messages[i]
			if m.Header.Seq != l.seq {
				continue // of a list that was not read to its end
			}
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return own, nil
			case unix.NLMSG_ERROR:
				return nil, errors.New("the host does not list its addresses")
			case unix.RTM_NEWADDR:
				if own, err = addAddresses(own, m); err != nil {
					return nil, err
				}
			}
		}
	}
}

// addAddresses adds those of one message.
func addAddresses(own []netip.Prefix, m *syscall.NetlinkMessage) ([]netip.Prefix, error) {
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
