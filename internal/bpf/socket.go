package bpf

import (
	"encoding/binary"
	"math/rand/v2"

	"golang.org/x/sys/unix"
)

// The instructions of socket filters that those of seccomp(2) do not have.
const (
	ldAbsH = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
	ldAbsB = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
	ldInd  = unix.BPF_LD | unix.BPF_W | unix.BPF_IND
	ldIndH = unix.BPF_LD | unix.BPF_H | unix.BPF_IND
	ldIndB = unix.BPF_LD | unix.BPF_B | unix.BPF_IND
	ldxMsh = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH
	modK   = unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K
	modX   = unix.BPF_ALU | unix.BPF_MOD | unix.BPF_X
)

// Offsets that lead elsewhere than into the data (linux/filter.h). As offsets they
// are large unsigned numbers.
const (
	adOff  = -0x1000
	netOff = -0x100000
	llOff  = -0x200000

	adStart         = 1<<32 + adOff
	adProtocol      = 0
	adPacketType    = 4
	adInterface     = 8
	adMark          = 20
	adQueue         = 24
	adHardwareType  = 28
	adHash          = 32
	adCPU           = 36
	adXorX          = 40
	adVLANTag       = 44
	adVLANTagThere  = 48
	adRandom        = 56
	adVLANTagInside = 60
)

// Packet is what a socket filter is run on.
type Packet struct {
	// Data is what the filter's offsets count from: for AF_PACKET what the socket
	// receives, for UDP the datagram with its header. Link and Network begin at the
	// link's and the network's header (SKF_LL_OFF, SKF_NET_OFF); they may be nil.
	Data, Link, Network []byte
	// Protocol is the ETH_P_* number, Type a PACKET_* one, Interface an index and
	// HardwareType an ARPHRD_* number (SKF_AD_*).
	Protocol     uint16
	Type         uint8
	Interface    uint32
	HardwareType uint16
	Mark         uint32
}

// SocketFilter is a checked filter of SO_ATTACH_FILTER (socket(7)). It does not change.
type SocketFilter struct {
	code []unix.SockFilter
}

// NewSocketFilter checks a program as setsockopt(2) does: EINVAL if it is empty or
// too long, has an unknown instruction, jumps out of itself, reads scratch memory that
// was not written, or may end without a verdict; and for SKF_AD_NLATTR,
// SKF_AD_NLATTR_NEST and SKF_AD_PAY_OFFSET, which are not there. The caller must not
// change code afterwards.
func NewSocketFilter(code []unix.SockFilter) (*SocketFilter, error) {
	if !sound(code, validForSocket) {
		return nil, unix.EINVAL
	}
	return &SocketFilter{code}, nil
}

// Instructions are the filter's. They must not be changed.
func (f *SocketFilter) Instructions() []unix.SockFilter { return f.code }

func validForSocket(code []unix.SockFilter, pc int) bool {
	in := &code[pc]
	switch in.Code {
	case ldAbs, ldAbsH, ldAbsB:
		if in.K < adStart {
			return true
		}
		switch in.K - adStart {
		case adProtocol, adPacketType, adInterface, adMark, adQueue, adHardwareType, adHash, adCPU, adXorX, adVLANTag,
			adVLANTagThere, adRandom, adVLANTagInside:
			return true
		}
		return false
	case ldInd, ldIndH, ldIndB, ldxMsh, modX:
		return true
	case modK:
		return in.K != 0
	}
	return valid(code, pc)
}

// Run returns how many bytes of the packet the socket receives: 0 drops it, and more
// than it has keeps all of it. A load from beyond the packet drops it.
func (f *SocketFilter) Run(p *Packet) uint32 {
	var m machine
	for pc := 0; ; pc++ {
		in := &f.code[pc]
		ok := true
		switch in.Code {
		case ldAbs, ldAbsH, ldAbsB:
			if in.K >= adStart {
				m.a = p.ancillary(in.K-adStart, m.a, m.x)
			} else {
				m.a, ok = p.load(in.Code, in.K)
			}
		case ldInd, ldIndH, ldIndB:
			m.a, ok = p.load(in.Code, m.x+in.K)
		case ldxMsh:
			m.x, ok = p.load(ldAbsB, in.K)
			m.x = m.x & 0xf * 4
		case ldLen:
			m.a = uint32(len(p.Data))
		case ldxLen:
			m.x = uint32(len(p.Data))
		case retK:
			return in.K
		case retA:
			return m.a
		default:
			if in.Code&classMask == unix.BPF_JMP {
				pc += m.jump(in)
			} else {
				ok = m.step(in)
			}
		}
		if !ok {
			return 0
		}
	}
}

// load reads a big-endian number of an instruction's size; false if it is not there.
func (p *Packet) load(code uint16, off uint32) (uint32, bool) {
	from := p.Data
	if at := int32(off); at < 0 {
		switch {
		case at >= netOff:
			from, off = p.Network, uint32(at-netOff)
		case at >= llOff:
			from, off = p.Link, uint32(at-llOff)
		default:
			return 0, false
		}
	}
	if uint64(off) > uint64(len(from)) {
		return 0, false
	}
	from = from[off:]
	switch code & 0x18 {
	case unix.BPF_W:
		if len(from) >= 4 {
			return binary.BigEndian.Uint32(from), true
		}
	case unix.BPF_H:
		if len(from) >= 2 {
			return uint32(binary.BigEndian.Uint16(from)), true
		}
	default:
		if len(from) >= 1 {
			return uint32(from[0]), true
		}
	}
	return 0, false
}

// ancillary is what is known of a packet beside its bytes. There is one queue, no
// hash, and a VLAN's tag stays among the bytes.
func (p *Packet) ancillary(which, a, x uint32) uint32 {
	switch which {
	case adProtocol:
		return uint32(p.Protocol)
	case adPacketType:
		return uint32(p.Type)
	case adInterface:
		return p.Interface
	case adHardwareType:
		return uint32(p.HardwareType)
	case adMark:
		return p.Mark
	case adXorX:
		return a ^ x
	case adRandom:
		return rand.Uint32()
	}
	return 0
}
