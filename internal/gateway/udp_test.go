package gateway

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// echoDatagrams answers each datagram with itself.
func echoDatagrams(t *testing.T, at string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, datagramMax)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(b[:n], from)
		}
	}()
	return c.LocalAddr().String()
}

func TestDatagrams(t *testing.T) {
	_, g := serve(t, nil)
	for _, address := range []string{outside4, outside6} {
		c := g.datagrams(echoDatagrams(t, net.JoinHostPort(address, "0")))
		b := make([]byte, datagramMax)
		for _, size := range []int{0, 1, 100, 1472, 1473, 9000, 60000} {
			data := noise(size)
			if _, err := c.Write(data); err != nil {
				t.Fatalf("%s, %d bytes: %v", address, size, err)
			}
			if n, err := c.Read(b); err != nil || !bytes.Equal(b[:n], data) {
				t.Errorf("%s: %d bytes of %d come back, %v", address, n, size, err)
			}
		}
	}
}

// datagramError sends a datagram and waits for an error about it.
func (g *guest) datagramError(to string) tcpip.Error {
	g.Helper()
	a := netip.MustParseAddrPort(to)
	queue := new(waiter.Queue)
	ep, err := g.stack.NewEndpoint(udp.ProtocolNumber, protocolOf(a.Addr()), queue)
	if err != nil {
		g.Fatal(err)
	}
	defer ep.Close()
	entry, notified := waiter.NewChannelEntry(waiter.EventErr)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	if err := ep.Connect(tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(a.Addr().AsSlice()), Port: a.Port()}); err != nil {
		g.Fatal(err)
	}
	if _, err := ep.Write(bytes.NewReader([]byte("x")), tcpip.WriteOptions{}); err != nil {
		return err
	}
	select {
	case <-notified:
		return ep.LastError()
	case <-time.After(patience):
		return nil
	}
}

// TestDatagramRefused sends to where nobody listens, or nobody may.
func TestDatagramRefused(t *testing.T) {
	gw, g := serve(t, nil)
	for _, to := range []string{outside4 + ":1", "[" + outside6 + "]:1", "10.0.2.2:1", "10.0.2.3:54", "198.51.100.1:1"} {
		if err := g.datagramError(to); err == nil || !strings.Contains(err.String(), "refused") && !strings.Contains(err.String(), "route") && !strings.Contains(err.String(), "unreachable") {
			t.Errorf("%s: %v", to, err)
		}
	}
	// A flow whose first datagram was refused works once somebody listens.
	l, err := net.ListenPacket("udp", outside4+":0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.LocalAddr().String()
	l.Close()
	refusals := g.stack.Stats().ICMP.V4.PacketsReceived.DstUnreachable
	before := refusals.Value()
	c := g.datagrams(at)
	c.Write([]byte("x"))
	eventually(t, "the outside has refused it", func() bool { return refusals.Value() > before })
	if l, err = net.ListenPacket("udp", at); err != nil {
		t.Skip("the port has been taken meanwhile:", err)
	}
	defer l.Close()
	if _, err := c.Write([]byte("y")); err != nil { // x's error
		c.Write([]byte("y"))
	}
	l.SetDeadline(time.Now().Add(patience))
	b := make([]byte, 10)
	if n, _, err := l.ReadFrom(b); err != nil || string(b[:n]) != "y" {
		t.Errorf("%q, %v", b[:n], err)
	}
	gw.datagrams.mu.Lock()
	n := len(gw.datagrams.flows)
	gw.datagrams.mu.Unlock()
	if n == 0 || n > gw.limits.datagrams {
		t.Errorf("%d flows", n)
	}
}

// TestDatagramFlood opens more flows than there may be: old ones make room.
func TestDatagramFlood(t *testing.T) {
	gw, g := serve(t, nil)
	gw.datagrams.max = 50
	at := echoDatagrams(t, outside4+":0")
	b := make([]byte, 10)
	for range 200 {
		c := g.datagrams(at)
		c.Write([]byte("x"))
		if n, err := c.Read(b); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		c.Close()
	}
	gw.datagrams.mu.Lock()
	defer gw.datagrams.mu.Unlock()
	if n := len(gw.datagrams.flows); n != 50 {
		t.Errorf("%d flows", n)
	}
}
