package network

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// sysctl is a setting below /proc/sys/net that belongs to the namespace as a whole. The
// values are those that Linux starts with, as far as the stack does the same; else
// those that say what the stack does.
type sysctl struct {
	// name is the path below /proc/sys/net.
	name string
	// initial has one number for each column.
	initial  []int64
	min, max int64
	// apply tells the stack; nil for what others ask Number or Range for.
	apply func(s *stack.Stack, v []int64) tcpip.Error
	// fixed settings only say how things are: they take no other value.
	fixed bool
	// check has a further say; of tells of other settings.
	check func(of func(name string) []int64, v []int64) error
}

// The settings that others ask for by name.
const (
	Somaxconn             = "core/somaxconn"
	ReceiveBufferDefault  = "core/rmem_default"
	ReceiveBufferMax      = "core/rmem_max"
	SendBufferDefault     = "core/wmem_default"
	SendBufferMax         = "core/wmem_max"
	LocalPortRange        = "ipv4/ip_local_port_range"
	UnprivilegedPortStart = "ipv4/ip_unprivileged_port_start"
	PingGroupRange        = "ipv4/ping_group_range"
	KeepaliveTime         = "ipv4/tcp_keepalive_time"
	KeepaliveInterval     = "ipv4/tcp_keepalive_intvl"
	KeepaliveProbes       = "ipv4/tcp_keepalive_probes"
	FastOpen              = "ipv4/tcp_fastopen"
	MaxMemberships        = "ipv4/igmp_max_memberships"
	MaxSources4           = "ipv4/igmp_max_msf"
	MaxSources6           = "ipv6/mld_max_msf"
	BindV6Only            = "ipv6/bindv6only"
	congestionControl     = "ipv4/tcp_congestion_control"
	ipForward             = "ipv4/ip_forward"
	nonlocalBind4         = "ipv4/ip_nonlocal_bind"
	nonlocalBind6         = "ipv6/ip_nonlocal_bind"
	autoFlowLabels        = "ipv6/auto_flowlabels"
	maxInt                = 1<<31 - 1
	maxGroup              = 1<<32 - 1
	maxBuffer             = 64 << 20
	// Where the stack has more bytes of fragments than mostFragments, it forgets some until it has fewFragments.
	mostFragments, fewFragments = 4 << 20, 3 << 20
)

// MostSources is how many sources of a multicast group a socket can be let name.
const MostSources = 64

