package platformtest

import (
	"errors"
	"slices"
	"testing"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// nowhere is where the tests' guests have nothing.
const nowhere = 0x70000000

// testLate writes on the way back to the guest: it sees it, as does whoever
// looks before; however much it is.
func testLate(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovRDI, uint64(DataAddr), LoadRDI, exit60, exit60, exit60))
	defer g.Done()
	if err := g.Ctx.CopyOutLate(DataAddr, []byte("12345678")); err != nil {
		t.Fatal(err)
	}
	g.Syscall(60)
	if rax := g.Ctx.Regs().Rdi; rax != DataAddr {
		t.Errorf("RDI %#x", rax)
	}
	var b [8]byte
	if _, err := g.AS.CopyIn(DataAddr, b[:]); err != nil || string(b[:]) != "12345678" {
		t.Errorf("%q, %v", b, err)
	}
	big := make([]byte, 3000)
	for i := range 20 {
		big[0] = byte(i)
		if err := g.Ctx.CopyOutLate(DataAddr, big); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.Ctx.CopyIn(DataAddr, b[:1]); err != nil || b[0] != 19 {
		t.Errorf("%d, %v, want 19", b[0], err)
	}
	if err := g.Ctx.CopyOutLate(p.Limits().Max-4, b[:]); err != unix.EFAULT {
		t.Errorf("at the end of memory: %v", err)
	}
	if err := g.Ctx.CopyOutLate(nowhere, nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
	g.Syscall(60)
}

// testLateFailed has writes fail: the guest does not run, and all failures are
// told, and what was written after the first.
func testLateFailed(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(exit60, exit60))
	defer g.Done()
	for _, s := range []struct {
		addr uint64
		data string
	}{{DataAddr + 8, "before"}, {nowhere, "one"}, {DataAddr, "two"}, {nowhere + 100, "three"}} {
		if err := g.Ctx.CopyOutLate(s.addr, []byte(s.data)); err != nil {
			t.Fatal(err)
		}
	}
	ev := g.Ctx.Switch()
	var oe *platform.OpError
	if ev.Kind != platform.EventOpFailed || !errors.As(ev.Err, &oe) {
		t.Fatalf("event %+v", ev)
	}
	if g.Ctx.Regs().Rip != CodeAddr {
		t.Error("guest code ran")
	}
	var got []string
	for ; oe != nil; oe = oe.Next {
		if made := oe.Op.Addr == DataAddr; oe.Op.Kind != platform.OpWrite || made != (oe.Errno == nil) || !made && oe.Errno != unix.EFAULT {
			t.Errorf("%+v", oe)
		}
		got = append(got, oe.Op.Data)
	}
	if !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("told of %q", got)
	}
	b := make([]byte, 3)
	if g.Ctx.CopyIn(DataAddr, b); string(b) != "two" {
		t.Errorf("%q", b)
	}
	g.Syscall(60)
	// One that another operation finds.
	g.Ctx.CopyOutLate(nowhere, b)
	if g.Ctx.LateFailed() {
		t.Error("it has failed already")
	}
	if _, err := g.Ctx.CompareAndSwap32(DataAddr, 0, 0); err != nil {
		t.Error(err)
	}
	if !g.Ctx.LateFailed() {
		t.Error("it has not failed")
	}
	if ev := g.Ctx.Switch(); ev.Kind != platform.EventOpFailed {
		t.Errorf("event %+v", ev)
	}
	g.Syscall(60)
}

// testOpWrite writes in the batch that maps the memory.
func testOpWrite(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, exit60)
	defer g.Done()
	g.Ctx.Queue(platform.Op{Kind: platform.OpMmap, Addr: nowhere, Length: 0x10000, FD: -1,
		Prot: unix.PROT_READ | unix.PROT_WRITE, Flags: unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED})
	data := make([]byte, platform.WriteMax)
	for i := range uint64(16) {
		data[0] = byte(i)
		g.Ctx.Queue(platform.Op{Kind: platform.OpWrite, Addr: nowhere + i*0x1000, Data: string(data)})
	}
	g.Ctx.Queue(platform.Op{Kind: platform.OpMprotect, Addr: nowhere, Length: 0x10000, Prot: unix.PROT_READ})
	g.Syscall(60)
	for i := range uint64(16) {
		var b [1]byte
		if _, err := g.Ctx.CopyIn(nowhere+i*0x1000, b[:]); err != nil || b[0] != byte(i) {
			t.Errorf("page %d: %d, %v", i, b[0], err)
		}
	}
	g.Ctx.Queue(platform.Op{Kind: platform.OpWrite, Addr: nowhere, Data: "x"})
	if err := g.Ctx.Flush(); !errors.Is(err, unix.EFAULT) {
		t.Errorf("to memory that is read-only: %v", err)
	}
}
