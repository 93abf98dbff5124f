// Package ring is a first-in first-out buffer of bytes that takes memory only
// as it fills: what pipes and sockets keep their data in.
//
// All buffers together take no more than shmem.Buffers allows to whoever asks
// Reserve. It has no lock and knows no readiness; its users do.
package ring

import "coffer/internal/sentry/shmem"

// first is how much the first byte makes the buffer take.
const first = 4096

// Buffer is a circular buffer. The zero value is empty and holds nothing
// until the first Write. What it takes is counted until Release.
type Buffer struct {
	data []byte // length is zero or a power of two
	head int    // index of the oldest byte
	n    int    // bytes held
	lent bool   // Room is being written to
}

// Len returns how many bytes the buffer holds.
func (b *Buffer) Len() int { return b.n }

// Reserve makes room for n bytes more; false if there is no memory for them.
func (b *Buffer) Reserve(n int) bool {
	if b.n+n <= len(b.data) {
		return true
	}
	size := sizeFor(b.n + n)
	if !shmem.Buffers.Charge(int64(size - len(b.data))) {
		return false
	}
	b.move(size)
	return true
}

// Write appends all of p; the caller has checked that it may grow by that, and
// called Reserve unless it must not fail.
func (b *Buffer) Write(p []byte) {
	if b.n+len(p) > len(b.data) {
		b.resize(b.n + len(p))
	}
	tail := (b.head + b.n) & (len(b.data) - 1)
	k := copy(b.data[tail:], p)
	copy(b.data, p[k:])
	b.n += len(p)
}

// Room returns room behind what is held that lies in one piece, of n bytes at most; the
// caller has called Reserve for as many. It may be filled while others take bytes off the
// front; then Add is called, unless there was a Release in between.
func (b *Buffer) Room(n int) []byte {
	b.lent = true
	tail := (b.head + b.n) & (len(b.data) - 1)
	return b.data[tail:min(len(b.data), tail+n)]
}

// Add appends the first n bytes of what Room returned.
func (b *Buffer) Add(n int) {
	b.lent = false
	b.n += n
}

// Held returns the oldest bytes as far as they lie in one piece, n at most. They stay what
// they are until they are discarded, whatever is written behind them.
func (b *Buffer) Held(n int) []byte {
	n = min(n, b.n)
	return b.data[b.head:min(len(b.data), b.head+n)]
}

// Read moves the oldest bytes to p and returns how many.
func (b *Buffer) Read(p []byte) int {
	n := b.Peek(p, 0)
	b.Discard(n)
	return n
}

// Peek copies bytes to p without removing them, beginning after skip of them.
func (b *Buffer) Peek(p []byte, skip int) int {
	if skip >= b.n {
		return 0
	}
	if len(p) > b.n-skip {
		p = p[:b.n-skip]
	}
	at := (b.head + skip) & (len(b.data) - 1)
	k := copy(p, b.data[at:])
	copy(p[k:], b.data)
	return len(p)
}

// Unread puts bytes before all others; false if there is no memory for them. Room has not been
// lent.
func (b *Buffer) Unread(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	if !b.Reserve(len(p)) {
		return false
	}
	b.head = (b.head - len(p)) & (len(b.data) - 1)
	k := copy(b.data[b.head:], p)
	copy(b.data, p[k:])
	b.n += len(p)
	return true
}

// Discard drops the n oldest bytes; n is at most Len.
func (b *Buffer) Discard(n int) {
	b.n -= n
	if b.n == 0 && !b.lent {
		// Starting over keeps small messages in the same cache lines.
		b.head = 0
		return
	}
	b.head = (b.head + n) & (len(b.data) - 1)
}

// Trim gives memory back, as far as what is held allows.
func (b *Buffer) Trim() {
	if b.n == 0 {
		b.Release()
		return
	}
	b.resize(b.n)
}

// Release drops what is held and gives all memory back.
func (b *Buffer) Release() {
	shmem.Buffers.Uncharge(int64(len(b.data)))
	*b = Buffer{}
}

// resize moves the contents to a buffer with room for n bytes.
func (b *Buffer) resize(n int) {
	size := sizeFor(n)
	shmem.Buffers.Uncharge(int64(len(b.data) - size))
	b.move(size)
}

// sizeFor is how large a buffer for n bytes is.
func sizeFor(n int) int {
	size := first
	for size < n {
		size *= 2
	}
	return size
}

// move moves the contents to a buffer of size bytes, which have been counted.
func (b *Buffer) move(size int) {
	data := make([]byte, size)
	n := b.Peek(data, 0)
	*b = Buffer{data: data, n: n}
}
