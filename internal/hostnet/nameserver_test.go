package hostnet

import (
	"net/netip"
	"testing"
)

func TestListensAt(t *testing.T) {
	const table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n" +
		" 1437: 0B00007F:9C56 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 28934 2 0000000000000000 0\n\n"
	for address, want := range map[string]bool{"127.0.0.11": true, "127.0.0.1": false, "11.0.0.127": false, "0.0.0.0": false} {
		if got := listensAt([]byte(table), netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}
