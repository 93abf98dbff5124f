package kernel

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"

	"coffer/internal/sentry/boot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// checkSpec says what of a spec the wall cannot honour, by the field's name. It
// has passed oci.Check. sandbox is the host's number of the sandbox's first
// process if the container is to be in a sandbox that is there; 0 if not.
func checkSpec(spec *specs.Spec, sandbox int) error {
	if spec.Process == nil {
		return errors.New("process is missing: the kernel wall makes no container without a program")
	}
	if err := refuse(reflect.ValueOf(spec), ""); err != nil {
		return err
	}
	for i := range spec.Mounts {
		if err := checkMount(fmt.Sprintf("mounts[%d]", i), &spec.Mounts[i]); err != nil {
			return err
		}
	}
	linux := spec.Linux
	if linux == nil {
		linux = &specs.Linux{}
	}
	if err := checkNamespaces(linux.Namespaces, sandbox); err != nil {
		return err
	}
	for i := range linux.Devices {
		if err := checkDevice(fmt.Sprintf("linux.devices[%d]", i), &linux.Devices[i]); err != nil {
			return err
		}
	}
	if err := checkResources(linux.Resources); err != nil {
		return err
	}
	// Names that are none, and filters that cannot be: what translation finds.
	_, err := translateProcess(spec.Process, linux)
	return err
}

// refuse finds a field that is set and that the table of fields refuses. Those
// that have no effect are told of.
func refuse(v reflect.Value, path string) error {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	if f, ok := fieldOf(path); ok && !v.IsZero() {
		switch f.Support {
		case Refused:
			return fmt.Errorf("%s: %s", path, f.Note)
		case NoEffect:
			slog.Warn(fmt.Sprintf("%s has no effect behind the kernel wall: %s", path, f.Note))
		}
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if err := refuse(v.Field(i), join(path, jsonName(v.Type().Field(i)))); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := refuse(v.Index(i), path+"[]"); err != nil {
				return err
			}
		}
	}
	return nil
}

// join appends a field's name to a path; an embedded struct has none.
func join(path, name string) string {
	switch {
	case name == "":
		return path
	case path == "":
		return name
	}
	return path + "." + name
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// own are the namespaces that a container always has of its own here, or of
// another container in the sandbox: to share the host's is to see, name or reach
// what is outside of the wall.
var own = []specs.LinuxNamespaceType{specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace}

// checkNamespaces checks that no namespace of the host's is asked for, but one of the
// network, whose interfaces the sandbox takes over.
func checkNamespaces(list []specs.LinuxNamespace, sandbox int) error {
	listed := map[specs.LinuxNamespaceType]bool{}
	for i, n := range list {
		listed[n.Type] = true
		if n.Path != "" && n.Type == specs.NetworkNamespace {
			if err := checkNetworkNamespace(n.Path); err != nil {
				return fmt.Errorf("linux.namespaces[%d].path: %w", i, err)
			}
			continue
		}
		if n.Path != "" && !ofSandbox(&n, sandbox) {
			return fmt.Errorf("linux.namespaces[%d].path: the kernel wall cannot join a %s namespace of the host's (%s): leave the path out, or use the process wall", i, n.Type, n.Path)
		}
	}
	for _, kind := range own {
		if !listed[kind] {
			return fmt.Errorf("linux.namespaces has no %s, so the container would share the host's, which the kernel wall keeps from it: add {\"type\": %q}, or use the process wall", kind, kind)
		}
	}
	return nil
}

// checkNetworkNamespace makes sure that a path names a network namespace.
func checkNetworkNamespace(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("opening the network namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%s is no network namespace: name one, as /proc/PID/ns/net or a file that ip-netns(8) made, or leave the path out", path)
	}
	return nil
}

// ofSandbox reports whether a namespace is that of the sandbox's first process,
// as implementations of CRI name it.
func ofSandbox(n *specs.LinuxNamespace, sandbox int) bool {
	return sandbox != 0 && n.Path == namespacePath(sandbox, n.Type)
}

// namespacePath is where the host shows a process's namespace.
func namespacePath(pid int, kind specs.LinuxNamespaceType) string {
	name := string(kind)
	switch kind {
	case specs.NetworkNamespace:
		name = "net"
	case specs.MountNamespace:
		name = "mnt"
	}
	return fmt.Sprintf("/proc/%d/ns/%s", pid, name)
}

// checkDevice refuses devices that the guest's kernel does not have.
func checkDevice(field string, d *specs.LinuxDevice) error {
	switch d.Type {
	case "p":
		return nil
	case "c", "u":
		if boot.HasDevice(d.Major, d.Minor) {
			return nil
		}
	}
	return fmt.Errorf("%s: %s is device %s %d:%d, and the kernel of this wall has none such: leave it out, or use the process wall", field, d.Path, d.Type, d.Major, d.Minor)
}

// MinMemory is less than which no sandbox starts, in bytes: the sentry needs some.
const MinMemory = 32 << 20

func checkResources(r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	if m := r.Memory; m != nil {
		if n := m.Limit; n != nil && *n > 0 && *n < MinMemory {
			return fmt.Errorf("linux.resources.memory.limit: %d bytes are too little: a sandbox needs at least %d MiB, some of them for its kernel", *n, MinMemory>>20)
		}
	}
	_, err := translateResources(r)
	return err
}

// sortedKeys are a map's keys in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
