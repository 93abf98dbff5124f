package network

import (
	"net/netip"
	"strings"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

func TestSourceRoutesAreFound(t *testing.T) {
	for _, c := range []struct {
		options []byte
		want    bool
	}{
		{nil, false},
		{[]byte{131, 7, 4, 1, 2, 3, 4, 0}, true},
		{[]byte{1, 137, 7, 4, 1, 2, 3, 4}, true},
		{[]byte{7, 7, 4, 131, 131, 131, 131, 0}, false},
		{[]byte{7, 7, 4, 0, 0, 0, 0, 131}, true},
		{[]byte{0, 131, 7, 4}, false},
		{[]byte{7, 9, 4, 131}, false},
		{[]byte{7, 1, 131, 3}, false},
		{[]byte{1, 1, 1, 7}, false},
	} {
		if got := hasSourceRoute(c.options); got != c.want {
			t.Errorf("hasSourceRoute(% x) = %v", c.options, got)
		}
	}
}

// TestNeighboursThatAreNotThere connects to addresses on the link that nobody has: that is told.
func TestNeighboursThatAreNotThere(t *testing.T) {
	a, b := Empty(), Empty()
	pair(t, a, NewLink{Name: "a"}, b, NewLink{Name: "b"})
	up(t, b, "b", "10.9.0.2/24")
	for _, prefix := range []string{"10.9.0.1/24", "fd09::1/64"} {
		up(t, a, "a", prefix)
		p := netip.MustParsePrefix(prefix)
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			to := netip.AddrPortFrom(p.Addr().Next().Next(), 80)
			_, err := gonet.DialContextTCP(t.Context(), a.Stack(), full(to.String()), protocolOf(p.Addr()))
			if err == nil || !strings.Contains(err.Error(), "no route to host") {
				t.Errorf("connecting to %v: %v", to, err)
			}
		})
	}
}
