package kernel

import (
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestNamespacePaths: a network namespace may be named, and must be one; no
// other of the host's may be named.
func TestNamespacePaths(t *testing.T) {
	for _, c := range []struct {
		kind specs.LinuxNamespaceType
		path string
		err  string
	}{
		{specs.NetworkNamespace, "/proc/self/ns/net", ""},
		{specs.NetworkNamespace, "/proc/self/ns/pid", "is no network namespace"},
		{specs.NetworkNamespace, "/etc", "is no network namespace"},
		{specs.NetworkNamespace, filepath.Join(t.TempDir(), "none"), "no such file"},
		{specs.UTSNamespace, "/proc/self/ns/uts", "cannot join a uts namespace"},
	} {
		var list []specs.LinuxNamespace
		for _, kind := range append([]specs.LinuxNamespaceType{specs.NetworkNamespace}, own...) {
			n := specs.LinuxNamespace{Type: kind}
			if kind == c.kind {
				n.Path = c.path
			}
			list = append(list, n)
		}
		err := checkNamespaces(list, 0)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s %s: %v, want %q", c.kind, c.path, err, c.err)
		}
	}
}

// TestBindData: what no bind mount has is no reason to refuse one.
func TestBindData(t *testing.T) {
	for _, options := range [][]string{{"bind", "mode=755"}, {"rbind", "ro", "size=1k"}} {
		if err := checkMount("mounts[0]", &specs.Mount{Source: "/etc", Destination: "/mnt", Options: options}); err != nil {
			t.Errorf("%v: %v", options, err)
		}
	}
}
