package oci

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Features is what can be said of what is understood without knowing the walls:
// they add their own.
func Features() *features.Features {
	f := &features.Features{
		OCIVersionMin: versionMin,
		OCIVersionMax: specs.Version,
		Linux:         &features.Linux{},
	}
	for _, s := range Stages(nil) {
		f.Hooks = append(f.Hooks, s.Name)
	}
	for _, t := range namespaceTypes {
		f.Linux.Namespaces = append(f.Linux.Namespaces, string(t))
	}
	return f
}
