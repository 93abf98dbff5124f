package network

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// change has f change a link, and tells of it. ENODEV without the link.
func (n *Namespace) change(index int32, f func(*link) error) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[index]
	if l == nil {
		return unix.ENODEV
	}
	before := n.info(l)
	before.Statistics = Statistics{}
	if err := f(l); err != nil {
		return err
	}
	after := n.info(l)
	if after.Statistics = (Statistics{}); after != before {
		n.tellLink(l, false)
	}
	return nil
}

// SetUp takes an interface up or down (IFF_UP).
func (n *Namespace) SetUp(index int32, up bool) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	l := n.links[index]
	if l == nil {
		n.mu.Unlock()
		return unix.ENODEV
	}
	if l.up == up {
		n.mu.Unlock()
		return nil
	}
	n.setUp(l, up)
	n.portTold(l)
	d := l.device
	n.mu.Unlock()
	tellCarrier(d)
	return nil
}

// setUp changes a link's state with all that follows from it. rtnl and n.mu are held.
func (n *Namespace) setUp(l *link, up bool) {
	l.up = up
	if l.device != nil {
		l.device.base().up.Store(up)
	}
	if t, ok := l.device.(*tun); ok {
		t.changedUp()
	}
	if !up {
		// As in Linux, only those of IPv6 are told of.
		n.dropRoutes(func(r *RouteInfo) bool { return n.over(r, l.index) && r.Destination.Addr().Is4() })
		n.deleteRoutes(func(r *RouteInfo) bool { return n.over(r, l.index) })
		n.steer()
		for _, a := range slices.Clone(l.addresses) {
			if a.Prefix.Addr().Is6() {
				n.deleteAddress(l, a)
			}
		}
		l.neighbours = nil
		if n.stack != nil {
			n.stack.RemoveRoutes(func(r tcpip.Route) bool { return r.NIC == l.nic() })
			n.stack.DisableNIC(l.nic())
			n.changes.Add(1)
		}
		n.tellLink(l, false)
		return
	}
	if n.stack != nil {
		n.stack.EnableNIC(l.nic())
		n.changes.Add(1)
	}
	if n.steer(); n.Steered() {
		n.mirrorRoutes()
	}
	n.tellLink(l, false)
	for _, a := range l.addresses {
		n.connect(l, a)
	}
	n.addOwnAddresses(l)
}

// addOwnAddresses gives a link the addresses that it gets of itself when it comes up, as
// far as it does not have them.
func (n *Namespace) addOwnAddresses(l *link) {
	switch {
	case l.device == nil:
		for _, p := range []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")} {
			if p.Addr().Is6() || len(l.addresses) == 0 {
				n.addAddress(l, AddressInfo{Prefix: p, Scope: unix.RT_SCOPE_HOST})
			}
		}
	case !l.given && l.master == nil && carries(l.device):
		n.addLinkLocal(l)
	}
}

// addLinkLocal gives a link the IPv6 address that it gets of itself.
func (n *Namespace) addLinkLocal(l *link) {
	a := AddressInfo{Protocol: protoKernelLL}
	if t, ok := l.device.(*tun); ok && !t.tap {
		a.Prefix, a.Flags = netip.PrefixFrom(t.ownAddress(), 64), unix.IFA_F_STABLE_PRIVACY
	} else {
		a.Prefix = netip.PrefixFrom(linkLocal(string(l.device.LinkAddress())), 64)
	}
	n.addAddress(l, a)
}

// protoKernelLL is IFAPROT_KERNEL_LL of linux/if_addr.h.
const protoKernelLL = 3

// tellCarrier tells those that a change of d's state concerns: the namespace of a veth's other end.
// rtnl is held, and no Namespace.mu.
func tellCarrier(d device) {
	if v, ok := d.(*veth); ok {
		if home, _ := v.peer.place(); home != nil {
			home.carrierTold(v.peer)
		}
	}
}

// carrierChanged notes that what is at a device's other end has come or gone.
func (n *Namespace) carrierChanged(d device) {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.carrierTold(d)
}

func (n *Namespace) carrierTold(d device) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, index := d.base().place()
	l := n.links[index]
	if l == nil || l.device != d {
		return
	}
	if mtu := d.MTU(); mtu != l.mtu {
		l.mtu = mtu
	} else if !l.up {
		return
	}
	n.tellLink(l, false)
	if l.up {
		n.addOwnAddresses(l)
	}
	n.portTold(l)
}

// portTold notes that a link that may be a port of a bridge changed: that has a carrier while any
// port has. n.mu is held.
func (n *Namespace) portTold(l *link) {
	if m := l.master; m != nil && m.up {
		n.tellLink(m, false)
		n.addOwnAddresses(m)
	}
}

// settable are the flags that can be set by hand, beside IFF_UP.
const settable = unix.IFF_PROMISC | unix.IFF_ALLMULTI | unix.IFF_NOARP

// SetFlags sets the flags that mask has to those of flags (SIOCSIFFLAGS). What cannot be
// set is ignored, as in Linux.
func (n *Namespace) SetFlags(index int32, flags, mask uint32) error {
	err := n.change(index, func(l *link) error {
		l.flags = l.flags&^(mask&settable) | flags&mask&settable
		n.applyPromiscuous(l)
		return nil
	})
	if err == nil && mask&unix.IFF_UP != 0 {
		err = n.SetUp(index, flags&unix.IFF_UP != 0)
	}
	return err
}

