package platformtest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Where XSAVE's standard format has things.
const (
	xsaveMXCSR    = 24
	xsaveXMM      = 160
	xsaveFeatures = 464 // as PTRACE_GETREGSET has it
	xsaveHeader   = 512
)

// testFPDebugged reads and changes a guest's registers as a debugger does.
func testFPDebugged(t *testing.T, p platform.Platform) {
	g, pattern := fpGuest(t, p)
	defer g.Done()
	d, ok := g.Ctx.(platform.Debuggable)
	if !ok {
		t.Fatal("the context is not debuggable")
	}
	d.BeginDebug()
	area, err := d.ReadFP()
	if err != nil {
		t.Fatal(err)
	}
	if got := area[xsaveXMM:][:16]; !bytes.Equal(got, pattern[:16]) {
		t.Errorf("xmm0 is % x, want % x", got, pattern[:16])
	}
	if m := binary.LittleEndian.Uint32(area[xsaveMXCSR:]); m != fpMXCSR {
		t.Errorf("mxcsr is %#x", m)
	}
	if f := binary.LittleEndian.Uint64(area[xsaveFeatures:]); f != p.Limits().FPFeatures {
		t.Errorf("features %#x, want %#x", f, p.Limits().FPFeatures)
	}
	if err := d.WriteFP(area[:len(area)-1]); err != unix.EFAULT {
		t.Errorf("a short area: %v", err)
	}
	bad := bytes.Clone(area)
	bad[xsaveHeader+7] |= 0x40 // a feature that no processor has
	if err := d.WriteFP(bad); err != unix.EINVAL {
		t.Errorf("an unknown feature: %v", err)
	}
	copy(bad, area)
	bad[xsaveHeader+7] = area[xsaveHeader+7]
	bad[xsaveMXCSR+2] |= 0x80 // a reserved bit
	if err := d.WriteFP(bad); err != unix.EINVAL {
		t.Errorf("a reserved bit of mxcsr: %v", err)
	}
	if err := d.WriteLegacyFP(bad); err != unix.EINVAL {
		t.Errorf("a reserved bit of mxcsr in a legacy area: %v", err)
	}
	// Both vector registers are written as they were, the control register by
	// one call and the other.
	binary.LittleEndian.PutUint32(area[xsaveMXCSR:], 0x1f80)
	if err := d.WriteFP(area); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(area[xsaveMXCSR:], 0x5f80)
	if err := d.WriteLegacyFP(area[:512]); err != nil {
		t.Fatal(err)
	}
	checkFP(g, pattern, 0x5f80)
}
