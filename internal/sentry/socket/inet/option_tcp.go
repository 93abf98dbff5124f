package inet

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	// maxSeconds and maxProbes bound the options of keepalives (tcp(7)).
	maxSeconds = 32767
	maxProbes  = 127
	// linger2 is how long FIN_WAIT2 lasts, at most too (tcp_fin_timeout), in seconds.
	linger2, maxLinger2 = 60, 120
	// The size that segments have without an agreement, and the bounds of TCP_MAXSEG.
	defaultMSS, minMSS, maxMSS = 536, 88, 32767
	// leastClamp is the smallest window that TCP_WINDOW_CLAMP sets.
	leastClamp = abi.MinSocketReceiveBuffer / 2
	// timestampSize is what each segment of a connection has timestamps in.
	timestampSize = 12
	// maxRetransmit is the longest time between two attempts, in seconds.
	maxRetransmit = 120
	// sizeofMD5 and sizeofRepair are those of struct tcp_md5sig and tcp_repair_window.
	sizeofMD5 = 216
	// congestionName is TCP_CA_NAME_MAX.
	congestionName = 16
	// Options that x/sys does not have (linux/tcp.h).
	tcpIsMPTCP     = 43
	tcpRTOMaxMS    = 44
	tcpRTOMinUS    = 45
	tcpDelAckMaxUS = 46
	// maxDelay is the longest TCP_TX_DELAY, in microseconds.
	maxDelay = 1<<28 - 1
	// jiffy is what times are rounded up to, in milliseconds, where the kernel's ticks come 250 times a second.
	jiffy = 4
)

var tcpOptions = []option{
	{level: unix.IPPROTO_TCP, name: unix.TCP_NODELAY, of: ofTCP, check: boolean, apply: applyNoDelay},
	{level: unix.IPPROTO_TCP, name: unix.TCP_MAXSEG, of: ofTCP, check: checkMaxSeg, apply: applyMaxSeg, shown: shownMaxSeg},
	{level: unix.IPPROTO_TCP, name: unix.TCP_CORK, of: ofTCP, check: boolean, apply: applyCork},
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPIDLE, of: ofTCP, initial: 7200, check: between(1, maxSeconds), apply: applyKeepIdle},
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPINTVL, of: ofTCP, initial: 75, check: between(1, maxSeconds), apply: applyKeepInterval},
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPCNT, of: ofTCP, initial: 9, check: between(1, maxProbes), apply: applyKeepCount},
	{level: unix.IPPROTO_TCP, name: unix.TCP_SYNCNT, of: ofTCP, initial: 6, check: between(1, maxProbes), apply: applySynCount},
	{level: unix.IPPROTO_TCP, name: unix.TCP_LINGER2, of: ofTCP, initial: linger2, check: checkLinger2, apply: applyLinger2},
	{level: unix.IPPROTO_TCP, name: unix.TCP_DEFER_ACCEPT, of: ofTCP, check: checkDefer, apply: applyDefer},
	{level: unix.IPPROTO_TCP, name: unix.TCP_WINDOW_CLAMP, of: ofTCP, check: checkClamp, apply: applyClamp, shown: shownClamp},
	{level: unix.IPPROTO_TCP, name: unix.TCP_QUICKACK, of: ofTCP, initial: 1, check: boolean, apply: applyQuickAck},
	{level: unix.IPPROTO_TCP, name: unix.TCP_THIN_LINEAR_TIMEOUTS, of: ofTCP, check: strict},
	{level: unix.IPPROTO_TCP, name: unix.TCP_THIN_DUPACK, of: ofTCP, check: strict, shown: func(*Socket, int32) int32 { return 0 }},
	{level: unix.IPPROTO_TCP, name: unix.TCP_USER_TIMEOUT, of: ofTCP, check: natural, apply: applyUserTimeout},
	{level: unix.IPPROTO_TCP, name: unix.TCP_FASTOPEN, of: ofTCP, check: checkFastOpen},
	{level: unix.IPPROTO_TCP, name: unix.TCP_FASTOPEN_CONNECT, of: ofTCP, check: checkFastOpenConnect},
	{level: unix.IPPROTO_TCP, name: unix.TCP_FASTOPEN_NO_COOKIE, of: ofTCP, check: checkNoCookie},
	{level: unix.IPPROTO_TCP, name: unix.TCP_NOTSENT_LOWAT, of: ofTCP, check: anything},
	{level: unix.IPPROTO_TCP, name: unix.TCP_SAVE_SYN, of: ofTCP, check: between(0, saveFromLink), apply: applySaveSYN},
	{level: unix.IPPROTO_TCP, name: unix.TCP_INQ, of: ofTCP, check: strict, apply: reports(reportInq)},
	{level: unix.IPPROTO_TCP, name: unix.TCP_TIMESTAMP, of: ofTCP, check: unrepaired, shown: shownClock},
	{level: unix.IPPROTO_TCP, name: unix.TCP_REPAIR, of: ofTCP, check: unrepaired},
	{level: unix.IPPROTO_TCP, name: tcpIsMPTCP, of: ofTCP, check: readOnly},
	// Linux delays nothing either where there is no queueing discipline fq.
	{level: unix.IPPROTO_TCP, name: unix.TCP_TX_DELAY, of: ofTCP, check: between(0, maxDelay)},
	{level: unix.IPPROTO_TCP, name: tcpRTOMaxMS, of: ofTCP, initial: maxRetransmit * 1000, check: checkRTOMax},
	{level: unix.IPPROTO_TCP, name: tcpRTOMinUS, of: ofTCP, initial: 200_000, check: checkShortTime},
	{level: unix.IPPROTO_TCP, name: tcpDelAckMaxUS, of: ofTCP, initial: 200_000, check: checkShortTime},
}

