package link

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

const testMTU = 1500

// machine is a TCP/IP stack with one link.
type machine struct {
	*stack.Stack
	link    *Link
	address netip.Addr
}

func ethernet(last byte) tcpip.LinkAddress { return tcpip.LinkAddress([]byte{2, 0, 0, 0, 0, last}) }

// newMachine has the address 10.9.0.last.
func newMachine(t testing.TB, last byte, c Config) *machine {
	t.Helper()
	c.Address = ethernet(last)
	if c.MTU == 0 {
		c.MTU = testMTU
	}
	if c.Name == "" {
		c.Name = "eth0"
	}
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{link: l, address: netip.AddrFrom4([4]byte{10, 9, 0, last}), Stack: stack.New(stack.Options{
		NetworkProtocols:         []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols:       []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
		AllowPacketEndpointWrite: true,
	})}
	recovery := tcpip.TCPRecovery(0) // as in a sandbox: with RACK one end at times waits for ever to send its last segments
	if err := m.SetTransportProtocolOption(tcp.ProtocolNumber, &recovery); err != nil {
		t.Fatal(err)
	}
	if err := m.CreateNIC(1, l); err != nil {
		t.Fatal(err)
	}
	address := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{
		Address: tcpip.AddrFrom4(m.address.As4()), PrefixLen: 24,
	}}
	if err := m.AddProtocolAddress(1, address, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	m.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	t.Cleanup(m.Destroy)
	return m
}

// pair returns two machines that are each other's neighbours.
func pair(t testing.TB, a, b Config) (*machine, *machine) {
	t.Helper()
	f, g, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	a.FD, b.FD = own(t, f), own(t, g)
	return newMachine(t, 1, a), newMachine(t, 2, b)
}

// own returns a descriptor that whoever is given it closes.
func own(t testing.TB, f *os.File) int {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	return fd
}

func (m *machine) endpoint(port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(m.address.As4()), Port: port}
}

// await waits for a condition.
func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after two minutes there is not: %s", what)
		}
	}
}

// transfer sends size random bytes over TCP and compares what arrives.
func transfer(t testing.TB, from, to *machine, size int64) {
	t.Helper()
	l, err := gonet.ListenTCP(to.Stack, to.endpoint(80), ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan []byte, 1)
	go func() {
		h := sha256.New()
		if c, err := l.Accept(); err == nil {
			io.Copy(h, c)
			c.Close()
		}
		got <- h.Sum(nil)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, from.Stack, to.endpoint(80), ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(c, h), io.LimitReader(rand.NewChaCha8([32]byte{1}), size)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-got, h.Sum(nil)) {
		t.Error("what arrived is not what was sent")
	}
	c.Close()
}

func TestTransfer(t *testing.T) {
	for _, test := range []struct {
		name string
		a, b Config
	}{
		{name: "plain"},
		{name: "offload", a: Config{Offload: true}, b: Config{Offload: true}},
		{name: "jumbo", a: Config{MTU: 9000}, b: Config{MTU: 9000}},
		{name: "largest", a: Config{MTU: 65535}, b: Config{MTU: 65535}},
		{name: "guarded", a: Config{Guard: []netip.Addr{netip.MustParseAddr("10.9.0.1")}}},
		{name: "limited", a: Config{Rate: 20 << 20, Offload: true}, b: Config{Rate: 40 << 20, Offload: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := pair(t, test.a, test.b)
			transfer(t, a, b, 5<<20)
			transfer(t, b, a, 5<<20)
			s := a.link.Statistics()
			if s.SentBytes < 5<<20 || s.ReceivedBytes < 5<<20 || s.Spoofed != 0 {
				t.Errorf("the statistics are %+v", s)
			}
		})
	}
}

func TestOtherEndCloses(t *testing.T) {
	f, g, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan bool, 1)
	m := newMachine(t, 1, Config{FD: own(t, f), Changed: func() { changed <- true }})
	if !m.link.Running() {
		t.Error("the link does not run")
	}
	g.Close()
	<-changed
	if m.link.Running() {
		t.Error("the link runs without its other end")
	}
	// What is sent now is dropped.
	c, err := gonet.DialUDP(m.Stack, nil, &tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4([4]byte{10, 9, 0, 2}), Port: 9}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("lost"))
	await(t, "a dropped frame", func() bool { return m.link.Statistics().SentDropped > 0 })
}

