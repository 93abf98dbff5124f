package rewrite

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

const (
	base  = 0x400000
	tramp = 0x10000000
	entry = 0x7fffe0000123
)

// plan plans for code whose call is at offset call, behind enough of what
// comes before.
func plan(lead, code []byte, call int, rax uint64) (*Patch, bool) {
	all := append(bytes.Clone(lead), code...)
	all = append(all, bytes.Repeat([]byte{0xcc}, 32)...)
	return Plan(Site{Code: all, Base: base, Addr: base + uint64(len(lead)+call), RAX: rax, Trampoline: tramp, Entry: entry})
}

// lead is plausible code: mov %rdi,%rbx; add $1,%rcx; test %rdx,%rdx ...
var lead = bytes.Repeat([]byte("\x48\x89\xfb\x48\x83\xc1\x01\x48\x85\xd2"), 8)

func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		name string
		code string
		call int
		rax  uint64
		addr int // offset of the jump, or -1
		len  int // of the window
		kept bool
	}{
		{"mov imm32", "\xb8\x27\x00\x00\x00\x0f\x05\xc3", 5, 39, 0, 5, true},
		{"mov imm64", "\x48\xc7\xc0\x27\x00\x00\x00\x0f\x05\xc3", 7, 39, 0, 7, true},
		{"musl's syscall()", "\x4c\x8b\x4c\x24\x08\x0f\x05\xc3", 5, 1, 0, 5, true},
		{"glibc's read", "\x31\xc0\x0f\x05\x48\x3d\x00\xf0\xff\xff\x77\x10", 2, 0, 2, 8, false},
		{"register", "\x48\x89\xf8\x0f\x05\xc3", 3, 7, 0, 5, false},
		{"branch behind", "\x89\xf8\x0f\x05\x85\xc0\x78\x20", 2, 7, 2, 6, false},
		{"number differs", "\xb8\x27\x00\x00\x00\x0f\x05\xc3", 5, 40, 0, 7, false},
		{"relative", "\x44\x8b\x05\x00\x01\x00\x00\x0f\x05\xc3", 7, 1, 0, 7, true},
		{"jump to the call", "\xeb\x03\x48\x89\xf8\x0f\x05\xc3", 5, 7, -1, 0, false},
		{"return behind", "\x0f\x05\xc3", 0, 7, 0 - 3, 5, false},
		{"store before", "\x48\x89\x0f\x0f\x05\xc3", 3, 7, -1, 0, false},
		{"store behind", "\x0f\x05\x48\x89\x07\xc3", 0, 7, 0 - 3, 5, false},
		{"store on the stack", "\x48\x89\x04\x24\x0f\x05\xc3", 4, 7, 0, 6, false},
		{"no call", "\x0f\x0b\xc3", 0, 7, -1, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, ok := plan(lead, []byte(tt.code), tt.call, tt.rax)
			if tt.addr == -1 {
				if ok {
					t.Fatalf("planned %+v", p)
				}
				return
			}
			if !ok {
				t.Fatal("refused")
			}
			at := uint64(base + len(lead) + tt.addr)
			if p.Addr != at || len(p.Old) != tt.len || p.Kept != tt.kept || len(p.New) != len(p.Old) {
				t.Errorf("window %#x+%d kept %v, want %#x+%d kept %v", p.Addr, len(p.Old), p.Kept, at, tt.len, tt.kept)
			}
			check(t, p)
		})
	}
}