// sysctls is the table, in the order of directory listings.
var sysctls = []sysctl{
	{name: Somaxconn, initial: []int64{4096}, max: maxInt},
	{name: ReceiveBufferDefault, initial: []int64{abi.DefaultSocketBuffer}, min: abi.MinSocketReceiveBuffer, max: maxBuffer},
	{name: ReceiveBufferMax, initial: []int64{abi.DefaultSocketBuffer}, min: abi.MinSocketReceiveBuffer, max: maxBuffer},
	{name: SendBufferDefault, initial: []int64{abi.DefaultSocketBuffer}, min: abi.MinSocketSendBuffer, max: maxBuffer},
	{name: SendBufferMax, initial: []int64{abi.DefaultSocketBuffer}, min: abi.MinSocketSendBuffer, max: maxBuffer},
	{name: "core/optmem_max", initial: []int64{131072}, fixed: true},
	{name: "core/netdev_max_backlog", initial: []int64{maxQueued}, fixed: true},
	{name: "core/busy_poll", initial: []int64{0}, fixed: true},
	{name: "core/busy_read", initial: []int64{0}, fixed: true},
	{name: "core/tstamp_allow_data", initial: []int64{1}, fixed: true},
	{name: "core/txrehash", initial: []int64{0}, fixed: true},

	{name: ipForward, initial: []int64{0}, max: maxInt},
	{name: "ipv4/ip_default_ttl", initial: []int64{64}, min: 1, max: 255, apply: func(s *stack.Stack, v []int64) tcpip.Error {
		ttl := tcpip.DefaultTTLOption(v[0])
		return s.SetNetworkProtocolOption(header.IPv4ProtocolNumber, &ttl)
	}},
	{name: LocalPortRange, initial: []int64{32768, 60999}, min: 1, max: 65535, check: checkPortRange,
		apply: func(s *stack.Stack, v []int64) tcpip.Error { return s.SetPortRange(uint16(v[0]), uint16(v[1])) }},
	{name: UnprivilegedPortStart, initial: []int64{1024}, max: 65535, check: func(of func(string) []int64, v []int64) error {
		if of(LocalPortRange)[0] < v[0] {
			return unix.EINVAL
		}
		return nil
	}},
	{name: PingGroupRange, initial: []int64{1, 0}, max: maxGroup, check: checkPingGroups},
	{name: nonlocalBind4, initial: []int64{0}, max: 1},
	{name: "ipv4/ip_no_pmtu_disc", initial: []int64{0}, fixed: true},
	{name: "ipv4/ip_autobind_reuse", initial: []int64{0}, fixed: true},
	{name: "ipv4/ip_dynaddr", initial: []int64{0}, fixed: true},
	{name: "ipv4/ip_forward_use_pmtu", initial: []int64{0}, fixed: true},
	{name: "ipv4/ipfrag_high_thresh", initial: []int64{mostFragments}, fixed: true},
	{name: "ipv4/ipfrag_low_thresh", initial: []int64{fewFragments}, fixed: true},
	{name: "ipv4/ipfrag_max_dist", initial: []int64{0}, fixed: true},
	{name: "ipv4/ipfrag_time", initial: []int64{int64(ipv4.ReassembleTimeout / time.Second)}, fixed: true},
	{name: "ipv4/route/min_pmtu", initial: []int64{lowestPathMTU}, fixed: true},
	{name: "ipv4/route/mtu_expires", initial: []int64{int64(pathLife / time.Second)}, fixed: true},
	{name: "ipv4/fib_multipath_hash_policy", initial: []int64{0}, fixed: true},
	{name: "ipv4/fib_multipath_use_neigh", initial: []int64{0}, fixed: true},
	{name: "ipv4/fib_notify_on_flag_change", initial: []int64{0}, fixed: true},
	{name: "ipv4/fwmark_reflect", initial: []int64{0}, fixed: true},
	{name: "ipv4/ip_early_demux", initial: []int64{1}, fixed: true},
	{name: "ipv4/icmp_echo_ignore_all", initial: []int64{0}, fixed: true},
	{name: "ipv4/icmp_echo_ignore_broadcasts", initial: []int64{1}, fixed: true},
	{name: "ipv4/icmp_ignore_bogus_error_responses", initial: []int64{1}, fixed: true},
	{name: "ipv4/icmp_echo_enable_probe", initial: []int64{0}, fixed: true},
	{name: "ipv4/icmp_errors_use_inbound_ifaddr", initial: []int64{0}, fixed: true},
	// There is a limit for all messages together (icmp_msgs_per_sec), and none for one address.
	{name: "ipv4/icmp_ratelimit", initial: []int64{0}, fixed: true},
	{name: "ipv4/icmp_ratemask", initial: []int64{6168}, fixed: true},
	{name: "ipv4/icmp_msgs_per_sec", initial: []int64{1000}, min: 1, max: maxInt, apply: func(s *stack.Stack, v []int64) tcpip.Error {
		s.SetICMPLimit(rate.Limit(v[0]))
		return nil
	}},
	{name: "ipv4/icmp_msgs_burst", initial: []int64{50}, min: 1, max: maxInt, apply: func(s *stack.Stack, v []int64) tcpip.Error {
		s.SetICMPBurst(int(v[0]))
		return nil
	}},
	{name: MaxMemberships, initial: []int64{20}, max: 4096},
	{name: MaxSources4, initial: []int64{10}, max: MostSources},
	{name: "ipv4/igmp_link_local_mcast_reports", initial: []int64{1}, fixed: true},
	{name: "ipv4/igmp_qrv", initial: []int64{2}, fixed: true},
	{name: "ipv4/tcp_rmem", initial: []int64{4096, 131072, 6291456}, min: 1, max: maxBuffer, check: ascending,
		apply: func(s *stack.Stack, v []int64) tcpip.Error {
			return setTCP(s, &tcpip.TCPReceiveBufferSizeRangeOption{Min: int(v[0]), Default: int(v[1]), Max: int(v[2])})
		}},
	{name: "ipv4/tcp_wmem", initial: []int64{4096, 16384, 4194304}, min: 1, max: maxBuffer, check: ascending,
		apply: func(s *stack.Stack, v []int64) tcpip.Error {
			return setTCP(s, &tcpip.TCPSendBufferSizeRangeOption{Min: int(v[0]), Default: int(v[1]), Max: int(v[2])})
		}},
	{name: "ipv4/tcp_moderate_rcvbuf", initial: []int64{1}, max: 1, apply: func(s *stack.Stack, v []int64) tcpip.Error {
		on := tcpip.TCPModerateReceiveBufferOption(v[0] != 0)
		return setTCP(s, &on)
	}},
	{name: "ipv4/tcp_sack", initial: []int64{1}, max: 1, apply: func(s *stack.Stack, v []int64) tcpip.Error {
		on := tcpip.TCPSACKEnabled(v[0] != 0)
		return setTCP(s, &on)
	}},
	// Not Linux's 1: with RACK the stack sends again what a burst lost a segment in a round
	// trip at times, and takes a loss probe that was for nothing for a loss (docs/networking.md
	// has numbers).
	{name: "ipv4/tcp_recovery", initial: []int64{0}, max: 7, apply: func(s *stack.Stack, v []int64) tcpip.Error {
		bits := tcpip.TCPRecovery(v[0])
		return setTCP(s, &bits)
	}},
	{name: "ipv4/tcp_fin_timeout", initial: []int64{60}, max: 3600, apply: func(s *stack.Stack, v []int64) tcpip.Error {
		after := tcpip.TCPLingerTimeoutOption(time.Duration(v[0]) * time.Second)
		return setTCP(s, &after)
	}},
	{name: "ipv4/tcp_syn_retries", initial: []int64{6}, min: 1, max: 127, apply: func(s *stack.Stack, v []int64) tcpip.Error {
		times := tcpip.TCPSynRetriesOption(v[0])
		return setTCP(s, &times)
	}},
	{name: "ipv4/tcp_retries2", initial: []int64{15}, max: 255, apply: func(s *stack.Stack, v []int64) tcpip.Error {
		times := tcpip.TCPMaxRetriesOption(v[0])
		return setTCP(s, &times)
	}},
	{name: "ipv4/tcp_tw_reuse", initial: []int64{2}, max: 2, apply: func(s *stack.Stack, v []int64) tcpip.Error {
		when := tcpip.TCPTimeWaitReuseOption(v[0])
		return setTCP(s, &when)
	}},
	{name: "ipv4/tcp_syncookies", initial: []int64{1}, min: 1, max: 2, apply: func(s *stack.Stack, v []int64) tcpip.Error {
		always := tcpip.TCPAlwaysUseSynCookies(v[0] == 2)
		return setTCP(s, &always)
	}},
	{name: KeepaliveTime, initial: []int64{7200}, min: 1, max: 32767},
	{name: KeepaliveInterval, initial: []int64{75}, min: 1, max: 32767},
	{name: KeepaliveProbes, initial: []int64{9}, min: 1, max: 127},
	{name: FastOpen, initial: []int64{1}, max: maxInt},
	{name: "ipv4/tcp_timestamps", initial: []int64{1}, fixed: true},
	{name: "ipv4/tcp_window_scaling", initial: []int64{1}, fixed: true},
	{name: "ipv4/tcp_ecn", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_mtu_probing", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_slow_start_after_idle", initial: []int64{1}, fixed: true},
	{name: "ipv4/tcp_no_metrics_save", initial: []int64{1}, fixed: true},
	{name: "ipv4/tcp_abort_on_overflow", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_rfc1337", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_adv_win_scale", initial: []int64{1}, fixed: true},
	{name: "ipv4/tcp_max_syn_backlog", initial: []int64{4096}, fixed: true},
	{name: "ipv4/tcp_synack_retries", initial: []int64{5}, fixed: true},
	{name: "ipv4/tcp_notsent_lowat", initial: []int64{1<<32 - 1}, fixed: true},
	{name: "ipv4/tcp_rto_min_us", initial: []int64{int64(tcp.MinRTO / time.Microsecond)}, fixed: true},
	{name: "ipv4/tcp_rto_max_ms", initial: []int64{int64(tcp.MaxRTO / time.Millisecond)}, fixed: true},
	{name: "ipv4/tcp_autocorking", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_dsack", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_early_demux", initial: []int64{1}, fixed: true},
	{name: "ipv4/tcp_fack", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_fwmark_accept", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_migrate_req", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_no_ssthresh_metrics_save", initial: []int64{1}, fixed: true},
	{name: "ipv4/tcp_plb_enabled", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_reflect_tos", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_reordering", initial: []int64{3}, fixed: true},
	{name: "ipv4/tcp_shrink_window", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_stdurg", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_syn_linear_timeouts", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_thin_linear_timeouts", initial: []int64{0}, fixed: true},
	{name: "ipv4/tcp_workaround_signed_windows", initial: []int64{0}, fixed: true},
	{name: "ipv4/udp_early_demux", initial: []int64{1}, fixed: true},
	{name: "ipv4/udp_rmem_min", initial: []int64{4096}, fixed: true},
	{name: "ipv4/udp_wmem_min", initial: []int64{4096}, fixed: true},

	{name: BindV6Only, initial: []int64{0}, max: 1},
	{name: MaxSources6, initial: []int64{64}, max: MostSources},
	{name: nonlocalBind6, initial: []int64{0}, max: 1},
	{name: autoFlowLabels, initial: []int64{labelUnlessRefused}, max: labelAll},
	{name: "ipv6/flowlabel_consistency", initial: []int64{1}, fixed: true},
	{name: "ipv6/flowlabel_reflect", initial: []int64{0}, fixed: true},
	{name: "ipv6/flowlabel_state_ranges", initial: []int64{0}, fixed: true},
	{name: "ipv6/anycast_src_echo_reply", initial: []int64{0}, fixed: true},
	{name: "ipv6/fib_multipath_hash_policy", initial: []int64{0}, fixed: true},
	{name: "ipv6/fib_notify_on_flag_change", initial: []int64{0}, fixed: true},
	{name: "ipv6/fwmark_reflect", initial: []int64{0}, fixed: true},
	{name: "ipv6/icmp/echo_ignore_all", initial: []int64{0}, fixed: true},
	{name: "ipv6/icmp/echo_ignore_anycast", initial: []int64{0}, fixed: true},
	{name: "ipv6/icmp/echo_ignore_multicast", initial: []int64{0}, fixed: true},
	{name: "ipv6/icmp/error_anycast_as_unicast", initial: []int64{0}, fixed: true},
	{name: "ipv6/icmp/ratelimit", initial: []int64{0}, fixed: true},
	{name: "ipv6/ip6frag_high_thresh", initial: []int64{mostFragments}, fixed: true},
	{name: "ipv6/ip6frag_low_thresh", initial: []int64{fewFragments}, fixed: true},
	{name: "ipv6/ip6frag_time", initial: []int64{int64(ipv6.ReassembleTimeout / time.Second)}, fixed: true},
	{name: "ipv6/route/mtu_expires", initial: []int64{int64(pathLife / time.Second)}, fixed: true},
}

// congestionControls are the algorithms of the stack; the first is the default. It is not
// Linux's, cubic: the stack's one rounds its window down at each acknowledgement, so that
// it hardly grows after a loss on a long way (docs/networking.md has numbers).
var congestionControls = []string{"reno", "cubic"}

// SysctlNames are the names of all settings of a namespace as a whole, as paths below
// /proc/sys/net; LinkSysctlNames are those that there are for each interface.
func SysctlNames() []string {
	names := []string{congestionControl, availableCongestionControl, allowedCongestionControl, reservedPorts, flushRoutes4, flushRoutes6}
	for _, s := range sysctls {
		names = append(names, s.name)
	}
	return names
}

const (
	// reservedPorts would be ports that are given to nobody who asks for any. The stack
	// knows none, so the list stays empty.
	reservedPorts              = "ipv4/ip_local_reserved_ports"
	availableCongestionControl = "ipv4/tcp_available_congestion_control"
	allowedCongestionControl   = "ipv4/tcp_allowed_congestion_control"
	// What is written there, whatever it is, has what was learned of paths forgotten.
	flushRoutes4 = "ipv4/route/flush"
	flushRoutes6 = "ipv6/route/flush"
)

// WriteOnly reports whether a setting does something, and has no value.
func WriteOnly(name string) bool { return name == flushRoutes4 || name == flushRoutes6 }

func findSysctl(name string) *sysctl {
	i := slices.IndexFunc(sysctls, func(s sysctl) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return &sysctls[i]
}

// Number is the value of a setting that has one, by a constant of this package. Range
// is that of one with two.
func (n *Namespace) Number(name string) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.numbers(name)[0]
}

func (n *Namespace) Range(name string) (first, last int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v := n.numbers(name)
	return v[0], v[1]
}

// SysctlsChanged reports whether any setting is not as at first.
func (n *Namespace) SysctlsChanged() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.changed) > 0
}

