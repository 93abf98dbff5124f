package syscalls

import (
	"net/netip"
	"strconv"

	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
)

// appendSockaddr renders a socket address of n bytes.
func (g *guestView) appendSockaddr(b []byte, mem *[]byte, addr, n uint64) []byte {
	const maxSockaddr = 128 // sizeof(struct sockaddr_storage)
	want := int(min(n, maxSockaddr))
	s := g.read(mem, addr, want)
	if len(s) < want || len(s) < 2 {
		return appendPtr(b, addr)
	}
	family := native.Uint16(s)
	switch {
	case family == unix.AF_UNIX:
		b = append(b, "{sa_family=AF_UNIX, sun_path="...)
		path := s[2:]
		if len(path) > 0 && path[0] == 0 {
			b = append(b, '@')
			path = path[1:]
		} else {
			for i, c := range path {
				if c == 0 {
					path = path[:i]
					break
				}
			}
		}
		return append(appendQuoted(b, path, false), '}')
	case family == unix.AF_INET && len(s) >= 8:
		ip := netip.AddrFrom4([4]byte(s[4:8]))
		return appendInet(b, "AF_INET", ip, s[2:4])
	case family == unix.AF_INET6 && len(s) >= 24:
		ip := netip.AddrFrom16([16]byte(s[8:24]))
		return appendInet(b, "AF_INET6", ip, s[2:4])
	}
	b = append(b, "{sa_family="...)
	b = strconv.AppendUint(b, uint64(family), 10)
	b = append(b, ", sa_data="...)
	return append(appendQuoted(b, s[2:], false), '}')
}

func appendInet(b []byte, family string, ip netip.Addr, port []byte) []byte {
	b = append(append(b, "{sa_family="...), family...)
	b = append(b, ", addr="...)
	b = netip.AddrPortFrom(ip, uint16(port[0])<<8|uint16(port[1])).AppendTo(b)
	return append(b, '}')
}

// appendOption renders the value of a socket option: an int, as most are, or
// its bytes.
func (g *guestView) appendOption(b []byte, mem *[]byte, addr, n uint64) []byte {
	if n != 4 {
		return g.appendBuffer(b, mem, addr, n)
	}
	s := g.read(mem, addr, 4)
	if len(s) < 4 {
		return appendPtr(b, addr)
	}
	return appendInt(b, s)
}

// appendMsghdr renders struct msghdr as sendmsg(2) takes it.
func (g *guestView) appendMsghdr(b []byte, mem *[]byte, addr, _ uint64) []byte {
	return g.appendMessage(b, mem, addr, maxRW)
}

// appendOutMsghdr renders struct msghdr as recvmsg(2) left it.
func (g *guestView) appendOutMsghdr(b []byte, mem *[]byte, addr, _ uint64) []byte {
	return g.appendMessage(b, mem, addr, uint64(g.result))
}

// appendMmsghdrs renders the n messages that sendmmsg(2) is to send.
func (g *guestView) appendMmsghdrs(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendMessages(b, mem, addr, uint64(uint32(n)))
}

// appendOutMmsghdrs renders the n messages that recvmmsg(2) received.
func (g *guestView) appendOutMmsghdrs(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendMessages(b, mem, addr, n)
}

// appendMessages renders n struct mmsghdr; after the call with their lengths.
func (g *guestView) appendMessages(b []byte, mem *[]byte, addr, n uint64) []byte {
	at := addr
	return g.appendArray(b, mem, addr, n, sizeofMmsghdr, func(b, s []byte) []byte {
		length, bytes := native.Uint32(s[sizeofMsghdr:]), uint64(maxRW)
		if g.returned {
			bytes = uint64(length)
		}
		b = append(b, "{msg_hdr="...)
		b = g.appendMessage(b, mem, at, bytes)
		if g.returned {
			b = append(b, ", msg_len="...)
			b = strconv.AppendUint(b, uint64(length), 10)
		}
		at += sizeofMmsghdr
		return append(b, '}')
	})
}

