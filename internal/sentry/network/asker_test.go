package network

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"coffer/internal/egress"
	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// askedBy starts a policy, and has answer called for each question until it returns
// false. Then the socket's other end is closed.
func askedBy(t *testing.T, answer func(fd int, q egress.Question) bool) *asker {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewAsker(fds[0]); err == nil {
		t.Fatal("a socket that blocks is taken")
	}
	unix.SetNonblock(fds[0], true)
	policy, err := NewAsker(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	a := policy.(*asker)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(fds[1])
		b := make([]byte, 256)
		for {
			n, err := unix.Read(fds[1], b)
			if n <= 0 || err != nil {
				return
			}
			q, err := egress.ParseQuestion(b[:n])
			if err != nil {
				t.Error(err)
				return
			}
			if !answer(fds[1], q) {
				return
			}
		}
	}()
	t.Cleanup(func() { a.f.Close(); <-done })
	return a
}

func reply(fd int, id uint64, permitted bool) {
	r := egress.Reply{ID: id, Permitted: permitted}
	unix.Write(fd, r.Append(nil))
}

func flowTo(to string) Flow {
	return Flow{Protocol: unix.IPPROTO_TCP, To: netip.MustParseAddrPort(to), PID: 7, Command: "test"}
}

func TestAskerAsks(t *testing.T) {
	var mu sync.Mutex
	asked := map[netip.AddrPort]int{}
	a := askedBy(t, func(fd int, q egress.Question) bool {
		mu.Lock()
		asked[q.To]++
		mu.Unlock()
		if q.PID != 7 || q.Command != "test" || q.Protocol != unix.IPPROTO_TCP {
			t.Errorf("asked %+v", q)
		}
		unix.Write(fd, []byte("no reply"))
		reply(fd, q.ID+1000, true)
		reply(fd, q.ID, q.To.Port() == 443)
		return true
	})
	for range 3 {
		if err := a.Permit(flowTo("198.51.100.1:443")); err != nil {
			t.Errorf("permitted: %v", err)
		}
		if err := a.Permit(flowTo("198.51.100.1:80")); !errors.Is(err, unix.EACCES) {
			t.Errorf("refused: %v", err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if n := asked[netip.MustParseAddrPort("198.51.100.1:80")]; n != 3 {
		t.Errorf("what is refused was asked %d times", n)
	}
	if len(a.waiting) != 0 {
		t.Errorf("%d questions are kept", len(a.waiting))
	}
}

func TestAskerManyAtOnce(t *testing.T) {
	var held []uint64
	a := askedBy(t, func(fd int, q egress.Question) bool {
		held = append(held, q.ID)
		if len(held) == 20 { // answered in the other order
			for i := range held {
				reply(fd, held[len(held)-1-i], true)
			}
		}
		return true
	})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			f := flowTo("198.51.100.1:443")
			f.To = netip.AddrPortFrom(f.To.Addr(), uint16(i+1))
			if err := a.Permit(f); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// Without anybody at the other end, nothing is permitted, at once.
func TestAskerFailsClosed(t *testing.T) {
	a := askedBy(t, func(fd int, q egress.Question) bool {
		if q.To.Port() == 1 {
			return false
		}
		reply(fd, q.ID, true)
		return true
	})
	if err := a.Permit(flowTo("198.51.100.1:443")); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"198.51.100.1:1", "198.51.100.1:2", "198.51.100.1:443"} {
		if err := a.Permit(flowTo(to)); !errors.Is(err, unix.EACCES) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// A wait ends with a signal, and the call is made again.
func TestAskerIsInterrupted(t *testing.T) {
	asked := make(chan uint64, 2)
	a := askedBy(t, func(fd int, q egress.Question) bool {
		asked <- q.ID
		if q.ID > 1 {
			reply(fd, q.ID-1, true) // late
			reply(fd, q.ID, true)
		}
		return true
	})
	f := flowTo("198.51.100.1:443")
	f.Block = func(come <-chan struct{}, _ time.Time) error {
		if <-asked == 1 {
			return abi.ERESTARTSYS
		}
		<-come
		return nil
	}
	if err := a.Permit(f); err != abi.ERESTARTNOINTR {
		t.Errorf("interrupted: %v", err)
	}
	if err := a.Permit(f); err != nil {
		t.Errorf("again: %v", err)
	}
}

// What does not leave the sandbox is not the policy's business.
func TestLocalFlowsAreNotAsked(t *testing.T) {
	n, inner := Loopback(), Loopback()
	n.config.Policy = policyFunc(func(Flow) error { return unix.EACCES })
	pair(t, n, NewLink{Name: "veth0"}, inner, NewLink{Name: "veth1"})
	up(t, inner, "veth1", "10.5.0.2/24")
	up(t, n, "veth0", "10.5.0.1/24")
	for _, to := range []string{"127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "0.0.0.0:80", "[::]:80", "10.5.0.1:80", "10.5.0.2:80"} {
		if err := n.Permit(flowTo(to)); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
	for _, to := range []string{"10.0.2.2:80", "198.51.100.1:80", "224.0.0.251:5353", "[2001:db8::1]:80"} {
		if err := n.Permit(flowTo(to)); err != unix.EACCES {
			t.Errorf("%s: %v", to, err)
		}
	}
}

type policyFunc func(Flow) error

func (f policyFunc) Permit(flow Flow) error { return f(flow) }