// numbers are a setting's present values. n.mu is held, here and below.
func (n *Namespace) numbers(name string) []int64 {
	if v, ok := n.changed[name]; ok {
		return v
	}
	if v, ok := openToAll[name]; ok && n.openToAll {
		return v
	}
	return findSysctl(name).initial
}

// openToAll are the settings that Docker changes in a container's network.
var openToAll = map[string][]int64{UnprivilegedPortStart: {0}, PingGroupRange: {0, maxInt}}

// OpenToAll has settings begin as Docker has them in containers, where a port is nobody's
// before: every user may listen on every port, and send echo requests.
func (n *Namespace) OpenToAll() {
	n.mu.Lock()
	n.openToAll = true
	n.mu.Unlock()
}

// Sysctl is the text of a setting, without a newline. ENOENT if there is none.
func (n *Namespace) Sysctl(name string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch name {
	case congestionControl:
		return congestionControls[n.congestion], nil
	case availableCongestionControl, allowedCongestionControl:
		return strings.Join(congestionControls, " "), nil
	case reservedPorts:
		return "", nil
	case flushRoutes4, flushRoutes6:
		return "", unix.EINVAL
	}
	if findSysctl(name) != nil {
		return joinNumbers(n.numbers(name)), nil
	}
	return n.linkSysctl(name)
}

