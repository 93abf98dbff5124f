package stub

import (
	"encoding/binary"

	"coffer/internal/sentry/platform"
)

// A hand-off that only asks for a few bytes of guest memory costs as much as the
// call itself, and on a busy host much more. So the stub brings along what most
// calls read first: a path, a signal set, a time-out, what is to be written, be it in several buffers.

// fetchCalls is how many numbers of system calls the table has.
const fetchCalls = 512

// A table entry as the stub reads it: a register's index in abi.Regs, two bits,
// and the number of bytes; and from alsoShift on a byte for each of the other parts.
const (
	fetchRegister = 0x3f
	fetchCounted  = 0x40
	fetchVector   = 0x80
	fetchShift    = 8
	// fetchOffset is where in the code's pages the table is.
	fetchOffset = textSize - 8*fetchCalls
	alsoShift   = 16
)

// Such a byte is an argument's number and, above it, the number of bytes, which is a multiple of 8,
// or one of two values for what is not as simple.
const (
	alsoArg    = 0x07
	alsoSize   = 0xf8
	alsoBits   = 0xf8
	alsoPoints = 0xf0
	// alsoPointsSize is how many bytes that have whose first word points to more.
	alsoPointsSize = 16
	fetchMax       = platform.FetchMax // for the assembly
)

// fetchRegisters are the arguments' registers, as indices in abi.Regs: four bits for each, those of
// the first argument lowest.
const fetchRegisters = 0x897cde

// encodeFetch makes an entry of the table.
func encodeFetch(f platform.Fetch) uint64 {
	e := uint64(encodeFirst(f))
	for i, p := range f.Also {
		size := p.Max
		switch {
		case size == 0:
			return e
		case p.Bits:
			size = alsoBits
		case p.Points:
			size = alsoPoints
		}
		e |= uint64(size|p.Arg) << (alsoShift + 8*i)
	}
	return e
}

// encodeFirst makes what an entry says of what is read first.
func encodeFirst(f platform.Fetch) uint16 {
	if f.Max == 0 {
		return 0
	}
	e := uint16(fetchRegisters>>(4*f.Arg)&0xf | f.Max<<fetchShift)
	if f.Counted {
		e |= fetchCounted
	}
	if f.Vector {
		e |= fetchVector
	}
	return e
}

// WithFetches has stubs bring along what calls read first, by their numbers.
// Who does not call a system call by a rewritten site reads it later.
func WithFetches(fetches map[uint64]platform.Fetch) Option {
	return func(s *Stubs) {
		for nr, f := range fetches {
			s.fetches[nr] = encodeFetch(f)
		}
	}
}

// fetched is what a stub brought along, as far as it has not been used.
type fetched struct {
	base     uint64 // the first byte's address
	from, to uint32 // what is left, relative to base
	// batch is Thread.batch when the call came.
	batch uint32
}

// bringing decides whether larger buffers, and those of an array of struct iovec, are brought
// along, into the window. That is in vain for a call that does not read its buffer, be it that a
// socket is full or that a file takes all: threads that make many such calls stop it, until others
// are made.
type bringing struct {
	// pieces are the first n of the array: the buffers that came.
	pieces [platform.FetchMax / sizeIovec]piece
	n      int
	// batch is as fetched's.
	batch uint32
	// vain counts calls whose buffers came and were not read, those not counted that were
	// read and had not come.
	vain uint8
}

// piece is what came of a buffer, as far as it has not been used.
type piece struct {
	fetched
	at uint32 // the first byte's place in the window
}

const sizeIovec = 16

// vainMax is how many of them end it.
const vainMax = 4

// max is how much is brought, with a window of n bytes.
func (b *bringing) max(n int) uint32 {
	if b.vain >= vainMax {
		return 0
	}
	return uint32(n)
}

