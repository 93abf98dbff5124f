package network

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	hostlink "coffer/internal/link"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// neighbours are two networks with a link between them: 10.9.0.1 and 10.9.0.2.
func neighbours(t *testing.T) (list [2]*Namespace) {
	t.Helper()
	a, b, err := hostlink.Pair()
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range []interface{ Fd() uintptr }{a, b} {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		list[i], err = New(Config{LoopbackUp: true, Interfaces: []Interface{{
			Name: "eth0", HardwareAddr: HardwareAddr([]string{"02:00:00:00:00:01", "02:00:00:00:00:02"}[i]), MTU: 1500,
			Addresses: []netip.Prefix{netip.MustParsePrefix([]string{"10.9.0.1/24", "10.9.0.2/24"}[i])},
			Link:      LinkGateway, FD: fd, Offload: true,
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	a.Close()
	b.Close()
	return list
}

// TestClose ends a network whose program has sent, closed its connection and ended.
func TestClose(t *testing.T) {
	list := neighbours(t)
	to := tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{10, 9, 0, 2}), Port: 80}
	l, err := gonet.ListenTCP(list[1].Stack(), to, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	closed := make(chan struct{})
	got := make(chan int64, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- -1
			return
		}
		<-closed
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, list[0].Stack(), to, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody reads yet, so that what is sent in the end waits in the stack.
	data, sent := make([]byte, 64<<20), 0
	for sent == 0 {
		c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		sent, _ = c.Write(data)
	}
	c.Close()
	close(closed)
	list[0].Close(time.Minute)
	if n := <-got; n != int64(sent) || n == 0 {
		t.Errorf("%d of %d bytes arrived", n, sent)
	}
	list[1].Close(0)
}

// TestSevered reads what has come after the link has gone that it came by.
func TestSevered(t *testing.T) {
	list := neighbours(t)
	to := tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{10, 9, 0, 2}), Port: 80}
	l, err := gonet.ListenTCP(list[1].Stack(), to, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out [2]net.Conn // one that ends, and one that does not
	for i := range out {
		if out[i], err = gonet.DialContextTCP(ctx, list[0].Stack(), to, ipv4.ProtocolNumber); err != nil {
			t.Fatal(err)
		}
	}
	in := map[string]net.Conn{}
	for range out {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(time.Minute))
		in[c.RemoteAddr().String()] = c
	}
	if _, err := out[0].Write(make([]byte, 10000)); err != nil {
		t.Fatal(err)
	}
	from := [2]string{out[0].LocalAddr().String(), out[1].LocalAddr().String()}
	out[0].Close()
	list[0].Close(time.Minute)
	// Breaking connections comes after the link goes down.
	if _, err := in[from[1]].Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("a connection that has not ended: %v", err)
	}
	if b, err := io.ReadAll(in[from[0]]); len(b) != 10000 || err != nil {
		t.Errorf("%d bytes are read, %v", len(b), err)
	}
	list[1].Close(0)
}

// TestCloseIdle does not wait for what will not come.
func TestCloseIdle(t *testing.T) {
	list := neighbours(t)
	list[1].Close(0)
	start := time.Now()
	list[0].Close(time.Hour)
	Loopback().Close(time.Hour)
	if d := time.Since(start); d > time.Minute {
		t.Errorf("it takes %v", d)
	}
}
