package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// TestLastBytes has a sandbox end that has sent more than the outside has taken so far.
func TestLastBytes(t *testing.T) {
	// The host's own buffers would take it all otherwise.
	for _, name := range []string{"/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/ipv4/tcp_wmem"} {
		was, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("4096 65536 65536"), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.WriteFile(name, was, 0) })
	}
	data := noise(384 << 10)
	for _, ended := range []bool{true, false} {
		name := map[bool]string{true: "closed", false: "broken off"}[ended]
		t.Run(name, func(t *testing.T) {
			gw, g := start(t, Config{})
			begin := make(chan struct{})
			got := make(chan []byte, 1)
			failed := make(chan error, 1)
			at := listen(t, outside4+":0", func(c *net.TCPConn) {
				defer c.Close()
				<-begin
				b, err := io.ReadAll(c)
				got <- b
				failed <- err
			})
			c := g.mustDial(at)
			if _, err := c.Write(data); err != nil {
				t.Fatal(err)
			}
			if ended {
				c.CloseWrite()
				eventually(t, "the gateway has confirmed all", func() bool {
					return g.endpoint(c).(*tcp.Endpoint).EndpointState() == tcp.StateFinWait2
				})
			}
			gw.helper(t)
			g.link.Close()
			gw.Donated()
			go func() {
				time.Sleep(100 * time.Millisecond)
				close(begin)
			}()
			gw.awaitEnd(t)
			if b, err := <-got, <-failed; ended && (!bytes.Equal(b, data) || err != nil) {
				t.Errorf("%d of %d bytes arrived: %v", len(b), len(data), err)
			} else if !ended && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%d of %d bytes arrived, and then as if that were all: %v", len(b), len(data), err)
			}
		})
	}
}
