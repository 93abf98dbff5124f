package inet

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"coffer/internal/link"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// lane carries frames one way between two links: each takes a while, and every nth of
// those with data gets lost. The others are handed to change, unless that is nil.
func lane(from, to *os.File, delay time.Duration, every int, change func(frame []byte)) {
	type frame struct {
		bytes []byte
		due   time.Time
	}
	const dataFrame = 200 // bytes; acknowledgements are smaller
	queue := make(chan frame, 1<<14)
	go func() {
		for f := range queue {
			time.Sleep(time.Until(f.due))
			to.Write(f.bytes)
		}
	}()
	defer close(queue)
	data := 0
	for buf := make([]byte, 2048); ; {
		n, err := from.Read(buf)
		if err != nil || n == 0 {
			return
		}
		if n >= dataFrame {
			if data++; every > 0 && data%every == 0 {
				continue
			}
		} else if change != nil {
			change(buf[:n])
		}
		queue <- frame{bytes.Clone(buf[:n]), time.Now().Add(delay)}
	}
}

// farNets are two networks, 10.9.0.1 and 10.9.0.2, with a lane each way between them.
func farNets(t *testing.T, delay time.Duration, every int, change func(frame []byte)) (nets [2]*net) {
	t.Helper()
	var lanes [2]*os.File
	for i, address := range []string{"10.9.0.1/24", "10.9.0.2/24"} {
		ours, theirs, err := link.Pair()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.FcntlInt(ours.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		ours.Close()
		if err != nil {
			t.Fatal(err)
		}
		n, err := network.New(network.Config{LoopbackUp: true, Interfaces: []network.Interface{{
			Name: "eth0", HardwareAddr: network.HardwareAddr([]string{"02:00:00:00:00:01", "02:00:00:00:00:02"}[i]), MTU: 1500,
			Addresses: []netip.Prefix{netip.MustParsePrefix(address)}, Link: network.LinkGateway, FD: fd,
		}}})
		if err != nil {
			t.Fatal(err)
		}
		nets[i], lanes[i] = &net{Namespace: n}, theirs
		nets[i].Stack()
	}
	go lane(lanes[0], lanes[1], delay, every, change)
	go lane(lanes[1], lanes[0], delay, every, change)
	t.Cleanup(func() {
		for i, n := range nets {
			lanes[i].Close()
			n.Close(0)
		}
	})
	return nets
}

// TestFar sends over a long way: what fills it is more than a receive buffer is at first
// (tcp(7), tcp_rmem and tcp_moderate_rcvbuf), and what gets lost comes again.
func TestFar(t *testing.T) {
	for _, test := range []struct {
		name  string
		size  int
		every int
		grows bool
		// change is what happens to frames without data on the way.
		change func(frame []byte)
	}{
		{"all arrives", 16 << 20, 0, true, nil},
		{"each 50th frame lost", 512 << 10, 50, false, nil},
		{"each 50th frame lost, and windows that grow", 512 << 10, 50, false, growWindow()},
	} {
		t.Run(test.name, func(t *testing.T) {
			nets := farNets(t, 10*time.Millisecond, test.every, test.change)
			l := nets[1].socket(t, unix.AF_INET, unix.SOCK_STREAM)
			defer l.Release()
			to := sockaddr(unix.AF_INET, tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{10, 9, 0, 2}), Port: 80})
			if err := l.Bind(root, to); err != nil {
				t.Fatal(err)
			}
			if err := l.Listen(root, 1); err != nil {
				t.Fatal(err)
			}
			from := nets[0].socket(t, unix.AF_INET, unix.SOCK_STREAM)
			if err := again(from, waiter.Writable, func() error { return from.Connect(root, to) }); err != nil {
				t.Fatal(err)
			}
			var at *Socket
			if err := again(l, waiter.Readable, func() error {
				a, err := l.Accept()
				if err == nil {
					at = a.(*Socket)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			first := at.ep.Load().SocketOptions().GetReceiveBufferSize()
			data := make([]byte, test.size)
			r := rand.New(rand.NewPCG(1, 1))
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			go func() {
				stream{from}.Write(data)
				from.Shutdown(unix.SHUT_WR)
			}()
			got, err := io.ReadAll(stream{at})
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v; want %d", len(got), err, len(data))
			}
			if last := at.ep.Load().SocketOptions().GetReceiveBufferSize(); test.grows && last <= first {
				t.Errorf("the receive buffer was %d bytes at first and is %d", first, last)
			}
			if n := nets[0].Stack().Stats().TCP.SACKRecovery.Value(); test.every > 0 && n == 0 {
				t.Error("nothing that was lost was sent again before the retransmission timeout")
			}
			from.Release()
			at.Release()
		})
	}
}

// growWindow has each acknowledgement with SACK blocks say a larger window, as those of Linux do as long as its receive
// buffer grows.
func growWindow() func(frame []byte) {
	var grown atomic.Uint32
	return func(frame []byte) {
		ip := header.IPv4(frame[header.EthernetMinimumSize:])
		if header.Ethernet(frame).Type() != header.IPv4ProtocolNumber || ip.TransportProtocol() != header.TCPProtocolNumber {
			return
		}
		h := header.TCP(ip.Payload())
		if len(header.ParseTCPOptions(h.Options()).SACKBlocks) == 0 {
			return
		}
		before := h.WindowSize()
		h.SetWindowSize(before + uint16(grown.Add(1)))
		h.SetChecksum(^checksum.Combine(checksum.Combine(^h.Checksum(), ^before), h.WindowSize()))
	}
}
