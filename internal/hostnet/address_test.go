package hostnet

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// network is one for tests.
func testNetwork(subnet, gateway string) *Network {
	n := &Network{Name: "test", Driver: DriverBridge, Subnet: netip.MustParsePrefix(subnet)}
	if gateway != "" {
		n.Gateway = netip.MustParseAddr(gateway)
	}
	n.complete()
	return n
}

// TestChoose gives addresses away, takes some back, and gives all that there are.
func TestChoose(t *testing.T) {
	for _, c := range []struct{ gateway, all string }{
		{"", "192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6"},
		{"192.0.2.6", "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5"},
		{"192.0.2.3", "192.0.2.1 192.0.2.2 192.0.2.4 192.0.2.5 192.0.2.6"},
	} {
		n := testNetwork("192.0.2.0/29", c.gateway)
		s := new(state)
		add := func() (string, error) {
			r := &record{Network: n.Name}
			err := s.choose(n, r)
			if err == nil {
				s.live = append(s.live, r)
			}
			return r.address(true).String(), err
		}
		var got []string
		for range 5 {
			a, err := add()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, a)
		}
		if all := strings.Join(got, " "); all != c.all {
			t.Errorf("gateway %q: %s, want %s", c.gateway, all, c.all)
		}
		if _, err := add(); err == nil || !strings.Contains(err.Error(), "are in use") {
			t.Errorf("a sixth address: %v", err)
		}
		// One in the middle is free again; other networks do not matter.
		s.live[1].Network = "other"
		if a, err := add(); err != nil || a != got[1] {
			t.Errorf("%s was given, %v, and %s was free", a, err, got[1])
		}
		seen := map[netip.Addr]bool{n.Gateway6: true}
		for _, r := range s.live {
			if r.Network != n.Name {
				continue
			}
			a := r.address(false)
			if seen[a] || !n.Subnet6.Contains(a) {
				t.Errorf("the IPv6 address %s is another's, or none of %s", a, n.Subnet6)
			}
			seen[a] = true
		}
	}
}

func TestSubnet(t *testing.T) {
	for p, want := range map[string]string{"192.0.2.0/24": "192.0.2.255", "10.0.0.0/8": "10.255.255.255", "192.0.2.8/29": "192.0.2.15", "fd00::/64": "fd00::ffff:ffff:ffff:ffff"} {
		if got := last(netip.MustParsePrefix(p)); got.String() != want {
			t.Errorf("the last address of %s is %s, want %s", p, got, want)
		}
	}
	taken := []used{{netip.MustParsePrefix("10.0.0.0/16"), "a"}, {netip.MustParsePrefix("10.1.0.0/24"), "b"}}
	for p, want := range map[string]string{"10.0.3.0/24": "10.0.0.0/16, which is a", "10.0.0.0/8": "10.0.0.0/16, which is a", "10.1.0.0/30": "10.1.0.0/24, which is b", "10.1.1.0/24": ""} {
		if got := overlap(netip.MustParsePrefix(p), taken); got != want {
			t.Errorf("%s overlaps %q, want %q", p, got, want)
		}
	}
}

func TestResolvConf(t *testing.T) {
	servers, search := parseResolvConf(strings.NewReader("# x\nnameserver 192.0.2.1\nnameserver bad\noptions edns0\nsearch a b\n" +
		"nameserver fe80::1%eth0\nnameserver\nnameserver 192.0.2.2\nnameserver 192.0.2.3\ndomain c\n"))
	if got := string(resolvConf(servers, search)); got != "nameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 192.0.2.2\nsearch c\n" {
		t.Errorf("resolv.conf became %q", got)
	}
}

func TestWhole(t *testing.T) {
	asked := 0
	got, err := whole(func() (int, error) {
		if asked++; asked < 3 {
			return 0, fmt.Errorf("asking: %w", netlink.ErrDumpInterrupted)
		}
		return 7, nil
	})
	if got != 7 || err != nil {
		t.Errorf("a list that changes twice is %d, %v", got, err)
	}
}