// takeFetched notes what the stub claims to have brought.
func (t *Thread) takeFetched() {
	if n := t.page.fetched; n <= platform.FetchMax {
		t.fetched = fetched{t.page.fetchedAt, 0, n, t.arrived}
	}
	t.takeParts()
	if t.page.brought == 0 {
		return
	}
	t.claim()
	if n := t.page.brought; n != 0 && int(n) <= len(t.win.bytes) {
		t.bulk.moved += int(n)
		b := &t.bringing
		b.batch = t.arrived
		if t.page.broughtAt != 0 {
			b.pieces[0] = piece{fetched: fetched{base: t.page.broughtAt, to: n}}
			b.n = 1
		} else {
			b.take(t.page.fetch[:t.fetched.to], n)
		}
		if b.vain++; b.vain == vainMax {
			t.bringInto()
		}
	}
	t.leave()
}

// take notes that the first n bytes of the buffers of an array of struct iovec came, one behind the other.
func (b *bringing) take(array []byte, n uint32) {
	b.n = 0
	for at := uint32(0); at < n && len(array) >= sizeIovec; array = array[sizeIovec:] {
		length := uint32(min(binary.LittleEndian.Uint64(array[8:]), uint64(n-at)))
		if length == 0 {
			continue
		}
		b.pieces[b.n] = piece{fetched{base: binary.LittleEndian.Uint64(array), to: length}, at}
		b.n++
		at += length
	}
}

// Forget implements platform.Context.
func (t *Thread) Forget() { t.forgetFetched() }

// forgetFetched is for when guest memory may no longer be as the stub saw it.
func (t *Thread) forgetFetched() {
	t.forgetSmall()
	t.bringing.n = 0
}

// forgetSmall leaves what is in the window.
func (t *Thread) forgetSmall() { t.fetched, t.parts = fetched{}, 0 }

// copyFetched copies guest memory from what the stub brought. That is as good
// as reading it now until the thread has had something done or has waited, and
// once only: who reads again wants to know what is there then.
func (t *Thread) copyFetched(addr uint64, dst []byte) bool {
	f, from := t.findFetched(addr, len(dst))
	if f == nil {
		return false
	}
	at := uint32(addr - f.base)
	copy(dst, from[at:])
	f.from = at + uint32(len(dst))
	return true
}

// findFetched returns what has n bytes at addr, and its bytes, or nil.
func (t *Thread) findFetched(addr uint64, n int) (*fetched, *[platform.FetchMax]byte) {
	f, from := &t.fetched, &t.page.fetch
	if !f.has(addr, n) {
		if f, from = t.findPart(addr, n); f == nil {
			return nil, nil
		}
	}
	if f.batch != t.batch.Load() || !t.inLimits(addr, n) {
		return nil, nil
	}
	return f, from
}

// has reports whether n bytes at addr have come, and have not been used.
func (f *fetched) has(addr uint64, n int) bool {
	from := addr - f.base
	return uint64(n) <= uint64(f.to) && from <= uint64(f.to)-uint64(n) && from >= uint64(f.from)
}

// copyBrought copies as much of guest memory at addr as the stub brought to the window, on
// the same terms.
func (t *Thread) copyBrought(addr uint64, dst []byte) int {
	b := &t.bringing
	t.claim()
	defer t.leave()
	p := b.find(addr)
	if p == nil || b.batch != t.batch.Load() || !t.inLimits(addr, len(dst)) {
		if b.vain >= vainMax && len(dst) > platform.FetchMax {
			b.vain--
			t.bringInto()
		}
		return 0
	}
	from := uint32(addr - p.base)
	n := copy(dst, t.win.bytes[p.at+from:p.at+p.to])
	p.from = from + uint32(n)
	stopped := b.vain >= vainMax
	if b.vain = 0; stopped {
		t.bringInto() // the last one before the end was not in vain
	}
	t.win.used = true
	return n
}

// find returns the piece that has the byte at addr, if that has not been used, or nil.
func (b *bringing) find(addr uint64) *piece {
	for i := range b.pieces[:b.n] {
		if p := &b.pieces[i]; addr-p.base < uint64(p.to) && addr-p.base >= uint64(p.from) {
			return p
		}
	}
	return nil
}
