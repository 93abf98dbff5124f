package rewrite

import (
	"encoding/binary"
	"maps"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

func TestCPUIDs(t *testing.T) {
	leaves := map[uint32]Registers{0: {}, 0x80000000: {}, 0x80000006: {}}
	for _, tt := range []struct {
		name, code string
		most       int
		want       map[uint64]uint32
	}{
		{"two", "\x90\xb8\x06\x00\x00\x80\x0f\xa2\xb8\x00\x00\x00\x80\x0f\xa2", 9, map[uint64]uint32{1: 0x80000006, 8: 0x80000000}},
		{"one of two", "\x90\xb8\x06\x00\x00\x80\x0f\xa2\xb8\x00\x00\x00\x80\x0f\xa2", 1, map[uint64]uint32{1: 0x80000006}},
		{"another leaf", "\xb8\x05\x00\x00\x80\x0f\xa2", 9, nil},
		{"a leaf like data", "\xb8\x00\x00\x00\x00\x0f\xa2", 9, nil},
		{"something between", "\xb8\x06\x00\x00\x80\x31\xc9\x0f\xa2", 9, nil},
		{"cut off", "\xb8\x06\x00\x00\x80\x0f", 9, nil},
		{"nothing", "", 9, nil},
	} {
		if got := CPUIDs([]byte(tt.code), leaves, tt.most); !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPlanCPUID(t *testing.T) {
	r := Registers{0x80000001, 2, 3, 0xfffffffc}
	s := Site{Code: []byte("\x90\xb8\x06\x00\x00\x80\x0f\xa2\xc3"), Base: base, Addr: base + 1, Trampoline: tramp}
	p, ok := PlanCPUID(s, r)
	if !ok || p.Addr != s.Addr || len(p.Old) != len(p.New) || p.Call != s.Addr+5 {
		t.Fatalf("%v, %+v", ok, p)
	}
	jump := func(at uint64, code []byte, want uint64) {
		t.Helper()
		if code[0] != 0xe9 || at+5+uint64(int64(int32(binary.LittleEndian.Uint32(code[1:])))) != want {
			t.Errorf("% x at %#x is no jump to %#x", code, at, want)
		}
	}
	jump(s.Addr, p.New, tramp)
	code := p.Trampoline
	for i, reg := range []x86asm.Reg{x86asm.EAX, x86asm.EBX, x86asm.ECX, x86asm.EDX} {
		d, err := x86asm.Decode(code, 64)
		if err != nil || d.Op != x86asm.MOV || d.Args[0] != reg || uint32(d.Args[1].(x86asm.Imm)) != r[i] {
			t.Fatalf("%v, %v: want %v of %#x", d, err, reg, r[i])
		}
		code = code[d.Len:]
	}
	jump(tramp+uint64(len(p.Trampoline)-len(code)), code, s.Addr+7)
	s.Trampoline = 1 << 40
	if p, ok := PlanCPUID(s, r); ok {
		t.Errorf("too far: %+v", p)
	}
}
