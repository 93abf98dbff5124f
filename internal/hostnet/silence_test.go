package hostnet

import (
	"errors"
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
	err = within(inside, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetName(eth0, "other")
	})
	if err != nil {
		t.Fatal(err)
	}
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

// TestSilenceCarrier has an interface carry a VLAN's frames: these must get to it.
func TestSilenceCarrier(t *testing.T) {
	inside, outside := twoNamespaces(t)
	for _, side := range []struct {
		ns            *os.File
		name, address string
	}{{inside, "eth0", "10.10.0.2/24"}, {outside, "peer", "10.10.0.1/24"}} {
		err := within(side.ns, func() error {
			parent, err := netlink.LinkByName(side.name)
			if err != nil {
				return err
			}
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.ParentIndex = "vlan5", parent.Attrs().Index
			vlan := &netlink.Vlan{LinkAttrs: attrs, VlanId: 5}
			if err := netlink.LinkAdd(vlan); err != nil {
				return err
			}
			if err := withAddress(vlan, side.address); err != nil {
				return err
			}
			return netlink.LinkSetUp(vlan)
		})
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Skip("the host has no VLANs")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	taken, err := TakeOver(inside, "c1", false)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	place := slices.IndexFunc(taken.Network.Interfaces, func(i network.Interface) bool { return i.Name == "vlan5" })
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
		t.Errorf("nothing came to the VLAN: %v", err)
	}
}

// TestReleaseWithoutRules gives back what was not taken over altogether, as on a host
// whose nftables have no rules for devices.
func TestReleaseWithoutRules(t *testing.T) {
	inside, outside := twoNamespaces(t)
	alias := func() (s string) {
		err := within(inside, func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err == nil {
				s = eth0.Attrs().Alias
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	err := within(inside, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetAlias(eth0, aliasPrefix+"c1")
	})
	if err != nil {
		t.Fatal(err)
	}
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
