package boot

import (
	"os"
	"strings"
	"testing"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// TestLateNetwork tells a sentry of its network, with the lowest descriptors free that
// there are, which are those of the description and its like.
func TestLateNetwork(t *testing.T) {
	for _, test := range []struct {
		name   string
		places []int
		err    string
	}{
		{"none", nil, ""},
		{"two", []int{1, 0}, ""},
		{"one that has not come", []int{2}, "no descriptor came"},
		{"one for two", []int{0, 0}, "the descriptor of another one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			c, err := NewConn(fds[0])
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var files []int
			for range 2 {
				f, err := os.Open(os.DevNull)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				files = append(files, int(f.Fd()))
			}
			var n *network.Config
			if test.places != nil {
				n = new(network.Config)
			}
			for _, p := range test.places {
				n.Interfaces = append(n.Interfaces, network.Interface{Name: "eth0", FD: p})
			}
			if err := SendNetwork(c, n, files); err != nil {
				t.Fatal(err)
			}
			b := &Sandbox{Server: &Server{Furnished: fds[1]}}
			err = b.receiveNetwork()
			if got := errorText(err); test.err == "" && err != nil || !strings.Contains(got, test.err) {
				t.Errorf("it says %q", got)
			}
			if b.Network == nil {
				return
			}
			for i := range b.Network.Interfaces {
				if fd := b.Network.Interfaces[i].FD; err == nil && unix.Close(fd) != nil {
					t.Errorf("interface %d has descriptor %d", i, fd)
				}
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
