package trap

import (
	"encoding/binary"
	"strings"
	"testing"

	"coffer/internal/sentry/platform"
	. "coffer/internal/sentry/platform/platformtest"
	"coffer/internal/sentry/platform/stub"

	"golang.org/x/sys/unix"
)

// TestFetch has a guest make calls whose first bytes come along. That they did
// shows in that a change of the memory meanwhile is not seen, once.
func TestFetch(t *testing.T) {
	const counted, path, other, vector, bits, points = 1, 2, 3, 4, 5, 6
	p, err := New(stub.WithFetches(map[uint64]platform.Fetch{
		counted: {Arg: 1, Max: 100, Counted: true},
		path:    {Arg: 0, Max: platform.FetchMax},
		vector:  {Arg: 1, Max: platform.FetchMax, Vector: true},
		bits:    {Also: [platform.AlsoMax]platform.Part{{Arg: 1, Max: platform.FetchMax, Bits: true}, {Arg: 2, Max: 16}}},
		points: {Arg: 0, Max: 8, Also: [platform.AlsoMax]platform.Part{
			{Arg: 1, Max: 16, Points: true}, {Arg: 2, Max: platform.FetchMax},
		}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	// mov %r12,%rax; syscall; test %eax,%eax; jmp back
	g, c := rewritable(t, p, Asm(pad, "\x4c\x89\xe0", Syscall, "\x85\xc0\x90\x90\x90", "\xeb\xf4"))
	defer g.Done()
	const end = DataAddr + DataSize
	next := func(nr, arg0, arg1, arg2 uint64) {
		t.Helper()
		r := c.Regs()
		r.R12, r.Rdi, r.Rsi, r.Rdx = nr, arg0, arg1, arg2
		g.Syscall(nr)
	}
	c.Regs().R12 = other
	g.Syscall(other)
	for n := 0; c.Trapped(); n++ {
		if n == 100 {
			t.Skip("this host's CPU does not let calls be rewritten")
		}
		next(other, 0, 0, 0)
	}
	write := func(addr uint64, s string) {
		t.Helper()
		if _, err := g.AS.CopyOut(addr, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(addr uint64, n int, want string) {
		t.Helper()
		b := make([]byte, n)
		if _, err := c.CopyIn(addr, b); err != nil || string(b) != want {
			t.Errorf("%d bytes at %#x: %q, %v, want %q", n, addr, b, err, want)
		}
	}
	const pointer = DataAddr + 3*1024
	write(pointer, string(binary.LittleEndian.AppendUint64(nil, DataAddr+512)))
	for _, tt := range []struct {
		name           string
		nr, arg0, arg1 uint64
		arg2           uint64
		addr           uint64
		n              int
		comes          bool
		before         func()
	}{
		{name: "counted", nr: counted, arg1: DataAddr, arg2: 5, addr: DataAddr, n: 5, comes: true},
		{name: "a part", nr: counted, arg1: DataAddr, arg2: 5, addr: DataAddr + 1, n: 3, comes: true},
		{name: "more than came", nr: counted, arg1: DataAddr, arg2: 5, addr: DataAddr, n: 6},
		{name: "before it", nr: counted, arg1: DataAddr + 8, arg2: 5, addr: DataAddr + 7, n: 2},
		{name: "the first of more than the call allows", nr: counted, arg1: DataAddr, arg2: 101, addr: DataAddr, n: 5, comes: true},
		{name: "into the window", nr: counted, arg1: DataAddr, arg2: 3000, addr: DataAddr, n: 3000, comes: true},
		{name: "a part of that", nr: counted, arg1: DataAddr, arg2: 3000, addr: DataAddr + 1000, n: 1500, comes: true},
		{name: "the window, after a wait", nr: counted, arg1: DataAddr, arg2: 3000, addr: DataAddr, n: 3000, comes: true, before: c.Rest},
		{name: "the window, after a stop", nr: counted, arg1: DataAddr, arg2: 3000, addr: DataAddr, n: 3000, before: c.Forget},
		{name: "the window, after a late write", nr: counted, arg1: DataAddr, arg2: 3000, addr: DataAddr, n: 3000, before: func() { c.CopyOutLate(DataAddr+3500, []byte("x")) }},
		{name: "the window, after a swap", nr: counted, arg1: DataAddr, arg2: 3000, addr: DataAddr, n: 3000, before: func() { c.CompareAndSwap32(DataAddr+3500, 0, 1) }},
		{name: "none", nr: counted, arg1: DataAddr, addr: DataAddr, n: 1},
		{name: "a path", nr: path, arg0: DataAddr, addr: DataAddr, n: 128, comes: true},
		{name: "a path at the end of memory", nr: path, arg0: end - 3, addr: end - 3, n: 3, comes: true},
		{name: "another call", nr: other, arg0: DataAddr, arg1: DataAddr, arg2: 5, addr: DataAddr, n: 5},
		{name: "words of bits", nr: bits, arg0: 65, arg1: DataAddr, addr: DataAddr, n: 16, comes: true},
		{name: "more than the words", nr: bits, arg0: 64, arg1: DataAddr, addr: DataAddr, n: 9},
		{name: "the most bits", nr: bits, arg0: 1024, arg1: DataAddr, addr: DataAddr, n: 128, comes: true},
		{name: "too many bits", nr: bits, arg0: 1025, arg1: DataAddr, addr: DataAddr, n: 8},
		{name: "a negative number of bits", nr: bits, arg0: 1<<32 - 1, arg1: DataAddr, addr: DataAddr, n: 8},
		{name: "no bits", nr: bits, arg1: DataAddr, addr: DataAddr, n: 8},
		{name: "another part", nr: bits, arg0: 64, arg1: DataAddr, arg2: DataAddr + 512, addr: DataAddr + 512, n: 16, comes: true},
		{name: "a part of it", nr: bits, arg0: 64, arg1: DataAddr, arg2: DataAddr + 512, addr: DataAddr + 520, n: 8, comes: true},
		{name: "a part behind null", nr: bits, arg0: 64, arg2: DataAddr + 512, addr: DataAddr + 512, n: 16, comes: true},
		{name: "a part behind what is not there", nr: bits, arg0: 64, arg1: end, arg2: DataAddr, addr: DataAddr, n: 16},
		{name: "a part after a wait", nr: bits, arg0: 64, arg1: DataAddr, addr: DataAddr, n: 8, before: c.Rest},
		{name: "a part after a stop", nr: bits, arg0: 64, arg1: DataAddr, addr: DataAddr, n: 8, before: c.Forget},
		{name: "a part after a write", nr: bits, arg0: 64, arg1: DataAddr, addr: DataAddr, n: 8, before: func() { c.CopyOut(DataAddr+64, []byte("x")) }},
		{name: "what a part points to", nr: points, arg1: pointer, addr: DataAddr + 512, n: 8, comes: true},
		{name: "more than what it points to", nr: points, arg1: pointer, addr: DataAddr + 512, n: 9},
		{name: "behind what it points to", nr: points, arg1: pointer, arg2: DataAddr, addr: DataAddr, n: 8, comes: true},
		{name: "behind what points to nothing", nr: points, arg1: pointer + 8, arg2: DataAddr, addr: DataAddr, n: 8, comes: true},
		{name: "a part at the end of memory", nr: points, arg1: pointer, arg2: end - 8, addr: end - 8, n: 8, comes: true},
		{name: "the first beside parts", nr: points, arg0: DataAddr, arg1: pointer, addr: DataAddr, n: 8, comes: true},
		{name: "after a wait", nr: counted, arg1: DataAddr, arg2: 5, addr: DataAddr, n: 5, before: c.Rest},
		{name: "after a write", nr: counted, arg1: DataAddr, arg2: 5, addr: DataAddr, n: 5, before: func() { c.CopyOut(DataAddr+64, []byte("x")) }},
		{name: "after a late write", nr: counted, arg1: DataAddr, arg2: 5, addr: DataAddr, n: 5, before: func() { c.CopyOutLate(DataAddr+64, []byte("x")) }},
		{name: "after a swap", nr: counted, arg1: DataAddr, arg2: 5, addr: DataAddr, n: 5, before: func() { c.CompareAndSwap32(DataAddr+64, 0, 1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			was := string(make([]byte, tt.n))
			is := was[1:] + "!"
			write(tt.addr, was)
			next(tt.nr, tt.arg0, tt.arg1, tt.arg2)
			write(tt.addr, is)
			if tt.before != nil {
				tt.before()
			}
			if along := c.CameAlong(tt.addr, tt.n); tt.nr != counted && along != tt.comes {
				t.Errorf("came along: %v", along)
			}
			if tt.comes {
				read(tt.addr, tt.n, was)
			}
			read(tt.addr, tt.n, is)
		})
	}
	for name, addr := range map[string]uint64{"unmapped": end, "not canonical": 1 << 63, "null": 0, "the stub's": p.Limits().Max} {
		next(path, addr, 0, 0)
		if n, err := c.CopyIn(addr, make([]byte, 1)); n != 0 || err != unix.EFAULT {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	for name, addr := range map[string]uint64{"unmapped": end, "not there to its end": end - 8, "not canonical": 1 << 63} {
		next(bits, 128, addr, 0)
		if n, err := c.CopyIn(addr, make([]byte, 16)); n == 16 || err != unix.EFAULT {
			t.Errorf("bits, %s: %d, %v", name, n, err)
		}
	}
	next(counted, 0, end-3000, 3001)
	if n, err := c.CopyIn(end-3000, make([]byte, 3001)); n != 3000 || err != unix.EFAULT {
		t.Errorf("to the end of memory and beyond: %d, %v", n, err)
	}
	const array, low = DataAddr + 2048, 0x10
	type buffer struct {
		addr, length uint64
		comes        bool
	}
	few := make([]buffer, 9)
	for i := range few {
		few[i] = buffer{DataAddr + uint64(i)*8, 3, i < 8}
	}
	for _, tt := range []struct {
		name    string
		buffers []buffer
	}{
		{"one", []buffer{{DataAddr, 5, true}}},
		{"several", []buffer{{DataAddr, 5, true}, {}, {DataAddr + 512, 300, true}, {DataAddr + 64, 128, true}}},
		{"one in another", []buffer{{DataAddr + 8, 100, true}, {DataAddr, 8, true}}},
		{"more than come", few},
		{"one that does not fit", []buffer{{DataAddr, 5, true}, {DataAddr, 1 << 62, false}, {DataAddr + 64, 5, false}}},
		{"one of a negative length", []buffer{{DataAddr, 5, true}, {DataAddr, 1 << 63, false}}},
		{"one where nothing can be", []buffer{{DataAddr, 5, true}, {low, 5, false}, {DataAddr + 64, 5, false}}},
		{"one that is not there", []buffer{{DataAddr, 5, false}, {end, 5, false}}},
	} {
		t.Run("buffers: "+tt.name, func(t *testing.T) {
			var b []byte
			for _, v := range tt.buffers {
				b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, v.addr), v.length)
			}
			write(array, string(b))
			here := func(f func(v *buffer, was string)) {
				for i, v := range tt.buffers {
					if v.length < 1<<10 && v.addr >= DataAddr && v.addr < end {
						f(&tt.buffers[i], strings.Repeat(string(rune('a'+i)), int(v.length)))
					}
				}
			}
			here(func(v *buffer, was string) { write(v.addr, was) })
			next(vector, 0, array, uint64(len(tt.buffers)))
			here(func(v *buffer, was string) { write(v.addr, strings.ToUpper(was)) })
			here(func(v *buffer, was string) {
				if !v.comes {
					was = strings.ToUpper(was)
				}
				half := len(was) / 2
				read(v.addr, half, was[:half])
				read(v.addr+uint64(half), len(was)-half, was[half:])
			})
			here(func(v *buffer, was string) { read(v.addr, len(was), strings.ToUpper(was)) })
		})
	}
	next(counted, 0, DataAddr, 5)
	if c.Trapped() {
		t.Error("a bad address undid the rewriting")
	}
}