// TestFullSocket has frames wait while the other end reads none, as many as fit.
func TestFullSocket(t *testing.T) {
	f, g, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	m := newMachine(t, 1, Config{FD: own(t, f)})
	const count = 3 * queueFrames
	for range count {
		send(m, frame(2, 1, header.IPv4ProtocolNumber, make([]byte, 1000)))
	}
	await(t, "a full queue", func() bool { return m.link.Statistics().SentDropped > 0 })
	m.link.sender.mu.Lock()
	if n := len(m.link.sender.queue); n > queueFrames {
		t.Errorf("%d frames wait", n)
	}
	m.link.sender.mu.Unlock()
	unix.SetNonblock(int(g.Fd()), false)
	b := make([]byte, 2000)
	read := uint64(0)
	await(t, "all that was not dropped", func() bool {
		for {
			if _, _, err := unix.Recvfrom(int(g.Fd()), b, unix.MSG_DONTWAIT); err != nil {
				break
			}
			read++
		}
		return read+m.link.Statistics().SentDropped == count
	})
	await(t, "the end of the sending goroutine", func() bool {
		m.link.sender.mu.Lock()
		defer m.link.sender.mu.Unlock()
		return !m.link.sender.busy
	})
}

// frame builds an Ethernet frame.
func frame(to, from byte, protocol tcpip.NetworkProtocolNumber, payload []byte) []byte {
	b := make([]byte, header.EthernetMinimumSize, header.EthernetMinimumSize+len(payload))
	header.Ethernet(b).Encode(&header.EthernetFields{DstAddr: ethernet(to), SrcAddr: ethernet(from), Type: protocol})
	return append(b, payload...)
}

// send has a machine's link send a frame.
func send(m *machine, b []byte) {
	var list stack.PacketBufferList
	pkt := packetOf(b)
	defer pkt.DecRef()
	list.PushBack(pkt)
	m.link.WritePackets(list)
}

func TestCloseWhileLimited(t *testing.T) {
	a, _ := pair(t, Config{Rate: 1}, Config{})
	for range 100 {
		send(a, frame(2, 1, header.IPv4ProtocolNumber, make([]byte, 1000)))
	}
	a.link.Close()
	a.link.Wait()
	await(t, "the end of the sending goroutine", func() bool {
		a.link.sender.mu.Lock()
		defer a.link.sender.mu.Unlock()
		return !a.link.sender.busy && a.link.sender.bytes == 0
	})
}

func TestPace(t *testing.T) {
	p := Pace{Rate: 1 << 20}
	now := time.Unix(1000, 0)
	if d := p.take(64<<10, now); d > 0 {
		t.Errorf("what the bucket holds takes %v", d)
	}
	total := time.Duration(0)
	for range 16 {
		d := p.take(64<<10, now)
		now, total = now.Add(d), total+d
	}
	if total < 990*time.Millisecond || total > 1010*time.Millisecond {
		t.Errorf("a second's bytes take %v", total)
	}
}

func TestCapture(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pcap")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	a, b := pair(t, Config{Capture: own(t, f)}, Config{})
	transfer(t, a, b, 1<<20)
	await(t, "the connection's last frame", func() bool {
		in, out := a.link.Statistics(), b.link.Statistics()
		return b.Stats().TCP.CurrentConnected.Value() == 0 && in.ReceivedFrames == out.SentFrames && in.SentFrames == out.ReceivedFrames
	})
	a.link.Close()
	s := a.link.Statistics()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if binary.LittleEndian.Uint32(raw) != pcapMagic {
		t.Errorf("the file begins with % x", raw[:4])
	}
	frames, size := uint64(0), uint64(0)
	for rest := raw[24:]; len(rest) > 0; frames++ {
		n := binary.LittleEndian.Uint32(rest[8:])
		size += uint64(n)
		rest = rest[recordHeader+n:]
	}
	if frames != s.SentFrames+s.ReceivedFrames || size != s.SentBytes+s.ReceivedBytes {
		t.Errorf("%d frames with %d bytes were captured of %+v", frames, size, s)
	}
}

func TestCaptureToFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var told atomic.Value
	a, b := pair(t, Config{Capture: own(t, full), Log: func(s string) { told.Store(s) }}, Config{})
	transfer(t, a, b, 1<<20)
	await(t, "a message", func() bool { return told.Load() != nil })
	if s := told.Load().(string); !strings.Contains(s, "capture of eth0 has ended") || !strings.Contains(s, "no space left") {
		t.Errorf("told was %q", s)
	}
}

