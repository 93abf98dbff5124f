package tun

import (
	"bytes"
	"encoding/binary"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

var le = binary.LittleEndian

// sockaddrSize is the size of struct sockaddr.
const sockaddrSize = 16

// ifreq is struct ifreq of netdevice(7): a name, and what the request is about.
type ifreq [40]byte

func (r *ifreq) name() string {
	name, _, _ := bytes.Cut(r[:unix.IFNAMSIZ-1], []byte{0})
	return string(name)
}

func (r *ifreq) setName(name string) {
	clear(r[:unix.IFNAMSIZ])
	copy(r[:unix.IFNAMSIZ-1], name)
}

// value is the part after the name, flags that part of TUNSETIFF.
func (r *ifreq) value() []byte { return r[unix.IFNAMSIZ:] }
func (r *ifreq) flags() uint16 { return le.Uint16(r.value()) }

// Ioctl implements vfs.File. EBADFD without a device, EINVAL for what the device does not know.
func (f *File) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	switch cmd {
	case unix.TUNGETFEATURES:
		return 0, copyOut(c, arg, unix.IFF_TUN|unix.IFF_TAP|unix.IFF_NO_CARRIER|network.TunFeatures)
	case unix.TUNSETQUEUE:
		return 0, f.setQueue(c, arg)
	case unix.TUNSETIFF:
		return 0, f.setDevice(c, arg)
	}
	ns, l, err := f.queue.Device()
	if cmd == unix.TUNSETIFINDEX {
		return 0, f.setIndex(c, arg, err == nil)
	}
	if err != nil {
		return 0, err
	}
	switch cmd {
	case unix.TUNGETIFF:
		var r ifreq
		r.setName(l.Name)
		flags := l.Tun.Flags | unix.IFF_NOFILTER
		if !f.queue.Enabled() {
			flags |= unix.IFF_DETACH_QUEUE
		}
		le.PutUint16(r.value(), flags)
		_, err := c.CopyOut(arg, r[:])
		return 0, err
	case unix.TUNSETPERSIST:
		return 0, f.queue.SetPersistent(arg != 0)
	case unix.TUNSETOWNER:
		id := c.Credentials().UserNS.ToUID(uint32(arg))
		if id == auth.NoID {
			return 0, unix.EINVAL
		}
		return 0, f.queue.SetOwner(id)
	case unix.TUNSETGROUP:
		id := c.Credentials().UserNS.ToGID(uint32(arg))
		if id == auth.NoID {
			return 0, unix.EINVAL
		}
		return 0, f.queue.SetGroup(id)
	case unix.TUNSETLINK:
		return 0, setLink(l, arg)
	case unix.TUNSETOFFLOAD:
		if err := checkOffload(arg); err != nil {
			return 0, err
		}
		return 0, f.queue.SetOffload(uint32(arg))
	case unix.TUNSETNOCSUM, unix.TUNSETDEBUG:
		return 0, nil
	case unix.TUNSETCARRIER:
		on, err := copyIn(c, arg)
		if err == nil {
			err = f.queue.SetCarrier(on != 0)
		}
		return 0, err
	case unix.TUNGETSNDBUF, unix.TUNSETSNDBUF, unix.TUNGETVNETHDRSZ, unix.TUNSETVNETHDRSZ, unix.TUNGETVNETLE, unix.TUNSETVNETLE:
		return 0, f.number(c, cmd, arg)
	case unix.SIOCGIFHWADDR:
		var r ifreq
		if _, err := c.CopyIn(arg, r[:]); err != nil { // its name stays
			return 0, err
		}
		clear(r.value()[:sockaddrSize])
		le.PutUint16(r.value(), l.Type)
		copy(r.value()[2:], l.HardwareAddr[:])
		_, err := c.CopyOut(arg, r[:])
		return 0, err
	case unix.SIOCSIFHWADDR:
		var r ifreq
		if _, err := c.CopyIn(arg, r[:]); err != nil {
			return 0, err
		}
		if l.AddressLen() > 0 && le.Uint16(r.value()) != l.Type {
			return 0, unix.EINVAL
		}
		return 0, ns.SetHardwareAddr(l.Index, [6]byte(r.value()[2:]))
	}
	return 0, unix.EINVAL
}

