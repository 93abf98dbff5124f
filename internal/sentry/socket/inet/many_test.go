package inet

import (
	"math/rand/v2"
	"sync"
	"testing"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// TestOneSocketByMany has many use one socket of datagrams at once, whose endpoint and headers change all the time.
func TestOneSocketByMany(t *testing.T) {
	nothingHeld(t)
	for _, family := range []int32{unix.AF_INET, unix.AF_INET6} {
		n := newNet()
		peer := n.socket(t, family, unix.SOCK_DGRAM)
		name := loopback4(0)
		if family == unix.AF_INET6 {
			name = make([]byte, 28)
			name[0], name[23] = unix.AF_INET6, 1
		}
		if err := peer.Bind(root, name); err != nil {
			t.Fatal(err)
		}
		s := n.socket(t, family, unix.SOCK_DGRAM)
		level, set, report, forOne := int32(unix.IPPROTO_IP), int32(unix.IP_OPTIONS), int32(unix.IP_RECVOPTS), int32(unix.IP_RETOPTS)
		value := []byte{optionNop, optionRecordRoute, 7, 4, 0, 0, 0, 0}
		if family == unix.AF_INET6 {
			level, set, report, forOne = unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, unix.IPV6_RECVHOPOPTS, unix.IPV6_DSTOPTS
			value = []byte{0, 0, 1, 4, 0, 0, 0, 0}
		}
		once := socket.ControlMessage{Level: level, Type: forOne, Data: value}
		acts := []func(r *rand.Rand){
			func(*rand.Rand) { s.Connect(root, peer.Name()) },
			func(*rand.Rand) { s.Connect(root, []byte{unix.AF_UNSPEC, 0}) },
			func(*rand.Rand) { s.Connect(root, s.Name()) },
			func(r *rand.Rand) { s.SetOption(root, level, set, value[:r.IntN(2)*8]) },
			func(r *rand.Rand) { s.SetOption(root, level, report, int32Bytes(r.Int32N(2))) },
			func(r *rand.Rand) { s.SetOption(root, unix.SOL_SOCKET, unix.SO_PEEK_OFF, int32Bytes(r.Int32N(40)-1)) },
			func(r *rand.Rand) { s.SetOption(root, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, []byte("lo\x00")) },
			func(r *rand.Rand) {
				s.Send(root, make([]byte, r.IntN(4000)), &socket.Message{Addr: peer.Name(), Control: []socket.ControlMessage{once}})
			},
			func(r *rand.Rand) { s.Send(root, make([]byte, r.IntN(100)), &socket.Message{Addr: s.Name()}) },
			func(r *rand.Rand) {
				s.Send(root, make([]byte, r.IntN(100)), &socket.Message{Flags: unix.MSG_MORE * r.Int32N(2)})
			},
			func(r *rand.Rand) { peer.Send(root, make([]byte, r.IntN(4000)), &socket.Message{Addr: s.Name()}) },
			func(r *rand.Rand) { peer.SetOption(root, level, set, value[:r.IntN(2)*8]) },
			func(r *rand.Rand) {
				flags := []int32{0, unix.MSG_PEEK, unix.MSG_TRUNC, unix.MSG_PEEK | unix.MSG_TRUNC, unix.MSG_ERRQUEUE}
				s.Recv(make([]byte, r.IntN(2000)), &socket.Message{Flags: flags[r.IntN(len(flags))]})
			},
			func(*rand.Rand) { peer.Recv(make([]byte, 1<<16), &socket.Message{}) },
			func(*rand.Rand) { s.Readiness(waiter.Readable | waiter.Writable) },
			func(*rand.Rand) { s.Info(); s.Option(root, level, set) },
		}
		var wg sync.WaitGroup
		for i := range uint64(6) {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(i, 1))
				for range 2000 {
					acts[r.IntN(len(acts))](r)
				}
			})
		}
		wg.Wait()
		s.Release()
		peer.Release()
	}
}
