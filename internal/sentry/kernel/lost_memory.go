package kernel

import (
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// watchMemory has those who use m end when the host has ended what is behind
// it, even while they wait in the kernel.
func (k *Kernel) watchMemory(m *mm.MemoryManager) {
	if a, ok := m.AddressSpace().(platform.Mortal); ok {
		a.SetDeath(func() { k.loseMemory(m) })
	}
}

// loseMemory ends all processes that use m as by SIGKILL, as Linux does when
// it runs out of memory.
func (k *Kernel) loseMemory(m *mm.MemoryManager) {
	for _, g := range k.ThreadGroups() {
		g.mu.Lock()
		for _, t := range g.threads {
			if t.mem == m {
				g.endLocked(Signaled(int32(unix.SIGKILL), false))
				break
			}
		}
		g.mu.Unlock()
	}
}
