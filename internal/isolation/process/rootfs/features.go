package rootfs

import "github.com/opencontainers/runtime-spec/specs-go/features"

// Features adds what is supported of mounts and network devices.
func Features(f *features.Features) {
	yes := true
	f.MountOptions = MountOptions()
	f.Linux.MountExtensions = &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}}
	f.Linux.NetDevices = &features.NetDevices{Enabled: &yes}
}
