package stub

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Numbers of rseq(2), and how glibc uses it.
const (
	sysRseq        = 334
	rseqSize       = 32
	rseqAlign      = 32
	rseqSignature  = 0x53053053
	rseqUnregister = 1
	rseqSearch     = 8 << 10
	archGetFS      = 0x1003
	// noUser, in an address, has the host refuse it as beyond user space.
	noUser = 1 << 63
)

// rseqArea is a thread's registration; a length of 0 is none. The sentry only
// has it to undo it: what the host knows decides.
type rseqArea struct {
	addr        uint64
	length, sig uint32
}

// Rseq implements platform.RestartableSequences.
//
// The host compares the instruction pointer with the guest's descriptor, so a
// descriptor that covers the stub's code leads a thread out of it, to an
// address of the guest's choice. That is no more than what other threads of
// the guest can do to it by writing to its slot.
func (t *Thread) Rseq(addr uint64, length, flags, sig uint32) error {
	if flags&^rseqUnregister != 0 {
		return unix.EINVAL
	}
	if !t.inLimits(addr, int(length)) {
		// Which of several errors comes first is for the host to say.
		addr |= noUser
	}
	t.settle()
	t.enter()
	defer t.leave()
	_, err := t.call(sysRseq, addr, uint64(length), uint64(flags), uint64(sig))
	switch {
	case err == errGone:
		return unix.EFAULT
	case err != nil:
		return err
	case flags == 0:
		t.rseq = rseqArea{addr, length, sig}
	default:
		t.rseq = rseqArea{}
	}
	return nil
}

// DropRseq implements platform.RestartableSequences.
func (t *Thread) DropRseq() {
	if t.rseq.length == 0 {
		return
	}
	t.enter()
	defer t.leave()
	r := t.rseq
	o := t.nops
	t.addRseqDrop()
	if !t.run() {
		return
	}
	if _, err := t.result(o); err != nil {
		t.rseq = r // the guest has taken the area away
	}
}

// addRseqDrop adds what ends the registration to the batch.
func (t *Thread) addRseqDrop() {
	if r := t.rseq; r.length != 0 {
		t.add(sysRseq, r.addr, uint64(r.length), rseqUnregister, uint64(r.sig))
		t.rseq = rseqArea{}
	}
}

// MoveRseq registers to, a clone of t that has not run yet, as t is, and ends
// t's own registration. What the host refuses it would have ended the process
// for, had the guest forked by itself.
func (t *Thread) MoveRseq(to *Thread) {
	r := t.rseq
	if r.length == 0 {
		return
	}
	t.DropRseq()
	_ = to.Rseq(r.addr, r.length, 0, r.sig)
}

// withoutRseq ends the thread's registration, and reports whether the host has
// none now: the guest may have made one by the stub's code.
func (t *Thread) withoutRseq() bool {
	t.enter()
	defer t.leave()
	t.addRseqDrop()
	// Only without a registration is the address looked at.
	o := t.add(sysRseq, noUser, rseqSize, 0, 0)
	if !t.run() {
		return false
	}
	_, err := t.result(o)
	return err == unix.EFAULT || err == unix.ENOSYS || err == unix.EPERM
}

// RseqRegistered reports whether the guest registered restartable sequences.
func (t *Thread) RseqRegistered() bool { return t.rseq.length != 0 }

// dropRseq undoes the registration of restartable sequences that the template
// inherits from a sentry that is linked with glibc, as the race detector has
// it: the host ends a process whose area is gone. Where glibc keeps the area,
// which is near the thread pointer, only trying tells; without glibc, which is
// how Coffer is built, the thread pointer is Go's and nothing is found.
func dropRseq(t *Thread) error {
	if !cgo {
		return nil
	}
	if _, err := t.call(unix.SYS_ARCH_PRCTL, archGetFS, t.slotAddr()+windowOffset); err != nil {
		return err
	}
	fs := binary.LittleEndian.Uint64(t.slotWindow())
	for at := fs &^ (rseqAlign - 1); at < fs+rseqSearch; at += rseqAlign {
		switch _, err := t.call(sysRseq, at, rseqSize, rseqUnregister, rseqSignature); err {
		case nil:
			return nil
		case errGone:
			return err
		}
	}
	return nil
}
