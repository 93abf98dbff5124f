package sysfs

import (
	"strings"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// inNetwork is a caller in a network namespace.
type inNetwork struct {
	vfs.Caller
	n *network.Namespace
}

func (c inNetwork) Credentials() *auth.Credentials { return &auth.Credentials{} }

func (c inNetwork) Network() *network.Namespace { return c.n }

func TestEachSeesTheInterfacesOfItsNetwork(t *testing.T) {
	fs := New(Config{CPUs: []uint64{1}})
	one, other := inNetwork{n: network.Loopback()}, inNetwork{n: network.Empty()}
	if _, err := other.n.AddDummy(network.NewLink{Name: "d0"}); err != nil {
		t.Fatal(err)
	}
	dir, err := fs.Root().Lookup("devices")
	for _, name := range []string{"virtual", "net"} {
		if err != nil {
			t.Fatal(err)
		}
		dir, err = dir.Lookup(name)
	}
	look := func(c inNetwork, path string) (string, error) {
		ino := vfs.InodeFor(c, dir)
		for name := range strings.SplitSeq(path, "/") {
			next, err := vfs.InodeFor(c, ino).Lookup(name)
			if err != nil {
				return "", err
			}
			ino = next
		}
		f, err := ino.Open(c, unix.O_RDONLY)
		if err != nil {
			return "", err
		}
		var b [100]byte
		n, err := f.Read(c, b[:], 0)
		return string(b[:n]), err
	}
	for _, c := range []struct {
		who  inNetwork
		path string
		text string
		err  error
	}{
		{one, "lo/mtu", "65536\n", nil}, {one, "lo/operstate", "unknown\n", nil}, {one, "lo/carrier", "1\n", nil},
		{one, "lo/type", "772\n", nil}, {one, "lo/flags", "0x9\n", nil}, {one, "lo/speed", "", unix.EINVAL},
		{one, "lo/statistics/rx_bytes", "0\n", nil}, {one, "d0", "", unix.ENOENT},
		{other, "d0/operstate", "down\n", nil}, {other, "d0/carrier", "", unix.EINVAL}, {other, "d0/mtu", "1500\n", nil},
		{other, "lo/carrier", "", unix.EINVAL},
	} {
		if text, err := look(c.who, c.path); text != c.text || err != c.err {
			t.Errorf("%s: %q, %v, want %q, %v", c.path, text, err, c.text, c.err)
		}
	}
	if !fs.Revalidate(vfs.InodeFor(other, dir), "d0", dir) || fs.Revalidate(vfs.InodeFor(one, dir), "d0", dir) {
		t.Error("a name of one network counts in another")
	}
	if one.n.Started() {
		t.Error("looking has started a stack")
	}
}
