package gateway

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/waiter"
)

// ping sends an echo request with some data and returns the answer, from its header on.
func (g *guest) ping(to string, data []byte) ([]byte, error) {
	g.Helper()
	a := netip.MustParseAddr(to)
	protocol, request := header.ICMPv4ProtocolNumber, append([]byte{byte(header.ICMPv4Echo), 0, 0, 0, 0, 0, 0, 1}, data...)
	if a.Is6() {
		protocol, request[0] = header.ICMPv6ProtocolNumber, byte(header.ICMPv6EchoRequest)
	}
	queue := new(waiter.Queue)
	ep, e := g.stack.NewEndpoint(protocol, protocolOf(a), queue)
	if e != nil {
		return nil, errorOf(e)
	}
	defer ep.Close()
	entry, notified := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	if e := ep.Connect(tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(a.AsSlice())}); e != nil {
		return nil, errorOf(e)
	}
	if _, e := ep.Write(bytes.NewReader(request), tcpip.WriteOptions{}); e != nil {
		return nil, errorOf(e)
	}
	for late := time.After(patience); ; {
		var answer bytes.Buffer
		_, e := ep.Read(&answer, tcpip.ReadOptions{})
		switch e.(type) {
		case nil:
			return answer.Bytes(), nil
		case *tcpip.ErrWouldBlock:
		default:
			return nil, errorOf(e)
		}
		select {
		case <-notified:
		case <-late:
			return nil, os.ErrDeadlineExceeded
		}
	}
}

func TestEcho(t *testing.T) {
	_, g := serve(t, nil)
	for _, to := range []string{outside4, outside6, "10.0.2.2", "10.0.2.3", "fd00:c0ff:e200::2"} {
		for _, size := range []int{0, 56, 4000} {
			data := noise(size)
			answer, err := g.ping(to, data)
			if err != nil || len(answer) < 8 || !bytes.Equal(answer[8:], data) {
				t.Errorf("%s, %d bytes: %d bytes, %v", to, size, len(answer), err)
			}
		}
	}
}

// TestEchoRefused asks for what is not to be reached: the host must not answer for it.
func TestEchoRefused(t *testing.T) {
	gw, g := serve(t, nil)
	refused := g.stack.Stats().ICMP.V4.PacketsReceived.DstUnreachable
	for _, to := range []string{"10.0.2.77", "198.51.100.1", "169.254.169.254"} {
		before := refused.Value()
		done := make(chan string, 1)
		go func() {
			answer, err := g.ping(to, nil)
			if err == nil {
				done <- "an answer of " + strings.Repeat("x", len(answer))
			}
		}()
		eventually(t, to+" is refused", func() bool { return refused.Value() > before })
		select {
		case s := <-done:
			t.Errorf("%s: %s", to, s)
		default:
		}
	}
	if n := len(gw.echoes.flows); n != 0 {
		t.Errorf("%d flows", n)
	}
}