var udpOptions = []option{
	{level: unix.IPPROTO_UDP, name: unix.UDP_CORK, of: ofUDP, check: boolean},
	{level: unix.IPPROTO_UDP, name: unix.UDP_ENCAP, of: ofUDP, check: checkEncap},
	{level: unix.IPPROTO_UDP, name: unix.UDP_NO_CHECK6_TX, of: ofUDP, check: boolean},
	{level: unix.IPPROTO_UDP, name: unix.UDP_NO_CHECK6_RX, of: ofUDP, check: boolean},
	{level: unix.IPPROTO_UDP, name: unix.UDP_SEGMENT, of: ofUDP, check: between(0, 65535), apply: applySegment},
	// Datagrams that have not been put together are no lie: the receiver looks for
	// the control message that says so.
	{level: unix.IPPROTO_UDP, name: unix.UDP_GRO, of: ofUDP, check: boolean},
}

// checkRTOMax takes milliseconds.
func checkRTOMax(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v < 1000 || v > maxRetransmit*1000 {
		return 0, unix.EINVAL
	}
	return (v + jiffy - 1) / jiffy * jiffy, nil
}

// checkShortTime takes microseconds, more than a jiffy and at most 200 ms.
func checkShortTime(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	const tick = jiffy * 1000
	if v <= tick || v > 200_000 {
		return 0, unix.EINVAL
	}
	return (v + tick - 1) / tick * tick, nil
}

func applyNoDelay(_ *Socket, e tcpip.Endpoint, v int32) { e.SocketOptions().SetDelayOption(v == 0) }

func applyCork(s *Socket, e tcpip.Endpoint, v int32) {
	s.cork.Store(v != 0)
	e.SocketOptions().SetCorkOption(v != 0)
}

func applyQuickAck(_ *Socket, e tcpip.Endpoint, v int32) { e.SocketOptions().SetQuickAck(v != 0) }

func checkMaxSeg(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v != 0 && (v < minMSS || v > maxMSS) {
		return 0, unix.EINVAL
	}
	return v, nil
}

func applyMaxSeg(_ *Socket, e tcpip.Endpoint, v int32) {
	if v != 0 {
		e.SetSockOptInt(tcpip.MaxSegOption, int(v))
	}
}

