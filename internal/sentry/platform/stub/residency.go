package stub

import "golang.org/x/sys/unix"

// Resident implements platform.Residency: only within the stub the host tells
// of its pages.
func (t *Thread) Resident(addr uint64, vec []byte) error {
	if !t.inLimits(addr, len(vec)*PageSize) {
		return unix.ENOMEM
	}
	t.settle()
	t.enter()
	defer t.leave()
	for len(vec) > 0 {
		n := min(len(vec), windowSize)
		_, err := t.call(unix.SYS_MINCORE, addr, uint64(n)*PageSize, t.slotAddr()+windowOffset)
		if err == errGone {
			return unix.ENOMEM
		} else if err != nil {
			return err
		}
		for i, b := range t.slotWindow()[:n] {
			vec[i] = b & 1 // the other bits are reserved
		}
		vec = vec[n:]
		addr += uint64(n) * PageSize
	}
	return nil
}