// TestCaptureToStuckPipe has nobody read what is captured: the link goes on.
func TestCaptureToStuckPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a, b := pair(t, Config{Capture: own(t, w)}, Config{})
	transfer(t, a, b, 12<<20)
}

func TestGuard(t *testing.T) {
	mine := netip.MustParseAddr("10.9.0.1")
	g := newGuard(&Config{Address: ethernet(1), Guard: []netip.Addr{mine, netip.MustParseAddr("fd00::1")}})
	v4 := func(source string) []byte {
		b := make([]byte, header.IPv4MinimumSize)
		b[0] = 0x45
		copy(b[12:], netip.MustParseAddr(source).AsSlice())
		return b
	}
	v6 := func(source string, next byte, body ...byte) []byte {
		b := make([]byte, header.IPv6MinimumSize)
		b[0], b[6] = 0x60, next
		copy(b[8:], netip.MustParseAddr(source).AsSlice())
		return append(b, body...)
	}
	arp := func(hardware byte, source string) []byte {
		b := make([]byte, header.ARPSize)
		a := header.ARP(b)
		a.SetIPv4OverEthernet()
		a.SetOp(header.ARPReply)
		copy(a.HardwareAddressSender(), ethernet(hardware))
		copy(a.ProtocolAddressSender(), netip.MustParseAddr(source).AsSlice())
		return b
	}
	advert := func(target string) []byte {
		return append([]byte{136, 0, 0, 0, 0, 0, 0, 0}, netip.MustParseAddr(target).AsSlice()...)
	}
	// options are an extension header of n bytes.
	options := func(next byte, n int) []byte {
		b := make([]byte, n)
		b[0], b[1] = next, byte(n/8-1)
		return b
	}
	const icmp6 = 58
	for _, test := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"own IPv4", frame(2, 1, header.IPv4ProtocolNumber, v4("10.9.0.1")), true},
		{"other IPv4", frame(2, 1, header.IPv4ProtocolNumber, v4("10.9.0.3")), false},
		{"no IPv4 yet", frame(2, 1, header.IPv4ProtocolNumber, v4("0.0.0.0")), true},
		{"other Ethernet address", frame(2, 3, header.IPv4ProtocolNumber, v4("10.9.0.1")), false},
		{"own IPv6", frame(2, 1, header.IPv6ProtocolNumber, v6("fd00::1", 6)), true},
		{"link-local IPv6", frame(2, 1, header.IPv6ProtocolNumber, v6("fe80::5", 6)), true},
		{"other IPv6", frame(2, 1, header.IPv6ProtocolNumber, v6("fd00::2", 6)), false},
		{"own ARP", frame(2, 1, header.ARPProtocolNumber, arp(1, "10.9.0.1")), true},
		{"other's IPv4 in ARP", frame(2, 1, header.ARPProtocolNumber, arp(1, "10.9.0.2")), false},
		{"other's Ethernet address in ARP", frame(2, 1, header.ARPProtocolNumber, arp(3, "10.9.0.1")), false},
		{"own advertisement", frame(2, 1, header.IPv6ProtocolNumber, v6("fd00::1", icmp6, advert("fd00::1")...)), true},
		{"other's advertisement", frame(2, 1, header.IPv6ProtocolNumber, v6("fd00::1", icmp6, advert("fd00::2")...)), false},
		{"router advertisement", frame(2, 1, header.IPv6ProtocolNumber, v6("fe80::1", icmp6, 134, 0, 0, 0, 0, 0, 0, 0)), false},
		{"other's advertisement behind options", frame(2, 1, header.IPv6ProtocolNumber, v6("fd00::1", 0, append(options(icmp6, 8), advert("fd00::2")...)...)), false},
		{"router advertisement behind more than is looked at of others",
			frame(2, 1, header.IPv6ProtocolNumber, v6("fe80::1", 60, append(options(60, 2048), append(options(icmp6, 2048), 134, 0, 0, 0, 0, 0, 0, 0)...)...)), false},
		{"own advertisement behind options", frame(2, 1, header.IPv6ProtocolNumber, v6("fd00::1", 60, append(options(icmp6, 512), advert("fd00::1")...)...)), true},
		{"group report behind options", frame(2, 1, header.IPv6ProtocolNumber, v6("fe80::1", 0, append(options(icmp6, 8), 143, 0, 0, 0, 0, 0, 0, 0)...)), true},
		{"cut options", frame(2, 1, header.IPv6ProtocolNumber, v6("fd00::1", 0, options(icmp6, 512)[:9]...)), true},
		{"VLAN", frame(2, 1, 0x8100, make([]byte, 40)), false},
		{"cut IPv4", frame(2, 1, header.IPv4ProtocolNumber, []byte{0x45}), false},
		{"cut ARP", frame(2, 1, header.ARPProtocolNumber, []byte{0}), false},
		{"cut Ethernet", []byte{1, 2, 3}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			pkt := packetOf(test.frame)
			defer pkt.DecRef()
			if got := g.permits(pkt); got != test.want {
				t.Errorf("permitted: %v", got)
			}
		})
	}
}

