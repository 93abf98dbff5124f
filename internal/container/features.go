package container

import (
	"fmt"

	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"
	"coffer/internal/isolation/process/identity"
	"coffer/internal/oci"
	"coffer/internal/seccomp/profile"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Features says what of the specification is supported, by which version of
// Coffer, behind which walls.
func Features(version, commit string) *features.Features {
	f := oci.Features()
	rootfs.AddFeatures(f)
	f.Linux.Cgroup = hostcgroup.Features()
	f.Linux.Seccomp = profile.Features()
	identity.Features(f.Linux)
	f.Annotations = map[string]string{
		"dev.coffer.version": version,
		"dev.coffer.commit":  commit,
	}
	for _, level := range isolation.Levels {
		f.Annotations[fmt.Sprintf("dev.coffer.isolation.%s", level)] = "true"
	}
	return f
}
