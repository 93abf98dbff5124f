package network

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// TestNameserver has programs ask a name server of the host's at 127.0.0.11, which
// answers in another order, twice, and what nobody asked.
func TestNameserver(t *testing.T) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const programs = 8
	go func() {
		b := make([]byte, queryMax)
		var messages [][]byte
		for {
			n, from, err := server.ReadFromUDP(b)
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil {
				continue
			}
			messages = append(messages, append([]byte(nil), b[:n]...))
			if len(messages) < programs {
				continue
			}
			server.WriteToUDP([]byte("short"), from)
			server.WriteToUDP(make([]byte, queryMin), from)
			for i := range messages {
				m := messages[len(messages)-1-i]
				server.WriteToUDP(append(m, "answered"...), from)
				server.WriteToUDP(append(m, "twice"...), from)
			}
			messages = nil
		}
	}()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: server.LocalAddr().(*net.UDPAddr).Port}); err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{LoopbackUp: true, Nameserver: &Nameserver{Address: netip.MustParseAddrPort("127.0.0.11:53"), FD: fd}})
	if err != nil {
		t.Fatal(err)
	}
	// A program of the sandbox's serves at all addresses, the name server's not among them.
	own, err := gonet.DialUDP(n.Stack(), &tcpip.FullAddress{Port: 53}, nil, header.IPv4ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	var done sync.WaitGroup
	for i := range programs {
		done.Go(func() {
			c, err := gonet.DialUDP(n.Stack(), nil, &tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{127, 0, 0, 11}), Port: 53}, header.IPv4ProtocolNumber)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(time.Minute))
			// All ask with the same number.
			query := append(make([]byte, queryMin), byte('a'+i))
			binary.BigEndian.PutUint16(query, 0xc0ff)
			c.Write(make([]byte, queryMin-1))
			c.Write(make([]byte, queryMax+1))
			c.Write(query)
			b := make([]byte, queryMax)
			got, err := c.Read(b)
			if want := string(query) + "answered"; err != nil || string(b[:got]) != want {
				t.Errorf("program %d got %q, not %q: %v", i, b[:got], want, err)
			}
		})
	}
	done.Wait()
	own.SetDeadline(time.Now())
	if n, _, err := own.ReadFrom(make([]byte, queryMax)); err == nil {
		t.Errorf("the sandbox's own server got %d bytes", n)
	}
}

// TestNameserverThatIsSlow has a program ask a name server that takes nothing: it asks on.
func TestNameserverThatIsSlow(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	n, err := New(Config{LoopbackUp: true, Nameserver: &Nameserver{Address: netip.MustParseAddrPort("127.0.0.11:53"), FD: fds[0]}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := gonet.DialUDP(n.Stack(), nil, &tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{127, 0, 0, 11}), Port: 53}, header.IPv4ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for range 2000 { // more than the socket holds
			c.Write(make([]byte, queryMax))
		}
	}()
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Error("the program waits for the name server")
	}
}
