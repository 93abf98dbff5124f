package network

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// NewLink describes a link to be made. What is 0 or empty is chosen.
type NewLink struct {
	Name         string
	Index        int32
	MTU          uint32
	HardwareAddr [6]byte
}

// devices are those of a namespace's links, apart from it: so that they can end once
// the namespace is garbage.
type devices struct {
	mu  sync.Mutex
	all map[device]struct{}
}

// maxDevices bounds the devices of all namespaces together, held counts them.
const maxDevices = 4096

var held atomic.Int64

func (d *devices) add(v device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all[v] = struct{}{}
	held.Add(1)
}

func (d *devices) remove(v device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.all[v]; ok {
		delete(d.all, v)
		held.Add(-1)
	}
}

// end ends all devices, and has the other ends of pairs go as well.
func (d *devices) end() {
	d.mu.Lock()
	all := d.all
	d.all = map[device]struct{}{}
	held.Add(-int64(len(all)))
	d.mu.Unlock()
	rtnl.Lock()
	for v := range all {
		if v, ok := v.(*veth); ok {
			if home, _ := v.peer.place(); home != nil {
				home.mu.Lock()
				home.forget(v.peer)
				home.mu.Unlock()
			}
		}
	}
	rtnl.Unlock()
	for v := range all {
		v.end()
	}
}

// AddBridge makes a bridge, AddDummy a link that loses all. They are down.
func (n *Namespace) AddBridge(o NewLink) (LinkInfo, error) {
	return n.make(o, kindBridge, newBridge(mtuOf(o)))
}

func (n *Namespace) AddDummy(o NewLink) (LinkInfo, error) {
	return n.make(o, kindDummy, newDummy(mtuOf(o)))
}

func mtuOf(o NewLink) uint32 {
	if o.MTU == 0 {
		return defaultMTU
	}
	return o.MTU
}

func (n *Namespace) make(o NewLink, kind string, d device) (LinkInfo, error) {
	if err := o.check(); err != nil {
		return LinkInfo{}, err
	}
	n.Stack()
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	l, err := n.place(o, kind, d)
	if err != nil {
		return LinkInfo{}, err
	}
	n.tellLink(l, false)
	return n.info(l), nil
}

// AddPair makes a pair of links: what is sent into one comes out at the other, which may be
// in another namespace.
func (n *Namespace) AddPair(o NewLink, peer *Namespace, p NewLink) (one, other LinkInfo, err error) {
	if err := o.check(); err != nil {
		return one, other, err
	}
	if err := p.check(); err != nil {
		return one, other, err
	}
	n.Stack()
	peer.Stack()
	a, b := newPair(mtuOf(o))
	b.SetMTU(mtuOf(p))
	rtnl.Lock()
	defer rtnl.Unlock()
	// The peer gets its number first, as in Linux.
	peer.mu.Lock()
	m, err := peer.place(p, kindVeth, b)
	if err == nil {
		peer.tellLink(m, false)
	}
	peer.mu.Unlock()
	if err != nil {
		return one, other, err
	}
	n.mu.Lock()
	l, err := n.place(o, kindVeth, a)
	if err == nil {
		n.tellLink(l, false)
		one = n.info(l)
	}
	n.mu.Unlock()
	peer.mu.Lock()
	defer peer.mu.Unlock()
	if err != nil {
		peer.removeLink(m)
		return one, other, err
	}
	return one, peer.info(m), nil
}

func (o *NewLink) check() error {
	switch {
	case o.Name != "" && !validName(o.Name):
		return refuse(unix.EINVAL, "%q is no name for an interface", o.Name)
	case o.MTU != 0 && (o.MTU < minMTU || o.MTU > maxMTU):
		return refuse(unix.EINVAL, "An MTU of %d bytes is out of range", o.MTU)
	case o.Index < 0:
		return unix.EINVAL
	case o.HardwareAddr[0]&1 != 0:
		return unix.EADDRNOTAVAIL
	}
	return nil
}

