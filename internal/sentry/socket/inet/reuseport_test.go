package inet

import (
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// sharer returns a UDP socket of c's with SO_REUSEPORT, until the test ends.
func (n *net) sharer(t *testing.T, c task) *Socket {
	t.Helper()
	s, err := New(n.Namespace, &n.Registry, c, unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	if err := s.SetOption(c, unix.SOL_SOCKET, unix.SO_REUSEPORT, int32Bytes(1)); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOthersPort: who leaves the port open, and says by IP_LOCAL_PORT_RANGE that there is but one, does not get another
// user's that is shared; the same user does.
func TestOthersPort(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	owner, other := task{auth.New(1000, 1000, nil)}, task{auth.New(1001, 1001, nil)}
	first := n.sharer(t, owner)
	if err := first.Bind(owner, loopback4(0)); err != nil {
		t.Fatal(err)
	}
	name, _ := first.ep.Load().GetLocalAddress()
	narrow := func(c task) *Socket {
		s := n.sharer(t, c)
		if err := s.SetOption(c, unix.IPPROTO_IP, unix.IP_LOCAL_PORT_RANGE, int32Bytes(int32(uint32(name.Port)<<16|uint32(name.Port)))); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct {
		who        task
		bind, send error
	}{{other, unix.EADDRINUSE, socket.ErrNoPort}, {owner, nil, nil}} {
		if err := narrow(c.who).Bind(c.who, loopback4(0)); err != c.bind {
			t.Errorf("user %d binds: %v, want %v", c.who.cred.FSUID, err, c.bind)
		}
		any := sockaddr(unix.AF_INET, tcpip.FullAddress{})
		if err := narrow(c.who).Bind(c.who, any); err != c.bind {
			t.Errorf("user %d binds to all addresses: %v, want %v", c.who.cred.FSUID, err, c.bind)
		}
		if _, err := narrow(c.who).Send(c.who, []byte("x"), &socket.Message{Addr: loopback4(9)}); err != c.send {
			t.Errorf("user %d sends: %v, want %v", c.who.cred.FSUID, err, c.send)
		}
	}
}

// TestConnectedPort: a socket that is connected keeps other users from its port, and shares it with those of its own user
// again once it is not.
func TestConnectedPort(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	owner, other := task{auth.New(1000, 1000, nil)}, task{auth.New(1001, 1001, nil)}
	sharer := func(c task, name []byte) (*Socket, error) {
		s := n.sharer(t, c)
		return s, s.Bind(c, name)
	}
	s, err := sharer(owner, loopback4(4000))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, peer := range [][]byte{loopback4(9), loopback4(10), make([]byte, sizeofSockaddr4)} {
			if err := s.Connect(owner, peer); err != nil {
				t.Fatal(err)
			}
			if _, err := sharer(other, s.Name()); err != unix.EADDRINUSE {
				t.Errorf("another user's socket: %v", err)
			}
			second, err := sharer(owner, s.Name())
			if err != nil {
				t.Errorf("the user's own: %v", err)
			}
			if g, want := second.portGroup.Load(), 1+int(truth(family(peer) == unix.AF_UNSPEC)); g != s.portGroup.Load() || len(g.members) < want {
				t.Error("they share nothing")
			}
		}
	}
}
