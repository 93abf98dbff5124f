package platformtest

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// avx512 says that the guest may use ZMM registers.
func avx512(p platform.Platform) bool { return p.Limits().FPFeatures&0xe0 == 0xe0 }

// fpCode loads vector registers from (%rsi), makes the call in rax, then
// stores them at (%rdi) and makes call 60.
func fpCode(p platform.Platform) []byte {
	if avx512(p) {
		return Asm(
			"\x62\xf1\xfe\x48\x6f\x06", // vmovdqu64 (%rsi),%zmm0
			"\x62\xe1\xfe\x48\x6f\x3e", // vmovdqu64 (%rsi),%zmm23
			"\x0f\xae\x56\x40",         // ldmxcsr 0x40(%rsi)
			Syscall, Syscall,
			"\x62\xf1\xfe\x48\x7f\x07",     // vmovdqu64 %zmm0,(%rdi)
			"\x62\xe1\xfe\x48\x7f\x7f\x01", // vmovdqu64 %zmm23,0x40(%rdi)
			"\x0f\xae\x9f\x80\x00\x00\x00", // stmxcsr 0x80(%rdi)
			exit60)
	}
	return Asm(
		"\xf3\x0f\x6f\x06",     // movdqu (%rsi),%xmm0
		"\xf3\x44\x0f\x6f\x3e", // movdqu (%rsi),%xmm15
		"\x0f\xae\x56\x40",     // ldmxcsr 0x40(%rsi)
		Syscall, Syscall,
		"\xf3\x0f\x7f\x07",             // movdqu %xmm0,(%rdi)
		"\xf3\x44\x0f\x7f\x7f\x40",     // movdqu %xmm15,0x40(%rdi)
		"\x0f\xae\x9f\x80\x00\x00\x00", // stmxcsr 0x80(%rdi)
		exit60)
}

const fpMXCSR = 0x3f80 // round down, exceptions masked

// fpGuest is a guest that has loaded its registers and stands at a call.
func fpGuest(t *testing.T, p platform.Platform) (*Guest, []byte) {
	g := NewGuest(t, p, fpCode(p))
	n := 16
	if avx512(p) {
		n = 64
	}
	pattern := make([]byte, n)
	for i := range pattern {
		pattern[i] = byte(0x11 * (i%15 + 1))
	}
	g.Ctx.CopyOut(DataAddr, pattern)
	g.Ctx.CopyOut(DataAddr+0x40, Asm(fpMXCSR))
	r := g.Ctx.Regs()
	r.Rsi, r.Rdi, r.Rax = DataAddr, DataAddr+0x100, 1
	g.Syscall(1)
	return g, pattern
}

// checkFP has the guest store its registers, and compares.
func checkFP(g *Guest, want []byte, mxcsr uint32) {
	g.TB.Helper()
	g.Ctx.Regs().Rax = 2
	g.Syscall(2)
	g.Syscall(60)
	got := make([]byte, 0x84)
	if _, err := g.Ctx.CopyIn(DataAddr+0x100, got); err != nil {
		g.TB.Fatal(err)
	}
	n := len(want)
	if !bytes.Equal(got[:n], want) || !bytes.Equal(got[0x40:0x40+n], want) {
		g.TB.Errorf("vector registers % x", got)
	}
	if m := binary.LittleEndian.Uint32(got[0x80:]); m != mxcsr {
		g.TB.Errorf("mxcsr %#x, want %#x", m, mxcsr)
	}
}

func testFPKept(t *testing.T, p platform.Platform) {
	g, pattern := fpGuest(t, p)
	defer g.Done()
	// Over copies, mappings, faults and interrupts.
	var b [100]byte
	g.Ctx.CopyIn(DataAddr, b[:])
	g.Ctx.CopyIn(0x1000, b[:])
	g.Ctx.CompareAndSwap32(0x1000, 1, 2)
	g.Map(0x10000000, 0x1000, unix.PROT_READ)
	rip := g.Ctx.Regs().Rip
	g.Ctx.CopyOut(CodeAddr+0x100, Asm(Loop))
	g.Ctx.Regs().Rip = CodeAddr + 0x100
	for range 5 {
		time.AfterFunc(time.Millisecond, func() { g.Ctx.Interrupt(false) })
		if ev := g.Ctx.Switch(); ev.Kind != platform.EventInterrupt {
			t.Fatalf("event %+v", ev)
		}
	}
	g.Ctx.CopyOut(CodeAddr+0x100, Asm(UD2))
	g.Fault(unix.SIGILL)
	g.Ctx.Regs().Rip = rip
	checkFP(g, pattern, fpMXCSR)
}

