package inet

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// options are what setsockopt(2) sets, as far as the socket itself keeps it.
type options struct {
	socket.Timeouts
	lowat atomic.Int32
	// peekOff is SO_PEEK_OFF.
	peekOff socket.PeekOffset
	// oobInline is SO_OOBINLINE.
	oobInline atomic.Bool
	// cork is TCP_CORK or UDP_CORK; moreStream says that the last send had MSG_MORE.
	cork, moreStream atomic.Bool
	// sendBuffer and recvBuffer are SO_SNDBUF and SO_RCVBUF, if they have been set.
	sendBuffer, recvBuffer atomic.Int32
	// routerAlert is IP_ROUTER_ALERT, or of IPV6_ROUTER_ALERT what is kept of it.
	routerAlert atomic.Int32
	// leaveBy is the interface of IPV6_PKTINFO.
	leaveBy atomic.Int32
	// segment is UDP_SEGMENT.
	segment atomic.Int32
	// zerocopy is SO_ZEROCOPY.
	zerocopy atomic.Bool
	// ports is IP_LOCAL_PORT_RANGE.
	ports atomic.Uint32
	// report are the control messages that a receiver wants.
	report atomic.Uint32
	socket.Filter
	// corkedTo is where the datagram goes that is not complete yet.
	corkedTo tcpip.FullAddress
	socket.Stamps
	socket.SendTime
	// sentNumber is that of the next datagram that is told of.
	sentNumber atomic.Uint32
	// received is when the last datagram that was read had come, in nanoseconds since
	// 1970; 0 for never.
	received atomic.Int64

	optionMu sync.Mutex
	// values are the options that have been set, by their rows.
	values map[*option]int32
	// linger is struct linger, pacing SO_MAX_PACING_RATE, congestion TCP_CONGESTION, fastOpenKey
	// TCP_FASTOPEN_KEY.
	linger      [2]int32
	pacing      uint64
	congestion  string
	fastOpenKey []byte
}

func (o *options) init() {
	o.lowat.Store(1)
	o.pacing = math.MaxUint64
}

// sockets are the sockets that have an option.
type sockets uint8

const (
	ofTCP sockets = 1 << iota
	ofUDP
	ofOthers // raw and ping sockets
	ofAll    = ofTCP | ofUDP | ofOthers
	ofUDPish = ofUDP | ofOthers
)

// option is one whose value is a number.
type option struct {
	level, name int32
	of          sockets
	// initial is its value before it is set.
	initial int32
	// check makes of the value that is set the one that is kept, or refuses it.
	check func(s *Socket, c vfs.Caller, v int32) (int32, error)
	// apply hands the value to the stack, or where it is looked at often; nil for what has no
	// effect here beyond being remembered.
	apply func(s *Socket, e tcpip.Endpoint, v int32)
	// shown makes of the value what getsockopt(2) says; nil for the value itself.
	shown func(s *Socket, v int32) int32
}

// tables are all options whose values are numbers.
var tables = [...][]option{socketOptions, ipOptions, ip6Options, tcpOptions, udpOptions}

// row finds an option that the socket has, or returns nil.
func (s *Socket) row(level, name int32) *option {
	switch { // these are one with IPv4's
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_FREEBIND:
		level, name = unix.IPPROTO_IP, unix.IP_FREEBIND
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_TRANSPARENT:
		level, name = unix.IPPROTO_IP, unix.IP_TRANSPARENT
	}
	for _, t := range tables {
		if t[0].level != level {
			continue
		}
		for i := range t {
			if o := &t[i]; o.name == name && o.of&s.sort() != 0 {
				return o
			}
		}
	}
	return nil
}

func (s *Socket) sort() sockets {
	switch {
	case s.isRaw():
	case s.protocol == unix.IPPROTO_TCP:
		return ofTCP
	case s.protocol == unix.IPPROTO_UDP:
		return ofUDP
	}
	return ofOthers
}

// value is what an option has been set to.
func (s *Socket) value(o *option) int32 {
	s.optionMu.Lock()
	defer s.optionMu.Unlock()
	if v, ok := s.values[o]; ok {
		return v
	}
	return o.initial
}

