package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// start starts a gateway whose helper is this test binary, with a guest.
func start(t *testing.T, c Config) (*Gateway, *guest) {
	t.Helper()
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0); errno == unix.ENOTSUP {
		t.Skip("built with cgo, as for the race detector, the helper cannot give up its privileges")
	}
	if c.Log == nil {
		c.Log = os.Stderr
	}
	gw, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gw.Close() })
	return gw, newGuest(t, gw.Link)
}

// helper returns the helper's process, once it serves.
func (g *Gateway) helper(t *testing.T) *os.Process {
	t.Helper()
	select {
	case <-g.launched:
	case <-time.After(patience):
		t.Fatal("the helper does not serve")
	}
	return g.cmd.Process
}

func (g *Gateway) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-g.ended:
	case <-time.After(patience):
		t.Fatal("the helper does not end")
	}
}

func TestHelper(t *testing.T) {
	gw, g := start(t, Config{})
	if gw.cmd != nil {
		t.Error("the helper runs before anything is sent")
	}
	at := listen(t, outside4+":0", func(c *net.TCPConn) {
		io.Copy(c, c)
		c.Close()
	})
	c := g.mustDial(at)
	data := noise(1 << 20)
	go func() {
		c.Write(data)
		c.CloseWrite()
	}()
	if b, err := io.ReadAll(c); err != nil || !bytes.Equal(b, data) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	t.Run("walls", func(t *testing.T) {
		// What is open to root of a user namespace of its own is not to be seen
		// from without; the status is.
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", gw.helper(t).Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("its status has no %q", want)
			}
		}
		if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/root", gw.cmd.Process.Pid)); err != nil || len(files) != 0 {
			t.Errorf("its root has %v, %v", files, err)
		}
	})
	g.link.Close()
	if err := gw.Close(); err != nil {
		t.Error(err)
	}
	gw.awaitEnd(t)
}

