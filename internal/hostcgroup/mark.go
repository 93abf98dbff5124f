package hostcgroup

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// markNames are the extended attributes that can hold a mark: cgroupfs keeps
// both kinds (cgroups(7)); the first is for those privileged on the host, the
// second for the owner of a delegated directory (since Linux 5.7).
var markNames = []string{"trusted.coffer", "user.coffer"}

// newMark makes a mark that no other container has.
func newMark() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// setMark says that directory dir is the container's.
func (c *Cgroup) setMark(dir string) error {
	var errs []error
	for _, name := range markNames {
		err := unix.Setxattr(dir, name, []byte(c.mark), 0)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return fmt.Errorf("marking cgroup %s as the container's by an extended attribute: %w", dir, errors.Join(errs...))
}

// marked reports whether directory dir is the container's.
func (c *Cgroup) marked(dir string) bool {
	buf := make([]byte, len(c.mark)+1)
	for _, name := range markNames {
		if n, err := unix.Getxattr(dir, name, buf); err == nil && c.mark != "" && string(buf[:n]) == c.mark {
			return true
		}
	}
	return false
}
