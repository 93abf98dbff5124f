package platformtest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// testCopyLarge copies much, of any size, in and out and late, and compares with what must
// be there then; also to where memory ends midway.
func testCopyLarge(t *testing.T, p platform.Platform) {
	const size = 4 << 20
	g := NewGuest(t, p, Asm(Syscall, "\xeb\xfc")) // syscall; jmp back
	defer g.Done()
	g.Ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: nowhere, Length: size, FD: -1,
		Prot: unix.PROT_READ | unix.PROT_WRITE, Flags: unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED})
	model, random := make([]byte, size), rand.New(rand.NewPCG(1, 2))
	piece := func() (at, n int) {
		n = 1 + random.IntN(1<<(4+random.IntN(18)))
		if random.IntN(4) == 0 {
			return size - n, n + random.IntN(5000) // up to the end, and beyond
		}
		return random.IntN(size - n), n
	}
	fill := func(n int) []byte {
		b := bytes.Repeat([]byte{byte(random.Uint32())}, n)
		b[0], b[n-1] = byte(random.Uint32()), byte(random.Uint32())
		return b
	}
	check := func(what string, n, want, of int, err error) {
		t.Helper()
		if n != want || (err == nil) != (want == of) || err != nil && err != unix.EFAULT {
			t.Fatalf("%s %d bytes of which %d are there: %d, %v", what, of, want, n, err)
		}
	}
	for range 300 {
		at, n := piece()
		there := min(n, size-at)
		switch random.IntN(4) {
		case 0:
			b := make([]byte, n)
			got, err := g.Ctx.CopyIn(nowhere+uint64(at), b)
			check("reading", got, there, n, err)
			if !bytes.Equal(b[:got], model[at:at+got]) {
				t.Fatalf("read something else at %d, %d bytes", at, n)
			}
		case 1:
			b := fill(n)
			got, err := g.Ctx.CopyOut(nowhere+uint64(at), b)
			check("writing", got, there, n, err)
			copy(model[at:], b[:there])
		case 2:
			b := fill(n)
			copy(model[at:], b)
			if err := g.Ctx.CopyOutLate(nowhere+uint64(at), b); err != nil {
				if err != unix.EFAULT || there == n {
					t.Fatalf("%d bytes late, of which %d are there: %v", n, there, err)
				}
				break
			}
			if there == n {
				break
			}
			ev := g.Ctx.Switch()
			var oe *platform.OpError
			if ev.Kind != platform.EventOpFailed || !errors.As(ev.Err, &oe) || oe.Op.Data != string(b) {
				t.Fatalf("%d bytes late, of which %d are there: %+v", n, there, ev)
			}
		case 3:
			g.Ctx.Regs().Rax = 39
			g.Syscall(39)
		}
	}
	b := make([]byte, size)
	if _, err := g.AS.CopyIn(nowhere, b); err != nil || !bytes.Equal(b, model) {
		t.Errorf("it is not as it should be in the end: %v", err)
	}
}
