package hostnet

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What rules of nftables are made of: conditions, each of which ends the rule if it
// does not hold, and at the end what becomes of the packet.

// rule joins them.
func rule(parts ...[]expr.Any) []expr.Any { return slices.Concat(parts...) }

// native is a number as the host's kernel keeps it, network as packets do.
func native(v uint32) []byte    { return binary.NativeEndian.AppendUint32(nil, v) }
func network16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

// meta compares what the kernel knows of a packet.
func meta(key expr.MetaKey, data []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}}
}

// from and to are the interfaces by which a packet comes in and goes out.
func from(name string) []expr.Any { return meta(expr.MetaKeyIIFNAME, interfaceName(name)) }
func to(name string) []expr.Any   { return meta(expr.MetaKeyOIFNAME, interfaceName(name)) }

func notTo(name string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: interfaceName(name)}}
}

func interfaceName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// etherType is the protocol of a frame: unix.ETH_P_IP and so on.
func etherType(t uint16) []expr.Any { return meta(expr.MetaKeyPROTOCOL, network16(t)) }

// payload compares bytes of a packet; mask may be nil.
func payload(base expr.PayloadBase, offset uint32, op expr.CmpOp, mask, data []byte) []expr.Any {
	size := uint32(len(data))
	list := []expr.Any{&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: size}}
	if mask != nil {
		list = append(list, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)})
	}
	return append(list, &expr.Cmp{Op: op, Register: 1, Data: data})
}

// source and destination are addresses of a packet; a network of all addresses is
// any of its family.
func source(p netip.Prefix) []expr.Any      { return address(p, 12, 8, expr.CmpOpEq) }
func destination(p netip.Prefix) []expr.Any { return address(p, 16, 24, expr.CmpOpEq) }

func notSource(p netip.Prefix) []expr.Any      { return address(p, 12, 8, expr.CmpOpNeq) }
func notDestination(p netip.Prefix) []expr.Any { return address(p, 16, 24, expr.CmpOpNeq) }

func address(p netip.Prefix, offset4, offset6 uint32, op expr.CmpOp) []expr.Any {
	ethertype, offset := uint16(unix.ETH_P_IP), offset4
	if p.Addr().Is6() {
		ethertype, offset = unix.ETH_P_IPV6, offset6
	}
	list := etherType(ethertype)
	if p.Bits() == 0 && op == expr.CmpOpEq {
		return list
	}
	var mask []byte
	if !p.IsSingleIP() {
		mask = net.CIDRMask(p.Bits(), p.Addr().BitLen())
	}
	return append(list, payload(expr.PayloadBaseNetworkHeader, offset, op, mask, p.Masked().Addr().AsSlice())...)
}

// one is the network of a single address.
func one(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// local is a packet to an address of the host's own.
func local() []expr.Any {
	const rtnLocal = 2 // RTN_LOCAL
	return []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: native(rtnLocal)},
	}
}

// protocol is that of the packet's payload: unix.IPPROTO_TCP and so on.
func protocol(p uint8) []expr.Any { return meta(expr.MetaKeyL4PROTO, []byte{p}) }

// protocolNumber is that of the name in Publish.
func protocolNumber(name string) uint8 {
	if name == "udp" {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// toPorts are the destination ports of a packet that has some.
func toPorts(first, last uint16) []expr.Any {
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	if first == last {
		return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: network16(first)}}
	}
	return []expr.Any{load, &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: network16(first), ToData: network16(last)}}
}

// connected is a packet of a connection that there was before; translated is one
// whose destination is not the one that it began with.
func connected() []expr.Any {
	return conntrack(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}

func translated() []expr.Any {
	const dstNAT = 1 << 5 // IPS_DST_NAT
	return conntrack(expr.CtKeySTATUS, dstNAT)
}

func conntrack(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(bits), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native(0)},
	}
}

// What becomes of a packet.
var (
	accept     = []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	drop       = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	masquerade = []expr.Any{&expr.Masq{}}
)

// leadTo changes where a packet goes.
func leadTo(a netip.AddrPort) []expr.Any {
	family := uint32(unix.NFPROTO_IPV4)
	if a.Addr().Is6() {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: a.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: network16(a.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: 1, RegProtoMin: 2},
	}
}

// faster is what exceeds a rate, in bytes a second. The kernel lets as much as a second's
// pass at once beside burst, which is enough for a large segment.
func faster(rate uint64) []expr.Any {
	const burst = 128 << 10
	return []expr.Any{&expr.Limit{Type: expr.LimitTypePktBytes, Rate: rate, Unit: expr.LimitTimeSecond, Over: true, Burst: burst}}
}

// refuse answers a packet with an error at once: "administratively prohibited", or a
// reset for TCP.
func refuse(v4 bool) [][]expr.Any {
	ethertype, code := uint16(unix.ETH_P_IP), uint8(13) // ICMP_PKT_FILTERED
	if !v4 {
		ethertype, code = unix.ETH_P_IPV6, 1 // ICMPV6_ADM_PROHIBITED
	}
	return [][]expr.Any{
		rule(etherType(ethertype), protocol(unix.IPPROTO_TCP), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}),
		rule(etherType(ethertype), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code}}),
	}
}

// notHardware is a frame from another Ethernet address.
func notHardware(a net.HardwareAddr) []expr.Any {
	return payload(expr.PayloadBaseLLHeader, 6, expr.CmpOpNeq, nil, bytes.Clone(a))
}
