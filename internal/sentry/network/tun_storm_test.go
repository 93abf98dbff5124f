package network

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"coffer/internal/sentry/auth"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// TestTunStorm has many do everything with the same devices at once: the race detector and the time limit judge.
func TestTunStorm(t *testing.T) {
	n, other := Loopback(), Loopback()
	ok(t, n.SetSysctl("ipv4/ip_forward", "1"))
	queues := make([]TunQueue, 6)
	kinds := map[string]uint16{"a": unix.IFF_TUN, "b": unix.IFF_TAP}
	frame := segment(false, header.UDPProtocolNumber, header.UDPMinimumSize, 300)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			b := make([]byte, 2000)
			for range 1000 {
				q, name := &queues[rand.IntN(len(queues))], string(rune('a'+rand.IntN(2)))
				l, here := n.LinkByName(name)
				switch rand.IntN(13) {
				case 0:
					q.Close()
				case 1, 2, 3:
					n.OpenTun(q, TunOpening{
						Name: name, Flags: kinds[name] | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE,
						Credentials: auth.New(0, 0, nil), Owner: auth.Initial,
					})
				case 4:
					if here {
						n.AddAddress(AddressInfo{Link: l.Index, Prefix: netip.MustParsePrefix("10.9.0.1/24")})
						n.SetUp(l.Index, true)
					}
				case 5:
					q.Enable(rand.IntN(2) == 0)
				case 6:
					if here {
						n.Move(l.Index, other, "")
					}
				case 7:
					if l, ok := other.LinkByName(name); ok {
						other.Move(l.Index, n, "")
					}
				case 8:
					if here && rand.IntN(5) == 0 {
						n.DeleteLink(l.Index)
					}
				case 9:
					q.SetOffload(unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6)
					q.SetCarrier(rand.IntN(4) != 0)
					q.SetPersistent(rand.IntN(2) == 0)
				case 10:
					q.Readiness()
					q.Device()
				default:
					q.Write(frame)
					q.Read(b)
				}
			}
		})
	}
	all.Wait()
	for i := range queues {
		q := &queues[i]
		q.Close()
		if q.of() != nil || q.frames != nil {
			t.Errorf("file %d has a device, or %d frames, when it is closed", i, len(q.frames))
		}
	}
}
