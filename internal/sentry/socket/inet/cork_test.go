package inet

import (
	"testing"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// receive takes a datagram that has come.
func receive(t *testing.T, s *Socket) string {
	t.Helper()
	p, n := make([]byte, 100), 0
	if err := again(s, waiter.Readable, func() (err error) { n, err = s.Recv(p, &socket.Message{}); return err }); err != nil {
		t.Fatal(err)
	}
	return string(p[:n])
}

// bound is a socket of UDP at a port of the loopback address.
func (n *net) bound(t *testing.T) *Socket {
	t.Helper()
	s := n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
	if err := s.Bind(root, loopback4(0)); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCorkedPeer: a datagram without an address that grows goes to the peer, not to where the one before went.
func TestCorkedPeer(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	first, peer, s := n.bound(t), n.bound(t), n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
	defer first.Release()
	defer peer.Release()
	defer s.Release()
	more := func(m socket.Message, text string) error {
		m.Flags = unix.MSG_MORE
		_, err := s.Send(root, []byte(text), &m)
		return err
	}
	if err := more(socket.Message{}, "x"); err != unix.EDESTADDRREQ {
		t.Errorf("the beginning of a datagram to nobody: %v", err)
	}
	if _, err := s.Send(root, []byte("first"), &socket.Message{Addr: first.Name()}); err != nil {
		t.Fatal(err)
	}
	if err := s.Connect(root, peer.Name()); err != nil {
		t.Fatal(err)
	}
	if err := more(socket.Message{}, "to the "); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(root, []byte("peer"), &socket.Message{}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, peer); got != "to the peer" {
		t.Errorf("the peer got %q", got)
	}
	if err := more(socket.Message{Addr: first.Name()}, "never sent"); err != nil { // what it takes is given back
		t.Fatal(err)
	}
}

// TestCorkedRenewed: a datagram that grows is still one after the endpoint has been replaced.
func TestCorkedRenewed(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	peer, s := n.bound(t), n.socket(t, unix.AF_INET6, unix.SOCK_DGRAM)
	defer peer.Release()
	defer s.Release()
	if err := s.Connect(root, peer.Name()); err != nil {
		t.Fatal(err)
	}
	for _, v := range []int32{1, 0} { // from now on the option is set, and off
		if err := s.SetOption(root, unix.IPPROTO_UDP, unix.UDP_CORK, int32Bytes(v)); err != nil {
			t.Fatal(err)
		}
	}
	local, _ := peer.ep.Load().GetLocalAddress()
	if _, err := s.Send(root, []byte("one "), &socket.Message{Addr: sockaddr(unix.AF_INET6, local), Flags: unix.MSG_MORE}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetOption(root, unix.IPPROTO_IPV6, unix.IPV6_ADDRFORM, int32Bytes(unix.AF_INET)); err != nil {
		t.Fatal(err)
	}
	if err := s.Connect(root, make([]byte, sizeofSockaddr4)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(root, []byte("datagram"), &socket.Message{Addr: peer.Name()}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, peer); got != "one datagram" {
		t.Errorf("got %q", got)
	}
}

// permitsAll is a policy.
type permitsAll struct{}

func (permitsAll) Permit(network.Flow) error { return nil }

// TestCorkedPermitted: where there is a policy, a datagram goes where it was asked whether it may, though the socket has
// got another peer meanwhile.
func TestCorkedPermitted(t *testing.T) {
	nothingHeld(t)
	restricted, err := network.New(network.Config{LoopbackUp: true, Policy: permitsAll{}})
	if err != nil {
		t.Fatal(err)
	}
	n := &net{Namespace: restricted}
	first, second, s := n.bound(t), n.bound(t), n.socket(t, unix.AF_INET, unix.SOCK_DGRAM)
	defer first.Release()
	defer second.Release()
	defer s.Release()
	if err := s.Connect(root, first.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(root, []byte("one "), &socket.Message{Flags: unix.MSG_MORE}); err != nil {
		t.Fatal(err)
	}
	if err := s.Connect(root, second.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(root, []byte("datagram"), &socket.Message{}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, first); got != "one datagram" {
		t.Errorf("got %q", got)
	}
}

// TestCorkedForm: IPV6_ADDRFORM is refused while a datagram to an address of IPv6 grows.
func TestCorkedForm(t *testing.T) {
	nothingHeld(t)
	n := newNet()
	peer, s := n.bound(t), n.socket(t, unix.AF_INET6, unix.SOCK_DGRAM)
	defer peer.Release()
	defer s.Release()
	six := make([]byte, sizeofSockaddr6)
	six[0], six[3], six[23] = unix.AF_INET6, 9, 1 // ::1
	if _, err := s.Send(root, []byte("x"), &socket.Message{Addr: six, Flags: unix.MSG_MORE}); err != nil {
		t.Fatal(err)
	}
	if err := s.Connect(root, peer.Name()); err != nil {
		t.Fatal(err)
	}
	if err := s.SetOption(root, unix.IPPROTO_IPV6, unix.IPV6_ADDRFORM, int32Bytes(unix.AF_INET)); err != unix.EBUSY {
		t.Errorf("IPV6_ADDRFORM: %v", err)
	}
}
