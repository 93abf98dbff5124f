package stub

import (
	"bytes"
	"debug/elf"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

var _ platform.ClockAsker = (*Process)(nil)

// findClockGettime looks for the vDSO's clock_gettime in the template: 0 if it
// has none. No guest has run there, so the image is the host's.
func (s *Stubs) findClockGettime(t *Thread) uint64 {
	image := make([]byte, s.limits.VDSOEnd-s.limits.VDSO)
	if n, err := t.proc.copyRemote(unix.SYS_PROCESS_VM_READV, s.limits.VDSO, image); err != nil || n < len(image) {
		return 0
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return 0
	}
	for _, y := range symbols {
		if y.Name == "__vdso_clock_gettime" && y.Value < uint64(len(image)-len(askClockGettime)) {
			return s.limits.VDSO + y.Value
		}
	}
	return 0
}

// AskForClocks implements platform.ClockAsker: the vDSO is the host's, so its
// function is written over, on a copy that only this stub and its forks have.
func (p *Process) AskForClocks() error {
	addr := p.stubs.clockGettime
	if addr == 0 {
		return nil
	}
	t := p.borrow()
	if t == nil {
		return unix.EBUSY
	}
	defer t.leave()
	t.runLate()
	// The host does not split this mapping: its protection is lifted as a whole.
	l := &p.stubs.limits
	_, err := t.pokeWithin(l.VDSO, l.VDSOEnd-l.VDSO, addr, askClockGettime, unix.PROT_READ|unix.PROT_EXEC)
	return err
}
