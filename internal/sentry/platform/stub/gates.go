package stub

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Gates are the words that sleeping stubs wait on (futex(2)), in one piece of memory
// that every stub can read and only the sentry writes. So a stub can wake a stub of
// another process, which is all that it can do to it: who is woken looks whether it
// has the turn, and sleeps on. Likewise threads may share a gate, if there are many.

const (
	gatesSize = 64 << 10
	gatesMax  = gatesSize/4 - 16 // the epoch has a cache line of its own
)

type gates struct {
	words *[gatesMax]uint32
	next  atomic.Uint32
}

// newGates maps the memory, and returns a descriptor for stubs to map too.
func newGates() (*gates, int, error) {
	fd, err := unix.MemfdCreate("coffer-gates", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, -1, err
	}
	fail := func(err error) (*gates, int, error) {
		unix.Close(fd)
		return nil, -1, fmt.Errorf("memory for the gates: %w", err)
	}
	if err := unix.Ftruncate(fd, gatesSize); err != nil {
		return fail(err)
	}
	mem, _, e := syscall.Syscall6(syscall.SYS_MMAP, 0, gatesSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_NORESERVE, uintptr(fd), 0)
	if e != 0 {
		return fail(e)
	}
	// Of mappings to come none can be made writable, by whatever a guest does.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		syscall.Syscall(syscall.SYS_MUNMAP, mem, gatesSize, 0)
		return fail(err)
	}
	g := &gates{words: (*[gatesMax]uint32)(*(*unsafe.Pointer)(unsafe.Pointer(&mem)))}
	g.epoch().Store(1)
	return g, fd, nil
}

// epoch is the word behind the gates: see nolinks.go.
func (g *gates) epoch() *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(unsafe.Pointer(g.words), 4*gatesMax))
}

// take returns the number of a gate for a new thread.
func (g *gates) take() uint32 { return (g.next.Add(1) - 1) % gatesMax }

// open has whoever sleeps at the gate not sleep any more, once it is woken.
func (g *gates) open(gate uint32) { atomic.AddUint32(&g.words[gate], 1) }

// wake wakes who sleeps at the gate.
func (g *gates) wake(gate uint32) { futexWake(&g.words[gate]) }

// gateAddr is where a gate is in the stubs.
func (s *Stubs) gateAddr(gate uint32) uint64 { return s.text + textSize + 4*uint64(gate) }

// mapGates maps them in the template.
func (s *Stubs) mapGates(t *Thread, fd int) error {
	if err := t.proc.send(fd); err != nil {
		return err
	}
	t.enter()
	defer t.leave()
	t.add(opReceive)
	o := t.add(opMmapFD, s.text+textSize, gatesSize, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED)
	t.add(opCloseFD)
	if !t.run() {
		return errGone
	}
	if _, err := t.result(o); err != nil {
		return err
	}
	t.page.gate = s.gateAddr(t.gate)
	return nil
}
