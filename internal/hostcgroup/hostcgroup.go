// Package hostcgroup is a container's cgroup on the host, v1 or v2, through
// cgroupfs or systemd, for every wall alike.
package hostcgroup

// Cgroup is one container's cgroup.
type Cgroup struct{}
