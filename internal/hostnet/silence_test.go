package hostnet

import (
	"os"
	"slices"
	"testing"

	"coffer/internal/sentry/network"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestSilenceRenamed renames an interface while it is up: rules of nftables that name it
// would let go of it (Linux 6.16 and later).
func TestSilenceRenamed(t *testing.T) {
	inside, outside := twoNamespaces(t)
	taken, err := TakeOver(inside, "c1", false)
	if err != nil {
		t.Fatal(err)
	}
	taken.Close()
	if err := taken.Told(); err != nil {
		t.Fatal(err)
	}
	withLink(t, inside, "eth0", func(eth0 netlink.Link) error {
		return netlink.LinkSetName(eth0, "other")
	})
	if answers(t, outside, "10.9.0.2") {
		t.Error("renamed at once, the host's kernel answers")
	}
	if taken, err = TakeOver(inside, "c1", true); err != nil {
		t.Fatal(err)
	}
	taken.Close()
	if answers(t, outside, "10.9.0.2") || answers(t, outside, "fd09::2") {
		t.Error("renamed, the host's kernel answers")
	}
}

// TestSilenceCarrier has an interface carry a bridge's frames: these must get to it.
func TestSilenceCarrier(t *testing.T) {
	inside, outside := twoNamespaces(t)
	err := within(inside, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "br0"
		bridge := &netlink.Bridge{LinkAttrs: attrs}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(eth0, bridge); err != nil {
			return err
		}
		if err := withAddress(bridge, "10.10.0.2/24"); err != nil {
			return err
		}
		return netlink.LinkSetUp(bridge)
	})
	if err != nil {
		t.Fatal(err)
	}
	withLink(t, outside, "peer", func(peer netlink.Link) error {
		return withAddress(peer, "10.10.0.1/24")
	})
	taken, err := TakeOver(inside, "c1", false)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	place := slices.IndexFunc(taken.Network.Interfaces, func(i network.Interface) bool { return i.Name == "br0" })
	if place < 0 {
		t.Fatalf("there are %+v", taken.Network.Interfaces)
	}
	for _, a := range []string{"10.9.0.2", "fd09::2", "10.10.0.2"} {
		if answers(t, outside, a) {
			t.Errorf("the host's kernel answers at %s", a)
		}
	}
	// What it asked for came to the packet socket.
	f := taken.Files[taken.Network.Interfaces[place].FD]
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}, 0); n != 1 {
		t.Errorf("nothing came to the bridge: %v", err)
	}
}

// TestReleaseWithoutRules gives back what was not taken over altogether, as on a host
// whose nftables have no rules for devices.
func TestReleaseWithoutRules(t *testing.T) {
	inside, outside := twoNamespaces(t)
	alias := func() (s string) {
		withLink(t, inside, "eth0", func(eth0 netlink.Link) error {
			s = eth0.Attrs().Alias
			return nil
		})
		return s
	}
	withLink(t, inside, "eth0", func(eth0 netlink.Link) error {
		return netlink.LinkSetAlias(eth0, aliasPrefix+"c1")
	})
	if err := Release(inside, "c1"); err != nil {
		t.Fatal(err)
	}
	if s := alias(); s != "" {
		t.Errorf("it is still %q", s)
	}
	if !answers(t, outside, "10.9.0.2") {
		t.Error("the host's kernel does not answer")
	}
}

// TestSilenceNames has the host's kernel hear answers for names, and nothing else.
func TestSilenceNames(t *testing.T) {
	inside, outside := twoNamespaces(t)
	if err := within(inside, func() error { return silence([]string{"eth0"}, nil, true) }); err != nil {
		t.Fatal(err)
	}
	bound := func(ns *os.File, address [4]byte, port int) (fd int) {
		t.Helper()
		err := within(ns, func() (err error) {
			if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			t.Cleanup(func() { unix.Close(fd) })
			return unix.Bind(fd, &unix.SockaddrInet4{Addr: address, Port: port})
		})
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	send := func(fd int, what string, to unix.Sockaddr) {
		t.Helper()
		if err := unix.Sendto(fd, []byte(what), 0, to); err != nil {
			t.Fatal(err)
		}
	}
	receive := func(fd int) (string, unix.Sockaddr) {
		t.Helper()
		// It is long only if it fails.
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 120_000); n != 1 {
			t.Fatalf("nothing comes: %v", err)
		}
		b := make([]byte, 16)
		n, from, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n]), from
	}
	local, peer := [4]byte{10, 9, 0, 2}, [4]byte{10, 9, 0, 1}
	asks, server, other := bound(inside, local, 0), bound(outside, peer, 53), bound(outside, peer, 54)
	send(asks, "question", &unix.SockaddrInet4{Addr: peer, Port: 53})
	_, from := receive(server)
	// Where nobody listens the kernel would say so, if it had heard it.
	if err := unix.Connect(server, &unix.SockaddrInet4{Addr: local, Port: 9}); err != nil {
		t.Fatal(err)
	}
	send(server, "to nobody", nil)
	if err := unix.Connect(server, from); err != nil {
		t.Fatal(err)
	}
	send(other, "no answer", from)
	send(server, "answer", nil)
	if what, _ := receive(asks); what != "answer" {
		t.Errorf("there came %q", what)
	}
	if answers(t, outside, "10.9.0.2") || answers(t, outside, "fd09::2") {
		t.Error("the host's kernel answers others as well")
	}
	if errno, err := unix.GetsockoptInt(server, unix.SOL_SOCKET, unix.SO_ERROR); errno != 0 || err != nil {
		t.Errorf("it complained: %v, %v", unix.Errno(errno), err)
	}
}
