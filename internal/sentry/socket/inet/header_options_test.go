package inet

import (
	"bytes"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// FuzzHeaderOptions makes headers of what programs give, and answers to what comes.
func FuzzHeaderOptions(f *testing.F) {
	f.Add([]byte{1, 7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0}, true)
	f.Add([]byte{131, 11, 4, 127, 0, 0, 2, 127, 0, 0, 3, 68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0}, true)
	f.Add([]byte{68, 20, 5, 3, 127, 0, 0, 1, 0, 0, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0, 148, 4, 0, 0}, false)
	f.Add([]byte{68, 8, 9, 0xf1, 1, 2, 3, 4, 20, 4, 1, 1}, true)
	local := func(ip [4]byte) bool { return ip[0] == 127 }
	from, to := tcpip.AddrFrom4([4]byte{127, 0, 0, 1}), tcpip.AddrFrom4([4]byte{10, 0, 0, 1})
	f.Fuzz(func(t *testing.T, value []byte, privileged bool) {
		if back := returnedOptions(value, local); len(back)%4 != 0 {
			t.Errorf("% x comes back as % x", value, back)
		}
		o, err := parseHeaderOptions(value, privileged, local)
		if err != nil || o == nil {
			return
		}
		again, err := parseHeaderOptions(o.data, privileged, local)
		if err != nil || !bytes.Equal(again.data, o.data) {
			t.Fatalf("% x is read as % x, and that is not: %v", value, o.data, err)
		}
		b := o.build(from, to, local)
		if len(b) != len(o.data) || len(b)%4 != 0 || len(b) > maxIPOptions {
			t.Fatalf("% x is sent as % x", o.data, b)
		}
		if back := returnedOptions(b, local); len(back) > len(b) {
			t.Errorf("% x comes back as % x", b, back)
		} else if _, err := parseHeaderOptions(back, true, local); err != nil {
			t.Errorf("% x comes back as % x: %v", b, back, err)
		}
	})
}