func (s *Socket) setValue(o *option, v int32) {
	s.optionMu.Lock()
	if s.values == nil {
		s.values = map[*option]int32{}
	}
	s.values[o] = v
	s.optionMu.Unlock()
}

// inherit gives a connection that was accepted the listener's options.
func (s *Socket) inherit(from *Socket, ep tcpip.Endpoint) {
	s.Timeouts.CopyFrom(&from.Timeouts)
	s.lowat.Store(from.lowat.Load())
	s.oobInline.Store(from.oobInline.Load())
	s.peekOff.Set(from.peekOff.Get())
	s.cork.Store(from.cork.Load())
	s.report.Store(from.report.Load())
	s.Stamps.CopyFrom(&from.Stamps)
	if x := from.always6.Load(); x != nil {
		s.always6.Store(x)
		s.own(ep)
	}
	from.optionMu.Lock()
	s.linger, s.pacing, s.congestion = from.linger, from.pacing, from.congestion
	for o, v := range from.values {
		if s.values == nil {
			s.values = make(map[*option]int32, len(from.values))
		}
		s.values[o] = v
	}
	from.optionMu.Unlock()
	s.applyAll(ep)
}

// applyAll hands the options that have been set to an endpoint.
func (s *Socket) applyAll(ep tcpip.Endpoint) {
	s.optionMu.Lock()
	defer s.optionMu.Unlock()
	for o, v := range s.values {
		if o.apply != nil {
			o.apply(s, ep, v)
		}
	}
	if s.linger[0] != 0 {
		applyLinger(ep, s.linger)
	}
	if s.congestion != "" {
		v := tcpip.CongestionControlOption(s.congestion)
		ep.SetSockOpt(&v)
	}
}

// levelOf is a level without the names that it has beside its own: options of UDP are found at that of UDP-Lite too.
func (s *Socket) levelOf(level int32) int32 {
	if level == unix.IPPROTO_UDPLITE && s.sort() == ofUDP {
		return unix.IPPROTO_UDP
	}
	return level
}

// hasLevel reports whether the socket has options of a level.
func (s *Socket) hasLevel(level int32) bool {
	switch level {
	case unix.SOL_SOCKET:
		return true
	case unix.IPPROTO_IP:
		return s.family.Load() == unix.AF_INET || !s.isRaw()
	case unix.IPPROTO_IPV6:
		return s.family.Load() == unix.AF_INET6
	}
	switch s.sort() {
	case ofTCP, ofUDP:
		return level == s.protocol
	}
	return s.isRaw() && level == unix.SOL_RAW
}

