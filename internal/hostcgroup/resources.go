package hostcgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// field is one limit of the spec, and which controller keeps it.
type field struct {
	name string // below linux.resources
	// v1 and v2 are the controllers; empty if the version cannot keep it.
	v1, v2 string
	// files are those of cgroups that hold it, if they hold nothing else.
	files string
	asked func(*specs.LinuxResources) bool
}

// positive reports whether a limit is there and not the 0 by which Docker and
// others mean that there is none.
func positive[T int64 | uint64 | uint16 | uint32](p *T) bool { return p != nil && *p != 0 }

func memory(f func(*specs.LinuxMemory) bool) func(*specs.LinuxResources) bool {
	return func(r *specs.LinuxResources) bool { return r.Memory != nil && f(r.Memory) }
}

func cpu(f func(*specs.LinuxCPU) bool) func(*specs.LinuxResources) bool {
	return func(r *specs.LinuxResources) bool { return r.CPU != nil && f(r.CPU) }
}

func blockIO(f func(*specs.LinuxBlockIO) bool) func(*specs.LinuxResources) bool {
	return func(r *specs.LinuxResources) bool { return r.BlockIO != nil && f(r.BlockIO) }
}

// fields are all limits of runtime-spec 1.3 but the device rules, which every
// cgroup has.
var fields = []field{
	{"memory.limit", "memory", "memory", "memory.limit_in_bytes memory.max", memory(func(m *specs.LinuxMemory) bool { return positive(m.Limit) })},
	{"memory.reservation", "memory", "memory", "memory.soft_limit_in_bytes memory.low", memory(func(m *specs.LinuxMemory) bool { return positive(m.Reservation) })},
	{"memory.swap", "memory", "memory", "memory.memsw.limit_in_bytes memory.swap.max", memory(func(m *specs.LinuxMemory) bool { return positive(m.Swap) })},
	{"memory.swappiness", "memory", "", "memory.swappiness", memory(func(m *specs.LinuxMemory) bool { return m.Swappiness != nil })},
	{"memory.disableOOMKiller", "memory", "", "memory.oom_control", memory(func(m *specs.LinuxMemory) bool { return m.DisableOOMKiller != nil && *m.DisableOOMKiller })},
	{"cpu.shares", "cpu", "cpu", "cpu.shares cpu.weight", cpu(func(c *specs.LinuxCPU) bool { return positive(c.Shares) })},
	{"cpu.quota", "cpu", "cpu", "cpu.cfs_quota_us", cpu(func(c *specs.LinuxCPU) bool { return positive(c.Quota) })},
	{"cpu.burst", "cpu", "cpu", "cpu.cfs_burst_us cpu.max.burst", cpu(func(c *specs.LinuxCPU) bool { return positive(c.Burst) })},
	{"cpu.period", "cpu", "cpu", "cpu.cfs_period_us", cpu(func(c *specs.LinuxCPU) bool { return positive(c.Period) })},
	{"cpu.realtimeRuntime", "cpu", "", "cpu.rt_runtime_us", cpu(func(c *specs.LinuxCPU) bool { return positive(c.RealtimeRuntime) })},
	{"cpu.realtimePeriod", "cpu", "", "cpu.rt_period_us", cpu(func(c *specs.LinuxCPU) bool { return positive(c.RealtimePeriod) })},
	{"cpu.idle", "cpu", "cpu", "cpu.idle", cpu(func(c *specs.LinuxCPU) bool { return positive(c.Idle) })},
	{"cpu.cpus", "cpuset", "cpuset", "cpuset.cpus", cpu(func(c *specs.LinuxCPU) bool { return c.Cpus != "" })},
	{"cpu.mems", "cpuset", "cpuset", "cpuset.mems", cpu(func(c *specs.LinuxCPU) bool { return c.Mems != "" })},
	{"pids.limit", "pids", "pids", "pids.max", func(r *specs.LinuxResources) bool { return r.Pids != nil && r.Pids.Limit != nil && *r.Pids.Limit >= 0 }},
	{"blockIO.weight", "blkio", "io", "blkio.weight blkio.bfq.weight io.weight io.bfq.weight", blockIO(func(b *specs.LinuxBlockIO) bool { return positive(b.Weight) })},
	{"blockIO.leafWeight", "blkio", "", "blkio.leaf_weight", blockIO(func(b *specs.LinuxBlockIO) bool { return positive(b.LeafWeight) })},
	{"blockIO.weightDevice", "blkio", "io", "blkio.weight_device blkio.bfq.weight_device", blockIO(func(b *specs.LinuxBlockIO) bool { return len(b.WeightDevice) > 0 })},
	{"blockIO.throttleReadBpsDevice", "blkio", "io", "blkio.throttle.read_bps_device", blockIO(func(b *specs.LinuxBlockIO) bool { return len(b.ThrottleReadBpsDevice) > 0 })},
	{"blockIO.throttleWriteBpsDevice", "blkio", "io", "blkio.throttle.write_bps_device", blockIO(func(b *specs.LinuxBlockIO) bool { return len(b.ThrottleWriteBpsDevice) > 0 })},
	{"blockIO.throttleReadIOPSDevice", "blkio", "io", "blkio.throttle.read_iops_device", blockIO(func(b *specs.LinuxBlockIO) bool { return len(b.ThrottleReadIOPSDevice) > 0 })},
	{"blockIO.throttleWriteIOPSDevice", "blkio", "io", "blkio.throttle.write_iops_device", blockIO(func(b *specs.LinuxBlockIO) bool { return len(b.ThrottleWriteIOPSDevice) > 0 })},
	{"hugepageLimits", "hugetlb", "hugetlb", "", func(r *specs.LinuxResources) bool { return len(r.HugepageLimits) > 0 }},
	{"network.classID", "net_cls", "", "net_cls.classid", func(r *specs.LinuxResources) bool { return r.Network != nil && positive(r.Network.ClassID) }},
	{"network.priorities", "net_prio", "", "net_prio.ifpriomap", func(r *specs.LinuxResources) bool { return r.Network != nil && len(r.Network.Priorities) > 0 }},
	{"rdma", "rdma", "rdma", "rdma.max", func(r *specs.LinuxResources) bool { return len(r.Rdma) > 0 }},
	{"unified", "", "any", "", func(r *specs.LinuxResources) bool { return len(r.Unified) > 0 }},
}

