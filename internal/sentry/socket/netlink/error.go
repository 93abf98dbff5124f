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

// explain returns the number of an error, and the sentence that goes with it, if the program wants
// one.
func (s *Socket) explain(err error) (errno unix.Errno, text string) {
	if err != nil && !errors.As(err, &errno) {
		errno = unix.EINVAL
	}
	var refused *network.Error
	if s.flag(unix.NETLINK_EXT_ACK) && errors.As(err, &refused) {
		text = refused.Text
	}
	return errno, text
}

// acknowledge answers a request with NLMSG_ERROR, as netlink(7) has it: err is nil for an
// acknowledgement.
func (s *Socket) acknowledge(r *request, err error) {
	errno, text := s.explain(err)
	capped := err == nil || s.flag(unix.NETLINK_CAP_ACK)
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

// failDump answers the request for a dump with an end that says what is wrong with it.
func (s *Socket) failDump(r *request, err error) error {
	errno, text := s.explain(err)
	flags := uint16(unix.NLM_F_MULTI)
	if text != "" {
		flags |= flagTLVs
	}
	var w builder
	w.begin(unix.NLMSG_DONE, flags, r.seq, s.portID())
	w.u32(uint32(-int32(errno)))
	if text != "" {
		w.attrText(attrMessage, text)
	}
	w.end()
	return s.startDump(w.b)
}
