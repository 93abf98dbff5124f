package syscalls

import (
	"encoding/binary"
	"sync"

	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

const (
	// maxRW is Linux's MAX_RW_COUNT: no call moves more bytes.
	maxRW = 0x7ffff000
	// maxIovecs is UIO_MAXIOV.
	maxIovecs = 1024
	sizeIovec = 16
	// userEnd is TASK_SIZE_MAX, beyond which no user memory ends.
	userEnd = 1<<47 - 4096
)

// memRange is one range of guest memory, as struct iovec.
type memRange struct{ addr, length uint64 }

// guestBuffer is where in guest memory a call's data is: one or more ranges,
// walked once from the start. Lengths are bounded by maxRW together.
type guestBuffer struct {
	// at is the range that the walk is in, rest are those after it. (The first
	// is not kept in rest so that a single range needs no allocation.)
	at   memRange
	rest []memRange
	// total is the number of bytes not yet walked past, walked that of those before.
	total, walked uint64
}

// setRange makes g a single range, as of read(2). EINVAL if length is negative
// as a ssize_t.
func (g *guestBuffer) setRange(addr, length uint64) error {
	if int64(length) < 0 {
		return unix.EINVAL
	}
	length = min(length, maxRW)
	*g = guestBuffer{at: memRange{addr, length}, total: length}
	return nil
}

// vectors are the pooled arrays behind guestBuffers of several ranges.
type vector struct {
	raw    [maxIovecs * sizeIovec]byte
	ranges [maxIovecs]memRange
}

var vectors = sync.Pool{New: func() any { return new(vector) }}

// getVector copies in a struct iovec array of count elements and makes g its
// ranges. The vector must be put back when g is done with. EINVAL for a count
// that is negative or above UIO_MAXIOV, or a negative length; EFAULT.
func (g *guestBuffer) getVector(t *kernel.Task, addr, count uint64) (*vector, error) {
	if count > maxIovecs {
		return nil, unix.EINVAL
	}
	v := vectors.Get().(*vector)
	raw := v.raw[:count*sizeIovec]
	var err error
	if len(raw) > 0 {
		_, err = t.CopyIn(addr, raw)
	}
	if err == nil {
		g.rest, g.total, err = parseIovecs(raw, v.ranges[:0])
	}
	if err != nil {
		v.put()
		return nil, err
	}
	return v, nil
}

func (v *vector) put() { vectors.Put(v) }

// parseIovecs decodes an array of struct iovec. Lengths are cut so that they
// add up to maxRW at most, as Linux does. EFAULT if a range as it is given ends
// where no user memory can be, whether or not it would be reached.
func parseIovecs(raw []byte, out []memRange) ([]memRange, uint64, error) {
	var total uint64
	for ; len(raw) >= sizeIovec; raw = raw[sizeIovec:] {
		r := memRange{binary.LittleEndian.Uint64(raw), binary.LittleEndian.Uint64(raw[8:])}
		if int64(r.length) < 0 {
			return nil, 0, unix.EINVAL
		}
		if r.addr > userEnd || r.length > userEnd-r.addr {
			return nil, 0, unix.EFAULT
		}
		r.length = min(r.length, maxRW-total)
		total += r.length
		out = append(out, r)
	}
	return out, total, nil
}

// next returns the range to go on in, or an empty one at the end.
func (g *guestBuffer) next() memRange {
	for g.at.length == 0 && len(g.rest) > 0 {
		g.at, g.rest = g.rest[0], g.rest[1:]
	}
	return g.at
}

// advance walks past n bytes of the present range.
func (g *guestBuffer) advance(n int) {
	g.at.addr += uint64(n)
	g.at.length -= uint64(n)
	g.total -= uint64(n)
	g.walked += uint64(n)
}

// skip walks past n bytes, which are there.
func (g *guestBuffer) skip(n int) {
	for n > 0 {
		step := int(min(uint64(n), g.next().length))
		g.advance(step)
		n -= step
	}
}

// copyOut writes src at the current place and walks past it. It returns how
// much it wrote, and EFAULT if that was not all.
func (g *guestBuffer) copyOut(t *kernel.Task, src []byte) (done int, err error) {
	for err == nil && done < len(src) && g.total > 0 {
		r := g.next()
		var n int
		n, err = t.CopyOut(r.addr, src[done:min(uint64(len(src)), uint64(done)+r.length)])
		done += n
		g.advance(n)
	}
	return done, err
}

// copyOutLate is copyOut for a buffer that clampWritable has found to be good: if src is not
// too much it is copied on the way back to the guest. A failure there makes the call's result
// EFAULT; partial says that it is how many bytes were copied, if any.
func (g *guestBuffer) copyOutLate(t *kernel.Task, src []byte, partial bool) (done int, err error) {
	for err == nil && done < len(src) && g.total > 0 {
		r := g.next()
		n := int(min(uint64(len(src)-done), r.length))
		if partial {
			err = t.CopyOutResultLate(r.addr, src[done:done+n], g.walked)
		} else {
			err = t.CopyOutLate(r.addr, src[done:done+n])
		}
		if err != nil {
			n, err = t.CopyOut(r.addr, src[done:done+n]) // as much of it as there can be
			if partial && t.LateFailed() {
				return done, unix.EFAULT // it comes behind what could not be written
			}
		}
		done += n
		g.advance(n)
	}
	return done, err
}

// copyIn fills dst from the current place on and walks past what it took.
func (g *guestBuffer) copyIn(t *kernel.Task, dst []byte) (done int, err error) {
	for err == nil && done < len(dst) && g.total > 0 {
		r := g.next()
		var n int
		n, err = t.CopyIn(r.addr, dst[done:min(uint64(len(dst)), uint64(done)+r.length)])
		done += n
		g.advance(n)
	}
	return done, err
}

// clampWritable cuts g to what lies before the first address that the guest
// cannot write, so that a stream loses nothing to a bad buffer. EFAULT if
// nothing is left.
func (g *guestBuffer) clampWritable(t *kernel.Task) error {
	if g.total == 0 {
		return nil
	}
	good, ok := writable(t, &g.at)
	for i := 0; ok && i < len(g.rest); i++ {
		var n uint64
		n, ok = writable(t, &g.rest[i])
		good += n
	}
	// Nothing behind the first bad address is reached: total ends before.
	if g.total = good; good == 0 {
		return unix.EFAULT
	}
	return nil
}

// writable cuts r to what lies before the first address in it that the guest
// cannot write, and returns its length then; ok says that it was whole.
func writable(t *kernel.Task, r *memRange) (length uint64, ok bool) {
	m := t.MM()
	if m.CheckRange(r.addr, r.length, true) == nil {
		return r.length, true
	}
	r.length = writablePrefix(r.length, func(n uint64) bool {
		return m.CheckRange(r.addr, n, true) == nil
	})
	return r.length, false
}

// writablePrefix returns the largest n below length for which ok(n) holds; ok
// holds up to some point and not beyond.
func writablePrefix(length uint64, ok func(n uint64) bool) uint64 {
	lo, hi := uint64(0), length // ok(lo) holds, ok(hi) does not
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		if ok(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}
