package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// listen opens the sockets of published ports, in the thread's network namespace.
// To the kernel they are those of whoever has called Start: the helper could not
// open ports below 1024.
func (g *Gateway) listen() error {
	for _, p := range g.config.Publish {
		f, err := p.listen()
		if err != nil {
			return err
		}
		g.description.Listeners = append(g.description.Listeners, listener{FD: g.give(f), UDP: p.Protocol == "udp", Port: p.Port})
	}
	return nil
}

// listen opens the host's side. All addresses are those of both families where the
// host has IPv6.
func (p Publish) listen() (*os.File, error) {
	a := p.Address
	if !a.IsValid() {
		a = netip.IPv6Unspecified()
	}
	f, err := p.open(a)
	if errors.Is(err, unix.EAFNOSUPPORT) && a == netip.IPv6Unspecified() {
		f, err = p.open(netip.IPv4Unspecified())
	}
	if err == nil {
		return f, nil
	}
	at := netip.AddrPortFrom(a, p.HostPort)
	advice := ""
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		advice = ": something listens there already; end it, or publish another port"
	case errors.Is(err, unix.EACCES):
		advice = ": ports below 1024 take root (or the sysctl net.ipv4.ip_unprivileged_port_start); publish a higher one"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		advice = ": this host has no such address; publish at one that it has, or leave the address out"
	}
	return nil, fmt.Errorf("publishing port %d at the host's %s/%s: %w%s", p.Port, at, p.Protocol, err, advice)
}

func (p Publish) open(a netip.Addr) (*os.File, error) {
	kind := unix.SOCK_STREAM
	if p.Protocol == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := open(a, kind, 0)
	if err != nil {
		return nil, err
	}
	set := func(level, option, value int) {
		if err == nil {
			err = unix.SetsockoptInt(fd, level, option, value)
		}
	}
	if p.Protocol == "udp" {
		// Which of the host's addresses a datagram was sent to, so that the answer
		// comes from there.
		set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		if a.Is6() {
			set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	} else {
		set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if a.Is6() {
		only := 1
		if a.IsUnspecified() {
			only = 0
		}
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(a, p.HostPort)))
	}
	if err == nil && p.Protocol != "udp" {
		err = unix.Listen(fd, 4096)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "listener"), nil
}