// place enters a device as a new link. n.mu is held, here and below.
func (n *Namespace) place(o NewLink, kind string, d device) (*link, error) {
	if o.HardwareAddr != [6]byte{} {
		d.SetLinkAddress(tcpip.LinkAddress(o.HardwareAddr[:]))
	}
	for i := 0; o.Name == ""; i++ {
		if name := fmt.Sprintf("%s%d", kind, i); n.names[name] == 0 {
			o.Name = name
		}
	}
	l := &link{name: o.Name, kind: kind, device: d, mtu: d.MTU(), queueLen: 1000}
	return l, n.insert(l, o.Index)
}

// hold has a device end with the namespace.
func (n *Namespace) hold(d device) {
	if n.devices == nil {
		n.devices = &devices{all: map[device]struct{}{}}
		runtime.AddCleanup(n, (*devices).end, n.devices)
	}
	n.devices.add(d)
}

// DeleteLink deletes a link, and a pair's other end with it. EOPNOTSUPP for lo and for
// what leads out.
func (n *Namespace) DeleteLink(index int32) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	l := n.links[index]
	switch {
	case l == nil:
		n.mu.Unlock()
		return unix.ENODEV
	case l.kind == "":
		n.mu.Unlock()
		return refuse(unix.EOPNOTSUPP, "%s cannot be deleted", l.name)
	}
	n.removeLink(l)
	n.mu.Unlock()
	if v, ok := l.device.(*veth); ok {
		if home, _ := v.peer.place(); home != nil {
			home.mu.Lock()
			home.forget(v.peer)
			home.mu.Unlock()
		}
	}
	l.device.end()
	return nil
}

// forget deletes the link of a device, if it is here.
func (n *Namespace) forget(d device) {
	_, index := d.base().place()
	if l := n.links[index]; l != nil && l.device == d {
		n.removeLink(l)
	}
}

// removeLink takes a link out of the namespace, with its addresses and routes. It does not
// end its device. rtnl is held.
func (n *Namespace) removeLink(l *link) {
	if l.up {
		n.setUp(l, false)
	}
	for _, o := range n.links {
		if o.master == l {
			l.device.(*bridge).remove(o.device)
			o.master = nil
			n.tellLink(o, false)
		}
	}
	if l.master != nil {
		l.master.device.(*bridge).remove(l.device)
		l.master = nil
	}
	for len(l.addresses) > 0 {
		n.deleteAddress(l, l.addresses[len(l.addresses)-1])
	}
	n.tellNetconf(l, true)
	n.tellLink(l, true)
	delete(n.links, l.index)
	delete(n.names, l.name)
	n.steer()
	l.device.base().settle(nil, 0)
	n.devices.remove(l.device)
	if n.stack != nil {
		n.gone.add(n.stack, l)
		n.stack.RemoveNIC(l.nic())
	}
}

// Move takes a link to another namespace, where it is down and without addresses. It keeps its
// name, or gets the one given, and its index, if that is free: the result is the index there.
// EINVAL for lo, EEXIST if the other has one of the name.
func (n *Namespace) Move(index int32, to *Namespace, name string) (int32, error) {
	to.Stack()
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	l := n.links[index]
	switch {
	case l == nil:
		n.mu.Unlock()
		return 0, unix.ENODEV
	case n == to:
		n.mu.Unlock()
		return index, nil
	case l.device == nil || l.kind == kindBridge:
		n.mu.Unlock()
		return 0, refuse(unix.EINVAL, "The interface netns is immutable")
	}
	if name == "" {
		name = l.name
	}
	// rtnl keeps what is found here true.
	n.mu.Unlock()
	to.mu.Lock()
	taken, full := to.names[name] != 0, len(to.links) >= maxLinks
	to.mu.Unlock()
	switch {
	case !validName(name):
		return 0, unix.EINVAL
	case taken:
		return 0, refuse(unix.EEXIST, "An interface with the same name exists in the target netns")
	case full:
		return 0, unix.ENOSPC
	}
	n.mu.Lock()
	n.removeLink(l)
	n.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	moved := &link{name: name, kind: l.kind, device: l.device, mtu: l.mtu, queueLen: l.queueLen, alias: l.alias, given: l.given}
	want := index
	if to.links[want] != nil {
		want = 0
	}
	if err := to.insert(moved, want); err != nil {
		return 0, err // rtnl is held since it was looked up
	}
	to.tellLink(moved, false)
	return moved.index, nil
}
