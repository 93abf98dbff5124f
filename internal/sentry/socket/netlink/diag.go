package netlink

import (
	"golang.org/x/sys/unix"
)

// handleDiag answers NETLINK_SOCK_DIAG (sock_diag(7)).
func (s *Socket) handleDiag(c Caller, r *request) (bool, error) {
	return false, unix.EOPNOTSUPP
}
