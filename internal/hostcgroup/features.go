package hostcgroup

import "github.com/opencontainers/runtime-spec/specs-go/features"

// Features is which kinds of cgroups can be made, whatever this host has, for
// the features command.
func Features() *features.Cgroup {
	yes := true
	return &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes}
}
