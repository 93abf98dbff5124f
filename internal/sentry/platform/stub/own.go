package stub

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What PID a new process has, or TID a new thread, is what the stub says that has made it.
// A guest that has broken its stub may name another stub's child, in the moment before
// the sentry hears of that from its own parent, and would then have that one's memory read
// and written. So before the sentry reaches for anything by such a number, it looks
// whether there are the slots that the process was given, which bear its number.

// ownTries bounds how often is looked for the slots of a process that is about to map
// them, to a second or so.
const ownTries = 20000

// has reports whether the process, or thread, of the host with this number is p's.
func (p *Process) has(number int) bool {
	var b [8]byte
	for n := 0; n < ownTries && !p.gone.Load(); n++ {
		_, err := copyRemote(number, unix.SYS_PROCESS_VM_READV, p.stubs.base+uint64(unsafe.Offsetof(page{}.owner)), b[:])
		switch err {
		case nil:
			return binary.LittleEndian.Uint64(b[:]) == p.number
		case unix.EFAULT: // it has just been forked
			pause(n)
		default:
			return false
		}
	}
	return false
}

// hasPID reports whether p's PID is its own.
func (p *Process) hasPID() bool {
	if !p.known.Load() && p.has(p.pid) {
		p.known.Store(true)
	}
	return p.known.Load()
}

// HasTID reports whether the thread's ID is one of its process's. The host must not be
// able to give it to another one meanwhile.
func (t *Thread) HasTID() bool { return t.proc.has(t.tid) }