// offers refuses limits for which this host has no controller, by the first
// field's name.
func (c *Cgroup) offers(r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	have, err := c.available()
	if err != nil {
		return err
	}
	version := "v1"
	if c.unified() {
		version = "v2"
	}
	for _, f := range fields {
		if !f.asked(r) {
			continue
		}
		controller := f.v1
		if version == "v2" {
			controller = f.v2
		}
		if controller == "" {
			return fmt.Errorf("linux.resources.%s: cgroup %s, which this host uses, has no such limit; leave it out", f.name, version)
		}
		if !have[controller] {
			return fmt.Errorf("linux.resources.%s: the %s controller of cgroup %s that keeps this limit is not available here (the host lacks it, or the caller may not use it); enable it, have a cgroup with it delegated to the caller and name that in linux.cgroupsPath (see cgroups(7)), or leave the limit out", f.name, controller, version)
		}
	}
	return nil
}

// available are the controllers that c can use, and "any" for cgroup v2's files
// as such.
func (c *Cgroup) available() (map[string]bool, error) {
	have := map[string]bool{"any": true}
	for name := range c.paths {
		have[name] = true
	}
	if dir := c.paths[""]; dir != "" && c.unified() {
		list, err := controllers(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			have[name] = true
		}
	}
	return have, nil
}

// controllers are those that the nearest directory at or above dir that exists
// can use (cgroup v2).
func controllers(dir string) ([]string, error) {
	for {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err == nil {
			return strings.Fields(string(data)), nil
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, os.ErrNotExist) || parent == dir {
			return nil, fmt.Errorf("finding the controllers of the host's cgroups: %w", err)
		}
		dir = parent
	}
}

// pageSize reports whether s is how the kernel names the size of huge pages in
// the files of the hugetlb controller: 64KB, 2MB, 1GB.
func pageSize(s string) bool {
	digits := strings.TrimRight(s, "KMGB")
	unit := s[len(digits):]
	n, err := strconv.ParseUint(digits, 10, 32)
	return err == nil && n > 0 && digits[0] != '0' && digits[0] != '+' && (unit == "KB" || unit == "MB" || unit == "GB")
}

