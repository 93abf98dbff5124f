package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"coffer/internal/gateway"
	"coffer/internal/link"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tapName is what the interface is called in the sandbox.
const tapName = "eth0"

// vnetSize is the size of the virtio-net header before each frame (struct virtio_net_hdr
// of linux/virtio_net.h).
const vnetSize = 10

// frameMax is the largest frame with a virtio-net header before it: an IP packet of 64
// KiB, whose segmentation is left to the other side, and its Ethernet header.
const frameMax = 64<<10 + 64

// tap has a gateway take the frames of a TAP device in a network namespace of a process.
func (a *Attachment) tap(o *Options) error {
	// These are for who passes the frames.
	plain := *o
	plain.Rate, plain.Capture = 0, ""
	g, err := a.gateway(&plain, nil)
	if err != nil {
		return err
	}
	a.Network, a.Files = nil, nil
	var capture *link.Capture
	if o.Capture != "" {
		f, err := openCapture(o.Capture)
		if err != nil {
			return err
		}
		capture = link.NewCapture(f, tapName, func(s string) { fmt.Fprintln(os.Stderr, "coffer: "+s) })
		a.onClose(func() error {
			capture.Close()
			return nil
		})
	}
	a.Furnish = func(pid int) error {
		t, err := newTAP(pid, g, o.Rate, capture)
		if err == nil {
			a.onClose(t.close)
		}
		return err
	}
	return nil
}

// tap is a TAP device whose frames are passed on as they are.
type tap struct {
	namespace *os.File
	device    *os.File // the namespace is there as long as it is open
	link      *os.File // the gateway's
	index     int      // the interface's
	rate      uint64   // of each direction, in bytes a second; 0 is no limit
	capture   *link.Capture
	closing   chan struct{} // closed when no rate counts any more
	passing   sync.WaitGroup
}

func newTAP(pid int, g *gateway.Gateway, rate uint64, capture *link.Capture) (*tap, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("opening the sandbox's network namespace: %w", err)
	}
	t := &tap{namespace: ns, link: g.Link, rate: rate, capture: capture, closing: make(chan struct{})}
	err = within(ns, func() (err error) {
		t.device, t.index, err = openTAP(g.IPv6)
		return err
	})
	if err != nil {
		ns.Close()
		return nil, err
	}
	t.passing.Go(func() { t.pass(t.device, t.link) })
	t.passing.Go(func() { t.pass(t.link, t.device) })
	return t, nil
}

// pass passes frames on until one side has ended. Then so has the network: to close
// a TAP device removes it. What is too fast waits in the device, or at the gateway.
func (t *tap) pass(from, to *os.File) {
	defer from.Close()
	defer to.Close()
	b, pace := make([]byte, frameMax), link.Pace{Rate: t.rate}
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		frame := b[min(vnetSize, n):n]
		t.capture.Frame(frame)
		// A frame that the device does not take is lost, as frames are.
		if _, err := to.Write(b[:n]); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		pace.Wait(len(frame), t.closing)
	}
}

// close removes the device, once what the sandbox's programs have sent before they ended
// has been passed on. network.Namespace.Close does the same behind the kernel wall.
func (t *tap) close() error {
	until := time.Now().Add(gateway.LastBytes)
	err := within(t.namespace, func() error {
		for t.sending() && time.Now().Before(until) {
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	close(t.closing)
	// What is being passed on still arrives, if the gateway takes it.
	t.link.SetDeadline(until)
	t.device.SetReadDeadline(time.Now())
	t.passing.Wait()
	return errors.Join(err, t.namespace.Close())
}

// sending reports whether something is still to be sent, though who has sent it may have
// ended: data of a TCP connection that is closed and whose peer has not confirmed all, a
// packet whose neighbour is being asked for, a frame in the device. The thread is in the
// namespace.
func (t *tap) sending() bool {
	waiting, err := readable(t.device)
	if waiting || err != nil {
		return waiting
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		connections, _ := netlink.SocketDiagTCP(family)
		for _, c := range connections {
			switch c.State {
			case netlink.TCP_FIN_WAIT1, netlink.TCP_CLOSING, netlink.TCP_LAST_ACK:
				return true
			}
		}
	}
	neighbours, _ := netlink.NeighList(t.index, netlink.FAMILY_ALL)
	for _, n := range neighbours {
		if n.State&netlink.NUD_INCOMPLETE != 0 {
			return true
		}
	}
	// One of these may have become a frame meanwhile.
	waiting, _ = readable(t.device)
	return waiting
}

// readable reports whether a file has something to be read. The error says that it is closed.
func readable(f *os.File) (is bool, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	err = raw.Control(func(fd uintptr) {
		set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(set, 0)
		is = n > 0 && set[0].Revents&unix.POLLIN != 0
	})
	return is, err
}

// openTAP makes the TAP device in the thread's network namespace, with addresses and
// routes. The number is the interface's index.
func openTAP(ipv6 bool) (*os.File, int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, 0, fmt.Errorf("%w: the host has no TAP devices (modprobe tun)", err)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	index, err := configureTAP(fd, ipv6)
	if err != nil {
		unix.Close(fd)
		return nil, 0, err
	}
	return os.NewFile(uintptr(fd), "TAP device"), index, nil
}

func configureTAP(fd int, ipv6 bool) (index int, err error) {
	request, err := unix.NewIfreq(tapName)
	if err != nil {
		return 0, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return 0, fmt.Errorf("making the TAP device %s: %w", tapName, err)
	}
	// Large segments and checksums are the gateway's.
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6); err != nil {
		return 0, fmt.Errorf("having the TAP device leave segmentation to the gateway: %w", err)
	}
	hardware, err := net.ParseMAC(gateway.GuestHardware)
	if err != nil {
		return 0, err
	}
	l, err := netlink.LinkByName(tapName)
	if err != nil {
		return 0, fmt.Errorf("looking at the TAP device %s: %w", tapName, err)
	}
	// Before the link is up: else the kernel gives itself another address by IPv6.
	if err := netlink.LinkSetHardwareAddr(l, hardware); err != nil {
		return 0, fmt.Errorf("setting the address of %s: %w", tapName, err)
	}
	if err := netlink.LinkSetMTU(l, gateway.MTU); err != nil {
		return 0, fmt.Errorf("setting the MTU of %s: %w", tapName, err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return 0, fmt.Errorf("taking %s up: %w", tapName, err)
	}
	for _, p := range []netip.Prefix{gateway.Guest4, gateway.Guest6} {
		address := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(l, address); err != nil && !(p.Addr().Is6() && withoutIPv6(err)) {
			return 0, fmt.Errorf("giving %s the address %s: %w", tapName, p, err)
		}
	}
	routers := []netip.Addr{gateway.Router4}
	if ipv6 {
		routers = append(routers, gateway.Router6)
	}
	for _, r := range routers {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: r.AsSlice()}); err != nil && !(r.Is6() && withoutIPv6(err)) {
			return 0, fmt.Errorf("adding the default route by %s: %w", r, err)
		}
	}
	return l.Attrs().Index, nil
}

// withoutIPv6 reports whether an error says that the host's kernel has no IPv6, or is
// told to have none.
func withoutIPv6(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
}
