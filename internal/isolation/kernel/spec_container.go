package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"coffer/internal/isolation"
	"coffer/internal/oci"
	"coffer/internal/oci/linuxname"
	"coffer/internal/oci/mountoption"
	"coffer/internal/sentry/boot"
	"coffer/internal/sentry/network"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// translate says to a sentry what a container's spec asks for, all but the open
// files of its process, and opens what that takes of the host. An error names
// the field. sandbox is the ID of the container whose sandbox it is to be in, empty
// for one of its own.
func translate(r *isolation.Request, sandbox string, d *donation) (*boot.Container, error) {
	spec := r.Spec
	c := &boot.Container{
		ID: r.ID, Domainname: spec.Domainname,
		Files: &boot.Files{Confined: mayClone(), Readonly: spec.Root.Readonly},
	}
	if sandbox != "" && !c.Files.Confined {
		// The sandbox's kernel has given up what confining them takes.
		return nil, errors.New("a further container of a sandbox takes the right to make mounts, so that its files are confined by the host: run as root, or give the container a sandbox of its own")
	}
	var err error
	if c.Hostname, err = hostname(spec); err != nil {
		return nil, err
	}
	root := spec.Root.Path
	if !filepath.IsAbs(root) {
		root = filepath.Join(r.Bundle, root)
	}
	t := &trees{donation: d, files: c.Files, shelf: -1}
	if c.Root, err = t.root(root, access{write: !spec.Root.Readonly, recursive: true}); err != nil {
		return nil, fmt.Errorf("root.path: %w", err)
	}
	if err := translateMounts(spec.Mounts, r.Bundle, t); err != nil {
		return nil, err
	}
	linux := spec.Linux
	if linux == nil {
		linux = &specs.Linux{}
	}
	p, err := translateProcess(spec.Process, linux)
	if err != nil {
		return nil, err
	}
	c.Process = *p
	if flags, ok := mountoption.Propagation(linux.RootfsPropagation); ok {
		c.Files.Propagation = uint64(flags)
	}
	c.Files.Masked, c.Files.ReadonlyPaths = linux.MaskedPaths, linux.ReadonlyPaths
	c.Files.Devices = translateDevices(linux.Devices)
	c.UIDs, c.GIDs = translateMap(linux.UIDMappings), translateMap(linux.GIDMappings)
	c.TimeOffsets = translateTimes(linux.TimeOffsets)
	c.Sysctls = translateSysctls(linux.Sysctl)
	limits, err := translateResources(linux.Resources)
	if err != nil {
		return nil, err
	}
	c.Resources.Change(limits)
	if c.StartHooks, err = translateHooks(r); err != nil {
		return nil, err
	}
	if sandbox == "" && oci.UsesHostNetwork(spec) {
		c.Network = &network.Config{Host: true}
	}
	c.Join, err = translateJoin(linux.Namespaces, sandbox, r.StateDir)
	return c, err
}

// translateJoin says which namespaces are those of the sandbox's first container.
// There is one network in a sandbox, as in a pod.
func translateJoin(list []specs.LinuxNamespace, sandbox, stateDir string) (j boot.Join, err error) {
	host, err := sandboxInit(sandbox, stateDir)
	if host == 0 || err != nil {
		return j, err
	}
	j.Net = sandbox
	for i := range list {
		n := &list[i]
		if !ofSandbox(n, host) {
			continue
		}
		switch n.Type {
		case specs.PIDNamespace:
			j.PID = sandbox
		case specs.IPCNamespace:
			j.IPC = sandbox
		case specs.UTSNamespace:
			j.UTS = sandbox
		}
	}
	return j, nil
}

// hostname is what the container's host name starts as: that of the host, if
// the spec names none, as a new UTS namespace has it.
func hostname(spec *specs.Spec) (string, error) {
	if spec.Hostname != "" {
		return spec.Hostname, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("hostname is missing, and the host's cannot be read: %w", err)
	}
	return name, nil
}

func translateMap(list []specs.LinuxIDMapping) []boot.IDMapping {
	var out []boot.IDMapping
	for _, m := range list {
		out = append(out, boot.IDMapping{Inside: m.ContainerID, Outside: m.HostID, Count: m.Size})
	}
	return out
}

func translateTimes(offsets map[string]specs.LinuxTimeOffset) (t boot.TimeOffsets) {
	of := func(clock string) time.Duration {
		o := offsets[clock]
		return time.Duration(o.Secs)*time.Second + time.Duration(o.Nanosecs)
	}
	return boot.TimeOffsets{Monotonic: of("monotonic"), Boottime: of("boottime")}
}

func translateSysctls(settings map[string]string) []boot.Sysctl {
	var out []boot.Sysctl
	for _, key := range sortedKeys(settings) {
		out = append(out, boot.Sysctl{Field: fmt.Sprintf("linux.sysctl[%s]", key), Name: sysctlPath(key), Value: settings[key]})
	}
	return out
}

