package e2e

import (
	"fmt"
	"net"
	"testing"
)

// tellCallers listens on an address of the host and tells whoever connects from which
// address that is. It returns the port.
func tellCallers(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp4", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, "from", c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
