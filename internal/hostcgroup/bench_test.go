package hostcgroup

import (
	"os"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkCreate is what a container's cgroup costs from its plan to its
// removal: it is on the path of every start.
func BenchmarkCreate(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("only root may make cgroups here")
	}
	spec := &specs.Spec{Linux: &specs.Linux{CgroupsPath: "/coffer-test-" + newMark(), Resources: resources(64<<20, 20)}}
	for b.Loop() {
		c, err := planAndCreate(spec, "id", Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Destroy(); err != nil {
			b.Fatal(err)
		}
	}
}
