package hostcgroup

import (
	"fmt"
	"path/filepath"
	"slices"

	devices "github.com/opencontainers/cgroups/devices/config"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// always are the devices that a container may use whatever its spec says, but
// for those that it puts at the same path itself (config-linux.md, "Default
// Devices"), and, as with other runtimes, the making of any device node: that
// takes CAP_MKNOD, and what the node stands for stays out of reach.
var always = []struct {
	path string
	rule devices.Rule
}{
	{"", allow(devices.CharDevice, devices.Wildcard, devices.Wildcard, "m")},
	{"", allow(devices.BlockDevice, devices.Wildcard, devices.Wildcard, "m")},
	{"/dev/null", allow(devices.CharDevice, 1, 3, "rwm")},
	{"/dev/zero", allow(devices.CharDevice, 1, 5, "rwm")},
	{"/dev/full", allow(devices.CharDevice, 1, 7, "rwm")},
	{"/dev/random", allow(devices.CharDevice, 1, 8, "rwm")},
	{"/dev/urandom", allow(devices.CharDevice, 1, 9, "rwm")},
	{"/dev/tty", allow(devices.CharDevice, 5, 0, "rwm")},
	{"/dev/console", allow(devices.CharDevice, 5, 1, "rwm")},
	{"/dev/ptmx", allow(devices.CharDevice, 5, 2, "rwm")},
	{"", allow(devices.CharDevice, 136, devices.Wildcard, "rwm")}, // /dev/pts/*
}

func allow(t devices.Type, major, minor int64, perm devices.Permissions) devices.Rule {
	return devices.Rule{Type: t, Major: major, Minor: minor, Permissions: perm, Allow: true}
}

// deviceRules are the rules of a container, the first ones first: what asked
// says, and then what is always allowed. What no rule allows is denied. nodes
// are the device nodes that the spec makes.
func deviceRules(asked []specs.LinuxDeviceCgroup, nodes []specs.LinuxDevice) ([]*devices.Rule, error) {
	var rules []*devices.Rule
	for i, a := range asked {
		name := fmt.Sprintf("linux.resources.devices[%d]", i)
		r := devices.Rule{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Allow: a.Allow, Permissions: devices.Permissions(a.Access)}
		switch a.Type {
		case "", "a":
		case "b":
			r.Type = devices.BlockDevice
		case "c", "u":
			r.Type = devices.CharDevice
		default:
			return nil, fmt.Errorf("%s.type is %q; it must be a, b or c", name, a.Type)
		}
		for _, n := range []struct {
			name string
			p    *int64
			to   *int64
		}{{"major", a.Major, &r.Major}, {"minor", a.Minor, &r.Minor}} {
			if n.p == nil {
				continue
			}
			if *n.p < devices.Wildcard || *n.p > 1<<32-1 {
				return nil, fmt.Errorf("%s.%s is %d; it must be a device number, or -1 for all", name, n.name, *n.p)
			}
			*n.to = *n.p
		}
		if a.Access == "" {
			return nil, fmt.Errorf("%s.access is empty; it must be of the letters r, w and m", name)
		}
		for _, letter := range a.Access {
			if letter != 'r' && letter != 'w' && letter != 'm' {
				return nil, fmt.Errorf("%s.access is %q; it must be of the letters r, w and m", name, a.Access)
			}
		}
		rules = append(rules, &r)
	}
	for _, d := range always {
		if d.path != "" && slices.ContainsFunc(nodes, func(n specs.LinuxDevice) bool { return filepath.Clean(n.Path) == d.path }) {
			continue
		}
		rule := d.rule
		rules = append(rules, &rule)
	}
	return rules, nil
}
