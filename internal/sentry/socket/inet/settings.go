package inet

import (
	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// settings are the options whose first value a sysctl of the namespace gives.
var settings = []struct {
	sysctl      string
	level, name int32
}{
	{network.KeepaliveTime, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
	{network.KeepaliveInterval, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
	{network.KeepaliveProbes, unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
	{network.BindV6Only, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY},
}

// takeSettings gives a new socket the options that sysctls have changed.
func (s *Socket) takeSettings(ep tcpip.Endpoint) {
	if !s.net.SysctlsChanged() {
		return
	}
	for _, set := range settings {
		s.setInitial(ep, set.level, set.name, int32(s.net.Number(set.sysctl)))
	}
}

// setInitial gives a new socket's option, if it has it, a value that is not as its row says.
func (s *Socket) setInitial(ep tcpip.Endpoint, level, name, v int32) {
	if o := s.row(level, name); o != nil && s.hasLevel(level) && v != o.initial {
		s.setValue(o, v)
		o.apply(s, ep, v)
	}
}