// SetSysctl changes a setting. EINVAL for a value that it does not take, ENOENT if
// there is no such setting, EPERM for one that only tells something.
func (n *Namespace) SetSysctl(name, value string) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	switch name {
	case congestionControl:
		i := slices.Index(congestionControls, strings.TrimSpace(value))
		if i < 0 {
			return unix.ENOENT
		}
		n.congestion = i
		if n.stack != nil {
			n.applyCongestionControl()
		}
		return nil
	case availableCongestionControl, allowedCongestionControl:
		return unix.EPERM
	case reservedPorts:
		if strings.TrimSpace(value) != "" {
			return unix.EINVAL
		}
		return nil
	case flushRoutes4, flushRoutes6:
		n.paths.forget()
		return nil
	}
	s := findSysctl(name)
	if s == nil {
		return n.setLinkSysctl(name, value)
	}
	v, err := splitNumbers(value, len(s.initial))
	if err != nil {
		return err
	}
	// As on Linux fewer numbers leave the others as they are.
	v = append(v, n.numbers(name)[len(v):]...)
	if s.fixed {
		if !slices.Equal(v, s.initial) {
			return unix.EINVAL
		}
		return nil
	}
	for _, x := range v {
		if x < s.min || x > s.max {
			return unix.EINVAL
		}
	}
	if s.check != nil {
		if err := s.check(n.numbers, v); err != nil {
			return err
		}
	}
	if n.stack != nil && s.apply != nil && s.apply(n.stack, v) != nil {
		return unix.EINVAL
	}
	if n.changed == nil {
		n.changed = map[string][]int64{}
	}
	n.changed[name] = v
	n.changes.Add(1)
	switch name {
	case ipForward:
		n.forwardAll(0, v[0] != 0)
	case autoFlowLabels:
		n.labels.mode.Store(v[0])
	}
	return nil
}

