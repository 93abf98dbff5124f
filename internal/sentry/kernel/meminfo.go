package kernel

import (
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/shmem"

	"golang.org/x/sys/unix"
)

// MemoryInfo is what the guest is told of the machine's memory, in bytes.
type MemoryInfo struct {
	Total, Free, Buffers uint64
	// Shared is what files in memory and System V shared memory take.
	Shared              uint64
	SwapTotal, SwapFree uint64
	// Loads are the load averages times 65536.
	Loads [3]uint64
}

// SetMemoryLimit says how much memory the sandbox has at most; 0 is what the
// host has.
func (k *Kernel) SetMemoryLimit(n uint64) { k.memoryLimit.Store(n) }

// MemoryLimit is what SetMemoryLimit said.
func (k *Kernel) MemoryLimit() uint64 { return k.memoryLimit.Load() }

// MemoryInfo returns the host's figures within the sandbox's limit: what is free
// then is what the guest's programs have not used of it. There is no swap when
// there is a limit: it would count beyond it.
func (k *Kernel) MemoryInfo() MemoryInfo {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return MemoryInfo{}
	}
	unit := max(1, uint64(si.Unit))
	m := MemoryInfo{
		Total: si.Totalram * unit, Free: si.Freeram * unit, Buffers: si.Bufferram * unit,
		SwapTotal: si.Totalswap * unit, SwapFree: si.Freeswap * unit,
		Loads: [3]uint64{si.Loads[0], si.Loads[1], si.Loads[2]},
	}
	m.Shared = uint64(max(0, shmem.Sandbox.Used()))
	if limit := k.memoryLimit.Load(); limit != 0 && limit < m.Total {
		m.Total = limit
		m.Free = min(m.Free, limit-min(limit, k.MemoryUsed()+m.Shared))
		m.Buffers, m.SwapTotal, m.SwapFree = 0, 0, 0
	}
	return m
}

// MemoryUsed is what the guest's processes take of the host, in bytes. Memory
// that is shared between processes is not counted.
func (k *Kernel) MemoryUsed() uint64 { return MemoryUsed(k.ThreadGroups()) }

// MemoryUsed is what some processes take, likewise.
func MemoryUsed(groups []*ThreadGroup) uint64 {
	var used uint64
	seen := map[*mm.MemoryManager]bool{}
	for _, g := range groups {
		t := g.Representative()
		if t == nil {
			continue
		}
		if m, _, _ := t.Resources(); m != nil && !seen[m] {
			seen[m] = true
			used += m.AddressSpace().Usage().Anon
		}
	}
	return used
}
