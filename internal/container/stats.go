package container

import (
	"coffer/internal/isolation"

	"github.com/opencontainers/cgroups"
)

// Event is one line of `coffer events`, in the form of runc's.
type Event struct {
	Type string `json:"type"` // stats or oom
	ID   string `json:"id"`
	Data *Usage `json:"data,omitempty"`
}

// Usage is what a container uses. Times are in nanoseconds, sizes in bytes.
type Usage struct {
	CPU     cpuUsage               `json:"cpu"`
	CPUSet  cgroups.CPUSetStats    `json:"cpuset"`
	Memory  memoryUsage            `json:"memory"`
	PIDs    pidsUsage              `json:"pids"`
	Block   blockUsage             `json:"blkio"`
	Hugetlb map[string]memoryEntry `json:"hugetlb"`
	// There is nothing to be told of it, but readers look for it.
	IntelRDT struct{} `json:"intel_rdt"`
	// Network is null where the host's kernel counts: runc tells of interfaces only that it has made itself.
	Network []networkInterface `json:"network_interfaces"`
}

// networkInterface has the names that runc writes. There are no errors: what an interface does not take it drops.
type networkInterface struct {
	Name                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

type cpuUsage struct {
	Usage      cpuTimes          `json:"usage,omitempty"`
	Throttling throttling        `json:"throttling,omitempty"`
	PSI        *cgroups.PSIStats `json:"psi,omitempty"`
	Burst      cgroups.BurstData `json:"burst,omitzero"`
}

type cpuTimes struct {
	Total        uint64   `json:"total,omitempty"`
	Percpu       []uint64 `json:"percpu,omitempty"`
	PercpuKernel []uint64 `json:"percpu_kernel,omitempty"`
	PercpuUser   []uint64 `json:"percpu_user,omitempty"`
	Kernel       uint64   `json:"kernel"`
	User         uint64   `json:"user"`
}

// throttling is how often, and for how long, CPU time was used up.
type throttling struct {
	Periods          uint64 `json:"periods,omitempty"`
	ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
	ThrottledTime    uint64 `json:"throttledTime,omitempty"`
}

type memoryUsage struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     memoryEntry       `json:"usage,omitempty"`
	Swap      memoryEntry       `json:"swap,omitempty"`
	Kernel    memoryEntry       `json:"kernel,omitempty"`
	KernelTCP memoryEntry       `json:"kernelTCP,omitempty"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
	PSI       *cgroups.PSIStats `json:"psi,omitempty"`
}

type memoryEntry struct {
	Limit   uint64 `json:"limit,omitempty"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type pidsUsage struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

type blockUsage struct {
	ServiceBytes []cgroups.BlkioStatEntry `json:"ioServiceBytesRecursive,omitempty"`
	Serviced     []cgroups.BlkioStatEntry `json:"ioServicedRecursive,omitempty"`
	Queued       []cgroups.BlkioStatEntry `json:"ioQueueRecursive,omitempty"`
	ServiceTime  []cgroups.BlkioStatEntry `json:"ioServiceTimeRecursive,omitempty"`
	WaitTime     []cgroups.BlkioStatEntry `json:"ioWaitTimeRecursive,omitempty"`
	Merged       []cgroups.BlkioStatEntry `json:"ioMergedRecursive,omitempty"`
	Time         []cgroups.BlkioStatEntry `json:"ioTimeRecursive,omitempty"`
	Sectors      []cgroups.BlkioStatEntry `json:"sectorsRecursive,omitempty"`
	PSI          *cgroups.PSIStats        `json:"psi,omitempty"`
}

// usage puts what a cgroup measures into the form of events.
func usage(s *cgroups.Stats) *Usage {
	cpu, mem, io := &s.CpuStats, &s.MemoryStats, &s.BlkioStats
	u := &Usage{
		CPU: cpuUsage{
			Usage: cpuTimes{
				Total: cpu.CpuUsage.TotalUsage, Percpu: cpu.CpuUsage.PercpuUsage,
				PercpuKernel: cpu.CpuUsage.PercpuUsageInKernelmode, PercpuUser: cpu.CpuUsage.PercpuUsageInUsermode,
				Kernel: cpu.CpuUsage.UsageInKernelmode, User: cpu.CpuUsage.UsageInUsermode,
			},
			Throttling: throttling(cpu.ThrottlingData), PSI: cpu.PSI, Burst: cpu.BurstData,
		},
		CPUSet: s.CPUSetStats,
		Memory: memoryUsage{
			Cache: mem.Cache, Usage: memoryOf(mem.Usage), Swap: memoryOf(mem.SwapUsage), Kernel: memoryOf(mem.KernelUsage),
			KernelTCP: memoryOf(mem.KernelTCPUsage), Raw: mem.Stats, PSI: mem.PSI,
		},
		PIDs: pidsUsage(s.PidsStats),
		Block: blockUsage{
			ServiceBytes: io.IoServiceBytesRecursive, Serviced: io.IoServicedRecursive, Queued: io.IoQueuedRecursive,
			ServiceTime: io.IoServiceTimeRecursive, WaitTime: io.IoWaitTimeRecursive, Merged: io.IoMergedRecursive,
			Time: io.IoTimeRecursive, Sectors: io.SectorsRecursive, PSI: io.PSI,
		},
		Hugetlb: make(map[string]memoryEntry),
	}
	for size, h := range s.HugetlbStats {
		u.Hugetlb[size] = memoryEntry{Usage: h.Usage, Max: h.MaxUsage, Failcnt: h.Failcnt}
	}
	return u
}

// correct puts what the wall has measured in the place of what the host's cgroup
// tells, which is about other processes, and adds what that does not count.
func (u *Usage) correct(by *isolation.Usage) {
	u.PIDs.Current = by.Tasks
	for _, i := range by.Interfaces {
		u.Network = append(u.Network, networkInterface{
			Name: i.Name, RxBytes: i.RxBytes, RxPackets: i.RxPackets, RxDropped: i.RxDropped,
			TxBytes: i.TxBytes, TxPackets: i.TxPackets, TxDropped: i.TxDropped,
		})
	}
	if !by.Shares {
		return
	}
	u.CPU = cpuUsage{Usage: cpuTimes{Total: by.CPUUser + by.CPUSystem, Kernel: by.CPUSystem, User: by.CPUUser}}
	u.Memory = memoryUsage{Usage: memoryEntry{Limit: u.Memory.Usage.Limit, Usage: by.Memory}}
}

func memoryOf(m cgroups.MemoryData) memoryEntry {
	return memoryEntry{Limit: m.Limit, Usage: m.Usage, Max: m.MaxUsage, Failcnt: m.Failcnt}
}
