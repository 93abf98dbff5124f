package rootfs

import (
	"coffer/internal/oci/mountoption"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Features adds what is supported of mounts and network devices.
func Features(f *features.Features) {
	yes := true
	f.MountOptions = mountoption.Names()
	f.Linux.MountExtensions = &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}}
	f.Linux.NetDevices = &features.NetDevices{Enabled: &yes}
}
