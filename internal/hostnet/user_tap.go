package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"coffer/internal/gateway"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tapName is what the interface is called in the sandbox.
const tapName = "eth0"

// frameMax is the largest frame with a virtio-net header before it: an IP packet of 64
// KiB, whose segmentation is left to the other side, and its Ethernet header.
const frameMax = 64<<10 + 64

// tap has a gateway take the frames of a TAP device in a network namespace of a process.
// They are passed on as they are, unread.
func (a *Attachment) tap(g *gateway.Gateway) {
	a.Furnish = func(pid int) error {
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			return fmt.Errorf("opening the sandbox's network namespace: %w", err)
		}
		defer ns.Close()
		var device *os.File
		err = within(ns, func() (err error) {
			device, err = openTAP(g.IPv6)
			return err
		})
		if err != nil {
			return err
		}
		a.onClose(func() error {
			if err := device.Close(); !errors.Is(err, os.ErrClosed) {
				return err
			}
			return nil // the gateway has ended before
		})
		go passFrames(device, g.Link)
		go passFrames(g.Link, device)
		return nil
	}
}

// passFrames passes frames on until one side has ended. Then so has the network: to close
// a TAP device removes it.
func passFrames(from, to *os.File) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, frameMax)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		// A frame that the device does not take is lost, as frames are.
		if _, err := to.Write(b[:n]); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOBUFS) {
			return
		}
	}
}

// openTAP makes the TAP device in the thread's network namespace, with addresses and
// routes.
func openTAP(ipv6 bool) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("%w: the host has no TAP devices (modprobe tun)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	if err := configureTAP(fd, ipv6); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "TAP device"), nil
}

func configureTAP(fd int, ipv6 bool) error {
	request, err := unix.NewIfreq(tapName)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("making the TAP device %s: %w", tapName, err)
	}
	// Large segments and checksums are the gateway's.
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6); err != nil {
		return fmt.Errorf("having the TAP device leave segmentation to the gateway: %w", err)
	}
	hardware, err := net.ParseMAC(gateway.GuestHardware)
	if err != nil {
		return err
	}
	l, err := netlink.LinkByName(tapName)
	if err != nil {
		return fmt.Errorf("looking at the TAP device %s: %w", tapName, err)
	}
	// Before the link is up: else the kernel gives itself another address by IPv6.
	if err := netlink.LinkSetHardwareAddr(l, hardware); err != nil {
		return fmt.Errorf("setting the address of %s: %w", tapName, err)
	}
	if err := netlink.LinkSetMTU(l, gateway.MTU); err != nil {
		return fmt.Errorf("setting the MTU of %s: %w", tapName, err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("taking %s up: %w", tapName, err)
	}
	for _, p := range []netip.Prefix{gateway.Guest4, gateway.Guest6} {
		address := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(l, address); err != nil && !(p.Addr().Is6() && withoutIPv6(err)) {
			return fmt.Errorf("giving %s the address %s: %w", tapName, p, err)
		}
	}
	routers := []netip.Addr{gateway.Router4}
	if ipv6 {
		routers = append(routers, gateway.Router6)
	}
	for _, r := range routers {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: r.AsSlice()}); err != nil && !(r.Is6() && withoutIPv6(err)) {
			return fmt.Errorf("adding the default route by %s: %w", r, err)
		}
	}
	return nil
}

// withoutIPv6 reports whether an error says that the host's kernel has no IPv6, or is
// told to have none.
func withoutIPv6(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
}
