package netlink

import (
	"errors"
	"fmt"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

func refuse(errno unix.Errno, format string, args ...any) error {
	return &network.Error{Errno: errno, Text: fmt.Sprintf(format, args...)}
}

// Flags of NLMSG_ERROR (linux/netlink.h).
const (
	flagCapped = 0x100
	flagTLVs   = 0x200
	// attrMessage is NLMSGERR_ATTR_MSG.
	attrMessage = 1
)

// acknowledge answers a request with NLMSG_ERROR, as netlink(7) has it: err is nil for an
// acknowledgement.
func (s *Socket) acknowledge(r *request, err error) {
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) {
		errno = unix.EINVAL
	}
	capped := err == nil || s.flag(unix.NETLINK_CAP_ACK)
	var text string
	var refused *network.Error
	if s.flag(unix.NETLINK_EXT_ACK) && errors.As(err, &refused) {
		text = refused.Text
	}
	flags := uint16(0)
	if capped {
		flags |= flagCapped
	}
	if text != "" {
		flags |= flagTLVs
	}
	var w builder
	w.begin(unix.NLMSG_ERROR, flags, r.seq, s.portID())
	w.u32(uint32(-int32(errno)))
	if capped {
		w.b = append(w.b, r.raw[:headerSize]...)
	} else {
		w.b = append(w.b, r.raw...)
		w.pad()
	}
	if text != "" {
		w.attrText(attrMessage, text)
	}
	w.end()
	s.deliver(datagram{data: w.b})
}