// Promiscuous has a link take the frames of others, or undoes that once: packet(7)'s
// PACKET_MR_PROMISC, which counts.
func (n *Namespace) Promiscuous(index int32, on bool) error {
	return n.change(index, func(l *link) error {
		if on {
			l.promisc++
		} else if l.promisc > 0 {
			l.promisc--
		}
		n.applyPromiscuous(l)
		return nil
	})
}

func (n *Namespace) applyPromiscuous(l *link) {
	if l.device != nil {
		l.device.base().promiscuous.Store(l.promisc > 0 || l.flags&unix.IFF_PROMISC != 0)
	}
}

// SetMTU sets the longest packet in bytes. EINVAL for what is out of range.
func (n *Namespace) SetMTU(index int32, mtu uint32) error {
	return n.change(index, func(l *link) error {
		limit := uint32(maxMTU)
		if l.device == nil {
			limit = 1<<31 - 1
		}
		switch {
		case mtu < minMTU && l.device != nil:
			return refuse(unix.EINVAL, "mtu less than device minimum")
		case mtu > limit:
			return refuse(unix.EINVAL, "mtu greater than device maximum")
		}
		l.mtu = mtu
		if l.device != nil {
			l.device.SetMTU(mtu)
		}
		if n.stack != nil {
			n.stack.SetNICMTU(l.nic(), mtu)
			n.changes.Add(1)
		}
		if n.steer(); n.Steered() {
			n.mirrorRoutes()
		}
		return nil
	})
}

// Rename gives a link another name. EEXIST if there is one of that name, EINVAL for what is
// no name.
func (n *Namespace) Rename(index int32, name string) error {
	return n.change(index, func(l *link) error {
		switch {
		case l.name == name:
			return nil
		case !validName(name):
			return unix.EINVAL
		case n.names[name] != 0:
			return unix.EEXIST
		}
		for _, a := range l.addresses {
			if a.Label != "" {
				a.Label = name + a.Label[min(len(l.name), len(a.Label)):]
				if len(a.Label) >= unix.IFNAMSIZ {
					a.Label = name
				}
			}
		}
		delete(n.names, l.name)
		l.name, n.names[name] = name, l.index
		n.steer()
		if n.stack != nil {
			n.stack.SetNICName(l.nic(), name)
		}
		return nil
	})
}

// SetHardwareAddr sets a link's Ethernet address. EADDRNOTAVAIL for one of a group, EOPNOTSUPP for
// lo and for links that lead out.
func (n *Namespace) SetHardwareAddr(index int32, a [6]byte) error {
	return n.change(index, func(l *link) error {
		switch {
		case l.device == nil || l.given || l.device.ARPHardwareType() == header.ARPHardwareNone:
			return refuse(unix.EOPNOTSUPP, "The hardware address of %s cannot be changed", l.name)
		case a[0]&1 != 0 || a == [6]byte{}:
			return unix.EADDRNOTAVAIL
		}
		l.device.SetLinkAddress(tcpip.LinkAddress(a[:]))
		return nil
	})
}

// SetAlias, SetQueueLen and SetGroup set what is only shown, but for a queue's length: of a TUN or TAP device it counts.
func (n *Namespace) SetAlias(index int32, alias string) error {
	return n.change(index, func(l *link) error { l.alias = alias; return nil })
}

func (n *Namespace) SetQueueLen(index int32, length uint32) error {
	return n.change(index, func(l *link) error {
		l.queueLen = length
		if t, ok := l.device.(*tun); ok {
			t.setQueueLen(length)
		}
		return nil
	})
}

func (n *Namespace) SetGroup(index int32, group uint32) error {
	return n.change(index, func(l *link) error { l.group = group; return nil })
}

// SetMaster makes a link a port of the bridge of that index; 0 makes it none. EINVAL for what is no
// bridge, ELOOP for a bridge as port.
func (n *Namespace) SetMaster(index, master int32) error {
	return n.change(index, func(l *link) error {
		m := n.links[master]
		if l.master == m {
			return nil
		}
		if master != 0 {
			if m == nil {
				return unix.ENODEV
			}
			if m.kind != kindBridge {
				return refuse(unix.EOPNOTSUPP, "Device does not allow enslaving to it")
			}
			switch {
			case l.kind == kindBridge:
				return refuse(unix.ELOOP, "Can not enslave a bridge to a bridge")
			case l.kind == "":
				return refuse(unix.EINVAL, "%s cannot be a port of a bridge: only links that were made here can", l.name)
			case l.device.ARPHardwareType() != header.ARPHardwareEther:
				return refuse(unix.EINVAL, "%s carries no Ethernet frames", l.name)
			}
		}
		if l.master != nil {
			l.master.device.(*bridge).remove(l.device)
			l.master = nil
		}
		if m != nil {
			l.master = m
			m.device.(*bridge).add(l.device)
			n.portTold(l)
		}
		return nil
	})
}
