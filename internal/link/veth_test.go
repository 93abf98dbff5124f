package link

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// space is a network namespace of the test's own. Its functions run on a thread in it.
type space struct {
	calls chan func()
	ns    *os.File
}

func newSpace(t *testing.T) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces takes root")
	}
	s := &space{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			s.ns, err = os.Open("/proc/thread-self/ns/net")
		}
		ready <- err
		for f := range s.calls {
			f()
		}
	}()
	if err := <-ready; err != nil {
		close(s.calls)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(s.calls)
		s.ns.Close()
	})
	return s
}

// do calls f in the namespace.
func (s *space) do(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	s.calls <- func() { done <- f() }
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// veth is a pair of interfaces: ours in one namespace, for a link, and peer in another,
// with the address 10.9.0.1.
type veth struct {
	ours, peer *space
}

func newVeth(t *testing.T, mtu int) *veth {
	t.Helper()
	v := &veth{newSpace(t), newSpace(t)}
	v.peer.do(t, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "peer", mtu
		pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "ours", PeerNamespace: netlink.NsFd(v.ours.ns.Fd()), PeerMTU: uint32(mtu)}
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		l, err := netlink.LinkByName("peer")
		if err != nil {
			return err
		}
		address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 9, 0, 1), Mask: net.CIDRMask(24, 32)}}
		if err := netlink.AddrAdd(l, address); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
	v.ours.change(t, "ours", netlink.LinkSetUp)
	return v
}

// change does something with an interface.
func (s *space) change(t *testing.T, name string, f func(netlink.Link) error) {
	t.Helper()
	s.do(t, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return f(l)
	})
}

// machine is a TCP/IP stack on ours.
func (v *veth) machine(t *testing.T, changed func()) *machine {
	t.Helper()
	var m *machine
	v.ours.change(t, "ours", func(l netlink.Link) error {
		f, err := OpenPacket(l.Attrs().Index)
		if err != nil {
			return err
		}
		m = newMachine(t, 2, Config{FD: own(t, f), MTU: uint32(l.Attrs().MTU), Offload: true, Changed: changed})
		return nil
	})
	// The host's address of the interface is another one.
	v.ours.change(t, "ours", func(l netlink.Link) error {
		return netlink.LinkSetHardwareAddr(l, net.HardwareAddr(ethernet(2)))
	})
	return m
}

// native is the host's end of what transfers go to.
var native = tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4([4]byte{10, 9, 0, 1}), Port: 80}

const transferPatience = 3 * time.Minute

// dialEcho connects to a server in the peer's namespace, which sends back what it gets.
func (v *veth) dialEcho(t *testing.T, m *machine) *gonet.TCPConn {
	t.Helper()
	var l net.Listener
	v.peer.do(t, func() (err error) {
		l, err = net.Listen("tcp4", "10.9.0.1:80")
		return err
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		l.Close() // for the next call to listen there
		if err == nil {
			c.SetDeadline(time.Now().Add(transferPatience))
			io.Copy(c, c)
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), transferPatience)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, m.Stack, native, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(transferPatience))
	return c
}

// transferNative sends random bytes to a server of the peer's kernel, and back.
func (v *veth) transferNative(t *testing.T, m *machine, size int64) {
	t.Helper()
	c := v.dialEcho(t, m)
	defer c.Close()
	sent := sha256.New()
	go func() {
		io.Copy(io.MultiWriter(c, sent), io.LimitReader(rand.NewChaCha8([32]byte{2}), size))
		c.CloseWrite()
	}()
	got := sha256.New()
	if n, err := io.Copy(got, c); err != nil || n != size {
		t.Fatalf("%d of %d bytes came back: %v", n, size, err)
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Error("what came back is not what was sent")
	}
}

func TestVeth(t *testing.T) {
	for _, mtu := range []int{1400, 1500, 9000} {
		t.Run(fmt.Sprintf("MTU %d", mtu), func(t *testing.T) {
			v := newVeth(t, mtu)
			m := v.machine(t, nil)
			v.transferNative(t, m, 20<<20)
			if s := m.link.Statistics(); s.ReceivedBytes > 3*20<<20 {
				t.Errorf("it has received %d bytes: does it see what it sends?", s.ReceivedBytes)
			}
		})
	}
}

