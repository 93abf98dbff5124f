package kernel

import (
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Rseq is rseq(2). ENOSYS where the platform's threads are not the host's.
func (t *Task) Rseq(addr uint64, length, flags, sig uint32) error {
	c, ok := t.ctx.(platform.RestartableSequences)
	if !ok {
		return unix.ENOSYS
	}
	return c.Rseq(addr, length, flags, sig)
}

// dropRseq ends the registration of a thread whose memory goes on without it.
func (t *Task) dropRseq() {
	if c, ok := t.ctx.(platform.RestartableSequences); ok {
		c.DropRseq()
	}
}