// shownMaxSeg is the size of segments: of a connection what its interface lets
// through, otherwise what was asked for.
func shownMaxSeg(s *Socket, v int32) int32 {
	if s.connected() {
		if mtu := s.mtu(); mtu > 0 {
			network := int32(header.IPv4MinimumSize)
			if peer, err := s.ep.Load().GetRemoteAddress(); err == nil && peer.Addr.Len() == 16 {
				network = header.IPv6MinimumSize
			}
			mss := mtu - network - header.TCPMinimumSize - timestampSize
			if v != 0 {
				mss = min(mss, v-timestampSize)
			}
			return mss
		}
	}
	if v != 0 {
		return v
	}
	return defaultMSS
}

func applyKeepIdle(_ *Socket, e tcpip.Endpoint, v int32) {
	o := tcpip.KeepaliveIdleOption(time.Duration(v) * time.Second)
	e.SetSockOpt(&o)
}

func applyKeepInterval(_ *Socket, e tcpip.Endpoint, v int32) {
	o := tcpip.KeepaliveIntervalOption(time.Duration(v) * time.Second)
	e.SetSockOpt(&o)
}

func applyKeepCount(_ *Socket, e tcpip.Endpoint, v int32) {
	e.SetSockOptInt(tcpip.KeepaliveCountOption, int(v))
}

func applySynCount(_ *Socket, e tcpip.Endpoint, v int32) {
	e.SetSockOptInt(tcpip.TCPSynCountOption, int(v))
}

func checkLinger2(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	switch {
	case v < 0:
		return -1, nil
	case v == 0:
		return linger2, nil
	}
	return min(v, maxLinger2), nil
}

func applyLinger2(_ *Socket, e tcpip.Endpoint, v int32) {
	o := tcpip.TCPLingerTimeoutOption(time.Duration(v) * time.Second)
	e.SetSockOpt(&o)
}

// checkDefer rounds a time up, in seconds, to what a whole number of attempts
// takes, each after twice the time of the one before.
func checkDefer(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v <= 0 {
		return 0, nil
	}
	const maxAttempts = 255
	period, timeout := int32(1), int32(1)
	for attempts := 1; v > period && attempts < maxAttempts; attempts++ {
		timeout = min(2*timeout, maxRetransmit)
		period += timeout
	}
	return period, nil
}

func applyDefer(_ *Socket, e tcpip.Endpoint, v int32) {
	o := tcpip.TCPDeferAcceptOption(time.Duration(v) * time.Second)
	e.SetSockOpt(&o)
}

func checkClamp(s *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v == 0 {
		if s.connected() || s.ep.Load().state() == tcp.StateListen {
			return 0, unix.EINVAL
		}
		return 0, nil
	}
	return max(v, leastClamp), nil
}

func applyClamp(_ *Socket, e tcpip.Endpoint, v int32) {
	e.SetSockOptInt(tcpip.TCPWindowClampOption, int(v))
}

// shownClamp is what bounds the window: of a connection half of the receive buffer, if nothing else was asked for.
func shownClamp(s *Socket, v int32) int32 {
	if v == 0 && s.connected() {
		return shownRecvBuffer(s, s.recvBuffer.Load()) / 2
	}
	return v
}

func applyUserTimeout(_ *Socket, e tcpip.Endpoint, v int32) {
	o := tcpip.TCPUserTimeoutOption(time.Duration(v) * time.Millisecond)
	e.SetSockOpt(&o)
}

// unrepaired refuses what only takes part in moving connections to other hosts
// (TCP_REPAIR).
func unrepaired(*Socket, vfs.Caller, int32) (int32, error) { return 0, unix.EPERM }

// shownClock is TCP_TIMESTAMP: milliseconds.
func shownClock(s *Socket, _ int32) int32 {
	return int32(s.net.Stack().Clock().NowMonotonic().Sub(tcpip.MonotonicTime{}).Milliseconds())
}

