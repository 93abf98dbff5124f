package rootfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// cure is what a user can do about an error of the host's.
type cure struct {
	errno unix.Errno
	words string
}

// because adds to an error what it means here and what cures it, if one of
// cures is about it.
func because(err error, cures ...cure) error {
	for _, c := range cures {
		if errors.Is(err, c.errno) {
			return fmt.Errorf("%w (%s)", err, c.words)
		}
	}
	return err
}