// Option implements socket.Socket.
func (s *Socket) Option(c vfs.Caller, level, name int32) ([]byte, error) {
	level = s.levelOf(level)
	if v, ok, err := s.rawOption(level, name); ok {
		return v, err
	}
	if !s.hasLevel(level) {
		if s.family.Load() == unix.AF_INET6 {
			return nil, unix.ENOPROTOOPT
		}
		return nil, unix.EOPNOTSUPP
	}
	if v, ok := s.multicastOption(level, name); ok {
		return v, nil
	}
	if o := s.row(level, name); o != nil {
		v := s.value(o)
		if o.shown != nil {
			v = o.shown(s, v)
		}
		return int32Bytes(v), nil
	}
	switch level {
	case unix.SOL_SOCKET:
		return s.socketOption(c, name)
	case unix.IPPROTO_IP:
		return s.ipOption(name)
	case unix.IPPROTO_IPV6:
		return s.ip6Option(name)
	case unix.IPPROTO_TCP:
		return s.tcpOption(name)
	}
	return nil, unix.ENOPROTOOPT
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(c vfs.Caller, level, name int32, value []byte) error {
	level = s.levelOf(level)
	if done, err := s.setRawOption(level, name, value); done {
		return err
	}
	if !s.hasLevel(level) || level == unix.SOL_RAW && s.family.Load() == unix.AF_INET {
		return unix.ENOPROTOOPT // however short the value, while IPv6 looks at that first
	}
	if level == unix.IPPROTO_IP && !fits(name, len(value)) {
		return unix.EINVAL
	}
	if done, err := s.setMulticastOption(level, name, value); done {
		return err
	}
	if special, err := s.setSpecial(c, level, name, value); special {
		return err
	}
	o := s.row(level, name)
	v, ok := number32(level, value)
	if level == unix.IPPROTO_IPV6 && len(value) < 4 {
		switch name { // to these what is too short is 0
		case unix.IPV6_DONTFRAG, unix.IPV6_AUTOFLOWLABEL, unix.IPV6_RECVFRAGSIZE:
			ok = true
		}
	}
	if !ok && (o != nil || level != unix.IPPROTO_IPV6) {
		return unix.EINVAL
	}
	if o == nil {
		return unix.ENOPROTOOPT
	}
	v, err := o.check(s, c, v)
	if err != nil {
		return err
	}
	s.setValue(o, v)
	if o.apply != nil {
		o.apply(s, s.ep.Load().Endpoint, v)
	}
	return nil
}

// setSpecial sets options whose values are not numbers, or that do more than to be kept.
func (s *Socket) setSpecial(c vfs.Caller, level, name int32, value []byte) (bool, error) {
	switch level {
	case unix.SOL_SOCKET:
		return s.setSocketOption(c, name, value)
	case unix.IPPROTO_IP, unix.IPPROTO_IPV6:
		return s.setIPOption(c, level, name, value)
	case unix.IPPROTO_TCP:
		return s.setTCPOption(c, name, value)
	case unix.IPPROTO_UDP:
		if name == unix.UDP_CORK {
			return true, s.setCork(value)
		}
	}
	return false, nil
}

// number32 reads an int. The options of IPv4 may be a single byte.
func number32(level int32, value []byte) (int32, bool) {
	switch {
	case len(value) >= 4:
		return int32(binary.LittleEndian.Uint32(value)), true
	case level == unix.IPPROTO_IP && len(value) > 0:
		return int32(value[0]), true
	}
	return 0, level == unix.IPPROTO_IP
}

// fits reports whether a value of an option of IPv4 may have a length. To most of them nothing at
// all is 0, and what is too long is cut off.
func fits(name int32, length int) bool {
	switch name {
	case unix.IP_FREEBIND, unix.IP_TRANSPARENT, unix.IP_MINTTL, unix.IP_MULTICAST_TTL, unix.IP_MULTICAST_LOOP, unix.IP_MULTICAST_ALL:
		return length > 0
	case unix.IP_UNICAST_IF, unix.IP_LOCAL_PORT_RANGE:
		return length == 4
	}
	return true
}

func int32Bytes(v int32) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }

// The checks that many options share.

func boolean(_ *Socket, _ vfs.Caller, v int32) (int32, error) { return truth(v != 0), nil }

func truth(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// strict takes 0 and 1 only.
func strict(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v != 0 && v != 1 {
		return 0, unix.EINVAL
	}
	return v, nil
}

// anything takes every number.
func anything(_ *Socket, _ vfs.Caller, v int32) (int32, error) { return v, nil }

// natural takes 0 and all above.
func natural(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v < 0 {
		return 0, unix.EINVAL
	}
	return v, nil
}

// between takes numbers of a range.
func between(low, high int32) func(*Socket, vfs.Caller, int32) (int32, error) {
	return func(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
		if v < low || v > high {
			return 0, unix.EINVAL
		}
		return v, nil
	}
}

// readOnly refuses to be set.
func readOnly(*Socket, vfs.Caller, int32) (int32, error) { return 0, unix.ENOPROTOOPT }

// privileged takes a truth from those who may administer the network or use raw sockets.
func privileged(s *Socket, c vfs.Caller, v int32) (int32, error) {
	if v != 0 && !can(c, unix.CAP_NET_ADMIN) && !can(c, unix.CAP_NET_RAW) {
		return 0, unix.EPERM
	}
	return truth(v != 0), nil
}

// invalid is for options that other sockets have.
func invalid(*Socket, vfs.Caller, int32) (int32, error) { return 0, unix.EINVAL }
