package syscalls

import "sync"

// The sizes of the buffers that data moves through between guest memory and
// files. The largest is also the largest step in which a file is read or
// written.
const (
	smallBuffer  = 4 << 10
	mediumBuffer = 64 << 10
	maxStep      = 1 << 20
)

var (
	smallBuffers  = sync.Pool{New: func() any { return newBuffer(smallBuffer) }}
	mediumBuffers = sync.Pool{New: func() any { return newBuffer(mediumBuffer) }}
	largeBuffers  = sync.Pool{New: func() any { return newBuffer(maxStep) }}
)

// buffer is a pooled buffer. What it holds at first is what its last user left
// there: never show the guest more than was written since.
type buffer struct{ b []byte }

func newBuffer(n int) *buffer { return &buffer{make([]byte, n)} }

// getBuffer returns a buffer of n bytes, but of maxStep at most. The caller
// puts it back.
func getBuffer(n uint64) *buffer {
	var b *buffer
	switch {
	case n <= smallBuffer:
		b = smallBuffers.Get().(*buffer)
	case n <= mediumBuffer:
		b = mediumBuffers.Get().(*buffer)
	default:
		b = largeBuffers.Get().(*buffer)
	}
	b.b = b.b[:min(n, uint64(cap(b.b)))]
	return b
}

func (b *buffer) put() {
	switch cap(b.b) {
	case smallBuffer:
		smallBuffers.Put(b)
	case mediumBuffer:
		mediumBuffers.Put(b)
	default:
		largeBuffers.Put(b)
	}
}
