package netdev

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// newNamespaces puts the test on a thread in a new network namespace, which
// plays the host, and returns another one, the container's.
func newNamespaces(t *testing.T) *os.File {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making network namespaces needs root")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	open := func() *os.File {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	container := open()
	open()
	return container
}

// addVeth makes a pair of devices on the host.
func addVeth(t *testing.T, name string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, 1400
	attrs.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, 7}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer" + name}); err != nil {
		t.Skipf("making veth devices: %v", err)
	}
}

// addAddress gives a device an address, as ip-address(8) names it.
func addAddress(t *testing.T, device, address string, change func(*netlink.Addr)) {
	t.Helper()
	link, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(addr)
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		t.Fatal(err)
	}
}

// describe shows a device in a namespace with its addresses.
func describe(t *testing.T, ns *os.File, name string) string {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	a := link.Attrs()
	s := fmt.Sprintf("mtu %d mac %v up %v", a.MTU, a.HardwareAddr, a.Flags&net.FlagUp != 0)
	addrs, err := h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range addrs {
		if addr.Scope != unix.RT_SCOPE_LINK {
			s += " " + strings.TrimSpace(addr.String())
		}
	}
	return s
}

func TestMove(t *testing.T) {
	container := newNamespaces(t)
	addVeth(t, "one")
	addVeth(t, "two")
	addVeth(t, "three")
	addAddress(t, "one", "10.1.2.3/24", nil)
	addAddress(t, "one", "10.1.2.4/24", nil) // a secondary one
	addAddress(t, "one", "10.9.0.1/32", func(a *netlink.Addr) { a.Peer = &net.IPNet{IP: net.IPv4(10, 9, 0, 2), Mask: net.CIDRMask(32, 32)} })
	addAddress(t, "one", "fd00::7/64", nil)
	addAddress(t, "one", "10.7.0.1/24", func(a *netlink.Addr) { a.ValidLft, a.PreferedLft = 3000, 3000 }) // not permanent
	addAddress(t, "one", "10.8.0.1/24", func(a *netlink.Addr) { a.Scope = unix.RT_SCOPE_LINK })           // not global
	if err := netlink.LinkSetUp(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "one"}}); err != nil {
		t.Fatal(err)
	}
	err := Move(map[string]specs.LinuxNetDevice{"one": {Name: "eth0"}, "two": {}, "three": {Name: "eth%d"}}, container)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"eth0": "mtu 1400 mac 02:00:00:00:00:07 up true 10.1.2.3/24 eth0 10.9.0.1/32 eth0 10.1.2.4/24 eth0 fd00::7/64",
		"two":  "mtu 1400 mac 02:00:00:00:00:07 up true",
		"eth1": "mtu 1400 mac 02:00:00:00:00:07 up true",
	} {
		if got := describe(t, container, name); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"one", "two", "three"} {
		if _, err := netlink.LinkByName(name); err == nil {
			t.Errorf("%s is on the host still", name)
		}
	}
}

func TestMoveErrors(t *testing.T) {
	container := newNamespaces(t)
	addVeth(t, "one")
	addVeth(t, "two")
	if err := Move(map[string]specs.LinuxNetDevice{"one": {Name: "taken"}}, container); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, newName, words string }{
		{"none", "", `linux.netDevices["none"]: finding it on the host`},
		{"lo", "lo1", "each network namespace has its own"},
		{"two", "taken", `linux.netDevices["two"]: the container's network namespace has a device taken already`},
		{"two", "a/b", "spaces, slashes"},
		{"two", "..", "names no device"},
		{"two", "longer-than-fifteen", "longer than 15 characters"},
		{"two", "a%dc%d", "only %d at its end"},
	} {
		err := Move(map[string]specs.LinuxNetDevice{row.name: {Name: row.newName}}, container)
		if err == nil || !strings.Contains(err.Error(), row.words) {
			t.Errorf("%s as %q: error %v, want one that says %q", row.name, row.newName, err, row.words)
		}
	}
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	err = Move(map[string]specs.LinuxNetDevice{"two": {}}, own)
	if err == nil || !strings.Contains(err.Error(), "shares the host's network namespace") {
		t.Errorf("moving it to where it is: error %v", err)
	}
	if _, err := netlink.LinkByName("two"); err != nil {
		t.Errorf("two is not on the host any more: %v", err)
	}
}
