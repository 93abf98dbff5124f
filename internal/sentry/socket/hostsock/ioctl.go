package hostsock

import (
	"encoding/binary"
	"runtime"
	"slices"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

const (
	sizeofIfreq = 40
	// maxIfconf bounds the list of addresses of SIOCGIFCONF.
	maxIfconf = 1024 * sizeofIfreq
)

// counts are ioctls that give a number.
var counts = []uint32{unix.TIOCINQ, unix.TIOCOUTQ, unix.SIOCATMARK}

// asks are ioctls of netdevice(7) that fill in a struct ifreq.
var asks = []uint32{
	unix.SIOCGIFNAME, unix.SIOCGIFINDEX, unix.SIOCGIFFLAGS, unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR,
	unix.SIOCGIFBRDADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFMETRIC, unix.SIOCGIFMTU, unix.SIOCGIFHWADDR, unix.SIOCGIFTXQLEN,
}

// Ioctl implements vfs.File. ENOTTY for what is not listed here, EPERM for what
// would change the host's interfaces.
func (s *Socket) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	switch {
	case slices.Contains(counts, cmd):
		var b [4]byte
		if err := s.ioctl(cmd, b[:]); err != nil {
			return 0, err
		}
		if cmd == unix.TIOCINQ {
			binary.NativeEndian.PutUint32(b[:], binary.NativeEndian.Uint32(b[:])+uint32(s.unread.Len()))
		}
		_, err := c.CopyOut(arg, b[:])
		return 0, err
	case slices.Contains(asks, cmd):
		var b [sizeofIfreq]byte
		if _, err := c.CopyIn(arg, b[:]); err != nil {
			return 0, err
		}
		if err := s.ioctl(cmd, b[:]); err != nil {
			return 0, err
		}
		_, err := c.CopyOut(arg, b[:])
		return 0, err
	case cmd == unix.SIOCGIFCONF:
		return 0, s.addresses(c, arg)
	case cmd>>8 == 0x89:
		return 0, unix.EPERM
	}
	return 0, unix.ENOTTY
}

func (s *Socket) ioctl(cmd uint32, b []byte) error {
	_, err := s.call(unix.SYS_IOCTL, uintptr(cmd), pointer(b), 0, 0, 0)
	runtime.KeepAlive(b)
	return err
}

// addresses answers SIOCGIFCONF: a struct ifconf with a length, and a pointer to
// room for as many struct ifreq, or 0 to ask for the length.
func (s *Socket) addresses(c vfs.Caller, arg uint64) error {
	var conf [16]byte
	if _, err := c.CopyIn(arg, conf[:]); err != nil {
		return err
	}
	room, to := int32(binary.NativeEndian.Uint32(conf[:])), binary.NativeEndian.Uint64(conf[8:])
	if room < 0 && to != 0 {
		return unix.EINVAL
	}
	list := make([]byte, maxIfconf)
	var own [16]byte
	binary.NativeEndian.PutUint32(own[:], uint32(len(list)))
	binary.NativeEndian.PutUint64(own[8:], uint64(pointer(list)))
	err := s.ioctl(unix.SIOCGIFCONF, own[:])
	runtime.KeepAlive(list)
	if err != nil {
		return err
	}
	n := min(int32(binary.NativeEndian.Uint32(own[:])), maxIfconf)
	if to != 0 {
		n = min(n, room-room%sizeofIfreq)
		if _, err := c.CopyOut(to, list[:n]); err != nil {
			return err
		}
	}
	binary.NativeEndian.PutUint32(conf[:], uint32(n))
	_, err = c.CopyOut(arg, conf[:4])
	return err
}
