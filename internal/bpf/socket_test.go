package bpf

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func filter(t *testing.T, code ...unix.SockFilter) *SocketFilter {
	t.Helper()
	f, err := NewSocketFilter(code)
	if err != nil {
		t.Fatalf("%v is refused: %v", code, err)
	}
	return f
}

// ins is an instruction without jumps.
func ins(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func TestSocketFilterLoads(t *testing.T) {
	p := &Packet{
		Data: []byte{0x45, 1, 2, 3, 4, 5, 6, 7}, Link: []byte{9, 8, 7, 6}, Network: []byte{1, 2},
		Protocol: 0x800, Type: 4, Interface: 3, HardwareType: 772, Mark: 77,
	}
	const drop = 0
	for _, c := range []struct {
		what string
		code []unix.SockFilter
		want uint32
	}{
		{"word", []unix.SockFilter{ins(ldAbs, 1)}, 0x01020304},
		{"half", []unix.SockFilter{ins(ldAbsH, 6)}, 0x0607},
		{"byte", []unix.SockFilter{ins(ldAbsB, 7)}, 7},
		{"word beyond the end", []unix.SockFilter{ins(ldAbs, 5)}, drop},
		{"byte at the end", []unix.SockFilter{ins(ldAbsB, 8)}, drop},
		{"far beyond", []unix.SockFilter{ins(ldAbs, 0x7fffffff)}, drop},
		{"header length", []unix.SockFilter{ins(ldxMsh, 0), ins(txa, 0)}, 20},
		{"indirect", []unix.SockFilter{ins(ldxImm, 2), ins(ldIndB, 1)}, 3},
		{"indirect that wraps around", []unix.SockFilter{ins(ldxImm, 2), ins(ldIndB, 0xffffffff)}, 1},
		{"indirect to the network's header", []unix.SockFilter{ins(ldxImm, 1), ins(ldIndB, 1<<32+netOff)}, 2},
		{"link's header", []unix.SockFilter{ins(ldAbsB, 1<<32+llOff+1)}, 8},
		{"network's header", []unix.SockFilter{ins(ldAbsH, 1<<32+netOff)}, 0x0102},
		{"beyond the network's header", []unix.SockFilter{ins(ldAbs, 1<<32+netOff)}, drop},
		{"before the link's header", []unix.SockFilter{ins(ldAbs, 0x80000000)}, drop},
		{"protocol", []unix.SockFilter{ins(ldAbs, adStart+adProtocol)}, 0x800},
		{"type", []unix.SockFilter{ins(ldAbs, adStart+adPacketType)}, 4},
		{"interface", []unix.SockFilter{ins(ldAbs, adStart+adInterface)}, 3},
		{"hardware", []unix.SockFilter{ins(ldAbs, adStart+adHardwareType)}, 772},
		{"mark", []unix.SockFilter{ins(ldAbs, adStart+adMark)}, 77},
		{"length", []unix.SockFilter{ins(ldLen, 0)}, 8},
		{"modulo", []unix.SockFilter{ins(ldImm, 17), ins(modK, 5)}, 2},
		{"modulo 0", []unix.SockFilter{ins(ldImm, 17), ins(modX, 0)}, drop},
		{"xor by A", []unix.SockFilter{ins(ldImm, 6), ins(ldxImm, 3), ins(ldAbs, adStart+adXorX)}, 5},
	} {
		if got := filter(t, append(c.code, ins(retA, 0))...).Run(p); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.what, got, c.want)
		}
	}
}

func TestSocketFilterRefuses(t *testing.T) {
	for what, code := range map[string][]unix.SockFilter{
		"nothing":               {},
		"no verdict":            {ins(ldLen, 0)},
		"modulo 0":              {ins(modK, 0), ins(retA, 0)},
		"unknown ancillary":     {ins(ldAbs, adStart+64), ins(retA, 0)},
		"netlink attributes":    {ins(ldAbs, adStart+12), ins(retA, 0)},
		"a jump out of it":      {{Code: unix.BPF_JMP | unix.BPF_JEQ, Jt: 1}, ins(retA, 0)},
		"unwritten memory":      {ins(ldMem, 0), ins(retA, 0)},
		"unknown instruction":   {ins(0xffff, 0), ins(retA, 0)},
		"too many instructions": make([]unix.SockFilter, MaxInstructions+1),
	} {
		if _, err := NewSocketFilter(code); err != unix.EINVAL {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzSocketFilter runs whatever passes the check: it must end, without a panic.
func FuzzSocketFilter(f *testing.F) {
	f.Add([]byte{0x28, 0, 0, 0, 12, 0, 0, 0, 6, 0, 0, 0, 0xff, 0xff, 0, 0}, []byte("a packet of some bytes"))
	f.Fuzz(func(t *testing.T, raw, packet []byte) {
		var code []unix.SockFilter
		for ; len(raw) >= 8; raw = raw[8:] {
			code = append(code, unix.SockFilter{Code: binary.LittleEndian.Uint16(raw), Jt: raw[2], Jf: raw[3], K: binary.LittleEndian.Uint32(raw[4:])})
		}
		if p, err := NewSocketFilter(code); err == nil {
			p.Run(&Packet{Data: packet, Link: packet[:len(packet)/2], Network: packet[len(packet)/2:]})
		}
	})
}
