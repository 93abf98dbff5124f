package network

import (
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

func TestSysctlsBeforeAndAfterTheStackStarts(t *testing.T) {
	for _, started := range []bool{false, true} {
		n := Loopback()
		if started {
			n.Stack()
		}
		for name, value := range map[string]string{
			"ipv4/ip_local_port_range": "20000 20010", "ipv4/tcp_rmem": "5000\t6000\t7000", "ipv4/tcp_congestion_control": "reno\n",
			"ipv4/conf/lo/forwarding": "1", "ipv4/ip_default_ttl": "33",
		} {
			if err := n.SetSysctl(name, value); err != nil {
				t.Errorf("%s = %q: %v", name, value, err)
			}
		}
		if first, last := n.Stack().PortRange(); first != 20000 || last != 20010 {
			t.Errorf("the stack's ports are %d to %d", first, last)
		}
		var buffers tcpip.TCPReceiveBufferSizeRangeOption
		n.Stack().TransportProtocolOption(tcp.ProtocolNumber, &buffers)
		if buffers.Min != 5000 || buffers.Default != 6000 || buffers.Max != 7000 {
			t.Errorf("the stack's buffers are %+v", buffers)
		}
		var name tcpip.CongestionControlOption
		n.Stack().TransportProtocolOption(tcp.ProtocolNumber, &name)
		if name != "reno" {
			t.Errorf("the stack's congestion control is %s", name)
		}
		if on, _ := n.Stack().NICForwarding(LoopbackIndex, header.IPv4ProtocolNumber); !on {
			t.Error("lo does not forward")
		}
		if got, err := n.Sysctl("ipv4/tcp_rmem"); got != "5000\t6000\t7000" || err != nil {
			t.Errorf("tcp_rmem is %q, %v", got, err)
		}
	}
}

func TestSysctlsRefuse(t *testing.T) {
	n := Loopback()
	for _, c := range []struct {
		name, value string
		want        error
	}{
		{"ipv4/ip_local_port_range", "2000 1000", unix.EINVAL},
		{"ipv4/ip_local_port_range", "500 1000", unix.EINVAL}, // below what is privileged
		{"ipv4/ip_local_port_range", "70000 80000", unix.EINVAL},
		{"ipv4/ip_unprivileged_port_start", "40000", unix.EINVAL},
		{"ipv4/ip_unprivileged_port_start", "0", nil},
		{"ipv4/ip_local_port_range", "500 1000", nil},
		{"ipv4/ip_local_port_range", "", unix.EINVAL},
		{"ipv4/ip_local_port_range", "1 2 3", unix.EINVAL},
		{"ipv4/ip_local_port_range", "600", nil}, // the rest stays
		{"core/somaxconn", "x", unix.EINVAL},
		{"core/somaxconn", "-1", unix.EINVAL},
		{"ipv4/tcp_rmem", "3 2 1", unix.EINVAL},
		{"ipv4/tcp_congestion_control", "bbr", unix.ENOENT},
		{"ipv4/tcp_available_congestion_control", "bbr", unix.EPERM},
		{"ipv4/ip_local_reserved_ports", "\n", nil},
		{"ipv4/ip_local_reserved_ports", "8080", unix.EINVAL},
		{"ipv4/tcp_timestamps", "1", nil},
		{"ipv4/tcp_timestamps", "0", unix.EINVAL},
		{"ipv4/conf/lo/rp_filter", "0", nil},
		{"ipv4/conf/all/rp_filter", "1", unix.EINVAL},
		{"ipv4/conf/eth7/rp_filter", "0", unix.ENOENT},
		{"ipv4/conf/lo/nothing", "0", unix.ENOENT},
		{"ipv4/nothing", "0", unix.ENOENT},
		{"", "", unix.ENOENT},
		{"ipv4/conf/lo", "", unix.ENOENT},
	} {
		if err := n.SetSysctl(c.name, c.value); err != c.want {
			t.Errorf("%s = %q: %v, want %v", c.name, c.value, err, c.want)
		}
	}
	if n.Started() {
		t.Error("settings have started the stack")
	}
	if err := n.SetSysctl(PingGroupRange, "10 5"); err != nil {
		t.Error(err)
	}
	if first, last := n.Range(PingGroupRange); first != 1 || last != 0 {
		t.Errorf("an empty range of groups is %d %d", first, last)
	}
}

func TestForwardingIsOneSettingWithThreeNames(t *testing.T) {
	n := Loopback()
	n.Stack()
	get := func(name string) string {
		v, err := n.Sysctl(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return v
	}
	if err := n.SetSysctl("ipv4/ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ipv4/conf/all/forwarding", "ipv4/conf/default/forwarding", "ipv4/conf/lo/forwarding"} {
		if get(name) != "1" {
			t.Errorf("%s is %s", name, get(name))
		}
	}
	if get("ipv6/conf/all/forwarding") != "0" {
		t.Error("IPv6 forwards too")
	}
	if _, err := n.AddDummy(NewLink{Name: "d"}); err != nil {
		t.Fatal(err)
	}
	if get("ipv4/conf/d/forwarding") != "1" {
		t.Error("a new interface does not forward")
	}
	if err := n.SetSysctl("ipv4/conf/all/forwarding", "0"); err != nil {
		t.Fatal(err)
	}
	if get("ipv4/ip_forward") != "0" {
		t.Error("ip_forward stays")
	}
}

func TestIPv6CanBeDisabled(t *testing.T) {
	n := Loopback()
	n.Stack()
	six := func() (count int) {
		for _, a := range n.Addresses() {
			if a.Prefix.Addr().Is6() {
				count++
			}
		}
		return count
	}
	if six() != 1 {
		t.Fatalf("lo starts with %d IPv6 addresses", six())
	}
	if err := n.SetSysctl("ipv6/conf/all/disable_ipv6", "1"); err != nil {
		t.Fatal(err)
	}
	if six() != 0 {
		t.Error("addresses stay")
	}
	if n.Stack().CheckLocalAddress(0, header.IPv6ProtocolNumber, header.IPv6Loopback) != 0 {
		t.Error("the stack has ::1")
	}
	n.AddDummy(NewLink{Name: "d"})
	d, _ := n.LinkByName("d")
	n.SetUp(d.Index, true)
	if six() != 0 {
		t.Error("a new interface has an IPv6 address")
	}
	if err := n.SetSysctl("ipv6/conf/lo/disable_ipv6", "0"); err != nil {
		t.Fatal(err)
	}
	if six() != 1 {
		t.Error("lo does not get ::1 back")
	}
}

// FuzzSysctl sets whatever it is told to: what is taken can be read back.
func FuzzSysctl(f *testing.F) {
	f.Add("ipv4/ip_local_port_range", "1024 65535")
	f.Add("ipv4/conf/lo/forwarding", "1")
	f.Add("ipv6/conf/all/disable_ipv6", "0x1")
	f.Fuzz(func(t *testing.T, name, value string) {
		n := Loopback()
		if n.SetSysctl(name, value) == nil {
			if _, err := n.Sysctl(name); err != nil {
				t.Errorf("%s cannot be read: %v", name, err)
			}
		}
	})
}