// setCork is UDP_CORK. It is no option's apply: what has grown is sent when the program says so, not when the endpoint
// is replaced.
func (s *Socket) setCork(value []byte) error {
	v, ok := number32(unix.IPPROTO_UDP, value)
	if !ok {
		return unix.EINVAL
	}
	s.setValue(s.row(unix.IPPROTO_UDP, unix.UDP_CORK), truth(v != 0))
	if s.cork.Store(v != 0); v == 0 {
		s.uncork()
	}
	return nil
}

// uncork sends the datagram that UDP_CORK let grow. What becomes of it nobody is
// told, as on Linux.
func (s *Socket) uncork() {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if s.corked != nil {
		s.flush(nil, s.ep.Load(), nil, tcpip.WriteOptions{})
	}
}

func checkEncap(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v != 0 {
		return 0, unix.ENOPROTOOPT // what IPsec needs is not there
	}
	return 0, nil
}

func applySegment(s *Socket, _ tcpip.Endpoint, v int32) { s.segment.Store(v) }

// tcpOption is an option of TCP that is not a number.
func (s *Socket) tcpOption(name int32) ([]byte, error) {
	switch name {
	case unix.TCP_INFO:
		return s.tcpInfo(), nil
	case unix.TCP_CONGESTION:
		var v tcpip.CongestionControlOption
		if err := s.ep.Load().GetSockOpt(&v); err != nil {
			return nil, errno(err)
		}
		return append([]byte(v), make([]byte, max(congestionName-len(v), 0))...), nil
	case unix.TCP_ULP, unix.TCP_CC_INFO:
		return nil, nil
	case unix.TCP_FASTOPEN_KEY:
		s.optionMu.Lock()
		defer s.optionMu.Unlock()
		return s.fastOpenKey, nil
	case unix.TCP_REPAIR_QUEUE, unix.TCP_QUEUE_SEQ, unix.TCP_REPAIR_WINDOW:
		return nil, unix.EINVAL
	}
	return nil, unix.ENOPROTOOPT
}

// setTCPOption sets an option of TCP that is not a number.
func (s *Socket) setTCPOption(c vfs.Caller, name int32, value []byte) (bool, error) {
	switch name {
	case unix.TCP_MAXSEG:
		if v, ok := number32(unix.IPPROTO_TCP, value); ok && s.connected() {
			_, err := checkMaxSeg(s, c, v)
			return true, err // the segments of a connection stay as they are
		}
	case unix.TCP_SAVE_SYN:
		return true, s.setSaveSYN(c, value)
	case unix.TCP_CONGESTION:
		return true, s.setCongestion(value)
	case unix.TCP_ULP:
		if len(value) == 0 {
			return true, unix.EINVAL
		}
		return true, unix.ENOENT // no protocol goes above TCP here, kernel TLS for one
	case unix.TCP_MD5SIG, unix.TCP_MD5SIG_EXT:
		if len(value) < sizeofMD5 {
			return true, unix.EINVAL
		}
		return true, unix.ENOPROTOOPT // the stack does not sign segments
	case unix.TCP_REPAIR_QUEUE, unix.TCP_REPAIR_WINDOW:
		if len(value) < 4 {
			return true, unix.EINVAL
		}
		return true, unix.EPERM
	case unix.TCP_QUEUE_SEQ:
		if len(value) >= 4 && (s.connected() || s.ep.Load().state() == tcp.StateListen) {
			return true, unix.EPERM
		}
		return true, unix.EINVAL
	case unix.TCP_REPAIR_OPTIONS:
		return true, unix.EINVAL
	case unix.TCP_FASTOPEN_KEY:
		return true, s.setFastOpenKey(value)
	}
	return false, nil
}

// setCongestion is TCP_CONGESTION: ENOENT for a name that the stack does not have.
func (s *Socket) setCongestion(value []byte) error {
	if len(value) == 0 {
		return unix.EINVAL
	}
	name, _, _ := bytes.Cut(value[:min(len(value), congestionName-1)], []byte{0})
	v := tcpip.CongestionControlOption(strings.Clone(string(name)))
	if err := s.ep.Load().SetSockOpt(&v); err != nil {
		return errno(err)
	}
	s.optionMu.Lock()
	s.congestion = string(v)
	s.optionMu.Unlock()
	return nil
}

