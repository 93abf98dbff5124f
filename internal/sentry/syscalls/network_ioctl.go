package syscalls

import (
	"bytes"
	"net/netip"
	"strings"
	"sync"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// ifreq is struct ifreq of netdevice(7): a name, and what the request is about.
type ifreq [40]byte

func (r *ifreq) name() string {
	name, _, _ := bytes.Cut(r[:unix.IFNAMSIZ-1], []byte{0})
	return string(name)
}

// value is the part after the name.
func (r *ifreq) value() []byte { return r[unix.IFNAMSIZ:] }

func (r *ifreq) setName(name string) {
	clear(r[:unix.IFNAMSIZ])
	copy(r[:unix.IFNAMSIZ-1], name)
}

func (r *ifreq) setNumber(v uint32) {
	clear(r.value())
	le.PutUint32(r.value(), v)
}

func (r *ifreq) number() uint32 { return le.Uint32(r.value()) }

// setAddress makes the value a struct sockaddr_in.
func (r *ifreq) setAddress(a netip.Addr) {
	clear(r.value())
	le.PutUint16(r.value(), unix.AF_INET)
	if a.Is4() {
		copy(r.value()[4:], a.AsSlice())
	}
}

// address reads a struct sockaddr_in. EINVAL for another family.
func (r *ifreq) address() (netip.Addr, error) {
	if le.Uint16(r.value()) != unix.AF_INET {
		return netip.Addr{}, unix.EINVAL
	}
	return netip.AddrFrom4([4]byte(r.value()[4:8])), nil
}

// networkIoctl answers the ioctls of netdevice(7), which sockets of all families take. ENOTTY
// for others. They go to the network that the task is in, also if the socket is another's.
func networkIoctl(t *kernel.Task, f vfs.File, cmd uint32, arg uint64) error {
	n := t.Network()
	switch cmd {
	case unix.SIOCGIFCONF:
		return listInterfaces(t, n, arg)
	case unix.SIOCADDRT, unix.SIOCDELRT:
		return changeRoute(t, n, cmd, arg)
	case unix.SIOCBRADDBR, unix.SIOCBRDELBR:
		return changeBridge(t, n, cmd, arg)
	case unix.SIOCETHTOOL:
		return ethtool(t, n, arg)
	}
	ask, change := interfaceAsks()[cmd], interfaceChanges()[cmd]
	if ask == nil && change == nil {
		return unix.ENOTTY
	}
	var r ifreq
	if _, err := t.CopyIn(arg, r[:]); err != nil {
		return err
	}
	if change != nil {
		if !t.Credentials().CanIn(t.NetworkOwner(), unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
		if family6(t, f) && (cmd == unix.SIOCSIFADDR || cmd == unix.SIOCDIFADDR) {
			return changeAddress6(n, cmd, &r)
		}
	}
	l, err := interfaceOf(n, cmd, &r)
	if err != nil {
		return err
	}
	if change != nil {
		return change(n, l, &r)
	}
	if err := ask(n, l, &r); err != nil {
		return err
	}
	_, err = t.CopyOut(arg, r[:])
	return err
}

// interfaceOf is the interface that a request names: by index for SIOCGIFNAME, and otherwise by
// name, without what follows a colon. ENODEV if there is none.
func interfaceOf(n *network.Namespace, cmd uint32, r *ifreq) (network.LinkInfo, error) {
	var l network.LinkInfo
	var ok bool
	if cmd == unix.SIOCGIFNAME {
		l, ok = n.LinkByIndex(int32(r.number()))
	} else {
		name, _, _ := strings.Cut(r.name(), ":")
		l, ok = n.LinkByName(name)
	}
	if !ok {
		return l, unix.ENODEV
	}
	return l, nil
}

func family6(t *kernel.Task, f vfs.File) bool {
	s, ok := f.(interface {
		Option(c vfs.Caller, level, name int32) ([]byte, error)
	})
	if !ok {
		return false
	}
	b, err := s.Option(t, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && len(b) >= 4 && le.Uint32(b) == unix.AF_INET6
}

// labelled returns the first IPv4 address of a link that goes by the request's name, which is
// the link's, or one with a colon. EADDRNOTAVAIL if there is none.
func labelled(n *network.Namespace, l network.LinkInfo, name string) (network.AddressInfo, error) {
	for _, a := range n.Addresses() {
		if a.Link == l.Index && a.Label == name {
			return a, nil
		}
	}
	return network.AddressInfo{}, unix.EADDRNOTAVAIL
}

// netmask is a prefix length as an address, and prefixLength the other way round: ok is false if
// it is no mask.
func netmask(bits int) netip.Addr {
	var b [4]byte
	be32 := ^uint32(0) << (32 - bits)
	if bits == 0 {
		be32 = 0
	}
	b[0], b[1], b[2], b[3] = byte(be32>>24), byte(be32>>16), byte(be32>>8), byte(be32)
	return netip.AddrFrom4(b)
}

func prefixLength(mask netip.Addr) (bits int, ok bool) {
	for bits = range 33 {
		if netmask(bits) == mask {
			return bits, true
		}
	}
	return 0, false
}

// interfaceAsks fill in a request.
var interfaceAsks = sync.OnceValue(func() map[uint32]func(*network.Namespace, network.LinkInfo, *ifreq) error {
	return map[uint32]func(*network.Namespace, network.LinkInfo, *ifreq) error{
		unix.SIOCGIFNAME:   func(_ *network.Namespace, l network.LinkInfo, r *ifreq) error { r.setName(l.Name); return nil },
		unix.SIOCGIFINDEX:  number(func(l network.LinkInfo) uint32 { return uint32(l.Index) }),
		unix.SIOCGIFMTU:    number(func(l network.LinkInfo) uint32 { return l.MTU }),
		unix.SIOCGIFMETRIC: number(func(network.LinkInfo) uint32 { return 0 }),
		unix.SIOCGIFTXQLEN: number(func(l network.LinkInfo) uint32 { return l.QueueLen }),
		unix.SIOCGIFMAP:    number(func(network.LinkInfo) uint32 { return 0 }),
		unix.SIOCGIFFLAGS: func(_ *network.Namespace, l network.LinkInfo, r *ifreq) error {
			clear(r.value())
			le.PutUint16(r.value(), uint16(l.Flags))
			return nil
		},
		unix.SIOCGIFHWADDR: func(_ *network.Namespace, l network.LinkInfo, r *ifreq) error {
			clear(r.value())
			le.PutUint16(r.value(), l.Type)
			copy(r.value()[2:], l.HardwareAddr[:])
			return nil
		},
		unix.SIOCGIFADDR:    asked(func(a network.AddressInfo) netip.Addr { return a.Prefix.Addr() }),
		unix.SIOCGIFNETMASK: asked(func(a network.AddressInfo) netip.Addr { return netmask(a.Prefix.Bits()) }),
		unix.SIOCGIFBRDADDR: asked(func(a network.AddressInfo) netip.Addr {
			if !a.Broadcast.IsValid() {
				return netip.IPv4Unspecified()
			}
			return a.Broadcast
		}),
		unix.SIOCGIFDSTADDR: asked(func(a network.AddressInfo) netip.Addr {
			if a.Peer.IsValid() {
				return a.Peer
			}
			return a.Prefix.Addr()
		}),
	}
})

func number(of func(network.LinkInfo) uint32) func(*network.Namespace, network.LinkInfo, *ifreq) error {
	return func(_ *network.Namespace, l network.LinkInfo, r *ifreq) error {
		r.setNumber(of(l))
		return nil
	}
}

func asked(of func(network.AddressInfo) netip.Addr) func(*network.Namespace, network.LinkInfo, *ifreq) error {
	return func(n *network.Namespace, l network.LinkInfo, r *ifreq) error {
		a, err := labelled(n, l, r.name())
		if err == nil {
			r.setAddress(of(a))
		}
		return err
	}
}

// listInterfaces is SIOCGIFCONF: the names and IPv4 addresses of all interfaces that have one, as far as
// there is room for them, or how much room they take if there is no buffer.
func listInterfaces(t *kernel.Task, n *network.Namespace, arg uint64) error {
	var conf [16]byte
	if _, err := t.CopyIn(arg, conf[:]); err != nil {
		return err
	}
	// Without a buffer the length says nothing: the JVM leaves it as it is.
	room, to := int32(le.Uint32(conf[:])), le.Uint64(conf[8:])
	var list []byte
	for _, a := range n.Addresses() {
		if !a.Prefix.Addr().Is4() || to != 0 && len(list)+len(ifreq{}) > int(room) {
			continue
		}
		var r ifreq
		r.setName(a.Label)
		r.setAddress(a.Prefix.Addr())
		list = append(list, r[:]...)
	}
	if to != 0 {
		if _, err := t.CopyOut(to, list); err != nil {
			return err
		}
	}
	return t.CopyOutUint32(arg, uint32(len(list)))
}
