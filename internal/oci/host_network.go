package oci

import (
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// UsesHostNetwork reports whether a container is to have the network of whoever runs
// it: its spec lists no network namespace, or this process's own.
func UsesHostNetwork(spec *specs.Spec) bool {
	if spec.Linux == nil {
		return true
	}
	for _, n := range spec.Linux.Namespaces {
		if n.Type != specs.NetworkNamespace {
			continue
		}
		if n.Path == "" {
			return false
		}
		named, err := os.Stat(n.Path)
		if err != nil {
			return false // whoever opens it says why
		}
		own, err := os.Stat("/proc/self/ns/net")
		return err == nil && os.SameFile(named, own)
	}
	return true
}