// appendMessage renders struct msghdr, but for parts that are not there, with
// so many bytes of what it points to.
func (g *guestView) appendMessage(b []byte, mem *[]byte, addr, bytes uint64) []byte {
	s := g.read(mem, addr, sizeofMsghdr)
	if len(s) < sizeofMsghdr {
		return appendPtr(b, addr)
	}
	name, nameLen := native.Uint64(s), native.Uint32(s[8:])
	iov, iovLen := native.Uint64(s[16:]), native.Uint64(s[24:])
	control, controlLen := native.Uint64(s[32:]), native.Uint64(s[40:])
	flags := native.Uint32(s[48:])
	b = append(b, '{')
	if name != 0 && nameLen != 0 {
		b = append(b, "msg_name="...)
		b = g.appendSockaddr(b, mem, name, uint64(nameLen))
		b = append(b, ", "...)
	}
	b = append(b, "msg_iov="...)
	b = g.appendVector(b, mem, iov, iovLen, bytes)
	if control != 0 && controlLen != 0 {
		b = append(b, ", msg_control="...)
		b = g.appendControl(b, mem, control, controlLen)
	}
	if g.returned && flags != 0 {
		b = append(b, ", msg_flags="...)
		b = msgFlags.append(b, uint64(flags), true)
	}
	return append(b, '}')
}

// controlTypes are the types of control messages of level SOL_SOCKET.
var controlTypes = &FlagSet{Names: []FlagName{
	{unix.SCM_RIGHTS, "SCM_RIGHTS"}, {unix.SCM_CREDENTIALS, "SCM_CREDENTIALS"}, {scmPIDFD, "SCM_PIDFD"}, {unix.SO_TIMESTAMP, "SO_TIMESTAMP"},
}}

// appendControl renders n bytes of control messages; an address if they are
// more than a full SCM_RIGHTS message and credentials take, or malformed.
func (g *guestView) appendControl(b []byte, mem *[]byte, addr, n uint64) []byte {
	const most = 2048
	want := int(min(n, most))
	s := g.read(mem, addr, want)
	list, err := socket.ParseControl(s)
	if len(s) < want || n > most || err != nil {
		return appendPtr(b, addr)
	}
	b = append(b, '[')
	for i, c := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		if i == maxTraceVec {
			b = append(b, "..."...)
			break
		}
		b = append(b, "{cmsg_level="...)
		b = socketLevels.append(b, uint64(uint32(c.Level)), false)
		b = append(b, ", cmsg_type="...)
		if c.Level == unix.SOL_SOCKET {
			b = controlTypes.append(b, uint64(uint32(c.Type)), false)
		} else {
			b = strconv.AppendInt(b, int64(c.Type), 10)
		}
		b = append(b, ", cmsg_data="...)
		b = append(g.appendControlData(b, c), '}')
	}
	return append(b, ']')
}

// appendControlData renders what a control message holds: descriptors,
// credentials or bytes.
func (g *guestView) appendControlData(b []byte, c socket.ControlMessage) []byte {
	fds, err := c.Rights()
	if err == nil && c.Level == unix.SOL_SOCKET && c.Type == unix.SCM_RIGHTS {
		b = append(b, '[')
		for i, fd := range fds {
			if i > 0 {
				b = append(b, ", "...)
			}
			if i == maxTraceVec {
				b = append(b, "..."...)
				break
			}
			b = appendFD(b, g.t, fd)
		}
		return append(b, ']')
	}
	u, err := c.Credentials()
	if err == nil && c.Level == unix.SOL_SOCKET && c.Type == unix.SCM_CREDENTIALS {
		b = append(b, "{pid="...)
		b = strconv.AppendInt(b, int64(u.PID), 10)
		b = append(b, ", uid="...)
		b = strconv.AppendUint(b, uint64(u.UID), 10)
		b = append(b, ", gid="...)
		b = strconv.AppendUint(b, uint64(u.GID), 10)
		return append(b, '}')
	}
	shown := min(len(c.Data), g.max)
	return appendQuoted(b, c.Data[:shown], shown < len(c.Data))
}
