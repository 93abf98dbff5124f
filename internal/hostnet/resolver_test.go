package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"coffer/internal/gateway"
)

// TestResolverServes: who is not the sandbox gets no answer, over either protocol.
func TestResolverServes(t *testing.T) {
	r := &resolver{sandbox: netip.MustParseAddr("10.209.3.7")}
	for from, want := range map[string]bool{
		"10.209.3.7:5000": true, "[::ffff:10.209.3.7]:5000": true, "10.209.3.8:5000": false,
		"127.0.0.1:5000": false, "[fd00::7]:5000": false, "": false,
	} {
		if got := r.serves(udpAddr(from)); got != want {
			t.Errorf("%q is answered: %v, want %v", from, got, want)
		}
	}
	names, err := gateway.NewNames(nil, func(string) ([]netip.Addr, bool) { return nil, true }, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.names, r.slots = names, make(chan struct{}, 1)
	if r.streams, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer r.streams.Close()
	go r.serveStreams()
	c, err := net.Dial("tcp4", r.streams.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came for a stranger, and no end", n)
	}
}

// TestResolverAddedHosts: names of --add-host are known to who asks by DNS, as in /etc/hosts.
func TestResolverAddedHosts(t *testing.T) {
	b := &bridgeAttachment{
		networks: &Networks{Dir: t.TempDir()}, network: &Network{Name: "lan"},
		options: &Options{Hosts: []Host{
			{"DB", netip.MustParseAddr("192.0.2.7")}, {"db", netip.MustParseAddr("2001:db8::7")}, {"web", netip.MustParseAddr("192.0.2.8")},
		}},
	}
	for name, want := range map[string]string{"db": "[192.0.2.7 2001:db8::7] true", "web": "[192.0.2.8] true", "other": "[] false"} {
		list, known := b.addresses(name)
		if got := fmt.Sprint(list, known); got != want {
			t.Errorf("%s has %s, want %s", name, got, want)
		}
	}
}

func udpAddr(s string) net.Addr {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return &net.UDPAddr{}
	}
	return net.UDPAddrFromAddrPort(a)
}
