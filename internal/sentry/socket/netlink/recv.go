package netlink

import (
	"encoding/binary"

	"coffer/internal/bpf"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	// overhead is what a queued datagram counts beside its bytes.
	overhead = 512
	// A datagram of a dump has as many bytes as fit in the largest buffer that the program
	// has shown, between these two.
	minChunk, maxChunk = 3776, 32768
)

// deliver puts a datagram in the queue. What there is no room for is lost, and the next
// receive says so with ENOBUFS, unless NETLINK_NO_ENOBUFS is set.
func (s *Socket) deliver(d datagram) bool {
	if f := s.FilterProgram(); f != nil && f.Run(&bpf.Packet{Data: d.data}) == 0 {
		return true
	}
	size := len(d.data) + overhead
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return false
	case s.used > 0 && s.used+size > int(s.ReceiveBuffer()), !shmem.Buffers.Charge(int64(size)):
		s.drops.Add(1)
		if !s.flag(unix.NETLINK_NO_ENOBUFS) && !s.congested {
			s.congested, s.err = true, unix.ENOBUFS
		}
		s.mu.Unlock()
		s.wait.Notify(waiter.Err | waiter.Readable)
		return false
	}
	s.queue = append(s.queue, d)
	s.used += size
	s.mu.Unlock()
	s.wait.Notify(waiter.Readable)
	return true
}

// startDump has the messages of b read in pieces. EBUSY while another dump is read, ENOBUFS without
// memory.
func (s *Socket) startDump(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return unix.EBADF
	case s.dump != nil:
		return unix.EBUSY
	case !shmem.Buffers.Charge(int64(len(b))):
		return unix.ENOBUFS
	}
	s.dump = &dump{rest: b, charged: len(b)}
	s.wait.Notify(waiter.Readable)
	return nil
}

// endDump forgets the dump. s.mu is held, here and below.
func (s *Socket) endDump() {
	if s.dump != nil {
		shmem.Buffers.Uncharge(int64(s.dump.charged))
		s.dump = nil
	}
}

// chunk moves the next messages of the dump to the queue.
func (s *Socket) chunk() {
	limit := min(max(s.largest, minChunk), maxChunk)
	rest, n := s.dump.rest, 0
	for n < len(rest) {
		next := align(int(binary.LittleEndian.Uint32(rest[n:])))
		// The end comes in a datagram of its own, as some programs expect.
		done := binary.LittleEndian.Uint16(rest[n+4:]) == unix.NLMSG_DONE
		if n > 0 && (n+next > limit || done) {
			break
		}
		n += next
	}
	s.queue = append(s.queue, datagram{data: rest[:n:n]})
	s.used += n + overhead
	shmem.Buffers.Uncharge(-int64(n + overhead))
	if s.dump.rest = rest[n:]; n == len(rest) {
		s.endDump()
	}
}

// Recv implements socket.Socket.
func (s *Socket) Recv(p []byte, m *socket.Message) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.err; err != 0 {
		s.err = 0
		return 0, err
	}
	s.largest = max(s.largest, len(p))
	if len(s.queue) == 0 && s.dump != nil {
		s.chunk()
	}
	if len(s.queue) == 0 {
		return 0, unix.EAGAIN
	}
	d := s.queue[0]
	n := copy(p, d.data)
	m.Addr = d.from.bytes()
	m.Flags &^= unix.MSG_TRUNC
	peek := m.Flags&unix.MSG_PEEK != 0
	if n < len(d.data) {
		m.Flags |= unix.MSG_TRUNC
	}
	if s.passcred.Load() {
		m.Creds, m.HasCreds = d.creds, true
	}
	if s.flag(unix.NETLINK_PKTINFO) {
		m.Control = []socket.ControlMessage{{
			Level: unix.SOL_NETLINK, Type: unix.NETLINK_PKTINFO, Data: binary.LittleEndian.AppendUint32(nil, uint32(d.group)),
		}}
	}
	if !peek {
		s.queue[0] = datagram{}
		s.queue = s.queue[1:]
		s.used -= len(d.data) + overhead
		shmem.Buffers.Uncharge(int64(len(d.data) + overhead))
		if len(s.queue) == 0 {
			s.queue, s.congested = nil, false
		}
	}
	return len(d.data), nil
}

// Read implements vfs.File.
func (s *Socket) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	var m socket.Message
	n, err := s.Recv(p, &m)
	return min(n, len(p)), err
}
