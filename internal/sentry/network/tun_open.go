package network

import (
	"fmt"
	"slices"
	"strings"

	"coffer/internal/sentry/auth"

	"golang.org/x/sys/unix"
)

// TunOpening is what TUNSETIFF asks for: a device that there is, or a new one.
type TunOpening struct {
	// Name is the device's. A new one may have %d in it, for the first number that is free, or none.
	Name string
	// Flags are IFF_TUN or IFF_TAP, TunFeatures, IFF_TUN_EXCL and IFF_NO_CARRIER.
	Flags uint16
	// Index is what a new device is to have, or 0.
	Index int32
	// Credentials are who asks, Owner has the namespace.
	Credentials *auth.Credentials
	Owner       *auth.UserNamespace
}

// OpenTun gives a queue, which has none, a device, and returns its name. EBUSY for a device that others have,
// EINVAL for a name of something else, EPERM for who may not, E2BIG for too many queues.
func (n *Namespace) OpenTun(q *TunQueue, o TunOpening) (string, error) {
	n.Stack()
	rtnl.Lock()
	defer rtnl.Unlock()
	if q.of() != nil {
		return "", unix.EEXIST
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var t *tun
	l := n.named(o.Name)
	if l != nil {
		var err error
		if t, err = o.opens(l); err != nil {
			return "", err
		}
	} else {
		if !o.Credentials.CanIn(o.Owner, unix.CAP_NET_ADMIN) {
			return "", unix.EPERM
		}
		var err error
		if l, err = n.addTun(o); err != nil {
			return "", err
		}
		t = l.device.(*tun)
	}
	t.mu.Lock()
	t.queues = append(t.queues, q)
	if len(t.queues)+len(t.disabled) == 1 {
		t.info.Flags = t.info.Flags&^TunFeatures | o.Flags&TunFeatures
	}
	t.mu.Unlock()
	q.mu.Lock()
	q.device = t
	q.mu.Unlock()
	t.setCarrier(o.Flags&unix.IFF_NO_CARRIER == 0)
	n.tellLink(l, false)
	if l.up {
		n.addOwnAddresses(l)
	}
	n.portTold(l)
	return l.name, nil
}

// opens returns the device of a link that there is, if it can be opened.
func (o *TunOpening) opens(l *link) (*tun, error) {
	if o.Flags&unix.IFF_TUN_EXCL != 0 {
		return nil, unix.EBUSY
	}
	t, ok := l.device.(*tun)
	if !ok || t.tap && o.Flags&unix.IFF_TAP == 0 || !t.tap && o.Flags&unix.IFF_TUN == 0 {
		return nil, unix.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := &t.info
	c := o.Credentials
	others := i.Owner != auth.NoID && c.EUID != i.Owner || i.Group != auth.NoID && c.EGID != i.Group && !slices.Contains(c.Groups, i.Group)
	switch {
	case (o.Flags^i.Flags)&unix.IFF_MULTI_QUEUE != 0:
		return nil, unix.EINVAL
	case others && !c.CanIn(o.Owner, unix.CAP_NET_ADMIN):
		return nil, unix.EPERM
	case i.Flags&unix.IFF_MULTI_QUEUE == 0 && len(t.queues) > 0:
		return nil, unix.EBUSY
	case len(t.queues)+len(t.disabled) >= maxTunQueues:
		return nil, unix.E2BIG
	}
	return t, nil
}

// addTun makes a link with a new device. n.mu is held, here and below.
func (n *Namespace) addTun(o TunOpening) (*link, error) {
	tap := false
	name := "tun%d"
	switch {
	case o.Flags&unix.IFF_TUN != 0:
	case o.Flags&unix.IFF_TAP != 0:
		tap, name = true, "tap%d"
	default:
		return nil, unix.EINVAL
	}
	if o.Name != "" {
		name = o.Name
	}
	name, err := n.pick(name)
	if err != nil {
		return nil, err
	}
	t := newTun(tap)
	l, err := n.place(NewLink{Name: name, Index: o.Index}, kindTun, t)
	if err == nil {
		l.queueLen = uint32(t.queueLen)
	}
	return l, err
}

// pick returns a name, or the first of a template such as "tun%d" that is free. EINVAL for what is no name.
func (n *Namespace) pick(name string) (string, error) {
	before, after, template := strings.Cut(name, "%d")
	if !validName(name) || strings.Contains(before+after, "%") {
		return "", unix.EINVAL
	}
	if !template {
		return name, nil
	}
	for i := 0; ; i++ {
		name = fmt.Sprintf("%s%d%s", before, i, after)
		if !validName(name) {
			return "", unix.EINVAL
		}
		if n.names[name] == 0 {
			return name, nil
		}
	}
}

// setCarrier notes whether somebody is at a device's other end, and returns whether that is new.
func (t *tun) setCarrier(on bool) bool {
	changed := t.noCarrier.Swap(!on) == on
	if changed {
		t.toggled.Store(true)
	}
	return changed
}

// Close gives the device up. With its last queue it goes, unless it is to stay (IFF_PERSIST).
func (q *TunQueue) Close() {
	rtnl.Lock()
	defer rtnl.Unlock()
	t := q.of()
	if t == nil {
		return
	}
	t.mu.Lock()
	t.queues, t.disabled = without(t.queues, q), without(t.disabled, q)
	last, stays := len(t.queues)+len(t.disabled) == 0, t.info.Flags&unix.IFF_PERSIST != 0
	t.mu.Unlock()
	q.leave()
	home, _ := t.place()
	switch {
	case !last || home == nil:
	case stays:
		t.setCarrier(false)
		home.carrierTold(t)
	default:
		home.mu.Lock()
		defer home.mu.Unlock()
		home.forget(t)
	}
}

func without(list []*TunQueue, q *TunQueue) []*TunQueue {
	return slices.DeleteFunc(list, func(o *TunQueue) bool { return o == q })
}

// Device is the queue's device, with the namespace that it is in. EBADFD without one.
func (q *TunQueue) Device() (*Namespace, LinkInfo, error) {
	if t := q.of(); t != nil {
		if home, index := t.place(); home != nil {
			if l, ok := home.LinkByIndex(index); ok {
				return home, l, nil
			}
		}
	}
	return nil, LinkInfo{}, unix.EBADFD
}

// Enabled reports whether the queue takes part in its device (TUNSETQUEUE).
func (q *TunQueue) Enabled() bool {
	t := q.of()
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Contains(t.queues, q)
}

// Enable has a queue of a device with IFF_MULTI_QUEUE take part, or not: then it gets no frames. EINVAL
// if it does so already, or for other devices.
func (q *TunQueue) Enable(on bool) error {
	err := q.change(func(t *tun) error {
		from, to := &t.queues, &t.disabled
		if on {
			from, to = to, from
		}
		if t.info.Flags&unix.IFF_MULTI_QUEUE == 0 || !slices.Contains(*from, q) {
			return unix.EINVAL
		}
		*from, *to = without(*from, q), append(*to, q)
		q.mu.Lock()
		q.empty()
		q.mu.Unlock()
		return nil
	})
	if err == unix.EBADFD {
		return unix.EINVAL
	}
	return err
}

// SetPersistent has the device stay when nobody has it open.
func (q *TunQueue) SetPersistent(on bool) error {
	return q.change(func(t *tun) error {
		if t.info.Flags &^= unix.IFF_PERSIST; on {
			t.info.Flags |= unix.IFF_PERSIST
		}
		return nil
	})
}

// SetOwner and SetGroup say who may open it.
func (q *TunQueue) SetOwner(uid uint32) error {
	return q.change(func(t *tun) error { t.info.Owner = uid; return nil })
}

func (q *TunQueue) SetGroup(gid uint32) error {
	return q.change(func(t *tun) error { t.info.Group = gid; return nil })
}

// SetCarrier says whether the device has a carrier. EPERM if no queue takes part.
func (q *TunQueue) SetCarrier(on bool) error {
	t := q.of()
	if t == nil {
		return unix.EBADFD
	}
	t.mu.Lock()
	none := len(t.queues) == 0
	t.mu.Unlock()
	if on && none {
		return unix.EPERM
	}
	if home, _ := t.place(); t.setCarrier(on) && home != nil {
		home.carrierChanged(t)
	}
	return nil
}

// SetOffload says what who reads can be left to do with frames (TUN_F_*), behind a virtio-net header.
func (q *TunQueue) SetOffload(offload uint32) error {
	return q.change(func(t *tun) error { t.offload = offload; return nil })
}

// VnetSize is the length of the virtio-net header, SetVnetSize sets it: EINVAL below that of
// struct virtio_net_hdr, or above what could be of use.
func (q *TunQueue) VnetSize() (int, error) {
	t := q.of()
	if t == nil {
		return 0, unix.EBADFD
	}
	_, n := t.framing()
	return n, nil
}

func (q *TunQueue) SetVnetSize(n int) error {
	return q.change(func(t *tun) error {
		if n < vnetHeaderSize || n > maxVnetSize {
			return unix.EINVAL
		}
		t.vnetSize = n
		return nil
	})
}

// VnetLE and SetVnetLE are about TUNSETVNETLE, which is only remembered: the machine's own order is the same.
func (q *TunQueue) VnetLE() (int32, error) {
	t := q.of()
	if t == nil {
		return 0, unix.EBADFD
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.vnetLE {
		return 1, nil
	}
	return 0, nil
}

func (q *TunQueue) SetVnetLE(on bool) error {
	return q.change(func(t *tun) error { t.vnetLE = on; return nil })
}

// change has f change the device, and tells of it. EBADFD without one.
func (q *TunQueue) change(f func(*tun) error) error {
	t := q.of()
	if t == nil {
		return unix.EBADFD
	}
	home, index := t.place()
	if home == nil {
		return unix.EBADFD
	}
	return home.change(index, func(l *link) error {
		if l.device != t || q.of() != t {
			return unix.EBADFD
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		return f(t)
	})
}