func copyIn(c vfs.Caller, arg uint64) (int32, error) {
	var b [4]byte
	_, err := c.CopyIn(arg, b[:])
	return int32(le.Uint32(b[:])), err
}

func copyOut(c vfs.Caller, arg uint64, v int32) error {
	_, err := c.CopyOut(arg, le.AppendUint32(nil, uint32(v)))
	return err
}

// setDevice is TUNSETIFF.
func (f *File) setDevice(c vfs.Caller, arg uint64) error {
	var r ifreq
	if _, err := c.CopyIn(arg, r[:]); err != nil {
		return err
	}
	f.mu.Lock()
	index := f.index
	f.mu.Unlock()
	name, err := f.ns.OpenTun(&f.queue, network.TunOpening{
		Name: r.name(), Flags: r.flags(), Index: index, Credentials: c.Credentials(), Owner: f.owner,
	})
	if err != nil {
		return err
	}
	r.setName(name)
	_, err = c.CopyOut(arg, r[:])
	return err
}

// setQueue is TUNSETQUEUE.
func (f *File) setQueue(c vfs.Caller, arg uint64) error {
	var r ifreq
	if _, err := c.CopyIn(arg, r[:]); err != nil {
		return err
	}
	switch {
	case r.flags()&unix.IFF_ATTACH_QUEUE != 0:
		return f.queue.Enable(true)
	case r.flags()&unix.IFF_DETACH_QUEUE != 0:
		return f.queue.Enable(false)
	}
	return unix.EINVAL
}

// setIndex is TUNSETIFINDEX, which comes before TUNSETIFF.
func (f *File) setIndex(c vfs.Caller, arg uint64, opened bool) error {
	if opened {
		return unix.EPERM
	}
	index, err := copyIn(c, arg)
	if err != nil {
		return err
	}
	if index < 0 {
		return unix.EINVAL
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index = index
	return nil
}

// setLink is TUNSETLINK: a device keeps the type that it has.
func setLink(l network.LinkInfo, typ uint64) error {
	switch {
	case l.Flags&unix.IFF_UP != 0:
		return unix.EBUSY
	case int32(typ) != int32(l.Type):
		return unix.EINVAL
	}
	return nil
}

// TUN_F_* that x/sys/unix does not have.
const (
	offloadECN  = 0x8
	offloadUFO  = 0x10
	offloadUSO4 = 0x20
	offloadUSO6 = 0x40
)

// checkOffload is for TUNSETOFFLOAD, which says what who reads can be left to do. EINVAL for what Linux does not know, or what
// makes no sense without the others.
func checkOffload(offload uint64) error {
	if offload&unix.TUN_F_CSUM != 0 {
		offload &^= unix.TUN_F_CSUM | offloadUFO
		if offload&(unix.TUN_F_TSO4|unix.TUN_F_TSO6) != 0 {
			offload &^= unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | offloadECN
		}
		if offload&(offloadUSO4|offloadUSO6) == offloadUSO4|offloadUSO6 {
			offload &^= offloadUSO4 | offloadUSO6
		}
	}
	if offload != 0 {
		return unix.EINVAL
	}
	return nil
}

// number answers the requests whose argument points to an int.
func (f *File) number(c vfs.Caller, cmd uint32, arg uint64) error {
	switch cmd {
	case unix.TUNGETSNDBUF:
		f.mu.Lock()
		n := f.sendBuffer
		f.mu.Unlock()
		return copyOut(c, arg, n)
	case unix.TUNGETVNETHDRSZ:
		n, err := f.queue.VnetSize()
		if err != nil {
			return err
		}
		return copyOut(c, arg, int32(n))
	case unix.TUNGETVNETLE:
		on, err := f.queue.VnetLE()
		if err != nil {
			return err
		}
		return copyOut(c, arg, on)
	}
	n, err := copyIn(c, arg)
	switch {
	case err != nil:
		return err
	case cmd == unix.TUNSETVNETHDRSZ:
		return f.queue.SetVnetSize(int(n))
	case cmd == unix.TUNSETVNETLE:
		return f.queue.SetVnetLE(n != 0)
	case cmd == unix.TUNSETSNDBUF && n <= 0:
		return unix.EINVAL
	case cmd == unix.TUNSETSNDBUF:
		f.mu.Lock()
		f.sendBuffer = n
		f.mu.Unlock()
	}
	return nil
}
