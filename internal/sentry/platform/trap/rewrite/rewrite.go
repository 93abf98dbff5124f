// Package rewrite plans how a system call instruction, or CPUID, is turned into a jump:
// which instructions around it are displaced, and the trampoline that holds
// them. It is pure: bytes and addresses in, bytes and addresses out.
//
// A jump takes five bytes, a system call two. So a jump to the trampoline
// takes the place of whole instructions before the call, of the call with
// what follows it, or of both:
//
//	site:                          trampoline:
//	    jmp trampoline                 displaced instructions before the call
//	    (what is left, never run)  Call: lea Return(%rip), %rcx
//	                                   movabs $entry, %r11
//	                                   jmp *%r11
//	                                   syscall
//	                               Return: displaced instructions after it
//	                                   jmp back
//
// The syscall in the trampoline is for the entry, which jumps there if it
// cannot serve the thread. RCX and R11 are free, since a system call clobbers
// them.
//
// A window is refused if any branch nearby seems to lead into its middle,
// whether or not the bytes are really a branch, and if the instructions before
// the call cannot be told with confidence, since x86 code cannot be decoded
// backwards.
package rewrite

import (
	"bytes"
	"encoding/binary"
	"math"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

const (
	// Size is the room that a trampoline has.
	Size = 64
	// Before and After are how many bytes around a call the planner looks at,
	// for branches into the window. Less will do.
	Before = 4 << 10
	After  = 4 << 10

	jumpLen    = 5
	syscallLen = 2
)

// Site is a system call instruction.
type Site struct {
	// Code is what surrounds it, from address Base on, of one mapping.
	Code []byte
	Base uint64
	// Addr is the instruction's address.
	Addr uint64
	// RAX was in the register when the call was made.
	RAX uint64
	// Trampoline is where the trampoline will be, and Entry where it leads.
	Trampoline, Entry uint64
	// Hearsay says that it may not be an instruction: somebody says that he made
	// a call there, who could have jumped into the middle of one, or into data
	// that lie among the code. So it is one only if it also looks like one.
	Hearsay bool
}

// Patch is a planned rewriting.
type Patch struct {
	// Addr is where the jump goes; Old are the bytes that it replaces, New
	// those that do, of the same length: whole instructions.
	Addr     uint64
	Old, New []byte
	// Trampoline is the trampoline's code.
	Trampoline []byte
	// Call and Return are the addresses in the trampoline that stand for the
	// call and for the instruction after it.
	Call, Return uint64
	// Kept says that the call itself is still in its place.
	Kept bool
	// Boundaries are where instructions begin in the trampoline that stand for
	// one of the original code. Inside are those of them whose original is in
	// the middle of the window.
	Boundaries, Inside []Boundary
}

// Origin returns what the address in the trampoline stands for.
func (p *Patch) Origin(addr uint64) uint64 {
	if addr >= p.Call && addr < p.Return {
		addr = p.Call
	}
	for _, b := range p.Boundaries {
		if b.Displaced == addr {
			return b.Original
		}
	}
	return p.Addr
}

// Boundary pairs an address in the original code with its counterpart.
type Boundary struct{ Original, Displaced uint64 }

// Word returns the aligned word that holds the jump, as it is to be stored at
// once, if the patch can be made so: for code that others may be running.
func (p *Patch) Word(code []byte, base uint64) (word uint64, ok bool) {
	at := p.Addr &^ 7
	if !p.Kept || len(p.Inside) > 0 || p.Addr-at > 8-jumpLen || at < base || at-base+8 > uint64(len(code)) {
		return 0, false
	}
	var b [8]byte
	copy(b[:], code[at-base:])
	copy(b[p.Addr-at:], p.New[:jumpLen])
	return binary.LittleEndian.Uint64(b[:]), true
}

// inst is a decoded instruction that can be displaced.
type inst struct {
	at   uint64 // its address
	code []byte
	// dispOff is where in code a RIP-relative displacement is, or 0.
	dispOff int
	// branch is the target of a conditional branch, whose condition is cond.
	branch bool
	cond   byte
	target uint64
}

// Plan plans the rewriting of a site. It reports false if there is no way
// that is known to be safe.
func Plan(s Site) (*Patch, bool) {
	off := s.Addr - s.Base
	if off+syscallLen > uint64(len(s.Code)) || s.Code[off] != 0x0f || s.Code[off+1] != 0x05 {
		return nil, false
	}
	before, certain := s.preceding(int(off), 4)
	if s.Hearsay && !(certain && s.evident(int(off))) {
		return nil, false
	}
	after := s.following(int(off)+syscallLen, 4)

	// One instruction before the call that is long enough has no inside, and
	// the call stays for those who jump to it.
	if n := len(before); n > 0 && len(before[n-1].code) >= jumpLen && s.plausible(before[n-1]) {
		if p, ok := s.build(before[n-1:], nil, true); ok {
			return p, true
		}
	}
	// The call and what follows: no guess about what precedes is needed.
	for b := 0; b <= len(before); b++ {
		for a := 0; a <= len(after); a++ {
			if length(before[len(before)-b:])+syscallLen+length(after[:a]) < jumpLen {
				continue
			}
			if p, ok := s.build(before[len(before)-b:], after[:a], false); ok {
				return p, true
			}
			break
		}
	}
	// Several instructions before the call.
	for b := 2; b <= len(before); b++ {
		if length(before[len(before)-b:]) >= jumpLen {
			if p, ok := s.build(before[len(before)-b:], nil, true); ok {
				return p, true
			}
			break
		}
	}
	return nil, false
}

func length(insts []inst) int {
	n := 0
	for _, i := range insts {
		n += len(i.code)
	}
	return n
}

// plausible checks an instruction that loads the call's number against the
// number that the call had: decoding backwards, four bytes of an immediate
// may be anything.
func (s *Site) plausible(i inst) bool {
	if len(i.code) == 5 && i.code[0] == 0xb8 {
		return uint64(binary.LittleEndian.Uint32(i.code[1:])) == s.RAX
	}
	return true
}

// evident reports whether the bytes around the call at off are such as only a
// call has: a move of its number into RAX right before it, or a comparison of
// its result with the range of errors right after. In 4 GB of programs and
// libraries these were nowhere but in code, and nearly all calls of C libraries
// have one of them. A return from a signal is not believed: unwinders hold its
// bytes as data, and look for them in the code (libgcc's MD_FALLBACK_FRAME_STATE_FOR).
func (s *Site) evident(off int) bool {
	before, after := s.Code[:off], s.Code[off+syscallLen:]
	for _, comparison := range []string{
		"\x48\x3d\x00\xf0\xff\xff", "\x48\x3d\x01\xf0\xff\xff", "\x3d\x00\xf0\xff\xff", "\x3d\x01\xf0\xff\xff",
	} {
		if bytes.HasPrefix(after, []byte(comparison)) {
			return true
		}
	}
	const numbers = 1 << 10
	if s.RAX >= numbers || s.RAX == unix.SYS_RT_SIGRETURN {
		return false
	}
	for _, move := range []string{"\xb8", "\x48\xc7\xc0"} {
		if bytes.HasSuffix(before, binary.LittleEndian.AppendUint32([]byte(move), uint32(s.RAX))) {
			return true
		}
	}
	return false
}

// Numbers of the search for the instructions before a call.
const (
	// lookBack is the most bytes that decoding starts before the call, and
	// lookBackMin the least: it falls into step within a few instructions.
	lookBack    = 64
	lookBackMin = 20
)

// preceding returns up to max instructions before the one at off, in order,
// as far as they can be displaced. Decoding starts at every place some way
// before; what most of those that arrive at off agree on is believed. certain
// says that at least half arrive: into the middle of an instruction less than a
// tenth do, as C libraries show, but among data they may.
func (s *Site) preceding(off, max int) (insts []inst, certain bool) {
	// lengths are the instructions' lengths by distance from off; -1 if there
	// is none. The paths soon meet, so each place is decoded once.
	var lengths [lookBack + 1]int
	var votes [lookBack + 1]int
	starts, arrived := 0, 0
	for start := off - lookBack; start <= off-lookBackMin; start++ {
		if start < 0 {
			continue
		}
		starts++
		var seen [lookBack + 1]bool
		at := start
		for at < off {
			seen[off-at] = true
			n := &lengths[off-at]
			if *n == 0 {
				*n = -1
				if i, err := x86asm.Decode(s.Code[at:], 64); err == nil {
					*n = i.Len
				}
			}
			if *n < 0 {
				break
			}
			at += *n
		}
		if at != off {
			continue
		}
		arrived++
		for d := range seen {
			if seen[d] {
				votes[d]++
			}
		}
	}
	if arrived < 8 {
		return nil, false
	}
	certain = arrived*2 >= starts
	end := off
	for d := 1; d <= lookBackMin && len(insts) < max; d++ {
		// A boundary that a fifth of the starts miss is not certain.
		if votes[d]*5 < arrived*4 {
			continue
		}
		i, ok := s.displaceable(off-d, false)
		if !ok || off-d+len(i.code) != end {
			break
		}
		insts = append([]inst{i}, insts...)
		end = off - d
	}
	return insts, certain
}

// following returns up to max instructions from off on, as far as they can be
// displaced. A branch can be the last.
func (s *Site) following(off, max int) []inst {
	var insts []inst
	for len(insts) < max {
		i, ok := s.displaceable(off, true)
		if !ok {
			break
		}
		insts = append(insts, i)
		if i.branch {
			break
		}
		off += len(i.code)
	}
	return insts
}

// displaceable decodes the instruction at off, and reports whether it can be
// run elsewhere.
func (s *Site) displaceable(off int, branches bool) (inst, bool) {
	if off < 0 || off >= len(s.Code) {
		return inst{}, false
	}
	d, err := x86asm.Decode(s.Code[off:], 64)
	if err != nil || d.Len > len(s.Code)-off {
		return inst{}, false
	}
	i := inst{at: s.Base + uint64(off), code: s.Code[off : off+d.Len]}
	next := i.at + uint64(d.Len)
	switch {
	case i.code[0]&0xf0 == 0x70 && d.Len == 2:
		i.branch, i.cond = true, i.code[0]&0xf
		i.target = next + uint64(int64(int8(i.code[1])))
		return i, branches
	case i.code[0] == 0x0f && d.Len == 6 && i.code[1]&0xf0 == 0x80:
		i.branch, i.cond = true, i.code[1]&0xf
		i.target = next + uint64(int64(int32(binary.LittleEndian.Uint32(i.code[2:]))))
		return i, branches
	}
	switch d.Op {
	case x86asm.MOV, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD, x86asm.LEA, x86asm.XOR, x86asm.AND, x86asm.OR,
		x86asm.ADD, x86asm.SUB, x86asm.CMP, x86asm.TEST, x86asm.NEG, x86asm.NOT, x86asm.INC, x86asm.DEC,
		x86asm.SHL, x86asm.SHR, x86asm.SAR, x86asm.XCHG, x86asm.NOP, x86asm.SBB, x86asm.ADC, x86asm.CDQE,
		x86asm.PUSH, x86asm.POP, x86asm.CMOVE, x86asm.CMOVNE, x86asm.SETE, x86asm.SETNE:
	default:
		// Not known to mean the same elsewhere.
		return inst{}, false
	}
	if stores(&d) {
		return inst{}, false
	}
	if d.PCRel != 0 {
		if d.PCRel != 4 {
			return inst{}, false
		}
		i.dispOff = d.PCRelOff
	} else if usesRIP(&d) {
		return inst{}, false
	}
	return i, true
}

// stores reports whether an instruction writes to memory other than the stack.
// It may be what begins a restartable sequence (rseq(2)), by telling the host
// of it, or the last of one, which the host must find where it was.
func stores(d *x86asm.Inst) bool {
	switch d.Op {
	case x86asm.CMP, x86asm.TEST, x86asm.NOP, x86asm.PUSH:
		return false
	}
	m, ok := d.Args[0].(x86asm.Mem)
	return ok && m.Base != x86asm.RSP
}

// usesRIP reports whether an operand is relative to the instruction pointer.
func usesRIP(d *x86asm.Inst) bool {
	for _, a := range d.Args {
		if m, ok := a.(x86asm.Mem); ok && m.Base == x86asm.RIP {
			return true
		}
	}
	return false
}

// build makes the patch for a window: instructions before the call and after
// it. With keep the window ends before the call.
func (s *Site) build(before, after []inst, keep bool) (*Patch, bool) {
	start, end := s.Addr, s.Addr
	if len(before) > 0 {
		start = before[0].at
	}
	if !keep {
		end += syscallLen + uint64(length(after))
	}
	p := &Patch{Addr: start, Kept: keep}
	p.Old = append(p.Old, s.Code[start-s.Base:end-s.Base]...)

	t := make([]byte, 0, Size)
	ok := true
	displace := func(i inst) {
		p.Boundaries = append(p.Boundaries, Boundary{i.at, s.Trampoline + uint64(len(t))})
		if i.branch {
			t = append(t, 0x0f, 0x80|i.cond, 0, 0, 0, 0)
			ok = ok && putDisp(t[len(t)-4:], s.Trampoline+uint64(len(t)), i.target)
			return
		}
		at := len(t)
		t = append(t, i.code...)
		if i.dispOff != 0 {
			old := int64(int32(binary.LittleEndian.Uint32(i.code[i.dispOff:])))
			target := i.at + uint64(len(i.code)) + uint64(old)
			ok = ok && putDisp(t[at+i.dispOff:], s.Trampoline+uint64(len(t)), target)
		}
	}
	for _, i := range before {
		displace(i)
	}
	p.Call = s.Trampoline + uint64(len(t))
	p.Boundaries = append(p.Boundaries, Boundary{s.Addr, p.Call})
	t = append(t, 0x48, 0x8d, 0x0d, 15, 0, 0, 0) // lea Return(%rip), %rcx
	t = append(t, 0x49, 0xbb)                    // movabs $entry, %r11
	t = binary.LittleEndian.AppendUint64(t, s.Entry)
	t = append(t, 0x41, 0xff, 0xe3) // jmp *%r11
	t = append(t, 0x0f, 0x05)       // syscall
	p.Return = s.Trampoline + uint64(len(t))
	for _, i := range after {
		displace(i)
	}
	back := max(end, s.Addr+syscallLen)
	p.Boundaries = append(p.Boundaries, Boundary{back, s.Trampoline + uint64(len(t))})
	t = append(t, 0xe9, 0, 0, 0, 0)
	ok = ok && putDisp(t[len(t)-4:], s.Trampoline+uint64(len(t)), back)
	if !ok || len(t) > Size {
		return nil, false
	}
	p.Trampoline = t

	// The window's beginning is no inner boundary, nor is what lies behind it.
	for _, b := range p.Boundaries {
		if b.Original > start && b.Original < end {
			p.Inside = append(p.Inside, b)
		}
	}
	for _, b := range p.Inside {
		if s.branchTo(b.Original) {
			return nil, false
		}
	}

	p.New = append(p.New, 0xe9, 0, 0, 0, 0)
	if !putDisp(p.New[1:], start+jumpLen, s.Trampoline) {
		return nil, false
	}
	for len(p.New) < len(p.Old) {
		p.New = append(p.New, 0xcc)
	}
	return p, true
}

// putDisp stores the displacement from next to target; false if it is too far.
func putDisp(dst []byte, next, target uint64) bool {
	d := int64(target - next)
	if d > math.MaxInt32 || d < math.MinInt32 {
		return false
	}
	binary.LittleEndian.PutUint32(dst, uint32(int32(d)))
	return true
}

// branchTo reports whether anything nearby could be a direct branch to addr,
// whatever it may really be.
func (s *Site) branchTo(addr uint64) bool {
	to := int(addr - s.Base)
	// Short: Jcc, JMP, LOOP and JRCXZ with eight bits.
	for at := max(0, to-130); at < to+130 && at+2 <= len(s.Code); at++ {
		op := s.Code[at]
		if op&0xf0 == 0x70 || op == 0xeb || op&0xfc == 0xe0 {
			if at+2+int(int8(s.Code[at+1])) == to {
				return true
			}
		}
	}
	// Near: JMP, CALL and Jcc with 32 bits.
	from, end := max(0, to-Before), min(len(s.Code)-4, to+After)
	for at := from; at < end; at++ {
		if at+4+int(int32(binary.LittleEndian.Uint32(s.Code[at:]))) != to || at == 0 {
			continue
		}
		op := s.Code[at-1]
		if op == 0xe8 || op == 0xe9 || op&0xf0 == 0x80 && at >= 2 && s.Code[at-2] == 0x0f {
			return true
		}
	}
	return false
}
