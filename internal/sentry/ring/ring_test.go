package ring

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"coffer/internal/sentry/shmem"
)

// TestAgainstSlice compares a long run of operations with a plain slice.
func TestAgainstSlice(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var b Buffer
	var want []byte
	next := byte(0)
	for range 20000 {
		switch r.IntN(6) {
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
		case 5:
			p := make([]byte, r.IntN(2000))
			for i := range p {
				p[i] = next
				next++
			}
			if len(want) > 50000 {
				p = nil
			}
			if !b.Unread(p) {
				t.Fatal("no room")
			}
			want = append(p, want...)
		}
		if b.Len() != len(want) {
			t.Fatalf("Len = %d, want %d", b.Len(), len(want))
		}
	}
}

// TestReserve checks that buffers take what their account allows, and give it
// back.
func TestReserve(t *testing.T) {
	before := shmem.Buffers.Used()
	shmem.Buffers.SetLimit(before + 3*first)
	defer shmem.Buffers.SetLimit(0)
	taken := func(want int64) {
		t.Helper()
		if got := shmem.Buffers.Used() - before; got != want {
			t.Errorf("%d bytes are counted, not %d", got, want)
		}
	}
	var a, b Buffer
	if !a.Reserve(1) || !a.Reserve(first) || !b.Reserve(first) {
		t.Fatal("no room at the beginning")
	}
	a.Write([]byte("kept"))
	taken(2 * first)
	if a.Reserve(2 * first) {
		t.Error("there is room for four times the first size")
	}
	if !a.Reserve(first) {
		t.Error("there is no room for twice the first size")
	}
	taken(3 * first)
	if b.Reserve(first + 1) {
		t.Error("there is room beyond the limit")
	}
	b.Write(make([]byte, first+1)) // what must not fail does not
	taken(4 * first)
	b.Discard(first + 1)
	b.Trim()
	a.Trim()
	taken(first)
	p := make([]byte, 10)
	if n := a.Read(p); string(p[:n]) != "kept" {
		t.Errorf("%q has been kept", p[:n])
	}
	a.Release()
	taken(0)
}

// TestInPlace writes to a buffer's own room and reads where it lies, in turn with others
// who take from the front and have it grow.
func TestInPlace(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var b Buffer
	var want []byte
	next := byte(0)
	for range 20000 {
		n := 1 + r.IntN(200<<10)
		if len(want) > 300<<10 {
			n = 1
		}
		if !b.Reserve(n) {
			t.Fatal("no room")
		}
		room := b.Room(n)
		if len(room) == 0 || len(room) > n {
			t.Fatalf("Room(%d) has %d bytes", n, len(room))
		}
		// Somebody reads while it is filled.
		p := b.Held(r.IntN(400 << 10))
		if !bytes.Equal(p, want[:len(p)]) {
			t.Fatalf("Held has %d bytes, or wrong ones", len(p))
		}
		took := len(p)
		if r.IntN(2) == 0 {
			b.Discard(took)
			want = want[took:]
		}
		for i := range room {
			room[i] = next
			next++
		}
		added := r.IntN(len(room) + 1)
		next -= byte(len(room) - added)
		b.Add(added)
		want = append(want, room[:added]...)
		if b.Len() != len(want) {
			t.Fatalf("Len = %d, want %d", b.Len(), len(want))
		}
	}
}