// TestFirstAndLastFrame has a sandbox send one datagram, which starts the helper, and end.
func TestFirstAndLastFrame(t *testing.T) {
	gw, g := start(t, Config{})
	outer, err := net.ListenPacket("udp", outside4+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	to := outer.LocalAddr().(*net.UDPAddr).AddrPort()
	if e := g.stack.AddStaticNeighbor(1, header.IPv4ProtocolNumber, tcpip.AddrFromSlice(Router4.AsSlice()), routerAddress); e != nil {
		t.Fatal(e)
	}
	c, err := gonet.DialUDP(g.stack, nil, &tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(to.Addr().AsSlice()), Port: to.Port()}, header.IPv4ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	g.link.Close()
	gw.Close()
	outer.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 10)
	if n, _, err := outer.ReadFrom(b); err != nil || string(b[:n]) != "last" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// TestUnused has a sandbox that sends nothing: there is no helper.
func TestUnused(t *testing.T) {
	gw, g := start(t, Config{})
	g.link.Close()
	gw.Close()
	if gw.cmd != nil {
		t.Error("a helper was started")
	}
}

// TestHelperKilled has the sandbox learn that its network is gone.
func TestHelperKilled(t *testing.T) {
	said, log, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	defer log.Close()
	gw, g := start(t, Config{Log: log})
	at := listen(t, outside4+":0", func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	g.mustDial(at)
	gw.helper(t).Kill()
	gw.awaitEnd(t)
	eventually(t, "the link is down", func() bool { return !g.link.Running() })
	said.SetReadDeadline(time.Now().Add(patience))
	if line, err := bufio.NewReader(said).ReadString('\n'); !strings.HasSuffix(line, "its gateway has ended: signal: killed\n") {
		t.Errorf("it says %q, %v", line, err)
	}
}

// TestSandboxKilled has the helper end with the sandbox, and what was open outside.
func TestSandboxKilled(t *testing.T) {
	gw, g := start(t, Config{})
	end := make(chan error, 1)
	at := listen(t, outside4+":0", func(c *net.TCPConn) {
		_, err := io.Copy(io.Discard, c)
		end <- err
	})
	g.mustDial(at)
	gw.helper(t)
	g.link.Close()
	gw.awaitEnd(t)
	select {
	case <-end:
	case <-time.After(patience):
		t.Error("the connection stays open")
	}
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return addr(l.Addr().String()).Port()
}

func TestPublish(t *testing.T) {
	const inside = 7000
	all, one, datagrams := freePort(t), freePort(t), freePort(t)
	gw, g := start(t, Config{Publish: []Publish{
		{Protocol: "tcp", HostPort: all, Port: inside},
		{Protocol: "tcp", Address: netip.MustParseAddr("127.0.0.1"), HostPort: one, Port: inside},
		{Protocol: "udp", HostPort: datagrams, Port: inside},
	}})
	gw.helper(t)
	for _, p := range []netip.Prefix{Guest4, Guest6} {
		at := tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(p.Addr().AsSlice()), Port: inside}
		l, err := gonet.ListenTCP(g.stack, at, protocolOf(p.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					b, _ := io.ReadAll(c)
					fmt.Fprintf(c, "%s from %s", b, c.RemoteAddr().(*net.TCPAddr).IP)
					c.Close()
				}()
			}
		}()
		u, err := gonet.DialUDP(g.stack, &at, nil, protocolOf(p.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			b := make([]byte, 100)
			for {
				n, from, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				u.WriteTo(fmt.Appendf(nil, "%s from %s", b[:n], from.(*net.UDPAddr).IP), from)
			}
		}()
	}
	for _, c := range []struct {
		network, from, to string
		port              uint16
		want              string
	}{
		{"tcp", "127.0.0.1", "127.0.0.1", all, "hello from 10.0.2.2"},
		{"tcp", "127.0.0.1", "127.0.0.1", one, "hello from 10.0.2.2"},
		{"tcp", other4, outside4, all, "hello from " + other4},
		{"tcp", outside6, outside6, all, "hello from " + outside6},
		{"udp", "127.0.0.1", "127.0.0.1", datagrams, "hello from 10.0.2.2"},
		{"udp", other4, outside4, datagrams, "hello from " + other4},
		{"udp", outside6, outside6, datagrams, "hello from " + outside6},
	} {
		t.Run(fmt.Sprintf("%s to %s", c.network, netip.AddrPortFrom(netip.MustParseAddr(c.to), c.port)), func(t *testing.T) {
			d := net.Dialer{Timeout: patience}
			if c.network == "udp" {
				d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(c.from)}
			} else {
				d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(c.from)}
			}
			conn, err := d.Dial(c.network, netip.AddrPortFrom(netip.MustParseAddr(c.to), c.port).String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			conn.Write([]byte("hello"))
			b := make([]byte, 100)
			n := 0
			if tc, ok := conn.(*net.TCPConn); ok {
				tc.CloseWrite()
				n, err = io.ReadFull(conn, b)
				if err == io.ErrUnexpectedEOF {
					err = nil
				}
			} else {
				n, err = conn.Read(b)
			}
			if err != nil || string(b[:n]) != c.want {
				t.Errorf("%q, %v", b[:n], err)
			}
		})
	}
}

func TestPublishRefused(t *testing.T) {
	l, err := net.Listen("tcp", outside4+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := addr(l.Addr().String())
	for _, c := range []struct {
		p    Publish
		want string
	}{
		{Publish{Protocol: "tcp", Address: at.Addr(), HostPort: at.Port(), Port: 80}, "something listens there already"},
		{Publish{Protocol: "udp", Address: netip.MustParseAddr("203.0.113.9"), HostPort: 5000, Port: 80}, "no such address"},
	} {
		g, err := Start(Config{Publish: []Publish{c.p}})
		if err == nil {
			g.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), fmt.Sprint(c.p.HostPort)) {
			t.Errorf("%v: %v", c.p, err)
		}
	}
}

// TestPublishNobody has nobody listen inside: the client is reset.
func TestPublishNobody(t *testing.T) {
	port := freePort(t)
	start(t, Config{Publish: []Publish{{Protocol: "tcp", HostPort: port, Port: 7000}}})
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil { // else the reset came before Dial returned
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Error(err)
	}
}