// sysctlPath is the path of a sysctl below /proc/sys. As with sysctl(8) the first
// separator tells which one it is; the other one stands for itself in the name of an
// interface, as in net.ipv4.conf.eth0/100.forwarding.
func sysctlPath(key string) string {
	if i := strings.IndexAny(key, "./"); i < 0 || key[i] == '/' {
		return key
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(key)
}

// deviceMode is a device's permissions where the spec names none, as runc has it.
const deviceMode = 0o666

func translateDevices(list []specs.LinuxDevice) []boot.Device {
	var out []boot.Device
	for i := range list {
		d := &list[i]
		n := boot.Device{
			Field: fmt.Sprintf("linux.devices[%d]", i), Path: filepath.Join("/", d.Path),
			Mode: deviceMode, Major: uint32(d.Major), Minor: uint32(d.Minor),
		}
		if d.FileMode != nil {
			n.Mode = uint32(d.FileMode.Perm())
		}
		if d.Type == "p" {
			n.Mode |= unix.S_IFIFO
		} else {
			n.Mode |= unix.S_IFCHR
		}
		if d.UID != nil {
			n.UID = *d.UID
		}
		if d.GID != nil {
			n.GID = *d.GID
		}
		out = append(out, n)
	}
	return out
}

// translateResources says which limits the container sees, of those that are
// named.
func translateResources(r *specs.LinuxResources) (*boot.ResourceChange, error) {
	out := new(boot.ResourceChange)
	if r == nil {
		return out, nil
	}
	if m := r.Memory; m != nil {
		out.Memory, out.MemorySwap, out.Reservation = limitOf(m.Limit), limitOf(m.Swap), limitOf(m.Reservation)
	}
	if c := r.CPU; c != nil {
		out.Quota, out.Period = limitOf(c.Quota), c.Period
		if c.Shares != nil && *c.Shares != 0 {
			weight := weightOf(*c.Shares)
			out.Weight = &weight
		}
		if c.Cpus != "" {
			var err error
			if out.CPUs, err = linuxname.CPUSet(c.Cpus); err != nil {
				return nil, fmt.Errorf("linux.resources.cpu.cpus: %w", err)
			}
		}
	}
	if p := r.Pids; p != nil {
		out.Tasks = limitOf(tasks(p.Limit))
	}
	return out, nil
}

// tasks is a limit of processes, which is 1 if it is 0, as in a cgroup of the host's: no
// more than the program itself. There is none if it is negative.
func tasks(limit *int64) *int64 {
	if limit == nil || *limit != 0 {
		return limit
	}
	one := int64(1)
	return &one
}

// limitOf is a limit, 0 for none, which in a spec is 0 or -1; nil stays nil.
func limitOf(v *int64) *int64 {
	if v == nil {
		return nil
	}
	n := max(*v, 0)
	return &n
}

// HostResources implements isolation.Wall. Threads are counted by the guest's
// kernel: the host would count the kernel's own too.
func (wall) HostResources(r *specs.LinuxResources) *specs.LinuxResources {
	if r == nil || r.Pids == nil || r.Pids.Limit == nil || *r.Pids.Limit < 0 {
		return r
	}
	changed, most := *r, boot.HostTasks(*tasks(r.Pids.Limit))
	changed.Pids = &specs.LinuxPids{Limit: &most}
	return &changed
}

// Update implements isolation.Wall.
func (wall) Update(c *isolation.Container, r *specs.LinuxResources) error {
	if err := checkResources(r); err != nil {
		return err
	}
	change, err := translateResources(r)
	if err != nil {
		return err
	}
	return tell(c, &boot.Request{Op: boot.OpUpdate, Limits: change})
}

// weightOf turns cgroup v1's cpu.shares, 2 to 262144, into version 2's cpu.weight,
// 1 to 10000, as container runtimes do who have to set either.
func weightOf(shares uint64) uint64 {
	const leastShares, mostShares, mostWeight = 2, 262144, 10000
	shares = min(max(shares, leastShares), mostShares)
	return 1 + (shares-leastShares)*(mostWeight-1)/(mostShares-leastShares)
}

// initPID is the container's first process, as it sees itself.
const initPID = 1

// translateHooks describes the hooks that run inside.
func translateHooks(r *isolation.Request) ([]boot.Hook, error) {
	if r.Spec.Hooks == nil || len(r.Spec.Hooks.StartContainer) == 0 {
		return nil, nil
	}
	state, err := json.Marshal(r.State(specs.StateCreated, initPID))
	if err != nil {
		return nil, fmt.Errorf("the state for hooks.startContainer: %w", err)
	}
	var out []boot.Hook
	for i, h := range r.Spec.Hooks.StartContainer {
		d := boot.Hook{Field: fmt.Sprintf("hooks.startContainer[%d]", i), Path: h.Path, Args: h.Args, Env: h.Env, Stdin: state}
		if h.Timeout != nil {
			d.Timeout = time.Duration(*h.Timeout) * time.Second
		}
		out = append(out, d)
	}
	return out, nil
}
