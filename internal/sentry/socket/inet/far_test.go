package inet

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"coffer/internal/link"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// lane carries frames one way between two links: each takes a while, and every nth of
// those with data gets lost.
func lane(from, to *os.File, delay time.Duration, every int) {
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
		}
		queue <- frame{bytes.Clone(buf[:n]), time.Now().Add(delay)}
	}
}

// farNets are two networks, 10.9.0.1 and 10.9.0.2, with a lane each way between them.
func farNets(t *testing.T, delay time.Duration, every int) (nets [2]*net) {
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
	go lane(lanes[0], lanes[1], delay, every)
	go lane(lanes[1], lanes[0], delay, every)
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
	}{
		{"all arrives", 16 << 20, 0, true},
		{"each 50th frame lost", 512 << 10, 50, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			nets := farNets(t, 10*time.Millisecond, test.every)
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
			from.Release()
			at.Release()
		})
	}
}