// applySysctls tells a new stack of all settings.
func (n *Namespace) applySysctls() {
	for i := range sysctls {
		if s := &sysctls[i]; s.apply != nil {
			must(s.apply(n.stack, n.numbers(s.name)))
		}
	}
	n.applyCongestionControl()
}

func (n *Namespace) applyCongestionControl() {
	name := tcpip.CongestionControlOption(congestionControls[n.congestion])
	must(setTCP(n.stack, &name))
}

func setTCP(s *stack.Stack, o tcpip.SettableTransportProtocolOption) tcpip.Error {
	return s.SetTransportProtocolOption(tcp.ProtocolNumber, o)
}

// checkPortRange holds the range of automatic ports together, and out of those that take
// a privilege.
func checkPortRange(of func(string) []int64, v []int64) error {
	if v[0] > v[1] || v[0] < of(UnprivilegedPortStart)[0] {
		return unix.EINVAL
	}
	return nil
}

// checkPingGroups makes a range that ends before it begins the empty one, as Linux does.
func checkPingGroups(_ func(string) []int64, v []int64) error {
	if v[0] > v[1] {
		v[0], v[1] = 1, 0
	}
	return nil
}

func ascending(_ func(string) []int64, v []int64) error {
	if !slices.IsSorted(v) {
		return unix.EINVAL
	}
	return nil
}

// joinNumbers and splitNumbers are a setting's text. EINVAL for what is not one to
// most whole numbers.
func joinNumbers(v []int64) string {
	var b []byte
	for i, x := range v {
		if i > 0 {
			b = append(b, '\t')
		}
		b = strconv.AppendInt(b, x, 10)
	}
	return string(b)
}

func splitNumbers(text string, most int) ([]int64, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 || len(fields) > most {
		return nil, unix.EINVAL
	}
	v := make([]int64, len(fields))
	for i, f := range fields {
		x, err := strconv.ParseInt(f, 0, 64)
		if err != nil {
			return nil, unix.EINVAL
		}
		v[i] = x
	}
	return v, nil
}
