// Package platformtest holds the tests that every platform passes: guest
// programs of a few hand-assembled instructions, run in this very process.
package platformtest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Where the tests put things.
const (
	CodeAddr  = 0x400000
	DataAddr  = 0x600000
	StackAddr = 0x700000
	DataSize  = 0x10000
)

// Guest is an address space with code, data and a stack.
type Guest struct {
	TB  testing.TB
	AS  platform.AddressSpace
	Ctx platform.Context
}

// NewGuest loads code at CodeAddr into a new address space.
func NewGuest(tb testing.TB, p platform.Platform, code []byte) *Guest {
	tb.Helper()
	as, ctx, err := p.NewAddressSpace()
	if err != nil {
		tb.Fatalf("NewAddressSpace: %v", err)
	}
	g := &Guest{tb, as, ctx}
	g.Map(CodeAddr, 0x10000, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC)
	g.Map(DataAddr, DataSize, unix.PROT_READ|unix.PROT_WRITE)
	g.Map(StackAddr, 0x10000, unix.PROT_READ|unix.PROT_WRITE)
	if err := ctx.Flush(); err != nil {
		tb.Fatalf("Flush: %v", err)
	}
	if _, err := ctx.CopyOut(CodeAddr, code); err != nil {
		tb.Fatalf("CopyOut: %v", err)
	}
	r := ctx.Regs()
	r.Rip, r.Rsp = CodeAddr, StackAddr+0x8000
	return g
}

// Map queues an anonymous mapping.
func (g *Guest) Map(addr, length uint64, prot int32) {
	g.Ctx.Queue(platform.Op{
		Kind: platform.OpMmap, Addr: addr, Length: length, Prot: prot, FD: -1,
		Flags: unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED,
	})
}

// Syscall switches and expects system call nr.
func (g *Guest) Syscall(nr uint64) {
	g.TB.Helper()
	ev := g.Ctx.Switch()
	if r := g.Ctx.Regs(); ev.Kind != platform.EventSyscall || r.Orig_rax != nr {
		g.TB.Fatalf("event %+v at %#x, orig_rax %d, want system call %d", ev, r.Rip, int64(r.Orig_rax), nr)
	}
}

// Fault switches and expects a signal.
func (g *Guest) Fault(sig unix.Signal) platform.Event {
	g.TB.Helper()
	ev := g.Ctx.Switch()
	if r := g.Ctx.Regs(); ev.Kind != platform.EventFault || ev.Signal != int32(sig) {
		g.TB.Fatalf("event %+v at %#x, orig_rax %d, want %v", ev, r.Rip, int64(r.Orig_rax), sig)
	}
	return ev
}

// Done releases the guest.
func (g *Guest) Done() { g.Ctx.Release() }

// Asm joins pieces of machine code.
func Asm(parts ...any) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b.WriteString(p)
		case []byte:
			b.Write(p)
		case int:
			binary.Write(&b, binary.LittleEndian, int32(p))
		case uint64:
			binary.Write(&b, binary.LittleEndian, p)
		}
	}
	return b.Bytes()
}

// Pieces of machine code.
const (
	Syscall  = "\x0f\x05"
	MovEAX   = "\xb8"     // + imm32
	MovRDI   = "\x48\xbf" // + imm64
	MovRSI   = "\x48\xbe" // + imm64
	Loop     = "\xeb\xfe" // jmp to itself
	LoadRDI  = "\x48\x8b\x07"
	StoreRDI = "\x48\x89\x07" // mov %rax,(%rdi)
	Int3     = "\xcc"
	UD2      = "\x0f\x0b"
)
