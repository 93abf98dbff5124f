package container

import (
	"fmt"

	"coffer/internal/isolation"
	"coffer/internal/oci"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Features says what of the specification is supported, by which version of
// Coffer, behind which walls.
func Features(version, commit string) *features.Features {
	f := oci.Features()
	f.Annotations = map[string]string{
		"dev.coffer.version": version,
		"dev.coffer.commit":  commit,
	}
	for _, level := range isolation.Levels {
		f.Annotations[fmt.Sprintf("dev.coffer.isolation.%s", level)] = "true"
	}
	return f
}
