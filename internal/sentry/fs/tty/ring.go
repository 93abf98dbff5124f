package tty

// ring is a queue of bytes that grows as needed up to a fixed limit.
type ring struct {
	buf   []byte
	start int
	n     int
}

const ringMin = 4096

// reserve makes room for at least extra more bytes.
func (r *ring) reserve(extra int) {
	if r.n+extra <= len(r.buf) {
		return
	}
	size := max(len(r.buf), ringMin)
	for size < r.n+extra {
		size *= 2
	}
	b := make([]byte, size)
	r.peek(b[:r.n])
	r.buf, r.start = b, 0
}

// put appends p.
func (r *ring) put(p []byte) {
	r.reserve(len(p))
	end := (r.start + r.n) % len(r.buf)
	m := copy(r.buf[end:], p)
	copy(r.buf, p[m:])
	r.n += len(p)
}

// putByte appends one byte.
func (r *ring) putByte(c byte) {
	r.reserve(1)
	r.buf[(r.start+r.n)%len(r.buf)] = c
	r.n++
}

// peek copies the first bytes out and leaves them.
func (r *ring) peek(p []byte) int {
	n := min(len(p), r.n)
	m := copy(p[:n], r.buf[min(r.start, len(r.buf)):])
	copy(p[m:n], r.buf)
	return n
}

// take copies the first bytes out and removes them.
func (r *ring) take(p []byte) int {
	n := r.peek(p)
	r.n -= n
	if r.n == 0 {
		r.start = 0
		if len(r.buf) > ringMin {
			r.buf = nil
		}
	} else {
		r.start = (r.start + n) % len(r.buf)
	}
	return n
}

// truncate drops all but the first n bytes.
func (r *ring) truncate(n int) { r.n = min(r.n, n) }

// clear drops everything.
func (r *ring) clear() { r.start, r.n = 0, 0 }
