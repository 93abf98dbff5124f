package gateway

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// noise is n bytes that are the same each time.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestTransfer(t *testing.T) {
	data := noise(20 << 20)
	for _, address := range []string{outside4, outside6} {
		t.Run(address, func(t *testing.T) {
			_, g := serve(t, nil)
			got := make(chan []byte, 1)
			at := listen(t, net.JoinHostPort(address, "0"), func(c *net.TCPConn) {
				var sent sync.WaitGroup
				sent.Go(func() { c.Write(data) })
				b, _ := io.ReadAll(c)
				got <- b
				sent.Wait()
				c.Close()
			})
			c := g.mustDial(at)
			go func() {
				c.Write(data)
				c.CloseWrite()
			}()
			back := make([]byte, len(data))
			if _, err := io.ReadFull(c, back); err != nil || !bytes.Equal(back, data) {
				t.Errorf("receiving: %v, equal: %v", err, bytes.Equal(back, data))
			}
			if !bytes.Equal(<-got, data) {
				t.Error("what was sent is not what came")
			}
			if n, err := c.Read(back[:1]); err != io.EOF {
				t.Errorf("at the end: %d bytes, %v", n, err)
			}
		})
	}
}

// TestHalfClose ends one direction and has the other go on.
func TestHalfClose(t *testing.T) {
	_, g := serve(t, nil)
	t.Run("sandbox first", func(t *testing.T) {
		at := listen(t, outside4+":0", func(c *net.TCPConn) {
			b, _ := io.ReadAll(c)
			c.Write(append([]byte("got "), b...))
			c.Close()
		})
		c := g.mustDial(at)
		c.Write([]byte("hello"))
		c.CloseWrite()
		if b, err := io.ReadAll(c); err != nil || string(b) != "got hello" {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("outside first", func(t *testing.T) {
		got := make(chan string, 1)
		at := listen(t, outside4+":0", func(c *net.TCPConn) {
			c.Write([]byte("bye"))
			c.CloseWrite()
			b, _ := io.ReadAll(c)
			got <- string(b)
			c.Close()
		})
		c := g.mustDial(at)
		if b, err := io.ReadAll(c); err != nil || string(b) != "bye" {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := c.Write([]byte("still here")); err != nil {
			t.Error(err)
		}
		c.CloseWrite()
		if s := <-got; s != "still here" {
			t.Errorf("%q", s)
		}
	})
}

// TestPortAgain: the port of a connection that the outside has ended can soon be used for another one. How soon
// depends on the machine: of several tries one is not to wait for a second SYN.
func TestPortAgain(t *testing.T) {
	_, g := serve(t, nil)
	to := netip.MustParseAddrPort(listen(t, outside4+":0", func(c *net.TCPConn) { c.Close() }))
	own := tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(Guest4.Addr().AsSlice()), Port: 5000}
	least := patience
	for i := range 6 {
		began := time.Now()
		c, err := gonet.DialTCPWithBind(t.Context(), g.stack, own, tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(to.Addr().AsSlice()), Port: to.Port()}, protocolOf(to.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			least = min(least, time.Since(began))
		}
		io.ReadAll(c)
		c.Close()
		time.Sleep(50 * time.Millisecond)
	}
	if least > 500*time.Millisecond {
		t.Errorf("each connection waits, %v at least", least)
	}
}

func TestRefused(t *testing.T) {
	_, g := serve(t, nil)
	for _, to := range []string{
		outside4 + ":1", "[" + outside6 + "]:1", // nobody listens
		"10.0.2.2:80", "10.0.2.77:80", "[fd00:c0ff:e200::2]:80", // this network
	} {
		if c, err := g.dial(to); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", to, err)
			if err == nil {
				c.Close()
			}
		}
	}
	for _, to := range []string{"198.51.100.1:80", "[2001:db8:1::1]:80", "169.254.169.254:80", "[fd00:ec2::254]:80"} {
		if c, err := g.dial(to); err == nil || !strings.Contains(err.Error(), "unreachable") && !strings.Contains(err.Error(), "no route") {
			t.Errorf("%s: %v", to, err)
			if err == nil {
				c.Close()
			}
		}
	}
}

// TestMetadata asks for what clouds tell their machines alone, without a policy.
func TestMetadata(t *testing.T) {
	gw, _ := serve(t, nil)
	for to, want := range map[string]Decision{
		"169.254.169.254:80": Refuse, "169.254.1.1:80": Refuse, "100.100.100.200:80": Refuse, "168.63.129.16:80": Refuse, "192.0.0.192:80": Refuse,
		"[fd00:ec2::254]:80": Refuse, "[fd00:ec2::23]:80": Refuse, "[fd20:ce::254]:80": Refuse,
		"[64:ff9b::a9fe:a9fe]:80": Refuse, "[::ffff:0:a9fe:a9fe]:80": Refuse, "[2002:a9fe:a9fe::1]:80": Refuse, "[64:ff9b::6464:64c8]:80": Refuse,
		"100.100.100.201:80": Permit, "[fd00:ec2::253]:80": Permit, "[64:ff9b::c000:201]:80": Permit,
	} {
		if d := gw.decide(Flow{Protocol: unix.IPPROTO_TCP, From: addr("10.0.2.15:1000"), To: addr(to)}); d != want {
			t.Errorf("%s: %v, not %v", to, d, want)
		}
	}
}

// TestLoopback asks for what listens on the host's loopback, in all clothes.
func TestLoopback(t *testing.T) {
	gw, _ := serve(t, nil)
	for _, to := range []string{
		"127.0.0.1:80", "127.1.2.3:80", "[::1]:80", "0.0.0.0:80", "0.1.2.3:80", "[::]:80", "[::ffff:127.0.0.1]:80", "[::127.0.0.1]:80",
		"224.0.0.1:80", "[ff02::1]:80", "255.255.255.255:80", "[fe80::1]:80", "10.0.2.15:80",
	} {
		if d := gw.decide(Flow{Protocol: unix.IPPROTO_TCP, From: addr("10.0.2.15:1000"), To: addr(to)}); d != Refuse {
			t.Errorf("%s: %v", to, d)
		}
	}
	if d := gw.decide(Flow{Protocol: unix.IPPROTO_TCP, From: addr("192.0.2.7:1000"), To: addr("192.0.2.1:80")}); d != Refuse {
		t.Errorf("from another network: %v", d)
	}
}

// TestReset has each side reset the other.
func TestReset(t *testing.T) {
	gw, g := serve(t, nil)
	t.Run("outside", func(t *testing.T) {
		at := listen(t, outside4+":0", func(c *net.TCPConn) {
			c.Read(make([]byte, 1))
			c.SetLinger(0)
			c.Close()
		})
		c := g.mustDial(at)
		c.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
			t.Error(err)
		}
	})
	t.Run("sandbox", func(t *testing.T) {
		end := make(chan error, 1)
		at := listen(t, outside4+":0", func(c *net.TCPConn) {
			_, err := io.Copy(io.Discard, c)
			end <- err
			c.Close()
		})
		c := g.mustDial(at)
		c.Write([]byte("x"))
		g.reset(c)
		if err := <-end; !errors.Is(err, unix.ECONNRESET) {
			t.Error(err)
		}
	})
	// A side that waits for room must hear of it too.
	t.Run("sandbox while the outside does not read", func(t *testing.T) {
		hold, end := make(chan bool), make(chan error, 1)
		at := listen(t, outside4+":0", func(c *net.TCPConn) {
			<-hold
			_, err := io.Copy(io.Discard, c)
			end <- err
			c.Close()
		})
		c := g.mustDial(at)
		c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		for {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				break
			}
		}
		g.reset(c)
		eventually(t, "the connection is gone", func() bool { return gw.tcpFlows.Load() == 0 })
		close(hold)
		if err := <-end; !errors.Is(err, unix.ECONNRESET) {
			t.Error(err)
		}
	})
}

