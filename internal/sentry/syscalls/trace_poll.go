package syscalls

import (
	"strconv"

	"golang.org/x/sys/unix"
)

var pollEvents = &FlagSet{Names: []FlagName{
	{unix.POLLIN, "POLLIN"}, {unix.POLLPRI, "POLLPRI"}, {unix.POLLOUT, "POLLOUT"},
	{unix.POLLERR, "POLLERR"}, {unix.POLLHUP, "POLLHUP"}, {unix.POLLNVAL, "POLLNVAL"},
	{0x40, "POLLRDNORM"}, {0x80, "POLLRDBAND"},
	{0x100, "POLLWRNORM"}, {0x200, "POLLWRBAND"},
	{unix.POLLRDHUP, "POLLRDHUP"},
}}

// appendPollFDs renders n struct pollfd.
func (g *guestView) appendPollFDs(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendArray(b, mem, addr, n, 8, func(b, s []byte) []byte {
		fd, events, revents := native.Uint32(s), native.Uint16(s[4:]), native.Uint16(s[6:])
		b = append(b, "{fd="...)
		b = strconv.AppendInt(b, int64(int32(fd)), 10)
		b = append(b, ", events="...)
		b = pollEvents.append(b, uint64(events), true)
		if revents != 0 && !g.failed {
			b = append(b, ", revents="...)
			b = pollEvents.append(b, uint64(revents), true)
		}
		return append(b, '}')
	})
}

var epollEventNames = &FlagSet{Names: append(epollNames(), []FlagName{
	{unix.EPOLLEXCLUSIVE, "EPOLLEXCLUSIVE"}, {unix.EPOLLWAKEUP, "EPOLLWAKEUP"},
	{unix.EPOLLONESHOT, "EPOLLONESHOT"}, {unix.EPOLLET, "EPOLLET"},
}...)}

// epollEventSize is the size of struct epoll_event, which is packed.
const epollEventSize = 12

var epollEventLayout = layout{size: epollEventSize, fields: []field{
	{name: "events", size: 4, kind: Flags, flags: epollEventNames}, {name: "data", offset: 4, size: 8, kind: Hex},
}}

// appendEpollEvents renders the n events that epoll_wait(2) stored.
func (g *guestView) appendEpollEvents(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendArray(b, mem, addr, n, epollEventSize, epollEventLayout.append)
}

// epollNames are poll(2)'s names as epoll has them.
func epollNames() []FlagName {
	names := make([]FlagName, 0, len(pollEvents.Names)+4)
	for _, n := range pollEvents.Names {
		names = append(names, FlagName{n.Value, "E" + n.Name})
	}
	return names
}

// appendFDSet renders an fd_set of n bits.
func (g *guestView) appendFDSet(b []byte, mem *[]byte, addr, n uint64) []byte {
	return g.appendBits(b, mem, addr, uint64(max(0, int32(n))))
}

// appendBits renders the numbers of the bits that are set among n, which the
// kernel reads and writes as words of 64: "[0 3 4]".
func (g *guestView) appendBits(b []byte, mem *[]byte, addr, n uint64) []byte {
	const mostBits, mostShown = 1024, 32
	n = min(n, mostBits)
	want := int((n + 63) / 64 * 8)
	s := g.read(mem, addr, want)
	if len(s) < want {
		return appendPtr(b, addr)
	}
	b = append(b, '[')
	shown := 0
	for i := range n {
		if s[i/8]>>(i%8)&1 == 0 {
			continue
		}
		if shown > 0 {
			b = append(b, ' ')
		}
		if shown == mostShown {
			b = append(b, "..."...)
			break
		}
		shown++
		b = strconv.AppendUint(b, i, 10)
	}
	return append(b, ']')
}
