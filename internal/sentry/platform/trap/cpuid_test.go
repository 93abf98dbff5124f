package trap

import (
	"bytes"
	"testing"

	"coffer/internal/sentry/platform/stub"
	"coffer/internal/sentry/platform/trap/rewrite"

	. "coffer/internal/sentry/platform/platformtest"
)

// TestImageCPUID: in an image CPUID is what the image says, and the processor's where it is
// jumped to, or where the code has been restored.
func TestImageCPUID(t *testing.T) {
	const leaf = extendedLeaves + 1
	held := rewrite.Registers{0x80000010, 2, 0xfffffff3, 4}
	a, b, c, d := stub.CPUID(leaf, 0)
	real := rewrite.Registers{a, b, c, d}
	p := imagePlatform(t)
	p.texts.leaves = func() map[uint32]rewrite.Registers { return map[uint32]rewrite.Registers{leaf: held} }
	// getpid(); cpuid; mov %rax,%r12; mov %rcx,%r13; and again
	code := Asm(pad, MovEAX, 39, Syscall, MovEAX, "\x01\x00\x00\x80", "\x0f\xa2", "\x49\x89\xc4\x49\x89\xcd\xeb\xe8")
	move := uint64(len(pad) + 7)
	fd, _ := textFile(t, code)
	run := func(g *Guest, c *context) (got rewrite.Registers, ok bool) {
		r := c.Regs()
		r.Rbx, r.Rdx = ^uint64(0), ^uint64(0)
		r.Rax = 0
		g.Syscall(39)
		for i, v := range []uint64{r.R12, r.Rbx, r.R13, r.Rdx} {
			got[i] = uint32(v)
			ok = ok || v>>32 != 0
		}
		return got, !ok
	}
	check := func(what string, g *Guest, c *context, want rewrite.Registers) {
		t.Helper()
		if got, whole := run(g, c); got != want || !whole {
			t.Errorf("%s: %x, want %x; upper halves cleared: %v", what, got, want, whole)
		}
	}

	g, c1, _ := mapText(t, p, fd, true)
	g.Syscall(39)
	for range 20 {
		check("without an image", g, c1, real)
	}
	g.Done()

	g, c1, reserved := mapText(t, p, fd, true)
	defer g.Done()
	if reserved == 0 {
		t.Fatal("no image")
	}
	g.Syscall(39)
	check("with an image", g, c1, held)
	read := make([]byte, len(code))
	if _, err := c1.CopyIn(textAddr, read); err != nil || !bytes.Equal(read, code) {
		t.Errorf("read % x, %v", read, err)
	}
	// Wherever in the trampoline it is stopped, it has not begun.
	var st place
	for at := reserved; at < textAddr; at += rewrite.Size {
		var ok bool
		if st, ok = c1.space.trampoline(at); !ok {
			t.Fatal("no trampoline")
		} else if st.origin(at) == textAddr+move {
			for i := range uint64(len(st.Trampoline)) {
				if o := st.origin(at + i); o != textAddr+move {
					t.Errorf("byte %d of the trampoline stands for %#x", i, o)
				}
			}
			break
		}
	}
	// A jump to the instruction itself.
	r := c1.Regs()
	r.Rip, r.Rax = textAddr+move+5, leaf
	c1.call.valid = false
	if got := c1.space.displaced(r.Rip); got != r.Rip {
		t.Errorf("CPUID itself is at %#x", got)
	}
	g.Syscall(39)
	if uint32(r.R12) != real[0] {
		t.Errorf("jumped to: %x, want %x", r.R12, real[0])
	}
	c1.Unpatch(textAddr, 0x1000)
	check("restored", g, c1, real)
}

// TestConstantLeaves compares them with what the processor says again.
func TestConstantLeaves(t *testing.T) {
	leaves := constantLeaves()
	if len(leaves) == 0 {
		t.Skip("no virtual machine, or processors of several kinds")
	}
	for leaf, held := range leaves {
		a, b, c, d := stub.CPUID(leaf, 7)
		if now := (rewrite.Registers{a, b, c, d}); now != held {
			t.Errorf("%#x: %x, then %x", leaf, held, now)
		}
	}
}