// TestBackpressure has the sandbox not read: what the outside can send is bounded.
func TestBackpressure(t *testing.T) {
	gw, g := serve(t, nil)
	var mu sync.Mutex
	sent := 0
	at := listen(t, outside4+":0", func(c *net.TCPConn) {
		b := make([]byte, 64<<10)
		for {
			n, err := c.Write(b)
			mu.Lock()
			sent += n
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	c := g.mustDial(at)
	last := -1
	eventually(t, "nothing more is sent", func() bool {
		time.Sleep(300 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		same := sent == last
		last = sent
		return same
	})
	// Both ends of the host's connection, of the link and of the stacks hold some.
	if last > 32<<20 {
		t.Errorf("%d bytes are under way", last)
	}
	if n, err := io.CopyN(io.Discard, c, 40<<20); err != nil {
		t.Errorf("after %d bytes: %v", n, err)
	}
	g.reset(c)
	eventually(t, "the connection is gone", func() bool { return gw.tcpFlows.Load() == 0 })
}

// TestManyConnections has a thousand at once.
func TestManyConnections(t *testing.T) {
	gw, g := serve(t, nil)
	at := listen(t, outside4+":0", func(c *net.TCPConn) {
		io.Copy(c, c)
		c.Close()
	})
	many := 1000
	if testing.Short() {
		many = 200
	}
	var wg sync.WaitGroup
	ready := make(chan bool)
	for i := range many {
		wg.Go(func() {
			c, err := g.dial(at)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			<-ready
			data := noise(1000 + i)
			c.Write(data)
			c.CloseWrite()
			if b, err := io.ReadAll(c); err != nil || !bytes.Equal(b, data) {
				t.Errorf("%d of %d bytes, %v", len(b), len(data), err)
			}
		})
	}
	eventually(t, "all are connected", func() bool { return gw.tcpFlows.Load() == int32(many) || t.Failed() })
	close(ready)
	wg.Wait()
	eventually(t, "all are gone", func() bool { return gw.tcpFlows.Load() == 0 })
}

// TestTooMany has more connections than there may be.
func TestTooMany(t *testing.T) {
	limits := newLimits(4096)
	limits.tcp = 10
	_, inside := raw(t, limits, nil)
	g := newGuest(t, inside)
	at := listen(t, outside4+":0", func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Close()
	})
	for range 10 {
		g.mustDial(at)
	}
	if c, err := g.dial(at); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
		if err == nil {
			c.Close()
		}
	}
}

// TestUrgent has urgent data among others: it comes in its place, and nothing is lost.
func TestUrgent(t *testing.T) {
	_, g := serve(t, nil)
	at := listen(t, outside4+":0", func(c *net.TCPConn) {
		raw, _ := c.SyscallConn()
		for i := range 100 {
			c.Write(bytes.Repeat([]byte{'a'}, i+1))
			raw.Write(func(fd uintptr) bool { return unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil) != unix.EAGAIN })
		}
		c.Close()
	})
	var want []byte
	for i := range 100 {
		want = append(append(want, bytes.Repeat([]byte{'a'}, i+1)...), '!')
	}
	if b, err := io.ReadAll(g.mustDial(at)); err != nil || !bytes.Equal(b, want) {
		t.Errorf("%d of %d bytes, %v", len(b), len(want), err)
	}
}
