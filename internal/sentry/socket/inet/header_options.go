package inet

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// The options of IPv4's header (RFC 791, 3.1; RFC 2113), as IP_OPTIONS sets them. Who sends them
// records a route and stamps a time first of all, so that each time they are made anew.

// The kinds of options.
const (
	optionEnd         = 0
	optionNop         = 1
	optionRecordRoute = 7
	optionTimestamp   = 68
	optionLooseRoute  = 131
	optionCIPSO       = 134
	optionStrictRoute = 137
	optionRouterAlert = 148
)

// What a timestamp option holds of each router: the time, its address and the time, or the times
// of those whose addresses are there.
const (
	stampTime      = 0
	stampAddress   = 1
	stampSpecified = 3
)

// headerOptions are options that a socket sends. They do not change once they are made.
type headerOptions struct {
	// data is as getsockopt(2) shows it: a multiple of four bytes.
	data []byte
	// hop is where a source route leads first, if there is one.
	hop    tcpip.Address
	strict bool
	// route, record and stamp are where these options begin, or -1.
	route, record, stamp int
}

// length is how many bytes of a header the options take.
func (o *headerOptions) length() int {
	if o == nil {
		return 0
	}
	return len(o.data)
}

// parseHeaderOptions reads what a program has options made of. EINVAL for what Linux refuses. Source
// routes take a privilege (EPERM), and so does what is not known (EINVAL). No options are nil.
func parseHeaderOptions(value []byte, privileged bool, local func([4]byte) bool) (*headerOptions, error) {
	if len(value) > maxIPOptions {
		return nil, unix.EINVAL
	}
	if len(value) == 0 {
		return nil, nil
	}
	o := &headerOptions{data: make([]byte, (len(value)+3)&^3), route: -1, record: -1, stamp: -1}
	copy(o.data, value)
	for at := 0; at < len(o.data); {
		switch o.data[at] {
		case optionEnd:
			clear(o.data[at:])
			at = len(o.data)
			continue
		case optionNop:
			at++
			continue
		}
		left := o.data[at:]
		if len(left) < 2 || left[1] < 2 || int(left[1]) > len(left) {
			return nil, unix.EINVAL
		}
		if !o.take(at, left[:left[1]], privileged, local) {
			return nil, unix.EINVAL
		}
		at += int(left[1])
	}
	if o.route >= 0 && !privileged {
		return nil, unix.EPERM
	}
	return o, nil
}

// take notes an option that begins at an offset; false if it is not as it must be.
func (o *headerOptions) take(at int, option []byte, privileged bool, local func([4]byte) bool) bool {
	switch kind := option[0]; kind {
	case optionLooseRoute, optionStrictRoute:
		if len(option) < 7 || option[2] != 4 || (len(option)-3)%4 != 0 || o.route >= 0 {
			return false
		}
		o.route, o.strict, o.hop = at, kind == optionStrictRoute, tcpip.AddrFrom4([4]byte(option[3:7]))
	case optionRecordRoute:
		if len(option) < 3 || option[2] < 4 || o.record >= 0 {
			return false
		}
		if next := int(option[2]); next <= len(option) {
			if next+3 > len(option) {
				return false
			}
			clear(option[next-1 : next+3])
		}
		o.record = at
	case optionTimestamp:
		if len(option) < 4 || option[2] < 5 || o.stamp >= 0 || !checkTimestamp(option, privileged, local) {
			return false
		}
		o.stamp = at
	case optionRouterAlert:
		return len(option) >= 4
	default:
		// The tag of a security label (CIPSO) would have to be one that is configured: none is.
		return kind != optionCIPSO && privileged
	}
	return true
}

// checkTimestamp reports whether a timestamp option is as it must be. The place that is filled
// when it is sent is emptied.
func checkTimestamp(option []byte, privileged bool, local func([4]byte) bool) bool {
	next, holds := int(option[2]), option[3]&0xf
	switch {
	case next > len(option):
		return holds == stampSpecified || option[3]>>4 != 15
	case next+3 > len(option):
		return false
	case holds == stampTime:
		clear(option[next-1 : next+3])
	case holds == stampAddress || holds == stampSpecified:
		if next+7 > len(option) {
			return false
		}
		if holds == stampAddress {
			clear(option[next-1 : next+7])
		} else if local([4]byte(option[next-1:])) {
			clear(option[next+3 : next+7])
		}
	default:
		return privileged
	}
	return true
}

// build makes the options of a packet, that goes from and finally to an address.
func (o *headerOptions) build(from, to tcpip.Address, local func([4]byte) bool) []byte {
	b := append(make([]byte, 0, maxIPOptions), o.data...)
	if o.route >= 0 {
		// The first address is where the packet goes at first, the last one where it is to go.
		option := b[o.route:][:b[o.route+1]]
		copy(option[3:], option[7:])
		copy(option[len(option)-4:], to.AsSlice())
	}
	if o.record >= 0 {
		option := b[o.record:][:b[o.record+1]]
		if next := int(option[2]); next <= len(option) {
			copy(option[next-1:], from.AsSlice())
			option[2] += 4
		}
	}
	if o.stamp >= 0 {
		option := b[o.stamp:][:b[o.stamp+1]]
		fillTimestamp(option, from, local)
	}
	return b
}

// fillTimestamp stamps the time on a timestamp option that has been checked.
func fillTimestamp(option []byte, from tcpip.Address, local func([4]byte) bool) {
	next := int(option[2])
	if next > len(option) {
		return
	}
	switch holds := option[3] & 0xf; {
	case holds == stampTime:
		option[2] += 4
	case holds == stampAddress:
		copy(option[next-1:], from.AsSlice())
		option[2] += 8
		next += 4
	case holds == stampSpecified && local([4]byte(option[next-1:])):
		option[2] += 8
		next += 4
	default:
		return
	}
	now := time.Now().UTC()
	midnight := now.Truncate(24 * time.Hour)
	binary.BigEndian.PutUint32(option[next-1:], uint32(now.Sub(midnight).Milliseconds()))
}

// returnedOptions makes of the options that have come with a packet those that an answer would have
// (IP_RETOPTS): recorded routes and timestamps, with room where they have it. Options that are not
// as they must be have none.
func returnedOptions(came []byte, local func([4]byte) bool) []byte {
	var record, stamp []byte
	for at := 0; at < len(came) && came[at] != optionEnd; {
		if came[at] == optionNop {
			at++
			continue
		}
		left := came[at:]
		if len(left) < 2 || left[1] < 2 || int(left[1]) > len(left) {
			return nil
		}
		option := append([]byte{}, left[:left[1]]...)
		at += len(option)
		switch {
		case option[0] == optionRecordRoute && len(option) >= 3 && option[2] >= 4:
			switch next := int(option[2]); {
			case next > len(option):
			case next+3 > len(option):
				return nil
			default:
				clear(option[next-1 : next+3])
			}
			record = option
		case option[0] == optionTimestamp && len(option) >= 4 && option[2] >= 5 && checkTimestamp(option, true, local):
			stamp = option
		}
	}
	out := append(record, stamp...)
	return append(out, make([]byte, -len(out)&3)...)
}

// headerOptionsOf are the options that a packet has, which may have been cut: none unless it is one of IPv4.
func headerOptionsOf(packet []byte) []byte {
	if len(packet) < header.IPv4MinimumSize || packet[0]>>4 != header.IPv4Version {
		return nil
	}
	n := int(header.IPv4(packet).HeaderLength())
	return packet[header.IPv4MinimumSize:max(header.IPv4MinimumSize, min(n, len(packet)))]
}
