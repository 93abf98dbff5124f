package stub

import "coffer/internal/sentry/platform"

// A hand-off that only asks for a few bytes of guest memory costs as much as the
// call itself, and on a busy host much more. So the stub brings along what most
// calls read first: a path, a signal set, a time-out, a few bytes to write.

// fetchCalls is how many numbers of system calls the table has.
const fetchCalls = 512

// A table entry as the stub reads it: a register's index in abi.Regs, a bit,
// and the number of bytes.
const (
	fetchRegister = 0x3f
	fetchCounted  = 0x40
	fetchShift    = 8
	// fetchOffset is where in the code's page the table is.
	fetchOffset = textSize - 2*fetchCalls
)

// fetchRegisters are the arguments' registers, as indices in abi.Regs.
var fetchRegisters = [6]uint16{14, 13, 12, 7, 9, 8}

// encodeFetch makes an entry of the table.
func encodeFetch(f platform.Fetch) uint16 {
	if f.Max == 0 {
		return 0
	}
	e := fetchRegisters[f.Arg] | uint16(f.Max)<<fetchShift
	if f.Counted {
		e |= fetchCounted
	}
	return e
}

// WithFetches has stubs bring along what calls read first, by their numbers.
// Who does not call a system call by a rewritten site reads it later.
func WithFetches(fetches map[uint64]platform.Fetch) Option {
	return func(s *Stubs) {
		for nr, f := range fetches {
			s.fetches[nr] = f
		}
	}
}

// fetched is what a stub brought along, as far as it has not been used.
type fetched struct {
	base     uint64 // the first byte's address
	from, to uint32 // what is left, relative to base
}

// takeFetched notes what the stub claims to have brought.
func (t *Thread) takeFetched() {
	if n := t.page.fetched; n <= platform.FetchMax {
		t.fetched = fetched{t.page.fetchedAt, 0, n}
	}
}

// forgetFetched is for when guest memory may no longer be as the stub saw it.
func (t *Thread) forgetFetched() { t.fetched = fetched{} }

// copyFetched copies guest memory from what the stub brought. That is as good
// as reading it now until the thread has had something done or has waited, and
// once only: who reads again wants to know what is there then.
func (t *Thread) copyFetched(addr uint64, dst []byte) bool {
	f := &t.fetched
	from, n := addr-f.base, uint64(len(dst))
	if n > uint64(f.to) || from > uint64(f.to)-n || from < uint64(f.from) || !t.inLimits(addr, len(dst)) {
		return false
	}
	copy(dst, t.page.fetch[from:])
	f.from = uint32(from + n)
	return true
}
