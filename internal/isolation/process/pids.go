package process

import (
	"coffer/internal/hostcgroup"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// initTasks is how many threads init may have, and those of a hook it runs.
// Fewer would do mostly, but Go gives up where it can't have one.
const initTasks = 32

// tightPids returns the limit on processes if it leaves init too few; else nil.
func tightPids(spec *specs.Spec, group *hostcgroup.Cgroup) *int64 {
	if spec.Linux.Resources == nil || spec.Linux.Resources.Pids == nil || !group.Exists() {
		return nil
	}
	limit := spec.Linux.Resources.Pids.Limit
	if limit == nil || *limit < 0 || *limit >= initTasks { // 0 is as 1: no more than the program
		return nil
	}
	return limit
}

// setPids sets the limit on processes.
func setPids(group *hostcgroup.Cgroup, limit int64) error {
	return group.Update(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}})
}
