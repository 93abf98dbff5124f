package syscalls

import (
	"net/netip"
	"strconv"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// structSizes are the sizes of structures of fixed size in guest memory.
var structSizes = map[Kind]int{
	SigSet: 8, OutSigSet: 8,
	Timespec: 16, OutTimespec: 16, Timeval: 16, OutTimeval: 16,
	Itimerspec: 32, OutItimerspec: 32, Itimerval: 32, OutItimerval: 32,
	RLimit: 16, OutRLimit: 16,
	OutStat: 144, OutStatx: 256, OutFDPair: 8, OutInt: 4,
	OutWaitStatus: 4, Sigaction: abi.SigactionSize, OutSigaction: abi.SigactionSize,
	CloneArgs: 64, EpollEvent: epollEventSize,
	OutUtsname: 6 * utsLen, OutSysinfo: 112, OutTms: 32, OutStatfs: 120, OutRusage: 144, OutWaitRusage: 144,
}

// appendStruct renders what argument i, a pointer of value addr, points to.
func (g *guestView) appendStruct(b []byte, mem *[]byte, kind Kind, addr uint64, i int) []byte {
	if addr == 0 {
		return append(b, "NULL"...)
	}
	switch kind {
	case Sockaddr:
		return g.appendSockaddr(b, mem, addr, g.argument(i+1))
	case OutSockaddr:
		n := g.read(mem, g.argument(i+1), 4)
		if len(n) < 4 {
			return appendPtr(b, addr)
		}
		return g.appendSockaddr(b, mem, addr, uint64(native.Uint32(n)))
	case OutEpollEvents:
		return g.appendEpollEvents(b, mem, addr, uint64(g.result))
	case Option:
		return g.appendOption(b, mem, addr, g.argument(i+1))
	case OutOption:
		n := g.read(mem, g.argument(i+1), 4)
		if len(n) < 4 {
			return appendPtr(b, addr)
		}
		return g.appendOption(b, mem, addr, uint64(native.Uint32(n)))
	case PollFDs:
		return g.appendPollFDs(b, mem, addr, g.argument(i+1))
	}
	size, ok := structSizes[kind]
	if !ok {
		return appendPtr(b, addr)
	}
	s := g.read(mem, addr, size)
	if len(s) < size {
		return appendPtr(b, addr)
	}
	switch kind {
	case SigSet, OutSigSet:
		return appendSigSet(b, native.Uint64(s))
	case Timespec, OutTimespec:
		return appendTimes(b, s, "tv_nsec")
	case Timeval, OutTimeval:
		return appendTimes(b, s, "tv_usec")
	case Itimerspec, OutItimerspec:
		return appendITimes(b, s, "tv_nsec")
	case Itimerval, OutItimerval:
		return appendITimes(b, s, "tv_usec")
	case RLimit, OutRLimit:
		b = append(b, "{rlim_cur="...)
		b = appendLimit(b, native.Uint64(s))
		b = append(b, ", rlim_max="...)
		b = appendLimit(b, native.Uint64(s[8:]))
		return append(b, '}')
	case OutStat:
		return appendStat(b, native.Uint32(s[24:]), native.Uint64(s[48:]))
	case OutStatx:
		return appendStat(b, uint32(native.Uint16(s[28:])), native.Uint64(s[40:]))
	case OutWaitStatus:
		if g.result == 0 {
			return appendPtr(b, addr) // nothing was stored
		}
		return appendWaitStatus(b, native.Uint32(s))
	case OutUtsname:
		return appendUtsname(b, s)
	case OutSysinfo:
		return append(appendFields(append(b, '{'), s, sysinfoFields), ", ...}"...)
	case OutTms:
		return append(appendFields(append(b, '{'), s, tmsFields), '}')
	case OutStatfs:
		return appendStatfs(b, s)
	case OutWaitRusage:
		if g.result == 0 {
			return appendPtr(b, addr) // nothing was stored
		}
		return appendRusage(b, s)
	case OutRusage:
		return appendRusage(b, s)
	case Sigaction, OutSigaction:
		return appendSigaction(b, s)
	case CloneArgs:
		return appendCloneArgs(b, s)
	case EpollEvent:
		return appendEpollEvent(b, s)
	case OutFDPair:
		b = append(b, '[')
		b = strconv.AppendInt(b, int64(int32(native.Uint32(s))), 10)
		b = append(b, ", "...)
		b = strconv.AppendInt(b, int64(int32(native.Uint32(s[4:]))), 10)
		return append(b, ']')
	default: // OutInt
		return appendInt(b, s)
	}
}

func appendTimes(b, s []byte, fraction string) []byte {
	b = append(b, "{tv_sec="...)
	b = strconv.AppendInt(b, int64(native.Uint64(s)), 10)
	b = append(append(append(b, ", "...), fraction...), '=')
	b = strconv.AppendInt(b, int64(native.Uint64(s[8:])), 10)
	return append(b, '}')
}

func appendITimes(b, s []byte, fraction string) []byte {
	b = append(b, "{it_interval="...)
	b = appendTimes(b, s, fraction)
	b = append(b, ", it_value="...)
	b = appendTimes(b, s[16:], fraction)
	return append(b, '}')
}

func appendLimit(b []byte, v uint64) []byte {
	if v == kernel.Infinity {
		return append(b, "RLIM64_INFINITY"...)
	}
	return strconv.AppendUint(b, v, 10)
}

// fileTypes are the types in st_mode.
var fileTypes = &FlagSet{Names: []FlagName{
	{unix.S_IFREG, "S_IFREG"}, {unix.S_IFDIR, "S_IFDIR"}, {unix.S_IFLNK, "S_IFLNK"},
	{unix.S_IFIFO, "S_IFIFO"}, {unix.S_IFSOCK, "S_IFSOCK"}, {unix.S_IFCHR, "S_IFCHR"},
	{unix.S_IFBLK, "S_IFBLK"},
}}

func appendStat(b []byte, mode uint32, size uint64) []byte {
	b = append(b, "{st_mode="...)
	b = fileTypes.append(b, uint64(mode&unix.S_IFMT), false)
	b = append(b, "|0"...)
	b = strconv.AppendUint(b, uint64(mode&^unix.S_IFMT), 8)
	b = append(b, ", st_size="...)
	b = strconv.AppendUint(b, size, 10)
	return append(b, ", ...}"...)
}

// appendSigSet renders [INT CHLD], or ~[...] for sets that hold most.
func appendSigSet(b []byte, set uint64) []byte {
	ones := 0
	for s := set; s != 0; s &= s - 1 {
		ones++
	}
	if ones > 40 {
		b = append(b, '~')
		set = ^set
	}
	b = append(b, '[')
	first := true
	for n := int32(1); n <= 64; n++ {
		if set>>uint(n-1)&1 == 0 {
			continue
		}
		if !first {
			b = append(b, ' ')
		}
		first = false
		start := len(b)
		b = appendSignal(b, n)
		if len(b)-start > 3 && string(b[start:start+3]) == "SIG" {
			b = append(b[:start], b[start+3:]...)
		}
	}
	return append(b, ']')
}

func (g *guestView) appendIOVec(b []byte, mem *[]byte, addr, n uint64) []byte {
	if addr == 0 {
		return append(b, "NULL"...)
	}
	start := len(b)
	b = append(b, '[')
	for i := range min(n, maxTraceVec) {
		if i > 0 {
			b = append(b, ", "...)
		}
		s := g.read(mem, addr+i*16, 16)
		if len(s) < 16 {
			return appendPtr(b[:start], addr)
		}
		base, length := native.Uint64(s), native.Uint64(s[8:])
		b = append(b, "{iov_base="...)
		b = appendPtr(b, base)
		b = append(b, ", iov_len="...)
		b = strconv.AppendUint(b, length, 10)
		b = append(b, '}')
	}
	if n > maxTraceVec {
		b = append(b, ", ..."...)
	}
	return append(b, ']')
}

var pollEvents = &FlagSet{Names: []FlagName{
	{unix.POLLIN, "POLLIN"}, {unix.POLLPRI, "POLLPRI"}, {unix.POLLOUT, "POLLOUT"},
	{unix.POLLERR, "POLLERR"}, {unix.POLLHUP, "POLLHUP"}, {unix.POLLNVAL, "POLLNVAL"},
	{0x40, "POLLRDNORM"}, {0x80, "POLLRDBAND"},
	{0x100, "POLLWRNORM"}, {0x200, "POLLWRBAND"},
	{unix.POLLRDHUP, "POLLRDHUP"},
}}

func (g *guestView) appendPollFDs(b []byte, mem *[]byte, addr, n uint64) []byte {
	start := len(b)
	b = append(b, '[')
	for i := range min(n, maxTraceVec) {
		if i > 0 {
			b = append(b, ", "...)
		}
		s := g.read(mem, addr+i*8, 8)
		if len(s) < 8 {
			return appendPtr(b[:start], addr)
		}
		fd, events, revents := native.Uint32(s), native.Uint16(s[4:]), native.Uint16(s[6:])
		b = append(b, "{fd="...)
		b = strconv.AppendInt(b, int64(int32(fd)), 10)
		b = append(b, ", events="...)
		b = pollEvents.append(b, uint64(events), true)
		if revents != 0 && !g.failed {
			b = append(b, ", revents="...)
			b = pollEvents.append(b, uint64(revents), true)
		}
		b = append(b, '}')
	}
	if n > maxTraceVec {
		b = append(b, ", ..."...)
	}
	return append(b, ']')
}

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

// fileName is what /proc/PID/fd would show for a description.
func fileName(t *kernel.Task, f *vfs.FileDescription) string {
	if f.Path.Valid() {
		fs := t.FS()
		if fs == nil || fs.Mounts() == nil {
			return ""
		}
		root := fs.Root()
		defer root.DecRef()
		name, _ := fs.Mounts().PathName(root, f.Path)
		return name
	}
	if n, ok := f.Inode.(vfs.LinkNamer); ok {
		return n.LinkName()
	}
	return ""
}