// TestVethNetem has the host's kernel impair what crosses.
func TestVethNetem(t *testing.T) {
	v := newVeth(t, 1500)
	m := v.machine(t, nil)
	missing := false
	for s, name := range map[*space]string{v.peer: "peer", v.ours: "ours"} {
		s.change(t, name, func(l netlink.Link) error {
			attrs := netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
			err := netlink.QdiscAdd(netlink.NewNetem(attrs, netlink.NetemQdiscAttrs{Latency: 1000, Loss: 0.3, ReorderProb: 5, Gap: 5}))
			if missing = errors.Is(err, unix.ENOENT); missing {
				return nil
			}
			return err
		})
	}
	if missing {
		t.Skip("the host's kernel has no netem (CONFIG_NET_SCH_NETEM); TestImpaired does without")
	}
	v.transferNative(t, m, 20<<20)
}

// TestVethPing has the host's kernel ask for us.
// TestVethBulk has several send in bulk, faster than the host takes it: they wait, and lose
// nothing.
func TestVethBulk(t *testing.T) {
	m := newVeth(t, 60<<10).machine(t, nil)
	pkt := packetOf(frame(1, 2, header.IPv4ProtocolNumber, make([]byte, 60<<10)))
	defer pkt.DecRef()
	const senders, each = 4, 1000
	var wait sync.WaitGroup
	for range senders {
		wait.Go(func() {
			for range each {
				var l stack.PacketBufferList
				l.PushBack(pkt)
				m.link.WritePackets(l)
			}
		})
	}
	wait.Wait()
	await(t, "all to be sent", func() bool { return !m.link.Pending() })
	if s := m.link.Statistics(); s.SentDropped != 0 {
		t.Errorf("%d of %d frames were dropped", s.SentDropped, senders*each)
	}
}

func TestVethPing(t *testing.T) {
	v := newVeth(t, 1500)
	v.machine(t, nil)
	v.peer.do(t, func() error {
		out, err := exec.Command("ping", "-c", "2", "-W", "10", "-s", "5000", "10.9.0.2").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func TestVethVanishes(t *testing.T) {
	v := newVeth(t, 1500)
	changed := make(chan bool, 1)
	m := v.machine(t, func() { changed <- true })
	v.transferNative(t, m, 1000)
	v.peer.change(t, "peer", netlink.LinkDel)
	<-changed
	if m.link.Running() {
		t.Error("the link runs without an interface")
	}
	send(m, frame(1, 2, ipv4.ProtocolNumber, make([]byte, 100)))
	await(t, "a dropped frame", func() bool { return m.link.Statistics().SentDropped > 0 })
}

func TestVethDownAndUp(t *testing.T) {
	v := newVeth(t, 1500)
	m := v.machine(t, nil)
	v.transferNative(t, m, 1000)
	for range 3 {
		v.ours.change(t, "ours", netlink.LinkSetDown)
		await(t, "a link that does not run", func() bool { return !m.link.Running() })
		v.ours.change(t, "ours", netlink.LinkSetUp)
		v.transferNative(t, m, 1<<20)
		if !m.link.Running() {
			t.Error("the link does not run")
		}
	}
}

// TestVethShrinks has frames refused that were good before.
func TestVethShrinks(t *testing.T) {
	v := newVeth(t, 1500)
	changed := make(chan bool, 1)
	m := v.machine(t, func() { changed <- true })
	v.transferNative(t, m, 1000)
	for s, name := range map[*space]string{v.peer: "peer", v.ours: "ours"} {
		s.change(t, name, func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1300) })
	}
	send(m, frame(1, 2, ipv4.ProtocolNumber, make([]byte, 1400)))
	<-changed
	if mtu := m.link.MTU(); mtu != 1300 {
		t.Errorf("the MTU is %d", mtu)
	}
	v.transferNative(t, m, 1<<20)
}

// TestVethShrinksUnderConnection has a connection go on with smaller segments.
func TestVethShrinksUnderConnection(t *testing.T) {
	v := newVeth(t, 1500)
	m := v.machine(t, nil)
	c := v.dialEcho(t, m)
	for _, mtu := range []int{1500, 1300, 1000} {
		for s, name := range map[*space]string{v.peer: "peer", v.ours: "ours"} {
			s.change(t, name, func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) })
		}
		// One full segment at a time: larger ones are for the host to cut.
		b := make([]byte, 1448)
		for range 10 {
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, b); err != nil {
				t.Fatal(err)
			}
		}
	}
}
