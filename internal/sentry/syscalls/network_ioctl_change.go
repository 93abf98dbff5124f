package syscalls

import (
	"bytes"
	"net/netip"
	"sync"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// interfaceChanges change an interface as a request says.
var interfaceChanges = sync.OnceValue(func() map[uint32]func(*network.Namespace, network.LinkInfo, *ifreq) error {
	return map[uint32]func(*network.Namespace, network.LinkInfo, *ifreq) error{
		unix.SIOCSIFFLAGS: func(n *network.Namespace, l network.LinkInfo, r *ifreq) error {
			flags := uint32(le.Uint16(r.value()))
			if name := r.name(); name != l.Name {
				// Of a name with a colon the address is taken away, or nothing is done.
				a, err := labelled(n, l, name)
				if err != nil || flags&unix.IFF_UP != 0 {
					return err
				}
				return n.DeleteAddress(l.Index, a.Prefix)
			}
			return n.SetFlags(l.Index, flags, 0xffff)
		},
		unix.SIOCSIFMTU: func(n *network.Namespace, l network.LinkInfo, r *ifreq) error {
			return n.SetMTU(l.Index, r.number())
		},
		unix.SIOCSIFNAME: func(n *network.Namespace, l network.LinkInfo, r *ifreq) error {
			name, _, _ := bytes.Cut(r.value()[:unix.IFNAMSIZ-1], []byte{0})
			return n.Rename(l.Index, string(name))
		},
		unix.SIOCSIFTXQLEN: func(n *network.Namespace, l network.LinkInfo, r *ifreq) error {
			if int32(r.number()) < 0 {
				return unix.EINVAL
			}
			return n.SetQueueLen(l.Index, r.number())
		},
		unix.SIOCSIFMETRIC: func(_ *network.Namespace, _ network.LinkInfo, r *ifreq) error {
			if r.number() != 0 {
				return unix.EOPNOTSUPP
			}
			return nil
		},
		unix.SIOCSIFHWADDR: func(n *network.Namespace, l network.LinkInfo, r *ifreq) error {
			if le.Uint16(r.value()) != l.Type {
				return unix.EINVAL
			}
			return n.SetHardwareAddr(l.Index, [6]byte(r.value()[2:8]))
		},
		unix.SIOCSIFADDR:    setAddress4,
		unix.SIOCSIFNETMASK: setNetmask,
		unix.SIOCSIFBRDADDR: setBroadcast,
		// The IPv6 requests of that number have been taken out; IPv4 has none of it.
		unix.SIOCDIFADDR: func(*network.Namespace, network.LinkInfo, *ifreq) error { return unix.EINVAL },
		unix.SIOCBRADDIF: func(n *network.Namespace, l network.LinkInfo, r *ifreq) error { return setPort(n, l, r, l.Index) },
		unix.SIOCBRDELIF: func(n *network.Namespace, l network.LinkInfo, r *ifreq) error { return setPort(n, l, r, 0) },
	}
})

// setAddress4 is SIOCSIFADDR: the address of that name, in the network of its class; 0.0.0.0 takes it away.
func setAddress4(n *network.Namespace, l network.LinkInfo, r *ifreq) error {
	addr, err := r.address()
	if err != nil {
		return err
	}
	old, oldErr := labelled(n, l, r.name())
	if oldErr == nil {
		if old.Prefix.Addr() == addr {
			return nil
		}
		if err := n.DeleteAddress(l.Index, old.Prefix); err != nil {
			return err
		}
	}
	if addr.IsUnspecified() {
		return nil
	}
	p := netip.PrefixFrom(addr, classLength(addr))
	return n.AddAddress(network.AddressInfo{Link: l.Index, Prefix: p, Label: r.name(), Broadcast: network.BroadcastOf(p)})
}

// classLength is the length of an address's network by its class, as it was before there were masks.
func classLength(a netip.Addr) int {
	switch b := a.As4()[0]; {
	case b < 128:
		return 8
	case b < 192:
		return 16
	case b < 224:
		return 24
	}
	return 32
}

// setNetmask is SIOCSIFNETMASK.
func setNetmask(n *network.Namespace, l network.LinkInfo, r *ifreq) error {
	mask, err := r.address()
	if err != nil {
		return err
	}
	bits, ok := prefixLength(mask)
	if !ok {
		return unix.EINVAL
	}
	a, err := labelled(n, l, r.name())
	if err != nil || a.Prefix.Bits() == bits {
		return err
	}
	usual := a.Broadcast == network.BroadcastOf(a.Prefix)
	if err := n.DeleteAddress(l.Index, a.Prefix); err != nil {
		return err
	}
	a.Prefix = netip.PrefixFrom(a.Prefix.Addr(), bits)
	if usual {
		a.Broadcast = network.BroadcastOf(a.Prefix)
	}
	return n.AddAddress(a)
}

// setBroadcast is SIOCSIFBRDADDR.
func setBroadcast(n *network.Namespace, l network.LinkInfo, r *ifreq) error {
	to, err := r.address()
	if err != nil {
		return err
	}
	a, err := labelled(n, l, r.name())
	if err != nil {
		return err
	}
	a.Broadcast = to
	return n.ReplaceAddress(a)
}

// changeAddress6 is SIOCSIFADDR or SIOCDIFADDR of a socket of AF_INET6, with struct in6_ifreq: an
// address, the length of its prefix, and the interface's index.
func changeAddress6(n *network.Namespace, cmd uint32, r *ifreq) error {
	addr, bits, index := netip.AddrFrom16([16]byte(r[:16])), le.Uint32(r[16:]), int32(le.Uint32(r[20:]))
	if bits > 128 {
		return unix.EINVAL
	}
	p := netip.PrefixFrom(addr, int(bits))
	if cmd == unix.SIOCDIFADDR {
		return n.DeleteAddress(index, p)
	}
	return n.AddAddress(network.AddressInfo{Link: index, Prefix: p})
}

// changeRoute is SIOCADDRT and SIOCDELRT with struct rtentry: a destination with its mask, a gateway, a
// metric that is one too high, and an interface by name.
func changeRoute(t *kernel.Task, n *network.Namespace, cmd uint32, arg uint64) error {
	const sizeofRtentry, flagsAt, metricAt, nameAt, mtuAt = 120, 56, 80, 88, 96
	if !t.Credentials().CanIn(t.NetworkOwner(), unix.CAP_NET_ADMIN) {
		return unix.EPERM
	}
	var b [sizeofRtentry]byte
	if _, err := t.CopyIn(arg, b[:]); err != nil {
		return err
	}
	address := func(at int) netip.Addr { return netip.AddrFrom4([4]byte(b[at+4 : at+8])) }
	const dst, gateway, mask = 8, 24, 40
	flags := le.Uint16(b[flagsAt:])
	if le.Uint16(b[dst:]) != unix.AF_INET {
		return unix.EAFNOSUPPORT
	}
	bits := 32
	if flags&unix.RTF_HOST == 0 {
		var ok bool
		if bits, ok = prefixLength(address(mask)); !ok {
			return unix.EINVAL
		}
	}
	r := network.RouteInfo{
		Destination: netip.PrefixFrom(address(dst), bits), Protocol: unix.RTPROT_BOOT, Type: unix.RTN_UNICAST, Scope: unix.RT_SCOPE_LINK,
	}
	if m := le.Uint16(b[metricAt:]); m > 0 {
		r.Metric = uint32(m) - 1
	}
	if name := le.Uint64(b[nameAt:]); name != 0 {
		var raw [unix.IFNAMSIZ]byte
		if _, err := t.CopyIn(name, raw[:]); err != nil {
			return err
		}
		s, _, _ := bytes.Cut(raw[:unix.IFNAMSIZ-1], []byte{0})
		l, ok := n.LinkByName(string(s))
		if !ok {
			return unix.ENODEV
		}
		r.Link = l.Index
	}
	if flags&unix.RTF_GATEWAY != 0 {
		if le.Uint16(b[gateway:]) != unix.AF_INET {
			return unix.EINVAL
		}
		r.Gateway, r.Scope = address(gateway), unix.RT_SCOPE_UNIVERSE
	}
	if flags&unix.RTF_MTU != 0 {
		r.MTU = uint32(min(le.Uint64(b[mtuAt:]), 65535))
	}
	if cmd == unix.SIOCDELRT {
		r.Scope, r.Protocol = unix.RT_SCOPE_NOWHERE, 0
		return n.DeleteRoute(r)
	}
	return n.AddRoute(r, network.RouteCreate)
}

// changeBridge is SIOCBRADDBR and SIOCBRDELBR, whose argument is a name.
func changeBridge(t *kernel.Task, n *network.Namespace, cmd uint32, arg uint64) error {
	if !t.Credentials().CanIn(t.NetworkOwner(), unix.CAP_NET_ADMIN) {
		return unix.EPERM
	}
	var raw [unix.IFNAMSIZ]byte
	if _, err := t.CopyIn(arg, raw[:]); err != nil {
		return err
	}
	b, _, _ := bytes.Cut(raw[:unix.IFNAMSIZ-1], []byte{0})
	if cmd == unix.SIOCBRADDBR {
		_, err := n.AddBridge(network.NewLink{Name: string(b)})
		return err
	}
	l, ok := n.LinkByName(string(b))
	switch {
	case !ok:
		return unix.ENXIO
	case l.Kind != "bridge":
		return unix.EPERM
	case l.Flags&unix.IFF_UP != 0:
		return unix.EBUSY
	}
	return n.DeleteLink(l.Index)
}

// setPort is SIOCBRADDIF and SIOCBRDELIF: the interface whose index is the value becomes a port of
// a bridge, or none.
func setPort(n *network.Namespace, l network.LinkInfo, r *ifreq, master int32) error {
	if l.Kind != "bridge" {
		return unix.EOPNOTSUPP
	}
	p, ok := n.LinkByIndex(int32(r.number()))
	switch {
	case !ok:
		return unix.EINVAL
	case master != 0 && p.Master != 0:
		return unix.EBUSY
	case master == 0 && p.Master != l.Index:
		return unix.EINVAL
	}
	return n.SetMaster(p.Index, master)
}

// ethtool is SIOCETHTOOL: whether there is a link, and what drives it.
func ethtool(t *kernel.Task, n *network.Namespace, arg uint64) error {
	var r ifreq
	if _, err := t.CopyIn(arg, r[:]); err != nil {
		return err
	}
	l, err := interfaceOf(n, unix.SIOCETHTOOL, &r)
	if err != nil {
		return err
	}
	data := le.Uint64(r.value())
	cmd, err := t.CopyInUint32(data)
	if err != nil {
		return err
	}
	const getDriver, getLink, sizeofDriver = 0x3, 0xa, 196
	switch cmd {
	case getLink:
		up := uint32(0)
		if l.Flags&unix.IFF_RUNNING != 0 {
			up = 1
		}
		return t.CopyOutUint32(data+4, up)
	case getDriver:
		if l.Kind == "" {
			return unix.EOPNOTSUPP
		}
		var b [sizeofDriver]byte
		le.PutUint32(b[:], getDriver)
		copy(b[4:36], l.Kind)
		copy(b[36:68], "1.0")
		_, err := t.CopyOut(data, b[:])
		return err
	}
	return unix.EOPNOTSUPP
}
