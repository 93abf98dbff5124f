package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a non-blocking socket of the host's. Whoever waits for it sleeps in
// Go's poller.
type socket struct {
	file *os.File
	raw  syscall.RawConn
}

// newSocket takes a non-blocking descriptor over.
func newSocket(fd int) (*socket, error) {
	f := os.NewFile(uintptr(fd), "socket")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &socket{file: f, raw: raw}, nil
}

// close wakes who waits. It may be called again.
func (s *socket) close() { s.file.Close() }

// reset closes a TCP socket by RST (SO_LINGER of zero, socket(7)).
func (s *socket) reset() {
	s.control(func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	s.close()
}

// endSending sends a FIN. It fails only if there is no connection any more.
func (s *socket) endSending() {
	s.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
}

func (s *socket) control(f func(fd int) error) error {
	var err error
	if e := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// reading calls f until it returns something else than EAGAIN, and waits each time
// until the socket is readable.
func (s *socket) reading(f func(fd int) error) error {
	var err error
	if e := s.raw.Read(func(fd uintptr) bool { err = f(int(fd)); return err != unix.EAGAIN }); e != nil {
		return e
	}
	return err
}

// writing is the same for a socket that can be written to.
func (s *socket) writing(f func(fd int) error) error {
	var err error
	if e := s.raw.Write(func(fd uintptr) bool { err = f(int(fd)); return err != unix.EAGAIN }); e != nil {
		return e
	}
	return err
}

// receive reads once, at most len(b) bytes; of a datagram the rest is lost.
func (s *socket) receive(b []byte) (n int, err error) {
	err = s.reading(func(fd int) (err error) {
		n, err = ignoringInterrupts(func() (int, error) { return unix.Read(fd, b) })
		return err
	})
	return max(n, 0), err
}

// send sends a datagram, or some of b on a stream, without waiting.
func (s *socket) send(b []byte) (n int, err error) {
	err = s.control(func(fd int) (err error) { n, err = sendNow(fd, b); return err })
	return n, err
}

// sendAll sends all of b on a stream.
func (s *socket) sendAll(b []byte) error {
	return s.writing(func(fd int) error {
		for len(b) > 0 {
			n, err := sendNow(fd, b)
			if err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	})
}

func sendNow(fd int, b []byte) (int, error) {
	n, err := ignoringInterrupts(func() (int, error) { return unix.SendmsgN(fd, b, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT) })
	return max(n, 0), err
}

// ignoringInterrupts makes a call again that one of Go's own signals has ended.
func ignoringInterrupts(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// open makes a socket of an address's family.
func open(to netip.Addr, kind, protocol int) (int, error) {
	return unix.Socket(family(to), kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// dial connects a socket of a kind and protocol. The wait for a connection ends
// with os.ErrDeadlineExceeded.
func dial(to netip.AddrPort, kind, protocol int, patience time.Duration) (*socket, error) {
	fd, err := open(to.Addr(), kind, protocol)
	if err != nil {
		return nil, err
	}
	_, err = ignoringInterrupts(func() (int, error) { return 0, unix.Connect(fd, sockaddr(to)) })
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return nil, err
	}
	s, e := newSocket(fd)
	if e != nil || err == nil {
		return s, e
	}
	s.file.SetWriteDeadline(time.Now().Add(patience))
	err = s.writing(func(fd int) error {
		if e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || e != 0 {
			return errors.Join(err, syscall.Errno(e))
		}
		if _, err := unix.Getpeername(fd); err == unix.ENOTCONN {
			return unix.EAGAIN
		}
		return nil
	})
	if err != nil {
		s.close()
		return nil, err
	}
	s.file.SetWriteDeadline(time.Time{})
	return s, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zone(a.Addr())}
}

// addrPort is what a sockaddr says; IPv4 addresses mapped into IPv6 are unmapped.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// zone is the index of the interface that an address belongs to, whose zone must be
// a number (see numberZone).
func zone(a netip.Addr) uint32 {
	var n uint32
	fmt.Sscan(a.Zone(), &n)
	return n
}

// Read reads from a stream as io.Reader has it.
func (s *socket) Read(b []byte) (int, error) {
	n, err := s.receive(b)
	if n == 0 && err == nil && len(b) > 0 {
		return 0, io.EOF
	}
	return n, err
}
