package stub

import (
	"time"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// codeProt is the protection of code, where it is the platform's to change.
const codeProt = unix.PROT_READ | unix.PROT_EXEC

// Entry is where rewritten system calls lead in a stub, or 0 if the CPU can't
// do that.
func (s *Stubs) Entry() uint64 {
	if !s.fsgsbase {
		return 0
	}
	return s.text + uint64(s.code.entry)
}

// Stubs returns what made the process.
func (p *Process) Stubs() *Stubs { return p.stubs }

// MapCode maps zeroed, executable memory at an address that is the platform's.
func (t *Thread) MapCode(addr, length uint64) error {
	t.enter()
	defer t.leave()
	_, err := t.call(unix.SYS_MMAP, addr, length, codeProt,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED, ^uint64(0), 0)
	return err
}

// CanMapCode reports whether the host lets stubs map a file of ours as code.
func (s *Stubs) CanMapCode(fd int) bool {
	s.templateMu.Lock()
	defer s.templateMu.Unlock()
	t := s.template
	if t.proc.send(fd) != nil {
		return false
	}
	t.enter()
	defer t.leave()
	t.add(opReceive)
	o := t.add(opMmapFD, minAddr, PageSize, codeProt, unix.MAP_PRIVATE|unix.MAP_FIXED)
	t.add(opCloseFD)
	t.add(unix.SYS_MUNMAP, minAddr, PageSize)
	if !t.run() {
		return false
	}
	_, err := t.result(o)
	return err == nil
}

// PokeCode writes to code, which must be mapped private, readable and
// executable; within one page.
func (t *Thread) PokeCode(addr uint64, code []byte) error {
	t.enter()
	defer t.leave()
	_, err := t.pokePage(addr, code, codeProt)
	return err
}

// PokeWord does so for an aligned word, at once for all who run it.
func (t *Thread) PokeWord(addr, word uint64) error {
	t.enter()
	defer t.leave()
	at := addr &^ (PageSize - 1)
	t.add(unix.SYS_MPROTECT, at, PageSize, codeProt|unix.PROT_WRITE)
	t.add(opStore, addr, word)
	t.add(unix.SYS_MPROTECT, at, PageSize, codeProt)
	if !t.run() || t.page.fault != 0 {
		return unix.EFAULT
	}
	return nil
}

// freezePatience is how long Freeze waits for others to leave guest code.
const freezePatience = 10 * time.Millisecond

// Freeze keeps all other threads from guest code until the function that it
// returns is called. It reports false if one runs guest code; with insist it
// makes them leave it before, and their Switch return EventInterrupt.
//
// Only one goroutine at a time may freeze a process.
func (t *Thread) Freeze(insist bool) (thaw func(), ok bool) {
	p := t.proc
	var frozen []*Thread
	thaw = func() {
		for _, o := range frozen {
			o.leave()
		}
		p.freezing.Store(false)
	}
	p.freezing.Store(true)
	p.mu.Lock()
	others := make([]*Thread, 0, len(p.threads))
	for _, o := range p.threads {
		if o != t && !o.parked {
			others = append(others, o)
		}
	}
	p.mu.Unlock()
	deadline := time.Now().Add(freezePatience)
	for _, o := range others {
		kicked := false
		for n := 0; !o.state.CompareAndSwap(stateIdle, stateEntered); n++ {
			if !insist || time.Now().After(deadline) {
				thaw()
				return nil, false
			}
			if !kicked && o.state.Load() == stateGuest {
				o.kick()
				kicked = true
			}
			pause(n)
		}
		frozen = append(frozen, o)
	}
	return thaw, true
}

var (
	_ platform.AddressSpace = (*Process)(nil)
	_ platform.MappingUser  = (*Process)(nil)
	_ platform.Reserver     = (*Process)(nil)
	_ platform.Resetter     = (*Process)(nil)
)
