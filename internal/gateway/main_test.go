package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"coffer/internal/link"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// inNetwork says that this process has a network namespace of its own, in which the
// tests' servers are the hosts outside.
const inNetwork = "COFFER_TEST_NETWORK"

// Addresses of the outside, on the loopback interface of the test's own namespace.
const (
	outside4 = "192.0.2.1"
	other4   = "192.0.2.2"
	outside6 = "2001:db8::1"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == Role {
		os.Exit(Main())
	}
	if len(os.Args) == 2 && os.Args[1] == wallsRole {
		os.Exit(tryWalls())
	}
	switch os.Getenv(inNetwork) {
	case "":
		os.Exit(againInNetwork())
	case "new":
		if err := setUpNetwork(); err != nil {
			fmt.Fprintln(os.Stderr, "setting up the test's network:", err)
			os.Exit(1)
		}
		os.Setenv(inNetwork, "ready") // for processes that fuzz, which come after this one
	}
	os.Exit(m.Run())
}

func againInNetwork() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNetwork+"=new")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		Pdeathsig:   unix.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "making a network namespace for the tests:", err)
			return 1
		}
		return cmd.ProcessState.ExitCode()
	}
	return 0
}

func setUpNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, a := range []string{outside4 + "/32", other4 + "/32", outside6 + "/128"} {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		// A process that fuzzes is in the network of the one that started it.
		if err := netlink.AddrAdd(lo, addr); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	// Every user may send echo requests.
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0); err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// guest is a TCP/IP stack on the sandbox's end of a link.
type guest struct {
	*testing.T
	stack *stack.Stack
	link  *link.Link
}

// newGuest returns a guest on an end of a link, which it owns.
func newGuest(t *testing.T, end *os.File) *guest {
	t.Helper()
	fd, err := unix.FcntlInt(end.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	end.Close()
	l, err := link.New(link.Config{FD: fd, Name: "guest", Address: guestAddress, MTU: MTU, Offload: Offload})
	if err != nil {
		t.Fatal(err)
	}
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if e := s.CreateNIC(1, l); e != nil {
		t.Fatal(e)
	}
	for _, p := range []netip.Prefix{Guest4, Guest6} {
		e := s.AddProtocolAddress(1, tcpip.ProtocolAddress{
			Protocol:          protocolOf(p.Addr()),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(p.Addr().AsSlice()), PrefixLen: p.Bits()},
		}, stack.AddressProperties{})
		if e != nil {
			t.Fatal(e)
		}
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, Gateway: tcpip.AddrFromSlice(Router4.AsSlice()), NIC: 1},
		{Destination: header.IPv6EmptySubnet, Gateway: tcpip.AddrFromSlice(Router6.AsSlice()), NIC: 1},
	})
	t.Cleanup(s.Destroy)
	return &guest{t, s, l}
}

// raw makes a gateway in this process, and returns the sandbox's end of its link.
func raw(t testing.TB, l limits, p Policy, hosts ...Host) (*gateway, *os.File) {
	t.Helper()
	inside, ours, err := link.Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(ours.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	end, err := link.New(link.Config{FD: fd, Name: "test", Address: routerAddress, MTU: MTU, Offload: Offload})
	if err != nil {
		t.Fatal(err)
	}
	s, open, err := newStack(end)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Destroy)
	r := newResolver([]netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(other4), dnsPort)}, hosts, p)
	if err := r.serve(s); err != nil {
		t.Fatal(err)
	}
	gw := newGateway(s, r, p, l)
	open()
	return gw, inside
}

// serve makes a gateway in this process, with a guest.
func serve(t *testing.T, p Policy, hosts ...Host) (*gateway, *guest) {
	t.Helper()
	gw, inside := raw(t, newLimits(4096), p, hosts...)
	return gw, newGuest(t, inside)
}

const patience = 5 * time.Minute

// dial connects to an address.
func (g *guest) dial(to string) (*gonet.TCPConn, error) {
	a := netip.MustParseAddrPort(to)
	ctx, cancel := context.WithTimeout(g.Context(), patience)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, g.stack, tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(a.Addr().AsSlice()), Port: a.Port()}, protocolOf(a.Addr()))
	if err == nil {
		c.SetDeadline(time.Now().Add(patience))
	}
	return c, err
}

func (g *guest) mustDial(to string) *gonet.TCPConn {
	g.Helper()
	c, err := g.dial(to)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { c.Close() })
	return c
}

// datagrams returns a socket that is connected to an address.
func (g *guest) datagrams(to string) *gonet.UDPConn {
	g.Helper()
	a := netip.MustParseAddrPort(to)
	c, err := gonet.DialUDP(g.stack, nil, &tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(a.Addr().AsSlice()), Port: a.Port()}, protocolOf(a.Addr()))
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// listen serves connections to an address of the outside.
func listen(t *testing.T, at string, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
	return l.Addr().String()
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// reset has a connection end by RST.
func (g *guest) reset(c *gonet.TCPConn) { g.endpoint(c).Abort() }

// endpoint is what gonet hides, and the stack knows.
func (g *guest) endpoint(c *gonet.TCPConn) stack.TransportEndpoint {
	local, remote := addr(c.LocalAddr().String()), addr(c.RemoteAddr().String())
	return g.stack.FindTransportEndpoint(protocolOf(local.Addr()), header.TCPProtocolNumber, stack.TransportEndpointID{
		LocalPort: local.Port(), LocalAddress: tcpip.AddrFromSlice(local.Addr().AsSlice()),
		RemotePort: remote.Port(), RemoteAddress: tcpip.AddrFromSlice(remote.Addr().AsSlice()),
	}, 1)
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