// limit puts what r asks for into to, and leaves alone what r does not name.
// The error names the field.
func limit(to *cgroups.Resources, r *specs.LinuxResources, unified bool) error {
	if err := limitMemory(to, r.Memory); err != nil {
		return err
	}
	if err := limitCPU(to, r.CPU, unified); err != nil {
		return err
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		n := *r.Pids.Limit
		to.PidsLimit = &n
	}
	if err := limitBlockIO(to, r.BlockIO); err != nil {
		return err
	}
	for i, l := range r.HugepageLimits {
		if !pageSize(l.Pagesize) {
			return fmt.Errorf("linux.resources.hugepageLimits[%d].pageSize is %q; it must look like 64KB, 2MB or 1GB", i, l.Pagesize)
		}
		to.HugetlbLimit = slices.DeleteFunc(slices.Clone(to.HugetlbLimit), func(o *cgroups.HugepageLimit) bool { return o.Pagesize == l.Pagesize })
		to.HugetlbLimit = append(to.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: l.Pagesize, Limit: l.Limit})
	}
	if n := r.Network; n != nil {
		if n.ClassID != nil {
			to.NetClsClassid = *n.ClassID
		}
		for _, p := range n.Priorities {
			to.NetPrioIfpriomap = append(slices.Clone(to.NetPrioIfpriomap), &cgroups.IfPrioMap{Interface: p.Name, Priority: int64(p.Priority)})
		}
	}
	if len(r.Rdma) > 0 {
		to.Rdma = maps.Clone(to.Rdma)
		if to.Rdma == nil {
			to.Rdma = map[string]cgroups.LinuxRdma{}
		}
		for device, l := range r.Rdma {
			to.Rdma[device] = cgroups.LinuxRdma(l)
		}
	}
	if len(r.Unified) > 0 {
		if !unified {
			return errors.New("linux.resources.unified: cgroup v1, which this host uses, has no unified files; use the other fields of linux.resources")
		}
		if to.Unified == nil {
			to.Unified = map[string]string{}
		}
		for file, value := range r.Unified {
			if strings.ContainsAny(file, "/\x00") || controllerOf(file) == file {
				return fmt.Errorf("linux.resources.unified: %q must be the name of a file of a controller, as memory.high is", file)
			}
			to.Unified[file] = value
		}
	}
	return nil
}

func limitMemory(to *cgroups.Resources, m *specs.LinuxMemory) error {
	if m == nil {
		return nil
	}
	for _, v := range []struct {
		name string
		p    *int64
		to   *int64
	}{
		{"limit", m.Limit, &to.Memory},
		{"reservation", m.Reservation, &to.MemoryReservation},
		{"swap", m.Swap, &to.MemorySwap},
	} {
		if v.p == nil {
			continue
		}
		if *v.p < -1 {
			return fmt.Errorf("linux.resources.memory.%s is %d; it must be a number of bytes, or -1 for no limit", v.name, *v.p)
		}
		*v.to = *v.p
	}
	if m.Limit != nil && *m.Limit == -1 && m.Swap == nil {
		to.MemorySwap = 0 // it would limit memory, too; the library lifts it then
	}
	if to.MemorySwap > 0 && to.Memory == -1 {
		return fmt.Errorf("linux.resources.memory.swap is %d while memory.limit is -1, for none: swap limits memory and swap together, so set it to -1 too, or give a limit", to.MemorySwap)
	}
	if to.MemorySwap > 0 && to.Memory > to.MemorySwap {
		return fmt.Errorf("linux.resources.memory.swap is %d, less than memory.limit, %d: swap limits memory and swap together, so it can't be the smaller one", to.MemorySwap, to.Memory)
	}
	if to.MemorySwap > 0 && to.Memory == 0 {
		return fmt.Errorf("linux.resources.memory.swap is %d without memory.limit: swap limits memory and swap together, so set both", to.MemorySwap)
	}
	if m.Swappiness != nil {
		if *m.Swappiness > 100 {
			return fmt.Errorf("linux.resources.memory.swappiness is %d; it must be between 0 and 100", *m.Swappiness)
		}
		n := *m.Swappiness
		to.MemorySwappiness = &n
	}
	if m.DisableOOMKiller != nil {
		to.OomKillDisable = *m.DisableOOMKiller
	}
	if m.CheckBeforeUpdate != nil {
		to.MemoryCheckBeforeUpdate = *m.CheckBeforeUpdate
	}
	if positive(m.Kernel) || positive(m.KernelTCP) {
		slog.Warn("linux.resources.memory.kernel and kernelTCP are ignored: Linux has no such limits any more, memory.limit includes kernel memory")
	}
	return nil
}

func limitCPU(to *cgroups.Resources, c *specs.LinuxCPU, unified bool) error {
	if c == nil {
		return nil
	}
	if c.Shares != nil {
		// 0 is for none. Cgroup v2 has weights, to which the library fits any number.
		if n := *c.Shares; !unified && n != 0 && (n < 2 || n > 1<<18) {
			return fmt.Errorf("linux.resources.cpu.shares is %d; it must be between 2 and %d", n, 1<<18)
		}
		to.CpuShares = *c.Shares
		to.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*c.Shares)
	}
	if c.Quota != nil {
		to.CpuQuota = *c.Quota
	}
	if c.Burst != nil {
		n := *c.Burst
		to.CpuBurst = &n
	}
	if c.Period != nil {
		if *c.Period > math.MaxInt64 {
			return fmt.Errorf("linux.resources.cpu.period is %d microseconds, which is out of range", *c.Period)
		}
		to.CpuPeriod = *c.Period
	}
	if c.RealtimeRuntime != nil {
		to.CpuRtRuntime = *c.RealtimeRuntime
	}
	if c.RealtimePeriod != nil {
		to.CpuRtPeriod = *c.RealtimePeriod
	}
	if c.Idle != nil {
		if *c.Idle != 0 && *c.Idle != 1 {
			return fmt.Errorf("linux.resources.cpu.idle is %d; it must be 0 or 1", *c.Idle)
		}
		n := *c.Idle
		to.CPUIdle = &n
	}
	if c.Cpus != "" {
		to.CpusetCpus = c.Cpus
	}
	if c.Mems != "" {
		to.CpusetMems = c.Mems
	}
	return nil
}

