package identity

import (
	"maps"
	"slices"

	"coffer/internal/oci/linuxname"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Features adds what Settings know, whatever this host can do, for the features
// command.
func Features(f *features.Linux) {
	yes := true
	f.Capabilities = linuxname.Capabilities()
	f.Apparmor = &features.Apparmor{Enabled: &yes}
	f.Selinux = &features.Selinux{Enabled: &yes}
	f.MemoryPolicy = &features.MemoryPolicy{}
	for _, mode := range slices.Sorted(maps.Keys(memoryModes)) {
		f.MemoryPolicy.Modes = append(f.MemoryPolicy.Modes, string(mode))
	}
	for _, flag := range slices.Sorted(maps.Keys(memoryFlags)) {
		f.MemoryPolicy.Flags = append(f.MemoryPolicy.Flags, string(flag))
	}
}
