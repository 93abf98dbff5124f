package hostcgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// systemdPrefix begins annotations that set properties of the systemd unit:
// org.systemd.property.TimeoutStopUSec.
const systemdPrefix = "org.systemd.property."

// plan turns the spec's words into the library's.
func plan(spec *specs.Spec, id string, opt Options) (*cgroups.Cgroup, error) {
	if id == "" {
		return nil, errors.New("a cgroup is named after its container, which has no ID")
	}
	config := &cgroups.Cgroup{
		Systemd:   opt.Systemd,
		Rootless:  opt.Rootless,
		Resources: &cgroups.Resources{},
	}
	linux := spec.Linux
	if linux == nil {
		linux = &specs.Linux{}
	}
	if err := place(config, linux.CgroupsPath, id); err != nil {
		return nil, err
	}
	if opt.Systemd {
		props, err := unitProperties(spec.Annotations)
		if err != nil {
			return nil, err
		}
		config.SystemdProps = props
	}
	var asked []specs.LinuxDeviceCgroup
	if r := linux.Resources; r != nil {
		if err := limit(config.Resources, r, cgroups.IsCgroup2UnifiedMode()); err != nil {
			return nil, err
		}
		asked = r.Devices
	}
	rules, err := deviceRules(asked, linux.Devices)
	if err != nil {
		return nil, err
	}
	config.Resources.Devices = rules
	config.OwnerUID = owner(spec)
	return config, nil
}

// place says where the cgroup is to be. The library interprets absolute and
// relative paths as runc does.
func place(config *cgroups.Cgroup, path, id string) error {
	if strings.ContainsRune(path, 0) {
		return errors.New("linux.cgroupsPath contains a NUL byte")
	}
	if strings.ContainsRune(path, '\n') { // cgroups(7)
		return fmt.Errorf("linux.cgroupsPath is %q: the name of a cgroup has no line break", path)
	}
	if config.Systemd {
		if path == "" {
			config.ScopePrefix, config.Name = "coffer", id
			return nil
		}
		parts := strings.Split(path, ":")
		if len(parts) != 3 {
			return fmt.Errorf("linux.cgroupsPath is %q; with --systemd-cgroup it must have the form slice:prefix:name", path)
		}
		config.Parent, config.ScopePrefix, config.Name = parts[0], parts[1], parts[2]
		return nil
	}
	if path == "" {
		config.Name = id
		return nil
	}
	if slices.Contains(strings.Split(path, "/"), "..") {
		return fmt.Errorf("linux.cgroupsPath is %q; a path with .. may lead out of its hierarchy, so give it without", path)
	}
	if filepath.Clean("/"+path) == "/" {
		return fmt.Errorf("linux.cgroupsPath is %q, which is the root of the hierarchy and cannot be a container's", path)
	}
	config.Path = path
	return nil
}

// owner is the user who gets to own the cgroup's files on v2: the container's
// own, if it has a cgroup namespace and sees its cgroup writable; nil for
// nobody else than root.
func owner(spec *specs.Spec) *int {
	if spec.Linux == nil || !slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.CgroupNamespace && n.Path == ""
	}) {
		return nil
	}
	if !slices.ContainsFunc(spec.Mounts, func(m specs.Mount) bool {
		return m.Type == "cgroup" && filepath.Clean(m.Destination) == "/sys/fs/cgroup" && !slices.Contains(m.Options, "ro")
	}) {
		return nil
	}
	uid := uint32(0)
	if spec.Process != nil {
		uid = spec.Process.User.UID
	}
	for _, m := range spec.Linux.UIDMappings {
		if uid >= m.ContainerID && uid-m.ContainerID < m.Size {
			host := int(m.HostID + (uid - m.ContainerID))
			return &host
		}
	}
	return nil
}

// systemdRuns is sd_booted(3).
func systemdRuns() bool {
	fi, err := os.Lstat("/run/systemd/system")
	return err == nil && fi.IsDir()
}

// propertyName reports whether systemd's D-Bus interface may have a property of
// that name: org.freedesktop.systemd1(5).
func propertyName(s string) bool {
	return len(s) >= 3 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz") == ""
}

// unitProperties are the properties that annotations give the unit. A value is
// written in GVariant text; what ends in Sec is in seconds and becomes
// microseconds, as systemd's own unit files have it.
func unitProperties(annotations map[string]string) ([]systemd.Property, error) {
	var names []string
	for key := range annotations {
		if strings.HasPrefix(key, systemdPrefix) {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	var props []systemd.Property
	for _, key := range names {
		name := strings.TrimPrefix(key, systemdPrefix)
		if !propertyName(name) {
			return nil, fmt.Errorf("annotation %q: %q is no name of a property of a systemd unit", key, name)
		}
		value, err := dbus.ParseVariant(annotations[key], dbus.Signature{})
		if err != nil {
			return nil, fmt.Errorf("annotation %q: parsing %q as a GVariant: %w", key, annotations[key], err)
		}
		if base, ok := strings.CutSuffix(name, "Sec"); ok && base != "" && !strings.HasSuffix(name, "USec") {
			if value, err = microseconds(value); err != nil {
				return nil, fmt.Errorf("annotation %q: %w", key, err)
			}
			name = base + "USec"
		}
		props = append(props, systemd.Property{Name: name, Value: value})
	}
	return props, nil
}

// microseconds converts a number of seconds.
func microseconds(v dbus.Variant) (dbus.Variant, error) {
	const million = 1000000
	var sec float64
	switch n := v.Value().(type) {
	case byte:
		sec = float64(n)
	case int16:
		sec = float64(n)
	case uint16:
		sec = float64(n)
	case int32:
		sec = float64(n)
	case uint32:
		sec = float64(n)
	case int64:
		sec = float64(n)
	case uint64:
		sec = float64(n)
	case float64:
		sec = n
	default:
		return v, fmt.Errorf("%s is no number of seconds", v)
	}
	if sec < 0 || sec*million > 1<<63 {
		return v, fmt.Errorf("%s seconds are out of range", v)
	}
	return dbus.MakeVariant(uint64(sec * million)), nil
}