func limitBlockIO(to *cgroups.Resources, b *specs.LinuxBlockIO) error {
	if b == nil {
		return nil
	}
	for _, v := range []struct {
		name string
		p    *uint16
		to   *uint16
	}{
		{"weight", b.Weight, &to.BlkioWeight},
		{"leafWeight", b.LeafWeight, &to.BlkioLeafWeight},
	} {
		if v.p == nil {
			continue
		}
		if err := weight("linux.resources.blockIO."+v.name, *v.p); err != nil {
			return err
		}
		*v.to = *v.p
	}
	if len(b.WeightDevice) > 0 {
		to.BlkioWeightDevice = nil
	}
	for i, d := range b.WeightDevice {
		var w, leaf uint16
		for _, v := range []struct {
			name string
			p    *uint16
			to   *uint16
		}{{"weight", d.Weight, &w}, {"leafWeight", d.LeafWeight, &leaf}} {
			if v.p == nil {
				continue
			}
			if err := weight(fmt.Sprintf("linux.resources.blockIO.weightDevice[%d].%s", i, v.name), *v.p); err != nil {
				return err
			}
			*v.to = *v.p
		}
		to.BlkioWeightDevice = append(to.BlkioWeightDevice, cgroups.NewWeightDevice(d.Major, d.Minor, w, leaf))
	}
	for _, v := range []struct {
		from []specs.LinuxThrottleDevice
		to   *[]*cgroups.ThrottleDevice
	}{
		{b.ThrottleReadBpsDevice, &to.BlkioThrottleReadBpsDevice},
		{b.ThrottleWriteBpsDevice, &to.BlkioThrottleWriteBpsDevice},
		{b.ThrottleReadIOPSDevice, &to.BlkioThrottleReadIOPSDevice},
		{b.ThrottleWriteIOPSDevice, &to.BlkioThrottleWriteIOPSDevice},
	} {
		if len(v.from) > 0 {
			*v.to = nil
		}
		for _, d := range v.from {
			*v.to = append(*v.to, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
		}
	}
	return nil
}

// weight checks a weight of block I/O; 0 stands for none.
func weight(name string, w uint16) error {
	if w != 0 && (w < 10 || w > 1000) {
		return fmt.Errorf("%s is %d; it must be between 10 and 1000", name, w)
	}
	return nil
}

// explain adds to an error of the library, which names the file, what to do.
func explain(err error) error {
	cure := ""
	switch {
	case errors.Is(err, unix.ENOENT):
		cure = "this host's kernel has no such file, so it can't keep the limit; leave it out"
	case errors.Is(err, unix.EROFS):
		cure = "the host's cgroups are mounted read-only here; mount them writable (mount -o remount,bind,rw)"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		cure = "the caller may not change it; run as root, or have the cgroup delegated to the caller"
	case errors.Is(err, unix.EBUSY):
		cure = "more than that is in use"
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		cure = "the kernel does not take the value; see that it lies within its range and within what the cgroups above allow"
	case errors.Is(err, unix.ENODEV):
		cure = "there is no such device, or the cgroup was removed meanwhile"
	case errors.Is(err, unix.ENOSPC):
		cure = "the kernel has no room for it: a cpuset without processors or memory nodes takes no process"
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EEXIST):
		cure = "linux.cgroupsPath has the name of one of the files that every cgroup has; name another cgroup"
	case errors.Is(err, unix.ENAMETOOLONG):
		cure = "linux.cgroupsPath is too long; name another cgroup"
	default:
		if strings.HasPrefix(err.Error(), "unable to set memory limit") { // for EBUSY, the library's own words
			err = fmt.Errorf("linux.resources.memory.limit: %w: give more than is used, or end processes first", err)
		}
		return err
	}
	var failed *fs.PathError
	if errors.As(err, &failed) {
		if name := fieldOf(filepath.Base(failed.Path)); name != "" {
			return fmt.Errorf("linux.resources.%s: %w: %s", name, err, cure)
		}
	}
	return fmt.Errorf("%w: %s", err, cure)
}

// fieldOf is the limit that a file of a cgroup holds; empty if that is not known.
func fieldOf(file string) string {
	for _, f := range fields {
		if slices.Contains(strings.Fields(f.files), file) {
			return f.name
		}
	}
	return ""
}
