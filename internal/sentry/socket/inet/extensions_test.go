package inet

import (
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// FuzzExtensions reads the headers that come, and has those sent that programs give.
func FuzzExtensions(f *testing.F) {
	f.Add([]byte{0x60, 0, 0, 0, 0, 0, 0, 64, 39: 1, 40: 60, 42: 1, 43: 4, 48: 44, 49: 1, 50: 0x1e, 51: 12, 64: 17, 71: 1})
	f.Add([]byte{0, 4, 4, 1, 1, 0, 0, 0, 23: 1, 24: 0xfd, 39: 9})
	f.Add([]byte{17, 1, 4, 0, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for _, x := range arrivedExtensions(b) {
			if n += len(x.Data); len(x.Data) < 8 || extensionLength(x.Data) != len(x.Data) {
				t.Errorf("% x has % x", b, x.Data)
			}
		}
		if n > len(b) {
			t.Errorf("% x has %d bytes of headers", b, n)
		}
		h, err := cutExtension(b)
		if err != nil {
			return
		}
		var s Socket
		x := &extensions{hop: h, end: h}
		if checkRoute(h) {
			x.route = h
		}
		s.always6.Store(x)
		out := s.ExtensionHeaders(tcpip.AddrFrom16([16]byte{15: 1}))
		n = 0
		for _, x := range append(out.Way, out.End...) {
			n += len(x.Data)
		}
		if len(out.Way) == 0 || out.Way[0].Kind != unix.IPPROTO_HOPOPTS || n != x.length() {
			t.Errorf("% x is sent as % x and % x", h, out.Way, out.End)
		}
	})
}
