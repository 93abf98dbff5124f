package genfs

import (
	"math/bits"
	"strconv"
)

// Bitmap is a set of numbers, 64 a word, as files show sets of processors.
type Bitmap []uint64

// Mask writes the set as Linux's %*pb: hexadecimal groups of 32 bits, the
// highest first, covering the numbers below size.
func (m Bitmap) Mask(b []byte, size int) []byte {
	for group := (max(size, 1) - 1) / 32; group >= 0; group-- {
		width := 8
		if group == (max(size, 1)-1)/32 {
			// The first group has only the digits that size needs.
			width = ((max(size, 1)-1)%32)/4 + 1
		} else {
			b = append(b, ',')
		}
		var v uint64
		if group/2 < len(m) {
			v = m[group/2] >> (group % 2 * 32) & 0xffffffff
		}
		s := strconv.FormatUint(v, 16)
		for i := len(s); i < width; i++ {
			b = append(b, '0')
		}
		b = append(b, s...)
	}
	return b
}

// List writes the set as ranges: "0-3,8".
func (m Bitmap) List(b []byte) []byte {
	first := true
	for from := m.next(0, true); from >= 0; {
		to := m.next(from, false)
		if to < 0 {
			to = 64 * len(m)
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = strconv.AppendInt(b, int64(from), 10)
		if to-1 > from {
			b = append(b, '-')
			b = strconv.AppendInt(b, int64(to-1), 10)
		}
		from = m.next(to, true)
	}
	return b
}

// Len is one more than the highest number in the set, Count how many there
// are.
func (m Bitmap) Len() int {
	for i := len(m) - 1; i >= 0; i-- {
		if m[i] != 0 {
			return 64*i + bits.Len64(m[i])
		}
	}
	return 0
}

func (m Bitmap) Count() (n int) {
	for _, w := range m {
		n += bits.OnesCount64(w)
	}
	return n
}

// Each calls f with the numbers of the set in order.
func (m Bitmap) Each(f func(n int)) {
	for n := m.next(0, true); n >= 0; n = m.next(n+1, true) {
		f(n)
	}
}

// next is the first number from on that is in the set, or is not; -1 if none.
func (m Bitmap) next(from int, in bool) int {
	for n := from; n < 64*len(m); n++ {
		if m[n/64]>>(n%64)&1 != 0 == in {
			return n
		}
	}
	return -1
}
