package network

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Error is why a change of the configuration was refused: an error number, and the
// sentence that netlink(7) carries beside it (NLMSGERR_ATTR_MSG).
type Error struct {
	Errno unix.Errno
	Text  string
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// Unwrap makes errors.Is find the number.
func (e *Error) Unwrap() error { return e.Errno }

func refuse(errno unix.Errno, format string, args ...any) error {
	return &Error{errno, fmt.Sprintf(format, args...)}
}
