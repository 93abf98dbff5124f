package hostcgroup

import (
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
)

// init puts setDevicesV1 before the library's own function for device rules on
// cgroup v1.
func init() {
	library := cgroups.DevicesSetV1
	cgroups.DevicesSetV1 = func(path string, r *cgroups.Resources) error {
		if r.SkipDevices || !listed(r.Devices) || InUserNamespace() {
			return library(path, r)
		}
		return setDevicesV1(path, r.Devices)
	}
}

// listed reports whether rules are a list of what is allowed where all else is
// denied, as engines write them. Others are the library's: what the kernel makes
// of a rule that denies part of what another one allows is no denial.
func listed(rules []*devices.Rule) bool {
	for i, r := range rules {
		all := r.Type == devices.WildcardDevice
		if i == 0 && (r.Allow || !all) || i > 0 && (!r.Allow || all) {
			return false
		}
	}
	return len(rules) > 0
}

// InUserNamespace reports whether this is not the initial user namespace, from
// where the kernel lets nobody change what devices are allowed, and whose root has
// no power over the host. The initial one maps all IDs to themselves
// (user_namespaces(7)).
func InUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !slices.Equal(strings.Fields(string(b)), []string{"0", "0", "4294967295"})
}

// setDevicesV1 applies a list of what is allowed in the order in which it is
// written ("The runtime MUST apply entries in the listed order",
// config-linux.md), which devices.list then shows. The library sorts it.
func setDevicesV1(path string, rules []*devices.Rule) error {
	for _, r := range rules {
		file := "devices.deny"
		if r.Allow {
			file = "devices.allow"
		}
		if err := cgroups.WriteFile(path, file, r.CgroupString()); err != nil {
			return err
		}
	}
	return nil
}
