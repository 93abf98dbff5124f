package inet

import (
	"sync"
	"testing"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// TestAddressFormUnderway has a socket become one of AF_INET while others send, look at it and disconnect it: each of
// them sees one family or the other.
func TestAddressFormUnderway(t *testing.T) {
	n := newNet()
	for _, typ := range []int32{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
		for range 20 {
			l := n.socket(t, unix.AF_INET, typ)
			if err := l.Bind(root, loopback4(0)); err != nil {
				t.Fatal(err)
			}
			l.Listen(root, 1)
			local, _ := l.ep.Load().GetLocalAddress()
			s := n.socket(t, unix.AF_INET6, typ)
			if err := again(s, waiter.Writable, func() error { return s.Connect(root, sockaddr(unix.AF_INET6, local)) }); err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for _, f := range []func(){
				func() { s.SetOption(root, unix.IPPROTO_IPV6, unix.IPV6_ADDRFORM, int32Bytes(unix.AF_INET)) },
				func() { s.SetOption(root, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, int32Bytes(1)) },
				func() { s.Send(root, []byte("x"), &socket.Message{}) },
				func() { s.Send(root, []byte("x"), &socket.Message{Addr: loopback4(local.Port)}) },
				func() { s.Info() },
				func() { s.Connect(root, make([]byte, sizeofSockaddr4)) },
			} {
				all.Go(f)
			}
			for range 10 {
				switch name := s.Name(); family(name) {
				case unix.AF_INET, unix.AF_INET6:
					if want := map[int32]int{unix.AF_INET: sizeofSockaddr4, unix.AF_INET6: sizeofSockaddr6}[family(name)]; len(name) != want {
						t.Errorf("a name of %d bytes, want %d", len(name), want)
					}
				default:
					t.Errorf("family %d", family(name))
				}
			}
			all.Wait()
			s.Release()
			l.Release()
		}
	}
}