// sizeofTCPInfo is that of struct tcp_info, of which the stack knows the beginning.
const sizeofTCPInfo = 232

// tcpInfo is struct tcp_info.
func (s *Socket) tcpInfo() []byte {
	e := s.ep.Load()
	info, sent, received := e.info()
	b := make([]byte, sizeofTCPInfo)
	le := binary.LittleEndian
	if b[0] = linuxState(tcp.EndpointState(info.State)); b[0] == uint8(tcp.StateTimeWait) {
		b[0] = uint8(tcp.StateClose) // on Linux the socket is no part of the connection any more
	}
	switch info.CcState {
	case tcpip.RTORecovery:
		b[1] = 4 // TCP_CA_Loss
	case tcpip.FastRecovery, tcpip.SACKRecovery:
		b[1] = 3 // TCP_CA_Recovery
	case tcpip.Disorder:
		b[1] = 1 // TCP_CA_Disorder
	}
	const timestamps, sack, windowScale = 1, 2, 4
	if s.connected() {
		b[5] = timestamps | sack | windowScale
	}
	mss := uint32(shownMaxSeg(s, s.value(s.row(unix.IPPROTO_TCP, unix.TCP_MAXSEG))))
	rto := info.RTO
	if rto == 0 {
		rto = time.Second
	}
	le.PutUint32(b[8:], uint32(rto.Microseconds()))
	le.PutUint32(b[16:], mss) // tcpi_snd_mss, tcpi_rcv_mss
	le.PutUint32(b[20:], mss)
	if e.state() == tcp.StateListen {
		le.PutUint32(b[24:], s.waiting(e))             // tcpi_unacked has how many wait to be accepted
		le.PutUint32(b[28:], uint32(s.backlog.Load())) // tcpi_sacked has the backlog's room
	}
	le.PutUint32(b[60:], uint32(s.mtu())) // tcpi_pmtu
	le.PutUint32(b[64:], uint32(s.ep.Load().SocketOptions().GetReceiveBufferSize()))
	le.PutUint32(b[68:], uint32(info.RTT.Microseconds()))
	le.PutUint32(b[72:], uint32(info.RTTVar.Microseconds()))
	threshold := info.SndSsthresh
	if threshold == 0 {
		threshold = 1<<31 - 1
	}
	cwnd := info.SndCwnd
	if cwnd == 0 {
		cwnd = 10
	}
	le.PutUint32(b[76:], threshold)
	le.PutUint32(b[80:], cwnd)
	le.PutUint32(b[84:], mss) // tcpi_advmss
	le.PutUint32(b[88:], 3)   // tcpi_reordering
	s.optionMu.Lock()
	le.PutUint64(b[104:], ^uint64(0)) // tcpi_pacing_rate
	le.PutUint64(b[112:], s.pacing)   // tcpi_max_pacing_rate
	s.optionMu.Unlock()
	if n := s.end.Load(); n != nil {
		out, in := n.bytes()
		le.PutUint64(b[128:], uint64(in))  // tcpi_bytes_received
		le.PutUint64(b[200:], uint64(out)) // tcpi_bytes_sent
		if n.side == caller {
			out++ // its SYN
		}
		le.PutUint64(b[120:], uint64(out)) // tcpi_bytes_acked
	}
	le.PutUint32(b[136:], uint32(sent))
	le.PutUint32(b[140:], uint32(received))
	return b
}

// linuxState is a state as Linux numbers them (TCP_ESTABLISHED and so on), which the stack does
// too but for those it has of its own.
func linuxState(state tcp.EndpointState) uint8 {
	if state == 0 || state > tcp.StateClosing {
		return uint8(tcp.StateClose)
	}
	return uint8(state)
}