func testFPInherited(t *testing.T, p platform.Platform) {
	g, pattern := fpGuest(t, p)
	defer g.Done()
	// The next thread may be one that has had another state.
	former, err := g.Ctx.CloneThread()
	if err == nil {
		err = former.ResetFP()
	}
	if err != nil {
		t.Fatal(err)
	}
	former.Release()
	ctx, err := g.Ctx.CloneThread()
	if err != nil {
		t.Fatal(err)
	}
	as, forked, err := g.Ctx.Fork()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, child := range []*Guest{{t, g.AS, ctx}, {t, as, forked}} {
			checkFP(child, pattern, fpMXCSR)
			child.Done()
		}
	}()
	<-done
}

func testSaveFP(t *testing.T, p platform.Platform) {
	g, pattern := fpGuest(t, p)
	defer g.Done()
	const frame = DataAddr + 0x1000
	junk := bytes.Repeat([]byte{0xff}, p.Limits().FPSize)
	g.Ctx.CopyOut(frame, junk)
	if err := g.Ctx.SaveFP(frame); err != nil {
		t.Fatal(err)
	}
	image := make([]byte, p.Limits().FPSize)
	g.Ctx.CopyIn(frame, image)
	if m := binary.LittleEndian.Uint32(image[464:]); m != 0x46505853 {
		t.Errorf("magic1 %#x", m)
	}
	if m := binary.LittleEndian.Uint32(image[len(image)-4:]); m != 0x46505845 {
		t.Errorf("magic2 %#x", m)
	}
	if n := binary.LittleEndian.Uint32(image[468:]); int(n) != len(image) {
		t.Errorf("extended_size %d, want %d", n, len(image))
	}
	if !bytes.Equal(image[160:176], pattern[:16]) {
		t.Errorf("xmm0 % x", image[160:176])
	}
	if err := g.Ctx.ResetFP(); err != nil {
		t.Fatal(err)
	}
	if err := g.Ctx.RestoreFP(frame); err != nil {
		t.Fatal(err)
	}
	checkFP(g, pattern, fpMXCSR)
}

func testRestoreFPBad(t *testing.T, p platform.Platform) {
	g, pattern := fpGuest(t, p)
	defer g.Done()
	const frame = DataAddr + 0x1000
	if err := g.Ctx.SaveFP(0x1000); err != unix.EFAULT {
		t.Errorf("SaveFP to nowhere: %v", err)
	}
	if err := g.Ctx.SaveFP(frame + 8); err != unix.EINVAL {
		t.Errorf("SaveFP unaligned: %v", err)
	}
	for _, addr := range []uint64{0x1000, DataAddr + DataSize - 256 + 64, p.Limits().Max} {
		if err := g.Ctx.RestoreFP(addr); err == nil {
			t.Errorf("RestoreFP from %#x worked", addr)
		}
	}
	for _, tt := range []struct {
		name string
		off  uint64
		val  int
	}{
		{"mxcsr", 24, -1}, {"header", 512 + 8, 1},
	} {
		if err := g.Ctx.SaveFP(frame); err != nil {
			t.Fatal(err)
		}
		g.Ctx.CopyOut(frame+tt.off, Asm(tt.val))
		if err := g.Ctx.RestoreFP(frame); err != unix.EINVAL {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// Without its magic numbers only the legacy area counts.
	if err := g.Ctx.SaveFP(frame); err != nil {
		t.Fatal(err)
	}
	g.Ctx.CopyOut(frame+464, Asm(0))
	if err := g.Ctx.RestoreFP(frame); err != nil {
		t.Errorf("legacy: %v", err)
	}
	if !avx512(p) {
		checkFP(g, pattern, fpMXCSR)
	}
}

func testResetFP(t *testing.T, p platform.Platform) {
	g, pattern := fpGuest(t, p)
	defer g.Done()
	if err := g.Ctx.ResetFP(); err != nil {
		t.Fatal(err)
	}
	checkFP(g, make([]byte, len(pattern)), 0x1f80)
}