// check verifies what every patch must be.
func check(t *testing.T, p *Patch) {
	t.Helper()
	if p.New[0] != 0xe9 || p.Addr+5+uint64(int64(int32(binary.LittleEndian.Uint32(p.New[1:])))) != tramp {
		t.Errorf("the jump is % x", p.New)
	}
	if len(p.Trampoline) > Size {
		t.Errorf("the trampoline has %d bytes", len(p.Trampoline))
	}
	starts := map[uint64]bool{}
	for off := 0; off < len(p.Trampoline); {
		starts[tramp+uint64(off)] = true
		i, err := x86asm.Decode(p.Trampoline[off:], 64)
		if err != nil {
			t.Fatalf("trampoline at %d: %v: % x", off, err, p.Trampoline)
		}
		off += i.Len
	}
	for _, b := range p.Boundaries {
		if !starts[b.Displaced] {
			t.Errorf("boundary %#x is not an instruction's", b.Displaced)
		}
		if got := p.Origin(b.Displaced); got != b.Original {
			t.Errorf("Origin(%#x) = %#x, want %#x", b.Displaced, got, b.Original)
		}
	}
	for _, b := range p.Inside {
		if b.Original <= p.Addr || b.Original >= p.Addr+uint64(len(p.Old)) {
			t.Errorf("%#x is not inside", b.Original)
		}
	}
	ret := p.Return - tramp
	if p.Trampoline[ret-2] != 0x0f || p.Trampoline[ret-1] != 0x05 {
		t.Errorf("no system call before Return")
	}
}

func TestRelativeOperand(t *testing.T) {
	p, ok := plan(lead, []byte("\x44\x8b\x05\x00\x01\x00\x00\x0f\x05\xc3"), 7, 1)
	if !ok {
		t.Fatal("refused")
	}
	want := uint64(base + len(lead) + 7 + 0x100)
	if got := tramp + 7 + uint64(int64(int32(binary.LittleEndian.Uint32(p.Trampoline[3:])))); got != want {
		t.Errorf("operand at %#x, want %#x", got, want)
	}
}

func TestTooFar(t *testing.T) {
	code := append(bytes.Clone(lead), "\xb8\x27\x00\x00\x00\x0f\x05\xc3"...)
	s := Site{Code: code, Base: 0x7f0000000000, Addr: 0x7f0000000000 + uint64(len(lead)) + 5, RAX: 39, Trampoline: tramp, Entry: entry}
	if _, ok := Plan(s); ok {
		t.Error("planned a jump that is too far")
	}
}

func TestWord(t *testing.T) {
	code := append(bytes.Clone(lead), "\xb8\x27\x00\x00\x00\x0f\x05\xc3"...)
	p, ok := Plan(Site{Code: code, Base: base, Addr: base + uint64(len(lead)) + 5, RAX: 39, Trampoline: tramp, Entry: entry})
	if !ok {
		t.Fatal("refused")
	}
	w, ok := p.Word(code, base)
	if !ok {
		t.Fatal("no word")
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], w)
	if !bytes.Equal(b[:5], p.New[:5]) || !bytes.Equal(b[5:], code[len(lead)+5:]) {
		t.Errorf("word % x", b)
	}
}

// FuzzPlan: whatever code is, the planner returns, and what it plans holds
// together.
func FuzzPlan(f *testing.F) {
	for _, c := range []string{
		"\xb8\x27\x00\x00\x00\x0f\x05\xc3", "\x31\xc0\x0f\x05\x48\x3d\x00\xf0\xff\xff\x77\x10",
		"\x48\x89\xf8\x0f\x05\xc3", "\x0f\x05\x0f\x05\x0f\x05",
	} {
		f.Add(append(bytes.Clone(lead), c...), uint64(39))
	}
	f.Fuzz(func(t *testing.T, code []byte, rax uint64) {
		at := bytes.Index(code, []byte("\x0f\x05"))
		if at < 0 {
			at = 0
		}
		p, ok := Plan(Site{Code: code, Base: base, Addr: base + uint64(at), RAX: rax, Trampoline: tramp, Entry: entry})
		if ok {
			check(t, p)
		}
	})
}

func BenchmarkPlan(b *testing.B) {
	code := append(bytes.Repeat(lead, 50), "\x31\xc0\x0f\x05\x48\x3d\x00\xf0\xff\xff\x77\x10"...)
	at := len(lead)*50 + 2
	code = append(code, bytes.Repeat(lead, 50)...)
	for b.Loop() {
		if _, ok := Plan(Site{Code: code, Base: base, Addr: base + uint64(at), Trampoline: tramp, Entry: entry}); !ok {
			b.Fatal("refused")
		}
	}
}
