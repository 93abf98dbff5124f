package container

import (
	"coffer/internal/hostcgroup"
	"coffer/internal/isolation"
	"coffer/internal/isolation/kernel"
	"coffer/internal/isolation/process/identity"
	"coffer/internal/isolation/process/rootfs"
	"coffer/internal/oci"
	"coffer/internal/seccomp/profile"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// AnnotationIsolation is the annotation of a bundle that chooses its wall.
const AnnotationIsolation = "dev.coffer.isolation"

// Features says what of the specification is supported, by which version of
// Coffer. It is what the process wall supports: the kernel wall refuses the
// fields that an annotation lists. The other annotations name the walls.
func Features(version, commit string) *features.Features {
	f := oci.Features()
	f.Linux.Cgroup = hostcgroup.Features()
	f.Linux.Seccomp = profile.Features()
	identity.Features(f.Linux)
	rootfs.Features(f)
	f.Annotations = map[string]string{
		"dev.coffer.version":                  version,
		"dev.coffer.isolation.kernel.refused": kernel.RefusedFields(),
	}
	if commit != "" {
		f.Annotations["dev.coffer.commit"] = commit
	}
	for _, level := range isolation.Levels {
		f.Annotations["dev.coffer.isolation."+string(level)] = "true"
	}
	f.PotentiallyUnsafeConfigAnnotations = []string{AnnotationIsolation, "org.systemd.property."}
	return f
}