// TestSpoof has what a guest makes up not leave.
func TestSpoof(t *testing.T) {
	a, b := pair(t, Config{Guard: []netip.Addr{netip.MustParseAddr("10.9.0.1")}}, Config{})
	send(a, frame(2, 9, header.IPv4ProtocolNumber, make([]byte, 20)))
	if s := a.link.Statistics(); s.Spoofed != 1 || s.SentFrames != 0 {
		t.Errorf("the statistics are %+v", s)
	}
	transfer(t, a, b, 1000)
}

// TestImpaired loses, repeats, delays and reorders frames on their way.
func TestImpaired(t *testing.T) {
	for _, offload := range []bool{false, true} {
		t.Run(fmt.Sprintf("offload %v", offload), func(t *testing.T) {
			var ends [2][2]*os.File
			for i := range ends {
				f, g, err := Pair()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { g.Close() })
				ends[i] = [2]*os.File{f, g}
			}
			a := newMachine(t, 1, Config{FD: own(t, ends[0][0]), Offload: offload})
			b := newMachine(t, 2, Config{FD: own(t, ends[1][0]), Offload: offload})
			go impair(ends[0][1], ends[1][1], 1)
			go impair(ends[1][1], ends[0][1], 2)
			transfer(t, a, b, 8<<20)
			transfer(t, b, a, 2<<20)
		})
	}
}

// impair carries frames over, not all of them and not in order, until the end.
func impair(from, to *os.File, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, seed))
	b := make([]byte, 70<<10)
	var late [][]byte
	for {
		n, err := from.Read(b)
		if n == 0 || err != nil {
			return
		}
		frame := bytes.Clone(b[:n])
		switch dice := chance.IntN(1000); {
		case dice < 5: // is lost
			continue
		case dice < 10:
			to.Write(frame) // comes twice
		case dice < 50:
			late = append(late, frame)
			continue
		}
		to.Write(frame)
		if len(late) > 0 && chance.IntN(4) == 0 {
			to.Write(late[0])
			late = late[1:]
		}
	}
}

// TestReceiverRests: a link keeps the memory that frames are read into while as many come, if only now and then, and
// gives it back when fewer do.
func TestReceiverRests(t *testing.T) {
	r := &receiver{batch: batchFrames}
	prepared := func() (n int) {
		for i := range r.slots {
			if r.slots[i].pieces[0] != nil {
				n++
			}
		}
		return n
	}
	for _, c := range []struct{ burst, batch int }{{batchFrames, batchFrames}, {batchFrames / 2, batchFrames}, {1, batchFrames / 2}, {1, batchFrames / 4}, {1, batchMin}, {0, batchMin}} {
		for i := range r.slots[:r.batch] {
			r.slots[i].prepare(true)
		}
		for i := range restAfter {
			if r.burst = 1; i == 0 {
				r.burst = c.burst
			}
			r.rest()
		}
		if r.batch != c.batch || prepared() != c.batch {
			t.Errorf("after %d frames: room for %d, and memory for %d; want %d", c.burst, r.batch, prepared(), c.batch)
		}
	}
}

// inflow counts what it is told of.
type inflow struct{ begins, bytes atomic.Int64 }

func (i *inflow) Begin()             { i.begins.Add(1) }
func (i *inflow) Read(n int, _ bool) { i.bytes.Add(int64(n)) }
func (i *inflow) Aside(func()) bool  { return false }

// TestInflow: who reads says so before, and how much it was.
func TestInflow(t *testing.T) {
	var i inflow
	a, b := pair(t, Config{}, Config{Inflow: &i})
	const n = 100 << 10
	transfer(t, a, b, n)
	if i.begins.Load() == 0 || i.bytes.Load() < n {
		t.Errorf("told of %d bytes of %d in %d reads", i.bytes.Load(), n, i.begins.Load())
	}
}
