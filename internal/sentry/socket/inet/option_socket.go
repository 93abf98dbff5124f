package inet

import (
	"bytes"
	"encoding/binary"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// What buffers of TCP are at first (tcp_wmem, tcp_rmem in /proc/sys/net/ipv4).
const (
	tcpSendBuffer = 16384
	tcpRecvBuffer = 131072
)

var socketOptions = []option{
	{level: unix.SOL_SOCKET, name: unix.SO_DEBUG, of: ofAll, check: admin},
	{level: unix.SOL_SOCKET, name: unix.SO_REUSEADDR, of: ofTCP | ofUDP, check: boolean, apply: applyReuseAddr},
	{level: unix.SOL_SOCKET, name: unix.SO_REUSEADDR, of: ofOthers, initial: 1, check: boolean, apply: applyReuseAddr},
	{level: unix.SOL_SOCKET, name: unix.SO_REUSEPORT, of: ofAll, check: boolean, apply: applyReusePort},
	{level: unix.SOL_SOCKET, name: unix.SO_TYPE, of: ofAll, check: readOnly, shown: func(s *Socket, _ int32) int32 { return s.typ }},
	{level: unix.SOL_SOCKET, name: unix.SO_PROTOCOL, of: ofAll, check: readOnly, shown: func(s *Socket, _ int32) int32 { return s.protocol }},
	{level: unix.SOL_SOCKET, name: unix.SO_DOMAIN, of: ofAll, check: readOnly, shown: func(s *Socket, _ int32) int32 { return s.family.Load() }},
	{level: unix.SOL_SOCKET, name: unix.SO_ERROR, of: ofAll, check: readOnly, shown: shownError},
	{level: unix.SOL_SOCKET, name: unix.SO_ACCEPTCONN, of: ofAll, check: readOnly, shown: shownAccepting},
	{level: unix.SOL_SOCKET, name: unix.SO_SNDLOWAT, of: ofAll, initial: 1, check: readOnly},
	{level: unix.SOL_SOCKET, name: unix.SO_BPF_EXTENSIONS, of: ofAll, initial: 64 /* SKF_AD_MAX */, check: readOnly},
	{level: unix.SOL_SOCKET, name: unix.SO_INCOMING_NAPI_ID, of: ofAll, check: readOnly},
	{level: unix.SOL_SOCKET, name: unix.SO_DONTROUTE, of: ofAll, check: boolean},
	{level: unix.SOL_SOCKET, name: unix.SO_BROADCAST, of: ofAll, check: boolean, apply: applyBroadcast},
	{level: unix.SOL_SOCKET, name: unix.SO_SNDBUF, of: ofAll, check: checkSendBuffer, apply: applySendBuffer, shown: shownSendBuffer},
	{level: unix.SOL_SOCKET, name: unix.SO_RCVBUF, of: ofAll, check: checkRecvBuffer, apply: applyRecvBuffer, shown: shownRecvBuffer},
	{level: unix.SOL_SOCKET, name: unix.SO_KEEPALIVE, of: ofAll, check: boolean, apply: applyKeepalive},
	{level: unix.SOL_SOCKET, name: unix.SO_OOBINLINE, of: ofAll, check: boolean, apply: applyInline},
	{level: unix.SOL_SOCKET, name: unix.SO_NO_CHECK, of: ofAll, check: boolean, apply: applyNoCheck},
	{level: unix.SOL_SOCKET, name: unix.SO_PRIORITY, of: ofAll, check: checkPriority},
	{level: unix.SOL_SOCKET, name: unix.SO_BSDCOMPAT, of: ofAll, check: func(*Socket, vfs.Caller, int32) (int32, error) { return 0, nil }},
	{level: unix.SOL_SOCKET, name: unix.SO_RCVLOWAT, of: ofAll, initial: 1, check: checkLowat, apply: applyLowat},
	{level: unix.SOL_SOCKET, name: unix.SO_MARK, of: ofAll, check: checkMark, apply: applyMark},
	{level: unix.SOL_SOCKET, name: unix.SO_RXQ_OVFL, of: ofAll, check: boolean, apply: reports(reportDrops)},
	{level: unix.SOL_SOCKET, name: unix.SO_WIFI_STATUS, of: ofAll, check: boolean},
	{level: unix.SOL_SOCKET, name: unix.SO_PEEK_OFF, of: ofTCP | ofUDP, initial: -1, check: anything, apply: applyPeekOff, shown: shownPeekOff},
	{level: unix.SOL_SOCKET, name: unix.SO_NOFCS, of: ofAll, check: boolean},
	{level: unix.SOL_SOCKET, name: unix.SO_SELECT_ERR_QUEUE, of: ofAll, check: boolean},
	{level: unix.SOL_SOCKET, name: unix.SO_BUSY_POLL, of: ofAll, check: natural},
	{level: unix.SOL_SOCKET, name: unix.SO_PREFER_BUSY_POLL, of: ofAll, check: boolean},
	{level: unix.SOL_SOCKET, name: unix.SO_INCOMING_CPU, of: ofAll, initial: -1, check: anything, shown: shownProcessor},
	{level: unix.SOL_SOCKET, name: unix.SO_ZEROCOPY, of: ofAll, check: checkZerocopy, apply: applyZerocopy},
	{level: unix.SOL_SOCKET, name: unix.SO_BINDTOIFINDEX, of: ofAll, check: checkInterface, apply: applyInterface},
	{level: unix.SOL_SOCKET, name: unix.SO_BUF_LOCK, of: ofAll, check: between(0, 3)},
	{level: unix.SOL_SOCKET, name: unix.SO_TXREHASH, of: ofTCP, initial: 1, check: checkRehash},
	{level: unix.SOL_SOCKET, name: unix.SO_RCVMARK, of: ofAll, check: boolean},
	{level: unix.SOL_SOCKET, name: unix.SO_RCVPRIORITY, of: ofAll, check: boolean},
}

func admin(_ *Socket, c vfs.Caller, v int32) (int32, error) {
	if v != 0 && !can(c, unix.CAP_NET_ADMIN) {
		return 0, unix.EACCES
	}
	return truth(v != 0), nil
}

func shownError(s *Socket, _ int32) int32 {
	n, _ := s.takeError(s.ep.Load()).(unix.Errno)
	return int32(n)
}

func shownAccepting(s *Socket, _ int32) int32 {
	return truth(s.stream() && s.ep.Load().state() == tcp.StateListen)
}

// shownProcessor is SO_INCOMING_CPU: the first processor is the one that all packets of a connection come by.
func shownProcessor(s *Socket, v int32) int32 {
	if v < 0 && s.stream() && s.connected() {
		return 0
	}
	return v
}

func checkPriority(_ *Socket, c vfs.Caller, v int32) (int32, error) {
	if (v < 0 || v > 6) && !can(c, unix.CAP_NET_ADMIN) && !can(c, unix.CAP_NET_RAW) {
		return 0, unix.EPERM
	}
	return v, nil
}

func checkMark(_ *Socket, c vfs.Caller, v int32) (int32, error) {
	if !can(c, unix.CAP_NET_ADMIN) && !can(c, unix.CAP_NET_RAW) {
		return 0, unix.EPERM
	}
	return v, nil
}

func applyPeekOff(s *Socket, _ tcpip.Endpoint, v int32) { s.peekOff.Set(v) }
func shownPeekOff(s *Socket, _ int32) int32             { return s.peekOff.Get() }

func checkRehash(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v == -1 {
		return 1, nil
	}
	return strict(nil, nil, v)
}

func checkLowat(s *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v < 0 {
		v = 1<<31 - 1
	}
	if v = max(v, 1); s.stream() {
		v = min(v, abi.DefaultSocketBuffer)
	}
	return v, nil
}

func checkSendBuffer(s *Socket, _ vfs.Caller, v int32) (int32, error) {
	return max(2*int32(min(int64(uint32(v)), s.net.Number(network.SendBufferMax))), abi.MinSocketSendBuffer), nil
}

func checkRecvBuffer(s *Socket, _ vfs.Caller, v int32) (int32, error) {
	return max(2*int32(min(int64(uint32(v)), s.net.Number(network.ReceiveBufferMax))), abi.MinSocketReceiveBuffer), nil
}

// shownSendBuffer is SO_SNDBUF: until a connection lets it grow, that of TCP is shown as
// Linux has it.
func shownSendBuffer(s *Socket, v int32) int32 {
	if v == 0 && s.stream() && !s.connected() {
		return tcpSendBuffer
	}
	return int32(s.ep.Load().SocketOptions().GetSendBufferSize())
}

func shownRecvBuffer(s *Socket, v int32) int32 {
	if v == 0 && s.stream() && !s.connected() {
		return tcpRecvBuffer
	}
	return int32(s.ep.Load().SocketOptions().GetReceiveBufferSize())
}

// connected reports whether a stream has or had a connection.
func (s *Socket) connected() bool {
	switch s.ep.Load().state() {
	case tcp.StateInitial, tcp.StateBound, tcp.StateListen:
		return false
	}
	return true
}

func applySendBuffer(s *Socket, e tcpip.Endpoint, v int32) {
	s.sendBuffer.Store(v)
	e.SocketOptions().SetSendBufferSize(int64(v), true)
}

func applyRecvBuffer(s *Socket, e tcpip.Endpoint, v int32) {
	s.recvBuffer.Store(v)
	e.SocketOptions().SetReceiveBufferSize(int64(v), true)
}

func applyReuseAddr(_ *Socket, e tcpip.Endpoint, v int32) { e.SocketOptions().SetReuseAddress(v != 0) }
func applyReusePort(_ *Socket, e tcpip.Endpoint, v int32) { e.SocketOptions().SetReusePort(v != 0) }
func applyBroadcast(_ *Socket, e tcpip.Endpoint, v int32) { e.SocketOptions().SetBroadcast(v != 0) }
func applyKeepalive(_ *Socket, e tcpip.Endpoint, v int32) { e.SocketOptions().SetKeepAlive(v != 0) }
func applyNoCheck(_ *Socket, e tcpip.Endpoint, v int32)   { e.SocketOptions().SetNoChecksum(v != 0) }
func applyMark(_ *Socket, e tcpip.Endpoint, v int32)      { e.SocketOptions().SetMark(uint32(v)) }
func applyLowat(s *Socket, _ tcpip.Endpoint, v int32)     { s.lowat.Store(v) }

// checkInterface takes the index of an interface, or 0.
func checkInterface(s *Socket, c vfs.Caller, v int32) (int32, error) {
	if v < 0 {
		return 0, unix.EINVAL
	}
	return v, s.mayBindTo(c, v)
}

// mayBindTo says whether the caller may bind to an interface. That takes a
// privilege only where the socket is bound to one already.
func (s *Socket) mayBindTo(c vfs.Caller, index int32) error {
	if s.ep.Load().SocketOptions().GetBindToDevice() != 0 && !can(c, unix.CAP_NET_RAW) {
		return unix.EPERM
	}
	if index != 0 && !s.net.Stack().HasNIC(tcpip.NICID(index)) {
		return unix.ENODEV
	}
	return nil
}

func applyInterface(_ *Socket, e tcpip.Endpoint, v int32) {
	e.SocketOptions().SetBindToDevice(v) // an interface that has gone meanwhile is refused
}

// socketOption is an option of SOL_SOCKET that is not a number.
func (s *Socket) socketOption(c vfs.Caller, name int32) ([]byte, error) {
	if v, ok := s.TimeoutOption(name); ok {
		return v, nil
	}
	if v, ok := s.StampOption(name); ok {
		return v, nil
	}
	if v, ok := s.FilterOption(name); ok {
		return v, nil
	}
	e := s.ep.Load()
	switch name {
	case unix.SO_LINGER:
		s.optionMu.Lock()
		defer s.optionMu.Unlock()
		return append(int32Bytes(s.linger[0]), int32Bytes(s.linger[1])...), nil
	case unix.SO_BINDTODEVICE:
		index := e.SocketOptions().GetBindToDevice()
		if index == 0 {
			return nil, nil
		}
		return append([]byte(s.net.Stack().FindNICNameFromID(tcpip.NICID(index))), 0), nil
	case unix.SO_PEERCRED:
		return socket.Ucred{UID: ^uint32(0), GID: ^uint32(0)}.Bytes(), nil
	case unix.SO_MAX_PACING_RATE:
		s.optionMu.Lock()
		defer s.optionMu.Unlock()
		return binary.LittleEndian.AppendUint64(nil, s.pacing), nil
	case unix.SO_COOKIE:
		return binary.LittleEndian.AppendUint64(nil, s.ino.Ino()), nil
	case unix.SO_NETNS_COOKIE:
		return binary.LittleEndian.AppendUint64(nil, s.net.Cookie()), nil
	case unix.SO_TXTIME:
		return s.SendTimeOption(), nil
	case unix.SO_RESERVE_MEM:
		return int32Bytes(0), nil
	case unix.SO_MEMINFO:
		return s.memory(e), nil
	case unix.SO_PEERGROUPS, unix.SO_PEERPIDFD:
		return nil, unix.ENODATA
	case unix.SO_PASSCRED, unix.SO_PASSSEC, unix.SO_PASSPIDFD, unix.SO_PASSRIGHTS:
		return nil, unix.EOPNOTSUPP
	case unix.SO_TXREHASH, unix.SO_PEEK_OFF:
		return nil, unix.EOPNOTSUPP
	}
	return nil, unix.ENOPROTOOPT
}

// memory is SO_MEMINFO.
func (s *Socket) memory(e *endpoint) []byte {
	return socket.MemoryInfo(int32(s.queued(e)), shownRecvBuffer(s, s.bufferSet(unix.SO_RCVBUF)), int32(s.unsent(e)),
		shownSendBuffer(s, s.bufferSet(unix.SO_SNDBUF)), int32(s.drops(e)))
}

func (s *Socket) bufferSet(name int32) int32 { return s.value(s.row(unix.SOL_SOCKET, name)) }

// setSocketOption sets an option of SOL_SOCKET that is not a number.
func (s *Socket) setSocketOption(c vfs.Caller, name int32, value []byte) (bool, error) {
	if ok, err := s.SetTimeoutOption(name, value); ok {
		return true, err
	}
	if ok, err := s.setFilter(c, name, value); ok {
		return true, err
	}
	if name == unix.SO_BINDTODEVICE {
		return true, s.bindToDevice(c, value)
	}
	if len(value) < 4 {
		return true, unix.EINVAL
	}
	v := int32(binary.LittleEndian.Uint32(value))
	if ok, err := socket.SetHint(name, v); ok {
		return true, err
	}
	switch name {
	case unix.SO_LINGER:
		if len(value) < 8 {
			return true, unix.EINVAL
		}
		l := [2]int32{truth(v != 0), max(int32(binary.LittleEndian.Uint32(value[4:])), 0)}
		s.optionMu.Lock()
		if s.linger[0] = l[0]; l[0] != 0 {
			s.linger[1] = l[1]
		}
		s.optionMu.Unlock()
		applyLinger(s.ep.Load(), l)
		return true, nil
	case unix.SO_SNDBUFFORCE, unix.SO_RCVBUFFORCE:
		// No privilege goes beyond the maximum here: it bounds the sentry.
		if !can(c, unix.CAP_NET_ADMIN) {
			return true, unix.EPERM
		}
		plain := int32(unix.SO_SNDBUF)
		if name == unix.SO_RCVBUFFORCE {
			plain = unix.SO_RCVBUF
		}
		return true, s.SetOption(c, unix.SOL_SOCKET, plain, int32Bytes(max(v, 0)))
	case unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS, unix.SO_TIMESTAMP_NEW, unix.SO_TIMESTAMPNS_NEW:
		return s.SetStampOption(name, value)
	case unix.SO_TIMESTAMPING, unix.SO_TIMESTAMPING_NEW:
		return true, s.setTimestamping(name, value)
	case unix.SO_MAX_PACING_RATE:
		rate := uint64(uint32(v))
		switch {
		case len(value) >= 8:
			rate = binary.LittleEndian.Uint64(value)
		case v == -1:
			rate = 1<<64 - 1
		}
		s.optionMu.Lock()
		s.pacing = rate
		s.optionMu.Unlock()
		return true, nil
	case unix.SO_TXTIME:
		return true, s.SetSendTime(value, func(capability int) bool { return can(c, capability) })
	case unix.SO_ATTACH_REUSEPORT_CBPF:
		return true, s.attachChooser(c, value)
	case unix.SO_DETACH_REUSEPORT_BPF:
		return true, s.detachChooser()
	case unix.SO_PASSCRED, unix.SO_PASSSEC, unix.SO_PASSPIDFD, unix.SO_PASSRIGHTS:
		return true, unix.EOPNOTSUPP
	case unix.SO_TXREHASH:
		if !s.stream() {
			return true, unix.EOPNOTSUPP
		}
	case unix.SO_PEEK_OFF:
		if s.sort() == ofOthers {
			return true, unix.EOPNOTSUPP
		}
	case unix.SO_RESERVE_MEM:
		if v < 0 {
			return true, unix.EINVAL
		}
		return true, unix.EOPNOTSUPP
	}
	return false, nil
}

// applyLinger is SO_LINGER. Linux takes a negative time for a very long one.
func applyLinger(e tcpip.Endpoint, l [2]int32) {
	e.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: l[0] != 0, Timeout: time.Duration(uint32(l[1])) * time.Second})
}

// bindToDevice is SO_BINDTODEVICE: the name of an interface, or nothing.
func (s *Socket) bindToDevice(c vfs.Caller, value []byte) error {
	name, _, _ := bytes.Cut(value[:min(len(value), unix.IFNAMSIZ-1)], []byte{0})
	index := int32(0)
	if len(name) > 0 {
		for id, nic := range s.net.Stack().NICInfo() {
			if nic.Name == string(name) {
				index = int32(id)
			}
		}
		if index == 0 {
			return unix.ENODEV
		}
	}
	if err := s.mayBindTo(c, index); err != nil {
		return err
	}
	o := s.row(unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	s.setValue(o, index)
	return errno(s.ep.Load().SocketOptions().SetBindToDevice(index))
}
