package ring

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestAgainstSlice compares a long run of operations with a plain slice.
func TestAgainstSlice(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var b Buffer
	var want []byte
	next := byte(0)
	for range 20000 {
		switch r.IntN(5) {
		case 0, 1:
			p := make([]byte, r.IntN(3000))
			for i := range p {
				p[i] = next
				next++
			}
			b.Write(p)
			want = append(want, p...)
		case 2:
			p := make([]byte, r.IntN(6000))
			n := b.Read(p)
			if n != min(len(p), len(want)) || !bytes.Equal(p[:n], want[:n]) {
				t.Fatalf("Read(%d) = %d bytes, or wrong ones", len(p), n)
			}
			want = want[n:]
		case 3:
			skip := r.IntN(5000)
			p := make([]byte, r.IntN(6000))
			n := b.Peek(p, skip)
			rest := want[min(skip, len(want)):]
			if n != min(len(p), len(rest)) || !bytes.Equal(p[:n], rest[:n]) {
				t.Fatalf("Peek(%d, %d) = %d bytes, or wrong ones", len(p), skip, n)
			}
		case 4:
			b.Trim()
		}
		if b.Len() != len(want) {
			t.Fatalf("Len = %d, want %d", b.Len(), len(want))
		}
	}
}
